# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which public keys of others are imported, signed, trusted or deleted. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError, certain
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.model import ABSENT, ELSEWHERE, PRESENT, Key
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.parse import parse_fingerprint
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.plan_keys import describe_key
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.plan_recipients import Recipient

HOME, IMPORT, SIGN_KEY, TRUST, DELETE = "home", "import", "sign", "trust", "delete"  # actions
_BROUGHT = ((1, "the key"), (2, "user IDs"), (4, "signatures"), (8, "subkeys"))  # bits of IMPORT_OK
LOCAL, EXPORTABLE = "local", "exportable"


@dataclass(frozen=True)
class WantedPublicKey:
    """A public key that should be in the keyring, or not.

    :param signer: fingerprint of the key that should have signed it; None for none.
    """

    fingerprint: str
    state: str
    given: bool
    signer: str | None = None
    signature: str = LOCAL
    trust: str | None = None


@dataclass(frozen=True)
class PublicRing:
    """A keyring, and the public keys asked for.

    :param found: each as it is in the keyring with the signatures on it, in the order of ``wanted``; None for one that is not there.
    :param brought: for each what an import would bring, in bits.
    :param own: the keys with a secret half.
    """

    home: str
    exists: bool
    wanted: tuple[WantedPublicKey, ...]
    found: tuple[Key | None, ...]
    brought: tuple[int, ...]
    own: tuple[Key, ...]
    now: int


def wanted_public_key(params: Mapping[str, Any], shown: Recipient | None) -> WantedPublicKey:
    """What gpg_public_key is asked for, of one key.

    :param shown: the key that was given as text.
    :raises RootOfTrustError: if it is another than the fingerprint says.
    """
    fingerprint = parse_fingerprint(params["fingerprint"]) if params["fingerprint"] is not None else None
    if params["state"] == ABSENT:
        if fingerprint is None:
            raise RootOfTrustError("A public key is to be absent, and is not named by its fingerprint.", "Give fingerprint.")
        return WantedPublicKey(fingerprint, ABSENT, False)
    if shown is not None and fingerprint not in (None, shown.fingerprint):
        raise RootOfTrustError(f"The public key given is {shown.fingerprint}, not {fingerprint}.", "Give the key that is meant.")
    signer = parse_fingerprint(params["signed_by"]) if params["signed_by"] is not None else None
    which = shown.fingerprint if shown is not None else certain(fingerprint)
    return WantedPublicKey(which, PRESENT, shown is not None, signer, params["signature"], params["ownertrust"])


def plan_public_keys(ring: PublicRing) -> list[Step]:
    """The steps that are missing.

    :raises RootOfTrustError: if something that is asked for cannot be had.
    """
    steps: list[Step] = []
    names = [wanted.fingerprint for wanted in ring.wanted]
    for index, (wanted, key) in enumerate(zip(ring.wanted, ring.found)):
        if names.count(wanted.fingerprint) > 1:
            raise RootOfTrustError(f"The public key {wanted.fingerprint} is asked for more than once.", "Leave one of them.")
        if wanted.state == ABSENT:
            steps += _plan_absent(index, wanted, key)
        else:
            steps += _plan_present(ring, index, wanted, key)
    if steps and not ring.exists:
        steps.insert(0, Step(ring.home, HOME, f"Make the folder {ring.home}.", {"state": ABSENT}, {"state": PRESENT}))
    return steps


def _plan_absent(index: int, wanted: WantedPublicKey, key: Key | None) -> list[Step]:
    if key is None:
        return []
    if any(part.secret for part in key.parts):
        raise RootOfTrustError(f"The key {key.fingerprint} has a secret half here.", "Delete it by gpg_key.")
    sentence = f"Delete the public key {key.fingerprint} ({key.name})."
    return [Step(key.fingerprint, DELETE, sentence, {"state": PRESENT}, {"state": ABSENT}, index)]


def _plan_present(ring: PublicRing, index: int, wanted: WantedPublicKey, key: Key | None) -> list[Step]:
    steps = []
    if key is None and not wanted.given:
        raise RootOfTrustError(f"The public key {wanted.fingerprint} is not in the keyring.", "Give it: public_key.")
    if wanted.given and (key is None or ring.brought[index]):
        if key is None:
            sentence = f"Import the public key {wanted.fingerprint}."
            steps.append(Step(wanted.fingerprint, IMPORT, sentence, {"state": ABSENT}, {"state": PRESENT}, index))
        else:
            new = [what for bit, what in _BROUGHT if ring.brought[index] & bit] or ["what has changed"]
            sentence = f"Import what is new of the public key {wanted.fingerprint}: {', '.join(new)}."
            steps.append(Step(wanted.fingerprint, IMPORT, sentence, {"imported": "an earlier state"}, {"imported": "as given"}, index))
    if wanted.signer is not None:
        steps += _plan_signature(ring, index, wanted, key, bool(steps))
    trust = key.trust if key is not None else None
    if wanted.trust is not None and wanted.trust != trust:
        sentence = f"Give {wanted.fingerprint} the ownertrust {wanted.trust}."
        steps.append(Step(wanted.fingerprint, TRUST, sentence, {"ownertrust": trust}, {"ownertrust": wanted.trust}, index))
    return steps


def _plan_signature(ring: PublicRing, index: int, wanted: WantedPublicKey, key: Key | None, comes: bool) -> list[Step]:
    signer = next((one for one in ring.own if one.fingerprint == wanted.signer), None)
    if signer is None or signer.primary.secret == ELSEWHERE:
        raise RootOfTrustError(f"The key {wanted.signer}, which is to sign, has no secret half in {ring.home}.", "Name one that has.")
    if signer.primary.revoked or signer.primary.is_expired(ring.now):
        told = "is revoked" if signer.primary.revoked else "has expired"
        raise RootOfTrustError(f"The key {wanted.signer}, which is to sign, {told}.", "Name another, or renew it.")
    if wanted.fingerprint == wanted.signer:
        raise RootOfTrustError(f"The key {wanted.signer} is to sign itself.", "Leave it out.")
    ways = {LOCAL, EXPORTABLE} if wanted.signature == LOCAL else {EXPORTABLE}
    valid = [one for one in key.user_ids if not one.revoked] if key is not None else []
    if valid and not comes and all(any((signer.fingerprint, way) in _known(one.signers, signer) for way in ways) for one in valid):
        return []
    how = "locally" if wanted.signature == LOCAL else "so that the signature can be exported"
    sentence = f"Sign the public key {wanted.fingerprint} by {signer.fingerprint}, {how}."
    return [Step(wanted.fingerprint, SIGN_KEY, sentence, {"signed_by": None}, {"signed_by": signer.fingerprint}, index)]


def _known(signers: frozenset[tuple[str, str]], signer: Key) -> set[tuple[str, str]]:
    """Signers by fingerprint; a signature of old has only the key ID of who made it."""
    return {(signer.fingerprint if name == signer.fingerprint[-16:] else name, way) for name, way in signers}


def report_public_keys(ring: PublicRing, to_come: Sequence[Step]) -> dict[str, Any]:
    """The result of gpg_public_key."""
    gone = {step.subject for step in to_come if step.action == DELETE}
    new = {step.subject for step in to_come if step.action == IMPORT}
    return {
        "public_keys": [
            {
                "fingerprint": wanted.fingerprint,
                "state": PRESENT if (key is not None or wanted.fingerprint in new) and wanted.fingerprint not in gone else ABSENT,
                "key": describe_key(key, ring.now) if key is not None else None,
            }
            for wanted, key in zip(ring.wanted, ring.found)
        ]
    }
