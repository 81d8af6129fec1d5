# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A device with all that is on it and over it, put together from the programs and the kernel."""

from __future__ import annotations

import os
import stat

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.blkid import Blkid
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.block_device import size
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.cryptsetup import Cryptsetup
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import Device, Header, Signature
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.notes import Notes
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_encryption import DECRYPT, Note, vanishes
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.sysfs import Sysfs

LASTING = ("by-id", "by-partuuid", "by-path")  # udev's folders of links that do not go by what an encryption changes; the best first


class Devices:
    """:param runner: starts the programs."""

    def __init__(self, runner: Runner) -> None:
        self._cryptsetup = Cryptsetup(runner)
        self._blkid = Blkid(runner)
        self._sysfs = Sysfs()

    def signature(self, path: str) -> Signature | None:
        """What a device shows, without any cache; None where nothing is known."""
        return self._blkid.signature(path)

    def path(self, named: str) -> str:
        """Where a device is that is named by its path or by UUID=, LABEL= …

        :raises RootOfTrustError: if there is no such device.
        """
        found = self._blkid.device(named)
        size(found)
        return found

    def look(self, named: str, header: str | None = None) -> Device:
        """A device by its path or by UUID=, LABEL= …

        :param header: the file of a detached header. A file that is not there is one without a header.
        :raises RootOfTrustError: if there is no such device, or it has signatures that exclude each other.
        """
        path = self._blkid.device(named)
        room = size(path)
        at = header or path
        found = self._cryptsetup.header(at) if os.path.exists(at) else None
        uuid = found.uuid if found is not None else ""
        signature = None if found is not None and at == path else self._blkid.signature(path)
        holders = self._sysfs.holders(path, uuid)
        mounts, swaps = self._sysfs.uses(path, holders)
        parts = self._sysfs.partitions(path) if is_no_table(found, signature) else {}
        return Device(
            path=path,
            size=room,
            block=stat.S_ISBLK(os.stat(path).st_mode),
            read_only=self._sysfs.read_only(path),
            header=found,
            signature=signature,
            holders=tuple(holder for holder in holders if holder.name not in parts),
            mounts=tuple(mounts),
            swaps=tuple(swaps),
            claims=claims(path),
            twins=tuple(str(twin) for twin in self._sysfs.twins(path, uuid)),
            through=next((name for name, is_held in parts.items() if is_held), ""),
        )

    def has_copy(self, path: str, luks_uuid: str) -> bool:
        """Whether another device that is there has a LUKS header of this UUID too, open or closed."""
        others = {os.path.realpath(other) for other in self._blkid.claimants(f"UUID={luks_uuid}")} - {os.path.realpath(path)}
        return bool(others or self._sysfs.twins(path, luks_uuid))


def is_no_table(header: Header | None, signature: Signature | None) -> bool:
    """Whether a device has a LUKS header and no partition table, so that the partitions which the kernel sees in it are none.

    Without a header they count: there are partitions of which no table tells (blkdevparts=), and what is in them would be lost.

    :param signature: what the device shows beside that header.
    """
    return header is not None and (signature is None or not signature.table)


def lasting_name(path: str, links: str = "/dev/disk") -> str:
    """A name that leads to the device after the next boot too, and whatever is on it by then; its path where there is none.

    :param links: where udev keeps its symbolic links.
    """
    if os.path.islink(path) and not vanishes(path):
        return path  # of LVM, or one that somebody has chosen
    for folder in (os.path.join(links, kind) for kind in LASTING):
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            if os.path.realpath(os.path.join(folder, name)) == os.path.realpath(path):
                return os.path.join(folder, name)
    return path


def claims(path: str) -> tuple[str, ...]:
    """What luks_encryption is doing with a device that shows nothing meanwhile."""
    return tuple(f"being decrypted as {note.name}" for note in _notes(path) if note.mode == DECRYPT)


def encryption_claims(path: str) -> tuple[str, ...]:
    """The same of an encryption, which shows nothing where its header is in a file. luks_encryption itself is not stopped by it."""
    told = [(note, f", with header: {note.header}" if note.header else "") for note in _notes(path) if note.mode != DECRYPT]
    return tuple(f"being encrypted as {note.name}{header}" for note, header in told)


def _notes(path: str) -> list[Note]:
    real = os.path.realpath(path)
    return [note for note in Notes().all() if os.path.realpath(note.device) == real]
