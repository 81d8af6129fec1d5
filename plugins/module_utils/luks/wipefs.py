# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""wipefs(8): sees all signatures of a device, where blkid(8) tells one, and removes them."""

from __future__ import annotations

from typing import Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.files import sync_file
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import Trace
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.parse import parse_traces


class Wipefs:
    """:param runner: starts it."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def traces(self, path: str) -> list[Trace]:
        return parse_traces(path, self._runner.run(["wipefs", "--no-act", "--json", "--", path]).text)

    def wipe(self, path: str, traces: Sequence[Trace]) -> None:
        """Remove signatures, and only these; wipefs refuses where the kernel has the device in use."""
        places = [f"--offset={trace.offset}" for trace in traces]
        self._runner.run(["wipefs", "--quiet", *places, "--", path])
        sync_file(path)
