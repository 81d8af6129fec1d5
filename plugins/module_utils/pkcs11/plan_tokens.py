# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which tokens are initialised and given PINs, and what is wrong with those that are. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError, certain
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.model import (
    DEFAULT_SO_PIN,
    DEFAULT_USER_PIN,
    OLD_TPM,
    SO_PIN_DEFAULT,
    SO_PIN_FINAL,
    SO_PIN_LOCKED,
    SO_PIN_LOW,
    TOKEN_INITIALIZED,
    USER_PIN_DEFAULT,
    USER_PIN_FINAL,
    USER_PIN_INITIALIZED,
    USER_PIN_LOCKED,
    USER_PIN_LOW,
    WRITE_PROTECTED,
    Slot,
    Token,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.parse import token_label

INITIALIZE, CHANGE_SO_PIN, INIT_PIN = "initialize", "change SO PIN", "set user PIN"  # actions
USER_WORD, SO_WORD = "user PIN", "SO PIN"


@dataclass(frozen=True)
class WantedToken:
    """A token that should be initialised.

    :param slot: number of the slot in which it should be, or None.
    :param wipe: serial number of a token that may be initialised again; None for none.
    :param so_pin, user_pin: lengths in bytes; None where the PIN is not given. The PINs themselves are not needed to plan.
    :param weak: which of them are openCryptoki's defaults.
    """

    label: str
    slot: int | None = None
    wipe: str | None = None
    so_pin: int | None = None
    user_pin: int | None = None
    weak: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Tokens:
    """A library's slots, and the tokens asked for."""

    library: str
    slots: tuple[Slot, ...]
    wanted: tuple[WantedToken, ...]


def wanted_token(params: Mapping[str, Any]) -> WantedToken:
    """What pkcs11_token is asked for, of one token.

    :raises RootOfTrustError: if the label cannot be had.
    """
    token_label(params["label"])
    pins = {SO_WORD: params["so_pin"], USER_WORD: params["user_pin"]}
    defaults = {SO_WORD: DEFAULT_SO_PIN, USER_WORD: DEFAULT_USER_PIN}
    return WantedToken(
        params["label"],
        params["slot"],
        params["wipe"] or None,  # as a variable that is empty gives it: no serial number, which a blank one must not be taken for
        _length(params["so_pin"]),
        _length(params["user_pin"]),
        frozenset(name for name, pin in pins.items() if pin == defaults[name]),
    )


def _length(pin: str | None) -> int | None:
    return None if pin is None else len(pin.encode("utf-8"))


# ------------------------------------------------------------------------------------------------------------ choosing


def labelled(slots: Sequence[Slot], label: str, number: int | None = None, serial: str | None = None) -> list[Slot]:
    """The slots with an initialised token of this label, or with what else is asked for."""
    return [
        slot
        for slot in slots
        if slot.token is not None
        and slot.token.is_initialized
        and slot.token.label == label
        and number in (None, slot.number)
        and serial in (None, slot.token.serial)
    ]


def is_meant(asked: Mapping[str, str], token: Token) -> bool:
    """Whether a token is the one of a PKCS#11 URI, by those attributes that are of a token."""
    own = {"token": token.label, "manufacturer": token.manufacturer, "model": token.model, "serial": token.serial}
    return all(value == asked.get(name, value) for name, value in own.items())


def the_token(slots: Sequence[Slot], label: str, number: int | None = None, serial: str | None = None) -> Slot:
    """The one slot with a token.

    :raises RootOfTrustError: if there is none or several.
    """
    found = labelled(slots, label, number, serial)
    if len(found) == 1:
        return found[0]
    there = ", ".join(sorted(f"{slot.token.label!r} (slot {slot.number})" for slot in slots if slot.token and slot.token.is_initialized))
    if not found:
        where = f" in slot {number}" if number is not None else ""
        raise RootOfTrustError(f"There is no token {label!r}{where}; there are: {there or 'none'}.", "Insert it, or correct the label.")
    raise RootOfTrustError(f"{len(found)} tokens have the label {label!r}: {there}.", "Say which by its slot or serial number.")


def the_token_to_come(slots: Sequence[Slot], label: str, number: int | None = None) -> Slot:
    """The slot with a token, or one like it will be where that is yet to be initialised."""
    found = labelled(slots, label, number)
    return found[0] if found else Slot(0, "", "", Token(label, "", "", "", frozenset({TOKEN_INITIALIZED}), 0, 0))


def _choose(tokens: Tokens, wanted: WantedToken) -> tuple[Slot, bool]:
    """The slot of a token, and whether it is to be initialised.

    :raises RootOfTrustError: if it is not clear, or what is there holds something.
    """
    found = labelled(tokens.slots, wanted.label, wanted.slot)
    if len(found) > 1:
        names = ", ".join(str(slot.number) for slot in found)
        raise RootOfTrustError(f"Several tokens have the label {wanted.label!r}, in the slots {names}.", "Say which by slot.")
    if found:
        return found[0], False
    slots = [slot for slot in tokens.slots if slot.token is not None]
    if wanted.slot is not None:
        slots = [slot for slot in slots if slot.number == wanted.slot]
        if not slots:
            raise RootOfTrustError(f"There is no token in slot {wanted.slot} of {tokens.library}.", "Insert one, or correct the slot.")
    elif wanted.wipe is not None:
        slots = [slot for slot in slots if certain(slot.token).serial == wanted.wipe]
    else:
        slots = [slot for slot in slots if not certain(slot.token).is_initialized]
    if len(slots) != 1:
        known = ", ".join(sorted(repr(certain(slot.token).label) for slot in tokens.slots if slot.token and slot.token.is_initialized))
        told = "no free token" if not slots else f"{len(slots)} free tokens, in the slots {', '.join(str(slot.number) for slot in slots)},"
        empty = ", ".join(str(slot.number) for slot in tokens.slots if slot.token is None)
        raise RootOfTrustError(
            f"There is no token {wanted.label!r}, and {told} that could become it (initialised: {known or 'none'}; slots without a token:"
            f" {empty or 'none'}).",
            "Insert one, or say which by slot; why a slot in software has none the journal tells.",
        )
    return slots[0], True


# ------------------------------------------------------------------------------------------------------------ planning


def plan_tokens(tokens: Tokens) -> list[Step]:
    """The steps that are missing.

    :raises RootOfTrustError: if something that is asked for cannot be had, or would lose what is on a token.
    """
    steps: list[Step] = []
    taken: dict[int, str] = {}
    for index, wanted in enumerate(tokens.wanted):
        slot, fresh = _choose(tokens, wanted)
        if slot.number in taken:
            raise RootOfTrustError(
                f"The tokens {taken[slot.number]!r} and {wanted.label!r} are both asked for in slot {slot.number}.", "Give each its slot."
            )
        taken[slot.number] = wanted.label
        steps += _plan_token(index, wanted, slot, fresh)
    return steps


def _plan_token(index: int, wanted: WantedToken, slot: Slot, fresh: bool) -> list[Step]:
    token = certain(slot.token)
    steps = []
    if fresh:
        _refuse_what_holds(wanted, slot, token)
        _require(wanted, wanted.so_pin, SO_WORD)
        before = {"label": token.label, "initialized": token.is_initialized}
        kind, serial = token.model or token.manufacturer, token.serial or "none"
        sentence = f"Initialise the token in slot {slot.number} ({kind}, serial number {serial}) as {wanted.label}."
        steps.append(Step(wanted.label, INITIALIZE, sentence, before, {"label": wanted.label, "initialized": True}, (index, slot)))
    if token.has_default_so_pin and wanted.so_pin is not None and SO_WORD not in wanted.weak:
        sentence = f"Change the SO PIN of {wanted.label}, which is openCryptoki's default."
        steps.append(Step(wanted.label, CHANGE_SO_PIN, sentence, {"so_pin": "the default"}, {"so_pin": "as given"}, (index, slot)))
    has_pin = USER_PIN_INITIALIZED in token.flags and not fresh
    is_default = USER_PIN_DEFAULT in token.flags and USER_WORD not in wanted.weak
    if wanted.user_pin is not None and (not has_pin or is_default):
        _require(wanted, wanted.so_pin, SO_WORD)
        before_pin = "the default" if has_pin else "none"
        steps.append(
            Step(
                wanted.label,
                INIT_PIN,
                f"Set the user PIN of {wanted.label}.",
                {"user_pin": before_pin},
                {"user_pin": "as given"},
                (index, slot),
            )
        )
    if steps:
        _refuse_unusable(wanted, slot, token)
    return steps


def _require(wanted: WantedToken, pin: int | None, name: str) -> None:
    if pin is None:
        raise RootOfTrustError(f"The token {wanted.label!r} needs the {name}, and none is given.", "Give so_pin.")


def _refuse_what_holds(wanted: WantedToken, slot: Slot, token: Token) -> None:
    if token.is_initialized and not (token.serial and wanted.wipe == token.serial):
        raise RootOfTrustError(
            f"The token in slot {slot.number} is already initialised, as {token.label!r}: all on it would be lost.",
            f"To lose that, give wipe: {token.serial!r}." if token.serial else "It has no serial number by which it could be named.",
            {"slot": describe_slot(slot)},
        )


def _refuse_unusable(wanted: WantedToken, slot: Slot, token: Token) -> None:
    if token.model == OLD_TPM:
        raise RootOfTrustError(
            f"The token in slot {slot.number} is openCryptoki's of a TPM from before its release 3.12, which does not keep its PINs.",
            "Take a newer release, or the token in software.",
        )
    if WRITE_PROTECTED in token.flags:
        raise RootOfTrustError(f"The token in slot {slot.number} is write-protected.", "Take off its protection.")
    if SO_PIN_LOCKED in token.flags and token.is_initialized:  # SoftHSM has it on a token that is free
        raise RootOfTrustError(f"The SO PIN of the token in slot {slot.number} is locked.", "Only its maker's own means help there.")
    if SO_PIN_FINAL in token.flags and token.is_initialized:
        raise RootOfTrustError(
            f"One more wrong SO PIN locks the token {token.label!r} for good, so it is not tried here.", "Prove the SO PIN by hand first."
        )
    for length, name in ((wanted.so_pin, SO_WORD), (wanted.user_pin, USER_WORD)):
        refuse_pin_length(length, name, wanted.label, token)


def refuse_pin_length(length: int | None, name: str, label: str, token: Token) -> None:
    """:raises RootOfTrustError: if the token would not take a PIN of this length. Some libraries tell 0 for "no limit"."""
    least, most = token.least_pin, token.longest_pin
    if length is not None and (length < least or (0 < most < length)):
        told = f"{least} to {most}" if most else f"at least {least}"
        raise RootOfTrustError(f"The {name} for the token {label!r} has {length} bytes; it takes {told}.", "Choose another.")


def refuse_login(slot: Slot, label: str) -> None:
    """:raises RootOfTrustError: if the user PIN is locked, not there, or one try from locked."""
    flags = certain(slot.token).flags
    if USER_PIN_LOCKED in flags:
        raise RootOfTrustError(f"The user PIN of the token {label!r} is locked.", "Have the SO set a new one.")
    if USER_PIN_INITIALIZED not in flags:
        raise RootOfTrustError(f"The token {label!r} has no user PIN.", "Set one by pkcs11_token.")
    if USER_PIN_FINAL in flags:
        raise RootOfTrustError(
            f"One more wrong user PIN locks the token {label!r}, so it is not tried here.", "Prove the PIN by hand first."
        )


# -------------------------------------------------------------------------------------------------------------- result


def unhealthy(slot: Slot, weak: frozenset[str] = frozenset()) -> list[str]:
    """What is wrong with a token, in sentences. One that is free has nothing wrong with it but a default PIN."""
    if slot.token is None:
        return []
    name, flags = f"The token {slot.token.label!r} in slot {slot.number}", slot.token.flags
    told = [
        f"{name} has openCryptoki's default {pin}, which everyone knows."
        for default, pin in ((slot.token.has_default_so_pin, SO_WORD), (USER_PIN_DEFAULT in flags, USER_WORD))
        if default or pin in weak
    ]
    if not slot.token.is_initialized:
        return told
    told += [f"{name}: {fault}" for fault in _tries(flags)]
    if not slot.token.label:
        told.append(f"The token in slot {slot.number} was initialised with a blank label.")
    if "error_state" in flags:
        told.append(f"{name} has failed its self-test.")
    return told


def _tries(flags: frozenset[str]) -> list[str]:
    """What wrong PINs have come to."""
    told = []
    words = ((USER_PIN_LOCKED, USER_PIN_FINAL, USER_PIN_LOW, USER_WORD), (SO_PIN_LOCKED, SO_PIN_FINAL, SO_PIN_LOW, SO_WORD))
    for locked, final, low, pin in words:
        if locked in flags:
            told.append(f"the {pin} is locked.")
        elif final in flags:
            told.append(f"one more wrong {pin} locks it.")
        elif low in flags:
            told.append(f"a wrong {pin} was given.")
    return told


def describe_slot(slot: Slot) -> dict[str, Any]:
    """A slot as modules tell it."""
    token = slot.token
    return {
        "slot": slot.number,
        "description": slot.description,
        "manufacturer": slot.manufacturer,
        "token": None
        if token is None
        else {
            "label": token.label,
            "manufacturer": token.manufacturer,
            "model": token.model,
            "serial": token.serial,
            "flags": sorted(token.flags),
            "initialized": token.is_initialized,
            "pin_length": [token.least_pin, token.longest_pin],
            "unhealthy": unhealthy(slot),
        },
        "mechanisms": list(slot.mechanisms),
    }


def report_tokens(tokens: Tokens, to_come: Sequence[Step]) -> dict[str, Any]:
    """The result of pkcs11_token."""
    told, warnings = [], []
    for index, wanted in enumerate(tokens.wanted):
        slot, fresh = _choose(tokens, wanted)
        mine = {step.action for step in to_come if step.detail[0] == index}
        flags = set() if fresh else set(certain(slot.token).flags)
        flags -= {SO_PIN_DEFAULT} if CHANGE_SO_PIN in mine else set()
        will = flags | ({TOKEN_INITIALIZED} if INITIALIZE in mine else set()) | ({USER_PIN_INITIALIZED} if INIT_PIN in mine else set())
        wrong = [] if mine else unhealthy(slot, wanted.weak)
        told.append(
            {
                "label": wanted.label,
                # SoftHSM gives an initialised token another slot and a serial number.
                "slot": None if INITIALIZE in mine else slot.number,
                "serial": None if INITIALIZE in mine else certain(slot.token).serial,
                "user_pin": USER_PIN_INITIALIZED in will,
                "due": bool(mine),
                "unhealthy": wrong,
            }
        )
        warnings += wrong
    return {"tokens": told, "warnings": warnings}


def report_slots(library: str, info: Mapping[str, Any], slots: Sequence[Slot]) -> dict[str, Any]:
    """The result of pkcs11_info."""
    wrong = [sentence for slot in slots for sentence in unhealthy(slot)]
    return {
        "library": {"path": library, **info},
        "slots": [describe_slot(slot) for slot in slots],
        "healthy": not wrong,
        "unhealthy": wrong,
    }
