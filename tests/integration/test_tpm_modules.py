# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""tpm_info and tpm2_primary on machines with a TPM, looked at with tpm2-tools and used by the kernel's trusted keys."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import Ansible
from tests.integration.secret_watch import SecretWatch, told

pytestmark = pytest.mark.uml
SECRET = "the owner of this TPM and no other"
TOOLS = "export TPM2TOOLS_TCTI=device:/dev/tpmrm0; "
ECC, RSA = "0x81000001", "0x81000002"


@pytest.fixture(scope="module", params=[pytest.param("11", marks=pytest.mark.slow), "13"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    machine = up(MachineSpec(f"it-tpm-{request.param}", release=request.param, engine="uml", tpm="2.0"), owner=os.getpid())
    yield machine
    machine.down()


@pytest.fixture(scope="module")
def ansible(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Ansible:
    return Ansible(tmp_path_factory.mktemp("tpm"), machine)


@pytest.fixture(autouse=True)
def cleared(machine: Machine) -> Iterator[None]:
    """An empty TPM without an owner; clearing also ends a lockout."""
    yield
    machine.run(f"{TOOLS} tpm2_clear -Q -c p || tpm2_clear -Q -c l; tpm2_dictionarylockout -Q -s -n 3 -t 1000 -l 1000", timeout=60)


def calls(machine: Machine, ansible: Ansible, *asked: dict[str, Any], options: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """The results of tpm2_primary, called once for each of the arguments, in one play, for that is quicker."""
    tasks = []
    for number, arguments in enumerate(asked):
        plain = {name: value for name, value in arguments.items() if name != "check"}
        task = {"name": f"it {number}.", "rootoftrust.linux.tpm2_primary": plain, "check_mode": arguments.get("check", False)}
        tasks.append({**task, "diff": True, "ignore_errors": True})
    run = ansible.playbook(json.dumps([{"hosts": machine.name, "gather_facts": False, "tasks": tasks}]), *options)
    assert told(run.output, SECRET) == []
    return [run.result(machine.name, f"it {number}.") for number in range(len(asked))]


def stories(machine: Machine, ansible: Ansible, *asked: dict[str, Any], options: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    """For each of the arguments: a check run predicts the real one, and the next needs no authorisation to find nothing to do."""
    three = []
    for arguments in asked:
        without = {name: value for name, value in arguments.items() if not name.startswith("owner_auth")}
        three += [{**arguments, "check": True}, arguments, without]
    results = calls(machine, ansible, *three, options=options)
    for predicted, result, again in zip(results[::3], results[1::3], results[2::3], strict=True):
        assert not result.get("failed"), result
        assert result["changed"] is True
        for field in ("changed", "steps", "diff"):
            assert predicted[field] == result[field]
        for before, after in zip(predicted["primaries"], result["primaries"], strict=True):
            assert before == {**after, "name": before["name"]}
        assert (again["changed"], again["steps"], again["primaries"]) == (False, [], result["primaries"])
    return results[1::3]


def persistent(machine: Machine) -> list[str]:
    lines = machine.run(f"{TOOLS} tpm2_getcap handles-persistent").stdout.split()
    return [word.lower() for word in lines if word.startswith("0x")]


def name_at(machine: Machine, handle: str) -> str:
    """The name of an object, as tpm2-tools tell it."""
    lines = machine.run(f"{TOOLS} tpm2_readpublic -c {handle}").stdout.splitlines()
    return next(line.split()[1] for line in lines if line.startswith("name:"))


def test_parents_are_made_kept_used_and_evicted(machine: Machine, ansible: Ansible) -> None:
    (first,) = stories(machine, ansible, {"handle": ECC})
    assert first["steps"] == [f"Make a primary key ecc256 of the owner hierarchy, and keep it at {ECC}."]
    assert first["primaries"][0]["name"] == name_at(machine, ECC)
    both = {"primaries": [{"handle": ECC}, {"handle": RSA, "algorithm": "rsa2048"}]}
    (second,) = stories(machine, ansible, both)
    assert [one["algorithm"] for one in second["primaries"]] == ["ecc256", "rsa2048"]
    assert len(second["steps"]) == 1, "only what was missing is made"
    assert persistent(machine) == [ECC, RSA]
    for handle in (ECC, RSA):
        machine.run(
            f"set -e; keyctl link @u @s; k=$(keyctl add trusted kmk 'new 32 keyhandle={handle}' @u); keyctl pipe $k > /root/blob; "
            'keyctl purge trusted kmk; keyctl add trusted kmk "load $(cat /root/blob)" @u; keyctl purge trusted kmk'
        )
    gone, _again = stories(machine, ansible, {"handle": ECC, "state": "absent"}, {"handle": RSA, "algorithm": "rsa2048", "state": "absent"})
    assert gone["steps"] == [f"Evict the key ecc256 at {ECC}."]
    assert persistent(machine) == []
    stories(machine, ansible, {"handle": ECC})
    assert name_at(machine, ECC) == first["primaries"][0]["name"], "made anew it is the same key"


def test_what_is_no_such_key_is_refused_and_left_alone(machine: Machine, ansible: Ansible) -> None:
    machine.run(f"{TOOLS} tpm2_createprimary -Q -C o -G rsa2048 -c /run/p && tpm2_evictcontrol -Q -C o -c /run/p {ECC}")
    before = name_at(machine, ECC)
    refused, kept, other, platform, twice = calls(
        machine, ansible, {"handle": ECC}, {"handle": ECC, "state": "absent"},
        {"handle": ECC, "da_protection": True, "algorithm": "ecc256"}, {"handle": "0x81800001"},
        {"primaries": [{"handle": RSA}, {"handle": str(int(RSA, 16))}]},
    )  # fmt: skip
    for result in (refused, kept):
        assert f"At {ECC} lies another object than described: it is not noda." in result["msg"]
    assert "it is rsa2048, not ecc256" in other["msg"]
    assert "is the platform's" in platform["msg"] and "asked for more than once" in twice["msg"]
    assert name_at(machine, ECC) == before and persistent(machine) == [ECC]
    described = {"handle": ECC, "algorithm": "rsa2048", "da_protection": True}
    (found,) = calls(machine, ansible, described)
    assert (found["changed"], found["primaries"][0]["name"]) == (False, before), "as tpm2-tools make it by default"
    stories(machine, ansible, {**described, "state": "absent"})
    assert persistent(machine) == []


def test_the_owner_authorisation_is_asked_for_proven_and_not_told(machine: Machine, ansible: Ansible) -> None:
    machine.run(f"{TOOLS} tpm2_changeauth -Q -c owner file:-", stdin=SECRET)
    none, wrong, early = calls(machine, ansible, {"handle": ECC, "check": True}, {"handle": ECC, "owner_auth": "wrong", "check": True},
                               {"handle": ECC, "owner_auth": "x" * 65})  # fmt: skip
    assert "The owner authorisation of the TPM is set, and none is given." in none["msg"]
    assert "The TPM refuses the owner authorisation given." in wrong["msg"]
    assert "longer than the 64 bytes" in early["msg"]
    assert persistent(machine) == []
    encoded = {"owner_auth": base64.b64encode(SECRET.encode()).decode(), "owner_auth_encoding": "base64"}
    with SecretWatch(machine, SECRET):
        stories(machine, ansible, {"handle": ECC, "owner_auth": SECRET}, {"handle": ECC, "state": "absent", **encoded}, options=("-vvvv",))
    seen = ansible.module(machine.name, "tpm_info", {})
    assert seen["authorisations"] == {"owner": True, "endorsement": False, "lockout": False}


def test_lockout_is_told_and_stops_nothing_that_it_does_not_have_to(machine: Machine, ansible: Ansible) -> None:
    machine.run(
        f"{TOOLS} tpm2_dictionarylockout -Q -s -n 1 -t 1000 -l 1000; tpm2_createprimary -Q -C o -c /run/p; "
        "echo -n data | tpm2_create -Q -C /run/p -p right -i - -u /run/u -r /run/r; tpm2_load -Q -C /run/p -u /run/u -r /run/r -c /run/s; "
        "tpm2_unseal -Q -c /run/s -p wrong",
        check=False,
    )
    seen = ansible.module(machine.name, "tpm_info", {})
    assert (seen["lockout"]["active"], seen["lockout"]["failures"], seen["lockout"]["limit"]) == (True, 1, 1)
    (made,) = stories(machine, ansible, {"handle": ECC})
    assert any("in lockout" in str(warning) for warning in made["warnings"])
    machine.run("keyctl link @u @s; keyctl add trusted kmk 'new 32 keyhandle=0x81000001' @u && keyctl purge trusted kmk")


def test_the_device_held_by_another_program(machine: Machine, ansible: Ansible) -> None:
    machine.run("systemd-run -q --unit=it-holder -p StandardInput=null sh -c 'exec sleep 600 <>/dev/tpm0'")
    try:
        machine.run("for n in $(seq 100); do ls -l /proc/*/fd 2>/dev/null | grep -q '/dev/tpm0$' && break; sleep 0.1; done")
        seen = ansible.module(machine.name, "tpm_info", {})
        assert [(one["program"], one["device"]) for one in seen["holders"]] == [("sleep", "/dev/tpm0")]
        assert seen["device"] == "/dev/tpmrm0", "the resource manager's can be opened all the same"
        machine.run("mv /dev/tpmrm0 /dev/away")
        try:
            (refused,) = calls(machine, ansible, {"handle": ECC})
            assert "/dev/tpm0 is held open by sleep (process " in refused["msg"]
            machine.run("systemctl stop it-holder")
            stories(machine, ansible, {"handle": ECC}, {"handle": ECC, "state": "absent"})
            assert machine.run("TPM2TOOLS_TCTI=device:/dev/tpm0 tpm2_getcap handles-transient").stdout.strip() == "", "nothing stays loaded"
        finally:
            machine.run("mv /dev/away /dev/tpmrm0")
    finally:
        machine.run("systemctl stop it-holder", check=False)


def test_all_is_told_of_a_tpm_that_is_in_use(machine: Machine, ansible: Ansible) -> None:
    machine.run(f"{TOOLS} tpm2_createek -Q -c 0x81010001 -G rsa -u /run/ek; tpm2_pcrextend 16:sha256={'ab' * 32}")
    seen = ansible.module(machine.name, "tpm_info", {}, "--check")
    assert (seen["changed"], seen["present"], seen["version"], seen["manufacturer"], seen["holders"]) == (False, True, "2.0", "IBM", [])
    assert [(one["handle"], one["algorithm"], one["storage_parent"]) for one in seen["persistent"]] == [("0x81010001", "rsa2048", True)]
    assert seen["persistent"][0]["name"] == name_at(machine, "0x81010001")
    for register in ("0", "16"):
        read = machine.run(f"{TOOLS} tpm2_pcrread sha256:{register}").stdout.lower().split()
        assert f"0x{seen['banks']['sha256'][register]}" == read[-1]
    assert seen["room"] > 0 and seen["states"] is None


def test_a_key_that_was_made_outlives_a_power_cut(machine: Machine, ansible: Ansible) -> None:
    (made,) = calls(machine, ansible, {"handle": ECC})
    machine.kill()
    machine.start()
    (after,) = calls(machine, ansible, {"handle": ECC})
    assert (after["changed"], after["primaries"]) == (False, made["primaries"])


def test_a_tpm_of_the_old_kind_and_none(tmp_path_factory: pytest.TempPathFactory) -> None:
    for version in ("1.2", None):
        machine = up(MachineSpec("it-tpm-other", engine="uml", tpm=version), owner=os.getpid())
        try:
            ansible = Ansible(tmp_path_factory.mktemp("tpm"), machine)
            seen = ansible.module(machine.name, "tpm_info", {})
            assert (seen["present"], seen["version"], seen["persistent"]) == (version is not None, version or "", [])
            (refused,) = calls(machine, ansible, {"handle": ECC})
            if version is None:
                assert "This host has no TPM" in refused["msg"]
            else:
                assert "version 1.2, which has no such keys" in refused["msg"]
                assert seen["manufacturer"] == "IBM" and len(seen["banks"]["sha1"]) == 24 and seen["states"]["owned"] is False
        finally:
            machine.down()
