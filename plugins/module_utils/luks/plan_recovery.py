# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Recovery keys: their form, those who may read them, and the result. What is done about their keyslots is in plan_keyslots. Pure."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import PRESENT
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_keyslots import MAKE, Asked, report_keyslots

KEY_BYTES = 32
MODHEX = "cbdefghijklnrtuv"  # letters that are at the same place on all Latin keyboards; as in the recovery keys of systemd-cryptenroll
GROUP = 8  # letters


@dataclass(frozen=True)
class Recipient:
    """An OpenPGP key to which a recovery key is to be encrypted.

    :param fault: why nothing can be encrypted to it, as the end of a sentence; empty where it can.
    """

    fingerprint: str
    user: str
    fault: str = ""


def typed(random: bytes) -> bytes:
    """A recovery key as a person types it: groups of eight letters, joined by hyphens."""
    letters = "".join(MODHEX[byte >> 4] + MODHEX[byte & 15] for byte in random)
    return "-".join(letters[start : start + GROUP] for start in range(0, len(letters), GROUP)).encode("ascii")


def parse_keys(colons: str) -> list[Recipient]:
    """The keys that ``gpg --with-colons --show-keys`` tells of (doc/DETAILS of GnuPG).

    :raises RootOfTrustError: if there is a private key among them.
    """
    found: list[Recipient] = []
    fault = ""
    for line in colons.splitlines():
        fields = [*line.split(":"), *[""] * 12]
        if fields[0] == "sec":
            raise RootOfTrustError("A recipient is given with a private key.", "Give the public key: gpg --armor --export.")
        if fields[0] == "pub":
            fault = _fault(fields[1], fields[11])
            found.append(Recipient("", ""))
        elif fields[0] == "fpr" and found and not found[-1].fingerprint:
            found[-1] = Recipient(fields[9], "", fault)
        elif fields[0] == "uid" and found and not found[-1].user:
            found[-1] = Recipient(found[-1].fingerprint, fields[9], fault)
    return found


def _fault(validity: str, capabilities: str) -> str:
    known = {"r": "is revoked", "e": "has expired", "i": "is invalid", "d": "is disabled"}
    if validity in known:
        return known[validity]
    # Capital letters are those of the whole key: what can be done with a subkey that is in use.
    return "" if "E" in capabilities else "has no encryption subkey that is in use"


def recipient(colons: str, number: int, device: str = "") -> Recipient:
    """The one key of a recipient.

    :param number: of the recipient, from 1.
    :param device: whose recovery key it is to read, where that is known.
    :raises RootOfTrustError: if it is none or several.
    """
    found = parse_keys(colons)
    if len(found) != 1:
        of = f" of the recovery key of {device}" if device else ""
        raise RootOfTrustError(
            f"Recipient {number}{of} holds {len(found) or 'no'} OpenPGP public key{'s' if found else ''}.",
            "Give for each recipient one public key in ASCII armour: gpg --armor --export.",
        )
    return found[0]


def faults(recipients: Sequence[Recipient]) -> tuple[str, ...]:
    """What is wrong with recipients, in sentences."""
    return tuple(f"The OpenPGP key {one.fingerprint} ({one.user}) {one.fault}." for one in recipients if one.fault)


def report_recipients(colons: Sequence[str], require: bool) -> dict[str, Any]:
    """The result of luks_recipient_info.

    :param colons: of each recipient what gpg tells of the key.
    :param require: refuse where something is wrong with one.
    :raises RootOfTrustError: if that is so, or one is not one key.
    """
    found = [recipient(text, number) for number, text in enumerate(colons, 1)]
    wrong = faults(found)
    if wrong and require:
        raise RootOfTrustError(f"A recovery key cannot be encrypted: {' '.join(wrong)}", "Give other recipients, or renew their keys.")
    return {"recipients": [asdict(one) for one in found], "usable": not wrong}


def report_recovery(asked: Sequence[Asked], to_come: Sequence[Step]) -> dict[str, Any]:
    """The result of luks_recovery_key: the recovery keys as they are after the steps to come, and never the keys."""
    told = report_keyslots(asked, to_come)
    due = {step.detail.index for step in to_come if step.action == MAKE}
    return {
        "recovery_keys": [
            {
                **known,
                "path": one.wanted.file if one.wanted.state == PRESENT else None,
                # That of one which is still to be made nobody knows.
                "sha256": None if index in due or one.wanted.state != PRESENT else one.facts.sha256,
                "recipients": list(one.wanted.recipients),
            }
            for index, (known, one) in enumerate(zip(told["keyslots"], asked))
        ],
        "warnings": told["warnings"],
    }
