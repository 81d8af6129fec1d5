# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules for PKCS#11 tokens, with SoftHSM and openCryptoki of the releases; pkcs11-tool of OpenSC and ssh-keygen look on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import Ansible
from tests.integration.key_calls import Call, calls, shell, stories
from tests.integration.module_bench import Bench
from tests.integration.secret_watch import SecretWatch, told

pytestmark = pytest.mark.uml
RELEASES = [*(pytest.param(release, marks=pytest.mark.slow) for release in ("11", "12", "forky")), "13"]
SO_PIN, PIN = "5823905723", "90472815"
OCK_SO_PIN, OCK_PIN = "58239057", "90472815"  # openCryptoki's token in software takes 4 to 8
# What the role does: Debian's 3.27 gives these folders to root alone, and its tokens then refuse them.
OWN = "chgrp -R pkcs11 /var/lib/opencryptoki; chmod -R g+rwX /var/lib/opencryptoki"
INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends softhsm2 opencryptoki opensc > /dev/null"


@pytest.fixture(scope="module", params=RELEASES)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    machine = up(MachineSpec(f"it-pkcs11-{request.param}", release=request.param, engine="uml"), owner=os.getpid())
    machine.run(INSTALL, timeout=300)
    yield machine
    machine.down()


@pytest.fixture(scope="module")
def bench(machine: Machine) -> Iterator[Bench]:
    bench = Bench(machine)
    yield bench
    bench.close()


@pytest.fixture
def empty(machine: Machine) -> None:
    """SoftHSM without a token."""
    machine.run("rm -rf /var/lib/softhsm/tokens/*")


def token(**options: Any) -> Call:
    return "pkcs11_token", {"library": "softhsm2", "so_pin": SO_PIN, "user_pin": PIN, **options}


def key(**options: Any) -> Call:
    return "pkcs11_key", {"library": "softhsm2", "token": "One", "pin": PIN, **options}


@pytest.mark.usefixtures("empty")
def test_a_token_is_made_once_and_never_again(machine: Machine, bench: Bench) -> None:
    (made, proven) = stories(bench, token(label="One"), shell("pkcs11-tool --module $(ls /usr/lib/*/softhsm/libsofthsm2.so) -L"))
    assert [step.split()[0] for step in made["steps"]] == ["Initialise", "Set"]
    assert "One" in proven["stdout"]
    assert made["tokens"][0]["user_pin"] is True and made["tokens"][0]["unhealthy"] == []
    serial = made["tokens"][0]["serial"]
    right, other, info = calls(bench, token(label="One", verify=True), token(label="Two"), ("pkcs11_info", {"library": "softhsm2"}))
    assert right["changed"] is False
    assert other["changed"] is True, "SoftHSM always has one more slot with a token that is free"
    assert info["healthy"] is True and {slot["token"]["label"] for slot in info["slots"]} >= {"One", "Two"}
    assert "ECDSA" in info["slots"][0]["mechanisms"]
    number = next(slot["slot"] for slot in info["slots"] if slot["token"]["label"] == "One")
    refused, wrong = calls(bench, token(label="Three", slot=number), token(label="Three", slot=number, wipe="0000"))
    assert all("already initialised, as 'One'" in result["msg"] and serial in result["msg"] for result in (refused, wrong))
    (wiped,) = stories(bench, token(label="Three", wipe=serial))
    assert len(wiped["steps"]) == 2


@pytest.mark.usefixtures("empty")
def test_key_pairs(machine: Machine, bench: Bench) -> None:
    """Each kind is made, signs, is found again, and has the public key that ssh-keygen reads too."""
    calls(bench, token(label="One"))
    kinds = ["rsa2048", "rsa3072", "nistp256", "nistp384", "nistp521", "ed25519"]
    keys = [{"label": f"a {kind}", "id": f"0{place}", "algorithm": kind, "verify": True} for place, kind in enumerate(kinds)]
    (made,) = stories(bench, key(keys=keys))
    assert len(made["steps"]) == len(kinds)
    module = "$(ls /usr/lib/*/softhsm/libsofthsm2.so)"
    lines = machine.run(f"ssh-keygen -D {module} 2>/dev/null").stdout.splitlines()
    (read,) = calls(bench, ("pkcs11_ssh_keys", {"library": "softhsm2"}))
    ours = {line["key"] for line in read["ssh_keys"]}
    assert {line.split()[1] for line in lines} <= ours and len(ours) == 6 and read["others"] == []
    assert [one["type"] for one in read["ssh_keys"]][-1] == "ssh-ed25519", "also where ssh-keygen -D passes it over"
    machine.run("\n".join(f"echo '{one['public_key']}' | ssh-keygen -l -f - | grep -F '{one['fingerprint']}'" for one in read["ssh_keys"]))
    (without_pin, wrong_kind, twice) = calls(
        bench, ("pkcs11_key", {"library": "softhsm2", "token": "One", "label": "a nistp256"}),
        key(label="a nistp256", algorithm="rsa2048"), key(keys=[{"label": "a", "id": "01"}, {"label": "a", "id": "01"}]),
    )  # fmt: skip
    assert without_pin["changed"] is False, "a public key is there for all to see"
    assert "is nistp256, not rsa2048" in wrong_kind["msg"] and "more than once" in twice["msg"]
    (gone,) = stories(bench, key(label="a rsa2048", id="00", algorithm="rsa2048", state="absent"))
    assert len(gone["steps"]) == 1
    (no_pin,) = calls(bench, ("pkcs11_key", {"library": "softhsm2", "token": "One", "label": "new"}))
    assert "needs the user PIN" in no_pin["msg"]


@pytest.mark.usefixtures("empty")
def test_a_token_that_is_due_is_foreseen_and_missed_when_it_is_not_made(machine: Machine, bench: Bench) -> None:
    due = key(label="x", token_due=True)
    foreseen, blind, missed = calls(
        bench, (due[0], {**due[1], "check": True}), (key(label="x")[0], {**key(label="x")[1], "check": True}), due
    )
    assert foreseen["changed"] is True and foreseen["steps"] == ["Make a key pair nistp256 with the label x on the token One."]
    assert blind.get("failed") and missed.get("failed") and "There is no token 'One'" in missed["msg"]
    calls(bench, token(label="One"))
    (made,) = stories(bench, due)
    assert made["keys"][0]["public_key"].startswith("ecdsa-sha2-nistp256 ")


@pytest.mark.usefixtures("empty")
def test_a_wrong_pin_is_tried_once(machine: Machine, bench: Bench) -> None:
    calls(bench, token(label="One"))
    wrong, so = calls(
        bench,
        token(label="One", verify=True, user_pin="00000000"),
        ("pkcs11_key", {"library": "softhsm2", "token": "One", "pin": "11111111", "label": "x"}),
    )
    assert all("is wrong; it was tried once" in result["msg"] for result in (wrong, so))
    assert calls(bench, token(label="One", verify=True))[0]["changed"] is False


def test_a_wrong_so_pin_sets_no_user_pin(machine: Machine, bench: Bench) -> None:
    machine.run("rm -rf /var/lib/softhsm/tokens/*")
    without = ("pkcs11_token", {"library": "softhsm2", "label": "One", "so_pin": SO_PIN})
    made, wrong, info = calls(bench, without, token(label="One", so_pin="0000000000"), ("pkcs11_info", {"library": "softhsm2"}))
    assert made["tokens"][0]["user_pin"] is False
    assert "The SO PIN given for the token 'One' is wrong; it was tried once" in wrong["msg"]
    assert "user_pin_initialized" not in next(slot["token"]["flags"] for slot in info["slots"] if slot["token"]["label"] == "One")
    (right,) = stories(bench, token(label="One"))
    assert [step.split()[0] for step in right["steps"]] == ["Set"]


REFUSALS: dict[str, tuple[Call, str]] = {
    "a blank label": (token(label=" "), "blank"),
    "33 bytes": (token(label="x" * 33), "33 bytes"),
    "17 letters of 2 bytes": (token(label="ä" * 17), "34 bytes"),
    "a control character": (token(label="a\tb"), "control characters"),
    "a PIN that is too short": (token(label="New", user_pin="12"), "user PIN"),
    "an SO PIN that is too long": (token(label="New", so_pin="1" * 300), "SO PIN"),
    "no SO PIN": (("pkcs11_token", {"library": "softhsm2", "label": "New"}), "needs the SO PIN"),
    "a slot that there is not": (token(label="New", slot=987654), "no token in slot 987654"),
    "a token that there is not": (key(token="None such", label="x"), "no token 'None such'"),
    "a library that there is not": (("pkcs11_info", {"library": "/usr/lib/none.so"}), "no library"),
    "a library that is none": (("pkcs11_info", {"library": "/etc/passwd"}), "no usable PKCS#11 library"),
    "another library": (("pkcs11_info", {"library": "/usr/lib/x86_64-linux-gnu/libc.so.6"}), "no usable PKCS#11 library"),
    "a word that is no library": (("pkcs11_info", {"library": "hsm"}), "neither a whole path nor"),
    "an ID that is none": (key(label="x", id="xyz"), "hexadecimal"),
    "absent without an ID": (key(label="x", state="absent"), "not named by its ID"),
}  # fmt: skip


@pytest.mark.usefixtures("empty")
def test_bad_input_is_refused(bench: Bench) -> None:
    calls(bench, token(label="One"))
    for (name, (dummy, words)), result in zip(REFUSALS.items(), calls(bench, *(call for call, dummy in REFUSALS.values())), strict=True):
        assert result.get("failed") and words in result["msg"], (name, result)


@pytest.mark.usefixtures("empty")
@pytest.mark.parametrize("label", ["Ein Schlüssel für Tests", "a b  c", "x" * 32])
def test_labels_with_blanks_and_beyond_ascii(bench: Bench, label: str) -> None:
    (made,) = stories(bench, token(label=label))
    assert made["tokens"][0]["label"] == label
    (keyed,) = stories(bench, key(token=label, label=f"{label} – key"))
    assert keyed["keys"][0]["public_key"].startswith("ecdsa-sha2-nistp256 ")


def test_opencryptoki_from_nothing_to_a_signature(machine: Machine, bench: Bench) -> None:
    """From Debian's own configuration, which begins with the TPM's token: there is no TPM, and no blank label."""
    slots = ("opencryptoki_slots", {"slots": [{"token": "soft"}]})
    made = {"library": "opencryptoki", "label": "Server", "so_pin": OCK_SO_PIN, "user_pin": OCK_PIN}
    pair = {"library": "opencryptoki", "token": "Server", "pin": OCK_PIN, "label": "sign", "id": "07", "algorithm": "rsa2048"}
    written, _started, before, token_made, key_made = stories(
        bench, slots, shell(f"{OWN}; systemctl restart pkcsslotd && systemctl is-active pkcsslotd"),
        shell("cat /etc/opencryptoki/opencryptoki.conf"), ("pkcs11_token", made), ("pkcs11_key", pair),
    )  # fmt: skip
    assert written["slots"][0]["number"] == 3 and "without slot 0 (libpkcs11_tpm.so)" in written["steps"][0]
    assert before["stdout"].startswith("version opencryptoki-3.")
    assert [step.split()[0] for step in token_made["steps"]] == ["Initialise", "Change", "Set"], token_made
    assert token_made["tokens"][0]["unhealthy"] == []
    signed = machine.run(
        "cd /root && echo data > data && module=$(ls /usr/lib/*/libopencryptoki.so.0) &&"
        f" pkcs11-tool --module $module --token-label Server --login --pin {OCK_PIN} --sign -m RSA-PKCS --id 07 -i data"
        " -o signature &&"
        " pkcs11-tool --module $module --token-label Server --read-object --type pubkey --id 07 -o key.der &&"
        " openssl pkeyutl -verify -pubin -inkey key.der -keyform DER -sigfile signature -in data"
    )
    assert "Signature Verified Successfully" in signed.stdout and key_made["keys"][0]["id"] == "07"
    proven, info, wrong = calls(
        bench, ("pkcs11_key", {**pair, "verify": True}), ("pkcs11_info", {"library": "opencryptoki"}),
        ("pkcs11_token", {**made, "user_pin": "11111111", "verify": True}),
    )  # fmt: skip
    assert proven["changed"] is False and info["healthy"] is True
    assert [slot["token"]["label"] for slot in info["slots"]] == ["Server"]
    assert "is wrong; it was tried once" in wrong["msg"]
    (kept,) = calls(bench, ("pkcs11_token", {**made, "label": "Other", "slot": 3, "wipe": ""}))
    assert "already initialised, as 'Server': all on it would be lost" in kept["msg"], "its serial number is blank too"
    assert calls(bench, ("pkcs11_key", {**pair, "verify": True}))[0]["changed"] is False


def test_default_pins_are_told(machine: Machine, bench: Bench) -> None:
    machine.run(f"systemctl stop pkcsslotd; find /var/lib/opencryptoki -type f -delete; {OWN}; systemctl start pkcsslotd")
    (fresh,) = calls(bench, ("pkcs11_info", {"library": "opencryptoki"}))
    assert any("default SO PIN" in sentence for sentence in fresh["unhealthy"])
    weak = {"library": "opencryptoki", "label": "Weak", "so_pin": "87654321", "user_pin": "12345678"}
    (long,) = calls(bench, ("pkcs11_token", {**weak, "user_pin": "1" * 9}))
    assert "has 9 bytes; it takes 4 to 8" in long["msg"]
    (made,) = calls(bench, ("pkcs11_token", weak))
    assert not made.get("failed"), made
    (again,) = calls(bench, ("pkcs11_token", weak))
    assert again["changed"] is False and "default" in str(again["warnings"])
    strong = {**weak, "so_pin": OCK_SO_PIN, "user_pin": OCK_PIN}
    (mended,) = stories(bench, ("pkcs11_token", strong))
    assert [step.split()[0] for step in mended["steps"]] == ["Change"], "that the user PIN is the default one the token does not tell"


def test_no_pin_is_told_anywhere(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> None:
    machine.run("rm -rf /var/lib/softhsm/tokens/*")
    so_pin, pin = "a PIN of the SO for tests", "a PIN of the user for tests"
    tasks = [
        {"name": "token", "rootoftrust.linux.pkcs11_token": {"library": "softhsm2", "label": "One", "so_pin": so_pin, "user_pin": pin}},
        {"name": "key", "rootoftrust.linux.pkcs11_key": {"library": "softhsm2", "token": "One", "pin": pin, "label": "x", "verify": True}},
    ]
    ansible = Ansible(tmp_path_factory.mktemp("pkcs11"), machine)
    play = json.dumps([{"hosts": machine.name, "gather_facts": False, "tasks": tasks}])
    with SecretWatch(machine, so_pin, pin):
        run = ansible.playbook(play, "-vvvv", "--diff")
    assert run.rc == 0, run.output[-2000:]
    assert told(run.output, so_pin, pin) == []
    assert ansible.playbook(play).changed(machine.name) == []
