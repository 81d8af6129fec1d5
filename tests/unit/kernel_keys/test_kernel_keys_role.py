# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role kernel_keys makes of what kernel_key_info has seen: what is to be set up for boots, and what goes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
TOLD = ("loading", "early", "loader_ready", "initramfs_ready", "left", "settled")
FOLDER = "/usr/local/lib/rootoftrust"
LOADER = [f"{FOLDER}/kernel-keys-load", f"{FOLDER}/kernel-keys", "/etc/systemd/system/rootoftrust-kernel-keys.service"]
NOTE, HOOK = f"{FOLDER}/kernel-keys-initramfs", "/etc/initramfs-tools/scripts/init-bottom/rootoftrust-kernel-keys"
DRACUT = [f"/usr/lib/dracut/modules.d/76rootoftrust-kernel-keys/{name}" for name in ("module-setup.sh", "kernel-keys.sh")]
FILE = {"mode": "0644", "sha256": "0" * 64}
KEY = {"description": "kmk", "random": 32, "file": "/etc/keys/kmk"}


def asked(there: list[str], tool: str = "initramfs-tools", evm: bool = False, **variables: Any) -> dict[str, Any]:
    """The variables of a run that has found the keys as they should be.

    :param there: the files of the loader, each as the role would write it.
    """
    files = {path: FILE if path in there else None for path in (*LOADER, NOTE, HOOK, *DRACUT)}
    loader = {"keyctl": "/usr/bin/keyctl", "files": files, "initramfs": tool, "evm": evm, "enabled": True, "active": True}
    unchanged = {"changed": False}
    return {
        "kernel_keys_keys": [KEY],
        "kernel_keys_keyrings": [],
        "kernel_keys_at_boot": True,
        "kernel_keys_initramfs": False,
        "kernel_keys_evm": False,
        "__kernel_keys_seen": {"loader": loader},
        "__kernel_keys_files": [FILE] * 3,
        "__kernel_keys_initramfs_files": {
            "initramfs-tools": [{"dest": HOOK, "file": FILE}],
            "dracut": [{"dest": path, "file": FILE} for path in DRACUT],
        },
        **{f"__kernel_keys_{name}": unchanged for name in ("made", "rings", "image")},
        **variables,
    }


EARLY, RING = {"kernel_keys_initramfs": True}, {"kernel_keys_keyrings": [{"path": "@u/app"}]}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "all is there": (asked(LOADER), {"loading": True, "loader_ready": True, "left": [], "settled": True}),
    "no loader yet": (asked([]), {"loader_ready": False, "left": [], "settled": False}),
    "not at boot, and never was": (asked([], kernel_keys_at_boot=False), {"loading": False, "left": [], "settled": True}),
    "at boot no more": (asked(LOADER, kernel_keys_at_boot=False), {"loading": False, "left": sorted(LOADER), "settled": False}),
    "no keys any more": (asked(LOADER, kernel_keys_keys=[]), {"loading": False, "left": sorted(LOADER)}),
    "keyrings alone": (asked(LOADER, kernel_keys_keys=[], **RING), {"loading": True, "left": [], "settled": True}),
    "the hook": (asked([*LOADER, HOOK], **EARLY), {"early": True, "initramfs_ready": True, "left": [], "settled": True}),
    "the hook is to come": (asked(LOADER, **EARLY), {"initramfs_ready": False, "settled": False}),
    "an image that was made": (asked([*LOADER, HOOK], **EARLY, __kernel_keys_image={"changed": True}), {"settled": False}),
    "the hook no more": (asked([*LOADER, HOOK]), {"early": False, "left": [HOOK], "settled": False}),
    "the hook is gone, and its image is not made": (asked([*LOADER, NOTE]), {"left": [NOTE], "settled": False}),
    "dracut where initramfs-tools was": (asked([*LOADER, HOOK, *DRACUT], "dracut", **EARLY), {"initramfs_ready": True, "left": [HOOK]}),
    "nothing that is known": (asked(LOADER, "", **EARLY), {"initramfs_ready": False, "settled": False}),
    "EVM": (asked(LOADER, evm=True, kernel_keys_evm=True), {"loader_ready": True, "settled": True}),
    "EVM is not started": (asked(LOADER, kernel_keys_evm=True), {"loader_ready": False, "settled": False}),
}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the expressions of the role come to, of all cases, by one run."""
    path = tmp_path_factory.mktemp("role") / "play.yml"
    words = {name: f"{{{{ __kernel_keys_{name} }}}}" for name in TOLD}
    tasks = [{"name": name, "ansible.builtin.debug": {"msg": words}, "vars": variables} for name, (variables, dummy) in CASES.items()]
    variables = str(ROOT / "roles/kernel_keys/vars/main.yml")
    path.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "vars_files": [variables], "tasks": tasks}]))
    environment = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_LOCALHOST_WARNING": "false"}
    program = str(Path(sys.executable).parent / "ansible-playbook")
    done = subprocess.run([program, "-c", "local", "-i", "localhost,", path], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    (play,) = json.loads(done.stdout[done.stdout.index("{") :])["plays"]
    return {task["task"]["name"]: task["hosts"]["localhost"]["msg"] for task in play["tasks"]}


@pytest.mark.parametrize("case", CASES)
def test_what_is_set_up_and_what_goes(told: dict[str, dict[str, Any]], case: str) -> None:
    expected = CASES[case][1]
    assert {name: told[case][name] for name in expected} == expected
