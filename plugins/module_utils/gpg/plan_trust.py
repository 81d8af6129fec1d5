# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose signatures are believed (ownertrust), and what a keyring holds. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.model import ABSENT, PRESENT, Key
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.parse import parse_fingerprint
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.plan_keys import describe_key

HOME, TRUST = "home", "trust"  # actions


@dataclass(frozen=True)
class TrustRing:
    """A keyring's ownertrust: what is wanted and what is, by fingerprint. A key need not be in the keyring."""

    home: str
    exists: bool
    wanted: tuple[tuple[str, str], ...]
    found: Mapping[str, str]


def wanted_trust(asked: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, str], ...]:
    """Fingerprints and trusts.

    :raises RootOfTrustError: if one is no fingerprint, or is there twice.
    """
    found: dict[str, str] = {}
    for one in asked:
        fingerprint = parse_fingerprint(one["fingerprint"])
        if fingerprint in found:
            raise RootOfTrustError(f"The ownertrust of {fingerprint} is asked for more than once.", "Leave one of them.")
        if one["trust"] is None:
            raise RootOfTrustError(f"No ownertrust is given for {fingerprint}.", "Give trust.")
        found[fingerprint] = one["trust"]
    return tuple(found.items())


def plan_trust(ring: TrustRing) -> list[Step]:
    """The steps that are missing."""
    steps = [
        Step(
            fingerprint,
            TRUST,
            f"Give {fingerprint} the ownertrust {trust}.",
            {"ownertrust": ring.found.get(fingerprint)},
            {"ownertrust": trust},
            trust,
        )
        for fingerprint, trust in ring.wanted
        if ring.found.get(fingerprint) != trust
    ]
    if steps and not ring.exists:
        steps.insert(0, Step(ring.home, HOME, f"Make the folder {ring.home}.", {"state": ABSENT}, {"state": PRESENT}))
    return steps


def report_trust(ring: TrustRing, _to_come: Sequence[Step]) -> dict[str, Any]:
    """The result of gpg_ownertrust."""
    return {"ownertrust": [{"fingerprint": fingerprint, "trust": trust} for fingerprint, trust in ring.wanted]}


def report_listing(keys: Sequence[Key], fingerprints: Sequence[str], user_ids: Sequence[str], now: int) -> dict[str, Any]:
    """The result of gpg_key_info: all keys, or those with one of the fingerprints (also of a subkey) or a part of a user ID."""
    wanted = {parse_fingerprint(one) for one in fingerprints}
    parts = [one.lower() for one in user_ids]
    if any(not one for one in parts):
        raise RootOfTrustError("An empty user ID would mean every key.", "Leave user_ids out to see all.")
    found = [
        key
        for key in keys
        if not (wanted or parts)
        or wanted & {part.fingerprint for part in key.parts}
        or any(text in one.text.lower() for text in parts for one in key.user_ids)
    ]
    return {"keys": [describe_key(key, now) for key in found]}
