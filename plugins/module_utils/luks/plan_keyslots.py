# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is to be learnt and done about keyslots that have a name, of a secret that is given or of a recovery key. Pure.

A keyslot's name stands in a token of the header, so that a run that changes nothing derives no key. The order of a change is: a note
(a token that names the keyslot which is to be), the keyslot, its proof, the token, and only then what is no longer wanted goes. A run
that is cut leaves at worst a keyslot that the note names; the next run takes it on or takes it away.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Mapping, Protocol, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import (
    ABSENT,
    LUKS1,
    LUKS2,
    PRESENT,
    REENCRYPT,
    Header,
    Keyslot,
)

TOKEN = "rootoftrust-keyslot"  # type of the tokens by which keyslots are known
PASSPHRASE, KEY_FILE, RECOVERY = "passphrase", "key_file", "recovery"  # kinds
NUMBERS = {LUKS1: 8, LUKS2: 32}  # keyslots that a header can have
TYPED = (TOKEN, "systemd-recovery", "luks2-keyring")  # tokens of keyslots whose secret a person or a file has
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")  # part of the name of a file, too
DEFAULT_VERSION = "1"

# What a secret is taken from, when it is tried
OWN, STAGED, UNLOCK = "own", "staged", "unlock"
# What is known of the file that belongs to a keyslot: a key file that may be made, or a recovery key's ciphertext
NO_FILE, MISSING, THERE, OUTDATED, WAITING = "", "missing", "there", "outdated", "waiting"
# Actions
MAKE, NOTE, ADD, PROVE, PLACE, TELL, FORGET, REMOVE, PRIORITY, DISCARD = (
    "make", "note", "add", "prove", "place", "tell", "forget", "remove", "priority", "discard",
)  # fmt: skip


# --- models ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Known:
    """One of our tokens: a keyslot that has a name, or the note that one is to be.

    :param number: of the token; -1 for one that this run is to write.
    :param keyslots: several while a reencryption replaces one by another; none where somebody has removed it.
    :param pending: the keyslot that is to be; None for one that is.
    :param sha256: of a recovery key's ciphertext.
    :param recipients: fingerprints of those who can read it, sorted.
    """

    number: int
    name: str
    version: str
    kind: str
    keyslots: tuple[int, ...]
    pending: int | None = None
    sha256: str = ""
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True)
class Volume:
    """A header with what its tokens of ours say.

    :param path: the device, or the file of a detached header.
    """

    device: str
    path: str
    header: Header
    known: tuple[Known, ...] = ()

    @property
    def numbers(self) -> frozenset[int]:
        return frozenset(slot.number for slot in self.header.keyslots)

    @property
    def ways(self) -> frozenset[int]:
        """The keyslots that open the data; cryptsetup cannot try others."""
        return frozenset(slot.number for slot in self.header.keyslots if slot.kind != REENCRYPT and not slot.unbound)


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    :param kind: None where no secret is given: then the keyslot has to be there already, or is to go.
    :param keyslot: the number; None where any will do.
    :param count_tokens: a keyslot that only a TPM, a FIDO2 or PKCS#11 device or clevis can open counts as a way in.
    :param keep_older: what has the name in another version stays.
    :param file: a key file that may be made, or the ciphertext of a recovery key.
    :param recipients: fingerprints of the recipients of a recovery key, sorted.
    :param faults: why nothing can be encrypted to some of them.
    """

    state: str
    name: str | None
    version: str = DEFAULT_VERSION
    kind: str | None = None
    keyslot: int | None = None
    priority: str | None = None
    verify: bool = False
    count_tokens: bool = False
    keep_older: bool = False
    file: str | None = None
    recipients: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Facts:
    """What only the system knows.

    :param unlock: whether a secret that unlocks is given.
    :param unlocked: the keyslot that it opens; None where it opens none, or where that was not needed.
    :param opens: keyslots that the secret was found to open; none where it was not tried.
    :param dead: keyslots that it should open and does not.
    :param file: one of the words above.
    :param sha256: of the ciphertext in its place; empty where there is none.
    """

    unlock: bool = False
    unlocked: int | None = None
    opens: frozenset[int] = frozenset()
    dead: frozenset[int] = frozenset()
    file: str = NO_FILE
    sha256: str = ""


@dataclass(frozen=True)
class Asked:
    """One keyslot that is asked for, with what is known about it."""

    volume: Volume
    wanted: Wanted
    facts: Facts
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Order:
    """What a step is done with.

    :param index: of the keyslot that is asked for.
    :param known: the token that is to be written or removed.
    """

    index: int
    keyslot: int | None = None
    known: Known | None = None
    priority: str | None = None

    @property
    def number(self) -> int:
        """The keyslot of an order that is about one."""
        if self.keyslot is None:
            raise ValueError("an order without a keyslot")
        return self.keyslot

    @property
    def token(self) -> Known:
        """The token of an order that is about one."""
        if self.known is None:
            raise ValueError("an order without a token")
        return self.known


class Probe(Protocol):
    """Tries secrets on a header; each try derives a key."""

    def opens(self, which: str, keyslot: int) -> bool: ...

    def finds(self, which: str) -> int | None:
        """The first keyslot that it opens, of those that are not to be ignored."""


# --- tokens ----------------------------------------------------------------------------------------------------------


def known_from_token(number: int, token: Mapping[str, Any]) -> Known | None:
    """One of our tokens; None for one that is not as we write them."""
    try:
        pending = token.get("pending")
        return Known(
            number=number,
            name=str(token["name"]),
            version=str(token["version"]),
            kind=str(token["kind"]),
            keyslots=tuple(sorted(int(slot) for slot in token["keyslots"])),
            pending=None if pending is None else int(pending),
            sha256=str(token.get("sha256", "")),
            recipients=tuple(sorted(str(recipient) for recipient in token.get("recipients", ()))),
        )
    except (KeyError, ValueError, TypeError):
        return None


def token_of(known: Known) -> dict[str, Any]:
    """The token; nothing in it is made from the secret: a digest of that beside the disk would make it cheap to guess."""
    token: dict[str, Any] = {
        "type": TOKEN,
        "keyslots": [str(slot) for slot in known.keyslots],
        "name": known.name,
        "version": known.version,
        "kind": known.kind,
    }
    if known.pending is not None:
        token["pending"] = str(known.pending)
    if known.sha256:
        token.update(sha256=known.sha256, recipients=list(known.recipients))
    return token


def same_token(one: Known, other: Known) -> bool:
    """Whether a token that is there is the one that is meant: by number, or for one that this run has written by what it says."""
    if one.number >= 0 and other.number >= 0 and one.number != other.number:
        return False
    return (one.name, one.version, one.kind, one.pending) == (other.name, other.version, other.kind, other.pending)


# --- what is asked for -----------------------------------------------------------------------------------------------


def check_wanted(wanted: Wanted, volume: Volume) -> None:
    """Refuse what cannot be, whatever the header holds.

    :raises RootOfTrustError: naming what is wrong.
    """
    at, luks, most = volume.device, volume.header.type, NUMBERS[volume.header.type]
    if wanted.keyslot is not None and not 0 <= wanted.keyslot < most:
        raise RootOfTrustError(f"{at} has no keyslot {wanted.keyslot}: {luks.upper()} has 0 to {most - 1}.", "Correct keyslot.")
    _check_words(wanted, volume)
    if luks == LUKS1:
        _check_luks1(wanted, at)
    elif wanted.state == PRESENT and wanted.name is None:
        raise RootOfTrustError(f"A keyslot of {at} is asked for without a name.", "Give a name, by which later runs know it.")
    if wanted.state == ABSENT:
        if wanted.name is not None and wanted.keyslot is not None:
            raise RootOfTrustError(
                f"The keyslot of {at} that is to go has both a name and a number.", "Give one of them: they may mean two keyslots."
            )
        if wanted.name is None and wanted.keyslot is None and wanted.kind is None:
            raise RootOfTrustError(
                f"It is not said which keyslot of {at} is to go.", "Give its name, its number as keyslot, or its secret."
            )


def _check_words(wanted: Wanted, volume: Volume) -> None:
    for word, value in (("name", wanted.name), ("version", wanted.version)):
        if value is not None and not NAME.fullmatch(value):
            raise RootOfTrustError(
                f"The {word} {value!r} of a keyslot of {volume.device} is refused.",
                "Use 1 to 64 letters of a-z, A-Z, 0-9, _, . and -, and none of the last two first.",
            )
    for known in volume.known:
        if known.name == wanted.name and (known.kind == RECOVERY) != (wanted.kind == RECOVERY):
            raise RootOfTrustError(
                f"The name {known.name} on {volume.device} is that of a {known.kind.replace('_', ' ')}.",
                f"Give another name, or use {'luks_recovery_key' if known.kind == RECOVERY else 'luks_keyslot'}.",
            )


def _check_luks1(wanted: Wanted, at: str) -> None:
    if wanted.kind == RECOVERY:
        raise RootOfTrustError(f"{at} is LUKS1, which cannot keep what a recovery key needs.", "Convert it to LUKS2.")
    given = {"name": wanted.name is not None, "version": wanted.version != DEFAULT_VERSION, "priority": wanted.priority is not None}
    if any(given.values()):
        raise RootOfTrustError(
            f"{at} is LUKS1, which has no tokens and no priorities: {', '.join(word for word in given if given[word])} cannot be kept.",
            "Leave it out (then each run tries the secret), or convert the volume to LUKS2.",
        )
    if wanted.state == PRESENT and wanted.kind is None:
        raise RootOfTrustError(f"For a keyslot of {at}, which is LUKS1, a secret is needed.", "Give passphrase or key_file.")


# --- what is learnt --------------------------------------------------------------------------------------------------


def standing(known: Sequence[Known], numbers: frozenset[int], wanted: Wanted, facts: Facts) -> Known | None:
    """The token by which what is wanted is there."""
    for one in known:
        if (
            (one.name, one.version, one.pending) == (wanted.name, wanted.version, None)
            and (one.kind == wanted.kind if wanted.kind is not None else one.kind != RECOVERY)
            and one.keyslots
            and set(one.keyslots) <= numbers
            and not set(one.keyslots) & facts.dead
            and (one.kind != RECOVERY or (one.recipients == wanted.recipients and one.sha256 == facts.sha256))
        ):
            return one
    return None


def _pending(known: Sequence[Known], wanted: Wanted, numbers: frozenset[int]) -> list[Known]:
    """The notes of runs that were cut after they had added a keyslot."""
    return [one for one in known if one.name == wanted.name and one.pending in numbers]


def _committed(known: Sequence[Known], wanted: Wanted, numbers: frozenset[int], facts: Facts) -> Known | None:
    """The note of a recovery key whose ciphertext is in its place already: that is done only after the proof."""
    for one in _pending(known, wanted, numbers):
        same = (one.version, one.kind, one.recipients, one.sha256) == (wanted.version, RECOVERY, wanted.recipients, facts.sha256)
        if wanted.kind == RECOVERY and facts.sha256 and same:
            return one
    return None


def learn(volume: Volume, wanted: Wanted, facts: Facts, probe: Probe) -> Facts:
    """What has to be tried to know what is to be done; nothing where it is known without.

    :param facts: what is known already: whether there is an unlocking secret, and of the files.
    :raises RootOfTrustError: if a key file is gone that a token says is there.
    """
    if wanted.state == ABSENT:
        return _learn_absent(volume, wanted, facts, probe)
    numbers, known = volume.numbers, volume.known
    stands = standing(known, numbers, wanted, facts)
    if stands is not None and wanted.kind == KEY_FILE and facts.file == MISSING:
        raise RootOfTrustError(
            f"The key file {wanted.file} is gone, while keyslot {stands.keyslots[0]} of {volume.device} ({_called(stands)}) opens by it.",
            "Restore it, or give another version: then a new key is made where create_key_file says so.",
        )
    cut = _pending(known, wanted, numbers)
    if stands is not None and (wanted.verify or cut) and wanted.kind in (PASSPHRASE, KEY_FILE):
        opened = frozenset(number for number in stands.keyslots if number in volume.ways and probe.opens(OWN, number))
        facts = replace(facts, opens=opened, dead=frozenset() if opened else frozenset(stands.keyslots))
        stands = standing(known, numbers, wanted, facts)
    if stands is not None or _committed(known, wanted, numbers, facts) is not None:
        return facts
    _check_reencryption(volume, f"{wanted.name or 'the secret'} is to open it")
    if wanted.kind in (PASSPHRASE, KEY_FILE):
        facts = _learn_secret(volume, wanted, facts, probe)
    if not facts.opens and facts.unlock and wanted.kind is not None:
        facts = replace(facts, unlocked=probe.finds(UNLOCK))
    return facts


def _check_reencryption(volume: Volume, due: str) -> None:
    header = volume.header
    if header.work is not None or any("reencrypt" in word for word in header.requirements):
        raise RootOfTrustError(
            f"A reencryption of {volume.device} is under way, during which cryptsetup changes neither keyslots nor tokens; due is: {due}",
            "Let it end first.",
        )


def _learn_secret(volume: Volume, wanted: Wanted, facts: Facts, probe: Probe) -> Facts:
    """Which keyslot the secret opens, those first that a run may have added for it; or whether a key file is due for a new key."""
    own = [one for one in volume.known if one.name == wanted.name]
    if facts.file == MISSING:
        return facts
    if facts.file == THERE:
        older = {slot for one in own if one.pending is None and one.version != wanted.version for slot in one.keyslots}
        if any(probe.opens(OWN, number) for number in sorted(older & volume.ways)):
            return replace(facts, file=OUTDATED)
    which = STAGED if facts.file == WAITING else OWN
    likely = [one.pending for one in own if one.pending is not None]
    likely += [slot for one in own for slot in one.keyslots if slot not in facts.dead]
    for number in dict.fromkeys(likely):
        if number in volume.ways and probe.opens(which, number):
            return replace(facts, opens=frozenset({number}))
    found = probe.finds(which) if volume.ways else None
    if found is None:
        ignored = [slot.number for slot in volume.header.keyslots if slot.priority == "ignore" and slot.number in volume.ways]
        found = next((number for number in ignored if probe.opens(which, number)), None)
    return replace(facts, opens=frozenset() if found is None else frozenset({found}))


def _learn_absent(volume: Volume, wanted: Wanted, facts: Facts, probe: Probe) -> Facts:
    ways = sorted(volume.ways)
    if wanted.name is None and wanted.keyslot is None:
        facts = replace(facts, opens=frozenset(number for number in ways if probe.opens(OWN, number)))
    going = going_away(volume.known, volume.numbers, wanted, facts)
    if going:
        _check_reencryption(volume, f"keyslot {', '.join(map(str, sorted(going)))} is to go")
    if going and facts.unlock:
        rest = [number for number in ways if number not in going]
        facts = replace(facts, unlocked=next((number for number in rest if probe.opens(UNLOCK, number)), None))
    return facts


def going_away(known: Sequence[Known], numbers: frozenset[int], wanted: Wanted, facts: Facts) -> frozenset[int]:
    """The keyslots that are named by what is to be absent, and by no other name."""
    if wanted.name is None:
        return facts.opens & numbers if wanted.keyslot is None else frozenset({wanted.keyslot}) & numbers
    return _slots([one for one in known if one.name == wanted.name]) & numbers - _slots([one for one in known if one.name != wanted.name])


def _slots(known: Sequence[Known]) -> frozenset[int]:
    return frozenset(slot for one in known for slot in (*one.keyslots, one.pending) if slot is not None)


# --- what is to be done ----------------------------------------------------------------------------------------------


def plan_keyslots(asked: Sequence[Asked]) -> list[Step]:
    """The missing steps, in order.

    :raises RootOfTrustError: if something stands against one of them; then none is to be done.
    """
    return _planned(asked)[0]


def _planned(asked: Sequence[Asked]) -> tuple[list[Step], list[int | None]]:
    """The steps, and for each that is asked for the keyslot that it has after them."""
    courses: dict[str, _Course] = {}
    steps: list[Step] = []
    for index, one in enumerate(asked):
        course = courses.setdefault(one.volume.path, _Course(one.volume))
        due = course.present(index, one) if one.wanted.state == PRESENT else course.absent(index, one)
        if due:
            _check_reencryption(one.volume, due[0].sentence)
        steps += due
    return steps, [courses[one.volume.path].number_of(one) if one.wanted.state == PRESENT else None for one in asked]


class _Course:
    """A header as the steps that are planned so far will leave it."""

    def __init__(self, volume: Volume) -> None:
        self.volume = volume
        self.device = volume.device
        self.slots: dict[int, Keyslot | None] = {slot.number: slot for slot in volume.header.keyslots}
        self.known = list(volume.known)
        self.gone: set[int] = set()  # numbers that meant another keyslot when the secrets were tried
        self.steps: list[Step] = []

    @property
    def numbers(self) -> frozenset[int]:
        return frozenset(self.slots)

    def number_of(self, one: Asked) -> int | None:
        if one.volume.header.type == LUKS1:
            added = [number for number, slot in self.slots.items() if slot is None]
            return next(iter(sorted(one.facts.opens) or added), None)
        named = [known for known in self.known if (known.name, known.version, known.pending) == (one.wanted.name, one.wanted.version, None)]
        return next((known.keyslots[0] for known in named if known.keyslots), None)

    # --- present

    def present(self, index: int, one: Asked) -> list[Step]:
        self.steps = []
        wanted, facts = one.wanted, one.facts
        luks2 = one.volume.header.type == LUKS2
        stands = standing(self.known, self.numbers, wanted, facts) if luks2 else None
        if not luks2 and facts.opens - self.gone:
            return []
        if stands is not None:
            self._discard(index, one)
            keep: Known | None = stands
        else:
            keep = self._take_on(index, one) or self._add(index, one)
        if keep is not None and luks2:
            self._prioritise(index, wanted, keep)
            self._tidy(index, one, keep)
        return self.steps

    def _discard(self, index: int, one: Asked) -> None:
        file = one.wanted.file
        if one.facts.file == WAITING and file is not None:
            self._step(DISCARD, f"Remove the rest of a run that was cut beside {file}.", Order(index), (file, "rest", "none"))

    def _take_on(self, index: int, one: Asked) -> Known | None:
        """Give the name to a keyslot that is proven to open already."""
        wanted, facts = one.wanted, one.facts
        if one.volume.header.type == LUKS1:
            return None
        committed = _committed(self.known, wanted, self.numbers, facts)
        usable = {number for number, slot in self.slots.items() if slot is not None and not slot.unbound}
        opened = sorted((facts.opens - self.gone) & usable)
        if committed is not None and committed.pending is not None:
            self._discard(index, one)
            return self._tell(index, one, committed.pending, committed.sha256)
        if not opened:
            return None
        number = opened[0]
        for known in self.known:
            if number not in _slots([known]):
                continue
            if known.name != wanted.name:
                raise RootOfTrustError(
                    f"The secret of {wanted.name} opens keyslot {number} of {self.device} already, which is that of {known.name}.",
                    "Give each its own secret: else removing the one takes the other with it.",
                )
            if known.pending is None and known.version != wanted.version:
                raise RootOfTrustError(
                    f"The secret of {wanted.name}, version {wanted.version}, is still that of version {known.version}, "
                    f"which opens keyslot {number} of {self.device}.",
                    "Give a new secret, or the old version.",
                )
        if facts.file == WAITING:
            self._place(index, wanted)
        return self._tell(index, one, number)

    def _add(self, index: int, one: Asked) -> Known | None:
        wanted, facts = one.wanted, one.facts
        luks2 = one.volume.header.type == LUKS2
        why = self._why(wanted, facts)
        if wanted.kind is None:
            raise RootOfTrustError(
                f"{self.device} has no keyslot {wanted.name}, version {wanted.version}, and no secret for it is given.",
                "Give passphrase or key_file.",
            )
        if wanted.faults:
            raise RootOfTrustError(
                f"A recovery key for {self.device} is due ({why}), and cannot be encrypted: {' '.join(wanted.faults)}",
                "Give in recipients public keys that are in use, as they are now.",
            )
        self._check_unlock(one, why)
        number = self._free(index, one)
        # A note of a keyslot that was not added says nothing, for this run alone is at work; the number is to be that of one name.
        stale = [known for known in self.known if known.pending is not None and known.pending not in self.slots]
        self._forget([known for known in stale if known.name == wanted.name or known.pending == number], index)
        if wanted.kind == RECOVERY:
            self._step(
                MAKE, f"Make a recovery key for {self.device} and encrypt it to {', '.join(wanted.recipients)}.", Order(index, number)
            )
        elif facts.file == MISSING:
            self._step(MAKE, f"Make the key file {wanted.file}.", Order(index), (str(wanted.file), "missing", "there"))
        elif facts.file == OUTDATED:
            self._step(MAKE, f"Make a new key beside the key file {wanted.file}.", Order(index))
        called = _words(wanted.kind, wanted.name, wanted.version)
        if luks2:
            note = self._known(wanted, (), number)
            self._step(NOTE, f"Note in the header of {self.device} that keyslot {number} is to be {called}.", Order(index, number, note))
            self.known.append(note)
        sentence = f"Add keyslot {number} to {self.device}{f' for {called}' if luks2 else ''}: {why}."
        self._step(ADD, sentence, Order(index, number), (f"keyslot {number}", "free", called if luks2 else "the secret given"))
        if number in self.volume.numbers:
            self.gone.add(number)
        self.slots[number] = None
        self._step(PROVE, f"Prove that the secret opens keyslot {number} of {self.device}.", Order(index, number))
        if not luks2:
            return None
        if wanted.kind == RECOVERY or facts.file in (OUTDATED, WAITING):
            self._place(index, wanted)
        return self._tell(index, one, number, named=called)

    def _why(self, wanted: Wanted, facts: Facts) -> str:
        own = [known for known in self.known if known.name == wanted.name and known.pending is None]
        same = [known for known in own if known.version == wanted.version]
        if not own:
            return "none of that name is there" if wanted.name else "the secret opens none"
        if not same:
            return f"version {own[0].version} is there"
        known = same[0]
        if not set(known.keyslots) & self.numbers:
            return "the one of that name has been removed"
        if set(known.keyslots) & facts.dead:
            return f"keyslot {known.keyslots[0]} does not open by it"
        if known.kind != wanted.kind:
            return f"that of keyslot {known.keyslots[0]} is of kind {known.kind}"
        if known.recipients != wanted.recipients:
            return "the recipients have changed"
        fault = "is not that of" if facts.sha256 else "is gone, which holds the key of"
        return f"the ciphertext {wanted.file} {fault} keyslot {known.keyslots[0]}"

    def _check_unlock(self, one: Asked, why: str) -> None:
        facts = one.facts
        if not facts.unlock:
            raise RootOfTrustError(
                f"A keyslot is to be added to {self.device} ({why}), for which a secret is needed that opens it.",
                "Give one as unlock.",
            )
        if facts.unlocked is None:
            raise RootOfTrustError(f"The secret that is to unlock {self.device} does not open it.", "Give one that does in unlock.")
        if facts.unlocked not in self.slots or facts.unlocked in self.gone:
            raise RootOfTrustError(
                f"The secret that is to unlock {self.device} opens keyslot {facts.unlocked}, which an earlier entry removes.",
                "Change the order, or give another in unlock.",
            )

    def _free(self, index: int, one: Asked) -> int:
        """A free number: the highest, so that what other programs add, which take the lowest, is not mistaken for what a note names."""
        wanted, most = one.wanted, NUMBERS[one.volume.header.type]
        free = [number for number in range(most) if number not in self.slots]
        if wanted.keyslot is not None:
            if wanted.keyslot not in free:
                raise RootOfTrustError(
                    f"Keyslot {wanted.keyslot} of {self.device} is in use.", "Leave keyslot out, or give a free one; see luks_info."
                )
            return wanted.keyslot
        if not free:
            rests = [known for known in _pending(self.known, wanted, self.numbers) if known.pending != one.facts.unlocked]
            for known in rests[:1]:
                self._remove(index, {known.pending} - {None}, "the rest of a run that was cut")
                self._forget([known], index)
                return self._free(index, one)
            raise RootOfTrustError(
                f"All {most} keyslots of {self.device} are in use.", "Remove one that is not needed, by its name, number or secret."
            )
        return max(free)

    def _known(self, wanted: Wanted, keyslots: tuple[int, ...], pending: int | None = None, sha256: str = "") -> Known:
        return Known(-1, str(wanted.name), wanted.version, str(wanted.kind), keyslots, pending, sha256, wanted.recipients)

    def _place(self, index: int, wanted: Wanted) -> None:
        what = "the ciphertext of the recovery key" if wanted.kind == RECOVERY else "the new key"
        self._step(PLACE, f"Put {what} in its place as {wanted.file}.", Order(index), (str(wanted.file), "as it was", "new"))

    def _tell(self, index: int, one: Asked, number: int, sha256: str = "", named: str = "") -> Known:
        wanted = one.wanted
        known = self._known(wanted, (number,), sha256=sha256)
        called = _words(wanted.kind, wanted.name, wanted.version)
        before = [other for other in self.known if number in other.keyslots]
        change = None if named else (f"keyslot {number}", _called(before[0]) if before else "without a name", called)
        self._step(TELL, f"Name keyslot {number} of {self.device} in its header: {called}.", Order(index, number, known), change)
        self.known.append(known)
        return known

    def _tidy(self, index: int, one: Asked, keep: Known) -> None:
        """What else is known by the name goes, after the keyslot that stays is proven and named."""
        wanted = one.wanted
        others = [known for known in self.known if known.name == wanted.name and known is not keep]
        if wanted.keep_older:
            others = [known for known in others if known.pending is not None or known.version == wanted.version]
        if wanted.kind is None:  # a keyslot of which it is not known whether it is the one that opens stays
            others = [known for known in others if known.pending not in self.slots]
        foreign = _slots([known for known in self.known if known.name != wanted.name])
        for known in others:
            going = _slots([known]) & self.numbers - foreign - set(keep.keyslots)
            self._remove(index, going, _called(known) if known.pending is None else "the rest of a run that was cut")
        self._forget(others, index)

    def _prioritise(self, index: int, wanted: Wanted, keep: Known) -> None:
        """As asked for, or else as the one has it that is replaced."""
        replaced = [known for known in self.known if known.name == wanted.name and known.pending is None and known is not keep]
        old = [slot.priority for slot in map(self.slots.get, sorted(_slots(replaced) - set(keep.keyslots))) if slot is not None]
        due = wanted.priority or (old[0] if old else None)
        for number in keep.keyslots:
            slot = self.slots.get(number)
            now = "normal" if slot is None else slot.priority
            if due is not None and now != due:
                sentence = f"Give keyslot {number} of {self.device} the priority {due} instead of {now}."
                order = Order(index, number, priority=due)
                self._step(PRIORITY, sentence, order, (f"priority of keyslot {number}", now, due))

    # --- absent

    def absent(self, index: int, one: Asked) -> list[Step]:
        self.steps = []
        wanted, facts = one.wanted, one.facts
        facts = replace(facts, opens=facts.opens - self.gone)
        going = going_away(self.known, self.numbers, wanted, facts)
        if going:
            self._check_last(one, going)
        why = "asked for by its number" if wanted.keyslot is not None else "the secret given opens it"
        if wanted.name is not None:
            why = f"{wanted.name} is to be absent"
        if wanted.name is not None:
            forgotten = [known for known in self.known if known.name == wanted.name]
        else:
            forgotten = [known for known in self.known if _slots([known]) and _slots([known]) <= going]
        self._remove(index, going, why)
        self._forget(forgotten, index)
        return self.steps

    def _check_last(self, one: Asked, going: frozenset[int]) -> None:
        tokens = {token.number: token for token in one.volume.header.tokens}
        machines = sorted({token.type for token in tokens.values() if token.type not in TYPED and set(token.keyslots) & going})
        for number in sorted(going):
            slot = self.slots[number]
            if slot is not None and slot.kind == REENCRYPT:
                raise RootOfTrustError(f"Keyslot {number} of {self.device} keeps the state of a reencryption.", "Let that end.")
        if machines:
            raise RootOfTrustError(
                f"Keyslot {', '.join(map(str, sorted(going)))} of {self.device} belongs to a token of type {', '.join(machines)}.",
                "Remove both with luks_token: a token without its keyslot holds up the boot.",
            )
        left = [number for number in self.slots if number not in going and self._is_way(number, one)]
        numbers = ", ".join(map(str, sorted(going)))
        if not left:
            raise RootOfTrustError(
                f"Keyslot {numbers} is the last way into {self.device}.",
                "Add another first; count_tokens counts those that only a device opens.",
            )
        if one.facts.unlock and (one.facts.unlocked is None or one.facts.unlocked in self.gone or one.facts.unlocked not in self.slots):
            raise RootOfTrustError(
                f"The secret in unlock opens no keyslot of {self.device} that stays when {numbers} goes.",
                "Give one that does, or leave unlock out: then it is not tried whether another way works.",
            )

    def _is_way(self, number: int, one: Asked) -> bool:
        slot = self.slots[number]
        if slot is None:
            return True  # added and proven by this run
        if slot.kind == REENCRYPT or slot.unbound:
            return False
        if any(known.pending == number for known in self.known) and not any(number in known.keyslots for known in self.known):
            return False  # what a run that was cut has left: nobody has proven it
        types = [token.type for token in one.volume.header.tokens if number in token.keyslots]
        return one.wanted.count_tokens or not types or any(kind in TYPED for kind in types)

    # --- both

    def _remove(self, index: int, numbers: Any, why: str) -> None:
        for number in sorted(numbers):
            self._step(
                REMOVE, f"Remove keyslot {number} of {self.device}: {why}.", Order(index, number), (f"keyslot {number}", why, "free")
            )
            del self.slots[number]
            self.gone.add(number)
            self.known = [replace(known, keyslots=tuple(slot for slot in known.keyslots if slot != number)) for known in self.known]

    def _forget(self, going: Sequence[Known], index: int) -> None:
        for known in going:
            mine = next((one for one in self.known if one.number == known.number and same_token(one, known)), None)
            if mine is not None:
                what = "the note" if known.pending is not None else "the name"
                self._step(FORGET, f"Remove {what} {_called(known)} from the header of {self.device}.", Order(index, None, mine))
                self.known.remove(mine)

    def _step(self, action: str, sentence: str, order: Order, change: tuple[str, str, str] | None = None) -> None:
        before, after = ({}, {}) if change is None else ({change[0]: change[1]}, {change[0]: change[2]})
        self.steps.append(Step(self.device, action, sentence, before, after, order))


def _called(known: Known) -> str:
    return _words(known.kind, known.name, known.version)


def _words(kind: str | None, name: str | None, version: str) -> str:
    words = {PASSPHRASE: "passphrase", KEY_FILE: "key file", RECOVERY: "recovery key"}
    return f"{words.get(str(kind), 'secret')} {name}, version {version}"


# --- the result ------------------------------------------------------------------------------------------------------


def report_keyslots(asked: Sequence[Asked], to_come: Sequence[Step]) -> dict[str, Any]:
    """The result of luks_keyslot: the keyslots as they are after the steps to come."""
    numbers = _planned(asked)[1]
    return {
        "keyslots": [
            {
                "device": one.volume.device,
                "uuid": one.volume.header.uuid,
                "name": one.wanted.name,
                "version": one.wanted.version if one.wanted.name is not None and one.wanted.state == PRESENT else None,
                "state": one.wanted.state,
                "keyslot": number,
            }
            for one, number in zip(asked, numbers)
        ],
        "warnings": [warning for one in asked for warning in one.warnings],
    }
