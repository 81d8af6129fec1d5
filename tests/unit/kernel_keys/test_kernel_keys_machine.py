# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whatever is asked for, and wherever it is cut: no key is lost, and no blob is overwritten by one that does not load."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys import plan_keys as plan
from tests.unit.kernel_keys.key_world import Refused, World, params

MASTERS = ("kmk-a", "kmk-b")
NAMES = ("e1", "e2")
POLICIES = st.sampled_from([None, "aa", "bb"])
PCRS = st.sampled_from([None, [7], [11]])
CUTS = st.one_of(st.none(), st.integers(0, 6))


def master(name: str, **given: Any) -> dict[str, Any]:
    return params(name, random=32, file=f"/k/{name}", **given)


def encrypted(name: str, under: str, blob: bool = True, **given: Any) -> dict[str, Any]:
    kept = {"blob": f"/k/{name}.blob"} if blob else {}
    return params(name, type="encrypted", master=f"user:{under}", length=32, **kept, **given)


def trusted(policy: str | None, alternative: str | None, **given: Any) -> dict[str, Any]:
    seal = {"policydigest": policy, "hash": "sha256"} if policy else {}
    more = {"policydigest": alternative, "hash": "sha256", "pcrs": [7], "pcrinfo": None, "policyhandle": None} if alternative else {}
    alternatives = [{"blob": f"/k/t.{alternative}", **more}] if alternative else None
    return params("t", type="trusted", length=32, blob="/k/t.blob", keyhandle="0x1", alternatives=alternatives, **seal, **given)


def locker(pcrs: list[int] | None, other: list[int] | None, **given: Any) -> dict[str, Any]:
    alternatives = [{"blob": "/k/l.other", "pcrs": other}] if other else None
    return params("l", type="trusted", length=32, blob="/k/l.blob", pcrlock=11, pcrs=pcrs, alternatives=alternatives, **given)


class Keys(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World(pcrs="aa")
        self.spoilt: set[str] = set()

    # --- what holds at every moment ---

    def kept(self) -> dict[str, str]:
        """What each file brings back, by path, of those whose master is there and that nobody has spoilt."""
        world, found = self.world, {}
        for path, text in world.files.items():
            sealed = world.parsed(text)
            if path not in self.spoilt and (sealed is None or self.recoverable(text)):
                found[path] = text if sealed is None else text.split("|")[1]
        return found

    def known(self, name: str) -> bool:
        """Whether one of the files is a blob that the kernel has given of the key that it has."""
        key = self.world.alive(name)
        return key is not None and any(text in (key.text, *key.before) for text in self.world.files.values())

    def recoverable(self, text: str) -> bool:
        """Whether what a blob needs is still in the kernel or in a file. Else nobody can load it any more."""
        kind, dummy, at, worth = text.split("|")
        key = self.world.alive(at)
        return kind == "trusted" or worth in (key.material if key else "", self.world.files.get(f"/k/{at.partition(':')[2]}"))

    def do(self, asked: list[dict[str, Any]], cut: int | None, within: bool = False) -> None:
        world, before = self.world, self.kept()
        unreadable = [name for name, key in world.keys.items() if key.state == "valid" and world.export(name) is None]
        alive = {name: key.material for name, key in world.keys.items() if key.state == "valid"}
        gone = {path for one in asked if one["remove_files"] for path in (one["file"], one["blob"])}
        # A master that goes knows of the keys in the kernel that are kept under it, and not of blobs that lie somewhere.
        ended = {f"user:{one['description']}" for one in asked if one["state"] != "present"}
        gone |= {path for path, text in world.files.items() if text.count("|") == 3 and text.split("|")[2] in ended}

        def watch(step: Step) -> None:
            after = self.kept()
            for path, worth in before.items():
                assert path in gone or after.get(path) == worth, f"{path} brings back something else after: {step.sentence}"
            sealed = [text for text in world.files.values() if text.startswith("trusted|")]
            assert not any("+" in text for text in sealed), f"a blob never loads again after: {step.sentence}"
            for name, key in world.keys.items():
                assert alive.get(name, key.material) == key.material, f"{name} is another key after: {step.sentence}"
                if key.master and key.state == "valid" and step.subject.startswith(name):
                    assert world.alive(key.master), f"{name} is under a master that is not there after: {step.sentence}"
            if step.action in (plan.LOAD, plan.ADD) and not isinstance(step.detail, tuple) and step.detail.wanted.file:
                assert step.detail.wanted.file in world.files, "a key is in use that is in no file yet"
            if step.action == plan.LOAD:
                assert world.keys[step.detail[0].wanted.name].material == world.files[step.detail[1].path].split("|")[1]

        try:
            world.run(asked, cut, watch, within)
        except (RootOfTrustError, Refused):
            if cut is None:
                return
        if cut is None and not unreadable:  # nobody knows the master of one that the kernel does not give out
            assert [step for step in plan.plan_keys(world.read(asked)) if not step.once] == [], "a second run finds nothing to do"

    # --- what users do ---

    @rule(names=st.lists(st.sampled_from(MASTERS), unique=True), cut=CUTS, timeout=st.sampled_from([None, 60, 0]))
    def have_masters(self, names: list[str], cut: int | None, timeout: int | None) -> None:
        self.do([master(name, timeout=timeout) for name in names], cut)

    @rule(
        name=st.sampled_from(NAMES), under=st.sampled_from(MASTERS), update=st.booleans(), blob=st.booleans(), cut=CUTS, along=st.booleans()
    )
    def have_key(self, name: str, under: str, update: bool, blob: bool, cut: int | None, along: bool) -> None:
        self.do([*([master(under)] if along else []), encrypted(name, under, blob, update=update)], cut)

    @rule(policy=POLICIES, other=POLICIES, update=st.booleans(), cut=CUTS, within=st.booleans())
    def have_trusted(self, policy: str | None, other: str | None, update: bool, cut: int | None, within: bool) -> None:
        asked, known = [trusted(policy, other, update=update)], self.known("trusted:t")
        self.do(asked, cut, within)
        assert not known or self.known("trusted:t"), "a cut makes nobody forget which key it is"

    @rule(pcrs=PCRS, other=PCRS, first=st.booleans(), update=st.booleans(), cut=CUTS)
    def have_one_that_locks(self, pcrs: list[int] | None, other: list[int] | None, first: bool, update: bool, cut: int | None) -> None:
        both = [locker(pcrs, other, update=update), params("b", type="trusted", length=32, blob="/k/b.blob", pcrs=[7, 11], update=update)]
        self.do(both if first else both[::-1], cut)

    @rule(name=st.sampled_from(["trusted:t", "trusted:b"]))
    def boot_and_make_one_by_hand(self, name: str) -> None:
        self.world.boot()
        self.world.by_hand(name)

    @rule(name=st.sampled_from(MASTERS), state=st.sampled_from(["absent", "revoked"]), cut=CUTS)
    def end_master(self, name: str, state: str, cut: int | None) -> None:
        alive = [key for key in self.world.keys.values() if key.master == f"user:{name}" and key.state == "valid"]
        was = self.world.alive(f"user:{name}")
        self.do([master(name, state=state)], cut)
        assert not (alive and was and not self.world.alive(f"user:{name}")), "keys were left without their master"

    @rule(name=st.sampled_from(NAMES), state=st.sampled_from(["absent", "revoked"]), remove=st.booleans(), cut=CUTS)
    def end_key(self, name: str, state: str, remove: bool, cut: int | None) -> None:
        self.do([encrypted(name, "kmk-a", state=state, remove_files=remove)], cut)

    # --- what befalls them ---

    @rule(pcrs=st.sampled_from(["aa", "bb"]))
    def boot(self, pcrs: str) -> None:
        self.world.boot()
        self.world.pcrs = pcrs

    @precondition(lambda self: self.world.files)
    @rule(data=st.data(), spoil=st.booleans())
    def lose_or_spoil_a_file(self, data: st.DataObject, spoil: bool) -> None:
        path = data.draw(st.sampled_from(sorted(self.world.files)))
        if spoil:
            self.world.files[path] = self.world.files[path][:-1][:12]
            self.spoilt.add(path)
        else:
            del self.world.files[path]

    @precondition(lambda self: self.world.keys)
    @rule(data=st.data(), state=st.sampled_from(["expired", "revoked", None]))
    def lose_a_key(self, data: st.DataObject, state: str | None) -> None:
        name = data.draw(st.sampled_from(sorted(self.world.keys)))
        if state is None and name != "trusted:l":  # once that is gone, nobody can see that it has locked a PCR
            del self.world.keys[name]
        elif state is not None:
            self.world.keys[name] = type(self.world.keys[name])(**{**vars(self.world.keys[name]), "state": state})


Keys.TestCase.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)
TestKeys = Keys.TestCase
