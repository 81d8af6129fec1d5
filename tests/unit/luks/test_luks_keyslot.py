# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is planned for keyslots, and that a run may be cut after any step of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import lock, memory
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import plan_keyslots as plan
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import ABSENT, PRESENT, Header, Keyslot, PbkdfChoice, Token, Work
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_keyslots import Asked, Facts, Known, Volume, Wanted

ALICE, BOB = ("A" * 40,), ("A" * 40, "B" * 40)


class World:
    """A header, the secrets in it, and the files that belong to it: what is left when a run is cut."""

    def __init__(self, *secrets: str) -> None:
        self.slots: dict[int, str] = dict(enumerate(secrets))
        self.priorities: dict[int, str] = {}
        self.tokens: dict[int, Known] = {}
        self.files: dict[str, str] = {}
        self.type = "luks2"
        self.made = 0  # secrets
        self.foreign: dict[int, str] = {}  # keyslots of others
        self.tried = 0  # key derivations
        self.others: tuple[Token, ...] = ()
        self.work: Work | None = None

    def volume(self) -> Volume:
        slots = tuple(Keyslot(number, self.type, self.priorities.get(number, "normal"), 512) for number in sorted(self.slots))
        tokens = tuple(Token(number, plan.TOKEN, known.keyslots) for number, known in self.tokens.items()) + self.others
        header = Header(self.type, "u", "", "", 1, "", 512, 512, 0, slots, tokens, work=self.work)
        return Volume("/dev/x", "/dev/x", header, tuple(replace(known, number=number) for number, known in self.tokens.items()))

    def ask(self, wanted: Wanted, secret: str | None = None, unlock: str | None = None, create: bool = False) -> Run:
        return Run(self, wanted, secret, unlock, create)


class Run:
    """One run of a module, as keyslots.py does it, on a world."""

    def __init__(self, world: World, wanted: Wanted, secret: str | None, unlock: str | None, create: bool) -> None:
        self.world, self.wanted, self.secret, self.unlock, self.create = world, wanted, secret, unlock, create
        self.made = ""
        self.asked = self._read()

    def _read(self) -> Asked:
        volume = self.world.volume()
        plan.check_wanted(self.wanted, volume)
        return Asked(volume, self.wanted, plan.learn(volume, self.wanted, self._files(), self))

    def _files(self) -> Facts:
        facts, files, file = Facts(unlock=self.unlock is not None), self.world.files, self.wanted.file
        if file is None or self.wanted.state != PRESENT:
            return facts
        if self.wanted.kind == plan.RECOVERY:
            waits = plan.WAITING if f"{file}.next" in files else plan.NO_FILE
            return replace(facts, file=waits, sha256=f"sha-{files[file]}" if file in files else "")
        if self.create and f"{file}.next" in files:
            return replace(facts, file=plan.WAITING)
        return replace(facts, file=plan.MISSING if file not in files else plan.THERE if self.create else plan.NO_FILE)

    def _known_as(self, which: str) -> str | None:
        if which == plan.UNLOCK:
            return self.unlock
        if self.wanted.kind == plan.KEY_FILE:
            return self.world.files[f"{self.wanted.file}.next" if which == plan.STAGED else str(self.wanted.file)]
        return self.secret

    def opens(self, which: str, keyslot: int) -> bool:
        self.world.tried += 1
        return self.world.slots[keyslot] == self._known_as(which)

    def finds(self, which: str) -> int | None:
        self.world.tried += 1
        found = [number for number, secret in self.world.slots.items() if secret == self._known_as(which)]
        return next((number for number in sorted(found) if self.world.priorities.get(number) != "ignore"), None)

    @property
    def steps(self) -> list[Step]:
        return plan.plan_keyslots([self.asked])

    def go(self, cut: int | None = None, watch: Callable[[], None] = lambda: None) -> list[Step]:
        """Do the steps, or the first of them; then it is read again, as converge does."""
        steps = self.steps
        for step in steps[:cut]:
            self._apply(step)
            watch()
        if cut is None or cut >= len(steps):
            self.asked = self._read()
            assert self.steps == []
        return steps

    def _own(self) -> str:
        waiting = f"{self.wanted.file}.next"
        if self.wanted.kind == plan.RECOVERY:
            return self.made
        if self.wanted.kind == plan.KEY_FILE:
            return self.world.files[waiting if self.create and waiting in self.world.files else str(self.wanted.file)]
        assert self.secret is not None
        return self.secret

    def _apply(self, step: Step) -> None:
        world, order, file = self.world, step.detail, str(self.wanted.file)
        if step.action == plan.MAKE:
            world.made += 1
            self.made = f"made-{world.made}"
            world.files[file if self.asked.facts.file == plan.MISSING else f"{file}.next"] = self.made
        elif step.action == plan.ADD:
            assert self.unlock in world.slots.values()
            assert order.keyslot not in world.slots
            world.slots[order.keyslot] = self._own()
        elif step.action == plan.PROVE:
            assert world.slots[order.keyslot] == self._own()
        elif step.action in (plan.NOTE, plan.TELL):
            assert set(order.known.keyslots) <= set(world.slots), "cryptsetup takes no token of a keyslot that is not there"
            sealed = order.known.kind == plan.RECOVERY and not order.known.sha256
            known = replace(order.known, sha256=f"sha-{self.made}") if sealed else order.known
            world.tokens[next(number for number in range(32) if number not in world.tokens)] = known
        elif step.action == plan.FORGET:
            ours = [number for number, known in world.tokens.items() if plan.same_token(order.known, replace(known, number=number))]
            assert len(ours) == 1
            del world.tokens[ours[0]]
        elif step.action == plan.REMOVE:
            del world.slots[order.keyslot]
            for number, known in world.tokens.items():
                world.tokens[number] = replace(known, keyslots=tuple(slot for slot in known.keyslots if slot != order.keyslot))
        elif step.action == plan.PRIORITY:
            world.priorities[order.keyslot] = order.priority
        elif step.action == plan.PLACE:
            world.files[file] = world.files.pop(f"{file}.next")
        else:
            assert step.action == plan.DISCARD
            del world.files[f"{file}.next"]


# --- cut after any step ----------------------------------------------------------------------------------------------

VERSIONS = st.sampled_from(["1", "2", "3"])
CUT = st.none() | st.integers(0, 12)


class CutRuns(RuleBasedStateMachine):
    """A user who knows the passphrases, and whose runs are cut anywhere; others add keyslots of their own meanwhile."""

    @initialize(named=st.booleans())
    def start(self, named: bool) -> None:
        self.world = World("pass-1")
        self.escrowed = False
        self.boot: str | None = None
        if named:
            self.world.ask(Wanted(PRESENT, "pass", kind=plan.PASSPHRASE), "pass-1").go()

    def unlock(self) -> str:
        """A secret that the user knows, and that opens it: there has to be one at every moment."""
        known = [f"pass-{version}" for version in "123"] + [self.world.files.get(name, "") for name in ("/boot.key", "/boot.key.next")]
        return next(secret for secret in known if secret in self.world.slots.values())

    def run(self, wanted: Wanted, secret: str | None, cut: int | None, create: bool = False) -> bool:
        run = self.world.ask(wanted, secret, self.unlock(), create)
        steps = run.go(cut, self.watch)
        if cut is not None and cut < len(steps):
            return False
        ours = [known for known in self.world.tokens.values() if known.name == wanted.name]
        assert [(known.version, known.pending) for known in ours] == ([(wanted.version, None)] if wanted.state == PRESENT else [])
        before = self.world.tried
        if wanted.state == PRESENT and not wanted.verify:
            assert self.world.ask(wanted, secret, self.unlock(), create).steps == []
            assert self.world.tried == before, "a run that changes nothing derives no key"
        return True

    @rule(version=VERSIONS, cut=CUT, verify=st.booleans())
    def passphrase(self, version: str, cut: int | None, verify: bool) -> None:
        wanted = Wanted(PRESENT, "pass", version, plan.PASSPHRASE, verify=verify)
        if self.run(wanted, f"pass-{version}", cut):
            assert f"pass-{version}" in self.world.slots.values()

    @rule(version=VERSIONS, cut=CUT, verify=st.booleans())
    def key_file(self, version: str, cut: int | None, verify: bool) -> None:
        wanted = Wanted(PRESENT, "boot", version, plan.KEY_FILE, file="/boot.key", verify=verify)
        if self.run(wanted, None, cut, create=True):
            self.boot = version
            assert self.world.files["/boot.key"] in self.world.slots.values()
            assert "/boot.key.next" not in self.world.files

    @rule(version=VERSIONS, cut=CUT, recipients=st.sampled_from([ALICE, BOB]))
    def recovery_key(self, version: str, cut: int | None, recipients: tuple[str, ...]) -> None:
        wanted = Wanted(PRESENT, "recovery", version, plan.RECOVERY, file=f"/recovery-{version}.asc", recipients=recipients)
        if self.run(wanted, None, cut):
            self.escrowed = True

    @rule(name=st.sampled_from(["boot", "recovery"]), cut=CUT)
    def absent(self, name: str, cut: int | None) -> None:
        if name == "boot":
            self.boot = None
        else:
            self.escrowed = False
        self.run(Wanted(ABSENT, name, kind=plan.RECOVERY if name == "recovery" else None), None, cut)

    @rule()
    def others_add(self) -> None:
        number = next(number for number in range(32) if number not in self.world.slots)
        self.world.slots[number] = self.world.foreign[number] = f"foreign-{number}"

    @precondition(lambda self: any(known.keyslots for known in self.world.tokens.values() if known.name == "boot"))
    @rule()
    def others_remove(self) -> None:
        for number in [slot for known in self.world.tokens.values() if known.name == "boot" for slot in known.keyslots]:
            if len(set(self.world.slots) - set(self.world.foreign)) > 2:
                del self.world.slots[number]
                self.boot = None
                for token, known in self.world.tokens.items():
                    self.world.tokens[token] = replace(known, keyslots=tuple(slot for slot in known.keyslots if slot != number))

    def watch(self) -> None:
        """What holds after each step."""
        assert self.unlock()
        for number, secret in self.world.foreign.items():
            assert self.world.slots.get(number) == secret, "a keyslot went that nobody had named"
        named = {slot for known in self.world.tokens.values() for slot in (*known.keyslots, known.pending)}
        assert set(self.world.slots) - set(self.world.foreign) - named <= {0}, "a keyslot that nobody knows of"
        if self.escrowed:
            readable = [self.world.files.get(f"/recovery-{version}.asc") for version in "123"]
            assert set(readable) & set(self.world.slots.values()), "no ciphertext opens it"
        if self.boot is not None:
            assert self.world.files["/boot.key"] in self.world.slots.values(), "the host cannot open it at boot"

    @invariant()
    def holds(self) -> None:
        if hasattr(self, "world"):
            self.watch()


CutRuns.TestCase.settings = settings(max_examples=300, stateful_step_count=20, deadline=None)
TestCutRuns = CutRuns.TestCase


# --- single cases ----------------------------------------------------------------------------------------------------

BOOT = Wanted(PRESENT, "boot", kind=plan.KEY_FILE, file="/boot.key")
ADMIN = Wanted(PRESENT, "admin", kind=plan.PASSPHRASE)
ESCROW = Wanted(PRESENT, "recovery", kind=plan.RECOVERY, file="/r.asc", recipients=ALICE)


def actions(steps: list[Step]) -> list[str]:
    return [step.action for step in steps]


def test_the_order_of_a_rotation() -> None:
    world = World("first")
    assert actions(world.ask(BOOT, unlock="first", create=True).go()) == ["make", "note", "add", "prove", "tell", "forget"]
    made = world.ask(replace(BOOT, version="2"), unlock="first", create=True).go()
    assert actions(made) == ["make", "note", "add", "prove", "place", "tell", "remove", "forget", "forget"]
    assert (world.slots, world.files) == ({0: "first", 30: "made-2"}, {"/boot.key": "made-2"})
    assert "version 1 is there" in made[2].sentence


def test_the_order_of_a_recovery_key() -> None:
    world = World("first")
    assert actions(world.ask(ESCROW, unlock="first").go()) == ["make", "note", "add", "prove", "place", "tell", "forget"]
    known = next(iter(world.tokens.values()))
    assert len(world.tokens) == 1
    assert (known.keyslots, known.sha256, known.recipients) == ((31,), "sha-made-1", ALICE)


def test_a_secret_that_opens_is_adopted_without_unlock() -> None:
    world = World("other", "mine")
    (step,) = world.ask(ADMIN, "mine").go()
    assert (step.action, step.before, step.after) == ("tell", {"keyslot 1": "without a name"}, {"keyslot 1": "passphrase admin, version 1"})


def test_one_in_a_keyslot_to_be_ignored_is_found_too() -> None:
    world = World("other", "mine")
    world.priorities[1] = "ignore"
    assert actions(world.ask(ADMIN, "mine").go()) == ["tell"]


def test_a_run_without_a_secret_sees_what_is_there() -> None:
    world = World("mine")
    world.ask(ADMIN, "mine").go()
    before = world.tried
    assert world.ask(replace(ADMIN, kind=None)).steps == []
    assert world.tried == before


def test_a_dead_one_is_told_and_added_anew() -> None:
    world = World("first")
    world.ask(ADMIN, "mine", "first").go()
    world.slots[31] = "garbage"
    assert world.ask(ADMIN, "mine", "first").steps == []
    steps = world.ask(replace(ADMIN, verify=True), "mine", "first").go()
    assert "keyslot 31 does not open by it" in steps[1].sentence
    assert world.slots == {0: "first", 30: "mine"}


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda world: world.files.pop("/r.asc"), "is gone"),
        (lambda world: world.files.update({"/r.asc": "x"}), "is not that of"),
        (lambda world: world.slots.pop(31), "has been removed"),
    ],
)
def test_a_recovery_key_that_is_no_more_is_told_and_made_anew(spoil: Callable[[World], object], told: str) -> None:
    world = World("first")
    world.ask(ESCROW, unlock="first").go()
    spoil(world)
    for number, known in world.tokens.items():
        world.tokens[number] = replace(known, keyslots=tuple(slot for slot in known.keyslots if slot in world.slots))
    steps = world.ask(ESCROW, unlock="first").go()
    assert any(told in step.sentence for step in steps)
    assert world.files["/r.asc"] == "made-2"
    assert sorted(world.slots.values()) == ["first", "made-2"]


def test_the_priority_is_that_of_the_one_replaced() -> None:
    world = World("first")
    world.ask(replace(ADMIN, priority="prefer"), "a", "first").go()
    world.ask(replace(ADMIN, version="2"), "b", "first").go()
    assert world.priorities[30] == "prefer"
    assert actions(world.ask(replace(ADMIN, version="2", priority="normal"), "b").go()) == ["priority"]


def test_a_full_header_has_room_for_what_was_cut() -> None:
    world = World("first", *(f"x{number}" for number in range(30)))
    world.ask(ESCROW, unlock="first").go(cut=3)  # added, not proven
    assert len(world.slots) == 32
    assert actions(world.ask(ESCROW, unlock="first").go())[:2] == ["remove", "forget"]
    assert len(world.slots) == 32


def test_luks1_is_tried_and_has_no_names() -> None:
    world = World("first")
    world.type = "luks1"
    wanted = Wanted(PRESENT, None, kind=plan.PASSPHRASE)
    run = world.ask(wanted, "second", "first")
    assert actions(run.go()) == ["add", "prove"]
    assert (world.slots, world.tokens) == ({0: "first", 7: "second"}, {})
    assert world.ask(wanted, "second", "first").steps == []
    assert actions(world.ask(replace(wanted, state=ABSENT), "first", "second").go()) == ["remove"]


def test_several_on_one_volume_know_of_each_other() -> None:
    world = World("first")
    one = world.ask(ADMIN, "a", "first")
    two = world.ask(replace(ADMIN, name="other"), "b", "first")
    steps = plan.plan_keyslots([one.asked, two.asked])
    assert [step.detail.keyslot for step in steps if step.action == "add"] == [31, 30]
    told = plan.report_keyslots([one.asked, two.asked], steps)
    assert [known["keyslot"] for known in told["keyslots"]] == [31, 30]
    gone = world.ask(Wanted(ABSENT, None, keyslot=0))
    with pytest.raises(RootOfTrustError, match="opens keyslot 0, which an earlier entry removes"):
        plan.plan_keyslots([one.asked, gone.asked, two.asked])


def test_absent_takes_only_what_is_named() -> None:
    world = World("first", "second", "first")
    world.ask(ADMIN, "second").go()
    assert [step.detail.keyslot for step in world.ask(Wanted(ABSENT, None, kind=plan.PASSPHRASE), "first").go()] == [0, 2]
    world = World("first", "second", "third")
    world.ask(ADMIN, "second").go()
    assert actions(world.ask(Wanted(ABSENT, None, keyslot=1)).go()) == ["remove", "forget"]
    assert world.ask(Wanted(ABSENT, None, keyslot=1)).steps == []
    assert world.slots == {0: "first", 2: "third"}


def _token(world: World, kind: str, *keyslots: int) -> None:
    world.others = (*world.others, Token(20 + len(world.others), kind, keyslots))


def _full(world: World) -> None:
    world.slots = {number: f"x{number}" for number in range(31)}
    world.slots[31] = "first"


def _reencrypting(world: World) -> None:
    world.work = Work("encrypt", "forward", "checksum")


def _luks1(world: World) -> None:
    world.type = "luks1"


def _cut(world: World) -> None:
    world.ask(ESCROW, unlock="first").go(cut=3)


Case = tuple[Callable[[World], object], Wanted, dict[str, Any], str]
REFUSED: dict[str, Case] = {
    "wrong unlock": (lambda _world: None, ADMIN, {"secret": "a", "unlock": "wrong"}, "does not open it"),
    "no unlock": (lambda _world: None, ADMIN, {"secret": "a"}, "as unlock"),
    "no secret": (lambda _world: None, replace(ADMIN, kind=None), {"unlock": "first"}, "no secret for it is given"),
    "33rd keyslot": (_full, ADMIN, {"secret": "a", "unlock": "first"}, "All 32 keyslots"),
    "keyslot in use": (lambda _world: None, replace(ADMIN, keyslot=0), {"secret": "a", "unlock": "first"}, "Keyslot 0 of /dev/x is in use"),
    "unknown keyslot": (lambda _world: None, replace(ADMIN, keyslot=32), {"secret": "a", "unlock": "first"}, "LUKS2 has 0 to 31"),
    "unknown keyslot of luks1": (_luks1, Wanted(ABSENT, None, keyslot=8), {}, "LUKS1 has 0 to 7"),
    "luks1 with a name": (_luks1, ADMIN, {"secret": "a", "unlock": "first"}, "no tokens and no priorities: name cannot be kept"),
    "luks1 with a recovery key": (_luks1, ESCROW, {"unlock": "first"}, "cannot keep what a recovery key needs"),
    "luks1 without a secret": (_luks1, Wanted(PRESENT, None), {}, "a secret is needed"),
    "without a name": (lambda _world: None, replace(ADMIN, name=None), {"secret": "a"}, "without a name"),
    "a name that is a path": (lambda _world: None, replace(ADMIN, name="../x"), {"secret": "a"}, "is refused"),
    "a version that is a path": (lambda _world: None, replace(ADMIN, version="a/b"), {"secret": "a"}, "is refused"),
    "nothing named": (lambda _world: None, Wanted(ABSENT, None), {}, "not said which keyslot"),
    "name and number": (lambda _world: None, Wanted(ABSENT, "a", keyslot=1), {}, "both a name and a number"),
    "last way in": (lambda _world: None, Wanted(ABSENT, None, keyslot=0), {}, "the last way into /dev/x"),
    "last way in by the secret": (
        lambda _world: None, Wanted(ABSENT, None, kind=plan.PASSPHRASE), {"secret": "first"}, "the last way into /dev/x",
    ),
    "last way in beside a TPM": (
        lambda world: (world.slots.update({1: "t"}), _token(world, "systemd-tpm2", 1)),
        Wanted(ABSENT, None, keyslot=0), {}, "the last way into",
    ),
    "last way in beside what was cut": (_cut, Wanted(ABSENT, None, keyslot=0), {}, "the last way into"),
    "unlock does not stay": (
        lambda world: world.slots.update({1: "t"}), Wanted(ABSENT, None, keyslot=0), {"unlock": "first"}, "that stays when 0 goes",
    ),
    "keyslot of a TPM": (
        lambda world: (world.slots.update({1: "t"}), _token(world, "systemd-tpm2", 1)),
        Wanted(ABSENT, None, keyslot=1), {}, "luks_token",
    ),
    "reencryption": (_reencrypting, ADMIN, {"secret": "a", "unlock": "first"}, "A reencryption of /dev/x is under way"),
    "the same secret": (
        lambda world: world.ask(ADMIN, "a", "first").go(), replace(ADMIN, version="2"), {"secret": "a"}, "still that of version 1",
    ),
    "the secret of another": (
        lambda world: world.ask(ADMIN, "a", "first").go(), replace(ADMIN, name="b"), {"secret": "a"}, "which is that of admin",
    ),
    "the name of a recovery key": (
        lambda world: world.ask(ESCROW, unlock="first").go(), replace(ADMIN, name="recovery"), {"secret": "a"}, "use luks_recovery_key",
    ),
    "a key file that is gone": (
        lambda world: (world.ask(BOOT, unlock="first", create=True).go(), world.files.clear()),
        BOOT, {"unlock": "first", "create": True}, "The key file /boot.key is gone",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_nothing_done(case: str) -> None:
    spoil, wanted, given, told = REFUSED[case]
    world = World("first")
    spoil(world)
    with pytest.raises(RootOfTrustError, match=told):
        assert world.ask(wanted, **given).steps


def test_a_tpm_counts_where_the_user_says_so() -> None:
    world = World("first", "t")
    _token(world, "systemd-tpm2", 1)
    assert actions(world.ask(Wanted(ABSENT, None, keyslot=0, count_tokens=True)).go()) == ["remove"]


def test_during_a_reencryption_what_is_there_is_well() -> None:
    world = World("first")
    world.ask(ADMIN, "a", "first").go()
    _reencrypting(world)
    assert world.ask(ADMIN, "a").steps == []


def test_a_token_has_nothing_of_the_secret_and_reads_back() -> None:
    known = Known(3, "boot", "1", plan.KEY_FILE, (3,))
    assert plan.token_of(known) == {"type": plan.TOKEN, "keyslots": ["3"], "name": "boot", "version": "1", "kind": "key_file"}
    noted = Known(4, "recovery", "1", plan.RECOVERY, (), 31, "ab", ALICE)
    for one in (known, noted):
        assert plan.known_from_token(one.number, plan.token_of(one)) == one
    assert plan.known_from_token(1, {"type": plan.TOKEN, "keyslots": ["x"]}) is None


@pytest.mark.parametrize(
    ("free", "expected"), [(8 * 1024 * 1024, 1024 * 1024), (1024 * 1024, 256 * 1024), (100 * 1024, 64 * 1024), (None, 64 * 1024)]
)
def test_the_memory_of_a_derivation_fits_the_host(free: int | None, expected: int, tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       1 kB\n" + (f"MemAvailable:   {free} kB\n" if free else ""))
    assert memory.bounded(PbkdfChoice(), "luks2", str(meminfo)).memory == expected
    for choice, luks in ((PbkdfChoice(type="pbkdf2"), "luks2"), (PbkdfChoice(memory=32), "luks2"), (PbkdfChoice(), "luks1")):
        assert memory.bounded(choice, luks, str(meminfo)) == choice


def test_one_run_at_a_time(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.touch()
    (tmp_path / "alias").symlink_to(volume)
    first, second = lock.HeaderLocks(str(tmp_path), 0.1), lock.HeaderLocks(str(tmp_path), 0.1)
    first.hold_header(str(volume))
    first.hold_header(str(tmp_path / "alias"))
    with pytest.raises(RootOfTrustError, match="Another run is at work"):
        second.hold_header(str(tmp_path / "alias"))
