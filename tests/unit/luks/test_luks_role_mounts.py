# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role luks asks of fstab: a boot waits for a volume unless what opens it comes later than local file systems."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
UUID = "0d3f0000-0000-4000-8000-000000000000"
WAITS, GOES_ON = "nofail,x-systemd.device-timeout=90s,x-systemd.before=local-fs.target", "nofail,x-systemd.device-timeout=90s"

# mount: what is asked for, the options that fstab has now, and those it should have
CASES: dict[str, tuple[dict[str, Any], str, str]] = {
    "/passphrase": ({}, "nodev", f"nodev,{WAITS}"),
    "/as-it-is": ({"unlock": {"tpm2": {"pcrs": [7]}, "key_file": {}}}, f"nodev,{WAITS}", f"nodev,{WAITS}"),
    "/other-time": ({}, "nodev,nofail,x-systemd.device-timeout=5s", f"nodev,{WAITS}"),
    "/given": ({"filesystem": {"mount_options": ["noatime"]}}, "nodev", f"noatime,{WAITS}"),
    "/tang": ({"unlock": {"clevis": {"pin": "tang", "config": {}}}}, f"_netdev,{WAITS}", f"_netdev,{GOES_ON}"),
    "/card": ({"unlock": {"pkcs11": {"uri": "pkcs11:"}}}, "defaults", f"defaults,{GOES_ON}"),
    "/network": ({"crypttab_options": ["_netdev"]}, "_netdev", f"_netdev,{GOES_ON}"),
}


def seen(mount: str, options: str) -> dict[str, Any]:
    """What luks_info says of an encrypted volume that is mounted."""
    return {
        "path": f"/dev{mount}",
        "lasting_path": f"/dev{mount}",
        "luks": True,
        "header": {"uuid": UUID, "tokens": [], "keyslots": []},
        "records": [],
        "reencryption": None,
        "mapping": mount[1:],
        "inside": {"uuid": UUID, "type": "ext4"},
        "mounts": [{"target": mount}],
        "fstab": [{"target": mount, "source": f"UUID={UUID}", "options": options.split(",")}],
    }


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("mounts")
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars_files": [str(ROOT / "roles/luks/defaults/main.yml"), str(ROOT / "roles/luks/vars/main.yml")],
        "vars": {"__luks_seen": {"devices": [seen(mount, now) for mount, (dummy, now, dummy_too) in CASES.items()]}},
        "tasks": [
            {"ansible.builtin.copy": {"content": "{{ __luks_mounts | to_json }}", "dest": str(folder / "mounts.json"), "mode": "0600"}}
        ],
    }
    (folder / "play.json").write_text(json.dumps([play]))
    (folder / "volumes.json").write_text(
        json.dumps({"luks_volumes": [{"mount": mount, **more} for mount, (more, *dummy) in CASES.items()]})
    )
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    command = [BIN / "ansible-playbook", "-e", f"@{folder / 'volumes.json'}", folder / "play.json"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-3000:]
    return {place["volume"]["mount"]: place for place in json.loads((folder / "mounts.json").read_text())}


@pytest.mark.parametrize("mount", CASES)
def test_what_fstab_should_have(mount: str, asked: dict[str, dict[str, Any]]) -> None:
    dummy, now, wanted = CASES[mount]
    assert (",".join(asked[mount]["options"]), asked[mount]["due"]) == (wanted, now != wanted)
