# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which persistent parents are made or evicted. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Mapping

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.model import (
    FIRST_PERSISTENT,
    LAST_OWNER,
    LAST_PERSISTENT,
    NODA,
    STORAGE,
    PersistentObject,
    Properties,
    PublicArea,
)

PRESENT, ABSENT = "present", "absent"  # states
MAKE, EVICT = "make", "evict"  # actions
RSA, ECC = "rsa2048", "ecc256"


@dataclass(frozen=True)
class WantedPrimary:
    """A parent that should lie at a handle, or not.

    :param algorithm: None: an existing one may be of either, and a new one becomes the quicker.
    :param da_protection: whether wrong authorisations are counted, and it is refused in lockout.
    """

    handle: int
    state: str
    algorithm: str | None
    da_protection: bool

    @property
    def public(self) -> PublicArea:
        """What it should be."""
        attributes = STORAGE if self.da_protection else STORAGE | {NODA}
        if self.algorithm == RSA:
            return PublicArea("rsa", "sha256", attributes, symmetric="aes128cfb", bits=2048)
        return PublicArea("ecc", "sha256", attributes, symmetric="aes128cfb", curve="p256")


@dataclass(frozen=True)
class Primaries:
    """The parents asked for, what lies at their handles, and the TPM.

    :param found: in the order of ``wanted``.
    :param owner_given: whether an owner authorisation was given.
    :param owner_fits: whether the TPM accepts it; None where that was not tried, for nothing is to be done.
    """

    wanted: tuple[WantedPrimary, ...]
    found: tuple[PersistentObject | None, ...]
    properties: Properties
    owner_given: bool = False
    owner_fits: bool | None = None


def parse_handle(text: str) -> int:
    """A handle in hexadecimal (``0x81000001``) or decimal.

    :raises RootOfTrustError: unless it is one at which the owner can keep an object.
    """
    if not re.fullmatch(r"0[xX][0-9A-Fa-f]{1,8}|[0-9]{1,10}", text):
        raise RootOfTrustError(f"The handle {text!r} is no number.", "Write it as 0x81000001.")
    handle = int(text, 16) if text[:2] in ("0x", "0X") else int(text)
    if not FIRST_PERSISTENT <= handle <= LAST_OWNER:
        whose = "the platform's" if LAST_OWNER < handle <= LAST_PERSISTENT else "no persistent object's"
        raise RootOfTrustError(
            f"The handle {handle:#x} is {whose}.", f"Choose one from {FIRST_PERSISTENT:#x} to {LAST_OWNER:#x}; 0x81000001 is customary."
        )
    return handle


def wanted_primary(params: Mapping[str, Any]) -> WantedPrimary:
    """What tpm2_primary is asked for.

    :raises RootOfTrustError: if the handle is none that can be had.
    """
    return WantedPrimary(parse_handle(params["handle"]), params["state"], params["algorithm"], params["da_protection"])


def differences(found: PersistentObject, wanted: WantedPrimary) -> list[str]:
    """In words, what of an object is not as described; empty where it is the one."""
    public, asked = found.public, wanted.public
    told = []
    algorithms = (RSA, ECC) if wanted.algorithm is None else (wanted.algorithm,)
    if public.algorithm not in algorithms:
        told.append(f"is {public.algorithm}, not {' or '.join(algorithms)}")
    if public.name_algorithm != asked.name_algorithm:
        told.append(f"has its name by {public.name_algorithm}, not {asked.name_algorithm}")
    told += [f"is not {name}" for name in sorted(asked.attributes - public.attributes)]
    told += [f"is {name}" for name in sorted(public.attributes - asked.attributes)]
    if public.policy:
        told.append("has a policy")
    if public.symmetric != asked.symmetric:
        told.append(f"protects its children by {public.symmetric or 'nothing'}, not {asked.symmetric}")
    return told


def is_due(primaries: Primaries) -> bool:
    """Whether something is to be done that needs the owner authorisation."""
    return any((one is None) == (wanted.state == PRESENT) for wanted, one in zip(primaries.wanted, primaries.found))


def plan_primaries(primaries: Primaries) -> list[Step]:
    """The steps that are missing.

    :raises RootOfTrustError: if a handle is asked for twice or holds another object, or the owner authorisation does not fit.
    """
    handles = [wanted.handle for wanted in primaries.wanted]
    steps = []
    for wanted, found in zip(primaries.wanted, primaries.found):
        if handles.count(wanted.handle) > 1:
            raise RootOfTrustError(f"The handle {wanted.handle:#x} is asked for more than once.", "Leave one.")
        if found is not None:
            _refuse_other(found, wanted)
        if wanted.state == PRESENT and found is None:
            steps.append(_make_step(wanted))
        elif wanted.state == ABSENT and found is not None:
            steps.append(_evict_step(wanted, found))
    if steps:
        _refuse_without_owner(primaries)
        new = sum(step.action == MAKE for step in steps)
        gone = len(steps) - new
        if new > primaries.properties.room + gone:
            raise RootOfTrustError(
                f"The TPM has room for {primaries.properties.room} more persistent objects, and {new} are to be made.",
                "Evict one that is not used; tpm_info lists them.",
            )
    # What is evicted makes room.
    return sorted(steps, key=lambda step: step.action != EVICT)


def _refuse_other(found: PersistentObject, wanted: WantedPrimary) -> None:
    told = differences(found, wanted)
    if told:
        raise RootOfTrustError(
            f"At {wanted.handle:#x} lies another object than described: it {', '.join(told)}.",
            "Choose another handle, or describe the object that is there.",
            {"found": describe_object(found)},
        )


def _refuse_without_owner(primaries: Primaries) -> None:
    if primaries.owner_fits:
        return
    if primaries.properties.authorisations.owner and not primaries.owner_given:
        raise RootOfTrustError("The owner authorisation of the TPM is set, and none is given.", "Give owner_auth.")
    raise RootOfTrustError("The TPM refuses the owner authorisation given.", "Correct owner_auth.")


def _make_step(wanted: WantedPrimary) -> Step:
    public = wanted.public
    return Step(
        f"{wanted.handle:#x}",
        MAKE,
        f"Make a primary key {public.algorithm} of the owner hierarchy, and keep it at {wanted.handle:#x}.",
        {"state": ABSENT, "algorithm": None, "attributes": []},
        {"state": PRESENT, "algorithm": public.algorithm, "attributes": sorted(public.attributes)},
        wanted,
    )


def _evict_step(wanted: WantedPrimary, found: PersistentObject) -> Step:
    public = found.public
    return Step(
        f"{wanted.handle:#x}",
        EVICT,
        f"Evict the key {public.algorithm} at {wanted.handle:#x}.",
        {"state": PRESENT, "algorithm": public.algorithm, "attributes": sorted(public.attributes)},
        {"state": ABSENT, "algorithm": None, "attributes": []},
        wanted,
    )


def describe_object(found: PersistentObject) -> dict[str, Any]:
    """An object as a module tells it."""
    public = found.public
    return {
        "handle": f"{found.handle:#x}",
        "type": public.type,
        "algorithm": public.algorithm,
        "name_algorithm": public.name_algorithm,
        "attributes": sorted(public.attributes),
        "storage_parent": public.is_storage_parent,
        "policy": public.policy,
        "name": found.name,
    }


def report_primaries(primaries: Primaries, to_come: Any) -> dict[str, Any]:
    """The result of tpm2_primary: what holds, after the steps to come."""
    will = {step.subject: step.after for step in to_come}
    told = []
    for wanted, found in zip(primaries.wanted, primaries.found):
        handle = f"{wanted.handle:#x}"
        now = {
            "state": ABSENT if found is None else PRESENT,
            "algorithm": found.public.algorithm if found is not None else None,
            "attributes": sorted(found.public.attributes) if found is not None else [],
        }
        told.append(
            {"handle": handle, **now, **will.get(handle, {}), "name": found.name if found is not None and handle not in will else None}
        )
    lockout = primaries.properties.lockout
    warnings = []
    if lockout.active:
        warnings.append(
            f"The TPM is in lockout: it refuses what is under its defence against guessing, for up to {lockout.seconds_per_failure} s."
        )
    return {"primaries": told, "warnings": warnings}
