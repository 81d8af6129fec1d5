# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""luks_token with a TPM 2.0: dead tokens, PINs, and an unattended boot after a power cut; also under the distributions' own kernels."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import Ansible
from tests.integration.luks_play import tokens, verbs

EMULATED = (pytest.mark.qemu, pytest.mark.slow)
PLACES = [
    pytest.param(("uml", "13"), marks=pytest.mark.uml),
    *(pytest.param(("qemu", release), marks=EMULATED) for release in ("12", "13")),
]
CHEAP = "--pbkdf argon2id --pbkdf-memory 32 --pbkdf-parallel 1 --pbkdf-force-iterations 4"  # for tests only
PASSPHRASE = "of-the-test-80e2"
PIN = "730219"


@pytest.fixture(scope="module", params=PLACES)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    engine, release = request.param
    machine = up(
        MachineSpec(f"it-luks-tpm-{engine}-{release}", release=release, engine=engine, tpm="2.0", disks=("64M",)), owner=os.getpid()
    )
    disk = machine.disks[0]
    machine.run(
        f"printf {PASSPHRASE} > /run/key && cryptsetup luksFormat -q --type luks2 {CHEAP} --key-file /run/key {disk} && rm /run/key"
    )
    yield machine
    machine.down()


@pytest.fixture(scope="module")
def ansible(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Ansible:
    return Ansible(tmp_path_factory.mktemp("tpm"), machine)


def ask(ansible: Ansible, machine: Machine, *options: str, verify: bool = False, **asked: Any) -> dict[str, Any]:
    token = {"device": machine.disks[0], "kind": "tpm2", "unlock": {"passphrase": PASSPHRASE}, **asked}
    result = ansible.module(machine.name, "luks_token", {"tokens": [token], "verify": verify}, *options)
    assert PASSPHRASE not in json.dumps(result)
    assert PIN not in json.dumps(result)
    return result


def test_the_tpm_opens_the_volume_until_a_pcr_changes_and_again_after_that(machine: Machine, ansible: Ansible) -> None:
    predicted = ask(ansible, machine, "--check", "--diff", tpm2_pcrs=[16])
    assert tokens(machine) == []
    done = ask(ansible, machine, "--diff", tpm2_pcrs=[16])
    assert (predicted["changed"], predicted["steps"], predicted["diff"]) == (True, done["steps"], done["diff"])
    assert ask(ansible, machine, tpm2_pcrs=[16], unlock=None, verify=True)["tokens"][0]["proven"] is True
    machine.run(f"tpm2_pcrextend 16:sha256={'ab' * 32}")
    assert ask(ansible, machine, tpm2_pcrs=[16])["changed"] is False, "only a trial shows it"
    predicted = ask(ansible, machine, "--check", tpm2_pcrs=[16], verify=True)
    done = ask(ansible, machine, tpm2_pcrs=[16], verify=True)
    assert predicted["steps"] == done["steps"]
    assert verbs(done) == ["Remove", "Enrol"]
    assert "it does not open the volume" in done["steps"][0]
    assert done["tokens"][0]["proven"] is True
    assert len(tokens(machine)) == 1


def test_a_token_that_systemd_calls_enrolled_but_is_dead_is_enrolled_again(machine: Machine, ansible: Ansible) -> None:
    machine.run("tpm2_clear")
    done = ask(ansible, machine, tpm2_pcrs=[16], verify=True)
    assert verbs(done) == ["Remove", "Enrol"]
    assert done["tokens"][0]["proven"] is True
    assert len(tokens(machine)) == 1


def test_pcrs_and_pin_are_changed_by_a_new_token_before_the_old_one_goes(machine: Machine, ansible: Ansible) -> None:
    done = ask(ansible, machine, tpm2_pcrs=[7], tpm2_pin=PIN, exclusive=True)
    assert verbs(done) == ["Enrol", "Remove"]
    (token,) = tokens(machine)
    assert (token["tpm2-pcrs"], token["tpm2-pin"]) == ([7], True)
    machine.run(f"printf {PIN} | cryptsetup open --test-passphrase --token-only {machine.disks[0]}")
    assert ask(ansible, machine, tpm2_pcrs=[7], tpm2_with_pin=True, unlock=None)["changed"] is False
    assert "asks for a PIN" in ask(ansible, machine, tpm2_pcrs=[7], tpm2_with_pin=True, verify=True)["msg"]


def test_a_run_that_is_killed_before_the_proof_is_finished_by_the_next(machine: Machine, ansible: Ansible) -> None:
    program = "/usr/bin/systemd-cryptenroll"
    killer = f'#!/bin/sh\n{program}.real "$@" || exit\ncase "$1" in --unlock*) kill -9 $(ps -o ppid= $PPID);; esac\n'
    machine.run(f"mv {program} {program}.real; cat > {program}; chmod 755 {program}", stdin=killer)
    try:
        assert ask(ansible, machine, tpm2_pcrs=[], exclusive=True)["failed"] is True
    finally:
        machine.run(f"mv {program}.real {program}")
    assert "rootoftrust-pending" in [token["type"] for token in tokens(machine)]
    done = ask(ansible, machine, tpm2_pcrs=[], exclusive=True)
    assert "Remove the note" in done["steps"][0]
    assert "Enrol" not in verbs(done), "what is proven now need not be made once more"
    (token,) = tokens(machine)
    assert (token["tpm2-pcrs"], token.get("tpm2-pin", False)) == ([], False)


def test_after_a_power_cut_the_volume_is_opened_at_boot_with_nobody_there(machine: Machine, ansible: Ansible) -> None:
    disk = machine.disks[0]
    assert ask(ansible, machine, tpm2_pcrs=[7], exclusive=True)["changed"] is True
    entry = {"name": "data", "device": f"UUID={machine.run(f'cryptsetup luksUUID {disk}').stdout.strip()}"}
    options = ["luks", "tpm2-device=auto", "nofail", "x-systemd.device-timeout=90"]
    assert ansible.module(machine.name, "crypttab_entry", {**entry, "options": options})["changed"] is True
    machine.run("sync")
    machine.kill()
    machine.start()
    machine.run(
        "for turn in $(seq 60); do [ -e /dev/mapper/data ] && exit; sleep 1; done; systemctl status systemd-cryptsetup@data; exit 1"
    )
    assert ask(ansible, machine, tpm2_pcrs=[7], verify=True)["changed"] is False


def test_the_tokens_go_with_their_keyslots(machine: Machine, ansible: Ansible) -> None:
    assert verbs(ask(ansible, machine, state="absent")) == ["Remove"]
    assert tokens(machine) == []
