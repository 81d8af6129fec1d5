# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Collects the evidence of a run's hosts on the controller."""

from __future__ import annotations

import datetime
import json
import os
from typing import Any

from ansible.plugins.action import ActionBase

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.evidence import VERSION, HostEvidence, document, summary
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.files import atomic_write


class ActionModule(ActionBase):
    """Runs on the controller; no module is sent to any host."""

    TRANSFERS_FILES = False
    _requires_connection = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        dummy, arguments = self.validate_argument_spec(
            {"playbook": {"type": "str", "required": True}, "folder": {"type": "path", "default": "evidence"}}
        )
        now = datetime.datetime.now(datetime.timezone.utc)
        reached = set(variables["ansible_play_hosts"])
        told = document(
            [
                HostEvidence.from_variables(name, variables["hostvars"][name], name in reached)
                for name in variables["ansible_play_hosts_all"]
            ],
            playbook=arguments["playbook"],
            version=VERSION,
            written=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            check_mode=variables["ansible_check_mode"],
        )
        os.makedirs(arguments["folder"], exist_ok=True)
        path = os.path.join(arguments["folder"], f"{arguments['playbook']}-{now.strftime('%Y%m%dT%H%M%SZ')}.json")
        atomic_write(path, (json.dumps(told, indent=2, sort_keys=True, default=str) + "\n").encode(), 0o644)
        lines = [*summary(told), f"  written to {path}"]
        for line in lines:
            self._display.display(line)
        result.update(changed=False, path=path, document=told, summary=lines)
        return result
