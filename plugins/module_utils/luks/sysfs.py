# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""/sys and /proc: what the kernel has put over a device, and where that is mounted."""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress
from dataclasses import dataclass

from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import Holder, Mount
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.parse import parse_mounts, parse_swaps

TRIES, PAUSE = 5, 0.05  # looks at what an open volume lies on, and seconds between two
PATIENCE = 10.0  # seconds for a mapping that lies on nothing: its table is being changed, or it is just made


@dataclass(frozen=True)
class Twin:
    """An open form of a LUKS volume that does not lie on the device that was asked about.

    :param devices: the kernel's names of what it lies on; none where it is not told.
    """

    holder: Holder
    devices: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.holder.mapper} on {', '.join(self.devices) or 'a device that the kernel does not tell'}"


class Sysfs:
    """
    :param sys: the mount point of sysfs.
    :param proc: the mount point of proc.
    """

    def __init__(self, sys: str = "/sys", proc: str = "/proc") -> None:
        self._sys = sys
        self._proc = proc

    def holders(self, path: str, luks_uuid: str = "") -> list[Holder]:
        """All block devices over a device or file, each once, those next to it first.

        :param luks_uuid: of the LUKS volume there. While a reencryption goes on its mappings change places all the time, and a look at
            what lies on what may miss one; by the UUID they are found. Those of a copy of the volume are not among them.
        """
        found = os.stat(path)
        if stat.S_ISBLK(found.st_mode):
            names = self._held(os.path.join(self._sys, "dev/block", _number(found.st_rdev)))
        else:
            names = self._loops(os.path.realpath(path))
        names += [each.name for each in self._open_forms(path, luks_uuid)[0]]
        told: list[Holder] = []
        for name in names:  # grows while it is gone through
            folder = os.path.join(self._sys, "class/block", name)
            if name not in [holder.name for holder in told]:
                told.append(_holder(name, folder))
                names.extend(self._held(folder))
        return told

    def partitions(self, path: str) -> dict[str, bool]:
        """The partitions that the kernel sees in a device, by name, and whether something lies on each.

        Not all are some: a kernel with CONFIG_ACORN_PARTITION_POWERTEC takes the first sector of a disk for a partition table where the sum
        of its bytes is right, as it is of 1 of 256 LUKS headers. The first of those partitions begins with the disk.
        """
        found = os.stat(path)
        if not stat.S_ISBLK(found.st_mode):
            return {}
        folder = os.path.realpath(os.path.join(self._sys, "dev/block", _number(found.st_rdev)))
        names = [name for name in self._held(folder) if os.path.exists(os.path.join(folder, name, "partition"))]
        return {name: bool(self._held(os.path.join(folder, name))) for name in names}

    def twins(self, path: str, luks_uuid: str) -> list[Twin]:
        """The open forms of a LUKS volume of this UUID that lie on another device: one of the two is a copy of the other."""
        return self._open_forms(path, luks_uuid)[1]

    def _open_forms(self, path: str, luks_uuid: str) -> tuple[list[Holder], list[Twin]]:
        """The mappings that have a LUKS volume's UUID: those that lie on a device or file, and those that do not."""
        own = self._names(path)
        ours: set[str] = set()
        tries, deadline = 0, time.monotonic() + PATIENCE
        while True:
            tries += 1
            found = [each for each in self._mapper() if each.maps(luks_uuid)] if luks_uuid else []
            below = {each.name: self._below(each.name) for each in found}
            ours |= {name for name, names in below.items() if own & names}
            others = [Twin(each, _devices(below[each.name])) for each in found if each.name not in ours]
            is_told = tries >= TRIES and all(twin.devices for twin in others)
            if not others or is_told or time.monotonic() >= deadline:
                return [each for each in found if each.name in ours], others
            time.sleep(PAUSE)  # between two looks, where a reencryption that changes its tables may have hidden what lies below

    def _names(self, path: str) -> set[str]:
        """The kernel's name of a block device, or those of the loop devices of a file."""
        found = os.stat(path)
        if stat.S_ISBLK(found.st_mode):
            return {os.path.basename(os.path.realpath(os.path.join(self._sys, "dev/block", _number(found.st_rdev))))}
        return set(self._loops(os.path.realpath(path)))

    def _below(self, name: str) -> set[str]:
        """All block devices that one lies on."""
        seen: set[str] = set()
        names = [name]
        for each in names:  # grows while it is gone through
            folder = os.path.join(self._sys, "class/block", each)
            with suppress(FileNotFoundError):  # it goes while it is looked at
                names += [slave for slave in os.listdir(os.path.join(folder, "slaves")) if slave not in seen]
            if _text(os.path.join(folder, "partition")) and _text(os.path.join(folder, "start")) == "0":
                names.append(os.path.basename(os.path.dirname(os.path.realpath(folder))))  # the same bytes: see partitions
            seen |= set(names)
        return seen - {name}

    @staticmethod
    def _held(folder: str) -> list[str]:
        """What the kernel has over a device: its partitions, and what has claimed it."""
        try:
            parts = [name for name in os.listdir(folder) if os.path.exists(os.path.join(folder, name, "partition"))]
            return sorted(parts) + sorted(os.listdir(os.path.join(folder, "holders")))
        except FileNotFoundError:
            return []

    def _loops(self, path: str) -> list[str]:
        blocks = os.path.join(self._sys, "class/block")
        names = sorted(os.listdir(blocks)) if os.path.isdir(blocks) else []
        return [name for name in names if _text(os.path.join(blocks, name, "loop/backing_file")) == path]

    def mapped(self, name: str) -> Holder | None:
        """The device mapper's device of this name; None where there is none."""
        return next((holder for holder in self._mapper() if holder.mapper == name), None)

    def _mapper(self) -> list[Holder]:
        blocks = os.path.join(self._sys, "class/block")
        names = sorted(os.listdir(blocks)) if os.path.isdir(blocks) else []
        return [_holder(each, os.path.join(blocks, each)) for each in names if each.startswith("dm-")]

    def read_only(self, path: str) -> bool:
        """Whether the kernel, or the mode of a file, lets nobody write to it."""
        found = os.stat(path)
        if stat.S_ISBLK(found.st_mode):
            return _text(os.path.join(self._sys, "dev/block", _number(found.st_rdev), "ro")) == "1"
        return not found.st_mode & 0o222

    def carries(self, path: str, file: str) -> bool:
        """Whether a file or folder lies on a device or on what is over it. Not known where a file system spans devices (btrfs)."""
        return _number(os.stat(file).st_dev) in self._numbers(path, self.holders(path))

    def _numbers(self, path: str, holders: list[Holder]) -> set[str]:
        numbers = {_text(os.path.join(self._sys, "class/block", holder.name, "dev")) for holder in holders}
        found = os.stat(path)
        return numbers | {_number(found.st_rdev)} if stat.S_ISBLK(found.st_mode) else numbers

    def uses(self, path: str, holders: list[Holder]) -> tuple[list[Mount], list[str]]:
        """Where a device, or what is over it, is mounted, and which of them are swap."""
        numbers = self._numbers(path, holders)
        mounts = parse_mounts(_text(os.path.join(self._proc, "self/mounts")))
        swaps = parse_swaps(_text(os.path.join(self._proc, "swaps")))
        return (
            [mount for mount in mounts if _block(mount.source) in numbers],
            [swap for swap in swaps if _block(swap) in numbers or os.path.realpath(swap) == os.path.realpath(path)],
        )

    def tpms(self) -> tuple[int, ...]:
        """The major version of each TPM: 1 or 2."""
        folder = os.path.join(self._sys, "class/tpm")
        names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        # Linux 5.6 and later have the file; before it, only a TPM 1.2 has one with the name caps.
        told = [(_text(os.path.join(folder, name, "tpm_version_major")), os.path.join(folder, name, "device/caps")) for name in names]
        return tuple(int(version) if version else 1 if os.path.exists(caps) else 2 for version, caps in told)


def _devices(names: set[str]) -> tuple[str, ...]:
    """Those that are none of the device mapper."""
    return tuple(sorted(name for name in names if not name.startswith("dm-")))


def _holder(name: str, folder: str) -> Holder:
    partition = os.path.exists(os.path.join(folder, "partition"))
    return Holder(name, _text(os.path.join(folder, "dm/name")), _text(os.path.join(folder, "dm/uuid")), partition)


def _number(device: int) -> str:
    return f"{os.major(device)}:{os.minor(device)}"


def _block(path: str) -> str:
    """The number of a block device; a minus where the path is that of none, or no path at all."""
    if not path.startswith("/"):
        return "-"
    try:
        found = os.stat(path)
    except OSError:  # a name of another mount namespace
        return "-"
    return _number(found.st_rdev) if stat.S_ISBLK(found.st_mode) else "-"


def _text(path: str) -> str:
    """A file of the kernel without the end of its line; empty where there is none."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as stream:
            return stream.read().rstrip("\n")
    except OSError:
        return ""
