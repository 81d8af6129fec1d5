# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Those to whom something is to be encrypted: their keys, given as text, and what is wrong with them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.parse import parse_keys


@dataclass(frozen=True)
class Recipient:
    """An OpenPGP key to which something is to be encrypted.

    :param fault: why nothing can be encrypted to it, as the end of a sentence; empty where it can.
    """

    fingerprint: str
    user: str
    fault: str = ""


def parse_recipients(colons: str) -> list[Recipient]:
    """The keys that ``gpg --with-colons --show-keys`` tells of.

    :raises RootOfTrustError: if there is a private key among them.
    """
    validity = []
    for line in colons.split("\n"):  # as parse_keys does it
        if line.startswith("sec:"):
            raise RootOfTrustError("A recipient is given with a private key.", "Give the public key: gpg --armor --export.")
        if line.startswith("pub:"):
            validity.append(line.split(":")[1])
    return [
        Recipient(key.fingerprint, key.user_ids[0].text if key.user_ids else "", _fault(letter, "encrypt" in key.usable))
        for key, letter in zip(parse_keys(colons), validity)
    ]


def _fault(validity: str, encrypts: bool) -> str:
    known = {"r": "is revoked", "e": "has expired", "i": "is invalid", "d": "is disabled"}
    return known.get(validity) or ("" if encrypts else "has no encryption subkey that is in use")


def recipient(colons: str, number: int, of: str = "") -> Recipient:
    """The one key of a recipient.

    :param number: of the recipient, from 1.
    :param of: what it is to read, for a sentence.
    :raises RootOfTrustError: if it is none or several.
    """
    found = parse_recipients(colons)
    if len(found) != 1:
        raise RootOfTrustError(
            f"Recipient {number}{f' of {of}' if of else ''} holds {len(found) or 'no'} OpenPGP public key{'s' if found else ''}.",
            "Give for each recipient one public key in ASCII armour: gpg --armor --export.",
        )
    return found[0]


def faults(recipients: Sequence[Recipient]) -> tuple[str, ...]:
    """What is wrong with recipients, in sentences."""
    return tuple(f"The OpenPGP key {one.fingerprint} ({one.user}) {one.fault}." for one in recipients if one.fault)
