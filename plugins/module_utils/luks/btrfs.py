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
        text = self._runner.run(["btrfs", "filesystem", "show", "--raw", path]).text
        devices = re.findall(r"devid\s+\d+\s+size\s+(\d+)", text)
        if len(devices) != 1:
            return FileSystem("btrfs", uuid, fault=f"has {len(devices)} devices, which is not supported")
        return FileSystem("btrfs", uuid, int(devices[0]), LEAST)

    def shrink(self, target: str, size: int) -> None:
        """
        :param target: where it is mounted.
        :param size: bytes.
        """
        done = self._runner.run(["btrfs", "filesystem", "resize", str(size), target], ok=None, timeout=HOURS)
        if done.rc != 0:
            raise RootOfTrustError(f"btrfs cannot make {target} smaller: {done.error_text}", "Delete files, or choose room: header.")

    def grow(self, target: str) -> None:
        self._runner.run(["btrfs", "filesystem", "resize", "max", target])
