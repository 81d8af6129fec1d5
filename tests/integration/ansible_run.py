# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Running Ansible as a user does, and reading its results task by task."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lab.machine import Machine
from lab.ssh import inventory_json

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Run:
    """What a run of Ansible said."""

    rc: int
    output: str

    @cached_property
    def told(self) -> dict[str, Any]:
        """The document of the JSON callback, which is the last thing printed."""
        start = [match.start() for match in re.finditer(r"^\{$", self.output, re.MULTILINE)]
        assert start, self.output[-3000:]
        document: dict[str, Any] = json.loads(self.output[start[-1] : self.output.rindex("\n}") + 2])
        return document

    def tasks(self, host: str) -> list[tuple[str, dict[str, Any]]]:
        """Each task that ran on a host, by name, with its result."""
        return [
            (task["task"]["name"], task["hosts"][host])
            for play in self.told["plays"]
            for task in play["tasks"]
            if host in task["hosts"] and not task["hosts"][host].get("skipped")
        ]

    def changed(self, host: str) -> list[str]:
        """The names of the tasks that changed something, in order."""
        return [name for name, result in self.tasks(host) if result.get("changed")]

    def result(self, host: str, task: str) -> dict[str, Any]:
        """The last result of a task, which is known by a part of its name."""
        found = [result for name, result in self.tasks(host) if task in name]
        assert found, f"no task {task!r}: {[name for name, dummy in self.tasks(host)]}"
        return found[-1]


class Ansible:
    """Ansible on this controller, for some machines, in a folder of the test's own."""

    def __init__(self, folder: Path, *machines: Machine) -> None:
        self.folder = folder
        self.inventory = folder / "inventory.json"
        self.inventory.write_text(inventory_json({machine.name: machine.inventory_vars() for machine in machines}))

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": os.environ.get("ANSIBLE_COLLECTIONS_PATH", str(ROOT / ".venv/collections")),
            "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json",
            "ANSIBLE_NOCOLOR": "1",
        }

    def playbook(self, playbook: Path | str, *arguments: str, timeout: float = 900) -> Run:
        """Run a playbook: a file, or the text of one."""
        if isinstance(playbook, str):
            path = self.folder / "playbook.yml"
            path.write_text(playbook)
            playbook = path
        return self._run(["ansible-playbook", "-i", str(self.inventory), str(playbook), *arguments], timeout)

    def module(self, host: str, name: str, arguments: dict[str, Any], *options: str, timeout: float = 300) -> dict[str, Any]:
        """Run one module of the collection and return its result."""
        task = {"hosts": host, "gather_facts": False, "tasks": [{f"rootoftrust.linux.{name}": arguments, "name": "it"}]}
        return self.playbook(json.dumps([task]), *options, timeout=timeout).result(host, "it")

    def _run(self, command: list[str], timeout: float) -> Run:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
        return Run(done.returncode, done.stdout)
