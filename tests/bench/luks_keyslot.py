# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long luks_keyslot and community.crypto.luks_device take to see that a passphrase opens a volume already.

Each is a process that runs the module's main() on this host, in turns; the volume is on a loop device, for luks_device takes no file.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REPETITIONS = 5
SECRETS = [f"passphrase number {number}" for number in range(4)]
ENVIRONMENT = {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "PYTHONPATH": os.pathsep.join(sys.path)}
CHILD = """
import importlib, json, sys
from ansible.module_utils.testing import patch_module_args
ask = json.load(sys.stdin)
with patch_module_args(ask["arguments"]):
    importlib.import_module("ansible_collections." + ask["module"]).main()
"""
THEIRS, OURS = "community.crypto.luks_device", "rootoftrust.linux.luks_keyslot"


def table() -> list[str]:
    """Markdown."""
    if os.geteuid() != 0 or not Path("/dev/loop-control").exists():
        sys.exit("A loop device is needed to measure luks_keyslot: run this as root on a host that has them.")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "volume")
        with file.open("wb") as stream:
            stream.truncate(64 * 1024 * 1024)
        device = _run("losetup", "--find", "--show", str(file)).strip()
        try:
            return _table(device, Path(folder))
        finally:
            _run("losetup", "--detach", device)


def _table(device: str, folder: Path) -> list[str]:
    files = [folder / str(number) for number in range(len(SECRETS))]
    for file, secret in zip(files, SECRETS, strict=True):
        file.write_text(secret)
    _run("cryptsetup", "luksFormat", "-q", "--type", "luks2", "--key-file", str(files[0]), device)
    for number in range(1, len(files)):
        _run("cryptsetup", "luksAddKey", "-q", "--key-file", str(files[0]), "--key-slot", str(number), device, str(files[number]))
    known = {"device": device, "name": "admin", "passphrase": SECRETS[-1]}
    assert _module(OURS, known), "the last keyslot is given its name"
    asked: dict[str, tuple[str, dict[str, Any]]] = {
        THEIRS: (THEIRS, {"device": device, "state": "present", "passphrase": SECRETS[0], "new_passphrase": SECRETS[-1]}),
        OURS: (OURS, known),
        f"{OURS}, verify": (OURS, {**known, "verify": True}),
    }
    times: dict[str, list[float]] = {name: [] for name in asked}
    for dummy in range(REPETITIONS):
        for name, (module, arguments) in asked.items():
            start = time.perf_counter()
            changed = _module(module, arguments)
            times[name].append(time.perf_counter() - start)
            assert not changed, name
    medians = {name: statistics.median(found) for name, found in times.items()}
    lines = ["| module | min | median | of luks_device's median |", "|---|---|---|---|"]
    for name, found in times.items():
        lines.append(f"| {name} | {min(found):.2f} s | {medians[name]:.2f} s | {medians[name] / medians[THEIRS]:.3f} |")
    return [*lines, "", f"{medians[THEIRS] / medians[OURS]:.0f} times faster, goal ≥ 20."]


def _module(name: str, arguments: dict[str, Any]) -> bool:
    collection, dummy, module = name.rpartition(".")
    ask = json.dumps({"module": f"{collection}.plugins.modules.{module}", "arguments": arguments})
    told = json.loads(_run(sys.executable, "-c", CHILD, stdin=ask).strip().splitlines()[-1])
    return bool(told["changed"])


def _run(*command: str, stdin: str = "") -> str:
    return subprocess.run(command, env=ENVIRONMENT, input=stdin, capture_output=True, text=True, check=True, timeout=600).stdout
