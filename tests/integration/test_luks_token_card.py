# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""luks_token with a smart card that counts wrong PINs and locks itself after three: PIV in software, by pcscd and OpenSC."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from typing import Any

import pytest

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import ROOT, Ansible

pytestmark = pytest.mark.uml
RELEASES = [pytest.param("forky", marks=pytest.mark.slow), "13"]  # systemd takes a PIN from 256 on
PACKAGES = "vsmartcard-vpcd opensc opensc-pkcs11 pcscd p11-kit python3-cryptography"
CHEAP = "--pbkdf argon2id --pbkdf-memory 32 --pbkdf-parallel 1 --pbkdf-force-iterations 4"  # for tests only
PASSPHRASE, PIN, WRONG = "of-the-test-29a0", "123456", "000000"
URI = "pkcs11:token=A%20card%20for%20tests;manufacturer=piv_II"


@pytest.fixture(scope="module", params=RELEASES)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    machine = up(MachineSpec(f"it-luks-card-{request.param}", release=request.param, engine="uml", disks=("64M",)), owner=os.getpid())
    disk = machine.disks[0]
    machine.run(f"DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends {PACKAGES} > /dev/null", timeout=300)
    machine.run("base64 -d > /root/piv_card.py", stdin=base64.b64encode((ROOT / "lab/piv_card.py").read_bytes()).decode())
    machine.run(
        f"printf {PASSPHRASE} > /run/key && cryptsetup luksFormat -q --type luks2 {CHEAP} --key-file /run/key {disk} && rm /run/key"
    )
    insert(machine)
    yield machine
    machine.down()


def insert(machine: Machine) -> None:
    machine.run("systemctl start pcscd.socket; systemd-run -q --unit=card python3 /root/piv_card.py /root/card rsa2048")
    machine.run("for i in $(seq 100); do systemd-cryptenroll --pkcs11-token-uri=list | grep -q piv_II && exit 0; sleep 0.2; done; exit 1")


def tries(machine: Machine) -> int:
    return int(machine.run("grep -o '\"tries\": [0-9]*' /root/card").stdout.split()[1])


def test_a_wrong_pin_is_tried_once_and_the_card_never_locked(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> None:
    ansible = Ansible(tmp_path_factory.mktemp("card"), machine)

    def ask(pin: str, verify: bool = False) -> dict[str, Any]:
        token = {"device": machine.disks[0], "kind": "pkcs11", "pkcs11_uri": URI, "pkcs11_pin": pin, "unlock": {"passphrase": PASSPHRASE}}
        return ansible.module(machine.name, "luks_token", {"tokens": [token], "verify": verify})

    wrong = ask(WRONG)
    assert "is wrong; it was tried once" in wrong["msg"] and tries(machine) == 2
    done = ask(PIN)
    assert done["changed"] is True and tries(machine) == 3
    assert ask(PIN, verify=True)["tokens"][0]["proven"] is True
    assert ask(WRONG)["changed"] is False and tries(machine) == 3, "nothing is tried where nothing is to be done"
    for left in (2, 1, 1):
        refused = ask(WRONG, verify=True)
        assert refused["failed"] is True and tries(machine) == left, refused
    assert "so it is not tried here" in refused["msg"]
    # The owner proves it by hand, and the card counts anew.
    machine.run(f"printf {PIN} | cryptsetup open --test-passphrase --token-only {machine.disks[0]}")
    assert tries(machine) == 3 and ask(PIN, verify=True)["changed"] is False
