# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Decryptions in place: what there is to be seen of them, and their steps. The order of the steps is plan_decryption's."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Callable

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.files import sync_file, sync_folder
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import plan_decryption as plain
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import plan_encryption as plan
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.block_device import (
    digest,
    drop_cache,
    header_digest,
    metadata,
    read_part,
    write_part,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.devices import lasting_name
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.encryption import Encryptions, secret_of
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import LUKS2, Device
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_encryption import FileSystem, Job, Note, Situation, Stash, Wish
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_metadata import key_number

# A failure here leaves a volume that is encrypted, or can be put back to that.
BEFORE_BEGINNING = (plan.STOP, plan.TERM, plan.UNMOUNT, plan.OPEN, plain.HIDE, plain.CLOSE, plain.DIGEST, plain.BEGIN)


class Volumes(Encryptions):
    """Volumes that are to be encrypted or to be plain.

    :param runner: starts the programs.
    :param backup_folder: where header backups are.
    """

    # --- what there is -------------------------------------------------------------------------------------------------

    def _situation(self, asked: Wish) -> Situation:
        note = self._decryption(asked)
        if note is None and asked.state != plan.PLAIN:
            return super()._situation(asked)
        return self._found(asked, note)

    def _decryption(self, asked: Wish) -> Note | None:
        """The note of a decryption of what is asked for. What named the device before may have gone with its header."""
        for note in self._notes.all():
            same = asked.device == note.asked or os.path.realpath(asked.device) == os.path.realpath(note.device)
            if note.mode == plan.DECRYPT and (same or asked.name == note.name):
                return note
        return None

    def _found(self, asked: Wish, note: Note | None) -> Situation:
        named = asked.device if note is None or asked.device.startswith("/") else note.device
        self._lock(self._devices.look(named).path, asked.header)
        background = self._systemd.background(note.name) if note is not None and self._systemd.runs() else plan.Background()
        # Looked at when nobody else is at work any more, and after the unit: it may end at any moment.
        device = self._devices.look(named, asked.header)
        there = device.header if asked.header is None else None
        on_device = there is not None and (note is None or note.stage != plan.PROVEN)
        header_path = asked.header or device.path
        if note is None:
            note = self._note_of(device)
        elif note.header is not None and not on_device:
            header_path = note.header
            device = self._devices.look(named, header_path)
        if note is not None and note.mode == plan.DECRYPT and (device.size != note.size or (device.signature and not on_device)):
            self._refuse_another(device, note)
        target = device.mounts[0].target if device.mounts else None
        found = Situation(
            device=device,
            header_path=header_path,
            filesystem=self._inside(device),
            processes=self._mounts.busy(target, asked.stop_units) if target is not None else (),
            note=note,
            stash=self._where(device, note),
            down_units=self._systemd.down(note.units if note is not None else asked.stop_units),
            below=self._mounts.below(target) if target is not None else (),
            background=background,
            systemd=self._systemd.runs(),
            version=self._cryptsetup.version() if device.header is not None else (),
            home_of_notes=self._is_home_of_notes(device, asked) if device.header is not None else False,
            away=self._away.get(asked.device),
            sector=self._sector(device, note),
            on_device=on_device,
            key_number=key_number(metadata(device.path)) if on_device and there is not None and there.type == LUKS2 else None,
            over=self._is_over(header_path, device),
            lasting=lasting_name(device.path),
        )
        if not plan.needs_secret(found, asked) or asked.secret is None:
            return found
        keyslot = self._cryptsetup.unlocked_by(header_path, asked.secret)
        return replace(found, keyslot=-1 if keyslot is None else keyslot)

    def _refuse_another(self, device: Device, note: Note) -> None:
        """A device that shows something is not one that is being decrypted, unless it is the file system that it will be."""
        found = device.signature
        if found is None or found.uuid != note.fs_uuid or device.size != note.size:
            raise RootOfTrustError(
                f"{device.path} has {device.size} bytes and {found or 'nothing that is known'}; it is not what {note.name} is about.",
                f"Give the device that was called {note.device}.",
            )

    def _inside(self, device: Device) -> FileSystem | None:
        if device.mapping is None:
            return None
        path = f"/dev/mapper/{device.mapping}"
        found = self._devices.signature(path)
        if found is None or found.usage != "filesystem":
            return None
        return FileSystem(found.type, found.uuid, rigid=self._ext.look(path).rigid if found.type in plan.EXT else "")

    @staticmethod
    def _where(device: Device, note: Note | None) -> str:
        """Where the first encrypted bytes are."""
        if note is None or note.stash is None or note.stage != plan.STASHED:
            return ""
        drop_cache(device.path)
        moved, here = (digest(device.path, offset, note.stash.length) == note.stash.digest for offset in (0, note.stash.offset))
        return (plain.BOTH if here else plain.MOVED) if moved else plain.HERE if here else plain.NOWHERE

    @staticmethod
    def _sector(device: Device, note: Note | None) -> str:
        """Which sector the device itself shows."""
        if note is None or note.mode != plan.DECRYPT or note.stage != plan.PROVEN:
            return ""
        sector = read_part(device.path, plain.sector_of(note.fs_type), plain.SECTOR)
        if sector == plain.marker(note):
            return plain.HIDDEN
        return plain.SHOWN if plain.is_superblock(sector, note.fs_type, note.fs_uuid) else plain.OTHER

    # --- what is done --------------------------------------------------------------------------------------------------

    def apply(self, step: Step) -> None:
        """Do one step. Where one fails before the beginning, the volume is mounted again as it was."""
        job: Job = step.detail
        if job.note is None or job.note.mode != plan.DECRYPT:
            super().apply(step)
            return
        self._note.setdefault(job.wish.device, job.note)
        doing: dict[str, Callable[[Job], None]] = {
            **self._doing(),
            plain.HIDE: self._hide,
            plain.CLOSE: lambda job: self._close(self._noted(job)),
            plain.DIGEST: self._digest,
            plain.RETURN: self._return_header,
            plain.BEGIN: self._begin_decryption,
            plain.TRY: self._try,
            plain.WORK: self._work,
            plain.SHOW: self._show,
            plain.MOUNT_PLAIN: self._mount_plain,
            plain.GROW_PLAIN: self._grow_plain,
            plain.END: self._end,
        }
        try:
            doing[step.action](job)
        except (RootOfTrustError, OSError):
            if step.action in BEFORE_BEGINNING:
                self._bring_back_open(job)
            raise

    def _mapping(self, job: Job) -> str:
        return os.path.join("/dev/mapper", self._noted(job).name)

    def _hide(self, job: Job) -> None:
        """Nobody may have mounted it since the sector was noted: so it is noted anew, unless it is hidden already."""
        note, path = self._noted(job), self._mapping(job)
        self._systemd.settle()
        if self._devices.look(job.situation.device.path, job.wish.header).mounts:
            raise RootOfTrustError(f"{path} was mounted a moment ago.", "Run again.")
        offset = plain.sector_of(note.fs_type)
        sector = read_part(path, offset, plain.SECTOR)
        if sector == plain.marker(note):
            return
        if not plain.is_superblock(sector, note.fs_type, note.fs_uuid):
            raise RootOfTrustError(f"{path} does not hold the {note.fs_type} with the UUID {note.fs_uuid}.", "See blkid(8).")
        self._set_note(job, replace(note, hidden=sector.hex()))
        write_part(path, offset, plain.marker(note))

    def _close(self, note: Note) -> None:
        self._systemd.settle()
        self._cryptsetup.close(note.name)

    def _digest(self, job: Job) -> None:
        note, path = self._noted(job), job.situation.device.path
        drop_cache(path)
        kept = self._backup_of(path)
        stash = Stash(note.offset, note.offset, digest(path, note.offset, note.offset))
        self._set_note(job, replace(note, stage=plan.STASHED, stash=stash, backup=kept, header=self._notes.header_file(note.name)))

    def _return_header(self, job: Job) -> None:
        note, path = self._noted(job), job.situation.device.path
        self._cryptsetup.restore_header(path, note.backup)
        drop_cache(path)
        if header_digest(path) != header_digest(note.backup):
            raise RootOfTrustError(f"{path} does not give back what was written to it.", "Replace the disk.")
        if note.header is not None and os.path.exists(note.header):
            os.unlink(note.header)

    def _begin_decryption(self, job: Job) -> None:
        note, path = self._noted(job), job.situation.device.path
        device = self._devices.look(path, job.wish.header)
        found = device.header
        if found is None or found.uuid != note.luks_uuid or found.work is not None or device.holders or device.mounts:
            raise RootOfTrustError(f"{path} is not as it was a moment ago.", "Run again.")
        header = job.wish.header or self._notes.header_file(note.name)
        if not job.wish.header and os.path.exists(header):
            os.unlink(header)  # our own, of a run that was cut before its header counted
        self._cryptsetup.begin_decryption(path, secret_of(job.wish), header)
        sync_file(path)  # cryptsetup leaves what it has moved in the disk's cache, for it notes that in another place
        sync_file(header)
        sync_folder(os.path.dirname(header))
        drop_cache(path)

    def _try(self, job: Job) -> None:
        """Through the header in the file the device gives the marker, so it is that device and that header."""
        note, path = self._noted(job), job.situation.device.path
        header = note.header or job.wish.header or ""
        device = self._devices.look(path, header)
        work = device.header.work if device.header is not None else None
        if work is None or work.mode != plan.DECRYPT:
            raise RootOfTrustError(f"{header} is no header of a volume that is being decrypted.", "Run again.")
        if note.stash is not None and note.stage == plan.STASHED and digest(path, 0, note.stash.length) != note.stash.digest:
            raise RootOfTrustError(f"cryptsetup has not moved the first encrypted bytes of {path}.", "Run again.")
        if device.mapping is not None:
            self._cryptsetup.close(device.mapping)  # somebody, or a run that was killed here, has opened it
        self._cryptsetup.open(path, note.name, secret_of(job.wish), [f"--header={header}"])
        try:
            sector = read_part(self._mapping(job), plain.sector_of(note.fs_type), plain.SECTOR)
        finally:
            self._close(note)
        if sector != plain.marker(note):
            raise RootOfTrustError(f"{path} does not give the data that {header} belongs to.", "Correct device.")
        self._set_note(job, replace(note, stage=plan.PROVEN, header=header))

    def _work(self, job: Job) -> None:
        note, path = self._noted(job), job.situation.device.path
        device = self._devices.look(path, note.header)
        if device.header is None or device.header.work is None:
            return  # the proof has put in order what a cut had left, and that was the last of it
        self._start_unit(job, note.name, path, note.header, plain.unit_text, at_boot=False)

    def _show(self, job: Job) -> None:
        note, path = self._noted(job), job.situation.device.path
        write_part(path, plain.sector_of(note.fs_type), bytes.fromhex(note.hidden))
        self._systemd.settle()
        found = self._devices.look(path).signature
        if found is None or found.uuid != note.fs_uuid:
            raise RootOfTrustError(f"{path} shows {found or 'nothing'}, not the file system that was hidden.", "Do not write to it.")

    def _mount_plain(self, job: Job) -> None:
        note, path = self._noted(job), job.situation.device.path
        if note.mount is not None and not self._devices.look(path).mounts:  # systemd may have been quicker
            self._mounts.mount(path, note.mount)

    def _grow_plain(self, job: Job) -> None:
        note, device = self._noted(job), self._devices.look(job.situation.device.path)
        if note.fs_type == plan.BTRFS:
            self._btrfs.grow(device.mounts[0].target)
        else:
            self._ext.grow(device.path, bool(device.mounts))

    def _end(self, job: Job) -> None:
        note = self._noted(job)
        self._systemd.forget(note.name)
        self._forget_secret(note.name)
        if note.offset and note.header is not None and os.path.exists(note.header):
            os.unlink(note.header)
        self._notes.remove(note)
        del self._note[job.wish.device]

    def _bring_back_open(self, job: Job) -> None:
        """The volume is still encrypted: have it shown and mounted, and its services running, as before."""
        note, path = self._noted(job), job.situation.device.path
        device = self._devices.look(path, job.wish.header)
        if device.header is None or device.header.work is not None or device.header.uuid != note.luks_uuid:
            return
        if device.mapping is None:
            self._open(job)
        if note.hidden:
            mapping, offset = self._mapping(job), plain.sector_of(note.fs_type)
            if read_part(mapping, offset, plain.SECTOR) == plain.marker(note):
                write_part(mapping, offset, bytes.fromhex(note.hidden))
        self._systemd.settle()
        if note.mount is not None and not device.mounts:
            self._mounts.mount(self._mapping(job), note.mount)
            self._is_back(job)
        if note.units:
            self._systemd.start(note.units)
        self._notes.remove(note)  # nothing is left of the attempt
        del self._note[job.wish.device]

    def _backup_of(self, path: str) -> str:
        """The backup that is equal to the header of a device."""
        _area, wanted = header_digest(path)
        (volume,) = self._header_backups(None).read([{"device": path, "header": None}]).volumes
        kept = [backup.path for backup in volume.backups if backup.digest == wanted]
        if not kept:
            raise RootOfTrustError(f"There is no backup of the LUKS header of {path} as it is.", "Run again.")
        return kept[-1]
