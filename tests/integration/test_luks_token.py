# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""luks_token with a real Tang server and a real security token (SoftHSM), and what a cut leaves; without a TPM."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import Ansible
from tests.integration.luks_play import TANG_URL as URL
from tests.integration.luks_play import TOKEN_PIN, TOKEN_URI, have_security_token, have_tang

pytestmark = pytest.mark.uml
NAME = "it-luks-token"
CHEAP = "--pbkdf argon2id --pbkdf-memory 32 --pbkdf-parallel 1 --pbkdf-force-iterations 4"  # for tests only
PASSPHRASE = "of-the-test-57c1"
UNLOCK = {"passphrase": PASSPHRASE}
Asked = dict[str, Any]


@pytest.fixture(scope="module", params=[pytest.param("11", marks=pytest.mark.slow), "13"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    name = f"{NAME}-{request.param}"
    machine = up(MachineSpec(name, release=request.param, engine="uml", disks=("64M",)), owner=os.getpid())
    have_tang(machine)
    yield machine
    machine.down()


@pytest.fixture
def ansible(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Ansible:
    return Ansible(tmp_path_factory.mktemp("token"), machine)


@pytest.fixture
def disk(machine: Machine) -> str:
    """A volume with one passphrase, made anew for each test."""
    disk = machine.disks[0]
    machine.run(
        f"printf {PASSPHRASE} > /run/key && wipefs -aq {disk}"
        f" && cryptsetup luksFormat -q --type luks2 {CHEAP} --key-file /run/key {disk} && rm /run/key"
    )
    return disk


@pytest.fixture
def tang(machine: Machine, disk: str) -> Asked:
    config = {"url": URL, "thp": machine.run("tang-show-keys").stdout.strip()}
    return {"device": disk, "kind": "clevis", "clevis_pin": "tang", "clevis_config": config, "unlock": UNLOCK}


def ask(ansible: Ansible, machine: Machine, asked: Asked, *options: str) -> dict[str, Any]:
    return ansible.module(machine.name, "luks_token", asked, *options)


def seen(machine: Machine, disk: str) -> tuple[list[int], list[tuple[str, list[int]]]]:
    """The numbers of the keyslots, and the types of the tokens with theirs, as cryptsetup tells them."""
    dump = machine.run(f"cryptsetup luksDump {disk}").stdout.partition("\nDigests:\n")[0]
    slots, tokens = dump.partition("\nKeyslots:\n")[2].partition("\nTokens:")[::2]
    told = re.split(r"^  \d+: ", tokens, flags=re.MULTILINE)[1:]
    return [int(number) for number in re.findall(r"^  (\d+): luks2", slots, re.MULTILINE)], [
        (text.split()[0], [int(number) for number in re.findall(r"\tKeyslot:\s+(\d+)", text)]) for text in told
    ]


def test_tang_opens_the_volume_and_the_second_run_does_nothing(machine: Machine, ansible: Ansible, tang: Asked) -> None:
    disk = tang["device"]
    predicted = ask(ansible, machine, tang, "--check", "--diff")
    assert seen(machine, disk) == ([0], [])
    done = ask(ansible, machine, tang, "--diff")
    assert (predicted["changed"], predicted["steps"], predicted["diff"]) == (True, done["steps"], done["diff"])
    assert seen(machine, disk) == ([0, 1], [("clevis", [1])])
    # What clevis itself makes of it, which is what unlocks at boot.
    assert machine.run(f"clevis luks list -d {disk}").stdout.strip() == f"""1: tang '{{"url":"{URL}"}}'"""
    machine.run(f"clevis luks unlock -d {disk} -n opened && cryptsetup close opened")
    # No secret, no clevis and no key derivation is needed to see that all is well.
    again = ask(ansible, machine, {name: value for name, value in tang.items() if name != "unlock"})
    assert (again["changed"], again["steps"], again["tokens"][0]["keyslots"]) == (False, [], [1])
    assert ask(ansible, machine, {**tang, "verify": True})["tokens"][0]["proven"] is True
    assert PASSPHRASE not in json.dumps([predicted, done, again])


def test_a_dead_token_is_told_and_enrolled_again(machine: Machine, ansible: Ansible, tang: Asked) -> None:
    ask(ansible, machine, tang)
    # The server has lost its keys and made new ones.
    keys = machine.run("ls -d /var/lib/tang /var/db/tang 2>/dev/null | tail -1").stdout.strip()
    machine.run(
        f"rm -f {keys}/*.jwk {keys}/.*.jwk; $(ls /usr/libexec/tangd-keygen /usr/lib/*/tangd-keygen 2>/dev/null) {keys}; chmod a+r {keys}/*"
    )
    thumbprint = machine.run("tang-show-keys").stdout.strip()
    assert ask(ansible, machine, tang)["changed"] is False, "only a trial shows it"
    refused = ask(ansible, machine, {**tang, "verify": True})
    assert refused["failed"] is True, "a server with other keys is not trusted"
    assert seen(machine, tang["device"])[1] == [("clevis", [1])]
    tang["clevis_config"]["thp"] = thumbprint
    done = ask(ansible, machine, {**tang, "exclusive": True, "verify": True})
    assert [step.split()[0] for step in done["steps"]] == ["Enrol", "Remove"]
    assert done["tokens"][0]["proven"] is True
    assert seen(machine, tang["device"]) == ([0, 2], [("clevis", [2])])


def test_the_threshold_of_two_servers(machine: Machine, ansible: Ansible, tang: Asked) -> None:
    other = {**tang["clevis_config"], "url": f"{URL}:80"}
    asked = {**tang, "clevis_pin": "sss", "clevis_config": {"t": 2, "pins": {"tang": [tang["clevis_config"], other]}}}
    assert ask(ansible, machine, asked)["changed"] is True
    assert ask(ansible, machine, {**asked, "verify": True})["changed"] is False
    gone = ask(ansible, machine, {"device": tang["device"], "kind": "clevis", "state": "absent"})
    assert gone["changed"] is True
    assert seen(machine, tang["device"]) == ([0], [])


def test_what_cannot_be_is_refused_and_nothing_is_changed(machine: Machine, ansible: Ansible, tang: Asked) -> None:
    disk, plain = tang["device"], {"device": tang["device"], "unlock": UNLOCK}
    tpm2 = {**plain, "kind": "tpm2", "tpm2_pcrs": [7]}
    old = machine.spec.release == "11"
    rows: dict[str, tuple[Asked, str]] = {
        "TPM absent": (tpm2, "systemd-cryptenroll is not installed" if old else "has no TPM"),
        "no FIDO2 authenticator": ({**plain, "kind": "fido2"}, "not installed" if old else "no FIDO2"),
        "a wrong secret": ({**tang, "unlock": {"passphrase": "wrong"}}, "does not open it"),
        "no secret": ({**tang, "unlock": None}, "Give unlock"),
        "a server that is not the one": (
            {**tang, "clevis_config": {"url": URL, "thp": "VegztZlVeNwdiJ7dYBZSG5tkMW9U1CWzwOFNPplLuZA"}},
            "clevis",
        ),
        "trust on first use": ({**tang, "clevis_config": {"url": URL}}, "first use"),
        "PCRs not said": ({**plain, "kind": "tpm2"}, "to which PCRs"),
    }
    before = machine.run(f"cryptsetup luksDump {disk} | grep -v Epoch").stdout
    tasks = [{"name": name, "rootoftrust.linux.luks_token": asked, "ignore_errors": True} for name, (asked, dummy) in rows.items()]
    run = ansible.playbook(json.dumps([{"hosts": machine.name, "gather_facts": False, "tasks": tasks}]))
    for name, (dummy, reason) in rows.items():
        result = run.result(machine.name, name)
        assert result.get("failed") is True, name
        assert reason in result["msg"], name
    assert machine.run(f"cryptsetup luksDump {disk} | grep -v Epoch").stdout == before


def test_luks1_and_the_last_way_in_are_refused(machine: Machine, ansible: Ansible, tang: Asked) -> None:
    disk = tang["device"]
    ask(ansible, machine, tang)
    machine.run(f"cryptsetup luksKillSlot -q {disk} 0")
    result = ask(ansible, machine, {"device": disk, "kind": "clevis", "state": "absent"})
    assert "Nothing would be left that opens" in result["msg"]
    assert seen(machine, disk) == ([1], [("clevis", [1])])
    machine.run(f"wipefs -aq {disk} && printf x | cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 {disk} -")
    assert "LUKS1 header" in ask(ansible, machine, tang)["msg"]


# --- cuts --------------------------------------------------------------------------------------------------------------

# Stands in for a program: it does its work, and where that was the Nth write to a header, the module is killed at once.
CUTTER = """#!/bin/sh
{real} "$@"; status=$?
case "$1 $2" in
luksAddKey*|luksKillSlot*|'token import'|'token remove'|--unlock-key-file*)
    left=$(($(cat /run/cut) - 1)); echo $left > /run/cut
    if [ $left -eq 0 ]; then {harm}; kill -9 $(ps -o ppid= $PPID); fi;;
esac
exit $status
"""


def stand_in(machine: Machine, program: str, harm: str = ":") -> None:
    machine.run(
        f"[ -e {program}.real ] || mv {program} {program}.real; cat > {program}; chmod 755 {program}",
        stdin=CUTTER.format(real=f"{program}.real", harm=harm),
    )


def withdraw(machine: Machine, program: str) -> None:
    machine.run(f"mv {program}.real {program}")


@pytest.mark.slow
def test_a_run_that_is_killed_after_any_write_is_finished_by_the_next(machine: Machine, ansible: Ansible, tang: Asked) -> None:
    if machine.spec.release == "11":
        pytest.skip("the same seams; shown on Debian 13")
    disk = tang["device"]
    stand_in(machine, "/usr/sbin/cryptsetup")
    try:
        # The note, the keyslot, the token, the end of the note; then the other token's keyslot, and the token itself.
        other = {**tang, "clevis_config": {**tang["clevis_config"], "url": f"{URL}:80"}, "exclusive": True}
        for turn, writes in enumerate(range(1, 7)):
            asked = ({**tang, "exclusive": True}, other)[turn % 2]
            machine.run(f"echo {writes} > /run/cut")
            if turn:  # the first has no other token to remove; it may be through before
                assert ask(ansible, machine, asked).get("failed") is True, writes
            machine.run("echo -1 > /run/cut")
            done = ask(ansible, machine, {**asked, "verify": True})
            assert done["tokens"][0]["proven"] is True, writes
            slots, tokens = seen(machine, disk)
            assert len(slots) == 2, (writes, slots)
            assert tokens == [("clevis", [slots[1]])], (writes, tokens)
    finally:
        withdraw(machine, "/usr/sbin/cryptsetup")


# --- a security token --------------------------------------------------------------------------------------------------


@pytest.fixture
def security_token(machine: Machine, disk: str) -> Asked:
    if machine.spec.release == "11":
        pytest.skip("Debian 11 has no systemd-cryptenroll")
    have_security_token(machine)
    return {"device": disk, "kind": "pkcs11", "pkcs11_uri": TOKEN_URI, "pkcs11_pin": TOKEN_PIN, "unlock": UNLOCK}


def test_a_security_token_opens_the_volume(machine: Machine, ansible: Ansible, security_token: Asked) -> None:
    disk = security_token["device"]
    done = ask(ansible, machine, security_token)
    assert done["changed"] is True
    assert ask(ansible, machine, {**security_token, "verify": True})["tokens"][0]["proven"] is True
    machine.run(f"printf {TOKEN_PIN} | cryptsetup open --test-passphrase --token-only {disk}")
    wrong = ask(ansible, machine, {**security_token, "pkcs11_pin": "11111", "verify": True})
    assert "is wrong" in wrong["msg"], "it is not tried until the token locks itself"
    assert seen(machine, disk) == ([0, 1], [("systemd-pkcs11", [1])])
    missing = ask(ansible, machine, {**security_token, "pkcs11_uri": "pkcs11:token=none;object=disk"})
    assert "not found" in missing["msg"]
    assert seen(machine, disk) == ([0, 1], [("systemd-pkcs11", [1])]), "and nothing is left of it"
    assert TOKEN_PIN not in json.dumps([done, wrong, missing])


def test_a_keyslot_that_systemd_made_without_its_token_is_removed(machine: Machine, ansible: Ansible, security_token: Asked) -> None:
    disk, program = security_token["device"], "/usr/bin/systemd-cryptenroll"
    # systemd-cryptenroll writes the keyslot, then the token; a cut between them leaves what this does.
    stand_in(machine, program, harm=f"cryptsetup token remove --token-id=1 {disk}")
    try:
        machine.run("echo 1 > /run/cut")
        assert ask(ansible, machine, security_token).get("failed") is True
    finally:
        withdraw(machine, program)
    assert seen(machine, disk) == ([0, 1], [("rootoftrust-pending", [])])
    done = ask(ansible, machine, security_token)
    assert "Remove keyslot 1" in done["steps"][0]
    assert seen(machine, disk) == ([0, 1], [("systemd-pkcs11", [1])])
