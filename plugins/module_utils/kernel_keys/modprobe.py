# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""modprobe(8)."""

from __future__ import annotations

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner


class Modprobe:
    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def load(self, module: str) -> None:
        """Load a module of the kernel.

        :raises ToolFailed: if the kernel does not take it.
        """
        self._runner.run(["modprobe", module])
