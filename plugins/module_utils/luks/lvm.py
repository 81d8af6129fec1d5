# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""lvm(8): room in the volume group of a logical volume."""

from __future__ import annotations

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner


class Lvm:
    """:param runner: starts it."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def spare(self, path: str) -> int | None:
        """Bytes that are free in the volume group; None where the device is no logical volume."""
        if self._runner.find("lvs") is None:
            return None
        asked = ["lvs", "--noheadings", "--nosuffix", "--units", "b", "-o", "vg_free", path]
        done = self._runner.run(asked, ok=None)
        return int(done.text.strip()) if done.rc == 0 and done.text.strip().isdigit() else None

    def extend(self, path: str, size: int) -> None:
        """
        :param size: bytes more.
        """
        self._runner.run(["lvextend", "--size", f"+{size}b", path])
