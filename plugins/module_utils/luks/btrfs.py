# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""btrfs(8): the size of a btrfs that is mounted and has one device."""

from __future__ import annotations

import re

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_encryption import FileSystem

LEAST = 256 * 1024 * 1024  # bytes; the kernel refuses to go below (fs/btrfs/ioctl.c)
HOURS = 24 * 3600.0  # seconds; what lies at the end has to be moved


class Btrfs:
    """:param runner: starts it."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def look(self, path: str, uuid: str) -> FileSystem:
        """Its size; how small its data lets it be is known only by trying."""
        devices = self._devices(path)
        if len(devices) != 1:
            return FileSystem("btrfs", uuid, fault=f"has {len(devices)} devices, which is not supported")
        return FileSystem("btrfs", uuid, devices[0][1], LEAST)

    def _devices(self, at: str) -> list[tuple[str, int]]:
        """The number of each of its devices, and how many bytes it takes of it; at its mount point, or at a device of it."""
        text = self._runner.run(["btrfs", "filesystem", "show", "--raw", at]).text
        return [(number, int(size)) for number, size in re.findall(r"devid\s+(\d+)\s+size\s+(\d+)", text)]

    def _only_device(self, target: str) -> str:
        """The number of its device: not 1 where that was replaced by another. Without a number btrfs takes 1."""
        devices = self._devices(target)
        if len(devices) != 1:
            raise RootOfTrustError(
                f"The btrfs at {target} has {len(devices)} devices by now.", "Leave it the one that is encrypted (btrfs device remove)."
            )
        return devices[0][0]

    def shrink(self, target: str, size: int) -> None:
        """
        :param target: where it is mounted.
        :param size: bytes.
        """
        asked = f"{self._only_device(target)}:{size}"
        done = self._runner.run(["btrfs", "filesystem", "resize", asked, target], ok=None, timeout=HOURS)
        if done.rc != 0:
            raise RootOfTrustError(f"btrfs cannot make {target} smaller: {done.error_text}", "Delete files, or choose room: header.")

    def grow(self, target: str) -> None:
        self._runner.run(["btrfs", "filesystem", "resize", f"{self._only_device(target)}:max", target])
