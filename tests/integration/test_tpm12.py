# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A TPM 1.2: an owner of it, and the kernel's trusted keys under its storage root key."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import Ansible
from tests.integration.key_calls import calls, key, shell, stories
from tests.integration.module_bench import Bench
from tests.integration.secret_watch import SecretWatch, told

pytestmark = pytest.mark.uml
SECRET, FILES = "the owner of this TPM and no other", "/etc/keys"
SO_PIN, PIN = "58239057", "90472815"
# In a log-in shell, which is told of the storage root key's secret.
SIGN = f"""apt-get install -qq -y --no-install-recommends opensc > /dev/null; bash -lc '
cd /root && echo data > data && module=$(ls /usr/lib/*/libopencryptoki.so.0) &&
pkcs11-tool --module $module --login --pin {PIN} --sign -m RSA-PKCS --id 01 -i data -o signature &&
pkcs11-tool --module $module --read-object --type pubkey --id 01 -o key.der &&
openssl pkeyutl -verify -pubin -inkey key.der -keyform DER -sigfile signature -in data'"""
KMK = {"description": "kmk", "type": "trusted", "length": 32, "blob": f"{FILES}/kmk.blob"}
EVM = {"description": "evm-key", "type": "encrypted", "master": "trusted:kmk", "length": 32, "blob": f"{FILES}/evm.blob"}
BY_PCR = {**KMK, "description": "by-pcr", "pcrs": [16], "blob": f"{FILES}/by-pcr.blob"}
# TPM_CreateEndorsementKeyPair, which a manufacturer does, and TPM_Extend of PCR 16
ENDORSE = "00c1 00000036 00000078" + 20 * "5a" + "00000001 0003 0001 0000000c 00000800 00000002 00000000"
EXTEND = "00c1 00000022 00000014 00000010" + 20 * "ab"


@pytest.fixture(scope="module", params=[pytest.param("11", marks=pytest.mark.slow), "13"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    machine = up(MachineSpec(f"it-tpm12-{request.param}", release=request.param, engine="uml", tpm="1.2"), owner=os.getpid())
    tell(machine, ENDORSE)
    yield machine
    machine.down()


@pytest.fixture(scope="module")
def bench(machine: Machine) -> Iterator[Bench]:
    bench = Bench(machine)
    yield bench
    bench.close()


def tell(machine: Machine, command: str) -> None:
    """Give the TPM a command."""
    script = f"""
import os
device = os.open("/dev/tpm0", os.O_RDWR)
os.write(device, bytes.fromhex("{command}"))
answer = os.read(device, 4096)
assert answer[6:10] == bytes(4), answer.hex()
"""
    machine.run("python3 -", stdin=script, timeout=120)


def test_an_owner_is_made_once_and_its_secret_is_told_nowhere(
    machine: Machine, bench: Bench, tmp_path_factory: pytest.TempPathFactory
) -> None:
    none, trusted = calls(bench, ("tpm12_owner", {}), key(KMK))
    assert "The TPM has no owner, and no authorisation for one is given." in none["msg"]
    assert trusted.get("failed"), "without a storage root key nothing can be sealed"
    ansible = Ansible(tmp_path_factory.mktemp("owner"), machine)
    task = {"name": "it", "rootoftrust.linux.tpm12_owner": {"owner_auth": SECRET}, "diff": True}
    play = json.dumps([{"hosts": machine.name, "gather_facts": False, "tasks": [task]}])
    predicted = ansible.playbook(play, "--check", "--diff")
    with SecretWatch(machine, SECRET):
        done = ansible.playbook(play, "--diff", "-vvvv")
    assert done.rc == 0, done.output[-3000:]
    assert told(done.output, SECRET) == []
    one, two = (run.result(machine.name, "it") for run in (predicted, done))
    assert [one[field] for field in ("changed", "steps", "diff", "owned")] == [
        two[field] for field in ("changed", "steps", "diff", "owned")
    ]
    assert two["changed"] is True
    again, info = calls(bench, ("tpm12_owner", {}), ("tpm_info", {}))
    assert (again["changed"], again["owned"], info["authorisations"]["owner"]) == (False, True, True)


def test_trusted_keys_come_back_after_a_power_cut(machine: Machine, bench: Bench) -> None:
    read = shell("keyctl pipe $(keyctl search @u encrypted evm-key); keyctl pipe $(keyctl search @u trusted kmk)")
    before = stories(bench, key(KMK, EVM), read)[1]
    bench.close()
    machine.kill()
    machine.start()
    loaded, after = stories(bench, key(KMK, EVM), read)
    assert loaded["steps"][-2:] == [
        f"Load trusted:kmk in @u from {FILES}/kmk.blob.",
        f"Load encrypted:evm-key in @u from {FILES}/evm.blob.",
    ]
    assert after["stdout"] == before["stdout"]


def test_a_pcr_that_changes_is_named_and_the_key_sealed_anew_and_loaded(machine: Machine, bench: Bench) -> None:
    gone = shell("keyctl unlink $(keyctl search @u trusted by-pcr) @u")
    stories(bench, key(BY_PCR))
    (info,) = calls(bench, ("kernel_key_info", {}))
    (policy,) = (one["policy"] for one in info["keys"] if one["description"] == "by-pcr")
    assert policy.startswith("0003000001") and len(policy) == 10 + 40
    tell(machine, EXTEND)
    before = machine.run(f"sha256sum {FILES}/by-pcr.blob").stdout
    warned, dummy, lost = calls(bench, key(BY_PCR), gone, key(BY_PCR))
    assert warned["changed"] is False and "other values of the PCRs 16 than they have now" in str(warned["warnings"])
    assert lost.get("failed") and "which is sealed to other values of the PCRs 16: the TPM refuses" in lost["msg"], lost
    assert machine.run(f"sha256sum {FILES}/by-pcr.blob").stdout == before
    machine.run(f"rm {FILES}/by-pcr.blob")
    calls(bench, key(BY_PCR))
    tell(machine, EXTEND)
    anew, dummy, back = stories(bench, key({**BY_PCR, "update": True}), gone, key(BY_PCR))
    assert "Seal trusted:by-pcr anew" in anew["steps"][0] and back["steps"] == [f"Load trusted:by-pcr in @u from {FILES}/by-pcr.blob."]
    refused, tpm2, wrong = calls(
        bench, key({**BY_PCR, "pcr_bank": "sha256"}), ("tpm2_primary", {"handle": "0x81000001"}), key({**BY_PCR, "pcrs": [16, 99]})
    )
    assert "A TPM 1.2 has no PCRs in the bank sha256" in refused["msg"]
    assert "version 1.2, which has no such keys" in tpm2["msg"] and "there is no PCR 99" in wrong["msg"]


@pytest.mark.parametrize("release", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("11", "12", "forky")), "13"])
def test_programs_of_trousers_use_its_storage_root_key_too(release: str, tmp_path: Path) -> None:
    """openCryptoki's token of a TPM, which works by tcsd: from nothing to a signature, where openCryptoki is new enough."""
    machine = up(MachineSpec(f"it-tcsd-{release}", release=release, engine="uml", tpm="1.2"), owner=os.getpid())
    try:
        tell(machine, ENDORSE)
        ansible = Ansible(tmp_path, machine)
        owned = {"tpm_owned": True, "tpm_owner_auth": SECRET, "tpm_tcsd": "enabled"}
        pair = {"label": "sign", "id": "01", "algorithm": "rsa2048"}
        token = {
            "opencryptoki_slots": [{"token": "tpm"}],
            "opencryptoki_tokens": [{"label": "Sealed", "so_pin": SO_PIN, "user_pin": PIN}],
            "opencryptoki_keys": [{"token": "Sealed", "pin": PIN, "keys": [pair]}],
        }
        facts = {"hosts": machine.name, "gather_facts": True, "gather_subset": ["!all", "min"]}
        tpm = json.dumps([{**facts, "roles": ["rootoftrust.linux.tpm"], "vars": owned}])
        predicted = ansible.playbook(tpm, "--check")
        assert predicted.changed(machine.name)[0] == "rootoftrust.linux.tpm : Have an owner of a TPM 1.2"
        done = ansible.playbook(tpm, "-vvvv")
        assert done.rc == 0, done.output[-3000:]
        assert "Version" in machine.run("tpm_version").stdout, "tcsd answers"
        assert ansible.playbook(tpm).changed(machine.name) == []
        both = json.dumps([{**facts, "roles": ["rootoftrust.linux.opencryptoki"], "vars": token}])
        made = ansible.playbook(both, "-vvvv")
        assert told(done.output + made.output, SECRET, SO_PIN, PIN) == []
        if release in ("11", "12"):
            assert made.rc != 0 and "which does not keep its PINs" in made.output
            assert "TO_BE_CHANGED" in machine.run("pkcsconf -t").stdout and "Sealed" not in machine.run("pkcsconf -t").stdout
        else:
            assert made.rc == 0, made.output[-3000:]
            assert ansible.playbook(both).changed(machine.name) == []
            signed = machine.run(SIGN, timeout=120)
            assert "Signature Verified Successfully" in signed.stdout, signed
        off = json.dumps([{**facts, "roles": ["rootoftrust.linux.tpm"], "vars": {**owned, "tpm_tcsd": "disabled"}}])
        assert ansible.playbook(off).rc == 0
        assert machine.run("pidof tcsd", check=False).returncode != 0
        assert ansible.playbook(off).changed(machine.name) == []
    finally:
        machine.down()


def test_the_role_makes_an_owner_and_proves_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    machine = up(MachineSpec("it-tpm12-role", engine="uml", tpm="1.2"), owner=os.getpid())
    try:
        tell(machine, ENDORSE)
        ansible = Ansible(tmp_path_factory.mktemp("role"), machine)
        facts = {"hosts": machine.name, "gather_facts": True, "gather_subset": ["!all", "min"]}
        play = {**facts, "roles": ["rootoftrust.linux.tpm"], "vars": {"tpm_owned": True, "tpm_owner_auth": SECRET, "tpm_tools": False}}
        verify = {"name": "it", "ansible.builtin.include_role": {"name": "rootoftrust.linux.tpm", "tasks_from": "verify"}}
        missing = ansible.playbook(json.dumps([{**facts, "tasks": [verify], "vars": play["vars"]}]))
        assert missing.rc != 0 and "The TPM has no owner" in missing.output, missing.output[-3000:]
        predicted, done, again = (ansible.playbook(json.dumps([play]), *options) for options in (["--check"], ["-vvvv"], []))
        assert done.rc == 0, done.output[-3000:]
        assert told(done.output, SECRET) == []
        assert predicted.changed(machine.name) == done.changed(machine.name) != []
        assert (again.rc, again.changed(machine.name)) == (0, [])
    finally:
        machine.down()
