# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The slots in opencryptoki.conf: only those in use, for one that cannot work harms the others. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.parse import Configuration, SlotConfig

WRITE = "write"  # action
# The libraries of the tokens by their kind, and a configuration of their own where they have one.
TOKENS = {
    "soft": ("libpkcs11_sw.so", None),
    "tpm": ("libpkcs11_tpm.so", None),
    "icsf": ("libpkcs11_icsf.so", "icsf_token.conf"),
    "ica": ("libpkcs11_ica.so", None),
    "cca": ("libpkcs11_cca.so", "ccatok.conf"),
    "ep11": ("libpkcs11_ep11.so", "ep11tok.conf"),
}
STORE = "3.12"  # version of the data store that newer releases make tokens with: FIPS 140-3 algorithms
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class WantedSlot:
    """A slot that should be configured.

    :param token: of ``TOKENS``.
    :param name: of the folder of its data, for a second token of a kind; needs 3.8 or later with ``tokname``.
    """

    token: str
    number: int | None = None
    name: str | None = None
    description: str | None = None


@dataclass(frozen=True)
class Slots:
    """The file as it is, and the slots that it should have."""

    path: str
    found: Configuration
    wanted: tuple[WantedSlot, ...]


def wanted_slot(params: Mapping[str, Any]) -> WantedSlot:
    """What opencryptoki_slots is asked for, of one slot.

    :raises RootOfTrustError: if a value cannot stand in the file.
    """
    name, description = params["name"], params["description"]
    if name is not None and not _WORD.fullmatch(name):
        raise RootOfTrustError(f"The token's name {name!r} has other signs than letters, digits, - and _.", "Choose another.")
    if description is not None and (len(description.encode("utf-8")) > 64 or not re.fullmatch(r'[^"\x00-\x1f\x7f]+', description)):
        raise RootOfTrustError(
            f"The description {description!r} is longer than 64 bytes, or has a quote or control characters.", "Choose another."
        )
    if params["number"] is not None and not 0 <= params["number"] < 1024:  # NUMBER_SLOTS_MANAGED of openCryptoki
        raise RootOfTrustError(f"openCryptoki has no slot {params['number']}.", "Choose one from 0 to 1023.")
    return WantedSlot(params["token"], params["number"], name, description)


def has_token_versions(configuration: Configuration) -> bool:
    """Whether this release knows ``tokversion`` and ``tokname``; those until 3.8 write 3.1 into the first line."""
    match = re.search(r"opencryptoki-(\d+)\.(\d+)", configuration.version)
    return match is not None and (int(match[1]), int(match[2])) >= (3, 12)


def desired(slots: Slots) -> Configuration:
    """The file as it should be: settings of a slot that stays are kept, and so is its number.

    :raises RootOfTrustError: if two slots want the same number, or a name cannot be had.
    """
    left = list(slots.found.slots)
    chosen: list[tuple[WantedSlot, SlotConfig | None]] = []
    for wanted in slots.wanted:
        if wanted.name is not None and not has_token_versions(slots.found):
            raise RootOfTrustError(
                "This release of openCryptoki knows no names of tokens.", "Leave name out; one token of a kind can be had."
            )
        fitting = [slot for slot in left if _fits(slot, wanted)]
        if fitting:
            left.remove(fitting[0])
        chosen.append((wanted, fitting[0] if fitting else None))
    taken = {slot.number for dummy, slot in chosen if slot is not None} | {one.number for one in slots.wanted if one.number is not None}
    made: list[SlotConfig] = []
    for wanted, slot in chosen:
        number = wanted.number if wanted.number is not None else slot.number if slot is not None else _free(taken)
        taken.add(number)
        made.append(_settled(slots.found, wanted, slot, number))
    numbers = [slot.number for slot in made]
    for number in numbers:
        if numbers.count(number) > 1:
            raise RootOfTrustError(f"Two tokens are asked for in slot {number}.", "Give each a number of its own.")
    folders = [slot.get("tokname") or slot.get("stdll") for slot in made]
    if len(set(folders)) != len(folders):
        raise RootOfTrustError("Two tokens of one kind would have the same data.", "Give all but one of them a name.")
    return replace(slots.found, slots=tuple(sorted(made, key=lambda slot: slot.number)))


def _fits(slot: SlotConfig, wanted: WantedSlot) -> bool:
    library = TOKENS[wanted.token][0]
    # By a name or a number a token is known for certain; what has neither is the first of its kind.
    return slot.get("stdll") == library and wanted.number in (None, slot.number) and slot.get("tokname") == wanted.name


def _free(taken: set[int]) -> int:
    return next(number for number in range(1024) if number not in taken)


def _settled(found: Configuration, wanted: WantedSlot, slot: SlotConfig | None, number: int) -> SlotConfig:
    library, confname = TOKENS[wanted.token]
    settings = dict(slot.settings) if slot is not None else {"stdll": library}
    if slot is None and confname is not None:
        settings["confname"] = confname
    # The store of a token that has data is not changed: pkcstok_migrate does that.
    if slot is None and has_token_versions(found):
        settings["tokversion"] = STORE
    if wanted.name is not None:
        settings["tokname"] = wanted.name
    if wanted.description is not None:
        settings["description"] = f'"{wanted.description}"'
    return SlotConfig(number, tuple(settings.items()))


def plan_slots(slots: Slots) -> list[Step]:
    """The step that is missing, or none."""
    if not slots.wanted:
        raise RootOfTrustError("No slot is asked for: openCryptoki would have no token.", "Give slots.")
    wish = desired(slots)
    if wish == slots.found:
        return []
    before, after = (describe_slots(one) for one in (slots.found, wish))
    gone = [name for name in before if name not in after]
    new = [name for name in after if name not in before]
    changed = [name for name in after if name in before and after[name] != before[name]]
    told = [
        f"{verb} {', '.join(names)}" for verb, names in (("without", gone), ("with", new), ("with other settings in", changed)) if names
    ]
    return [Step(slots.path, WRITE, f"Write {slots.path}, {' and '.join(told)}.", before, after, wish)]


def describe_slots(configuration: Configuration) -> dict[str, str]:
    """For the diff."""
    return {
        f"slot {slot.number} ({slot.get('stdll')})": ", ".join(f"{name} = {value}" for name, value in slot.settings)
        for slot in configuration.slots
    }


def report_slots(slots: Slots, _to_come: Sequence[Step]) -> dict[str, Any]:
    """The result of opencryptoki_slots."""
    wish = desired(slots)
    return {"slots": [{"number": slot.number, **{name: value.strip('"') for name, value in slot.settings}} for slot in wish.slots]}
