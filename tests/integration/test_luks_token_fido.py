# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""luks_token with a FIDO2 authenticator, in software behind the kernel's HID devices: touched, forgetful, pulled out, with a PIN."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import ROOT, Ansible
from tests.integration.luks_play import tokens, verbs
from tests.integration.secret_watch import told

pytestmark = pytest.mark.uml
RELEASES = [*(pytest.param(release, marks=pytest.mark.slow) for release in ("12", "forky")), "13"]  # 11 has no systemd-cryptenroll
CHEAP = "--pbkdf argon2id --pbkdf-memory 32 --pbkdf-parallel 1 --pbkdf-force-iterations 4"  # for tests only
PASSPHRASE, PIN = "of-the-test-17f4", "pin-of-the-test-5d"
FREE, LOCKED = "/root/free", "/root/locked"  # authenticators: one without a PIN, and one with
INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends libfido2-1 python3-cryptography > /dev/null"


@pytest.fixture(scope="module", params=RELEASES)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    name = f"it-luks-fido-{request.param}"
    machine = up(MachineSpec(name, release=request.param, engine="uml", needs=("uhid",), disks=("64M",)), owner=os.getpid())
    machine.run(f"{INSTALL} && modprobe -a uhid hid-generic", timeout=300)
    machine.run("base64 -d > /root/fido_key.py", stdin=base64.b64encode((ROOT / "lab/fido_key.py").read_bytes()).decode())
    yield machine
    machine.down()


@pytest.fixture(scope="module")
def ansible(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Ansible:
    return Ansible(tmp_path_factory.mktemp("fido"), machine)


@pytest.fixture(autouse=True)
def volume(machine: Machine) -> Iterator[None]:
    """A volume with one passphrase, and no authenticator."""
    disk = machine.disks[0]
    machine.run(
        f"printf {PASSPHRASE} > /run/key && wipefs -aq {disk}"
        f" && cryptsetup luksFormat -q --type luks2 {CHEAP} --key-file /run/key {disk} && rm /run/key"
    )
    yield
    pull(machine)
    machine.run(f"rm -f {FREE} {LOCKED}")


def insert(machine: Machine, path: str, pin: str = "") -> None:
    machine.run(f"systemd-run -q --unit=fido python3 /root/fido_key.py {path} {pin}")
    machine.run("for i in $(seq 100); do systemd-cryptenroll --fido2-device=list | grep -q hidraw && exit 0; sleep 0.1; done; exit 1")


def pull(machine: Machine) -> None:
    machine.run("systemctl stop fido 2>/dev/null; udevadm settle", check=False)


def change(machine: Machine, path: str, text: str) -> None:
    """Change what an authenticator keeps, by a line of Python on ``state``."""
    machine.run("python3 -", stdin=f"import json\nstate = json.load(open('{path}'))\n{text}\njson.dump(state, open('{path}', 'w'))\n")


def tries(machine: Machine) -> int:
    return int(json.loads(machine.run(f"cat {LOCKED}").stdout)["tries"])


def ask(ansible: Ansible, machine: Machine, *options: str, verify: bool = False, **asked: Any) -> dict[str, Any]:
    token = {"device": machine.disks[0], "kind": "fido2", "unlock": {"passphrase": PASSPHRASE}, **asked}
    result = ansible.module(machine.name, "luks_token", {"tokens": [token], "verify": verify}, *options)
    assert told(json.dumps(result), PASSPHRASE, PIN) == []
    return result


def attach(machine: Machine, *options: str) -> bool:
    """Whether systemd opens the volume as at boot, with nobody there."""
    program = "$(ls /usr/lib/systemd/systemd-cryptsetup /usr/bin/systemd-cryptsetup 2>/dev/null | head -1)"
    asked = ",".join(["fido2-device=auto", "headless=yes", *options])
    done = machine.run(f"timeout 30 {program} attach fido {machine.disks[0]} - {asked} && {program} detach fido", check=False, timeout=60)
    return done.returncode == 0


def test_an_authenticator_that_is_touched_opens_the_volume(machine: Machine, ansible: Ansible) -> None:
    insert(machine, FREE)
    predicted = ask(ansible, machine, "--check", "--diff", fido2_with_pin=False)
    assert tokens(machine) == []
    done = ask(ansible, machine, "--diff", fido2_with_pin=False)
    assert (predicted["changed"], predicted["steps"], predicted["diff"]) == (True, done["steps"], done["diff"])
    (token,) = tokens(machine)
    assert (token["type"], token["fido2-clientPin-required"], token["fido2-up-required"]) == ("systemd-fido2", False, True)
    assert attach(machine)
    again = ask(ansible, machine, fido2_with_pin=False, unlock=None)
    assert (again["changed"], again["steps"]) == (False, [])
    assert ask(ansible, machine, fido2_with_pin=False, unlock=None, verify=True)["tokens"][0]["proven"] is True


def test_one_that_nobody_touches_leaves_nothing_behind(machine: Machine, ansible: Ansible) -> None:
    insert(machine, FREE)
    change(machine, FREE, "state['touch'] = False")
    refused = ask(ansible, machine, fido2_with_pin=False)
    assert refused["failed"] is True and tokens(machine) == []
    change(machine, FREE, "state['touch'] = True")
    assert ask(ansible, machine, fido2_with_pin=False)["changed"] is True, "nothing but the touch was missing"


def test_one_that_has_forgotten_is_told_and_enrolled_again(machine: Machine, ansible: Ansible) -> None:
    insert(machine, FREE)
    ask(ansible, machine, fido2_with_pin=False)
    change(machine, FREE, "state['credentials'] = {}")
    assert ask(ansible, machine, fido2_with_pin=False)["changed"] is False, "only a trial shows it"
    predicted = ask(ansible, machine, "--check", fido2_with_pin=False, verify=True)
    done = ask(ansible, machine, fido2_with_pin=False, verify=True)
    assert predicted["steps"] == done["steps"] and verbs(done) == ["Enrol", "Remove"]
    assert done["tokens"][0]["proven"] is True and len(tokens(machine)) == 1 and attach(machine)


def test_one_that_is_pulled_out_is_missed(machine: Machine, ansible: Ansible) -> None:
    insert(machine, FREE)
    ask(ansible, machine, fido2_with_pin=False)
    pull(machine)
    assert ask(ansible, machine, fido2_with_pin=False, unlock=None)["changed"] is False
    missed = ask(ansible, machine, fido2_with_pin=False, verify=True)
    assert missed["failed"] is True and "no FIDO2" in missed["msg"] and len(tokens(machine)) == 1
    gone = ask(ansible, machine, state="absent", unlock=None)
    assert gone["changed"] is True and tokens(machine) == []
    new = ask(ansible, machine, fido2_with_pin=False)
    assert "no FIDO2" in new["msg"] and tokens(machine) == []


def test_its_pin_is_tried_once(machine: Machine, ansible: Ansible) -> None:
    insert(machine, LOCKED, PIN)
    if machine.spec.release == "12":
        refused = ask(ansible, machine, fido2_pin=PIN)
        assert "256" in refused["msg"] and tokens(machine) == [] and tries(machine) == 8
        return
    wrong = ask(ansible, machine, fido2_pin="000000")
    assert "is wrong; it was tried once" in wrong["msg"] and tokens(machine) == [] and tries(machine) == 7
    done = ask(ansible, machine, fido2_pin=PIN)
    (token,) = tokens(machine)
    assert done["changed"] is True and token["fido2-clientPin-required"] is True and tries(machine) == 8
    assert ask(ansible, machine, fido2_pin=PIN, unlock=None, verify=True)["tokens"][0]["proven"] is True
    other = ask(ansible, machine, fido2_pin="000000", unlock=None, verify=True)
    assert "is wrong; it was tried once" in other["msg"] and len(tokens(machine)) == 1 and tries(machine) == 7
    change(machine, LOCKED, "state['tries'] = 1")
    last = ask(ansible, machine, fido2_pin="000000", unlock=None, verify=True)
    assert "so none is tried here" in last["msg"] and tries(machine) == 1
    change(machine, LOCKED, "state['tries'] = 0")
    locked = ask(ansible, machine, fido2_pin=PIN, unlock=None, verify=True)
    assert "is locked" in locked["msg"]
    change(machine, LOCKED, "state['tries'] = 8")
    again = ask(ansible, machine, fido2_with_pin=True, unlock=None)
    assert again["changed"] is False and not attach(machine), "nobody types it"
    machine.run(f"printf {PIN} | cryptsetup open --test-passphrase --token-only {machine.disks[0]}")
    assert tries(machine) == 8
