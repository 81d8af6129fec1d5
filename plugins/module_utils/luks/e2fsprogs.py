# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""dumpe2fs(8), e2fsck(8), resize2fs(8), e2undo(8): the size of an ext2, ext3 or ext4."""

from __future__ import annotations

import os

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.files import sync_folder
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.parse import parse_ext
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_encryption import FileSystem

HOURS = 24 * 3600.0  # seconds: a check of a large file system may take long, and must not be stopped half-way
UNDO_BLOCK = 4096  # bytes of the blocks with which an undo file works
MARGIN, LEAST_MARGIN = 50, 8 * 1024 * 1024  # a fiftieth of what is in use, and 8 MiB: for directories and extents that grow when moved
CORRECTED, UNABLE = 1, 8  # exit statuses of e2fsck: errors were corrected; it could not work at all


class E2fsprogs:
    """:param runner: starts the programs."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def look(self, path: str, target: str | None = None) -> FileSystem:
        """Its size, the least size that is possible, and what forbids to touch it.

        The least size is what is in use, and something for what has to be moved. It is not what ``resize2fs -P`` estimates: that may be
        the whole of a file system of 1 GiB that is two thirds full (seen with 1.47.2).

        :param target: where it is mounted: the superblock is old then, and what is free is asked of the kernel.
        """
        found = parse_ext(self._runner.run(["dumpe2fs", "-h", path]).text)
        size = found.blocks * found.block_size
        used = size - (_free(target) if target else found.free * found.block_size)
        rigid = "has the feature bigalloc, which resize2fs is not made for" if "bigalloc" in found.features else ""
        fault = "has errors, says its superblock" if found.errors else ""
        return FileSystem(found.type, found.uuid, size, used + used // MARGIN + LEAST_MARGIN, fault, rigid)

    def mark(self, path: str) -> str:
        """What a mount or a repair changes, and resize2fs does not."""
        text = self._runner.run(["dumpe2fs", "-h", path], ok=None).text
        return "; ".join(line for line in text.splitlines() if line.startswith(("Last mount time", "Mount count", "Last checked")))

    def check(self, path: str) -> None:
        """Check the whole of one that is not mounted, and correct what can be corrected without a person.

        :raises RootOfTrustError: if there is more to correct, or it cannot be checked.
        """
        done = self._runner.run(["e2fsck", "-f", "-p", path], ok=None, timeout=HOURS)
        if done.rc == UNABLE:
            said = " ".join(f"{done.text} {done.error_text}".split())
            raise RootOfTrustError(f"e2fsck cannot check {path}: {said}", "See who has it open, or whether the device has faults.")
        if done.rc not in (0, CORRECTED):
            raise RootOfTrustError(
                f"The file system on {path} has errors that e2fsck does not correct by itself (exit status {done.rc}).",
                f"Run e2fsck -f {path} and look at what it asks.",
                facts={"e2fsck": (done.text + done.error_text)[-2000:]},
            )

    def shrink(self, path: str, size: int, undo: str) -> None:
        """Make one that is not mounted smaller. What is overwritten is kept in the undo file until all is on the device.

        With blocks of less than 4 KiB, as in a file system of less than 512 MiB, resize2fs 1.47.2 fails where it is to keep an undo
        file ("Resize inode is corrupt"); without one it does not. A cut is then left to e2fsck.

        :param size: bytes.
        """
        if os.path.exists(undo):
            os.unlink(undo)
        small = parse_ext(self._runner.run(["dumpe2fs", "-h", path]).text).block_size < UNDO_BLOCK
        # It was checked just now, and the size is weighed in look(): so -f, against resize2fs's own estimate.
        self._runner.run(["resize2fs", "-f", *([] if small else ["-z", undo]), path, f"{size // 1024}K"], timeout=HOURS)
        _sync_device(path)
        self.forget(undo)

    def undo(self, path: str, undo: str) -> None:
        """Bring back what a run of :meth:`shrink` that was cut has overwritten, and repair the rest."""
        if os.path.exists(undo):
            self._runner.run(["e2undo", "-f", undo, path], ok=None, timeout=HOURS)
        # Whatever e2undo made of it: the check that follows has the last word.
        self._runner.run(["e2fsck", "-f", "-y", path], ok=None, timeout=HOURS)
        _sync_device(path)
        self.forget(undo)

    def grow(self, path: str, mounted: bool) -> None:
        """Let it take all of its device."""
        if not mounted:
            self.check(path)
        self._runner.run(["resize2fs", path], timeout=HOURS)

    @staticmethod
    def forget(undo: str) -> None:
        if os.path.exists(undo):
            os.unlink(undo)
            sync_folder(os.path.dirname(undo))


def _free(target: str) -> int:
    found = os.statvfs(target)
    return found.f_bfree * found.f_frsize


def _sync_device(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
