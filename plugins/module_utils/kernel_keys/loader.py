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

UNIT = "rootoftrust-kernel-keys.service"
FILES = {
    "program": "/usr/local/lib/rootoftrust/kernel-keys-load",
    "table": "/usr/local/lib/rootoftrust/kernel-keys",
    "unit": f"/etc/systemd/system/{UNIT}",
}


class Loader:
    """:param runner: starts systemctl."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def look(self) -> dict[str, Any]:
        """Its files, and the state of its unit."""
        shown: dict[str, str] = {}
        if os.path.isdir("/run/systemd/system") and os.path.exists(FILES["unit"]):
            text = self._runner.run(["systemctl", "show", "-p", "UnitFileState,ActiveState", "--", UNIT]).text
            shown = {name: value for name, _equals, value in (line.partition("=") for line in text.splitlines())}
        return {
            "keyctl": self._runner.find("keyctl"),
            "files": {name: _file(path) for name, path in FILES.items()},
            "enabled": shown.get("UnitFileState") == "enabled",
            "active": shown.get("ActiveState") == "active",
        }


def _file(path: str) -> dict[str, str] | None:
    try:
        with open(path, "rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            return {"mode": f"{mode:04o}", "sha256": hashlib.sha256(stream.read()).hexdigest()}
    except OSError:
        return None
