# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Encryptions in place: what there is to be seen of them, and their steps. The order of the steps is plan_encryption's."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import replace
from typing import Any, Callable, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.files import atomic_write
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import plan_encryption as plan
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.block_device import (
    copy_part,
    digest,
    drop_cache,
    metadata,
    stays_claimed,
    superblock,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.btrfs import Btrfs
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.cryptsetup import Cryptsetup, pbkdf_options
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.devices import Devices, lasting_name
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.e2fsprogs import E2fsprogs
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.header_backups import HeaderBackups
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.lock import HeaderLocks
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.luks2_header import write_end
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.lvm import Lvm
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import LUKS2, Device, PbkdfChoice
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.mounts import Mounts
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.notes import Notes
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.parse import Malformed
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_backups import plan_backups
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_encryption import (
    Background,
    FileSystem,
    Job,
    Note,
    Situation,
    Stash,
    Wish,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_metadata import is_over
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.secrets import read_secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.sysfs import Sysfs
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.systemd import Systemd

RUN_FOLDER = "/run/rootoftrust"  # in memory: locks, and secrets while their work is going on
BEFORE_HEADER = (
    plan.STOP,
    plan.TERM,
    plan.UNMOUNT,
    plan.CHECK,
    plan.UNDO,
    plan.SHRINK,
    plan.EXTEND,
    plan.STASH,
    plan.INITIALISE,
)  # a failure here leaves a plain volume


def wish(params: Mapping[str, Any]) -> Wish:
    """What the options of one volume ask for."""
    return Wish(
        device=params["device"],
        header=params["header"],
        name=params["name"],
        secret=read_secret(params),
        key_file=params["key_file"],
        uuid=params["uuid"],
        type=params["type"],
        cipher=params["cipher"],
        key_bits=params["key_bits"],
        sector_size=params["sector_size"],
        pbkdf=PbkdfChoice(**(params["pbkdf"] or {})),
        room=params["room"],
        mount=params["mount"],
        busy=params["busy"],
        stop_units=tuple(params["stop_units"] or ()),
        volume_key=params["volume_key"],
        other_keyslots=params["other_keyslots"],
        state=params["state"],
    )


class Encryptions:
    """
    :param runner: starts the programs.
    :param backup_folder: where header backups are.
    """

    def __init__(self, runner: Runner, backup_folder: str) -> None:
        self._devices = Devices(runner)
        self._cryptsetup = Cryptsetup(runner)
        self._ext = E2fsprogs(runner)
        self._btrfs = Btrfs(runner)
        self._lvm = Lvm(runner)
        self._mounts = Mounts(runner)
        self._systemd = Systemd(runner)
        self._runner = runner
        self._backup_folder = backup_folder
        self._notes = Notes()
        self._locks = HeaderLocks(patience=0.0)
        self._note: dict[str, Note] = {}
        self._gone: dict[str, float] = {}
        self._away: dict[str, float] = {}

    # --- what there is -------------------------------------------------------------------------------------------------

    def read(self, wishes: Sequence[Wish]) -> list[tuple[Situation, Wish]]:
        """Each volume as it is. A key is derived only where the plan depends on it."""
        return [(self._situation(asked), asked) for asked in wishes]

    def _situation(self, asked: Wish) -> Situation:
        self._lock(self._devices.path(asked.device), asked.header)
        background = self._background(asked)
        # Looked at when nobody else is at work any more, and after the unit: it may end at any moment.
        device = self._devices.look(asked.device, asked.header)
        note = self._note_of(device)
        astray = device.header is None and note is not None and note.stage == plan.PROVEN and asked.header != note.header
        if note is not None and note.header is not None and (asked.header is None or astray):
            raise RootOfTrustError(f"The header of {asked.device} is kept in {note.header}.", f"Give header: {note.header}.")
        header_path = asked.header or device.path
        plainly = bool(device.mounts) and device.mapping is None
        name = device.mapping or (note.name if note is not None else asked.name) or ""
        target = device.mounts[0].target if device.mounts else None
        fresh = device.header is None or (note is not None and note.stage != plan.PROVEN)
        found = Situation(
            device=device,
            header_path=header_path,
            filesystem=self._filesystem(device) if fresh and device.header is None else None,
            processes=self._mounts.busy(target, asked.stop_units) if plainly and target is not None else (),
            note=note,
            stash=self._stash(device, note),
            undo=self._can_undo(device, note),
            down_units=self._systemd.down(note.units if note is not None else asked.stop_units if fresh else ()),
            below=self._mounts.below(target) if fresh and target is not None else (),
            spare=self._lvm.spare(device.path) if fresh and device.block else None,
            volume_key=self._volume_key(header_path, device),
            background=background,
            systemd=self._systemd.runs(),
            version=self._cryptsetup.version() if fresh else (),
            taken=device.mapping is None and bool(name) and self._is_taken(name, note),
            home_of_notes=fresh and self._is_home_of_notes(device, asked),
            header_folder=asked.header is None or os.path.isdir(os.path.dirname(asked.header)),
            header_file=asked.header is not None and os.path.lexists(asked.header),
            away=self._away.get(asked.device),
            over=self._is_over(header_path, device),
            lasting=lasting_name(device.path),
        )
        if not plan.needs_secret(found, asked) or asked.secret is None:
            return found
        keyslot = self._cryptsetup.unlocked_by(header_path, asked.secret)
        whole = note is None or note.stage != plan.STASHED or self._is_moved_head_whole(device, note)
        return replace(found, keyslot=keyslot if keyslot is not None and whole else -1)

    @staticmethod
    def _is_over(header_path: str, device: Device) -> bool:
        return device.header is not None and device.header.work is not None and is_over(metadata(header_path))

    def _background(self, asked: Wish) -> Background:
        device = self._devices.look(asked.device, asked.header)
        note = self._note_of(device)
        name = device.mapping or (note.name if note is not None else asked.name) or ""
        return self._systemd.background(name) if name and self._systemd.runs() else Background()

    def _lock(self, path: str, header: str | None) -> None:
        """Alone with the device until this process ends."""
        self._locks.hold_header(path)
        if header is not None and os.path.exists(header):
            self._locks.hold_header(header)

    def _note_of(self, device: Device) -> Note | None:
        """The note that is about this device: by the UUIDs on it, or by the copy of its head, for device names may change."""
        for note in self._notes.all():
            if device.header is not None and note.luks_uuid == device.header.uuid:
                return note
            if note.stage == plan.PROVEN:
                if note.mode == plan.ENCRYPT and note.header is not None and device.header is None and self._is_bare(device, note):
                    return note
                continue
            if (note.fs_uuid and device.signature is not None and device.signature.uuid == note.fs_uuid) or self._fits(device, note):
                return note
            if device.header is not None and _leads(note, device):
                return note  # a header whose proof is still to come
        return None

    @staticmethod
    def _is_bare(device: Device, note: Note) -> bool:
        """Whether it may be the device of a note whose header is in a file, looked at without: it shows its file system, or nothing."""
        return _leads(note, device) and (device.signature is None or device.signature.uuid == note.fs_uuid)

    def _is_taken(self, name: str, note: Note | None) -> bool:
        others = [other for other in self._notes.all() if other.name == name and other != note]
        return bool(others) or (os.path.exists(os.path.join("/dev/mapper", name)) and (note is None or note.stage == plan.PROVEN))

    def _fits(self, device: Device, note: Note) -> bool:
        stash = note.stash
        if stash is None or note.stage != plan.STASHED or stash.offset + stash.length > device.size:
            return False
        return digest(device.path, stash.offset, stash.length) == stash.digest

    def _stash(self, device: Device, note: Note | None) -> str:
        """What is to be said of the noted copy of the head. The superblock tells whether the file system was mounted since: where it is
        another one of the same file system it was; where it is the same, or none any more, it was not, whatever else is written there."""
        if note is None or note.stash is None or note.stage != plan.STASHED:
            return ""
        if self._is_moved_head_newer(device, note):
            return "opened"
        fits = self._fits(device, note)
        now, then = superblock(device.path, 0, note.fs_type), superblock(device.path, note.stash.offset, note.fs_type)
        if now is None and device.signature is not None and device.signature.uuid == note.fs_uuid:
            # Its superblock is one of a kind that is not read here.
            return "unclear" if digest(device.path, 0, note.stash.length) != note.stash.digest else "fits" if fits else "used"
        if now is not None and now.uuid == note.fs_uuid:
            if not fits or (then is not None and now.content != then.content):
                return "used"
            if not now.tells and digest(device.path, 0, note.stash.length) != note.stash.digest:
                return "unclear"
        return "fits" if fits else "broken"

    def _can_undo(self, device: Device, note: Note | None) -> bool:
        if note is None or not note.undo or device.header is not None or device.mounts:
            return False
        return self._ext.mark(device.path) == note.mark

    def _is_moved_head_whole(self, device: Device, note: Note) -> bool:
        """Whether cryptsetup's own copy of the first bytes is that of the note, or a newer one: somebody has opened and mounted it."""
        offset, stash = self._moved_head(device, note), note.stash
        if offset is None or stash is None:
            return False
        return digest(device.path, offset, stash.length) == stash.digest or self._is_moved_head_newer(device, note)

    def _is_moved_head_newer(self, device: Device, note: Note) -> bool:
        offset, stash = self._moved_head(device, note), note.stash
        if offset is None or stash is None:
            return False
        now, then = superblock(device.path, offset, note.fs_type), superblock(device.path, stash.offset, note.fs_type)
        return now is not None and now.uuid == note.fs_uuid and then is not None and now.content != then.content

    @staticmethod
    def _moved_head(device: Device, note: Note) -> int | None:
        """Where cryptsetup has put the first bytes; None where no header tells, or they are not as many as were noted."""
        if device.header is None or note.stash is None:
            return None
        try:
            segments = metadata(device.path)["segments"].values()
        except Malformed:
            return None
        moved = [segment for segment in segments if "backup-moved-segment" in segment.get("flags", ())]
        return int(moved[0]["offset"]) if len(moved) == 1 and int(moved[0]["size"]) == note.stash.length else None

    def _filesystem(self, device: Device) -> FileSystem | None:
        found = device.signature
        if found is None or found.usage != "filesystem" or not device.block:
            return None
        if found.type in plan.EXT:
            return self._ext.look(device.path, device.mounts[0].target if device.mounts else None)
        if found.type == plan.BTRFS:
            return self._btrfs.look(device.path, found.uuid)
        if found.type == plan.XFS:
            drop_cache(device.path)  # the kernel grows it past the cache of the device
            now = superblock(device.path, 0, plan.XFS)
            return FileSystem(found.type, found.uuid, now.size if now is not None else None)
        return FileSystem(found.type, found.uuid)

    def _is_home_of_notes(self, device: Device, asked: Wish) -> bool:
        folders = [self._notes.folder, self._backup_folder] + ([os.path.dirname(asked.header)] if asked.header else [])
        return device.block and any(Sysfs().carries(device.path, _existing(folder)) for folder in folders)

    def _volume_key(self, header_path: str, device: Device) -> str:
        """The word for the volume key; empty while the key that it was written for is not there."""
        if device.header is None or device.header.type != LUKS2:
            return ""
        found = metadata(header_path)
        tokens = [token for token in found["tokens"].values() if token["type"] == plan.VOLUME_KEY_TOKEN]
        if not tokens or (tokens[-1].get("former") == _key_digest(found) and device.header.work is None):
            return ""
        return str(tokens[-1].get("version", ""))

    # --- what is done --------------------------------------------------------------------------------------------------

    def apply(self, step: Step) -> None:
        """Do one step. Where one fails before a header was written, the volume is mounted again as it was."""
        job: Job = step.detail
        key = job.wish.device
        if job.note is not None:
            self._note.setdefault(key, job.note)
        try:
            self._doing()[step.action](job)
        except (RootOfTrustError, OSError):
            if step.action in BEFORE_HEADER:
                self._bring_back(job)
            raise

    def _doing(self) -> dict[str, Callable[[Job], None]]:
        return {
            plan.NOTE: self._begin,
            plan.STOP: lambda job: self._systemd.stop(self._noted(job).units),
            plan.TERM: lambda job: self._mounts.terminate(job.situation.device.mounts[0].target),
            plan.UNMOUNT: self._unmount,
            plan.UNDO: self._undo,
            plan.CHECK: self._check,
            plan.SHRINK: self._shrink,
            plan.EXTEND: lambda job: self._lvm.extend(job.situation.device.path, plan.ROOM),
            plan.STASH: self._save_head,
            plan.RESTORE: self._restore_head,
            plan.INITIALISE: self._initialise,
            plan.PROVE: self._prove,
            plan.BACK_UP: self._back_up,
            plan.OPEN: self._open,
            plan.MOUNT: self._mount,
            plan.START: lambda job: self._systemd.start(self._noted(job).units),
            plan.RUN: self._run,
            plan.GROW: self._grow,
            plan.FORGET: self._forget,
            plan.NAME_KEY: self._name_key,
            plan.REKEY: self._rekey,
            plan.CONVERT: lambda job: self._cryptsetup.convert(job.situation.header_path),
            plan.STRENGTHEN: self._strengthen,
            plan.FINISH: lambda job: write_end(job.situation.header_path),
        }

    def _noted(self, job: Job) -> Note:
        note = self._note.get(job.wish.device)
        if note is None:
            raise RootOfTrustError(f"There is no note of what is going on with {job.wish.device}.")
        return note

    def _set_note(self, job: Job, note: Note) -> None:
        self._notes.write(note)
        self._note[job.wish.device] = note

    def _begin(self, job: Job) -> None:
        self._set_note(job, self._noted(job))

    def _unmount(self, job: Job) -> None:
        self._gone[job.wish.device] = time.monotonic()
        device = job.situation.device
        self._mounts.unmount(device.mounts[0].target)
        _check_alone(os.path.join("/dev/mapper", device.mapping) if device.mapping is not None else device.path)

    def _check(self, job: Job) -> None:
        _check_alone(job.situation.device.path)
        self._ext.check(job.situation.device.path)

    def _mount(self, job: Job) -> None:
        note = self._noted(job)
        self._systemd.settle()
        device = self._devices.look(job.situation.device.path, job.wish.header)
        if note.mount is not None and not device.mounts:  # systemd may have been quicker
            self._mounts.mount(f"/dev/mapper/{self._name(job)}", note.mount)
        self._is_back(job)

    def _is_back(self, job: Job) -> None:
        if job.wish.device in self._gone:
            self._away[job.wish.device] = round(time.monotonic() - self._gone.pop(job.wish.device), 2)

    def _bring_back(self, job: Job) -> None:
        """The volume is still plain: have it mounted, and its services running, as before."""
        note = self._noted(job)
        device = self._devices.look(job.situation.device.path)
        if device.header is not None or device.signature is None or device.holders:
            return
        if note.undo:
            self._undo(job)
        self._systemd.settle()
        if note.mount is not None and not device.mounts:
            self._mounts.mount(device.path, note.mount)
            self._is_back(job)
        if note.units:
            self._systemd.start(note.units)
        if note.stage != plan.PROVEN:
            self._notes.remove(note)  # nothing is left of the attempt
            del self._note[job.wish.device]

    def _shrink(self, job: Job) -> None:
        note, device = self._noted(job), job.situation.device
        if note.fs_type == plan.BTRFS:
            self._btrfs.shrink(device.mounts[0].target, plan.target_size(device))
            return
        note = replace(note, undo=self._notes.undo_file(note.name), mark=self._ext.mark(device.path))
        self._set_note(job, note)
        self._ext.shrink(device.path, plan.target_size(device), note.undo)
        self._set_note(job, replace(note, undo="", mark=""))

    def _undo(self, job: Job) -> None:
        note = self._noted(job)
        self._ext.undo(job.situation.device.path, note.undo)
        self._set_note(job, replace(note, undo="", mark=""))

    def _save_head(self, job: Job) -> None:
        device = self._devices.look(job.situation.device.path)  # its size may just have changed
        if device.uses:
            raise RootOfTrustError(f"{device.path} is {', '.join(device.uses)}.", "Take that away, and run again.")
        _check_alone(device.path)
        drop_cache(device.path)
        plan.check_room(self._filesystem(device), device, job.situation.device)
        offset = (device.size - plan.STASH_FROM_END) // plan.MIB * plan.MIB
        expected = digest(device.path, 0, plan.HEAD)
        copy_part(device.path, 0, offset, plan.HEAD)
        drop_cache(device.path)
        if digest(device.path, offset, plan.HEAD) != expected:
            raise RootOfTrustError(f"{device.path} does not give back what was written to it.", "Replace the disk.")
        note = replace(self._noted(job), stage=plan.STASHED, size=device.size, stash=Stash(offset, plan.HEAD, expected))
        self._set_note(job, note)

    def _restore_head(self, job: Job) -> None:
        device, note = self._devices.look(job.situation.device.path), self._noted(job)
        if note.name in [holder.mapper for holder in device.holders]:
            self._cryptsetup.close(note.name)
        if note.stash is None or not self._fits(device, note):
            raise RootOfTrustError(f"The copy of the first bytes of {device.path} is not whole.", "Nothing was changed.")
        _check_alone(device.path)
        copy_part(device.path, note.stash.offset, 0, note.stash.length)
        drop_cache(device.path)

    def _initialise(self, job: Job) -> None:
        asked, note, path = job.wish, self._noted(job), job.situation.device.path
        _check_alone(path)
        if note.header is None:
            # The guard of last resort: cryptsetup 2.3.7 would nest a second header, and shift the data once more.
            device = self._devices.look(path)
            if device.header is not None or device.uses:
                raise RootOfTrustError(f"{path} is not as it was a moment ago.", "Run again.")
            found = self._filesystem(device)
            if found is None or found.size is not None:  # else it was seen to when the head was copied
                plan.check_room(found, device, device)
            # cryptsetup copies the head to this place too, without a flush before it writes the header: after a power cut what was there
            # from an earlier try could be taken for it.
            copy_part(path, 0, device.size - plan.HEAD, plan.HEAD)
        elif os.path.exists(note.header):
            if job.situation.note is None:
                raise RootOfTrustError(f"There is a {note.header} already.", "Give another path for the header.")
            os.unlink(note.header)  # our own, of a run that was cut
        folder = os.path.join(RUN_FOLDER, f"init-{note.name}")
        shutil.rmtree(folder, ignore_errors=True)  # of a run that was killed
        os.makedirs(RUN_FOLDER, mode=0o700, exist_ok=True)
        os.mkdir(folder, 0o700)
        self._cryptsetup.initialise(
            path,
            secret_of(asked),
            [
                f"--header={note.header}" if note.header else f"--reduce-device-size={plan.REDUCE // plan.MIB}M",
                *(["--resilience=checksum"] if note.header else []),
                *([f"--uuid={asked.uuid}"] if asked.uuid else []),
                *_parameters(asked),
            ],
            folder,
        )
        os.rmdir(folder)

    def _prove(self, job: Job) -> None:
        note, device = self._noted(job), self._devices.look(job.situation.device.path, job.wish.header)
        if device.header is None or not self._cryptsetup.opens(job.situation.header_path, secret_of(job.wish)):
            raise RootOfTrustError(f"The new LUKS header of {device.path} does not open.", "Run again: what was there is put back.")
        if note.header is None and not self._is_moved_head_whole(device, note):
            raise RootOfTrustError(f"cryptsetup has not kept the first bytes of {device.path}.", "Run again: what was there is put back.")
        self._set_note(job, replace(note, stage=plan.PROVEN, luks_uuid=device.header.uuid))

    def _back_up(self, job: Job) -> None:
        """When a reencryption has ended the older backups go: what they describe is not on the device any more. That of a copy of the
        volume they still do."""
        device = job.situation.device
        copied = device.header is not None and self._devices.has_copy(device.path, device.header.uuid)
        backups = self._header_backups(0 if job.ending and not copied else None)
        for step in plan_backups(backups.read([{"device": job.situation.device.path, "header": job.wish.header}])):
            backups.apply(step)

    def _header_backups(self, keep: int | None) -> HeaderBackups:
        return HeaderBackups(self._runner, {"folder": self._backup_folder, "keep": keep, "mode": "0400"})

    def _open(self, job: Job) -> None:
        options = [f"--header={job.wish.header}"] if job.wish.header else []
        path, name = job.situation.device.path, self._name(job)
        try:
            self._cryptsetup.open(path, name, secret_of(job.wish), options)
        except RootOfTrustError:
            # Where crypttab names the volume systemd opens it as soon as it sees the header.
            self._systemd.settle()
            if self._devices.look(path, job.wish.header).mapping != name:
                raise
        try:
            self._check_content(job, name)
        except RootOfTrustError:
            self._cryptsetup.close(name)
            raise

    def _check_content(self, job: Job, name: str) -> None:
        """With a detached header only what is seen through the mapping tells that the header and the device belong together.

        :raises RootOfTrustError: if it is not the file system that was noted.
        """
        note = self._note.get(job.wish.device)
        if note is None or note.mode != plan.ENCRYPT or note.header is None or not note.fs_uuid:
            return  # that of a decryption is hidden, and proven in its own way
        found = self._devices.signature(os.path.join("/dev/mapper", name))
        if found is None or found.uuid != note.fs_uuid:
            raise RootOfTrustError(
                f"{name} shows {found or 'nothing that is known'}, and not the {note.fs_type} with the UUID {note.fs_uuid}:"
                f" {job.situation.device.path} is not the device that {note.header} is the header of.",
                f"Give the device that was called {note.device}; where it is that, open it by luks_mapping and check the file system.",
            )

    def _name(self, job: Job) -> str:
        note = self._note.get(job.wish.device)
        return job.situation.device.mapping or (note.name if note is not None else job.wish.name) or ""

    def _run(self, job: Job) -> None:
        name, asked = self._name(job), job.wish
        self._systemd.settle()
        device = self._devices.look(job.situation.device.path, asked.header)
        if device.header is None or device.header.work is None:
            return  # the opening has put in order what a cut had left, and that was the last of it
        self._check_content(job, name)
        path = lasting_name(device.path) if asked.header else _lasting(device.path, device.header.uuid)
        self._start_unit(job, name, path, asked.header, plan.unit_text, at_boot=True)

    def _start_unit(self, job: Job, name: str, path: str, header: str | None, text: Callable[..., str], at_boot: bool) -> None:
        if is_over(metadata(header or path)):
            write_end(header or path)
            return
        secret_path, temporary = self._secret_file(job.wish, name)
        argv = self._cryptsetup.resume_command(path, secret_path, header)
        go = os.path.join(RUN_FOLDER, f"{name}.go")
        os.makedirs(RUN_FOLDER, mode=0o700, exist_ok=True)
        atomic_write(go, b"", 0o600)
        self._systemd.run(name, text(name, argv, header or path, go, secret_path, temporary), at_boot)

    @staticmethod
    def _secret_file(asked: Wish, name: str) -> tuple[str, bool]:
        """Where the unit has its secret from, and whether that is for the time of the work alone."""
        if asked.key_file is not None:
            return asked.key_file, False
        path = os.path.join(RUN_FOLDER, f"{name}.key")
        os.makedirs(RUN_FOLDER, mode=0o700, exist_ok=True)
        atomic_write(path, secret_of(asked).reveal(), 0o600)
        return path, True

    @staticmethod
    def _forget_secret(name: str) -> None:
        path = os.path.join(RUN_FOLDER, f"{name}.key")
        if os.path.exists(path):
            os.unlink(path)

    def _grow(self, job: Job) -> None:
        note, device = self._noted(job), self._devices.look(job.situation.device.path, job.wish.header)
        if job.wish.secret is not None:  # while it was encrypted its mapping was smaller than it is after the next opening
            self._cryptsetup.resize(self._name(job), job.wish.secret)
        if note.fs_type == plan.BTRFS:
            self._btrfs.grow(device.mounts[0].target)
        else:
            self._ext.grow(f"/dev/mapper/{self._name(job)}", bool(device.mounts))

    def _forget(self, job: Job) -> None:
        name, note = self._name(job), self._noted(job)
        self._systemd.forget(name)
        self._forget_secret(name)
        self._ext.forget(self._notes.undo_file(note.name))
        self._notes.remove(note)
        del self._note[job.wish.device]

    def _name_key(self, job: Job) -> None:
        """The word, and by which digest the key that it does not mean is known: so a cut before the new key is no lie."""
        path = job.situation.header_path
        found = metadata(path)
        note = self._note.get(job.wish.device)
        rekey = note is None or not note.fs_type  # else it is the key that the encryption has just made
        token: dict[str, Any] = {"type": plan.VOLUME_KEY_TOKEN, "keyslots": [], "version": job.wish.volume_key}
        self._cryptsetup.add_token(path, {**token, "former": _key_digest(found)} if rekey else token)
        for number, old in found["tokens"].items():
            if old["type"] == plan.VOLUME_KEY_TOKEN:
                self._cryptsetup.remove_token(path, int(number))

    def _rekey(self, job: Job) -> None:
        device = self._devices.look(job.situation.device.path, job.wish.header)
        if device.header is None or device.header.work is not None:
            raise RootOfTrustError(f"{device.path} is not as it was a moment ago.", "Run again.")
        keyslot = self._cryptsetup.unlocked_by(job.situation.header_path, secret_of(job.wish))
        if keyslot is None:
            raise RootOfTrustError(f"The secret given does not open {device.path}.", "Give one that does.")
        plan.check_rekey(replace(job.situation, device=device, keyslot=keyslot), job.wish, device.header)
        if job.wish.header and self._devices.signature(os.path.join("/dev/mapper", self._name(job))) is None:
            raise RootOfTrustError(
                f"Nothing that is known is in {self._name(job)}, so it is not known whether the header {job.wish.header} belongs to it.",
                "Correct device or header.",
            )
        header = [f"--header={job.wish.header}"] if job.wish.header else []
        options = [*header, f"--key-slot={keyslot}", "--resilience=checksum", *_parameters(job.wish)]
        self._cryptsetup.reinitialise(job.situation.device.path, secret_of(job.wish), options)

    def _strengthen(self, job: Job) -> None:
        keyslot = job.situation.keyslot if job.situation.keyslot is not None else -1
        self._cryptsetup.convert_keyslot(job.situation.header_path, keyslot, secret_of(job.wish), pbkdf_options(job.wish.pbkdf))


def secret_of(asked: Wish) -> Secret:
    if asked.secret is None:
        raise RootOfTrustError(f"A secret of {asked.device} is needed.", "Give passphrase or key_file.")
    return asked.secret


def _check_alone(path: str) -> None:
    """A mount in another namespace is in no table that is seen here, and keeps the file system in use.

    :raises RootOfTrustError: if the kernel has given a device to somebody else.
    """
    if stays_claimed(path):
        raise RootOfTrustError(
            f"{path} is in use, though it is mounted nowhere here: the kernel lets nobody else have it.",
            "Look for a mount in another mount namespace (lsns -t mnt), or a program that has it to itself.",
        )


def _leads(note: Note, device: Device) -> bool:
    """Whether the name in a note is that of a device, which is as large as it was."""
    return note.size == device.size and os.path.realpath(note.device) == os.path.realpath(device.path)


def _lasting(path: str, uuid: str) -> str:
    """The device's link by UUID, which is right after a boot too; another where that is missing, or leads to a copy of the disk."""
    link = f"/dev/disk/by-uuid/{uuid}"
    return link if os.path.exists(link) and os.path.samefile(link, path) else lasting_name(path)


def _parameters(asked: Wish) -> list[str]:
    named = {"cipher": asked.cipher, "key-size": asked.key_bits, "sector-size": asked.sector_size}
    return [f"--{name}={value}" for name, value in named.items() if value is not None] + pbkdf_options(asked.pbkdf)


def _key_digest(found: Mapping[str, Any]) -> str:
    """The digest by which the header knows the volume key of its data. It is public, and changes with the key."""
    data = {
        number for number, segment in found["segments"].items() if not any(flag.startswith("backup-") for flag in segment.get("flags", ()))
    }
    return "".join(str(digest["digest"]) for _number, digest in sorted(found["digests"].items()) if data & set(digest["segments"]))


def _existing(folder: str) -> str:
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    return folder
