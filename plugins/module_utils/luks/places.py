# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mount points, and the device that lies under each: below an open volume, behind a closed one, or one whose encryption was cut."""

from __future__ import annotations

import os
from typing import Collection, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.blkid import Blkid
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import CrypttabLine, Mount
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.parse import parse_fstab, parse_mounts
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_encryption import Note


class Places:
    """
    :param blkid: finds devices.
    :param crypttab: the lines of crypttab.
    :param sys: the mount point of sysfs.
    :param mounts: the kernel's table of mounts.
    :param fstab: the file of what is mounted at boot.
    :param notes: of encryptions that are going on.
    """

    def __init__(
        self,
        blkid: Blkid,
        crypttab: Sequence[CrypttabLine],
        sys: str = "/sys",
        mounts: str = "/proc/self/mounts",
        fstab: str = "/etc/fstab",
        notes: Sequence[Note] = (),
    ) -> None:
        self._blkid = blkid
        self._entries = {line.entry.name: line.entry for line in crypttab if line.entry}
        self._sys = sys
        self._mounts = mounts
        self._fstab = fstab
        self._notes = notes

    def device(self, named: str, mapping: str | None = None) -> str:
        """The path of a device given by its path, by UUID=, LABEL= … or by the mount point that it is for.

        :param mapping: the name in crypttab of what belongs at a mount point where nothing is mounted.
        :raises RootOfTrustError: if there is none, or more than one.
        """
        if not os.path.isdir(named):
            found = self._blkid.device(named)
            return found if named.startswith("/") else self._below(found)  # the UUID may be that of a file system in a volume
        place = os.path.normpath(named)
        source = _last(parse_mounts(_text(self._mounts)), place) or _last(parse_fstab(_text(self._fstab)), place)
        real = self._blkid.linked(source) if source else None
        if real is not None and os.path.exists(real):
            return self._below(real)
        entry = self._entries.get(os.path.basename(source)) if source and source.startswith("/dev/mapper/") else None
        entry = entry or self._entries.get(mapping or "")
        if entry is not None:
            return self._blkid.device(entry.device)
        for note in self._notes:
            if note.mount is not None and note.mount.target == place:
                return (self._blkid.linked(f"UUID={note.luks_uuid}") if note.luks_uuid else None) or note.device
        raise RootOfTrustError(
            f"No device is known for the mount point {named}: nothing is mounted there, and neither fstab nor crypttab tells.",
            "Give the device.",
        )

    def listed(self, targets: Collection[str]) -> list[Mount]:
        """The lines of fstab for some mount points."""
        return [line for line in parse_fstab(_text(self._fstab)) if line.target in targets]

    def _below(self, path: str) -> str:
        """The encrypted device of an open volume, through what a reencryption puts in between; any other device itself."""
        found = os.stat(path).st_rdev
        names, seen = [os.path.basename(os.path.realpath(f"{self._sys}/dev/block/{os.major(found)}:{os.minor(found)}"))], set()
        ends: set[str] = set()
        while names:
            name = names.pop()
            folder = os.path.join(self._sys, "class/block", name)
            if name in seen:
                continue
            seen.add(name)
            if _text(os.path.join(folder, "dm/uuid")).startswith("CRYPT-"):
                names.extend(os.listdir(os.path.join(folder, "slaves")))
            else:
                ends.add(name)
        if len(seen) == 1:
            return path
        if len(ends) != 1:
            raise RootOfTrustError(f"{path} lies on {len(ends)} devices: {', '.join(sorted(ends))}.", "Give the one that is meant.")
        return self._path(ends.pop())

    def _path(self, name: str) -> str:
        """The path of a block device of the kernel: the one under /dev/mapper where it has one, which says more."""
        mapper = _text(os.path.join(self._sys, "class/block", name, "dm/name")).strip()
        return f"/dev/mapper/{mapper}" if mapper else "/dev/" + name.replace("!", "/")


def _last(mounts: Sequence[Mount], place: str) -> str | None:
    """What is mounted last at a place, but for what mounts it on demand."""
    found = [mount.source for mount in mounts if mount.target == place and mount.type != "autofs"]
    return found[-1] if found else None


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read()
    except OSError:
        return ""
