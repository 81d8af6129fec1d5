# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a LUKS2 volume comes to be a plain file system again, with its data kept. Pure.

While a volume is decrypted its first bytes are plain text long before its last ones are, so a boot could take it for the file system that
it is not yet, and mount or repair it. Therefore the file system is hidden for as long as the work takes: the one sector with the magic of
its superblock is kept in the note on the host, and a marker is in its place. The order, and what a cut leaves at each point:

1. A backup of the header is made, and a note written (stage ``prepared``). The file system is unmounted; its sector is noted and then
   replaced, which is one write of 512 bytes. Cut here: it is the file system that it was, or it is hidden, and the next run goes on.
2. The volume is closed, and the digest of its first encrypted bytes is noted (stage ``stashed``). cryptsetup copies its header to a file,
   removes it from the device and moves the first encrypted bytes to its place. Cut here: either the file's header is right and the moved
   bytes have the digest, or the bytes at their old place have it, and the header is put back from its backup.
3. It is proven: the secret opens the header in the file, and through it the marker is read (stage ``proven``). From here on cryptsetup's
   own notes in that file are what survives a cut.
4. The work goes on in a unit of systemd. When it has ended the sector is put back, and the file system is mounted from the device itself.

With a detached header nothing is moved, and 2 shrinks to the beginning of the work in that header.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import plan_encryption as plan
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import LUKS2
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.parse import SUPERBLOCKS
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_encryption import DECRYPT, PLAIN, Job, Note, Situation, Wish

SECTOR = 512  # bytes, the least that a disk writes whole
EXPORTS = (2, 5)  # cryptsetup that decrypts a volume whose header is on it
# Of the sector: what it is
HIDDEN, SHOWN, OTHER = "hidden", "shown", "other"
# Of the first encrypted bytes: where they are
HERE, MOVED, BOTH, NOWHERE = "here", "moved", "both", "nowhere"

# What is done, beside what an encryption does too
HIDE, CLOSE, DIGEST, RETURN, BEGIN, TRY, WORK = "hide", "close", "digest", "return_header", "begin", "try", "work"
SHOW, MOUNT_PLAIN, GROW_PLAIN, END = "show", "mount_plain", "grow_plain", "end"


def plan_volumes(situations: Sequence[tuple[Situation, Wish]]) -> list[Step]:
    """The steps that are missing, of each volume.

    :raises RootOfTrustError: if what is asked for is refused.
    """
    plan.refuse_double_names(situations)
    return [step for situation, wish in situations for step in plan_volume(situation, wish)]


def plan_volume(situation: Situation, wish: Wish) -> list[Step]:
    """The steps of one volume, to be encrypted or to be plain.

    :raises RootOfTrustError: if what is asked for is refused; any change is where a copy of the volume is open.
    """
    steps = _plan_either(situation, wish)
    if steps:
        plan.refuse_twin(situation.device)
    return steps


def _plan_either(situation: Situation, wish: Wish) -> list[Step]:
    note = situation.note
    if wish.state == PLAIN:
        if note is not None and note.mode != DECRYPT:
            raise RootOfTrustError(f"The encryption of {wish.device} has not ended.", "Run with state: encrypted until it has.")
        return _plan(situation, wish)
    if note is not None and note.mode == DECRYPT:
        raise RootOfTrustError(f"{wish.device} is being decrypted.", "Run with state: plain until that has ended.")
    return plan.plan_encryption(situation, wish)


def _plan(situation: Situation, wish: Wish) -> list[Step]:
    note, header = situation.note, situation.device.header
    if note is None:
        if plan.is_plain(header):
            return []
        _preflight(situation, wish)
        return _begin(situation, wish, _new_note(situation, wish))
    if note.stage == plan.PROVEN:
        return _go_on(situation, wish, note)
    begun = header is not None and header.work is not None
    if header is not None and header.uuid != note.luks_uuid:
        raise RootOfTrustError(f"{situation.device.path} is not the volume that {note.name} is about.", f"Give {note.device}.")
    if situation.on_device or (not note.offset and not begun):
        _preflight(situation, wish)
        return _begin(situation, wish, note)
    if begun and (not note.offset or situation.stash in (MOVED, BOTH)):
        plan.check_opens(situation, wish)
        return _steps(situation, wish, note, (TRY, WORK))
    if situation.stash not in (HERE, BOTH) or not note.backup:
        raise RootOfTrustError(
            f"{wish.device} has no LUKS header, and its first encrypted bytes are neither where they were nor where they should be.",
            f"Do not write to it. The header is in {note.backup or 'no backup'} and in {note.header or 'no file'}: ask somebody who knows.",
        )
    plan.need_secret(wish, "unlocks the volume")
    return _steps(situation, wish, note, (RETURN, plan.OPEN, HIDE, CLOSE, DIGEST, BEGIN, TRY, WORK))


def _begin(situation: Situation, wish: Wish, note: Note) -> list[Step]:
    """From a volume that is encrypted to the work in the background."""
    device = situation.device
    note = replace(note, stage=plan.PREPARED, stash=None, mount=device.mounts[0] if device.mounts else note.mount)
    actions: list[str] = [plan.BACK_UP]
    actions += [] if note == situation.note else [plan.NOTE]
    if device.mounts:
        plan.check_busy(situation, wish)
        actions += [plan.STOP] if note.units else []
        actions += [plan.TERM] if situation.processes else []
        actions += [plan.UNMOUNT]
    actions += [plan.OPEN] if device.mapping is None else []
    return _steps(situation, wish, note, (*actions, HIDE, CLOSE, *((DIGEST,) if note.offset else ()), BEGIN, TRY, WORK))


def _go_on(situation: Situation, wish: Wish, note: Note) -> list[Step]:
    """The header is in its file, and proven."""
    header, device = situation.device.header, situation.device
    if situation.background.active:
        return []
    if header is not None and header.work is not None and not situation.over:
        plan.check_opens(situation, wish)
        return _steps(situation, wish, note, (TRY, WORK))
    if situation.sector == OTHER or (header is None and situation.sector != SHOWN):
        raise RootOfTrustError(
            f"{device.path} is not what the note {note.name}.json is about, or its header {note.header} is gone.",
            "Correct device. Do not write to it before you know.",
        )
    actions = [plan.FINISH] if situation.over else []
    actions += [SHOW] if situation.sector == HIDDEN else []
    actions += [MOUNT_PLAIN] if note.mount is not None and not device.mounts else []
    actions += [plan.START] if situation.down_units else []
    actions += [GROW_PLAIN] if note.offset and plan.grows(note) else []
    # Ordered for their own sake: whether the work has ended already when the others are done is a matter of chance.
    return [replace(step, once=True) for step in _steps(situation, wish, note, (*actions, END))]


def _preflight(situation: Situation, wish: Wish) -> None:
    """Refuse what cannot go well, before anything is changed."""
    device, header = situation.device, situation.device.header
    path = device.path
    plan.refuse_vanishing_name(wish.device, path)
    if header is None or header.type != LUKS2:
        raise RootOfTrustError(f"{path} has a LUKS1 header.", "Convert it first: type: luks2.")
    if header.work is not None:
        raise RootOfTrustError(f"A reencryption of {path} has not ended.", "Run with state: encrypted until it has.")
    if not device.block or device.read_only:
        raise RootOfTrustError(f"{path} is {'read-only' if device.block else 'no block device'}.", "Give a device that can be written to.")
    if wish.header is None and situation.version < EXPORTS:
        raise RootOfTrustError(
            f"This cryptsetup ({'.'.join(str(part) for part in situation.version)}) decrypts no volume whose header is on it.",
            "It takes 2.5; or copy the data to a new file system.",
        )
    if wish.header is not None and header.data_offset:
        raise RootOfTrustError(f"The data of {path} does not begin at its start.", "Copy the data to a new file system.")
    _check_content(situation)
    over = [holder.mapper or holder.name for holder in device.holders if holder.mapper != device.mapping]
    if over or device.swaps:
        raise RootOfTrustError(f"{path} is {', '.join(device.uses)}.", "Take that away first.")
    plan.check_mounts(situation, wish)
    if not situation.systemd:
        raise RootOfTrustError("systemd does not run here; the work goes on in one of its units.", "Use a host with systemd.")
    plan.check_opens(situation, wish)


def _check_content(situation: Situation) -> None:
    device, header, found = situation.device, situation.device.header, situation.filesystem
    path, offset = device.path, header.data_offset if header is not None else 0
    if device.size < plan.LEAST or device.size < 4 * offset:
        raise RootOfTrustError(f"{path} has but {device.size // plan.MIB} MiB.", "Copy the data to a new file system.")
    if offset and situation.key_number != 0:
        raise RootOfTrustError(
            f"The volume key of {path} has the number {situation.key_number}; cryptsetup begins a decryption only of number 0.",
            "Give it another volume key first (volume_key): each new one has the other number.",
        )
    if situation.note is None and device.mapping is None:
        raise RootOfTrustError(f"{path} is not open, so it is not known what is in it.", "Open it first: see luks_mapping.")
    if situation.note is None and (found is None or found.type not in SUPERBLOCKS):
        held = f"{found.type}, which" if found is not None else "nothing that"
        raise RootOfTrustError(f"{path} holds {held} is not decrypted here: {', '.join(SUPERBLOCKS)} are.", "Copy the data.")


def _new_note(situation: Situation, wish: Wish) -> Note:
    device, found = situation.device, situation.filesystem
    header = device.header
    return Note(
        name=device.mapping or "",
        device=situation.lasting or device.path,
        size=device.size,
        stage=plan.PREPARED,
        fs_type=found.type if found is not None else "",
        fs_uuid=found.uuid if found is not None else "",
        header=wish.header,
        luks_uuid=header.uuid if header is not None else "",
        mount=device.mounts[0] if device.mounts else None,
        units=tuple(unit for unit in wish.stop_units if unit not in situation.down_units),
        mode=DECRYPT,
        asked=wish.device,
        rigid=found is not None and bool(found.rigid),
        offset=header.data_offset if header is not None else 0,
    )


def sector_of(fs_type: str) -> int:
    """Where the sector with the magic of a file system is; bytes from its start."""
    return SUPERBLOCKS[fs_type][0]


def is_superblock(sector: bytes, fs_type: str, uuid: str) -> bool:
    """Whether the sector is the beginning of that file system's superblock."""
    _start, _size, magic_at, magic, uuid_at, _tells = SUPERBLOCKS[fs_type]
    digits = sector[uuid_at : uuid_at + 16].hex()
    return sector[magic_at : magic_at + len(magic)] == magic and digits == uuid.replace("-", "").lower()


def marker(note: Note) -> bytes:
    """What stands in the place of the sector while the work goes on."""
    return f"rootoftrust.linux luks_encryption: {note.name} is being decrypted. {note.luks_uuid}".encode().ljust(SECTOR, b"\0")[:SECTOR]


def unit_text(name: str, argv: Sequence[str], header_path: str, go: str, secret_path: str, temporary: bool) -> str:
    """The unit's file, as that of an encryption. Nothing pulls it in at boot: what is on which device has to be looked at before."""
    lines = [
        "# Made by rootoftrust.linux.luks_encryption, which removes it.",
        "[Unit]",
        f"Description=Decrypt the LUKS volume {name.replace('%', '%%')}",
        "Documentation=man:cryptsetup-reencrypt(8)",
        "",
        *plan.service_lines(argv, header_path, go),
    ]
    if temporary:
        lines.append(f"ExecStopPost=-rm -f {secret_path}")
    return "\n".join([*lines, ""])


def _steps(situation: Situation, wish: Wish, note: Note, actions: Sequence[str]) -> list[Step]:
    job = Job(wish, situation, note, ending=END in actions)
    told = _told(job, note)
    return [Step(wish.device, action, *told[action], job) if action in told else plan.step(job, action) for action in actions]


def _told(job: Job, note: Note) -> dict[str, tuple[str, dict[str, Any], dict[str, Any]]]:
    path, name = job.situation.device.path, note.name
    target = note.mount.target if note.mount is not None else ""
    return {
        HIDE: (f"Hide the {note.fs_type} in {name}, so that nobody takes it for whole while it is not.", {}, {}),
        CLOSE: (f"Close {name}.", {"mapping": name}, {"mapping": None}),
        DIGEST: (f"Note which the first encrypted bytes of {path} are.", {}, {}),
        RETURN: (f"Put the LUKS header of {path} back from its backup: the beginning was cut.", {}, {}),
        BEGIN: (f"Begin to decrypt {path}.", {"state": "encrypted"}, {"state": "decrypting"}),
        TRY: (f"Prove that the secret and the header that is now in a file give the data of {path}.", {}, {}),
        WORK: (f"Go on in the background, in {plan.unit_name(name)}.", {"unit": "inactive"}, {"unit": "active"}),
        SHOW: (f"Let the {note.fs_type} on {path} be seen again.", {"state": "decrypting"}, {"state": "plain"}),
        MOUNT_PLAIN: (f"Mount {path} at {target}.", {"source": None}, {"source": path}),
        GROW_PLAIN: (f"Let the file system on {path} take the room of the LUKS header.", {}, {}),
        END: (f"Remove the unit, the notes and the header in its file: {path} is plain.", {"unit": "inactive"}, {"unit": None}),
    }
