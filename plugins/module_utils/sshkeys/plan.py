# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is to be done about host keys and known_hosts. Pure."""

from __future__ import annotations

import posixpath
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any, Callable, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.model import (
    ABSENT,
    ECDSA_SIZES,
    FIXED_SIZES,
    FOLDER,
    MADE_ANEW_FOR,
    PRESENT_TYPES,
    RSA_LEAST,
    RSA_MOST,
    Access,
    Known,
    KnownHost,
    Noted,
    Pair,
    PublicKey,
    Reason,
    Served,
    ServerSettings,
    State,
    Wanted,
    WantedKey,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.parse import (
    KnownLine,
    Malformed,
    known_lines,
    md5_fingerprint,
    parse_fingerprint,
    parse_known_line,
    parse_public,
    public_text,
    sha256_fingerprint,
    sshfp,
)

SAME_MOMENT = 5.0  # seconds; keys and machine-id of one first boot may be written in either order
MAKE, REMOVE, PROTECT, PUBLISH, ADOPT, TIDY = "make", "remove", "protect", "publish", "adopt", "tidy"
WRITE = "write"
MENDED = ("wrong_mode", "public_missing", "public_mismatch")  # reasons for which something is corrected, not made anew
REPLACING = (MAKE, REMOVE)  # actions before and after which the server is asked
UNKNOWN_YET = "(known when it is made)"
DEFAULT_TYPES = ("rsa", "ecdsa", "ed25519")  # in the order of sshd -T


# --- from parameters -------------------------------------------------------------------------------------------------


def wanted_key(options: Mapping[str, Any]) -> WantedKey:
    """One key from its options.

    :raises RootOfTrustError: if type and size do not go together, or the path is not absolute.
    """
    key = WantedKey(
        type=options["type"],
        path=options.get("path") or default_path(options["type"]),
        size=options.get("size"),
        comment=options.get("comment"),
        state=options.get("state") or "present",
        force=bool(options.get("force")),
    )
    if not posixpath.isabs(key.path):
        raise RootOfTrustError(f"The path {key.path} is not absolute.", "Give the whole path of the private key.")
    if key.state != ABSENT:
        _check_type_and_size(key)
    return key


def default_path(kind: str) -> str:
    """Where sshd looks for a key of a type."""
    return f"{FOLDER}/ssh_host_{kind.replace('-', '_')}_key"


def _check_type_and_size(key: WantedKey) -> None:
    if key.type not in PRESENT_TYPES:
        raise RootOfTrustError(
            f"A host key of type {key.type} is not made: OpenSSH 9.8 and later do not accept it.", f"Use one of {', '.join(PRESENT_TYPES)}."
        )
    if key.size is None:
        return
    if key.type in FIXED_SIZES:
        raise RootOfTrustError(f"The {key.type} key {key.path} has no choice of size, but {key.size} is asked for.", "Leave size out.")
    if key.type == "ecdsa" and key.size not in ECDSA_SIZES:
        raise RootOfTrustError(f"The ECDSA key {key.path} cannot have {key.size} bits.", "Use a size of 256, 384 or 521.")
    if key.type == "rsa" and not RSA_LEAST <= key.size <= RSA_MOST:
        raise RootOfTrustError(
            f"The RSA key {key.path} of {key.size} bits is refused.", f"Use a size between {RSA_LEAST} and {RSA_MOST}; 3072 is usual."
        )


def wanted(keys: Sequence[Mapping[str, Any]] | None, common: Mapping[str, Any]) -> Wanted:
    """All that is asked for.

    :param keys: each key's options; None for the keys of the server.
    :param common: the module's other options.
    :raises RootOfTrustError: if they contradict each other.
    """
    chosen = None if keys is None else tuple(wanted_key(options) for options in keys)
    paths = [key.path for key in chosen or ()]
    twice = sorted({path for path in paths if paths.count(path) > 1})
    if twice:
        raise RootOfTrustError(f"Two keys are asked for at {twice[0]}.", "Give each key a path of its own.")
    return Wanted(
        keys=chosen,
        template=WantedKey(type="", path="", comment=common.get("comment"), force=bool(common.get("force"))),
        regenerate=frozenset(common["regenerate"]),
        bad_fingerprints=frozenset(parse_fingerprint(text) for text in common["bad_fingerprints"]),
        backup=bool(common.get("backup")),
        server=common["server"] == "sshd",
    )


def keys_of_server(
    settings: ServerSettings | None, exists: Callable[[str], bool], template: WantedKey, fips: bool
) -> tuple[WantedKey, ...]:
    """The keys that the server uses.

    :param settings: what ``sshd -T`` prints; None where there is no server.
    :param exists: whether there is anything of a key at a path.
    :param template: comment and force for each.
    :param fips: the kernel is in FIPS mode, which has no Ed25519.

    Keys that the configuration names are all wanted. Of those that are compiled in (all at the usual places; the usual types and perhaps
    more) the ones that exist; if there is none, all.
    """
    usual = {default_path(kind): kind for kind in PRESENT_TYPES}
    defaults = [default_path(kind) for kind in DEFAULT_TYPES]
    listed = list(settings.host_keys) if settings and settings.host_keys else defaults
    if set(defaults) <= set(listed) <= set(usual):
        present = [path for path in listed if exists(path)]
        listed = present or [path for path in listed if not (fips and "ed25519" in usual[path])]
    return tuple(replace(template, type=usual.get(path, ""), path=path) for path in listed)


# --- judging one key -------------------------------------------------------------------------------------------------


def judge(pair: Pair, state: State, asked: Wanted) -> tuple[Reason, ...]:
    """All that is wrong with a key that should be present, whether or not it is to be changed for it."""
    want = pair.wanted
    if pair.private is None:
        return (Reason("missing", f"There is no host key at {want.path}."),)
    reasons = []
    if pair.key is None:
        reasons.append(Reason("unreadable", f"{want.path} is not a usable host key: {pair.fault}."))
    if not any(access.allows(pair.private) for access in state.rule.private):
        reasons.append(Reason("wrong_mode", f"{want.path} has mode and owner {pair.private}, not {state.rule.private[0]}."))
    elif pair.public is not None and not state.rule.public.allows(pair.public):
        reasons.append(Reason("wrong_mode", f"{want.path}.pub has mode and owner {pair.public}, not {state.rule.public}."))
    if pair.key is not None:
        reasons.extend(_judge_public(pair, pair.key))
        reasons.extend(_judge_key(pair, pair.key, asked))
        clone = cloned(pair, pair.key, state)
        if clone:
            reasons.append(Reason("cloned", clone))
    if want.force:
        reasons.append(Reason("forced", f"A new key for {want.path} is ordered."))
    return tuple(reasons)


def _judge_public(pair: Pair, key: PublicKey) -> list[Reason]:
    if pair.public is None:
        return [Reason("public_missing", f"{pair.wanted.path}.pub is missing.")]
    if pair.published is None or pair.published.blob != key.blob:
        return [Reason("public_mismatch", f"{pair.wanted.path}.pub is not the public part of {pair.wanted.path}.")]
    return []


def _judge_key(pair: Pair, key: PublicKey, asked: Wanted) -> list[Reason]:
    want = pair.wanted
    reasons = []
    if want.type and key.type != want.type:
        reasons.append(Reason("wrong_type", f"{want.path} holds a key of type {key.type}, not {want.type}."))
    least = want.size or (RSA_LEAST if key.type == "rsa" else 0)
    if key.size < least and not reasons:
        reasons.append(Reason("too_small", f"The key {want.path} has {key.size} bits, fewer than {least}."))
    named = asked.bad_fingerprints & {sha256_fingerprint(key), md5_fingerprint(key)}
    if named:
        reasons.append(Reason("listed", f"The key {want.path} is on the list of bad keys: {sorted(map(str, named))[0]}."))
    return reasons


def cloned(pair: Pair, key: PublicKey, state: State) -> str:
    """Why the key must be another machine's, as a sentence; empty if nothing says so.

    With a note of the machine on which the key was made, that is compared: the hardware if it was known then and is now, else the
    machine-id. Without one, a key that was on the disk before machine-id was written came with an image.
    """
    note, identity = state.record.keys.get(sha256_fingerprint(key)), state.identity
    if note is not None:
        if note.hardware and identity.hardware:
            if note.hardware != identity.hardware:
                return f"The key {pair.wanted.path} was {note.how} on other hardware, as noted at {note.when}: the disk is a copy."
            return ""
        if note.machine and identity.machine and note.machine != identity.machine:
            return (
                f"The key {pair.wanted.path} was {note.how} on a machine with another machine-id, as noted at {note.when}: "
                "the disk is a copy."
            )
        return ""
    if identity.machine and identity.since is not None and pair.came is not None and pair.came < identity.since - SAME_MOMENT:
        return (
            f"The key {pair.wanted.path} is of {moment(pair.came)}, before this machine got its machine-id at {moment(identity.since)}: "
            "it came with an image that others may have too."
        )
    return ""


def moment(seconds: float) -> str:
    """A time as UTC, to the second: 2026-01-31T12:00:00Z."""
    try:
        return datetime.fromtimestamp(int(seconds), timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):  # a broken inode may say anything
        return f"{seconds:.0f} s since 1970"


# --- the plan --------------------------------------------------------------------------------------------------------


def plan_host_keys(state: State, asked: Wanted) -> list[Step]:
    """The steps that are missing.

    :raises RootOfTrustError: if a step cannot be done: no folder, a read-only file system, a server that does not accept its configuration.
    """
    steps = [step for pair in state.pairs for step in _plan_pair(pair, state, asked)]
    if state.check is not None and not state.check.valid and any(step.action in REPLACING for step in steps):
        raise RootOfTrustError(
            f"sshd does not accept its configuration, so no host key is touched: {state.check.error}",
            "Mend the configuration until sshd -t is silent.",
            {"server_error": state.check.error},
        )
    return steps


def replaces(state: State, asked: Wanted) -> bool:
    """Whether the plan will replace or remove a key, so that the server has to be asked first."""
    return any(step.action in REPLACING for pair in state.pairs for step in _plan_pair(pair, state, asked))


def _plan_pair(pair: Pair, state: State, asked: Wanted) -> list[Step]:
    steps = _tidy(pair)
    if pair.wanted.state == ABSENT:
        steps += _remove(pair)
    else:
        if pair.folder == "missing":
            raise RootOfTrustError(
                f"The folder {posixpath.dirname(pair.real)} of the host key {pair.wanted.path} does not exist.",
                "Make it, or correct the path.",
            )
        reasons = judge(pair, state, asked)
        because = reasons_to_make(reasons, asked)
        steps += [_make(pair, because)] if because else _mend(pair, reasons, state)
    if steps and pair.folder == "read-only" and any(step.action != ADOPT for step in steps):
        raise RootOfTrustError(
            f"{posixpath.dirname(pair.real)} is on a read-only file system, yet this is due: {steps[0].sentence}",
            "Mount it so that it can be written to.",
        )
    return steps


def reasons_to_make(reasons: Sequence[Reason], asked: Wanted) -> list[Reason]:
    """Those for which a new key is made."""
    return [reason for reason in reasons if reason.code in asked.regenerate or reason.code in ("missing", "forced")]


def _tidy(pair: Pair) -> list[Step]:
    return [
        Step(
            subject=path,
            action=TIDY,
            sentence=f"Remove {path}, left by a run that was cut.",
            before={"state": "present"},
            after={"state": "absent"},
            detail=pair,
        )
        for path in pair.leftovers
    ]


def _remove(pair: Pair) -> list[Step]:
    if pair.private is None and pair.public is None:
        return []
    return [
        Step(
            subject=pair.wanted.path,
            action=REMOVE,
            sentence=f"Remove the host key {pair.wanted.path}.",
            before=_seen(pair),
            after={"state": "absent"},
            detail=pair,
        )
    ]


def _make(pair: Pair, because: Sequence[Reason]) -> Step:
    want = pair.wanted
    if want.type not in PRESENT_TYPES:
        raise RootOfTrustError(
            f"No host key of type {want.type or 'unknown'} can be made for {want.path}: {because[0].text}",
            f"Ask for the key by its type ({', '.join(PRESENT_TYPES)}) and path, or take its HostKey line out of sshd's configuration.",
        )
    size = f" of {want.bits} bits" if want.bits else ""
    return Step(
        subject=want.path,
        action=MAKE,
        sentence=f"Make a new {want.type} host key{size} at {want.path}: {' '.join(reason.text for reason in because)}",
        before=_seen(pair),
        after={"state": "present", "type": want.type, "size": want.size_made, "fingerprint": UNKNOWN_YET},
        detail=pair,
        once={reason.code for reason in because} == {"forced"},
    )


def _mend(pair: Pair, reasons: Sequence[Reason], state: State) -> list[Step]:
    """What is corrected without making a new key."""
    codes = {reason.code: reason for reason in reasons}
    path, steps = pair.wanted.path, []
    if "wrong_mode" in codes:
        steps.append(
            Step(
                subject=path,
                action=PROTECT,
                sentence=f"Correct mode and owner of {path}: {codes['wrong_mode'].text}",
                before={"access": str(pair.private), "access_public": str(pair.public or "")},
                after={"access": str(private_access(pair, state)), "access_public": str(state.rule.public) if pair.public else ""},
                detail=pair,
            )
        )
    for code in ("public_missing", "public_mismatch"):
        if code in codes and pair.key is not None:
            steps.append(
                Step(
                    subject=f"{path}.pub",
                    action=PUBLISH,
                    sentence=f"Write {path}.pub from the private part: {codes[code].text}",
                    before={"fingerprint": sha256_fingerprint(pair.published) if pair.published else ""},
                    after={"fingerprint": sha256_fingerprint(pair.key)},
                    detail=pair,
                )
            )
    return steps + _adopt(pair, state, "cloned" in codes)


def private_access(pair: Pair, state: State) -> Access:
    """The access that the private part will have: its own where that is allowed, else the first that is."""
    own = pair.private
    return own if own is not None and any(access.allows(own) for access in state.rule.private) else state.rule.private[0]


def _adopt(pair: Pair, state: State, clone: bool) -> list[Step]:
    """Note the machine for a key that was made without this module."""
    if pair.key is None or clone or not state.identity.machine or not state.record.writable:
        return []
    fingerprint = sha256_fingerprint(pair.key)
    if fingerprint in state.record.keys:
        return []
    return [
        Step(
            subject=pair.wanted.path,
            action=ADOPT,
            sentence=f"Note this machine's identity for the host key {pair.wanted.path}, to know a copy of the disk by.",
            before={"identity": "unknown"},
            after={"identity": "adopted"},
            detail=pair,
        )
    ]


def _seen(pair: Pair) -> dict[str, Any]:
    if pair.private is None and pair.public is None:
        return {"state": "absent"}
    if pair.key is None:
        return {"state": "present"}
    return {"state": "present", "type": pair.key.type, "size": pair.key.size, "fingerprint": sha256_fingerprint(pair.key)}


# --- results ---------------------------------------------------------------------------------------------------------


def report_host_keys(state: State, to_come: Sequence[Step]) -> dict[str, Any]:
    """The result of ssh_host_key: each key as it is now (as far as known), and why it was changed."""
    first, asked = state.first or state, state.asked
    due = {step.subject for step in to_come if step.action == MAKE}
    return {
        "keys": [_describe(now, then, state, first, asked, now.wanted.path in due) for now, then in zip(state.pairs, first.pairs)],
        "warnings": warnings(first, asked),
    }


def _describe(now: Pair, then: Pair, state: State, first: State, asked: Wanted, due: bool) -> dict[str, Any]:
    want, absent = now.wanted, now.wanted.state == ABSENT
    key = None if due or absent else now.key
    reasons = () if absent else judge(then, first, asked)
    old = sha256_fingerprint(then.key) if then.key else None
    fingerprint = sha256_fingerprint(key) if key else None
    return {
        "path": want.path,
        "state": want.state,
        "type": key.type if key else want.type,
        "size": key.size if key else (None if absent else want.size_made),
        "fingerprint": fingerprint,
        "fingerprint_md5": md5_fingerprint(key) if key else None,
        "public_key": public_text(key) if key else None,
        "comment": (now.comment if key else want.comment) or "",
        "sshfp": [record for record in [sshfp(key) if key else None] if record],
        "mode": None if absent or due or now.private is None else f"{now.private.mode:04o}",
        "created": None if absent or due or now.came is None else moment(now.came),
        "reasons": [{"code": reason.code, "text": reason.text} for reason in reasons],
        "made": due or bool(fingerprint and fingerprint != old and not absent),
        "previous_fingerprint": old if due or fingerprint != old else None,
        "identity": _origin(key, state),
    }


def _origin(key: PublicKey | None, state: State) -> str:
    note: Noted | None = state.record.keys.get(sha256_fingerprint(key)) if key else None
    return note.how if note else "unknown"


def warnings(state: State, asked: Wanted) -> list[str]:
    """What a person should know although it changes nothing."""
    said = []
    if not state.identity.machine and any(pair.private for pair in state.pairs):
        said.append(f"{state.identity.unknown} Whether a host key came with a copied disk cannot be told by it.")
    if state.record.fault:
        said.append(state.record.fault)
    if not state.record.writable:
        said.append("This machine's identity cannot be noted on a read-only file system: a copied disk will not be known by it.")
    for pair in state.pairs:
        if pair.wanted.state == ABSENT:
            continue
        reasons = judge(pair, state, asked)
        make = reasons_to_make(reasons, asked)
        left = [reason for reason in reasons if reason.code in MADE_ANEW_FOR and not make]
        said += [f"{reason.text} It is left so, because regenerate does not name {reason.code}." for reason in left]
        if make and pair.certificate:
            said.append(f"{pair.wanted.path}-cert.pub certifies the old key. Have the new one signed and put its certificate in place.")
    return said


def report_look(
    asked: Wanted, state: State, server: Mapping[str, Any], served: Sequence[Served] | None, settings: ServerSettings | None
) -> dict[str, Any]:
    """The result of ssh_host_key_info.

    :param server: what is known of the server.
    :param served: the keys that it presented; None where it was not asked.
    :param settings: its settings, None where there is none.
    """
    entries = []
    for pair in state.pairs:
        entry = _describe(pair, pair, state, state, asked, False)
        for name in ("made", "previous_fingerprint", "state"):
            del entry[name]
        reasons = judge(pair, state, asked)
        entry["due"] = bool(reasons_to_make(reasons, asked)) or any(reason.code in MENDED for reason in reasons)
        entry["note_due"] = not entry["due"] and bool(_adopt(pair, state, any(reason.code == "cloned" for reason in reasons)))
        entries.append(entry)
    faults = [reason["text"] for entry in entries if entry["due"] for reason in entry["reasons"]]
    if server["error"]:
        faults.append(server["error"])
    presented = None if served is None else compare_served(state.pairs, served)
    unserved = [] if presented is None or settings is None else served_faults(state.pairs, presented, settings)
    return {
        "keys": entries,
        "due": any(entry["due"] for entry in entries),
        "note_due": any(entry["note_due"] for entry in entries),
        "stale": bool(presented and unserved),
        "faults": faults + unserved,
        "served": presented,
        "server": dict(server),
        "warnings": warnings(state, asked),
    }


def compare_served(pairs: Sequence[Pair], served: Sequence[Served]) -> list[dict[str, Any]]:
    """Each presented key, with the file that holds it; ``matches`` is None where no looked-at file has a key of its type."""
    result = []
    for item in served:
        same = [pair.wanted.path for pair in pairs if pair.key and pair.key.blob == item.key.blob]
        rivals = [pair.wanted.path for pair in pairs if (pair.key.type if pair.key else pair.wanted.type) == item.key.type]
        result.append(
            {
                "address": item.address,
                "port": item.port,
                "type": item.key.type,
                "fingerprint": sha256_fingerprint(item.key),
                "public_key": public_text(item.key),
                "path": next(iter(same or rivals), None),
                "matches": bool(same) if same or rivals else None,
            }
        )
    return result


def served_faults(pairs: Sequence[Pair], presented: Sequence[Mapping[str, Any]], settings: ServerSettings) -> list[str]:
    """What is wrong with the keys that the server presented, as sentences."""
    if not presented:
        return ["The server presented no host key."]
    faults = [
        f"The server at {item['address']} port {item['port']} presents {item['fingerprint']} as its {item['type']} key, "
        f"which is not the one in {item['path']}: it has not been reloaded since the file changed."
        for item in presented
        if item["matches"] is False
    ]
    types = {item["type"] for item in presented}
    for pair in pairs:
        listed = pair.wanted.path in settings.host_keys
        if pair.key and listed and pair.key.type not in types and _offers(pair.key, settings):
            faults.append(f"The server does not present the key {pair.wanted.path}: it has not been reloaded since the file was made.")
    return faults


def _offers(key: PublicKey, settings: ServerSettings) -> bool:
    names = {"rsa": ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa")}.get(key.type, (key.algorithm,))
    return not settings.algorithms or bool(set(names) & set(settings.algorithms))


# --- known_hosts -----------------------------------------------------------------------------------------------------


def known_host(options: Mapping[str, Any]) -> KnownHost:
    """One host of known_hosts from its options.

    :raises RootOfTrustError: if a name cannot be one, a key is none, or a present host has no key.
    """
    names = tuple(dict.fromkeys(str(name).lower() for name in options["names"]))
    host = KnownHost(
        names=names,
        port=22 if options.get("port") is None else options["port"],
        keys=_known_keys(names, options.get("keys") or []),
        state=options.get("state") or "present",
        exclusive=options.get("exclusive") is not False,
    )
    bad = [name for name in names if not name or name[0] in "@#|!" or any(char in " \t\r\n,*?[]" for char in name)]
    if bad or not names:
        raise RootOfTrustError(f"{bad[0] if bad else ''!r} is not the name or address of one host.", "Give names without wildcards.")
    if not 0 < host.port < 65536:
        raise RootOfTrustError(f"{host.port} is not a TCP port.", "Give a number from 1 to 65535.")
    if host.state != ABSENT and not host.keys:
        raise RootOfTrustError(f"No key is given for {names[0]}.", "Give its keys, or state absent to forget it.")
    return host


def _known_keys(names: Sequence[str], texts: Sequence[Any]) -> tuple[PublicKey | None, ...]:
    keys: dict[bytes, PublicKey | None] = {}
    for text in texts:
        if text is None or not str(text).strip():
            keys[b""] = None
            continue
        try:
            key, _comment = parse_public(str(text))
        except Malformed as error:
            raise RootOfTrustError(
                f"A key given for {', '.join(names)} is not a public key: {error}.", "Give the type and the base64 text."
            ) from None
        keys[key.blob] = key
    return tuple(keys.values())


def edit_known_hosts(text: str, host: KnownHost, spell: Callable[[str], str] | None = None) -> str:
    """The file after one host has its keys, and no others where it is exclusive. Every other line stays byte for byte.

    :param text: the file.
    :param host: the host; all of its keys must be known.
    :param spell: turns a name into a hashed one; None writes names in the clear.
    """
    keep = {key.blob: key for key in host.keys if key} if host.state != ABSENT else {}
    stays = host.state != ABSENT and not host.exclusive
    lines: list[str] = []
    missing = {blob: list(host.patterns) for blob in keep}
    for line in known_lines(text):
        entry = parse_known_line(line)
        own = _own(entry, host.patterns)
        if entry is not None and entry.key.blob in keep:
            missing[entry.key.blob] = [name for name in missing[entry.key.blob] if name not in own]
            lines.append(line)
        elif entry is None or not own or stays:
            lines.append(line)
        else:
            left = entry.without(own)
            if left:
                lines.append(left)
    added = [line for blob, names in missing.items() if names for line in _new_lines(names, keep[blob], spell)]
    if added and lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    return "".join(lines + added)


def _own(entry: KnownLine | None, patterns: Sequence[str]) -> list[str]:
    """The names of ours that a line gives; lines with a marker are not ours to judge."""
    if entry is None or entry.marker:
        return []
    return [pattern for pattern in patterns if entry.names(pattern)]


def _new_lines(names: Sequence[str], key: PublicKey, spell: Callable[[str], str] | None) -> list[str]:
    fields = [",".join(names)] if spell is None else [spell(name) for name in names]
    return [f"{field} {public_text(key)}\n" for field in fields]


def known_keys(text: str, pattern: str) -> list[PublicKey]:
    """The keys that a file has for a name, in its order."""
    entries = [parse_known_line(line) for line in known_lines(text)]
    return list({entry.key.blob: entry.key for entry in entries if entry and not entry.marker and entry.names(pattern)}.values())


def plan_known_hosts(known: Known) -> list[Step]:
    """One step for each host whose lines are not as they should be."""
    text, steps = known.text, []
    for host in known.hosts:
        unknown = None in host.keys and host.state != ABSENT
        changed = edit_known_hosts(text, host)
        if changed == text and not unknown:
            continue
        steps.append(_known_step(text, changed, known.path, host, unknown))
        text = changed
    return steps


def _known_step(text: str, changed: str, path: str, host: KnownHost, unknown: bool) -> Step:
    name = ", ".join(host.patterns)
    before = [line.rstrip("\n") for line in _only_in(text, changed)]
    after = [line.rstrip("\n") for line in _only_in(changed, text)]
    if unknown:
        after.append(f"{','.join(host.patterns)} {UNKNOWN_YET}")
    verb = "Forget" if host.state == ABSENT else "Write"
    return Step(
        subject=path,
        action=WRITE,
        sentence=f"{verb} the host keys of {name} in {path}.",
        before={name: before},
        after={name: after},
        detail=host,
    )


def _only_in(one: str, other: str) -> list[str]:
    others = known_lines(other)
    left = list(others)
    result = []
    for line in known_lines(one):
        if line in left:
            left.remove(line)
        else:
            result.append(line)
    return result


def report_known_hosts(known: Known, to_come: Sequence[Step]) -> dict[str, Any]:
    """The result of ssh_known_hosts: the fingerprints that hold for each host, after the steps to come."""
    text = known.text
    for step in to_come:
        text = edit_known_hosts(text, step.detail)
    return {
        "path": known.path,
        "hosts": [
            {
                "names": list(host.names),
                "port": host.port,
                "state": host.state,
                "fingerprints": [sha256_fingerprint(key) for key in known_keys(text, host.patterns[0])],
            }
            for host in known.hosts
        ],
    }
