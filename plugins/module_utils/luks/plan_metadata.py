# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The JSON of a LUKS2 header whose reencryption is over, without having been written down as over. Pure.

cryptsetup ends a reencryption by two writes of the header: one says that the last part of the data is done, the other takes away the notes
of the reencryption. Where it is cut between them, what is left cannot be told by it from a reencryption that has not begun: ``reencrypt
--resume-only`` then does all of the data a second time, which destroys it, or fails for good (an encryption that moves data). Seen with
cryptsetup 2.6.1, 2.7.5 and 2.8.8, for each mode and resilience. So such a header is never given to cryptsetup to go on with; the second
write is made here.
"""

from __future__ import annotations

from typing import Any, Mapping

from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import BACKUP, HOT, REENCRYPT

REQUIREMENT = "online-reencrypt"  # how the requirements of a reencryption begin
FINAL = "backup-final"  # flag of the segment that there will be
Metadata = Mapping[str, Any]


def is_over(found: Metadata) -> bool:
    """Whether all of the data is as it is to be, and only the header says that a reencryption is going on.

    :param found: the JSON of a LUKS2 header.
    """
    if not any(name.startswith(REQUIREMENT) for name in _requirements(found)):
        return False
    segments = found["segments"]
    now = {number: part for number, part in segments.items() if not any(flag.startswith(BACKUP) for flag in _flags(part))}
    final = [number for number, part in segments.items() if FINAL in _flags(part)]
    if len(now) != 1 or len(final) != 1:
        return False
    ((number, part),) = now.items()
    return HOT not in _flags(part) and _bare(part) == _bare(segments[final[0]]) and _digests(found, number) == _digests(found, final[0])


def key_number(found: Metadata) -> int | None:
    """The number of the digest of the key that the data begins to be encrypted with; None where it is not encrypted."""
    numbers = _digests(found, min(found["segments"], key=int))
    return int(numbers[0]) if numbers else None


def ended(found: Metadata) -> dict[str, Any]:
    """The JSON as cryptsetup leaves it in the end: one segment, its key in its keyslots, and nothing of the reencryption.

    :param found: one of which :func:`is_over` holds.
    """
    (final,) = (number for number, part in found["segments"].items() if FINAL in _flags(part))
    kept = _digests(found, final)
    digests = {number: {**found["digests"][number], "segments": ["0"]} for number in kept}
    slots = {slot for digest in digests.values() for slot in digest["keyslots"]}
    keyslots = {number: slot for number, slot in found["keyslots"].items() if number in slots and slot["type"] != REENCRYPT}
    tokens = {
        number: {**token, "keyslots": [slot for slot in token["keyslots"] if slot in keyslots]} for number, token in found["tokens"].items()
    }
    config = {name: value for name, value in found["config"].items() if name != "requirements"}
    rest = [name for name in _requirements(found) if not name.startswith(REQUIREMENT)]
    if rest:
        config["requirements"] = {"mandatory": rest}
    segment = {name: value for name, value in found["segments"][final].items() if name != "flags"}
    return {"keyslots": keyslots, "tokens": tokens, "segments": {"0": segment}, "digests": digests, "config": config}


def areas_that_go(found: Metadata) -> list[tuple[int, int]]:
    """Where the keyslots are that :func:`ended` leaves out: offset and length, in bytes. They hold a key that is not to open anything."""
    kept = ended(found)["keyslots"]
    gone = [slot["area"] for number, slot in found["keyslots"].items() if number not in kept]
    return [(int(area["offset"]), int(area["size"])) for area in gone]


def _requirements(found: Metadata) -> list[str]:
    return list(found["config"].get("requirements", {}).get("mandatory", ()))


def _flags(part: Metadata) -> list[str]:
    return list(part.get("flags", ()))


def _bare(part: Metadata) -> dict[str, Any]:
    return {name: value for name, value in part.items() if name != "flags"}


def _digests(found: Metadata, segment: str) -> list[str]:
    """The digests of the key that a segment is encrypted with; none where it is not encrypted."""
    return sorted(number for number, digest in found["digests"].items() if segment in digest["segments"])
