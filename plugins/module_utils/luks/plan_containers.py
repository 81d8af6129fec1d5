# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which devices get a LUKS header, which lose it, and which are refused. Pure."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import (
    ABSENT,
    LUKS1,
    REENCRYPT,
    Device,
    Header,
    Holder,
    PbkdfChoice,
    Trace,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_encryption import refuse_vanishing_name

CLOSE, WIPE, FILL, FORMAT, CHANGE, DESTROY = "close", "wipe", "fill", "format", "change", "destroy"
NONE, RANDOM = "none", "random"  # how a device is filled
CHANGEABLE = ("label", "subsystem", "uuid")
TABLES = ("gpt", "PMBR", "dos", "sun", "sgi", "bsd", "mac", "atari", "minix")  # as wipefs(8) has them
LUKS = "crypto_LUKS"  # blkid's name for either type

# A header that is being made has a UUID that begins so, and gets its own when it is proven. Whatever a cut leaves, be it a header
# without keyslots or a torn one of which only blkid knows the UUID, it is known as never having been in use.
UNFINISHED = "726f6f74-6f66-8"
FILL_NAME = "rootoftrust-fill-"  # of the mapping through which a device is filled

# Bytes that a header takes, as luksFormat lays it out, and the least of data
ROOM = {"luks1": 2 * 1024 * 1024, "luks2": 16 * 1024 * 1024}
LEAST = 4096

ELSEWHERE = "Use luks_encryption: it re-encrypts or converts with the data kept."
BY_CHANGE = "Name it in change."
BY_KEYSLOT = "Use luks_encryption to change the key derivation of all keyslots, luks_keyslot for one."
ANY_PBKDF = PbkdfChoice()


@dataclass(frozen=True)
class WantedContainer:
    """A LUKS header as it is asked for; None is no opinion.

    :param device: as it was asked for.
    :param wipe: signature types and UUIDs that may be destroyed.
    """

    device: str
    header: str | None
    state: str
    type: str
    cipher: str | None = None
    key_bits: int | None = None
    hash: str | None = None
    sector_size: int | None = None
    label: str | None = None
    subsystem: str | None = None
    uuid: str | None = None
    pbkdf: PbkdfChoice = ANY_PBKDF
    wipe: tuple[str, ...] = ()
    fill: str = NONE
    change: tuple[str, ...] = ()


@dataclass(frozen=True)
class Filled:
    """A device that this run has filled with random bytes, or the rest of it that a run before had left."""

    mebibytes: float
    seconds: float


@dataclass(frozen=True)
class Container:
    """A device, and what is asked of it.

    :param traces: all signatures on it and on its partitions; looked for only where something is to be made or destroyed.
    :param claimed: the kernel gives it to nobody else.
    :param header_exists: there is a file at the path of the detached header.
    :param header_folder: there is a folder that it can be in.
    :param filled: bytes that runs that were cut have filled.
    :param fill: what this run has filled.
    :param secret: the first one; looked for only where a header is to be made.
    """

    wanted: WantedContainer
    device: Device
    traces: tuple[Trace, ...] = ()
    claimed: bool = False
    header_exists: bool = False
    header_folder: bool = True
    filled: int = 0
    fill: Filled | None = None
    secret: Secret | None = None

    @property
    def header_path(self) -> str:
        return self.wanted.header or self.device.path

    @property
    def finished(self) -> Header | None:
        """The header, unless it was never finished."""
        header = self.device.header
        return None if header is None or unfinished(header.uuid) else header

    @property
    def rests(self) -> tuple[Holder, ...]:
        """Mappings that a run has left that was cut while it filled."""
        return tuple(holder for holder in self.device.holders if holder.mapper.startswith(FILL_NAME))

    @property
    def partitions(self) -> tuple[str, ...]:
        return tuple(holder.name for holder in self.device.holders if holder.partition)


def unfinished(uuid: str) -> bool:
    return uuid.lower().startswith(UNFINISHED)


def wanted_container(params: Mapping[str, Any]) -> WantedContainer:
    """What luks_container is asked for.

    :raises RootOfTrustError: if the parameters do not go together.
    """
    device, kind = params["device"], params["type"]
    wanted = WantedContainer(
        device=device,
        header=params["header"],
        state=params["state"],
        type=kind,
        cipher=params["cipher"],
        key_bits=params["key_bits"],
        hash=params["hash"],
        sector_size=params["sector_size"],
        label=params["label"],
        subsystem=params["subsystem"],
        uuid=params["uuid"],
        pbkdf=PbkdfChoice(**(params.get("pbkdf") or {})),
        wipe=tuple(params["wipe"] or ()),
        fill=params["fill"],
        change=tuple(params["change"] or ()),
    )
    if params["passphrase"] is not None and params["key_file"] is not None:
        raise RootOfTrustError(f"{device}: both passphrase and key_file are given.", "Leave one.")
    _check_values(wanted)
    for name in wanted.change:
        if getattr(wanted, name) is None:
            raise RootOfTrustError(f"{device}: {name} is to be changed, but not to what.", f"Give {name} too.")
    return wanted


def _check_values(wanted: WantedContainer) -> None:
    device, pbkdf = wanted.device, wanted.pbkdf
    if wanted.type == LUKS1:
        for name in ("label", "subsystem", "sector_size"):
            if getattr(wanted, name):
                raise RootOfTrustError(f"{device}: LUKS1 has no {name}.", f"Leave {name} out, or use type luks2.")
        if pbkdf.type not in (None, "pbkdf2") or pbkdf.memory or pbkdf.threads:
            raise RootOfTrustError(f"{device}: LUKS1 has no key derivation but pbkdf2.", "Correct pbkdf, or use type luks2.")
    if wanted.header is not None and not posixpath.isabs(wanted.header):
        raise RootOfTrustError(f"The header {wanted.header} is not an absolute path.", "Give its whole path.")
    if wanted.uuid is not None and (not re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", wanted.uuid, re.IGNORECASE)):
        raise RootOfTrustError(f"{device}: {wanted.uuid} is not a UUID.", "Give one as uuidgen(1) prints it, or leave it out.")
    if wanted.uuid is not None and unfinished(wanted.uuid):
        raise RootOfTrustError(f"{device}: UUIDs that begin with {UNFINISHED} mean headers that are being made.", "Choose another.")
    if wanted.key_bits is not None and (wanted.key_bits <= 0 or wanted.key_bits % 8):
        raise RootOfTrustError(f"{device}: a key cannot have {wanted.key_bits} bits.", "Give a multiple of 8; 512 for aes-xts-plain64.")


# --- the plan --------------------------------------------------------------------------------------------------------


def plan_containers(containers: Sequence[Container]) -> list[Step]:
    """The steps that are missing.

    :raises RootOfTrustError: if a device is asked for twice, is not free, or may not be changed.
    """
    paths = [container.device.path for container in containers]
    for container in containers:
        if paths.count(container.device.path) > 1:
            raise RootOfTrustError(f"{container.device.path} is asked for more than once.", "Leave one.")
    return [step for container in containers for step in _plan(container)]


def _plan(container: Container) -> list[Step]:
    if container.wanted.state == ABSENT:
        return _plan_absent(container)
    if container.finished is not None:
        return _plan_changes(container, container.finished)
    return _plan_format(container)


def _plan_format(container: Container) -> list[Step]:
    refuse_unless_free(container)
    wanted, path = container.wanted, container.device.path
    if container.secret is None:
        raise RootOfTrustError(f"{path} is to get a LUKS header, and no secret is given.", "Give passphrase or key_file.")
    steps = [
        Step(
            path,
            CLOSE,
            f"Close the mapping {rest.mapper}, left by a run that was cut.",
            {"mapping": rest.mapper},
            {"mapping": None},
            rest.mapper,
        )
        for rest in container.rests
    ]
    named = _to_be_named(container)
    if named:
        found = _found(named)
        sentence = f"Wipe all signatures, as named: {_joined(found)}."
        steps.append(Step(path, WIPE, sentence, {"signatures": found}, {"signatures": []}, container))
    if wanted.fill == RANDOM and container.filled < container.device.size:
        rest = "the rest of " if container.filled else ""
        steps.append(Step(path, FILL, f"Fill {rest}{path} with random bytes.", {"fill": NONE}, {"fill": RANDOM}, container))
    where = f", with its header in {wanted.header}" if wanted.header else ""
    again = ""
    if container.device.header or _own_luks(container.device):
        again = " anew: a run that made its header was cut"
    steps.append(
        Step(
            subject=path,
            action=FORMAT,
            sentence=f"Format {path} as {wanted.type.upper()}{where}{again}, and prove its first secret.",
            before={"luks": None},
            after={"luks": wanted.type, **_asked(wanted)},
            detail=container,
        )
    )
    return steps


def _asked(wanted: WantedContainer) -> dict[str, Any]:
    fields = {name: getattr(wanted, name) for name in ("cipher", "key_bits", "sector_size", "label", "subsystem", "uuid", "header")}
    return {name: value for name, value in fields.items() if value is not None}


def _plan_changes(container: Container, header: Header) -> list[Step]:
    path, steps = container.device.path, []
    for drift in drifts(container):
        field, old, new = drift["field"], drift["is"], drift["asked"]
        if field not in container.wanted.change:
            continue
        if container.device.read_only:
            raise RootOfTrustError(f"{path} is read-only.", f"Its {field} can be changed when it is not.")
        if field != "uuid" and header.type == LUKS1:
            raise RootOfTrustError(f"The header of {path} is of type LUKS1, which has no {field}.", "Convert it by luks_encryption.")
        if field == "uuid":
            if container.device.uses:
                raise RootOfTrustError(
                    f"{path} is {_joined(container.device.uses)}: the open volume would keep the old UUID.",
                    "Close it before its UUID is changed.",
                )
            refuse_vanishing_name(container.wanted.device, container.device.path)
        sentence = f"Change the {field} of {container.header_path} from {old or 'nothing'} to {new or 'nothing'}."
        steps.append(Step(path, CHANGE, sentence, {field: old}, {field: new}, (container, field)))
    return steps


def drifts(container: Container) -> list[dict[str, Any]]:
    """In what a header is not as it is asked for: field, is, asked, and how that is changed."""
    wanted, header = container.wanted, container.finished
    if header is None or wanted.state == ABSENT:
        return []
    told: list[dict[str, Any]] = []
    for field in ("type", "cipher", "key_bits", "sector_size", *CHANGEABLE):
        found, asked = getattr(header, field), getattr(wanted, field)
        if field == "uuid" and asked is not None:
            found, asked = found.lower(), asked.lower()
        if asked is not None and found != asked:
            told.append({"field": field, "is": found, "asked": asked, "how": BY_CHANGE if field in CHANGEABLE else ELSEWHERE})
    kinds = sorted({slot.pbkdf.type for slot in header.keyslots if slot.pbkdf is not None and slot.kind != REENCRYPT})
    if wanted.pbkdf.type is not None and [kind for kind in kinds if kind != wanted.pbkdf.type]:
        told.append({"field": "pbkdf", "is": ", ".join(kinds), "asked": wanted.pbkdf.type, "how": BY_KEYSLOT})
    return told


def _plan_absent(container: Container) -> list[Step]:
    device, at = container.device, container.header_path
    uuid = device.header.uuid if device.header is not None else _own_luks(device) if container.wanted.header is None else None
    if uuid is None:
        return []
    _refuse_in_use(container)
    if uuid.lower() not in {word.lower() for word in container.wanted.wipe}:
        named = f", which wipe ({', '.join(container.wanted.wipe)}) does not name" if container.wanted.wipe else ""
        raise RootOfTrustError(f"{at} has a LUKS header with UUID {uuid}{named}.", f"If all data in it are to be lost, set wipe: {uuid}.")
    refuse_vanishing_name(container.wanted.device, container.device.path)
    way = "and its file" if container.wanted.header else "and its signature"
    sentence = f"Destroy the LUKS header of {device.path} with UUID {uuid}, as named: all keyslots {way}."
    return [Step(device.path, DESTROY, sentence, {"luks": uuid}, {"luks": None}, container)]


# --- what is refused -------------------------------------------------------------------------------------------------


def refuse_unless_free(container: Container) -> None:
    """Nothing is formatted but what is free, large enough, and shows nothing that was not named.

    :raises RootOfTrustError: with what was found.
    """
    device, wanted = container.device, container.wanted
    _refuse_in_use(container)
    room = LEAST + (0 if wanted.header else ROOM[wanted.type])
    if device.size < room:
        raise RootOfTrustError(
            f"{device.path} is too small: it has {device.size} bytes, and {room} are needed for the header and some data.",
            "Use a larger one, or a detached header.",
        )
    if wanted.header is not None:
        if not container.header_folder:
            raise RootOfTrustError(
                f"There is no folder {posixpath.dirname(wanted.header)} for the header {wanted.header}.", "Make it, or correct header."
            )
        if container.header_exists and device.header is None:
            raise RootOfTrustError(f"{wanted.header} is there, and is no LUKS header.", "Remove it, or correct header.")
    named = _to_be_named(container)
    strange = [trace for trace in named if not _named(trace, wanted.wipe)]
    if strange:
        but = f", which wipe ({', '.join(wanted.wipe)}) does not name" if wanted.wipe else ""
        words = ", ".join(dict.fromkeys(_name(trace) for trace in strange))
        raise RootOfTrustError(f"{_joined(_found(strange))}{but}.", f"If that is to be lost, name it in wipe: {words}.")
    _refuse_unseen(container)
    if container.partitions and not [trace for trace in named if trace.type in TABLES]:
        raise RootOfTrustError(
            f"{device.path} has the partitions {', '.join(container.partitions)}, but no partition table that wipefs(8) sees.",
            "Remove them with a program that knows them.",
        )
    if named:
        refuse_vanishing_name(container.wanted.device, container.device.path)


def _refuse_in_use(container: Container) -> None:
    device, names = container.device, {rest.name for rest in container.rests}
    for claim in device.claims:
        remedy = "Run luks_encryption until that has ended, or remove its note if all data are to be lost."
        raise RootOfTrustError(f"{device.path} is {claim}.", remedy)
    if device.read_only:
        raise RootOfTrustError(f"{device.path} is read-only.", "Make it writable, or correct device.")
    for mount in device.mounts:
        raise RootOfTrustError(f"{device.path} is mounted at {mount.target}.", "Unmount it, if it is the right device.")
    for swap in device.swaps:
        raise RootOfTrustError(f"{device.path} is in use as swap ({swap}).", "Turn that off with swapoff(8), if it is the right device.")
    held = [holder for holder in device.holders if not holder.partition and holder.name not in names]
    if names:  # a file is filled through a loop device
        held = [holder for holder in held if not holder.name.startswith("loop")]
    if held:
        told = _joined([holder.mapper or holder.name for holder in held])
        raise RootOfTrustError(f"{device.path} is held by {told}.", "Close or stop that, if it is the right device.")
    if container.claimed and not names:
        raise RootOfTrustError(
            f"{device.path} is in use: the kernel lets nobody else have it.",
            "Look for a mount in another mount namespace, a file system over several devices, or a program that has it to itself.",
        )


def _refuse_unseen(container: Container) -> None:
    """blkid knows signatures that wipefs cannot remove."""
    device = container.device
    signature = device.signature
    if signature is None or _own_luks(device) is not None:
        return
    seen = {trace.type for trace in container.traces if trace.path == device.path}
    for kind in (signature.table, signature.type):
        if kind and kind not in seen:
            raise RootOfTrustError(
                f"{device.path} has {signature}, which wipefs(8) does not see.", "Remove it with a program that knows it."
            )


def _own_luks(device: Device) -> str | None:
    """The UUID of a LUKS header on the device that cryptsetup cannot use."""
    signature = device.signature
    return signature.uuid if signature is not None and signature.type == LUKS else None


def _to_be_named(container: Container) -> list[Trace]:
    """All signatures but those of a header of ours that was never finished."""
    return [trace for trace in container.traces if not (trace.type == LUKS and unfinished(trace.uuid))]


def _name(trace: Trace) -> str:
    return "gpt" if trace.type == "PMBR" else trace.uuid or trace.type


def _named(trace: Trace, wipe: Sequence[str]) -> bool:
    words = {word.lower() for word in wipe}
    kind = "gpt" if trace.type == "PMBR" else trace.type  # the protective part of a GPT
    return kind.lower() in words or bool(trace.uuid and trace.uuid.lower() in words)


def _found(traces: Sequence[Trace]) -> list[str]:
    """In words, what each device has; the copies of a partition table, or of a LUKS header, are one."""
    found: dict[str, list[str]] = {}
    for trace in traces:
        words = f"a partition table ({_name(trace)})" if trace.type in TABLES else str(trace)
        if words not in found.setdefault(trace.path, []):
            found[trace.path].append(words)
    return [f"{path} has {_joined(words)}" for path, words in found.items()]


def _joined(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


# --- the programs' arguments, and the result -------------------------------------------------------------------------


def format_options(wanted: WantedContainer) -> list[str]:
    """Options of luksFormat; those of the key derivation, of the header's place and of the UUID are not among them."""
    named = {
        "type": wanted.type,
        "cipher": wanted.cipher,
        "key-size": wanted.key_bits,
        "hash": wanted.hash,
        "sector-size": wanted.sector_size,
        "label": wanted.label,
        "subsystem": wanted.subsystem,
    }
    return [f"--{name}={value}" for name, value in named.items() if value is not None]


def report_containers(containers: Sequence[Container], to_come: Sequence[Step]) -> dict[str, Any]:
    """The result of luks_container: what holds, after the steps to come."""
    told, warnings = [], []
    for container in containers:
        path, header = container.device.path, container.finished
        own = [step for step in to_come if step.subject == path]
        made, gone = (any(step.action == action for step in own) for action in (FORMAT, DESTROY))
        changed = {field: value for step in own if step.action == CHANGE for field, value in step.after.items()}
        uuid = container.wanted.uuid if made else None if header is None or gone else changed.get("uuid", header.uuid)
        told.append(
            {
                "device": container.wanted.device,
                "path": path,
                "header_path": container.header_path,
                "luks": made or (header is not None and not gone),
                "type": container.wanted.type if made else None if header is None or gone else header.type,
                "uuid": uuid,
                "drift": [drift for drift in drifts(container) if drift["field"] not in changed],
                "fill": _fill(container.fill),
            }
        )
        if container.wanted.state != ABSENT and header is not None and container.wanted.header and container.device.signature:
            warnings.append(
                f"{path} has {container.device.signature}, though {container.wanted.header} is its LUKS header: it is not encrypted, "
                "or not all of it."
            )
    return {"containers": told, "warnings": warnings}


def _fill(filled: Filled | None) -> dict[str, Any] | None:
    if filled is None:
        return None
    speed = filled.mebibytes / filled.seconds if filled.seconds else 0.0
    return {"mebibytes": round(filled.mebibytes), "seconds": round(filled.seconds, 1), "mib_per_second": round(speed, 1)}
