# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a run of the role kernel_keys takes that changes nothing, and how many modules it executes, by the number of keys."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from lab.machine import up
from lab.spec import MachineSpec
from tests.bench.site import invoked
from tests.integration.ansible_run import Ansible

NAME = "bench-keys"
COUNTS, REPETITIONS, MOST = (10, 200), 3, 4


def keys(count: int) -> list[dict[str, Any]]:
    """A master, and encrypted keys under it."""
    master = {"description": "kmk", "random": 32, "file": "/etc/keys/kmk"}
    under = {"type": "encrypted", "master": "user:kmk", "length": 32}
    return [master, *({**under, "description": f"key-{number}", "blob": f"/etc/keys/key-{number}"} for number in range(count - 1))]


def table() -> list[str]:
    """Markdown: whole runs of ansible-playbook against one User Mode Linux machine."""
    machine = up(MachineSpec(NAME, release="13", engine="uml"), owner=os.getpid())
    lines = ["| keys | module executions | first run | no change, min | no change, median |", "|---|---|---|---|---|"]
    try:
        with tempfile.TemporaryDirectory() as folder:
            ansible = Ansible(Path(folder), machine)
            for count in COUNTS:
                play = {"hosts": NAME, "gather_facts": False, "roles": ["rootoftrust.linux.kernel_keys"]}
                text = json.dumps([{**play, "vars": {"kernel_keys_keys": keys(count)}}])
                start = time.perf_counter()
                run = ansible.playbook(text)
                first = time.perf_counter() - start
                assert run.rc == 0, run.output[-2000:]
                times, executions = [], 0
                for dummy in range(REPETITIONS):
                    before = invoked(machine)
                    start = time.perf_counter()
                    run = ansible.playbook(text)
                    times.append(time.perf_counter() - start)
                    assert (run.rc, run.changed(NAME)) == (0, []), run.output[-2000:]
                    executions = invoked(machine) - before
                assert executions <= MOST
                lines.append(f"| {count} | {executions} | {first:.1f} s | {min(times):.2f} s | {statistics.median(times):.2f} s |")
    finally:
        machine.down()
    return lines
