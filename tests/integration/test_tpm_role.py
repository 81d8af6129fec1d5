# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role tpm on a machine with a TPM and on one without."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import Ansible, Run

pytestmark = pytest.mark.uml
TOOLS = "export TPM2TOOLS_TCTI=device:/dev/tpmrm0; "
OPEN = "os.close(os.open('/dev/tpmrm0', os.O_RDWR))"


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    machine = up(MachineSpec("it-tpm-role", engine="uml", tpm="2.0"), owner=os.getpid())
    yield machine
    machine.down()


@pytest.fixture(scope="module")
def ansible(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Ansible:
    return Ansible(tmp_path_factory.mktemp("role"), machine)


def role(ansible: Ansible, machine: Machine, entry: str, *options: str, **variables: Any) -> Run:
    task = {"name": "The role", "ansible.builtin.include_role": {"name": "rootoftrust.linux.tpm", "tasks_from": entry}}
    play = {"hosts": machine.name, "gather_facts": True, "gather_subset": ["!all", "min"], "vars": variables, "tasks": [task]}
    return ansible.playbook(json.dumps([play]), *options)


def test_access_and_parents_are_set_up_proven_and_kept(machine: Machine, ansible: Ansible) -> None:
    machine.run("useradd sealer")
    wanted: dict[str, Any] = {"tpm_users": ["sealer"], "tpm_primaries": [{"handle": "0x81000001"}]}
    refused = role(ansible, machine, "verify", **wanted)
    assert refused.rc != 0 and "Make a primary key ecc256" in refused.output, "the proof makes nothing, and misses it"
    predicted = role(ansible, machine, "main", "--check", **wanted)
    assert machine.run(f"{TOOLS} tpm2_getcap handles-persistent; id -nG sealer").stdout == "sealer\n"
    done = role(ansible, machine, "main", **wanted)
    assert done.rc == 0, done.output[-3000:]
    assert predicted.changed(machine.name) == done.changed(machine.name) != []
    again = role(ansible, machine, "main", **wanted)
    assert (again.rc, again.changed(machine.name)) == (0, [])
    machine.run(["runuser", "-u", "sealer", "--", "python3", "-c", f"import os; {OPEN}"])
    assert machine.run(["runuser", "-u", "nobody", "--", "python3", "-c", f"import os; {OPEN}"], check=False).returncode != 0
    machine.reboot_wait()
    assert role(ansible, machine, "verify", **wanted).rc == 0


def test_the_proof_tells_of_a_lockout(machine: Machine, ansible: Ansible) -> None:
    machine.run(
        f"{TOOLS} tpm2_dictionarylockout -Q -s -n 1 -t 1000 -l 1000; tpm2_createprimary -Q -C o -c /run/p; "
        "echo -n data | tpm2_create -Q -C /run/p -p right -i - -u /run/u -r /run/r; tpm2_load -Q -C /run/p -u /run/u -r /run/r -c /run/s; "
        "tpm2_unseal -Q -c /run/s -p wrong",
        check=False,
    )
    refused = role(ansible, machine, "verify")
    assert refused.rc != 0 and "in lockout after 1 wrong authorisations" in refused.output
    machine.run(f"{TOOLS} tpm2_dictionarylockout -Q -c")
    assert role(ansible, machine, "verify").rc == 0


def test_a_host_without_a_tpm_is_left_alone_unless_it_has_to_have_one(tmp_path_factory: pytest.TempPathFactory) -> None:
    machine = up(MachineSpec("it-tpm-role-none", engine="uml"), owner=os.getpid())
    try:
        ansible = Ansible(tmp_path_factory.mktemp("none"), machine)
        left = role(ansible, machine, "main", tpm_primaries=[{"handle": "0x81000001"}])
        assert left.rc == 0 and left.changed(machine.name) == [], left.output[-3000:]
        required = role(ansible, machine, "main", tpm_required=True)
        assert required.rc != 0 and "has no TPM" in required.output
    finally:
        machine.down()
