# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the role kernel_keys has set up to load keys at boot."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import Any

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.initramfs import Images
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.parse import evm_fault
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.procfs import Procfs

UNIT = "rootoftrust-kernel-keys.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
FILES = (
    "/usr/local/lib/rootoftrust/kernel-keys-load",
    "/usr/local/lib/rootoftrust/kernel-keys",
    "/usr/local/lib/rootoftrust/kernel-keys-initramfs",  # there while an image has to be made without what follows
    UNIT_FILE,
    "/etc/initramfs-tools/scripts/init-bottom/rootoftrust-kernel-keys",
    "/usr/lib/dracut/modules.d/76rootoftrust-kernel-keys/module-setup.sh",
    "/usr/lib/dracut/modules.d/76rootoftrust-kernel-keys/kernel-keys.sh",
)


class Loader:
    """:param runner: starts systemctl."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def look(self) -> dict[str, Any]:
        """Its files, and the state of its unit."""
        shown: dict[str, str] = {}
        if os.path.isdir("/run/systemd/system") and os.path.exists(UNIT_FILE):
            text = self._runner.run(["systemctl", "show", "-p", "UnitFileState,ActiveState", "--", UNIT]).text
            shown = {name: value for name, _equals, value in (line.partition("=") for line in text.splitlines())}
        return {
            "keyctl": self._runner.find("keyctl"),
            "files": {path: _file(path) for path in FILES},
            "initramfs": Images(self._runner).tool(),
            "evm_fault": evm_fault(os.uname().release, _text("/sys/kernel/security/lsm")),
            "evm": Procfs().evm_has_its_key(),
            "enabled": shown.get("UnitFileState") == "enabled",
            "active": shown.get("ActiveState") == "active",
        }


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii") as stream:
            return stream.read()
    except OSError:
        return ""


def _file(path: str) -> dict[str, str] | None:
    try:
        with open(path, "rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            return {"mode": f"{mode:04o}", "sha256": hashlib.sha256(stream.read()).hexdigest()}
    except OSError:
        return None
