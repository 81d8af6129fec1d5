# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What gpg prints (doc/DETAILS of GnuPG), and what users write: user IDs, fingerprints, times. Pure."""

from __future__ import annotations

import calendar
import datetime
import re
from dataclasses import dataclass, replace
from typing import Iterator, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.model import (
    AUTH,
    CERT,
    ELSEWHERE,
    ENCRYPT,
    ON_CARD,
    ON_DISK,
    SIGN,
    UNITS,
    Expiry,
    Key,
    Part,
    UserId,
)

# Numbers of RFC 4880, RFC 6637 and the draft for EdDSA; a curve has its own name.
_ALGORITHMS = {"1": "rsa", "2": "rsa", "3": "rsa", "16": "elg", "17": "dsa", "20": "elg"}
_USAGES = {"c": CERT, "s": SIGN, "e": ENCRYPT, "a": AUTH}
_TRUSTS = {"q": "undefined", "n": "never", "m": "marginal", "f": "full", "u": "ultimate"}  # letters of the listing
_TRUST_NUMBERS = {"2": "undefined", "3": "never", "4": "marginal", "5": "full", "6": "ultimate"}  # of --export-ownertrust
_PRIMARY, _SUBKEY = ("pub", "sec"), ("sub", "ssb")
_FIELDS = 20
_LONGEST_USER_ID = 2048  # bytes: MAX_UID_PACKET_LENGTH of GnuPG
_STATUS = "[GNUPG:] "
# Of libgpg-error: the low 16 bits of an error that gpg tells by number.
BAD_PASSPHRASE, NO_PINENTRY, CANCELED, NO_PASSPHRASE = 11, 85, 99, 177


# ------------------------------------------------------------------------------------------------------------- listings


def parse_keys(colons: str) -> list[Key]:
    """The keys that a listing ``--with-colons`` tells of, with ``--with-secret`` also where their secret halves are.

    Records that are not known are passed over; each release has some more.
    """
    found: list[Key] = []
    last = ""  # what a fpr or grp record is of
    for line in colons.split("\n"):  # user IDs may have in them what else ends a line
        fields = [*line.split(":"), *[""] * _FIELDS]
        kind = fields[0]
        if kind in _PRIMARY:
            usable = frozenset(name for letter, name in _USAGES.items() if letter.upper() in fields[11])
            disabled = "D" in fields[11] or fields[1] == "d"
            found.append(Key(_part(fields), trust=_TRUSTS.get(fields[8]), disabled=disabled, usable=usable))
        elif found and kind in _SUBKEY:
            found[-1] = replace(found[-1], subkeys=(*found[-1].subkeys, _part(fields)))
        elif found and kind == "uid":
            found[-1] = replace(found[-1], user_ids=(*found[-1].user_ids, UserId(unescape(fields[9]), fields[1] == "r")))
        elif found and kind in ("fpr", "grp"):
            found[-1] = _named(found[-1], last, kind, fields[9])
        elif found and kind == "sig" and last == "uid":
            found[-1] = _signed(found[-1], fields)
        if kind not in ("fpr", "grp", "sig"):
            last = kind
    return [key for key in found if key.fingerprint]


def _part(fields: Sequence[str]) -> Part:
    secret = {"": "", "+": ON_DISK, "#": ELSEWHERE}.get(fields[14], ON_CARD)
    usage = frozenset(name for letter, name in _USAGES.items() if letter in fields[11])
    return Part("", _algorithm(fields), usage, _time(fields[5]) or 0, _time(fields[6]), fields[1] == "r", secret)


def _algorithm(fields: Sequence[str]) -> str:
    if fields[16]:
        return fields[16]
    return f"{_ALGORITHMS[fields[3]]}{fields[2]}" if fields[3] in _ALGORITHMS else f"algorithm {fields[3]}"


def _time(text: str) -> int | None:
    """Seconds since 1970, or as gpg writes them from 2038 on in some releases; None where there is none."""
    if re.fullmatch(r"[0-9]{1,12}", text):
        return int(text) or None
    if re.fullmatch(r"[0-9]{8}T[0-9]{6}", text):
        try:
            return calendar.timegm(datetime.datetime.strptime(text, "%Y%m%dT%H%M%S").timetuple())
        except ValueError:
            return None
    return None


def _named(key: Key, last: str, kind: str, value: str) -> Key:
    """A fingerprint or keygrip goes to the part before it. One that comes again (of a card) is passed over."""
    field = "fingerprint" if kind == "fpr" else "keygrip"
    part = key.primary if last in _PRIMARY else key.subkeys[-1] if last in _SUBKEY else None
    if part is None or getattr(part, field):
        return key
    part = replace(part, fingerprint=value) if kind == "fpr" else replace(part, keygrip=value)
    return replace(key, primary=part) if last in _PRIMARY else replace(key, subkeys=(*key.subkeys[:-1], part))


def _signed(key: Key, fields: Sequence[str]) -> Key:
    """A signature on the last user ID, where it is good: of classes 0x10 to 0x13, ``l`` for one that is not exported."""
    if not re.match(r"1[0-3][xl]", fields[10]) or fields[1] not in ("!", ""):
        return key
    how = "local" if fields[10][2] == "l" else "exportable"
    signer = frozenset((name, how) for name in (fields[4], fields[12]) if name)
    last = key.user_ids[-1]
    return replace(key, user_ids=(*key.user_ids[:-1], replace(last, signers=last.signers | signer)))


def unescape(text: str) -> str:
    r"""A field of a listing as it was: gpg writes control characters, colons and backslashes as ``\x3a``.

    What it escapes so may be bytes of UTF-8; any that are none are kept by surrogates.
    """
    raw = re.sub(rb"\\x([0-9A-Fa-f]{2})", lambda match: bytes([int(match[1], 16)]), text.encode("utf-8", "surrogateescape"))
    return raw.decode("utf-8", "surrogateescape")


def parse_ownertrust(text: str) -> dict[str, str]:
    """Fingerprint → trust, of ``gpg --export-ownertrust``."""
    found = {}
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) > 1 and re.fullmatch(r"[0-9A-F]{40}|[0-9A-F]{64}", fields[0]):
            # Higher bits are flags; a trust that is unknown counts as none.
            number = str(int(fields[1]) & 15) if fields[1].isdigit() else ""
            if number in _TRUST_NUMBERS:
                found[fields[0]] = _TRUST_NUMBERS[number]
    return found


def ownertrust_line(fingerprint: str, trust: str) -> str:
    """A line for ``gpg --import-ownertrust``."""
    number = next(number for number, name in _TRUST_NUMBERS.items() if name == trust)
    return f"{fingerprint}:{number}:\n"


# --------------------------------------------------------------------------------------------------------------- status


@dataclass(frozen=True)
class Status:
    """A line of ``--status-fd``."""

    keyword: str
    words: tuple[str, ...]


def parse_status(text: str) -> list[Status]:
    """The lines of ``--status-fd``; others may stand between them."""
    found = []
    for line in text.split("\n"):
        words = line[len(_STATUS) :].split(" ") if line.startswith(_STATUS) else []
        if words and words[0]:
            found.append(Status(words[0], tuple(word for word in words[1:] if word)))
    return found


def created(lines: Sequence[Status]) -> str:
    """The fingerprint of a key that was made; empty where none was."""
    return next((line.words[1] for line in lines if line.keyword == "KEY_CREATED" and len(line.words) > 1), "")


def imported(lines: Sequence[Status]) -> dict[str, int]:
    """Fingerprint → what an import brought (bits: 1 a new key, 2 user IDs, 4 signatures, 8 subkeys, 16 a secret key; 0 nothing)."""
    return {
        line.words[1]: int(line.words[0])
        for line in lines
        if line.keyword == "IMPORT_OK" and len(line.words) > 1 and line.words[0].isdigit()
    }


def error_codes(lines: Sequence[Status]) -> set[int]:
    """The numbers of libgpg-error, without their source, that gpg tells by FAILURE, ERROR and KEY_NOT_CREATED."""
    return {
        int(word) & 0xFFFF
        for line in lines
        if line.keyword in ("FAILURE", "ERROR")
        for word in line.words[1:2]
        if word.isdigit()
    }  # fmt: skip


def explain(lines: Sequence[Status], said: str) -> tuple[str, str]:
    """What went wrong, and what to change, in words for an administrator.

    :param said: standard error of gpg.
    """
    codes = error_codes(lines)
    if BAD_PASSPHRASE in codes or "Bad passphrase" in said:
        return "The passphrase given does not open the secret key.", "Correct the passphrase."
    if codes & {NO_PINENTRY, CANCELED, NO_PASSPHRASE} or "No pinentry" in said or "No passphrase given" in said:
        return "The secret key is protected by a passphrase, and none was given.", "Give the passphrase."
    if "No space left" in said:
        return "There is no space left on the file system of the keyring.", "Free space there, and run again."
    spoken = [line for line in said.splitlines() if line.strip()] or ["it said nothing"]
    first = next((line for line in spoken if re.search(r"fail|error", line)), spoken[-1])
    return f"gpg failed: {re.sub(r'^gpg: ', '', first)}", ""


# ------------------------------------------------------------------------------------------------- what users write


def parse_user_id(text: str) -> tuple[str, str, str]:
    """Name, comment and e-mail address of a user ID ``Name (Comment) <address>``; name and comment may be missing.

    :raises RootOfTrustError: if it is not of this form.
    """
    if re.match(r"\([^()<>]+\) <", text):
        raise RootOfTrustError(f"The user ID {text!r} has a comment and no name, of which gpg makes another.", "Give it a name.")
    match = re.fullmatch(r"(?:(?P<name>[^()<> ][^()<>]*) (?:\((?P<comment>[^()<>]+)\) )?)?<(?P<mail>[^<> @]+@[^<> @]+)>", text)
    match = match or re.fullmatch(r"(?P<name>)(?P<comment>)(?P<mail>[^()<> @]+@[^()<> @]+)", text)
    if match is None or any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        told = "is not of the usual form" if re.search(r"<[^<> @]+@[^<> @]+>$", text) else "has no e-mail address"
        raise RootOfTrustError(f"The user ID {text!r} {told}.", "Write it as: Name (Comment) <name@example.org>; the comment is optional.")
    if len(text.encode("utf-8", "surrogateescape")) > _LONGEST_USER_ID:
        raise RootOfTrustError(f"A user ID of more than {_LONGEST_USER_ID} bytes cannot be had.", "Shorten it.")
    return (match["name"] or "").rstrip(" "), (match["comment"] or "").strip(" "), match["mail"]


def user_id(text: str) -> str:
    """A user ID as gpg puts it together: of an address alone without brackets, and without blanks around name and comment.

    :raises RootOfTrustError: if it is not of the usual form.
    """
    name, comment, mail = parse_user_id(text)
    words = [name, f"({comment})" if comment else "", f"<{mail}>"]
    return " ".join(word for word in words if word) if name or comment else mail


def parse_fingerprint(text: str) -> str:
    """A whole fingerprint, in capital letters and without blanks.

    :raises RootOfTrustError: if it is none. Key IDs are refused, for a key can be made to have any.
    """
    plain = re.sub(r"^0[xX]|[ \t]", "", text).upper()
    if not re.fullmatch(r"[0-9A-F]{40}|[0-9A-F]{64}", plain):
        told = "is only a key ID" if re.fullmatch(r"[0-9A-F]{8}|[0-9A-F]{16}", plain) else "is no fingerprint"
        raise RootOfTrustError(f"{text!r} {told}.", "Give the whole fingerprint, of 40 (or 64) hexadecimal digits.")
    return plain


def parse_duration(text: str) -> int:
    """Seconds of ``30d``, ``8w``, ``6m`` or ``2y``.

    :raises RootOfTrustError: if it is none of these.
    """
    match = re.fullmatch(r"([1-9][0-9]{0,4})([dwmy])", text)
    if match is None:
        raise RootOfTrustError(f"{text!r} is no duration.", "Write a number with d (days), w (weeks), m (30 days) or y (365 days): 90d.")
    return int(match[1]) * UNITS[match[2]]


def parse_expiry(text: str, now: int) -> Expiry:
    """``never``, a duration, or a day as ``2030-01-31``, which ends a key at noon of it, UTC.

    :raises RootOfTrustError: if it is none of these, or over.
    """
    if text == "never":
        return Expiry()
    if re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        try:
            day = datetime.datetime.strptime(text, "%Y-%m-%d")
        except ValueError:
            raise RootOfTrustError(f"There is no day {text}.", "Write it as year-month-day.") from None
        moment = calendar.timegm(day.timetuple()) + 12 * 3600
        if moment <= now:
            raise RootOfTrustError(f"The day {text} on which the key should expire is over.", "Give one to come, or a duration such as 2y.")
        return Expiry(moment=_representable(moment, text))
    seconds = parse_duration(text)
    _representable(now + seconds, text)
    return Expiry(seconds=seconds)


def _representable(moment: int, text: str) -> int:
    """OpenPGP counts seconds in 32 bits."""
    if moment >= 1 << 32:
        raise RootOfTrustError(
            f"An expiry of {text} is after 2106-02-07, the last day that OpenPGP can tell.", "Give an earlier one, or never."
        )
    return moment


def day(moment: int | None) -> str:
    """A moment as the day that it is in UTC; ``never`` for none."""
    if moment is None:
        return "never"
    return (datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=moment)).strftime("%Y-%m-%d")


# ------------------------------------------------------------------------------------------------------------- armour


def armours(text: str) -> Iterator[str]:
    """The blocks in ASCII armour in a text, of any kind."""
    for match in re.finditer(r"^-----BEGIN PGP ([A-Z ]+)-----\r?\n.*?^-----END PGP \1-----$", text, re.MULTILINE | re.DOTALL):
        yield match[0].replace("\r\n", "\n") + "\n"


def importable(certificate: str) -> str:
    """A revocation certificate as gpg keeps it, without what keeps it from being imported: a colon before its first line.

    :raises RootOfTrustError: if there is none in the text.
    """
    found = list(armours(re.sub(r"^:(?=-----BEGIN)", "", certificate, flags=re.MULTILINE)))
    if not found:
        raise RootOfTrustError("There is no revocation certificate in ASCII armour where gpg keeps them.")
    return found[-1]


def comments(armoured: str) -> list[str]:
    """The comments in the head of a block in ASCII armour."""
    head = armoured.partition("\n\n")[0]
    return [line[len("Comment: ") :] for line in head.splitlines() if line.startswith("Comment: ")]


def revoked_key(packets: str) -> str:
    """Of which key ``gpg --list-packets`` tells a signature by itself that revokes it (class 0x20 of RFC 4880), and nothing else.

    :return: its fingerprint, or the key ID where the signature is so old that it tells only that; empty where there is none.
    """
    found = re.split(r"^:", packets, flags=re.MULTILINE)[1:]
    match = re.match(r"signature packet: algo \d+, keyid ([0-9A-F]{16})\n", found[0]) if len(found) == 1 else None
    if match is None or "sigclass 0x20" not in found[0]:
        return ""
    issuer = re.search(r"\(issuer fpr v\d ([0-9A-F]+)\)", found[0])
    if issuer is None:
        return match[1]
    return issuer[1] if issuer[1].endswith(match[1]) else ""
