# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""systemd: the state of units by one call of systemctl, and the hypervisor by systemd-detect-virt."""

from __future__ import annotations

import os

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy import parse
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.model import Unit

PROPERTIES = "Id,LoadState,ActiveState,UnitFileState,Result,ConditionResult,ConditionTimestampMonotonic,MainPID,ExecStart,Environment"


def units(runner: Runner, root: str = "/") -> tuple[Unit, ...]:
    """The units of the known daemons and of the seed file; none where systemd is not PID 1."""
    if not os.path.isdir(os.path.join(root, "run/systemd/system")) or runner.find("systemctl") is None:
        return ()
    argv = ["systemctl", "show", "--no-pager", f"--property={PROPERTIES}", *parse.UNITS, parse.SEED_UNIT]
    return parse.units(runner.run(argv, ok=None, timeout=10).text)


def hypervisor(runner: Runner) -> str | None:
    """The hypervisor's name, empty on bare metal; None where systemd-detect-virt is not installed."""
    if runner.find("systemd-detect-virt") is None:
        return None
    name = runner.run(["systemd-detect-virt", "--vm"], ok=None, timeout=10).text.strip()
    return "" if name == "none" else name
