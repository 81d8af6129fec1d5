# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which keys are made, loaded, kept, re-wrapped, changed and taken away, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import diff
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys import plan_keyrings as rings
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys import plan_keys as plan
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.model import (
    FoundKeyring,
    KernelKey,
    Place,
    SealOptions,
)
from tests.unit.kernel_keys.key_world import Key, World, params

KMK = params("kmk", random=32, file="/k/kmk")
EVM = params("evm", type="encrypted", master="user:kmk", length=32, blob="/k/evm")
T = params("t", type="trusted", length=32, keyhandle="0x1", blob="/k/t")
ALTERNATIVE = {"blob": "/k/t.bb", "policydigest": "bb", "hash": "sha256", "pcrs": [7, 11], "pcrinfo": None, "policyhandle": None}


def with_keys() -> World:
    world = World(pcrs="aa")
    world.run([KMK, EVM, T])
    return world


def actions(world: World, *asked: dict[str, Any]) -> list[str]:
    return [step.action for step in plan.plan_keys(world.read(list(asked)))]


def test_a_new_key_is_in_its_blob_before_it_is_in_use() -> None:
    world = World()
    assert actions(world, KMK, EVM) == [plan.WRITE_FILE, plan.ADD, plan.NEW_BLOB, plan.LOAD]
    assert world.run([KMK, EVM, T])[4:] == [plan.NEW_BLOB, plan.LOAD]
    assert actions(world, KMK, EVM, T) == []


@pytest.mark.parametrize("cut", range(7))
def test_a_cut_run_is_finished_by_the_next(cut: int) -> None:
    world, whole = World(), [KMK, EVM, T]
    world.run(whole, cut)
    world.boot()
    world.run(whole)
    assert actions(world, *whole) == []
    assert len(world.files) == 3


def test_after_a_boot_all_are_loaded() -> None:
    world = with_keys()
    worth = {name: key.material for name, key in world.keys.items()}
    world.boot()
    assert actions(world, KMK, EVM, T) == [plan.ADD, plan.LOAD, plan.LOAD]
    world.run([KMK, EVM, T])
    assert {name: key.material for name, key in world.keys.items()} == worth


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
def test_a_re_wrap_goes_by_a_blob_that_loads(cut: int) -> None:
    world = with_keys()
    other = {**KMK, "description": "kmk2", "file": "/k/kmk2"}
    moved = {**EVM, "master": "user:kmk2", "update": True}
    assert actions(world, other, moved) == [plan.WRITE_FILE, plan.ADD, plan.REWRAP_BLOB, plan.REWRAP]
    worth = world.keys["encrypted:evm"].material
    world.run([other, moved], cut)
    world.run([other, moved])
    assert actions(world, other, moved) == []
    assert world.files["/k/evm"].split("|")[1:3] == [worth, "user:kmk2"]


def test_a_re_wrap_of_what_is_not_in_the_kernel_loads_it_afterwards() -> None:
    world = with_keys()
    other = {**KMK, "description": "kmk2", "file": "/k/kmk2"}
    world.run([other])
    del world.keys["encrypted:evm"]
    assert actions(world, {**EVM, "master": "user:kmk2", "update": True}) == [plan.REWRAP_BLOB, plan.LOAD]
    world.run([{**EVM, "master": "user:kmk2", "update": True}])


@pytest.mark.parametrize("state", ["expired", "revoked"])
def test_a_dead_key_is_told_as_that_and_loaded(state: str) -> None:
    world = with_keys()
    for name in ("encrypted:evm", "trusted:t", "user:kmk"):
        world.keys[name] = replace(world.keys[name], state=state)
    steps = plan.plan_keys(world.read([KMK, EVM, T]))
    word = "has expired" if state == "expired" else "has been revoked"
    assert [step.action for step in steps] == [plan.ADD, plan.LOAD, plan.LOAD]
    assert all(word in step.sentence for step in steps)


def test_alternatives_are_made_and_tried_in_order() -> None:
    world = with_keys()
    both = {**T, "policydigest": "aa", "hash": "sha256", "update": True, "alternatives": [ALTERNATIVE]}
    assert actions(world, both) == [plan.SEAL, plan.SEAL]
    world.run([both])
    assert actions(world, both) == []
    worth = world.keys["trusted:t"].material
    world.boot()
    world.pcrs = "bb"
    (step,) = plan.plan_keys(world.read([both]))
    assert step.sentence == "Load trusted:t in @u from /k/t.bb."
    world.run([both])
    assert world.keys["trusted:t"].material == worth
    assert actions(world, both) == []


def test_refused_by_the_tpm_is_told_with_the_pcrs() -> None:
    world = with_keys()
    both = {**T, "policydigest": "aa", "hash": "sha256", "update": True, "pcrs": [4], "alternatives": [ALTERNATIVE]}
    world.run([both])
    world.boot()
    world.pcrs = "cc"
    with pytest.raises(RootOfTrustError, match=r"/k/t, which is sealed to the PCRs 4: the TPM refuses; /k/t.bb, which .* PCRs 7, 11"):
        actions(world, both)


def test_a_pcr_is_extended_only_when_the_key_comes_to_its_place() -> None:
    seal = SealOptions(keyhandle="0x81000001", keyauth=Secret(b"00"), pcrlock=11, migratable=False, hash="sha256", policydigest="aa")
    assert seal.words("new", lock=False) == b"keyhandle=0x81000001 migratable=0 hash=sha256 policydigest=aa keyauth=00"
    assert seal.words("load", lock=True) == b"keyhandle=0x81000001 pcrlock=11 keyauth=00"
    assert SealOptions().words("new", lock=True) == b""
    world = World()
    world.run([{**T, "pcrlock": 11}])
    assert world.locked == [11]


BY_PCRS = {**T, "description": "p", "blob": "/k/p", "pcrs": [11, 7]}


def test_values_of_pcrs_that_have_changed_are_told_and_sealed_to_when_that_is_asked_for() -> None:
    world = World(pcrs="aa")
    assert world.run([BY_PCRS]) == [plan.NEW_BLOB, plan.LOAD]
    worth = world.keys["trusted:p"].material
    world.pcrs = "bb"
    found = world.read([BY_PCRS])
    assert plan.plan_keys(found) == []
    assert "other values of the PCRs 11, 7 than they have now" in plan.report_keys(found, [])["warnings"][0]
    (step,) = plan.plan_keys(world.read([{**BY_PCRS, "update": True}]))
    assert (step.action, step.before["policy"], step.after["policy"]) == (plan.SEAL, "aa", "bb")
    assert "the PCRs 11, 7 have other values" in step.sentence
    world.run([{**BY_PCRS, "update": True}])
    assert actions(world, {**BY_PCRS, "update": True}) == []
    world.boot()
    assert world.run([BY_PCRS]) == [plan.LOAD]
    assert world.keys["trusted:p"].material == worth
    world.boot()
    world.pcrs = "cc"
    with pytest.raises(RootOfTrustError, match="/k/p, which is sealed to other values of the PCRs 11, 7"):
        actions(world, {**BY_PCRS, "update": True})


def test_an_alternative_brings_the_key_back_and_the_blob_is_sealed_to_what_holds_now() -> None:
    world = World(pcrs="aa")
    both = {**BY_PCRS, "alternatives": [{"blob": "/k/p.cc", "policydigest": "cc", "hash": "sha256"}]}
    world.run([both])
    world.boot()
    world.pcrs = "cc"
    assert actions(world, both) == [plan.LOAD]
    assert world.run([{**both, "update": True}]) == [plan.LOAD, plan.SEAL]
    assert actions(world, {**both, "update": True}) == []
    assert world.files["/k/p"].split("|")[2] == "cc"
    again = {**BY_PCRS, "update": True, "alternatives": [{"blob": "/k/p.own", "pcrs": [0]}]}
    world.run([again])
    world.pcrs = "dd"
    assert world.run([again]) == [plan.SEAL, plan.SEAL]
    assert actions(world, again) == []


def test_pcrs_that_the_list_itself_extends_are_not_compared() -> None:
    world = World(pcrs="aa")
    locked = {**BY_PCRS, "pcrlock": 11, "update": True}
    world.run([locked])
    world.pcrs = "extended"
    assert actions(world, locked) == []
    other = {**T, "pcrlock": 11}
    with pytest.raises(RootOfTrustError, match="trusted:p is sealed to the PCR 11, which trusted:t before it extends"):
        world.read([other, BY_PCRS])
    assert plan.locked_pcrs([plan.wanted_key(other), plan.wanted_key(BY_PCRS)]) == {11}


@pytest.mark.parametrize("change", [{"pcrs": [11]}, {"keyhandle": "0x2"}, {"alternatives": [{"blob": "/k/p.0", "pcrs": [0]}]}])
def test_a_key_that_somebody_has_made_by_hand_takes_no_blob_s_place(change: dict[str, Any]) -> None:
    world = World(pcrs="aa")
    world.run([BY_PCRS])
    lost = world.keys["trusted:p"].material
    world.boot()
    world.pcrs = "bb"
    made = world.by_hand("trusted:p")
    asked = {**BY_PCRS, "update": True, **change}
    with pytest.raises(RootOfTrustError, match="Nobody can tell whether /k/p holds trusted:p in @u") as refused:
        actions(world, asked)
    kept = world.files.pop("/k/p")
    assert "Move it away to keep the key of the kernel" in refused.value.remedy
    world.run([asked])
    assert (actions(world, asked), world.files["/k/p"].split("|")[1]) == ([], made)
    del world.keys["trusted:p"]
    world.files = {"/k/p": kept}
    world.pcrs = "aa"
    world.run([asked])
    assert world.keys["trusted:p"].material == lost


@pytest.mark.parametrize("cut", range(3))
@pytest.mark.parametrize("lose", [None, "/k/p", "/k/p.0"])
def test_a_cut_within_a_seal_leaves_no_doubt_which_key_it_is(cut: int, lose: str | None) -> None:
    world, both = World(pcrs="aa"), {**BY_PCRS, "update": True, "alternatives": [{"blob": "/k/p.0", "pcrs": [0]}]}
    world.run([both])
    world.pcrs = "bb"
    assert actions(world, both) == [plan.SEAL, plan.SEAL]
    world.run([both], cut, within=True)
    world.files.pop(lose or "", None)
    world.run([both])
    assert actions(world, both) == []
    assert {text.split("|")[1] for text in world.files.values()} == {world.keys["trusted:p"].material}


LOCKER = {**T, "description": "l", "blob": "/k/l", "pcrlock": 11}
LOCKED: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "its own lock": ([LOCKER], [{**LOCKER, "pcrs": [7, 11], "update": True}]),
    "another parent": ([{**LOCKER, "pcrs": [11]}], [{**LOCKER, "pcrs": [11], "keyhandle": "0x2", "update": True}]),
    "a new key before the one that locks": ([LOCKER], [BY_PCRS, LOCKER]),
    "an alternative of a new key": ([], [{**LOCKER, "alternatives": [{"blob": "/k/l.11", "pcrs": [11]}]}]),
    "one that goes": ([LOCKER], [{**LOCKER, "state": "absent"}, BY_PCRS]),
}


@pytest.mark.parametrize("case", LOCKED)
def test_nothing_is_sealed_to_a_pcr_that_is_extended_in_this_boot(case: str) -> None:
    world = World(pcrs="aa")
    before, asked = LOCKED[case]
    world.run(before)
    with pytest.raises(RootOfTrustError, match="to the PCR 11, which trusted:l has extended since the boot, or will have") as refused:
        actions(world, *asked)
    assert "Leave pcrlock out" in refused.value.remedy
    world.boot()
    unlocked = [{**one, "pcrlock": None} for one in asked]
    world.run(unlocked)
    assert actions(world, *asked) == actions(world, *unlocked) == [], "what is sealed already may be locked"
    world.boot()
    assert set(actions(world, *unlocked)) == {plan.LOAD}


def test_an_expired_key_has_extended_its_pcr_too() -> None:
    world, locked = World(pcrs="aa"), {**LOCKER, "pcrs": [11]}
    world.run([locked])
    world.keys["trusted:l"] = replace(world.keys["trusted:l"], state="expired")
    del world.files["/k/l"]
    with pytest.raises(RootOfTrustError, match="which trusted:l has extended since the boot"):
        actions(world, locked)


def test_what_is_locked_is_written_as_it_was_sealed_before() -> None:
    world, locked = World(pcrs="aa"), {**LOCKER, "pcrs": [11]}
    world.run([locked])
    kept = world.files.pop("/k/l")
    assert actions(world, locked) == [plan.EXPORT]
    world.files["/k/l"] = kept
    world.boot()
    assert actions(world, locked) == [plan.LOAD]


def test_a_key_that_was_sealed_to_nothing_is_sealed_to_pcrs_when_asked() -> None:
    world = with_keys()
    with pytest.raises(RootOfTrustError, match="/k/t is sealed differently from what is asked for: its parent is 0x1, its policy none"):
        actions(world, {**T, "pcrs": [7]})
    assert world.run([{**T, "pcrs": [7], "update": True}]) == [plan.SEAL]
    assert actions(world, {**T, "pcrs": [7], "update": True}) == []
    lost = {**T, "pcrs": [7], "update": True}
    del world.files["/k/t"]
    world.pcrs = "bb"
    assert world.run([lost]) == [plan.SEAL], "what the kernel would give out does not load"
    assert actions(world, lost) == []


def test_a_file_that_is_gone_is_written_from_the_key() -> None:
    world = with_keys()
    worth = world.files.pop("/k/kmk")
    assert world.run([KMK]) == [plan.SAVE_FILE]
    assert world.files["/k/kmk"] == worth


def test_permissions_and_timeouts() -> None:
    world = with_keys()
    limited = {**KMK, "permissions": "3f0b0000", "timeout": 60}
    assert world.run([limited]) == [plan.PERMIT, plan.EXPIRE]
    assert actions(world, limited) == [], "a timeout that runs is left alone"
    assert actions(world, {**KMK, "timeout": 0}) == [plan.EXPIRE]
    assert actions(world, KMK) == []


@pytest.mark.parametrize("lost", [("user:kmk",), ("user:kmk", "/k/kmk")])
def test_a_key_whose_master_and_blob_are_gone_is_written_when_the_master_comes(lost: tuple[str, ...]) -> None:
    world = with_keys()
    _lose(*lost, "/k/evm")(world)
    worth = world.keys["encrypted:evm"].material
    assert world.run([KMK, EVM])[-2:] == [plan.ADD, plan.EXPORT]
    assert actions(world, KMK, EVM) == []
    assert world.files["/k/evm"].split("|")[1] == worth
    world.boot()
    world.run([KMK, EVM])
    assert world.keys["encrypted:evm"].material == worth


def test_a_key_whose_master_comes_back_and_whose_blob_is_there_needs_no_more() -> None:
    world = with_keys()
    _lose("user:kmk")(world)
    assert actions(world, KMK, EVM) == [plan.ADD]
    _lose("/k/kmk")(world)
    assert actions(world, KMK, {**EVM, "blob": None}) == [plan.WRITE_FILE, plan.ADD], "it has no blob that a new master would not load"


def test_keys_go_before_their_master() -> None:
    world = with_keys()
    gone = {"state": "absent"}
    with pytest.raises(RootOfTrustError, match="it is the master of encrypted:evm"):
        actions(world, {**KMK, **gone}, {**EVM, **gone})
    assert world.run([{**EVM, **gone}, {**KMK, **gone}]) == [plan.UNLINK, plan.UNLINK]
    assert set(world.files) == {"/k/kmk", "/k/evm", "/k/t"}, "what they come back from stays"
    assert world.run([{**EVM, **gone, "remove_files": True}]) == [plan.REMOVE_FILES]
    assert actions(world, {**EVM, "state": "revoked", "remove_files": True}) == []


def test_payloads() -> None:
    world = World()
    one, secret = params("app", payload="first"), params("svc:app", type="logon", payload="first")
    world.run([one, secret])
    assert actions(world, one, secret) == []
    assert "nobody can tell" in plan.report_keys(world.read([secret]), [])["warnings"][0]
    steps = plan.plan_keys(world.read([{**one, "payload": "second"}]))
    assert diff(steps) == {"before": {"user:app in @u": {"payload": "***"}}, "after": {"user:app in @u": {"payload": "***"}}}
    assert actions(world, {**one, "payload": "second", "update_payload": "on_create"}) == []
    (step,) = plan.plan_keys(world.read([{**secret, "update_payload": "always"}]))
    assert step.once is True


def _other_key(world: World) -> None:
    world.files["/k/evm"] = world.wrap("another", "user:kmk") or ""


def _weak(world: World) -> None:
    world.keys["user:weak"] = Key(99, "x")


def _no_blob(world: World) -> None:
    del world.keys["encrypted:evm"]
    world.files["/k/evm"] = world.files["/k/evm"][:8]


def _lose(*names: str) -> Any:
    def lose(world: World) -> None:
        for name in names:
            world.keys.pop(name, None)
            world.files.pop(name, None)

    return lose


def _nothing(world: World) -> None:
    pass


WEAK = params("weak", random=8)
NEW = {**EVM, "description": "new", "blob": "/k/new"}
REFUSED: dict[str, tuple[Any, list[dict[str, Any]], str]] = {
    "missing master": (_nothing, [{**NEW, "master": "user:no"}], "its master user:no is not in the kernel. The kernel would do it"),
    "weak master": (_weak, [{**NEW, "master": "user:weak"}], "has no more than 1 bytes"),
    "weak master of the list": (_nothing, [WEAK, {**NEW, "master": "user:weak"}], "has no more than 8 bytes"),
    "weak master of the list for a re-wrap": (_nothing, [WEAK, {**EVM, "master": "user:weak", "update": True}], "has no more than 8 bytes"),
    "weak master that is given": (_nothing, [{**WEAK, "random": None, "payload": "x" * 15}, {**NEW, "master": "user:weak"}], "15 bytes"),
    "weak master that is there": (_weak, [params("weak"), {**NEW, "master": "user:weak"}], "has no more than 1 bytes"),
    "a new master, and a blob under the old one": (_lose("user:kmk", "/k/kmk"), [KMK, EVM], "A new master of random bytes"),
    "re-wrap under a missing master": (_nothing, [{**EVM, "master": "user:no", "update": True}], "cannot be re-wrapped"),
    "re-wrap that nobody asked for": (_nothing, [KMK, {**EVM, "master": "user:no"}], "is kept under user:kmk, and not user:no"),
    "another type of master": (_nothing, [{**EVM, "master": "trusted:t", "update": True}], "no key can go from a user master"),
    "another length": (_nothing, [{**EVM, "length": 64}], "has 32 bytes, and not 64"),
    "another format": (_nothing, [{**EVM, "format": "enc32"}], "has the format default, and not enc32"),
    "another key's blob": (_other_key, [{**EVM, "update": True}], "holds another key"),
    "no length": (_nothing, [{**NEW, "length": None}], "its length is not given"),
    "no payload": (_nothing, [params("x")], "no payload is given"),
    "a cut blob and no key": (_no_blob, [{**EVM, "update": True}], "no blob of it can be loaded. /k/evm: It is cut"),
    "a lost master": (_lose("user:kmk", "/k/kmk", "encrypted:evm"), [KMK, EVM], "A new master of random bytes would not load the blob"),
    "a lost master of a key": (_lose("user:kmk", "/k/kmk"), [EVM], "does not give it out"),
    "a blob under a lost master": (
        _lose("user:kmk", "encrypted:evm"), [{**NEW, "blob": "/k/evm", "master": "user:no"}], "no blob of it can be loaded",
    ),
    "a blob that is sealed differently": (_nothing, [{**T, "policydigest": "bb", "hash": "sha256"}], "sealed differently"),
    "a parent that is another": (_nothing, [{**T, "keyhandle": "0x81000002"}], "its parent is 0x1"),
    "masters out of order": (_nothing, [EVM, KMK], "comes after encrypted:evm"),
    "a master that goes": (_nothing, [{**KMK, "state": "absent"}, EVM], "should be present, and its master user:kmk absent"),
    "twice": (_nothing, [KMK, KMK], "more than once"),
    "a file of two": (_nothing, [KMK, {**KMK, "description": "b"}], "asked for more than one key"),
    "a changed master": (_nothing, [{**KMK, "random": None, "file": None, "payload": "y" * 32}], "it is the master of encrypted:evm"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_nothing_done(case: str) -> None:
    spoil, asked, text = REFUSED[case]
    world = with_keys()
    spoil(world)
    with pytest.raises(RootOfTrustError) as refused:
        actions(world, *asked)
    assert text in str(refused.value)
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"keyauth": "a b"}, "keyauth is empty or has a blank"),
        ({"pcrlock": 24}, "there is no PCR 24"),
        ({"pcrs": [24]}, "there is no PCR 24"),
        ({"pcr_bank": "sha256"}, "pcr_bank is for pcrs alone"),
        ({"pcrs": [7], "hash": "sm3-256"}, "by sm3-256"),
        ({"pcrinfo": "xyz"}, "pcrinfo 'xyz' is not hexadecimal"),
        ({"keyhandle": "0x1g"}, "keyhandle '0x1g' is not hexadecimal"),
        ({"policydigest": "aa", "hash": None}, "the hash of policydigest"),
        ({"blob": None, "alternatives": [ALTERNATIVE]}, "alternatives to no blob"),
        ({"alternatives": [{**ALTERNATIVE, "blob": "/k/t"}]}, "a blob is there twice"),
        ({"alternatives": [ALTERNATIVE], "migratable": False}, "is not sealed a second time"),
        ({"blob": "t"}, "does not begin with /"),
        ({"master": "user:x"}, "master is for keys of the type encrypted"),
        ({"payload": "x"}, "payload is for keys of the type user or logon"),
        ({"format": "default"}, "format is for keys of the type encrypted"),
        ({"timeout": -1}, "the timeout -1 cannot be"),
        ({"length": 129}, "32 to 128 bytes, not 129"),
    ],
)
def test_options_that_cannot_be(given: dict[str, Any], text: str) -> None:
    with pytest.raises(RootOfTrustError, match=text):
        plan.wanted_key({**T, **given})


def test_what_the_kernel_lacks_is_told_only_of_keys_that_should_be_there() -> None:
    world = World()
    found = [replace(one, lacking="this kernel has none.") for one in world.read([T, {**EVM, "state": "absent"}])]
    with pytest.raises(RootOfTrustError, match="trusted:t: this kernel has none"):
        plan.plan_keys(found)
    assert plan.plan_keys(found[1:]) == []


def test_a_type_that_comes_with_a_module_is_planned_as_if_it_were_there() -> None:
    world = World()
    whole = [KMK, EVM, {**EVM, "description": "other", "blob": "/k/other"}, T]
    modules = {"encrypted": "encrypted-keys", "trusted": "trusted"}

    def planned() -> list[str]:
        found = [replace(one, module=modules.get(one.wanted.type, "")) for one in world.read(whole)]
        untried = [replace(one, blobs=tuple(replace(blob, loads=None, why="") for blob in one.blobs)) for one in found]
        return [step.action for step in plan.plan_keys(untried)]

    made = [plan.NEW_BLOB, plan.LOAD]
    assert planned() == [plan.WRITE_FILE, plan.ADD, plan.LOAD_MODULE, *made, *made, plan.LOAD_MODULE, *made]
    world.run(whole)
    master = world.keys["user:kmk"]
    world.boot()
    assert planned() == [plan.ADD, plan.LOAD_MODULE, plan.LOAD, plan.LOAD, plan.LOAD_MODULE, plan.LOAD]
    world.keys["user:kmk"] = master
    assert planned() == [plan.LOAD_MODULE, plan.LOAD, plan.LOAD, plan.LOAD_MODULE, plan.LOAD], "the master is there already"


def test_a_key_that_evm_has_taken_is_only_in_its_blob() -> None:
    evm = {**EVM, "description": "evm-key", "blob": "/k/evm-key"}
    world = World()
    world.run([KMK, evm])
    world.keys["encrypted:evm-key"] = replace(world.keys["encrypted:evm-key"], material="000")

    def planned(*asked: dict[str, Any]) -> list[str]:
        found = [replace(one, burnt=one.wanted.type == "encrypted") for one in world.read(list(asked))]
        return [step.action for step in plan.plan_keys(found)]

    assert planned(KMK, evm) == []
    assert planned(KMK, {key: value if key != "blob" else None for key, value in evm.items()}) == []
    other = {**KMK, "description": "kmk2", "file": "/k/kmk2"}
    world.run([other])
    with pytest.raises(RootOfTrustError, match="is kept under user:kmk, and not user:kmk2"):
        planned({**evm, "master": "user:kmk2"})
    assert planned({**evm, "master": "user:kmk2", "update": True}) == [plan.REWRAP_BLOB]
    for spoil in (lambda: world.files.update({"/k/evm-key": "encrypted|"}), lambda: world.files.pop("/k/evm-key")):
        spoil()
        with pytest.raises(RootOfTrustError, match="it cannot be written anew"):
            planned(KMK, {**evm, "update": True})


# --- keyrings ----------------------------------------------------------------------------------------------------------

APP = KernelKey(5, "keyring", "app", 0, 0, 0x3F010000, "valid", "perm")
RING = {"path": "@u/app", "state": "present", "permissions": None, "timeout": None, "links": [], "drop_keys": False}


def ring(is_there: bool = True, **given: Any) -> FoundKeyring:
    wanted = rings.wanted_keyring({**RING, **given})
    links = tuple(Place(path, 9) for path in wanted.links)
    if not is_there:
        return FoundKeyring(wanted, Place("@u/app", 1, ("app",)), links=links)
    return FoundKeyring(wanted, Place("@u/app", 5), 1, APP, (replace(APP, description="inner"),), links)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (ring(False), ["make"]),
        (ring(False, links=["@s"]), ["make", "link"]),
        (ring(), []),
        (ring(permissions="3f3f0000", timeout=60, links=["@s", "@us"]), ["set permissions", "set the timeout", "link", "link"]),
        (ring(permissions="3f010000", timeout=0), []),
        (ring(state="absent", drop_keys=True), ["unlink"]),
        (ring(False, state="absent"), []),
    ],
)
def test_keyrings(found: FoundKeyring, expected: list[str]) -> None:
    steps = rings.plan_keyrings([found])
    assert [step.action for step in steps] == expected
    told = rings.report_keyrings([found], steps)["keyrings"][0]
    assert told["state"] == found.wanted.state
    assert told["links"] == (sorted(found.wanted.links) if found.wanted.state == "present" else [])


def test_a_keyring_is_linked_into_one_that_comes_before_it_in_the_list() -> None:
    into = [replace(ring(False, path="@u/a/b"), place=Place("@u/a/b", 1, ("a", "b"))), ring(False, links=["@u/a/b", "@u/a"])]
    into[1] = replace(into[1], links=(Place("@u/a/b", 1, ("a", "b")), Place("@u/a", 1, ("a",))))
    assert [(step.subject, step.action) for step in rings.plan_keyrings(into)] == [
        ("@u/a/b", "make"), ("@u/app", "make"), ("@u/app", "link"), ("@u/app", "link"),
    ]  # fmt: skip
    with pytest.raises(RootOfTrustError, match="which is not there"):
        rings.plan_keyrings(into[::-1])


def test_a_keyring_with_keys_is_not_taken_away_unasked() -> None:
    with pytest.raises(RootOfTrustError, match="has keyring:inner in it"):
        rings.plan_keyrings([ring(state="absent")])
    with pytest.raises(RootOfTrustError, match="which is not there"):
        rings.plan_keyrings([replace(ring(links=["@u/no"]), links=(Place("@u/no", 1, ("no",)),))])
    with pytest.raises(RootOfTrustError, match="more than once"):
        rings.plan_keyrings([ring(), ring()])
    for given in ({"path": "@u", "state": "absent"}, {"path": "@u", "timeout": 5}, {"timeout": -1}, {"links": ["@x"]}):
        with pytest.raises(RootOfTrustError):
            rings.wanted_keyring({**RING, **given})
