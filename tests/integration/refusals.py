# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows of what a module has to refuse, asked in one play: each row prepares the machine, asks, and puts it back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.machine import Machine
from tests.integration.ansible_run import Ansible

SAID = "/run/refusals.before"  # what the commands before said


@dataclass(frozen=True)
class Row:
    """Shell commands before (each must do well) and after, what is asked for, and commands that tell what must not have changed."""

    before: str
    asked: dict[str, Any]
    look: str
    after: str = "true"


@dataclass(frozen=True)
class Refusal:
    """The module's result, and what was seen before and after it."""

    result: dict[str, Any]
    before: str
    after: str

    def holds(self, *words: str) -> None:
        """It failed, said why, and changed nothing."""
        assert self.result.get("failed") is True, self.result
        for word in words:
            assert word in self.result["msg"], self.result["msg"]
        assert (self.result["changed"], self.result["steps"]) == (False, [])
        assert self.after == self.before, "not a byte is another one"


def refusals(machine: Machine, ansible: Ansible, module: str, rows: Mapping[str, Row]) -> tuple[dict[str, Refusal], str]:
    """Each row's refusal, and all that Ansible printed."""
    tasks: list[dict[str, Any]] = []
    for name, row in rows.items():
        before = f"( set -e; {row.before}\n) >{SAID} 2>&1 || {{ cat {SAID}; exit 1; }}"
        tasks += [
            {"name": f"{name}: before", "ansible.builtin.raw": f"{before}; {row.look}"},
            {"name": f"{name}: it", f"rootoftrust.linux.{module}": row.asked, "ignore_errors": True},
            {"name": f"{name}: after", "ansible.builtin.raw": f"{row.look}; {{ {row.after}\n}} >/dev/null 2>&1; true"},
        ]
    play = {"hosts": machine.name, "gather_facts": False, "vars": {"ansible_ssh_use_tty": False}, "tasks": tasks}
    run = ansible.playbook(json.dumps([play]))
    assert run.rc == 0, run.output[-3000:]
    found = dict(run.tasks(machine.name))
    told = {name: (found[f"{name}: it"], found[f"{name}: before"], found[f"{name}: after"]) for name in rows}
    return {name: Refusal(it, before["stdout"], after["stdout"]) for name, (it, before, after) in told.items()}, run.output
