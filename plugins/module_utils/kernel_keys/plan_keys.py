# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which keys are made, loaded, kept in files, re-wrapped, changed or taken away. Pure.

Three rules hold at every cut: what a key needs to come back after a boot is in its file before anything can use the key; a file is only
replaced by one that the kernel has loaded; and a key is only made under a master that the kernel finds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError, certain
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.model import (
    ABSENT,
    ENCRYPTED,
    FOREVER,
    LOGON,
    PRESENT,
    REVOKED,
    SEALED,
    TRUSTED,
    USER,
    Blob,
    FoundKey,
    KernelKey,
    Sealed,
    SealOptions,
    WantedBlob,
    WantedKey,
    described,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.parse import (
    LEAST_MASTER,
    description_fault,
    length_fault,
    master_fault,
    parse_keyring,
    parse_permissions,
)

# Actions
LOAD_MODULE, MAKE_KEYRINGS = "load the module", "make keyrings"
WRITE_FILE, SAVE_FILE = "write random bytes to the file", "keep the payload in the file"
ADD, CHANGE = "add", "change the payload"
NEW, NEW_BLOB, LOAD, EXPORT = "new", "new into its blob", "load", "export"
REWRAP_BLOB, REWRAP, SEAL = "re-wrap in its blob", "re-wrap", "seal into a blob"
PERMIT, EXPIRE, UNLINK, REVOKE, REMOVE_FILES = "set permissions", "set the timeout", "unlink", "revoke", "remove files"

_OF_TYPE = {
    "payload": (USER, LOGON),
    "payload_file": (USER, LOGON),
    "random": (USER, LOGON),
    "file": (USER, LOGON),
    "length": SEALED,
    "blob": SEALED,
    "master": (ENCRYPTED,),
    "keyhandle": (TRUSTED,),
    "keyauth": (TRUSTED,),
    "blobauth": (TRUSTED,),
    "pcrinfo": (TRUSTED,),
    "pcrlock": (TRUSTED,),
    "policydigest": (TRUSTED,),
    "policyhandle": (TRUSTED,),
    "migratable": (TRUSTED,),
    "hash": (TRUSTED,),
    "alternatives": (TRUSTED,),
    "pcrs": (TRUSTED,),
    "pcr_bank": (TRUSTED,),
}
_HANDLE, _BYTES = "(?:0x)?[0-9a-fA-F]{1,8}", "(?:[0-9a-fA-F]{2})+"
_SEAL_FORMS = {"keyhandle": _HANDLE, "policyhandle": _HANDLE, "pcrinfo": _BYTES, "policydigest": _BYTES}


@dataclass(frozen=True)
class Arrival:
    """A key of the list that will be there when a later one is made.

    :param fresh: whether it is of new random bytes.
    :param size: bytes of its payload, of a user key where that is known.
    """

    fresh: bool
    size: int | None = None


Coming = Dict[str, Arrival]


# --- what is asked for -------------------------------------------------------------------------------------------------


def wanted_key(params: Mapping[str, Any]) -> WantedKey:
    """One key of the module's parameters.

    :raises RootOfTrustError: if it can never be; nothing has been asked of the kernel then.
    """
    kind, description, style = params["type"], params["description"], params["format"] or "default"
    name = f"{kind}:{description}"
    fault = description_fault(kind, description, style)
    if fault:
        raise RootOfTrustError(f"No {kind} key can be called {description!r}: {fault}.", "Correct description.")
    for option, kinds in _OF_TYPE.items():
        if params[option] is not None and kind not in kinds:
            raise RootOfTrustError(f"{name}: {option} is for keys of the type {' or '.join(kinds)}.", f"Leave {option} out.")
    if params["format"] is not None and kind != ENCRYPTED:
        raise RootOfTrustError(f"{name}: format is for keys of the type encrypted.", "Leave format out.")
    parse_keyring(params["keyring"])
    sources = [option for option in ("payload", "payload_file", "random") if params[option] is not None]
    if len(sources) > 1:
        raise RootOfTrustError(f"{name}: its payload comes from {' and '.join(sources)}.", "Give one of them.")
    seal = _seal_options(name, params)
    wanted = WantedKey(
        description=description,
        type=kind,
        keyring=params["keyring"],
        state=params["state"],
        permissions=parse_permissions(params["permissions"]),
        timeout=params["timeout"],
        payload=_payload(name, params),
        payload_file=params["payload_file"],
        random=params["random"],
        file=params["file"],
        update_payload=params["update_payload"],
        length=params["length"],
        format=style,
        master=params["master"],
        blobs=_wanted_blobs(name, params, seal),
        seal=seal,
        pcrs=tuple(params["pcrs"] or ()),
        update=params["update"],
        remove_files=params["remove_files"],
    )
    _check(wanted)
    return wanted


def _payload(name: str, params: Mapping[str, Any]) -> Secret | None:
    encoding = params["payload_encoding"]
    payload = Secret.from_param(params["payload"], encoding)
    if payload is None:
        return None
    fault = length_fault(params["type"], "", len(payload))
    if fault:
        raise RootOfTrustError(f"{name}: its payload does not fit: {fault}.", "Correct payload.")
    if encoding == "text" and payload.reveal() != payload.reveal().strip():
        raise RootOfTrustError(
            f"{name}: its payload has a blank or an end of line at its end or beginning, which would be a part of the key.",
            "Take it away, or give the payload as base64 if it is meant.",
        )
    return payload


def _seal_options(name: str, params: Mapping[str, Any]) -> SealOptions:
    for option, form in _SEAL_FORMS.items():
        value = params.get(option)
        if value is not None and not re.fullmatch(form, value):
            raise RootOfTrustError(f"{name}: {option} {value!r} is not hexadecimal.", f"Correct {option}.")
    secrets: dict[str, Any] = {}
    for option in ("keyauth", "blobauth"):
        secret = Secret.from_param(params.get(option))
        if secret is not None and (not len(secret) or secret.reveal().split() != [secret.reveal()]):
            raise RootOfTrustError(f"{name}: {option} is empty or has a blank in it.", f"Correct {option}.")
        secrets[option] = secret
    lock = params.get("pcrlock")
    if lock is not None and not 0 <= lock <= 23:
        raise RootOfTrustError(f"{name}: there is no PCR {lock}.", "Give pcrlock a number from 0 to 23.")
    if params.get("policydigest") is not None and params.get("hash") is None:
        raise RootOfTrustError(f"{name}: the kernel has to know the hash of policydigest.", "Give hash, such as sha256.")
    names = ("keyhandle", "pcrinfo", "pcrlock", "policydigest", "policyhandle", "migratable", "hash", "pcr_bank")
    options: dict[str, Any] = {option: params.get(option) for option in names}
    return SealOptions(**options, **secrets, by_pcrs=_by_pcrs(name, params))


def _by_pcrs(name: str, params: Mapping[str, Any]) -> tuple[int, ...]:
    pcrs = tuple(sorted(set(params.get("pcrs") or ())))
    for pcr in pcrs:
        if not 0 <= pcr <= 23:
            raise RootOfTrustError(f"{name}: there is no PCR {pcr}.", "Give pcrs numbers from 0 to 23.")
    given = [option for option in ("pcrinfo", "policydigest", "policyhandle") if params.get(option) is not None]
    if params.get("pcr_bank") is not None and (given or not pcrs):
        raise RootOfTrustError(f"{name}: pcr_bank is for pcrs alone.", "Leave pcr_bank out.")
    if pcrs and not given and params.get("hash") == "sm3-256":
        raise RootOfTrustError(f"{name}: no policy of pcrs can be made by sm3-256.", "Give another hash, or policydigest.")
    return () if given else pcrs


def _wanted_blobs(name: str, params: Mapping[str, Any], seal: SealOptions) -> tuple[WantedBlob, ...]:
    if params["blob"] is None:
        if params["alternatives"]:
            raise RootOfTrustError(f"{name}: there are alternatives to no blob.", "Give blob.")
        return ()
    blobs = [WantedBlob(params["blob"], seal, tuple(params["pcrs"] or ()))]
    for item in params["alternatives"] or ():
        merged = {**params, "pcrs": None, "pcr_bank": None, "pcrinfo": None, "policydigest": None, "policyhandle": None, "hash": None}
        merged.update({option: value for option, value in item.items() if value is not None})
        blobs.append(WantedBlob(item["blob"], _seal_options(name, merged), tuple(merged["pcrs"] or ())))
    paths = [blob.path for blob in blobs]
    if len(set(paths)) != len(paths):
        raise RootOfTrustError(f"{name}: a blob is there twice.", "Give each alternative a path of its own.")
    return tuple(blobs)


def _check(wanted: WantedKey) -> None:
    """What can be seen without the kernel."""
    name = wanted.name
    for path in [wanted.file, *(blob.path for blob in wanted.blobs)]:
        if path is not None and not path.startswith("/"):
            raise RootOfTrustError(f"{name}: the path {path} does not begin with /.", "Give the whole path.")
    if wanted.timeout is not None and not 0 <= wanted.timeout < 2**31:
        raise RootOfTrustError(f"{name}: the timeout {wanted.timeout} cannot be.", "Give seconds, or 0 for a key that does not expire.")
    _check_size(wanted, "random", wanted.random)
    _check_size(wanted, "length", wanted.length)
    if wanted.file is not None and wanted.random is None and wanted.state == PRESENT:
        raise RootOfTrustError(f"{name}: file keeps what random makes.", "Give random too, or payload_file for a file that you keep.")
    if wanted.seal.migratable is False and len(wanted.blobs) > 1 and wanted.state == PRESENT:
        raise RootOfTrustError(
            f"{name}: a key with migratable: false is not sealed a second time: it can have no alternatives.", "Leave out one of the two."
        )
    if wanted.master is not None:
        fault = master_fault(wanted.master)
        if fault:
            raise RootOfTrustError(f"{name}: {wanted.master!r} is no master: {fault}.", "Write user:name or trusted:name.")
    elif wanted.type == ENCRYPTED and wanted.state == PRESENT:
        raise RootOfTrustError(f"{name}: it is not said under which master it is kept.", "Give master: user:name or trusted:name.")


def _check_size(wanted: WantedKey, option: str, size: int | None) -> None:
    fault = length_fault(wanted.type, wanted.format, size) if size is not None else ""
    if fault:
        raise RootOfTrustError(f"{wanted.name} cannot be made: {fault}.", f"Correct {option}.")


def check_list(asked: Sequence[WantedKey]) -> None:
    """What can be seen from the list as a whole.

    :raises RootOfTrustError: if a key, or a file, is there twice, or a master comes after its key or goes.
    """
    subjects = [wanted.subject for wanted in asked]
    for subject in subjects:
        if subjects.count(subject) > 1:
            raise RootOfTrustError(f"The key {subject} is asked for more than once.", "Leave one.")
    paths = [path for wanted in asked for path in [wanted.file, *(blob.path for blob in wanted.blobs)] if path is not None]
    for path in paths:
        if paths.count(path) > 1:
            raise RootOfTrustError(f"The file {path} is asked for more than one key.", "Give each its own.")
    _check_locks(asked)
    states = {wanted.name: (index, wanted.state) for index, wanted in enumerate(asked)}
    for index, wanted in enumerate(asked):
        at, state = states.get(wanted.master or "", (-1, PRESENT))
        if wanted.state == PRESENT and state != PRESENT:
            raise RootOfTrustError(f"{wanted.name} should be present, and its master {wanted.master} {state}.", "Correct one of them.")
        if wanted.state == PRESENT and at > index:
            raise RootOfTrustError(f"The master {wanted.master} comes after {wanted.name} in the list.", "Put the master first.")


def _check_locks(asked: Sequence[WantedKey]) -> None:
    """A PCR that one key locks is another one after that."""
    locked: dict[int, str] = {}
    for wanted in asked:
        for blob in wanted.blobs:
            for pcr in blob.seal.by_pcrs:
                if pcr in locked and wanted.state == PRESENT:
                    fact = f"{wanted.name} is sealed to the PCR {pcr}, which {locked[pcr]} before it extends (pcrlock)"
                    raise RootOfTrustError(f"{fact}: it could not be loaded.", f"Put {wanted.name} before {locked[pcr]}.")
        if wanted.seal.pcrlock is not None and wanted.state == PRESENT:
            locked[wanted.seal.pcrlock] = wanted.name


def locked_pcrs(asked: Sequence[WantedKey]) -> frozenset[int]:
    """The PCRs that are extended while the keys are there: their values now say nothing of those at the next boot."""
    return frozenset(wanted.seal.pcrlock for wanted in asked if wanted.seal.pcrlock is not None and wanted.state == PRESENT)


# --- the plan ----------------------------------------------------------------------------------------------------------


def plan_keys(found: Sequence[FoundKey]) -> list[Step]:
    """The steps for all the keys, in the order of the list.

    :raises RootOfTrustError: if one of them cannot be done; nothing has been done then.
    """
    check_list([one.wanted for one in found])
    steps: list[Step] = []
    made: set[str] = set()  # keyrings, and modules of the kernel
    coming: Coming = {}
    gone: set[str] = set()
    for one in found:
        if one.wanted.state == PRESENT:
            work = _plan_present(one, coming, made)
            coming[one.wanted.name] = _arrival(one, [step.action for step in work])
            steps += work
        else:
            steps += _plan_away(one, gone)
            gone.add(one.wanted.name)
    _refuse_extended(found, steps)
    return steps


def _arrival(one: FoundKey, actions: Sequence[str]) -> Arrival:
    if one.wanted.type != USER:
        return Arrival(NEW in actions or NEW_BLOB in actions)
    if ADD not in actions and CHANGE not in actions:
        return Arrival(False, None if one.current is None else len(one.current))
    return Arrival(one.given is None, one.wanted.random if one.given is None else len(one.given))


def _refuse_extended(found: Sequence[FoundKey], steps: Sequence[Step]) -> None:
    """Nothing is sealed to a PCR that a key has extended: at the next boot it has that value when it is too late to load anything.

    What is written as it came (EXPORT) was sealed before. A key that is there, even one that has expired, has come to its place since the
    boot.
    """
    extended = {one.wanted.seal.pcrlock: one.wanted.name for one in found if one.key is not None}
    for step in steps:
        if step.action not in (NEW_BLOB, SEAL, LOAD):
            continue
        one, blob = step.detail
        if step.action == LOAD:
            extended.setdefault(one.wanted.seal.pcrlock, one.wanted.name)
            continue
        for pcr in blob.wanted.seal.by_pcrs:
            if pcr in extended:
                raise RootOfTrustError(
                    f"{blob.path} would be sealed to the PCR {pcr}, which {extended[pcr]} has extended since the boot, or will have by then"
                    " (pcrlock): it could never be loaded.",
                    f"Leave pcrlock out, boot, and run it again; then give pcrlock. Or leave the PCR {pcr} out of pcrs.",
                )


def _plan_present(one: FoundKey, coming: Coming, made: set[str]) -> list[Step]:
    wanted = one.wanted
    if one.lacking:
        raise RootOfTrustError(f"{wanted.name}: {one.lacking}")
    steps = []
    if one.module and one.module not in made:
        made.add(one.module)
        sentence = f"Load the kernel's module {one.module}, which brings {wanted.type} keys."
        steps.append(Step(f"module {one.module}", LOAD_MODULE, sentence, {"state": ABSENT}, {"state": "loaded"}, one))
    if one.place.missing and wanted.keyring not in made:
        made.add(wanted.keyring)
        what = "/".join(one.place.missing)
        steps.append(Step(wanted.keyring, MAKE_KEYRINGS, f"Make the keyring {what} of {wanted.keyring}.", {}, {"state": PRESENT}, one))
    work = _plan_sealed(one, coming) if wanted.type in SEALED else _plan_payload(one)
    steps += work
    if one.key is not None and not one.key.dead and not any(step.action in (LOAD, ADD) for step in work):
        steps += _plan_attributes(one, one.key)
    return steps


def _plan_attributes(one: FoundKey, key: KernelKey) -> list[Step]:
    wanted, steps = one.wanted, []
    if wanted.permissions is not None and wanted.permissions != key.permissions:
        before, after = f"{key.permissions:08x}", f"{wanted.permissions:08x}"
        sentence = f"Give {wanted.subject} the permissions {after}."
        steps.append(Step(wanted.subject, PERMIT, sentence, {"permissions": before}, {"permissions": after}, one))
    expires = key.expires not in ("", FOREVER)
    if wanted.timeout is not None and bool(wanted.timeout) != expires:
        when = f"in {wanted.timeout} s" if wanted.timeout else "no more"
        before, after = key.expires or FOREVER, f"{wanted.timeout} s" if wanted.timeout else FOREVER
        steps.append(Step(wanted.subject, EXPIRE, f"Let {wanted.subject} expire {when}.", {"expires": before}, {"expires": after}, one))
    return steps


def _death(one: FoundKey) -> str:
    """What is said of a key that is there and cannot be used."""
    if one.key is None or not one.key.dead:
        return ""
    return "has been revoked" if one.key.state == REVOKED else "has expired"


# --- keys whose payload is given or made here --------------------------------------------------------------------------


def _plan_payload(one: FoundKey) -> list[Step]:
    wanted = one.wanted
    if one.key is None or one.key.dead:
        return _plan_add(one)
    if wanted.file is not None and not one.kept:
        return _plan_save(one)
    if one.given is None:
        return []
    _refuse_size(one, one.given)
    return _plan_change(one, one.given)


def _plan_add(one: FoundKey) -> list[Step]:
    wanted, death, steps = one.wanted, _death(one), []
    if one.given is not None:
        _refuse_size(one, one.given)
    elif wanted.random is None:
        source = wanted.payload_file or wanted.file
        fact = f"{source} is not there" if source else "no payload is given"
        raise RootOfTrustError(f"{wanted.subject} is to be made, and {fact}.", "Give payload, payload_file or random.")
    if wanted.file is not None and not one.kept:
        sentence = f"Write {wanted.random} random bytes to {wanted.file}, which is as safe as its disk."
        steps.append(Step(wanted.file, WRITE_FILE, sentence, {"state": ABSENT}, {"state": PRESENT, "mode": "0400"}, one))
    source = wanted.file or wanted.payload_file
    of = f"from {source}" if source else f"of {wanted.random} random bytes" if one.given is None else "of the payload given"
    before = {"state": one.key.state if one.key is not None else ABSENT}
    sentence = f"Make {wanted.subject} {of}" + (f": the one that is there {death}." if death else ".")
    return [*steps, Step(wanted.subject, ADD, sentence, before, {"state": PRESENT, **_attributes(wanted)}, one)]


def _attributes(wanted: WantedKey) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if wanted.permissions is not None:
        told["permissions"] = f"{wanted.permissions:08x}"
    if wanted.timeout:
        told["expires"] = f"{wanted.timeout} s"
    return told


def _refuse_size(one: FoundKey, payload: Secret) -> None:
    wanted = one.wanted
    source = wanted.file or wanted.payload_file
    if wanted.random is not None and len(payload) != wanted.random:
        raise RootOfTrustError(
            f"{source} has {len(payload)} bytes, and not {wanted.random}: it may be cut.", "Correct random, or the file."
        )
    fault = length_fault(wanted.type, "", len(payload))
    if fault:
        raise RootOfTrustError(f"{wanted.name}: {source or 'its payload'} does not fit: {fault}.", "Correct it.")


def _plan_save(one: FoundKey) -> list[Step]:
    """The file is gone, or never was; the key is there."""
    wanted = one.wanted
    if one.current is None:
        raise RootOfTrustError(
            f"{wanted.subject} is in the kernel, {wanted.file} is not there, and its payload cannot be read: it would be gone at boot.",
            "Put the file back, or have the key absent first.",
        )
    if len(one.current) != wanted.random:
        raise RootOfTrustError(f"{wanted.subject} has {len(one.current)} bytes, and not {wanted.random}.", "Correct random.")
    sentence = f"Keep the payload of {wanted.subject} in {wanted.file}, which is as safe as its disk."
    return [Step(str(wanted.file), SAVE_FILE, sentence, {"state": ABSENT}, {"state": PRESENT, "mode": "0400"}, one)]


def _plan_change(one: FoundKey, given: Secret) -> list[Step]:
    wanted, always = one.wanted, one.wanted.update_payload == "always"
    if one.current is not None:
        if one.current == given or wanted.update_payload == "on_create":
            return []
        if wanted.file is not None and not always:
            raise RootOfTrustError(
                f"{wanted.subject} is another key than {wanted.file} holds.",
                "Move the file away to keep the key of the kernel, or set update_payload: always to take that of the file.",
            )
    elif not always:
        return []  # nobody can tell; it is warned of
    _refuse_dependents(one, "changed")
    unread = one.current is None
    why = ", as it is each time, for it cannot be read" if unread else ""
    return [
        Step(
            wanted.subject,
            CHANGE,
            f"Change the payload of {wanted.subject}{why}.",
            {"payload": one.current},
            {"payload": given},
            one,
            unread,
        )
    ]


def _refuse_dependents(one: FoundKey, what: str, without: Iterable[str] = ()) -> None:
    left = [name for name in one.dependents if name not in set(without)]
    if left:
        raise RootOfTrustError(
            f"{one.wanted.subject} cannot be {what}: it is the master of {', '.join(left)}, which could not be kept or loaded any more.",
            "Make another master and have them re-wrapped under it (master, update), or have them absent first.",
        )


# --- keys that leave the kernel as blobs only --------------------------------------------------------------------------


def _plan_sealed(one: FoundKey, coming: Coming) -> list[Step]:
    if one.key is None or one.key.dead:
        return _plan_sealed_anew(one, coming)
    if one.burnt:
        return _plan_burnt(one, coming)
    if one.export is None:
        return _plan_unreadable(one, coming)
    _refuse_different(one, one.export, f"{one.wanted.subject}")
    if one.wanted.type == ENCRYPTED:
        return _plan_encrypted(one, one.export, coming)
    return _plan_trusted(one, one.export)


def _refuse_different(one: FoundKey, sealed: Sealed, what: str) -> None:
    """What no update can change."""
    wanted = one.wanted
    if sealed.kind != ENCRYPTED:
        return
    if sealed.format != wanted.format:
        raise RootOfTrustError(f"{what} has the format {sealed.format}, and not {wanted.format}.", _NOT_CHANGEABLE)
    if wanted.length is not None and sealed.length != wanted.length:
        raise RootOfTrustError(f"{what} has {sealed.length} bytes, and not {wanted.length}.", _NOT_CHANGEABLE)
    if wanted.master is not None and sealed.master.partition(":")[0] != wanted.master.partition(":")[0]:
        raise RootOfTrustError(
            f"{what} is kept under {sealed.master}, and no key can go from a {sealed.master.partition(':')[0]} master to another type.",
            "Make a new key under another name, and move to it what uses this one.",
        )


_NOT_CHANGEABLE = "That cannot be changed: correct the option, or make a key under another name."


def _need_master(one: FoundKey, coming: Coming, what: str) -> None:
    """Nothing is wrapped under a master that is not there or worth nothing."""
    wanted, master = one.wanted, one.master
    if wanted.master is None:
        return
    arrival = coming.get(wanted.master)
    if arrival is None and (master is None or master.fault):
        fault = master.fault if master is not None else "is not in the kernel"
        lost = "" if what == "loaded" else " The kernel would do it, and the key could never be kept."
        raise RootOfTrustError(
            f"{wanted.subject} cannot be {what}: its master {wanted.master} {fault}.{lost}",
            "Have the master present first, before it in the list.",
        )
    size = arrival.size if arrival is not None else certain(master).size
    if size is not None and size < LEAST_MASTER and what != "loaded":
        fact = f"its master {wanted.master} has no more than {size} bytes"
        raise RootOfTrustError(f"{wanted.subject} cannot be {what}: {fact}.", f"Take one of {LEAST_MASTER} or more.")


def blob_fault(blob: Blob) -> str:
    """What is told of a blob that cannot be used."""
    if blob.fault:
        return f"{blob.path}: {blob.fault.rstrip('.')}"
    pcrs = blob.wanted.pcrs
    values = "other values of " if blob.moved else ""
    sealed_to = f", which is sealed to {values}the PCRs {_listed(pcrs)}" if pcrs else ""
    if blob.sealed is not None and blob.sealed.policy and not pcrs:
        sealed_to = f", which is sealed by the policy {blob.sealed.policy}"
    return f"{blob.path}{sealed_to}: {blob.why.rstrip('.')}"


def _plan_sealed_anew(one: FoundKey, coming: Coming) -> list[Step]:
    """There is none in the kernel: it is loaded, and made only where no blob of it exists."""
    wanted = one.wanted
    there = [blob for blob in one.blobs if blob.exists]
    if there:
        return _plan_load(one, there, coming)
    if wanted.length is None:
        raise RootOfTrustError(f"{wanted.subject} is to be made, and its length is not given.", "Give length.")
    _need_master(one, coming, "made")
    death = _death(one)
    why = f": the one that is there {death}" if death else ""
    after = {"state": PRESENT, **_attributes(wanted)}
    before = {"state": one.key.state if one.key is not None else ABSENT}
    if not one.blobs:
        sentence = f"Make {wanted.subject} of {wanted.length} random bytes{why}. It is gone with the next boot."
        return [Step(wanted.subject, NEW, sentence, before, after, (one, None))]
    blob = one.blobs[0]
    sentence = f"Make {wanted.name} of {wanted.length} random bytes{why}, and write it to {blob.path}."
    kept = Step(blob.path, NEW_BLOB, sentence, {"state": ABSENT}, {"state": PRESENT, "mode": "0400"}, (one, blob))
    others = [_seal_step(one, other) for other in one.blobs[1:]]
    return [kept, Step(wanted.subject, LOAD, f"Load {wanted.subject} from {blob.path}.", before, after, (one, blob)), *others]


def _plan_load(one: FoundKey, there: Sequence[Blob], coming: Coming) -> list[Step]:
    wanted = one.wanted
    usable = [blob for blob in there if blob.sealed is not None and _may_load(one, blob, blob.sealed, coming)]
    if not usable:
        made = [blob for blob in there if blob.sealed is not None and _is_fresh(blob.sealed.master, coming)]
        if made:
            lost = _under_a_lost_master(made[0].path, certain(made[0].sealed).master)
            raise RootOfTrustError(f"{lost}.", "Put that back. A new master of random bytes would not load the blob.")
        told = "; ".join(blob_fault(blob) for blob in there)
        raise RootOfTrustError(
            f"{wanted.subject} is not in the kernel, and no blob of it can be loaded. {told}.",
            "Put back a copy of the blob or what it needs; only if the key is given up, move its blobs away and a new one is made.",
        )
    blob, main = usable[0], one.blobs[0]
    sealed = certain(blob.sealed)
    _refuse_different(one, sealed, blob.path)
    death = _death(one)
    sentence = f"Load {wanted.subject} from {blob.path}" + (f": the one that is there {death}." if death else ".")
    before = {"state": one.key.state if one.key is not None else ABSENT}
    load = Step(wanted.subject, LOAD, sentence, before, {"state": PRESENT, **_attributes(wanted)}, (one, blob))
    if sealed.master != (wanted.master or ""):
        _refuse_unasked(one, blob.path, sealed)
        _need_master(one, coming, "re-wrapped")
        return [_rewrap_blob_step(one, blob, sealed), load]
    _need_master(one, coming, "loaded")
    more = [_seal_step(one, other) for other in one.blobs if not other.exists]
    if wanted.type == TRUSTED and main.exists:
        more = [*_plan_trusted_main(one, main, _seal_step(one, main)), *_plan_alternatives(one), *more]
    return [load, *more]


def _is_fresh(master: str | None, coming: Coming) -> bool:
    """Whether the master is made of new random bytes in this run."""
    return master in coming and coming[master].fresh


def _under_a_lost_master(path: str, master: str | None) -> str:
    return f"{path} is kept under {master}, which is not in the kernel, nor is what it could be loaded from"


def _may_load(one: FoundKey, blob: Blob, sealed: Sealed, coming: Coming) -> bool:
    """Whether a blob loads, or will when the keys before it in the list, and the type, are there."""
    if blob.loads is not None:
        return blob.loads
    untried = one.module and one.master is not None and one.master.name == sealed.master and not one.master.fault
    return sealed.kind == TRUSTED or bool(untried) or (sealed.master in coming and not _is_fresh(sealed.master, coming))


def _refuse_unasked(one: FoundKey, what: str, sealed: Sealed) -> None:
    if not one.wanted.update:
        raise RootOfTrustError(
            f"{what} is kept under {sealed.master}, and not {one.wanted.master}.", "Set update: true to have it re-wrapped."
        )


def _rewrap_blob_step(one: FoundKey, blob: Blob, sealed: Sealed) -> Step:
    sentence = f"Write {blob.path} anew, under {one.wanted.master}, after the kernel has loaded what is written."
    return Step(blob.path, REWRAP_BLOB, sentence, {"master": sealed.master}, {"master": one.wanted.master}, (one, blob))


def _seal_step(one: FoundKey, blob: Blob) -> Step:
    pcrs = f" to the PCRs {_listed(blob.wanted.pcrs)}" if blob.wanted.pcrs else ""
    state = "damaged" if blob.exists else ABSENT
    sentence = f"Seal {one.wanted.name}{pcrs} into {blob.path}."
    return Step(blob.path, SEAL, sentence, {"state": state}, {"state": PRESENT, "mode": "0400"}, (one, blob))


def _plan_unreadable(one: FoundKey, coming: Coming) -> list[Step]:
    """The key is there, and the kernel does not give it out: its master is gone, or another one has taken its name."""
    wanted = one.wanted
    if wanted.update and wanted.type == ENCRYPTED and not any(blob.exists for blob in one.blobs):
        _need_master(one, coming, "re-wrapped")
        sentence = f"Re-wrap {wanted.subject} under {wanted.master}: the kernel does not give it out, for {one.fault}."
        steps = [Step(wanted.subject, REWRAP, sentence, {"master": None}, {"master": wanted.master}, (one, None))]
        return steps + [_export_step(one, blob) for blob in one.blobs]
    if wanted.master in coming and one.master is not None and one.master.fault:
        return _plan_readable_again(one, coming)
    raise RootOfTrustError(
        f"{wanted.subject} is in the kernel, which does not give it out: {one.fault}.",
        "Have its master present; if it is lost, and no blob is there, update: true re-wraps the key under another one.",
    )


def _plan_readable_again(one: FoundKey, coming: Coming) -> list[Step]:
    """Its master comes in this very run; with that the kernel gives it out, whatever the master is worth."""
    there, lacking = [blob.path for blob in one.blobs if blob.exists], [blob for blob in one.blobs if not blob.exists]
    if there and _is_fresh(one.wanted.master, coming):
        raise RootOfTrustError(
            f"{_under_a_lost_master(there[0], one.wanted.master)}. {one.wanted.subject} itself is in the kernel.",
            "Put that back. A new master of random bytes would not load the blob; to have one, move the blob away, and it is written anew.",
        )
    if lacking:
        _need_master(one, coming, "kept")
    return [_export_step(one, blob) for blob in lacking]


def _export_step(one: FoundKey, blob: Blob) -> Step:
    state = "damaged" if blob.exists else ABSENT
    sentence = f"Write {one.wanted.subject} to {blob.path}."
    return Step(blob.path, EXPORT, sentence, {"state": state}, {"state": PRESENT, "mode": "0400"}, (one, blob))


def _plan_burnt(one: FoundKey, coming: Coming) -> list[Step]:
    """EVM has taken the key and overwritten it in the kernel: only the blob has it, which nothing that the kernel gives out may replace."""
    wanted = one.wanted
    if not one.blobs:
        return []
    blob = one.blobs[0]
    if blob.sealed is None or blob.loads is False:
        fact = blob_fault(blob) if blob.exists else f"{blob.path} is not there"
        raise RootOfTrustError(
            f"{fact}, and {wanted.subject} has been taken by EVM, which has overwritten it in the kernel: it cannot be written anew.",
            "Put back a copy of the blob. Without one, EVM is without its key after the next boot.",
        )
    _refuse_different(one, blob.sealed, blob.path)
    if blob.sealed.master == wanted.master:
        return []
    _refuse_unasked(one, blob.path, blob.sealed)
    _need_master(one, coming, "re-wrapped")
    return [_rewrap_blob_step(one, blob, blob.sealed)]


def _plan_encrypted(one: FoundKey, export: Sealed, coming: Coming) -> list[Step]:
    wanted = one.wanted
    other_master = export.master != wanted.master
    if other_master:
        _refuse_unasked(one, wanted.subject, export)
        _need_master(one, coming, "re-wrapped")
    live = [
        Step(
            wanted.subject,
            REWRAP,
            f"Re-wrap {wanted.subject} under {wanted.master}.",
            {"master": export.master},
            {"master": wanted.master},
            (one, None),
        )
    ]
    if not one.blobs:
        return live if other_master else []
    blob = one.blobs[0]
    if not blob.exists:
        return [*(live if other_master else []), _export_step(one, blob)]
    if blob.same is False:
        raise RootOfTrustError(
            f"{blob.path} holds another key than {wanted.subject}: one of them would be lost.",
            "Move the blob away to keep the key of the kernel, or have that absent to load the blob.",
        )
    if blob.sealed is not None and blob.same is None:
        raise RootOfTrustError(
            f"Nobody can tell whether {blob.path} holds {wanted.subject}, for it does not load. {blob_fault(blob)}.",
            "Have its own master present; or move the blob away, and it is written anew from the key in the kernel.",
        )
    if blob.sealed is None:
        _refuse_broken_blob(one, blob)
        return [*(live if other_master else []), _export_step(one, blob)]
    if blob.sealed.master == wanted.master:
        return live if other_master else []
    if other_master:
        return [_rewrap_blob_step(one, blob, blob.sealed), *live]
    _refuse_unasked(one, blob.path, blob.sealed)
    return [_rewrap_blob_step(one, blob, blob.sealed)]


def _refuse_broken_blob(one: FoundKey, blob: Blob) -> None:
    """A file stands where the blob should, and it does not bring the key back. The key itself is in the kernel."""
    if not one.wanted.update:
        raise RootOfTrustError(
            f"The blob of {one.wanted.subject} would not bring it back after a boot. {blob_fault(blob)}.",
            "Put back a copy, or set update: true to have it written anew from the key in the kernel.",
        )


def _plan_trusted(one: FoundKey, export: Sealed) -> list[Step]:
    wanted = one.wanted
    steps: list[Step] = []
    if one.blobs:
        main = one.blobs[0]
        others = [blob.sealed.text for blob in one.blobs[1:] if blob.sealed is not None]
        differs = export.text in others or _sealed_differently(wanted.seal, export)
        differs = differs or main.policy_now not in (None, export.policy)
        anew = _seal_step(one, main) if differs else _export_step(one, main)
        steps += _plan_trusted_main(one, main, anew) if main.exists else [anew]
        steps += _plan_alternatives(one)
        steps += [_seal_step(one, blob) for blob in one.blobs[1:] if not blob.exists]
        if steps:
            _refuse_stranger(one)
    elif _sealed_differently(wanted.seal, export):
        raise RootOfTrustError(f"{wanted.subject} is sealed differently, and has no blob to be kept in.", "Give blob.")
    return steps


def _strangers(one: FoundKey) -> list[Blob]:
    """The blobs of a key that is in the kernel, where that was given out as none of them: they may hold another key."""
    return [] if any(blob.same for blob in one.blobs) else [blob for blob in one.blobs if blob.exists and not blob.fault]


def _refuse_stranger(one: FoundKey) -> None:
    """A key that somebody has made by hand takes no blob's place, and comes to stand beside none."""
    paths = ", ".join(blob.path for blob in _strangers(one))
    if paths:
        raise RootOfTrustError(
            f"Nobody can tell whether {paths} holds {one.wanted.subject}, for that was not loaded from it. One of them could be lost.",
            "Move it away to keep the key of the kernel, which is written anew then; or have that absent to load the blob.",
        )


def _plan_trusted_main(one: FoundKey, main: Blob, anew: Step) -> list[Step]:
    """What becomes of the key's own blob, which is there, when the key is in the kernel."""
    if not main.fault:
        return _plan_reseal(one, main)
    if any(blob.exists and not blob.fault for blob in one.blobs[1:]) and not one.wanted.update:
        return []  # it is warned of: an alternative brings the key back
    _refuse_broken_blob(one, main)
    return [anew]


def _plan_alternatives(one: FoundKey) -> list[Step]:
    """An alternative that is sealed to PCRs by this collection is sealed anew as the key's own blob is."""
    blobs = [blob for blob in one.blobs[1:] if blob.exists and not blob.fault and blob.wanted.seal.by_pcrs]
    return [step for blob in blobs for step in _plan_reseal(one, blob)]


def _sealed_differently(seal: SealOptions, sealed: Sealed) -> bool:
    """Whether a blob tells that it is sealed differently from what is asked for: values of PCRs aside, which change."""
    parent = sealed.parent is not None and seal.keyhandle is not None and int(seal.keyhandle, 16) != sealed.parent
    policy = sealed.policy is not None and seal.policy is not None and seal.policy != sealed.policy
    return parent or policy or (sealed.policy == "" and bool(seal.by_pcrs))


def _plan_reseal(one: FoundKey, blob: Blob) -> list[Step]:
    wanted, sealed, seal = one.wanted, certain(blob.sealed), blob.wanted.seal
    differs = _sealed_differently(seal, sealed)
    if differs and not wanted.update:
        parent = f"its parent is {sealed.parent:#x}, " if sealed.parent is not None else ""
        raise RootOfTrustError(
            f"{blob.path} is sealed differently from what is asked for: {parent}its policy {sealed.policy or 'none'}.",
            "Set update: true to have it sealed anew.",
        )
    if not wanted.update or not (differs or blob.moved):
        return []
    why = f": the PCRs {_listed(blob.wanted.pcrs)} have other values" if blob.moved else ""
    handle = int(seal.keyhandle, 16) if seal.keyhandle is not None else sealed.parent
    before = {"parent": sealed.parent and f"{sealed.parent:#x}", "policy": sealed.policy}
    after = {"parent": handle and f"{handle:#x}", "policy": seal.policy or blob.policy_now or sealed.policy}
    sentence = f"Seal {wanted.name} anew into {blob.path}, after the kernel has loaded what is written{why}."
    return [Step(blob.path, SEAL, sentence, before, after, (one, blob))]


def _listed(pcrs: Sequence[int]) -> str:
    return ", ".join(str(pcr) for pcr in pcrs)


# --- keys that go ------------------------------------------------------------------------------------------------------


def _plan_away(one: FoundKey, gone: set[str]) -> list[Step]:
    wanted, key = one.wanted, one.key
    steps = []
    files = [wanted.file] if wanted.file is not None and one.kept else []
    files += [blob.path for blob in one.blobs if blob.exists]
    if key is not None and not (wanted.state == REVOKED and key.dead):
        if not key.dead:
            _refuse_dependents(one, "taken away", gone)
        action, verb = (REVOKE, "Revoke") if wanted.state == REVOKED else (UNLINK, "Take")
        where = "" if wanted.state == REVOKED else f" out of {wanted.keyring}"
        subject = wanted.subject if wanted.state == REVOKED else wanted.name
        steps.append(Step(wanted.subject, action, f"{verb} {subject}{where}.", {"state": key.state}, {"state": wanted.state}, one))
    if files and wanted.remove_files:
        _refuse_dependents(one, "given up", gone)
        sentence = f"Remove {', '.join(files)}: the key cannot come back."
        steps.append(Step(files[0], REMOVE_FILES, sentence, {"state": PRESENT}, {"state": ABSENT}, one))
    return steps


# --- the result --------------------------------------------------------------------------------------------------------


def report_keys(found: Sequence[FoundKey], to_come: Sequence[Step]) -> dict[str, Any]:
    """The result of kernel_key: what holds, after the steps to come."""
    told, warnings = [], []
    for one in found:
        wanted, key = one.wanted, one.key
        will = {name: value for step in to_come if step.subject == wanted.subject for name, value in step.after.items()}
        anew = any(step.subject == wanted.subject and step.action in (ADD, NEW, LOAD) for step in to_come)
        now = described(key) if key is not None and not anew else {}
        state = will.get("state", ABSENT if key is None else PRESENT if not key.dead else key.state)
        told.append(
            {
                "description": wanted.description,
                "type": wanted.type,
                "keyring": wanted.keyring,
                "state": state,
                "serial": now.get("serial") if state != ABSENT else None,
                "permissions": will.get("permissions", now.get("permissions")) if state != ABSENT else None,
                "expires": will.get("expires", now.get("expires")) if state != ABSENT else None,
                "master": will.get("master", wanted.master) if wanted.type == ENCRYPTED else None,
                "blobs": [blob.path for blob in wanted.blobs],
                "file": wanted.file,
            }
        )
        warnings += _warnings(one, to_come)
    return {"keys": told, "warnings": warnings}


def _warnings(one: FoundKey, to_come: Sequence[Step]) -> list[str]:
    wanted, name = one.wanted, one.wanted.subject
    told = []
    if wanted.state != PRESENT:
        left = [wanted.file] if wanted.file is not None and one.kept else []
        left += [blob.path for blob in one.blobs if blob.exists]
        if left and not wanted.remove_files:
            told.append(f"{', '.join(left)} still there: {wanted.name} can be loaded from it (remove_files).")
        return told
    if wanted.keyring.startswith("@s"):
        told.append(f"{name}: the session keyring is that of Ansible's connection. The key is gone when that is closed.")
    if wanted.payload_file is not None and one.given is not None and one.given.reveal().endswith(b"\n"):
        told.append(f"{wanted.payload_file} ends in an end of line, which is a part of the key.")
    if one.exposed:
        told.append(f"{wanted.file} can be read by others than its owner, and so can the key.")
    alive = one.key is not None and not one.key.dead
    unread = wanted.type in (USER, LOGON) and alive and one.given is not None and one.current is None
    if unread and wanted.update_payload == "changed":
        why = "that of a logon key cannot be read" if wanted.type == LOGON else "its permissions keep this process from reading it"
        told.append(f"{name}: nobody can tell whether its payload is the one asked for, for {why} (update_payload).")
    return told + (_warnings_of_blobs(one) if alive and wanted.type == TRUSTED else [])


def _warnings_of_blobs(one: FoundKey) -> list[str]:
    """Of a trusted key that is in the kernel."""
    wanted, told = one.wanted, []
    strangers = _strangers(one)
    for blob in one.blobs:
        if blob in strangers:
            subject = wanted.subject
            told.append(f"{blob.path}: it is not the blob that {subject} was loaded from, and nobody can tell whether it is the same key.")
        if blob.exists and blob.fault and not wanted.update:
            told.append(f"{blob_fault(blob)}.")
        if blob.moved and not wanted.update:
            told.append(
                f"{blob.path}: it is sealed to other values of the PCRs {_listed(blob.wanted.pcrs)} than they have now. If they are so at"
                " the next boot, it does not load; update: true has it sealed anew."
            )
    return told
