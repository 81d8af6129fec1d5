# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a run of site.yml takes that changes nothing, against a play that only gathers facts on the same host."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import ROOT, Ansible

REPETITIONS = 5
NAME = "bench-site"
FACTS = f"[{{hosts: {NAME}, gather_facts: true, tasks: []}}]"


def table() -> list[str]:
    """Markdown: both plays in turns on one User Mode Linux machine, each a whole ansible-playbook from start to end."""
    machine = up(MachineSpec(NAME, release="13", engine="uml"), owner=os.getpid())
    try:
        with tempfile.TemporaryDirectory() as folder:
            ansible = Ansible(Path(folder), machine)
            site = ROOT / "playbooks/site.yml"
            assert ansible.playbook(site).rc == 0
            times: dict[str, list[float]] = {"only gathers facts": [], "site.yml, nothing to change": []}
            executions = 0
            for dummy in range(REPETITIONS):
                for name, playbook in zip(times, (FACTS, site), strict=True):
                    before = invoked(machine)
                    start = time.perf_counter()
                    run = ansible.playbook(playbook)
                    times[name].append(time.perf_counter() - start)
                    assert (run.rc, run.changed(NAME)) == (0, []), run.output[-2000:]
                    executions = invoked(machine) - before
    finally:
        machine.down()
    facts, whole = (statistics.median(found) for found in times.values())
    lines = ["| play | min | median | of the facts' median |", "|---|---|---|---|"]
    for name, found in times.items():
        median = statistics.median(found)
        lines.append(f"| {name} | {min(found):.2f} s | {median:.2f} s | {median / facts:.2f} |")
    lines += [
        "",
        f"Module executions on the host in such a run: {executions} (and 1 on the controller). Ratio {whole / facts:.2f}, goal ≤ 2.5.",
    ]
    return lines


def invoked(machine: Machine) -> int:
    """How many modules the machine has run since it booted: each writes one line into its journal."""
    journal = machine.run("journalctl -b -o cat --no-pager").stdout
    return journal.count("\nInvoked")
