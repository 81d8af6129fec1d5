# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which OpenPGP keys are made, extended, revoked or deleted, and what is exported of them. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError, certain
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.model import (
    ABSENT,
    AUTH,
    CERT,
    CURVES,
    CV25519,
    DAY,
    ED25519,
    ELSEWHERE,
    ENCRYPT,
    ON_CARD,
    ON_DISK,
    PRESENT,
    REVOKED,
    SIGN,
    USAGES,
    Expiry,
    Key,
    Part,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.parse import (
    day,
    parse_duration,
    parse_expiry,
    parse_fingerprint,
    parse_user_id,
    user_id,
)

# Actions.
HOME, MAKE, ADD_SUBKEY, ADD_USER_ID, REVOKE_USER_ID, EXTEND = "home", "make", "add subkey", "add user ID", "revoke user ID", "extend"
REVOKE_SUBKEY, REVOKE, DELETE, TRUST = "revoke subkey", "revoke", "delete", "trust"
BACKUP, CERTIFICATE, PUBLISH = "back up", "write certificate", "publish"
_LABEL = "secret key "  # with which that of a backup begins
LONGEST_WAIT = 30 * DAY  # before its end a key is renewed by default, or a quarter of its time, whichever is less


@dataclass(frozen=True)
class WantedPart:
    """A primary key or subkey that should be there."""

    algorithm: str
    usage: frozenset[str]
    expires: Expiry
    renew_before: int

    @property
    def words(self) -> str:
        """For a sentence."""
        return f"{self.algorithm} to {in_words(self.usage)}"


@dataclass(frozen=True)
class WantedKey:
    """A key that should be there, be revoked or be gone.

    :param fingerprint: None for one that is known by its first user ID, algorithm and usage.
    :param subkeys: those that it should have; others stay.
    :param faults: what is wrong with the backup's recipients.
    """

    state: str
    fingerprint: str | None
    user_ids: tuple[str, ...] = ()
    revoked_user_ids: tuple[str, ...] = ()
    revoked_subkeys: tuple[str, ...] = ()
    primary: WantedPart | None = None
    subkeys: tuple[WantedPart, ...] = ()
    trust: str | None = None
    public_key_file: str | None = None
    backup_file: str | None = None
    backup_recipients: tuple[str, ...] = ()
    revocation_file: str | None = None
    faults: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """For sentences."""
        return self.fingerprint or self.user_ids[0]


@dataclass(frozen=True)
class Files:
    """The files of a key.

    :param public: the content that the file of the public key has; None where there is no such file.
    :param exported: the content that it should have; None where there is no key yet.
    :param backup: the label in the head of the backup, empty where the file has something else; None where there is no such file.
    :param certificate: of which key the file has a certificate that revokes it: its fingerprint, or the key ID of one that is old; empty
        where the file has something else; None where there is no such file.
    """

    public: bytes | None = None
    exported: bytes | None = None
    backup: str | None = None
    certificate: str | None = None

    def revokes(self, key: Key) -> bool:
        """Whether the certificate is this key's."""
        return bool(self.certificate) and key.fingerprint.endswith(certain(self.certificate))


@dataclass(frozen=True)
class Ring:
    """A keyring, and what is asked of it.

    :param keys: all keys in it, also those without a secret half.
    :param files: in the order of ``wanted``.
    :param now: seconds since 1970.
    """

    home: str
    exists: bool
    keys: tuple[Key, ...]
    wanted: tuple[WantedKey, ...]
    files: tuple[Files, ...]
    now: int


@dataclass(frozen=True)
class Order:
    """What a step is for.

    :param index: of the key, in the order in which they were asked for.
    :param part: the part to make, or None.
    :param fingerprints: of the parts to extend, the primary key's first.
    :param text: a user ID, or a trust.
    """

    index: int
    wanted: WantedKey
    key: Key | None
    part: WantedPart | None = None
    fingerprints: tuple[str, ...] = ()
    text: str = ""


# -------------------------------------------------------------------------------------------------------------- wishes


def wanted_key(params: Mapping[str, Any], now: int) -> WantedKey:
    """What gpg_key is asked for, of one key.

    :raises RootOfTrustError: if it cannot be had.
    """
    state = params["state"]
    fingerprint = parse_fingerprint(params["fingerprint"]) if params["fingerprint"] is not None else None
    user_ids = tuple(user_id(text) for text in params["user_ids"] or ())
    if fingerprint is None and not user_ids:
        raise RootOfTrustError("A key is asked for by neither its fingerprint nor a user ID.", "Give fingerprint or user_ids.")
    if state != PRESENT:
        if fingerprint is None:
            raise RootOfTrustError(
                f"The key of {user_ids[0]!r} is to be {state}, and is not named by its fingerprint.", "Give fingerprint."
            )
        return WantedKey(state, fingerprint, revocation_file=params["revocation_file"])
    primary = _wanted_part(params, params["algorithm"], params["usage"], now, params)
    _refuse_usage(primary, is_primary=True)
    subkeys, warnings = _wanted_subkeys(params, primary, now), []
    for part in (primary, *subkeys):
        if part.expires.seconds is not None and part.renew_before >= part.expires.seconds:
            warnings.append(
                f"{fingerprint or user_ids[0]}: renew_before is not less than the time for which it is renewed: each day renews it."
            )
            break
    for name in ("public_key_file", "backup_file", "revocation_file"):
        if params[name] is not None and not params[name].startswith("/"):
            raise RootOfTrustError(f"{name}: the path {params[name]} is not absolute.", "Give it whole.")
    if (params["backup_file"] is None) != (not params["backup_recipients"]):
        raise RootOfTrustError("A backup needs both a file and recipients.", "Give backup_file and backup_recipients, or neither.")
    return WantedKey(
        state,
        fingerprint,
        user_ids,
        tuple(user_id(text) for text in params["revoked_user_ids"] or ()),
        tuple(parse_fingerprint(text) for text in params["revoked_subkeys"] or ()),
        primary,
        subkeys,
        params["ownertrust"],
        params["public_key_file"],
        params["backup_file"],
        revocation_file=params["revocation_file"],
        warnings=tuple(warnings),
    )


def _wanted_part(params: Mapping[str, Any], algorithm: str, usage: Sequence[str], now: int, of_key: Mapping[str, Any]) -> WantedPart:
    expires = parse_expiry(params["expires"] or of_key["expires"], now)
    told = params["renew_before"] or of_key["renew_before"]
    if told is not None:
        renew_before = parse_duration(told)
    else:
        renew_before = min(LONGEST_WAIT, expires.seconds // 4) if expires.seconds is not None else 0
    return WantedPart(algorithm, frozenset(usage), expires, renew_before)


def _wanted_subkeys(params: Mapping[str, Any], primary: WantedPart, now: int) -> tuple[WantedPart, ...]:
    asked = [{"usage": [ENCRYPT]}] if params["subkeys"] is None else params["subkeys"]
    found: list[WantedPart] = []
    for one in asked:
        whole = {"algorithm": None, "expires": None, "renew_before": None, **one}
        usual = CV25519 if primary.algorithm == ED25519 and ENCRYPT in whole["usage"] else primary.algorithm
        part = _wanted_part(whole, whole["algorithm"] or usual, whole["usage"], now, params)
        _refuse_usage(part, is_primary=False)
        if any((one.algorithm, one.usage) == (part.algorithm, part.usage) for one in found):
            raise RootOfTrustError(f"Two subkeys {part.words} are asked for; gpg only ever uses the newer.", "Leave one of them.")
        found.append(part)
    return tuple(found)


def _refuse_usage(part: WantedPart, is_primary: bool) -> None:
    if not part.usage:
        raise RootOfTrustError(f"A key {part.algorithm} is asked for with no usage.", "Give its usage.")
    elliptic = part.algorithm in (ED25519, CV25519, *CURVES)
    if is_primary and CERT not in part.usage:
        raise RootOfTrustError("A primary key certifies its subkeys and user IDs.", "Have cert among its usages.")
    if not is_primary and CERT in part.usage:
        raise RootOfTrustError("A subkey cannot certify.", "Take cert out of its usages.")
    if part.algorithm == CV25519 and part.usage != {ENCRYPT}:
        raise RootOfTrustError("A key on Curve25519 (cv25519) can only encrypt.", "Choose ed25519 for a key that signs or authenticates.")
    if part.algorithm == ED25519 and ENCRYPT in part.usage:
        raise RootOfTrustError("A key ed25519 cannot encrypt.", "Choose cv25519 for a subkey that encrypts.")
    if elliptic and ENCRYPT in part.usage and part.usage != {ENCRYPT}:
        raise RootOfTrustError(f"A key on an elliptic curve ({part.algorithm}) either encrypts or signs.", "Ask for two subkeys.")


def in_words(usage: frozenset[str]) -> str:
    """Usages for a sentence, in the order of OpenPGP's flags."""
    words = {CERT: "certify", SIGN: "sign", ENCRYPT: "encrypt", AUTH: "authenticate"}
    told = [words[one] for one in USAGES if one in usage]
    return " and ".join(filter(None, [", ".join(told[:-1]), told[-1]]))


# ------------------------------------------------------------------------------------------------------------ matching


def find(ring: Ring, wanted: WantedKey) -> Key | None:
    """The key that is meant.

    :raises RootOfTrustError: if it could be several.
    """
    if wanted.fingerprint is not None:
        return next((key for key in ring.keys if key.fingerprint == wanted.fingerprint), None)
    primary = certain(wanted.primary)
    found = [
        key
        for key in _own(ring.keys, wanted.user_ids[0])
        if not key.primary.revoked and (key.primary.algorithm, key.primary.usage) == (primary.algorithm, primary.usage)
    ]
    if len(found) > 1:
        names = ", ".join(key.fingerprint for key in found)
        raise RootOfTrustError(
            f"{len(found)} keys {primary.words} have the user ID {wanted.user_ids[0]}: {names}.", "Say which by its fingerprint."
        )
    return found[0] if found else None


def _own(keys: Sequence[Key], text: str) -> list[Key]:
    """Keys of this user ID whose secret half was made for this keyring."""
    return [key for key in keys if key.primary.secret and any(one.text == text and not one.revoked for one in key.user_ids)]


def _matching(key: Key, wanted: Sequence[WantedPart], gone: Sequence[str]) -> list[Part | None]:
    """For each subkey that should be there the one that is; of several the one that lasts longest, as gpg chooses the newest.

    :param gone: fingerprints of those that do not count, for they are to be revoked.
    """
    left = sorted(
        (part for part in key.subkeys if not part.revoked and part.secret and part.fingerprint not in gone),
        key=lambda part: (part.expires or 1 << 33, part.created),
    )
    found: list[Part | None] = []
    for one in wanted:
        fitting = [part for part in left if (part.algorithm, part.usage) == (one.algorithm, one.usage)]
        if fitting:
            left.remove(fitting[-1])
        found.append(fitting[-1] if fitting else None)
    return found


def renewal(part: Part, wanted: WantedPart, now: int) -> bool:
    """Whether its end is to be moved.

    One that lasts for a duration is renewed when its time is nearly over, and only where that wins a day at least, or half of a
    duration of one day.
    """
    if wanted.expires.never or part.expires is None:
        return wanted.expires.never != (part.expires is None)
    if wanted.expires.moment is not None:
        return day(wanted.expires.moment) != day(part.expires)
    least = min(DAY, certain(wanted.expires.seconds) // 2)
    return part.expires - now < wanted.renew_before and certain(wanted.expires.at(now)) - part.expires >= least


# ------------------------------------------------------------------------------------------------------------ planning


def plan_keys(ring: Ring) -> list[Step]:
    """The steps that are missing, each key's in the order in which a cut after any leaves something that the next run completes.

    :raises RootOfTrustError: if something that is asked for cannot be had.
    """
    steps: list[Step] = []
    seen: dict[str, str] = {}
    taken: set[str] = set()
    for index, wanted in enumerate(ring.wanted):
        key = find(ring, wanted)
        identity = key.fingerprint if key is not None else wanted.name
        if identity in seen:
            raise RootOfTrustError(f"The key {identity} is asked for more than once.", "Leave one of them.")
        seen[identity] = wanted.name
        if wanted.faults:
            raise RootOfTrustError(
                f"The secret key of {wanted.name} cannot be backed up: {' '.join(wanted.faults)}",
                "Give other recipients, or renew their keys.",
            )
        for path in filter(None, (wanted.backup_file, wanted.revocation_file)):
            if path in taken:
                raise RootOfTrustError(f"{path} is asked for more than once, and would have what is of one key only.", "Give each its own.")
            taken.add(path)
        steps += _plan_key(ring, index, wanted, key)
    if steps and not ring.exists:
        steps.insert(0, Step(ring.home, HOME, f"Make the folder {ring.home}.", {"state": ABSENT}, {"state": PRESENT}))
    return steps


def _plan_key(ring: Ring, index: int, wanted: WantedKey, key: Key | None) -> list[Step]:
    if wanted.state == ABSENT:
        return [] if key is None else [_delete(index, wanted, key)]
    if wanted.state == REVOKED:
        return _plan_revoked(ring, index, wanted, key)
    if key is None:
        if wanted.fingerprint is not None:
            raise RootOfTrustError(
                f"The key {wanted.fingerprint} is not in the keyring, and one cannot be made to have a certain fingerprint.",
                "Import it, or ask for a key by its user ID.",
            )
        steps = [_make(index, wanted, certain(wanted.primary))]
        steps += [_add_user_id(index, wanted, None, text) for text in wanted.user_ids[1:]]
        steps += [_add_subkey(index, wanted, None, part) for part in wanted.subkeys]
    else:
        _refuse_other(wanted, key)
        steps = _changes(ring, index, wanted, key)
        _refuse_without_secret(key, steps)
    # gpg itself trusts ultimately what it has made.
    trust = key.trust if key is not None else "ultimate"
    if wanted.trust is not None and wanted.trust != trust:
        steps.append(_trust(index, wanted, key, trust))
    return steps + _exports(ring, index, wanted, key, bool([step for step in steps if step.action != TRUST]))


def _plan_revoked(ring: Ring, index: int, wanted: WantedKey, key: Key | None) -> list[Step]:
    if key is None:
        raise RootOfTrustError(f"The key {wanted.fingerprint} is to be revoked, and is not in the keyring.", "Import it first.")
    steps = []
    if wanted.revocation_file is not None and not ring.files[index].revokes(key) and not key.primary.revoked:
        steps.append(_certificate(index, wanted, key, ring.files[index]))
    if not key.primary.revoked:
        steps.append(
            Step(
                key.fingerprint,
                REVOKE,
                f"Revoke the key {key.fingerprint} ({key.name}).",
                {"revoked": False},
                {"revoked": True},
                Order(index, wanted, key),
            )
        )
    return steps


def _changes(ring: Ring, index: int, wanted: WantedKey, key: Key) -> list[Step]:
    """What is missing of a key that is there."""
    primary, steps = certain(wanted.primary), []
    if renewal(key.primary, primary, ring.now):
        steps.append(_extend(index, wanted, key, key.primary, primary, ring.now))
    there = {one.text for one in key.user_ids if not one.revoked}
    steps += [_add_user_id(index, wanted, key, text) for text in wanted.user_ids if text not in there]
    gone = [text for text in wanted.revoked_user_ids if text in there]
    if gone and not there - set(gone) and not set(wanted.user_ids) - there:
        raise RootOfTrustError(f"The last user ID of {key.fingerprint} is to be revoked: {gone[0]}.", "Leave one, or revoke the key.")
    steps += [_revoke_user_id(index, wanted, key, text) for text in gone]
    for one, part in zip(wanted.subkeys, _matching(key, wanted.subkeys, wanted.revoked_subkeys)):
        if part is None:
            steps.append(_add_subkey(index, wanted, key, one))
        elif renewal(part, one, ring.now):
            steps.append(_extend(index, wanted, key, part, one, ring.now))
    # After what comes in their place.
    known = {part.fingerprint: part for part in key.subkeys}
    for fingerprint in wanted.revoked_subkeys:
        if fingerprint not in known:
            raise RootOfTrustError(f"The key {key.fingerprint} has no subkey {fingerprint}, which is to be revoked.", "Correct it.")
        if not known[fingerprint].revoked:
            steps.append(_revoke_subkey(index, wanted, key, known[fingerprint]))
    return steps


def _refuse_other(wanted: WantedKey, key: Key) -> None:
    primary = certain(wanted.primary)
    if key.primary.revoked:
        raise RootOfTrustError(f"The key {key.fingerprint} is revoked.", "Ask for a key by its user ID: a new one is made.")
    if wanted.fingerprint is not None and key.primary.algorithm != primary.algorithm:
        raise RootOfTrustError(
            f"The key {key.fingerprint} is {key.primary.algorithm}, not {primary.algorithm}.", "Give the algorithm that it has."
        )


def _refuse_without_secret(key: Key, steps: Sequence[Step]) -> None:
    if steps and key.primary.secret in ("", ELSEWHERE):
        raise RootOfTrustError(
            f"{steps[0].sentence} The secret half of the primary key is not here.",
            "Do it where the secret half is, and import the public key.",
        )


def _refuse_other_backup(ring: Ring, wanted: WantedKey, key: Key | None, files: Files) -> None:
    """What is in the file may be all that is left of a key."""
    of = backed_up(files.backup or "")
    if files.backup is None or (key is not None and of == key.fingerprint):
        return
    if not of:
        raise RootOfTrustError(f"{wanted.backup_file} is there, and is no backup by this module.", "Move it away, or give another file.")
    message = f"{wanted.backup_file} has the backup of another key than that of {wanted.name}: of {of}"
    if any(one.fingerprint == of for one in ring.keys):
        raise RootOfTrustError(f"{message}.", "Move it away, or give another file.")
    raise RootOfTrustError(
        f"{message}, which is not in the keyring.", "Restore that key (gpg --decrypt FILE | gpg --import), or move the file away."
    )


def _refuse_other_certificate(wanted: WantedKey, files: Files) -> None:
    if files.certificate is None:
        return
    what = f"the certificate of another key, {files.certificate}" if files.certificate else "something other than a certificate"
    raise RootOfTrustError(
        f"{wanted.revocation_file} is to have the revocation certificate of {wanted.name}, and has {what}.",
        "Move it away, or give another file.",
    )


def _refuse_part_without_secret(wanted: WantedKey, key: Key) -> None:
    """gpg would export a stub in its place, from which nothing can be restored."""
    for part in key.parts:
        if not part.revoked and part.secret != ON_DISK:
            what = "primary key" if part is key.primary else "subkey"
            where = "on a card" if part.secret == ON_CARD else "not here"
            raise RootOfTrustError(
                f"A backup to {wanted.backup_file} would lack the secret half of the {what} {part.fingerprint}, which is {where}.",
                "Back the key up where all of it is, and leave out backup_file here.",
            )


# --------------------------------------------------------------------------------------------------------------- steps


def _make(index: int, wanted: WantedKey, primary: WantedPart) -> Step:
    after = {"state": PRESENT, "algorithm": primary.algorithm, "usage": sorted(primary.usage), "user_ids": [wanted.user_ids[0]]}
    sentence = f"Make a key {primary.words} for {wanted.user_ids[0]}."
    return Step(wanted.name, MAKE, sentence, {"state": ABSENT}, after, Order(index, wanted, None, primary))


def _add_subkey(index: int, wanted: WantedKey, key: Key | None, part: WantedPart) -> Step:
    subject = wanted.name if key is None else key.fingerprint
    what = f"subkey {part.algorithm} to {in_words(part.usage)}"
    return Step(subject, ADD_SUBKEY, f"Add a {what} to {subject}.", {what: ABSENT}, {what: PRESENT}, Order(index, wanted, key, part))


def _add_user_id(index: int, wanted: WantedKey, key: Key | None, text: str) -> Step:
    subject = wanted.name if key is None else key.fingerprint
    what = f"user ID {text}"
    return Step(
        subject, ADD_USER_ID, f"Add the {what} to {subject}.", {what: ABSENT}, {what: PRESENT}, Order(index, wanted, key, text=text)
    )


def _revoke_user_id(index: int, wanted: WantedKey, key: Key, text: str) -> Step:
    what = f"user ID {text}"
    order = Order(index, wanted, key, text=text)
    return Step(key.fingerprint, REVOKE_USER_ID, f"Revoke the {what} of {key.fingerprint}.", {what: PRESENT}, {what: REVOKED}, order)


def _revoke_subkey(index: int, wanted: WantedKey, key: Key, part: Part) -> Step:
    what = f"subkey {part.fingerprint}"
    sentence = f"Revoke the {what} ({part.algorithm} to {in_words(part.usage)}) of {key.fingerprint}."
    order = Order(index, wanted, key, fingerprints=(part.fingerprint,))
    return Step(key.fingerprint, REVOKE_SUBKEY, sentence, {what: PRESENT}, {what: REVOKED}, order)


def _extend(index: int, wanted: WantedKey, key: Key, part: Part, one: WantedPart, now: int) -> Step:
    of = "the key" if part is key.primary else f"the subkey {part.fingerprint} of"
    what = "expires" if part is key.primary else f"subkey {part.fingerprint} expires"
    before, after = day(part.expires), day(one.expires.at(now))
    order = Order(index, wanted, key, one, (key.fingerprint,) if part is key.primary else (key.fingerprint, part.fingerprint))
    sentence = f"Have {of} {key.fingerprint} expire {_on(after)} instead of {_on(before)}."
    return Step(key.fingerprint, EXTEND, sentence, {what: before}, {what: after}, order)


def _on(text: str) -> str:
    return text if text == "never" else f"on {text}"


def _trust(index: int, wanted: WantedKey, key: Key | None, before: str | None) -> Step:
    subject = wanted.name if key is None else key.fingerprint
    order = Order(index, wanted, key, text=certain(wanted.trust))
    return Step(
        subject, TRUST, f"Give {subject} the ownertrust {wanted.trust}.", {"ownertrust": before}, {"ownertrust": wanted.trust}, order
    )


def _delete(index: int, wanted: WantedKey, key: Key) -> Step:
    what = "with its secret half" if any(part.secret for part in key.parts) else "which has no secret half here"
    sentence = f"Delete the key {key.fingerprint} ({key.name}), {what}."
    return Step(key.fingerprint, DELETE, sentence, {"state": PRESENT}, {"state": ABSENT}, Order(index, wanted, key))


def _certificate(index: int, wanted: WantedKey, key: Key | None, files: Files) -> Step:
    _refuse_other_certificate(wanted, files)
    path = certain(wanted.revocation_file)
    subject = wanted.name if key is None else key.fingerprint
    sentence = f"Write the revocation certificate of {subject} to {path}."
    return Step(path, CERTIFICATE, sentence, {"state": ABSENT}, {"state": PRESENT}, Order(index, wanted, key))


def _exports(ring: Ring, index: int, wanted: WantedKey, key: Key | None, changes: bool) -> list[Step]:
    """Its files, in the order of how bad their lack would be."""
    files = ring.files[index]
    subject = wanted.name if key is None else key.fingerprint
    order, steps = Order(index, wanted, key), []
    if wanted.backup_file is not None and (changes or key is None or files.backup != label(key, wanted.backup_recipients)):
        _refuse_other_backup(ring, wanted, key, files)
        if key is not None:
            _refuse_part_without_secret(wanted, key)
        to = ", ".join(wanted.backup_recipients)
        sentence = f"Back up the secret key of {subject} to {wanted.backup_file}, encrypted to {to}."
        before = {"state": ABSENT} if files.backup is None else {"of": "an earlier state of the key, or for others"}
        after = {"state": PRESENT} if files.backup is None else {"of": "the key as it is, for its recipients"}
        steps.append(Step(wanted.backup_file, BACKUP, sentence, before, after, order))
    if wanted.revocation_file is not None and (key is None or not files.revokes(key)):
        steps.append(_certificate(index, wanted, key, files))
    if wanted.public_key_file is not None and (changes or files.public is None or files.public != files.exported):
        before = {"state": ABSENT} if files.public is None else {"of": "an earlier state of the key, or another"}
        after = {"state": PRESENT} if files.public is None else {"of": "the key as it is"}
        sentence = f"Write the public key of {subject} to {wanted.public_key_file}."
        steps.append(Step(wanted.public_key_file, PUBLISH, sentence, before, after, order))
    return steps


def label(key: Key, recipients: Sequence[str]) -> str:
    """What the head of a backup says of what is in it, from which a later run sees whether it is still of use.

    It tells the fingerprint, and a digest of the parts with their ends, the user IDs and those who can read it.
    """
    parts = [f"{part.fingerprint} {part.expires or 0}" for part in sorted(key.parts, key=lambda part: part.fingerprint)]
    names = sorted(one.text for one in key.user_ids if not one.revoked)
    state = "\n".join([*parts, *names, *sorted(recipients)])
    return f"{_LABEL}{key.fingerprint}, state {hashlib.sha256(state.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}"


def backed_up(text: str) -> str:
    """The fingerprint that the label of a backup tells; empty where it is none."""
    return text[len(_LABEL) :].partition(",")[0] if text.startswith(_LABEL) else ""


def parameters(text: str, part: WantedPart, seconds: int | None, protected: bool) -> str:
    """The parameter file by which gpg makes a primary key."""
    name, comment, mail = parse_user_id(text)
    usage = ",".join(one for one in USAGES if one in part.usage)
    lines = ["%no-protection"] if not protected else []
    if part.algorithm.startswith("rsa"):
        lines += ["Key-Type: RSA", f"Key-Length: {part.algorithm[3:]}"]
    else:
        lines += [f"Key-Type: {'EDDSA' if part.algorithm == ED25519 else 'ECDSA'}", f"Key-Curve: {part.algorithm}"]
    lines += [f"Key-Usage: {usage}"]
    lines += [f"{field}: {value}" for field, value in (("Name-Real", name), ("Name-Comment", comment), ("Name-Email", mail)) if value]
    lines += [f"Expire-Date: {'0' if seconds is None else f'seconds={seconds}'}", "%commit"]
    return "\n".join(lines) + "\n"


# -------------------------------------------------------------------------------------------------------------- result


def describe_part(part: Part, now: int) -> dict[str, Any]:
    """A primary key or subkey as modules tell it."""
    return {
        "fingerprint": part.fingerprint,
        "keygrip": part.keygrip,
        "algorithm": part.algorithm,
        "usage": [one for one in USAGES if one in part.usage],
        "created": day(part.created),
        "expires": None if part.expires is None else day(part.expires),
        "expired": part.is_expired(now),
        "revoked": part.revoked,
        "secret": part.secret or None,
    }


def describe_key(key: Key, now: int) -> dict[str, Any]:
    """A key as modules tell it."""
    return {
        **describe_part(key.primary, now),
        "user_ids": [one.text for one in key.user_ids if not one.revoked],
        "revoked_user_ids": [one.text for one in key.user_ids if one.revoked],
        "subkeys": [describe_part(part, now) for part in key.subkeys],
        "ownertrust": key.trust,
        "disabled": key.disabled,
    }


def report_keys(ring: Ring, to_come: Sequence[Step]) -> dict[str, Any]:
    """The result of gpg_key: the keys as they are after the steps to come, as far as that can be known."""
    told, warnings = [], []
    for index, (wanted, files) in enumerate(zip(ring.wanted, ring.files)):
        key = find(ring, wanted)
        mine = [step for step in to_come if step.detail is not None and step.detail.index == index]
        now = describe_key(key, ring.now) if key is not None else None
        gone = any(step.action == DELETE for step in mine)
        told.append(
            {
                "fingerprint": key.fingerprint if key is not None else None,
                "state": ABSENT if gone or (key is None and not mine) else REVOKED if wanted.state == REVOKED else PRESENT,
                "user_ids": list(wanted.user_ids) or (now or {}).get("user_ids", []),
                "key": now,
                "public_key": files.exported.decode("ascii") if files.exported is not None and not gone else None,
            }
        )
        warnings += [*wanted.warnings, *_warnings(ring, wanted, key)]
    return {"keys": told, "warnings": warnings}


def _warnings(ring: Ring, wanted: WantedKey, key: Key | None) -> list[str]:
    if wanted.state != PRESENT or wanted.fingerprint is not None:
        return []
    others = [one.fingerprint for one in _own(ring.keys, wanted.user_ids[0]) if not one.primary.revoked and one != key]
    if not others:
        return []
    return [f"{wanted.user_ids[0]} has other keys too, of another algorithm or usage: {', '.join(others)}."]
