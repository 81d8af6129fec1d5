# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trusted keys of kernel_key on machines with a TPM, with tpm2-tools and keyctl(1) looking on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import Ansible
from tests.integration.key_calls import Call, calls, key, shell, stories
from tests.integration.module_bench import Bench
from tests.integration.secret_watch import SecretWatch, told

pytestmark = pytest.mark.uml
NAME, FILES = "it-trusted", "/etc/keys"
PARENT = "0x81000001"
TOOLS = "export TPM2TOOLS_TCTI=device:/dev/tpmrm0; "
SECRET = "6b6d6b2d61757468"
KMK: dict[str, Any] = {"description": "kmk", "type": "trusted", "length": 32, "keyhandle": PARENT, "blob": f"{FILES}/kmk.blob"}
EVM = {"description": "evm-key", "type": "encrypted", "master": "trusted:kmk", "length": 32, "blob": f"{FILES}/evm.blob"}
# 16 and 23 can be reset without a boot.
BY_PCR = {**KMK, "description": "by-pcr", "pcrs": [16], "blob": f"{FILES}/by-pcr.blob"}
EXTEND = shell(f"{TOOLS} tpm2_pcrextend 16:sha256={'ab' * 32}")
RESET = shell(f"{TOOLS} tpm2_pcrreset -Q 16 23")
GONE = shell("keyctl unlink $(keyctl search @u trusted by-pcr) @u")


@pytest.fixture(scope="module", params=[pytest.param("11", marks=pytest.mark.slow), "13"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    machine = up(MachineSpec(f"{NAME}-{request.param}", release=request.param, engine="uml", tpm="2.0"), owner=os.getpid())
    yield machine
    machine.down()


@pytest.fixture(scope="module")
def bench(machine: Machine) -> Iterator[Bench]:
    bench = Bench(machine)
    (made,) = bench.calls(("tpm2_primary", {"handle": PARENT}))
    assert made["changed"] is True
    yield bench
    bench.close()


@pytest.fixture(autouse=True)
def clean(machine: Machine) -> None:
    machine.run(
        f"{TOOLS} modprobe -a trusted encrypted-keys; keyctl clear @u; rm -rf {FILES}; tpm2_pcrreset -Q 16 23; tpm2_dictionarylockout -Q -c"
    )


def digest(machine: Machine) -> str:
    return machine.run(f"cd {FILES} && sha256sum * && ls -l --time-style=full-iso").stdout


def refused(result: dict[str, Any], text: str) -> None:
    assert result.get("failed") and text in result["msg"], (text, result)


def test_a_master_of_the_tpm_and_a_key_under_it_come_back_after_a_power_cut(machine: Machine, bench: Bench) -> None:
    read = shell("keyctl pipe $(keyctl search @u encrypted evm-key); keyctl pipe $(keyctl search @u trusted kmk)")
    made, before = stories(bench, key(KMK, EVM), read)
    assert [step.split()[0] for step in made["steps"]] == ["Make", "Load", "Make", "Load"]
    assert before["stdout"].startswith("default trusted:kmk 32 ")
    (info,) = calls(bench, ("kernel_key_info", {"blobs": [KMK["blob"], EVM["blob"]]}))
    assert {one["description"]: one.get("parent") for one in info["keys"]} == {"kmk": PARENT, "evm-key": None}
    assert [one["in_kernel"] for one in info["blobs"]] == [True, True]
    bench.close()
    machine.kill()
    machine.start()
    machine.run("modprobe -a trusted encrypted-keys")
    loaded, after = stories(bench, key(KMK, EVM), read)
    assert loaded["steps"] == [f"Load trusted:kmk in @u from {FILES}/kmk.blob.", f"Load encrypted:evm-key in @u from {FILES}/evm.blob."]
    assert after["stdout"] == before["stdout"]


def test_a_policy_of_pcrs_is_the_one_that_tpm2_tools_make(machine: Machine, bench: Bench) -> None:
    several = {**BY_PCR, "description": "several", "pcrs": [23, 0, 16], "blob": f"{FILES}/several.blob"}
    sha1 = {**BY_PCR, "description": "sha1", "pcr_bank": "sha1", "blob": f"{FILES}/sha1.blob"}
    word = {**BY_PCR, "description": "word", "blobauth": SECRET, "blob": f"{FILES}/word.blob"}
    made, policies = stories(
        bench, key(BY_PCR, several, sha1, word),
        shell(f"{TOOLS} for pcrs in sha256:16 sha256:0,16,23 sha1:16; do"
              " tpm2_createpolicy -Q --policy-pcr -l $pcrs -L /run/p; xxd -p -c 64 /run/p; done;"
              "tpm2_startauthsession -Q -S /run/s; tpm2_policypcr -Q -S /run/s -l sha256:16; tpm2_policypassword -Q -S /run/s -L /run/p;"
              "tpm2_flushcontext -Q /run/s; xxd -p -c 64 /run/p"),
    )  # fmt: skip
    assert len(made["steps"]) == 8
    (info,) = calls(bench, ("kernel_key_info", {}))
    told = {one["description"]: one["policy"] for one in info["keys"]}
    assert [told[name] for name in ("by-pcr", "several", "sha1", "word")] == policies["stdout"].split()


def test_a_pcr_that_changes_is_named_and_the_key_sealed_anew_and_loaded(machine: Machine, bench: Bench) -> None:
    calls(bench, key(BY_PCR))
    before = digest(machine)
    extended, warned, dummy, lost, still = calls(bench, EXTEND, key(BY_PCR), GONE, key(BY_PCR), key({**BY_PCR, "update": True}))
    assert extended["rc"] == 0
    assert warned["changed"] is False and "other values of the PCRs 16 than they have now" in str(warned["warnings"])
    for result in (lost, still):
        refused(result, f"{FILES}/by-pcr.blob, which is sealed to other values of the PCRs 16: the TPM refuses")
    assert digest(machine) == before, "a blob that does not load is not touched"
    loaded, dummy, anew, dummy, again = stories(bench, RESET, key(BY_PCR), EXTEND, key({**BY_PCR, "update": True}), GONE, key(BY_PCR))[1:]
    assert loaded["steps"] == [f"Load trusted:by-pcr in @u from {FILES}/by-pcr.blob."]
    assert anew["steps"] == [
        f"Seal trusted:by-pcr anew into {FILES}/by-pcr.blob, after the kernel has loaded what is written: the PCRs 16 have other values."
    ]
    assert again["steps"] == loaded["steps"]
    assert machine.run(f"{TOOLS} tpm2_getcap handles-loaded-session; tpm2_getcap handles-saved-session").stdout.strip() == "", (
        "no session is left"
    )


def test_a_key_that_somebody_has_made_by_hand_takes_no_blob_s_place(machine: Machine, bench: Bench) -> None:
    stories(bench, key(BY_PCR))
    before, update = digest(machine), {**BY_PCR, "update": True}
    by_hand = shell(f"keyctl add trusted by-pcr 'new 32 keyhandle={PARENT}' @u")
    other = {**BY_PCR, "alternatives": [{"blob": f"{FILES}/other.blob", "pcrs": [23]}]}
    results = calls(bench, EXTEND, GONE, by_hand, key(update), key(other))
    assert results[2]["rc"] == 0
    for result in results[3:]:
        refused(result, f"Nobody can tell whether {FILES}/by-pcr.blob holds trusted:by-pcr in @u")
    assert digest(machine) == before
    (loaded,) = stories(bench, RESET, GONE, key(BY_PCR))[2:]
    assert loaded["steps"] == [f"Load trusted:by-pcr in @u from {FILES}/by-pcr.blob."]


def test_the_key_is_the_same_after_it_was_sealed_anew(machine: Machine, bench: Bench) -> None:
    """What was encrypted under it before loads under it afterwards."""
    under = {**EVM, "master": "trusted:by-pcr"}
    calls(bench, key(BY_PCR, under), EXTEND, key({**BY_PCR, "update": True}))
    away, back = calls(bench, shell("keyctl clear @u"), key(BY_PCR, under))
    assert away["rc"] == 0 and len(back["steps"]) == 2, back


def test_alternatives_bring_it_back(machine: Machine, bench: Bench) -> None:
    both = {**BY_PCR, "alternatives": [{"blob": f"{FILES}/other.blob", "pcrs": [23]}]}
    made, dummy, dummy, loaded, dummy, anew = stories(
        bench, key(both), EXTEND, GONE, key(both), shell(f"{TOOLS} tpm2_pcrextend 23:sha256={'cd' * 32}"), key({**both, "update": True})
    )
    assert made["steps"][-1] == f"Seal trusted:by-pcr to the PCRs 23 into {FILES}/other.blob."
    assert loaded["steps"] == [f"Load trusted:by-pcr in @u from {FILES}/other.blob."]
    assert len(anew["steps"]) == 2
    dummy, dummy, neither = calls(bench, RESET, GONE, key(both))
    refused(neither, "by-pcr.blob, which is sealed to other values of the PCRs 16")
    refused(neither, "other.blob, which is sealed to other values of the PCRs 23")


def test_a_pcr_lock_lets_it_load_once(machine: Machine, bench: Bench) -> None:
    locked = {**BY_PCR, "pcrlock": 16}
    (made,) = stories(bench, key(locked))
    assert len(made["steps"]) == 2
    again, dummy, second, dummy, after = calls(bench, key({**locked, "update": True}), GONE, key(locked), RESET, key(locked))
    assert again["changed"] is False, "the PCR is another one now, and that is how it should be"
    refused(second, "which is sealed to the PCRs 16: the TPM refuses")
    assert after["changed"] is True
    calls(bench, shell(f"rm {FILES}/by-pcr.blob"), key(locked))
    dummy, dummy, back = calls(bench, RESET, GONE, key(locked))
    assert back["steps"] == [f"Load trusted:by-pcr in @u from {FILES}/by-pcr.blob."], "it was written from the kernel as it was"
    (early,) = calls(bench, key({**KMK, "pcrlock": 16}, BY_PCR))
    refused(early, "which trusted:kmk before it extends")
    before = digest(machine)
    other = {**KMK, "description": "other", "pcrs": [16], "blob": f"{FILES}/other.blob"}
    late = [key(other, locked), key({**locked, "keyhandle": "0x81000002", "update": True})]
    late += [key({**locked, "alternatives": [{"blob": f"{FILES}/a.blob", "pcrs": [16]}]})]
    for result in calls(bench, *late):
        refused(result, "would be sealed to the PCR 16, which trusted:by-pcr has extended since the boot")
    assert digest(machine) == before


@pytest.mark.parametrize("pcrs", [None, [16]])
def test_a_wrong_authorisation_and_the_lockout(machine: Machine, bench: Bench, pcrs: list[int] | None) -> None:
    word = {**KMK, "description": "word", "pcrs": pcrs, "blobauth": SECRET, "blob": f"{FILES}/word.blob"}
    stories(bench, key(word))
    before = digest(machine)
    gone = shell("keyctl unlink $(keyctl search @u trusted word) @u")
    wrong = key({**word, "blobauth": "another"})
    dummy, one, dummy, two, dummy, told, dummy, right = calls(
        bench, gone, wrong, shell(f"{TOOLS} tpm2_dictionarylockout -Q -s -n 2 -t 1000 -l 1000"), wrong, wrong, key(word),
        shell(f"{TOOLS} tpm2_dictionarylockout -Q -c; tpm2_dictionarylockout -Q -s -n 32 -t 1000 -l 1000"), key(word),
    )  # fmt: skip
    refused(one, "the TPM refuses: the PCRs, an authorisation or the parent are not those of the blob")
    refused(two, "the TPM refuses" if "lockout" not in two["msg"] else "the TPM is in lockout")
    refused(told, "the TPM is in lockout")
    assert right["steps"] == [f"Load trusted:word in @u from {FILES}/word.blob."]
    assert digest(machine) == before


def test_blobs_that_are_cut_and_of_another_tpm(machine: Machine, bench: Bench) -> None:
    calls(bench, key(KMK, EVM))
    before = digest(machine)
    asked: list[Call] = [shell(f"cp -a {FILES} /root/kept; keyctl clear @u")]
    for part in range(8):
        asked += [shell(f"head -c $(($(stat -c %s /root/kept/kmk.blob) * {part} / 8)) /root/kept/kmk.blob > {FILES}/new;"
                        f"mv {FILES}/new {FILES}/kmk.blob"), key(KMK)]  # fmt: skip
    asked += [shell(f"sed 's/.$/0/; s/^\\(.*\\)../\\1ff/' /root/kept/kmk.blob > {FILES}/new; mv {FILES}/new {FILES}/kmk.blob"), key(KMK)]
    results = calls(bench, *asked)
    for result in results[2::2]:
        refused(result, f"{FILES}/kmk.blob: ")
        assert "no blob of it can be loaded" in result["msg"]
    machine.run(f"rm -rf {FILES}; cp -a /root/kept {FILES}; rm -r /root/kept")
    machine.run(f"{TOOLS} tpm2_clear -Q -c p || tpm2_clear -Q -c l")  # its storage seed is another one now
    (parent,) = calls(bench, ("tpm2_primary", {"handle": PARENT}))
    assert parent["changed"] is True
    (foreign,) = calls(bench, key(KMK))
    refused(foreign, "or the TPM is not")
    assert digest(machine) == before


def test_no_parent_and_a_device_that_another_holds(machine: Machine, bench: Bench) -> None:
    (none,) = calls(bench, key({**KMK, "keyhandle": "0x81000009"}))
    refused(none, "the TPM has no storage key at 0x81000009")
    (nothing,) = calls(bench, key({**KMK, "keyhandle": None}))
    refused(nothing, "a TPM 2.0 needs keyhandle")
    calls(bench, key(BY_PCR, KMK), shell("keyctl clear @u"))
    machine.run("systemd-run -q --unit=it-holder -p StandardInput=null sh -c 'exec sleep 600 <>/dev/tpm0'")
    try:
        machine.run("for n in $(seq 100); do ls -l /proc/*/fd 2>/dev/null | grep -q '/dev/tpm0$' && break; sleep 0.1; done")
        held, free = calls(bench, key(BY_PCR), key(KMK))
        refused(held, "/dev/tpm0 is held open by sleep (process ")
        assert free["changed"] is True, "what is sealed to no PCR needs no session"
    finally:
        machine.run("systemctl stop it-holder", check=False)
    (after,) = calls(bench, key(BY_PCR))
    assert after["changed"] is True


def test_one_that_may_not_migrate_is_not_sealed_anew(machine: Machine, bench: Bench) -> None:
    fixed = {**BY_PCR, "migratable": False}
    stories(bench, key(fixed))
    before = digest(machine)
    dummy, anew = calls(bench, EXTEND, key({**fixed, "update": True}))
    refused(anew, "it was made with migratable: false")
    assert digest(machine) == before


def test_a_run_that_is_killed_anywhere_is_finished_by_the_next(machine: Machine, bench: Bench) -> None:
    under = {**EVM, "master": "trusted:by-pcr"}
    sealed = key({**BY_PCR, "update": True}, under)
    killed, cut = True, 1
    while killed:
        before: list[Call] = [RESET, shell(f"keyctl clear @u; rm -rf {FILES}")]
        if cut % 2:  # made; and sealed anew
            before += [key(BY_PCR, under), EXTEND]
        short, finished, dummy, back, again = calls(
            bench, *before, (sealed[0], {**sealed[1], "cut": cut}), sealed, shell("keyctl clear @u"), sealed, sealed
        )[-5:]
        killed = short.get("killed", False)
        assert not finished.get("failed"), (cut, finished)
        assert len(back["steps"]) == 2 and again["changed"] is False, (cut, back, again)
        cut += 1
    assert cut > 8, "there is more to cut"


def test_an_authorisation_is_told_nowhere(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> None:
    ansible = Ansible(tmp_path_factory.mktemp("trusted"), machine)
    words = {**BY_PCR, "blobauth": SECRET}
    wrong = {**words, "description": "w", "blob": f"{FILES}/w.blob", "keyhandle": "0x81000009"}
    tasks = [
        {"name": f"it {number}.", "rootoftrust.linux.kernel_key": {"keys": [one]}, "diff": True, "ignore_errors": True}
        for number, one in enumerate((words, wrong, {**words, "update": True}))
    ]
    with SecretWatch(machine, SECRET):
        run = ansible.playbook(json.dumps([{"hosts": machine.name, "gather_facts": False, "tasks": tasks}]), "-vvvv")
    results = [run.result(machine.name, f"it {number}.") for number in range(3)]
    assert [one["changed"] for one in results] == [True, False, False]
    assert told(run.output, SECRET) == []


def test_the_role_has_them_loaded_at_boot(machine: Machine, bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> None:
    ansible = Ansible(tmp_path_factory.mktemp("role"), machine)
    locked = {**BY_PCR, "pcrs": [0, 16, 23], "pcrlock": 23, "alternatives": [{"blob": f"{FILES}/other.blob", "pcrs": [7]}]}
    missing = {
        **KMK,
        "description": "fallen-back",
        "blob": f"{FILES}/f.blob",
        "alternatives": [{"blob": f"{FILES}/g.blob", "pcrs": [7, 9]}],
    }
    keys = [KMK, missing, locked, EVM]
    play = [{"hosts": machine.name, "roles": ["rootoftrust.linux.kernel_keys"], "vars": {"kernel_keys_keys": keys}}]
    first = ansible.playbook(json.dumps(play))
    assert first.rc == 0, first.output[-3000:]
    machine.run(f"printf 30 > {FILES}/f.blob && sync")  # the first blob is lost
    bench.close()
    machine.kill()
    machine.start()
    machine.run("systemctl is-active rootoftrust-kernel-keys || { journalctl -u rootoftrust-kernel-keys; exit 1; }")
    listed = machine.run(f"{TOOLS} keyctl list @u; tpm2_getcap handles-loaded-session; tpm2_getcap handles-saved-session").stdout
    for name in ("trusted: kmk", "trusted: fallen-back", "trusted: by-pcr", "encrypted: evm-key"):
        assert name in listed
    assert len(listed.splitlines()) == 5, listed
    (info,) = calls(bench, ("kernel_key_info", {"blobs": [KMK["blob"], EVM["blob"], BY_PCR["blob"]]}))
    assert [one["in_kernel"] for one in info["blobs"]] == [True, True, True]
    assert machine.run(f"{TOOLS} tpm2_pcrread -Q sha256:23 -o /run/p; xxd -p -c 64 /run/p").stdout.strip() != "00" * 32, "the lock is on"
