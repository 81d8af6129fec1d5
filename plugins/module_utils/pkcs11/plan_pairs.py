# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which key pairs are made on a token or destroyed, and public keys for OpenSSH. Pure."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.model import ABSENT, PRESENT, KeyObject, Slot
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.parse import ssh_line, ssh_public_key
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.parse import parse_blob, sha256_fingerprint

GENERATE, DESTROY = "generate", "destroy"  # actions
SIGN, DECRYPT, DERIVE = "sign", "decrypt", "derive"


@dataclass(frozen=True)
class WantedPair:
    """A key pair that should be on the token, or not.

    :param identity: CKA_ID; None where a pair is known by its label alone, and a new one gets an ID at random.
    """

    label: str
    identity: bytes | None
    algorithm: str
    usage: frozenset[str]
    extractable: bool
    state: str


@dataclass(frozen=True)
class Pairs:
    """A token, and the keys on it.

    :param logged_in: whether private keys could be seen.
    :param token_due: whether the token or its user PIN is yet to be made, so that no one could have logged in.
    """

    slot: Slot
    keys: tuple[KeyObject, ...]
    wanted: tuple[WantedPair, ...]
    logged_in: bool
    token_due: bool = False


def wanted_pair(params: Mapping[str, Any]) -> WantedPair:
    """What pkcs11_key is asked for, of one pair.

    :raises RootOfTrustError: if it cannot be had.
    """
    label, algorithm, usage = params["label"], params["algorithm"], frozenset(params["usage"])
    if not label.strip():
        raise RootOfTrustError(f"The key's label {label!r} is blank.", "Give it a name.")
    # Some libraries pad a label, so that blanks at its end are not told from none.
    if label != label.strip() or any(ord(letter) < 32 or ord(letter) == 127 for letter in label):
        raise RootOfTrustError(f"The key's label {label!r} has blanks around it or control characters in it.", "Leave them out.")
    if params["id"] is not None and not re.fullmatch(r"(?:[0-9A-Fa-f]{2}){1,64}", params["id"]):
        raise RootOfTrustError(f"The key's ID {params['id']!r} is not of 1 to 64 bytes in hexadecimal.", "Write it as 01a2.")
    identity = bytes.fromhex(params["id"]) if params["id"] is not None else None
    if params["state"] == ABSENT and identity is None:
        raise RootOfTrustError(f"The key pair {label!r} is to be absent, and is not named by its ID.", "Give id; pkcs11_ssh_keys tells it.")
    if algorithm == "ed25519" and usage != {SIGN}:
        raise RootOfTrustError("A key ed25519 can only sign.", "Leave the other usages out.")
    if algorithm.startswith("nistp") and DECRYPT in usage:
        raise RootOfTrustError(f"A key {algorithm} cannot decrypt.", "Ask for derive, or an RSA key.")
    if algorithm.startswith("rsa") and DERIVE in usage:
        raise RootOfTrustError("From an RSA key nothing can be derived.", "Ask for decrypt, or a key on a curve.")
    return WantedPair(label, identity, algorithm, usage, params["extractable"], params["state"])


def _found(pairs: Pairs, wanted: WantedPair, private: bool) -> list[KeyObject]:
    return [key for key in pairs.keys if key.private == private and key.label == wanted.label and wanted.identity in (None, key.identity)]


def pair_of(pairs: Pairs, wanted: WantedPair) -> tuple[KeyObject | None, KeyObject | None]:
    """Its public and its private key.

    :raises RootOfTrustError: if it could be several, or is another than described.
    """
    public, private = _found(pairs, wanted, False), _found(pairs, wanted, True)
    if len(public) > 1 or len(private) > 1:
        names = ", ".join(sorted({key.identity.hex() or "none" for key in [*public, *private]}))
        raise RootOfTrustError(f"Several keys have the label {wanted.label!r}; their IDs are: {names}.", "Say which by id.")
    for key in [*public, *private]:
        # Some libraries do not tell the modulus of a private key.
        if key.algorithm not in (wanted.algorithm, "rsa") or (key.algorithm == "rsa" and not wanted.algorithm.startswith("rsa")):
            raise RootOfTrustError(
                f"The key {wanted.label!r} on the token is {key.algorithm}, not {wanted.algorithm}.",
                "Give another label, or the algorithm that it has.",
            )
    return public[0] if public else None, private[0] if private else None


def plan_pairs(pairs: Pairs) -> list[Step]:
    """The steps that are missing.

    :raises RootOfTrustError: if something that is asked for cannot be had.
    """
    steps = []
    seen: set[tuple[str, bytes | None]] = set()
    for index, wanted in enumerate(pairs.wanted):
        if (wanted.label, wanted.identity) in seen:
            raise RootOfTrustError(f"The key pair {wanted.label!r} is asked for more than once.", "Leave one of them.")
        seen.add((wanted.label, wanted.identity))
        public, private = pair_of(pairs, wanted)
        _refuse_half(pairs, wanted, public, private)
        if wanted.state == PRESENT and public is None:
            sentence = f"Make a key pair {wanted.algorithm} with the label {wanted.label} on the token {_name(pairs)}."
            after = {"state": PRESENT, "algorithm": wanted.algorithm, "usage": sorted(wanted.usage), "extractable": wanted.extractable}
            steps.append(Step(wanted.label, GENERATE, sentence, {"state": ABSENT}, after, index))
        elif wanted.state == ABSENT and (public is not None or private is not None):
            sentence = f"Destroy the key pair {wanted.label} on the token {_name(pairs)}."
            steps.append(Step(wanted.label, DESTROY, sentence, {"state": PRESENT, "algorithm": wanted.algorithm}, {"state": ABSENT}, index))
    if steps and not (pairs.logged_in or pairs.token_due):
        raise RootOfTrustError(f"{steps[0].sentence} That needs the user PIN, and none is given.", "Give pin.")
    return steps


def _name(pairs: Pairs) -> str:
    return pairs.slot.token.label if pairs.slot.token is not None else f"in slot {pairs.slot.number}"


def _refuse_half(pairs: Pairs, wanted: WantedPair, public: KeyObject | None, private: KeyObject | None) -> None:
    """A pair of which one half is missing is not made whole by a new one beside it."""
    if wanted.state == PRESENT and pairs.logged_in and (public is None) != (private is None):
        there, gone = ("public", "private") if private is None else ("private", "public")
        raise RootOfTrustError(
            f"Of the key pair {wanted.label!r} only the {there} key is on the token, not the {gone} one.",
            "Remove it by state: absent with its id, or give another label.",
        )


def report_pairs(pairs: Pairs, to_come: Sequence[Step]) -> dict[str, Any]:
    """The result of pkcs11_key."""
    due = {step.detail: step.action for step in to_come}
    told = []
    for index, wanted in enumerate(pairs.wanted):
        public, private = pair_of(pairs, wanted)
        there = public is not None or private is not None
        state = {GENERATE: PRESENT, DESTROY: ABSENT}.get(due.get(index, ""), PRESENT if there else ABSENT)
        known = public or private
        told.append(
            {
                "label": wanted.label,
                "state": state,
                "algorithm": wanted.algorithm,
                "id": known.identity.hex() if known is not None else None,
                "public_key": _line(public) if public is not None and state == PRESENT else None,
            }
        )
    return {"keys": told}


def _line(key: KeyObject) -> str | None:
    try:
        return ssh_line(key)
    except RootOfTrustError:
        return None


def report_ssh_keys(slot: Slot, keys: Sequence[KeyObject], labels: Sequence[str], identities: Sequence[str]) -> dict[str, Any]:
    """The result of pkcs11_ssh_keys: the public keys that OpenSSH has a form for, and the others with the reason."""
    wanted = {one.lower() for one in identities}
    told, others = [], []
    for key in keys:
        if key.private or (labels and key.label not in labels) or (wanted and key.identity.hex() not in wanted):
            continue
        try:
            kind, blob = ssh_public_key(key)
        except RootOfTrustError as error:
            others.append({"label": key.label, "id": key.identity.hex(), "reason": error.message})
            continue
        told.append(
            {
                "label": key.label,
                "id": key.identity.hex(),
                "type": kind,
                "key": base64.b64encode(blob).decode("ascii"),
                "public_key": ssh_line(key),
                "fingerprint": sha256_fingerprint(parse_blob(blob)),
            }
        )
    # Libraries list in an order of their own, which need not be that of the last time.
    return {
        "slot": slot.number,
        "token": slot.token.label if slot.token is not None else None,
        "serial": slot.token.serial if slot.token is not None else None,
        "ssh_keys": sorted(told, key=lambda one: (one["id"], one["label"], one["key"])),
        "others": sorted(others, key=lambda one: (one["id"], one["label"])),
    }
