# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""crypttab(5), the file of what is opened at boot."""

from __future__ import annotations

import os
import stat
import time
from typing import Any, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.files import atomic_write
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import CrypttabLine, CrypttabState
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.parse import parse_crypttab
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_crypttab import COPY, edit_crypttab, wanted_entries

NEW_MODE = 0o600  # of a file that is made; the names of key files are nobody's business


def read_lines(path: str) -> list[CrypttabLine]:
    """All lines of the file; none where it is missing. Bytes that are no UTF-8 are kept by surrogates.

    :raises RootOfTrustError: if the path is that of a folder.
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
            return parse_crypttab(stream.read())
    except FileNotFoundError:
        return []
    except IsADirectoryError:
        raise RootOfTrustError(f"{path} is a folder.", "Correct the path.") from None


class Crypttab:
    """
    :param path: the file.
    :param backup: keep a dated copy before a change.
    """

    def __init__(self, path: str, backup: bool) -> None:
        self._path = path
        self._backup = backup
        self._copy: str | None = None
        self._written = False

    def read(self, asked: tuple[Sequence[Mapping[str, Any]], Sequence[str]]) -> CrypttabState:
        """The file and what is asked of it.

        :param asked: the options of each entry, and the names of crypttab options to be accepted besides the known ones.
        :raises RootOfTrustError: if what is asked for is wrong.
        """
        return CrypttabState(self._path, tuple(read_lines(self._path)), wanted_entries(*asked), self._backup, self._copy, self._written)

    def apply(self, step: Step) -> None:
        """Copy the file, or write one entry. The file is read again for each: others may have written since."""
        lines = read_lines(self._path)
        if step.action == COPY:
            self._copy = self._free_name()
            self._write(self._copy, lines)
        else:
            self._write(self._path, edit_crypttab(lines, step.detail))
            self._written = True

    def _free_name(self) -> str:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        name, number = f"{self._path}.{stamp}", 1
        while os.path.lexists(name):
            name, number = f"{self._path}.{stamp}-{number}", number + 1
        return name

    def _write(self, path: str, lines: Sequence[CrypttabLine]) -> None:
        """Write with the mode and owner of the file."""
        try:
            found = os.stat(self._path)
            mode, owner = stat.S_IMODE(found.st_mode), (found.st_uid, found.st_gid)
        except FileNotFoundError:
            mode, owner = NEW_MODE, (-1, -1)
        atomic_write(path, "".join(line.text for line in lines).encode("utf-8", "surrogateescape"), mode, owner)
