# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""opencryptoki.conf."""

from __future__ import annotations

import os
import stat
from typing import Any, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.files import atomic_write
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.parse import parse_configuration, write_configuration
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.plan_slots import Slots, wanted_slot


class ConfigurationFile:
    """:param path: of the file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def read(self, asked: Sequence[Mapping[str, Any]]) -> Slots:
        """The file, and the slots asked for.

        :raises RootOfTrustError: if there is no such file, or it is not of its form.
        """
        try:
            with open(self._path, encoding="utf-8") as stream:
                text = stream.read()
        except FileNotFoundError:
            raise RootOfTrustError(f"There is no {self._path}.", "Install openCryptoki: its package has the file.") from None
        except (OSError, UnicodeDecodeError) as error:
            raise RootOfTrustError(f"{self._path} cannot be read: {error}.", "Correct it.") from error
        return Slots(self._path, parse_configuration(text), tuple(wanted_slot(one) for one in asked))

    def apply(self, step: Step) -> None:
        """Write it, with the mode and owner that it has."""
        status = os.stat(self._path)
        atomic_write(
            self._path, write_configuration(step.detail).encode("utf-8"), stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)
        )
