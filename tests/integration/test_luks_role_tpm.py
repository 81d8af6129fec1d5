# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role luks with a TPM that opens the volume no more: its token is enrolled anew, and nothing goes before it is seen to open."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from lab.machine import up
from lab.spec import MachineSpec
from tests.integration.ansible_run import Ansible
from tests.integration.luks_play import CHEAP, Story, derived, note_calls
from tests.integration.secret_watch import told

pytestmark = pytest.mark.uml
NAME = "it-luks-role-tpm"
FIRST, NEW = "first passphrase of data", "second passphrase of data"
PCR = 16  # of the debug register, which anybody may extend


class Data(Story):
    """One volume, which a TPM opens."""

    def recovery_key(self, version: str) -> str:
        (found,) = (self.ansible.folder / "escrow").glob(f"{NAME}-data-*-recovery-{version}.asc")
        return self.gpg("--decrypt", str(found)).strip()

    def tpm_opens(self) -> bool:
        return self.machine.run(f"cryptsetup open --test-passphrase --token-only {self.machine.disks[0]}", check=False).returncode == 0

    def opens(self, disk: int, passphrase: str) -> bool:
        """Whether the passphrase does, and not the TPM."""
        command = ["cryptsetup", "open", "--test-passphrase", "--disable-external-tokens", "--key-file=-", self.machine.disks[disk]]
        return self.machine.run(command, stdin=passphrase, check=False).returncode == 0

    def extend(self) -> None:
        self.machine.run(f"tpm2_pcrextend {PCR}:sha256={'ab' * 32}")
        assert not self.tpm_opens()

    def evidence(self) -> dict[str, Any]:
        document = json.loads(sorted((self.ansible.folder / "evidence").glob("encrypt_home-*.json"))[-1].read_text())
        evidence: dict[str, Any] = document["hosts"][NAME]["evidence"]["luks"]
        return evidence


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Data]:
    folder, gnupg = tmp_path_factory.mktemp("role"), tmp_path_factory.mktemp("gpg")
    gnupg.chmod(0o700)
    machine = up(MachineSpec(NAME, release="13", engine="uml", tpm="2.0", disks=("96M",)), owner=os.getpid())
    story = Data(machine, Ansible(folder, machine), gnupg)
    story.variables = {
        "luks_prompt": False,
        "luks_secrets": {"data": {"passphrase": FIRST}},
        "luks_volumes": [
            {
                "name": "data",
                "mount": "/srv/data",
                "device": machine.disks[0],
                "method": "format",
                "pbkdf": CHEAP,
                "unlock": {"tpm2": {"pcrs": [PCR]}, "passphrase": {"keep": False}},
                "recovery": {"recipients": [story.recipient()], "escrow": str(folder / "escrow")},
            }
        ],
    }
    yield story
    machine.down()


def test_the_passphrase_goes_when_the_tpm_opens_the_volume(story: Data) -> None:
    run = story.play("encrypt_home", "-vvvv")
    assert run.rc == 0, run.output[-3000:]
    assert told(run.output, FIRST, story.recovery_key("1")) == []
    assert (story.tpm_opens(), story.opens(0, FIRST), story.opens(0, story.recovery_key("1"))) == (True, False, True)
    assert (story.evidence()["proven"], story.evidence()["tried"]) == (True, True)


def test_a_run_that_has_nothing_to_do_tries_nothing_and_says_so(story: Data) -> None:
    story.extend()
    note_calls(story.machine)
    run = story.play("encrypt_home", luks_secrets={})
    assert (run.rc, run.changed(NAME), derived(story.machine)) == (0, [], [])
    assert story.evidence()["tried"] is False
    audit = story.play("audit", "--tags", "luks_verify")
    assert (audit.rc, "does not open the volume" in audit.output) == (2, True)


def test_a_dead_token_is_enrolled_anew_before_the_last_passphrase_goes(story: Data) -> None:
    old = story.recovery_key("1")
    volume = {"recover_device": story.machine.disks[0], "recover_name": "data"}
    run = story.play("recover", recover_key=old, recover_passphrase=NEW, recover_pbkdf=CHEAP, **volume)
    assert run.rc == 0, run.output[-3000:]
    assert story.opens(0, NEW)
    story.variables["luks_volumes"][0]["recovery"]["version"] = 2  # as YAML has it
    story.variables["luks_secrets"] = {"data": {"passphrase": NEW}}
    run = story.play("rotate_luks_keys")
    assert run.rc == 0, run.output[-3000:]
    order = [name.partition(" : ")[2] for name in run.changed(NAME)]
    assert order.index("Have the tokens that can be tried, and a dead one anew") < order.index("Take away what is not to be kept")
    assert (story.tpm_opens(), story.opens(0, NEW), story.opens(0, old)) == (True, False, False)
    assert story.opens(0, story.recovery_key("2"))
    assert story.play("rotate_luks_keys", luks_secrets={}).changed(NAME) == []


def test_without_a_reason_but_that_it_is_asked_for(story: Data) -> None:
    story.extend()
    key = story.recovery_key("2")
    run = story.play("encrypt_home", luks_try_tokens=True, luks_secrets={"data": {"unlock": key}})
    assert run.rc == 0, run.output[-3000:]
    assert story.tpm_opens()
    assert story.play("encrypt_home", luks_secrets={}).changed(NAME) == []
    assert story.play("audit", "--tags", "luks_verify").rc == 0
