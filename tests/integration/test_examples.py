# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The examples in the modules' documentation are run as they stand, each module's on a fresh machine."""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import ROOT, Ansible
from tests.integration.test_tpm12 import ENDORSE, tell

pytestmark = pytest.mark.uml
# What an example needs that the machines do not have by themselves.
NEEDS: dict[str, dict[str, str]] = {"tpm2_primary": {"tpm": "2.0"}, "tpm_info": {"tpm": "2.0"}, "tpm12_owner": {"tpm": "1.2"}}
# Packages that the examples take to be there.
PACKAGES = dict.fromkeys(("pkcs11_info", "pkcs11_token", "pkcs11_key", "pkcs11_ssh_keys"), "softhsm2")
NAMES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))
# Their examples take a minute each, and say little that the modules' own tests do not.
LONG = {"luks_container", "luks_encryption", "luks_keyslot", "luks_token"}
MODULES = [pytest.param(name, marks=pytest.mark.slow) if name in LONG else name for name in NAMES]


def examples(module: str) -> str:
    tree = ast.parse((ROOT / f"plugins/modules/{module}.py").read_text())
    (text,) = [
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "EXAMPLES"
    ]
    return str(text)


@pytest.fixture
def machine(module: str) -> Iterator[Machine]:
    name = f"it-example-{module.replace('_', '-')}"
    machine = up(MachineSpec(name, release="13", engine="uml", disks=("64M",), **NEEDS.get(module, {})), owner=os.getpid())
    if NEEDS.get(module, {}).get("tpm") == "1.2":
        tell(machine, ENDORSE)
    if module in PACKAGES:
        machine.run(f"apt-get install -qq -y --no-install-recommends {PACKAGES[module]} > /dev/null", timeout=300)
    yield machine
    machine.down()


@pytest.mark.parametrize("module", MODULES)
def test_the_examples_run(machine: Machine, module: str, tmp_path: Path) -> None:
    tasks = yaml.safe_load(examples(module))
    assert tasks
    play = yaml.safe_dump([{"hosts": machine.name, "gather_facts": False, "tasks": tasks}], sort_keys=False)
    run = Ansible(tmp_path, machine).playbook(play)
    assert run.rc == 0, run.output[-3000:]
    assert [task["name"] for task in tasks] == [task["task"]["name"] for task in run.told["plays"][0]["tasks"]]


@pytest.mark.parametrize("module", ["readme"])
def test_the_playbook_of_the_readme_runs(machine: Machine, tmp_path: Path) -> None:
    (play,) = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    ansible = Ansible(tmp_path, machine)
    first = ansible.playbook(play)
    assert first.rc == 0, first.output[-3000:]
    assert ansible.playbook(play).changed(machine.name) == []
    assert machine.run("ssh-keygen -l -f /etc/ssh/ssh_host_rsa_key").stdout.startswith("4096 ")
    assert machine.run("ls /etc/ssh").stdout.count("Z~") == 4, "the old pairs are kept"
