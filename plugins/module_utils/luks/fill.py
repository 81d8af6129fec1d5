# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random bytes over a whole device: zeros, written through a throw-away dm-crypt mapping whose key nobody knows.

How far it is stands in a file under /run/rootoftrust, which a person can follow, and from which the next run goes on where one was
cut. After a boot the file is gone, and it begins anew.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import stat
import time
from contextlib import suppress

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.files import atomic_write
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner, memory_folder
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.cryptsetup import Cryptsetup
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_containers import FILL_NAME, Filled

CHUNK = 4 * 1024 * 1024  # bytes
OFTEN = 1.0  # seconds between two lines of progress
KEY_BYTES = 64
CLOSING = 10.0  # seconds to wait for the kernel, and for udev, to let go of a mapping
MIB = 1024 * 1024


def device_key(path: str) -> str:
    """A short name of a device, or of a file, for as long as this boot lasts."""
    found = os.stat(path)
    if stat.S_ISBLK(found.st_mode):
        return f"{os.major(found.st_rdev)}-{os.minor(found.st_rdev)}"
    return hashlib.sha256(os.fsencode(os.path.realpath(path))).hexdigest()[:16]


def state_folder() -> str:
    """Where what this collection does at the moment is kept: in memory."""
    folder = os.path.join(memory_folder(), "rootoftrust")
    os.makedirs(folder, mode=0o700, exist_ok=True)
    return folder


class RandomFill:
    """:param runner: starts cryptsetup."""

    def __init__(self, runner: Runner) -> None:
        self._cryptsetup = Cryptsetup(runner)

    @staticmethod
    def _progress_file(path: str) -> str:
        return os.path.join(memory_folder(), "rootoftrust", f"fill-{device_key(path)}.json")

    def done(self, path: str, size: int) -> int:
        """Bytes that a run which was cut had filled; as many as the device has where it was cut after that."""
        try:
            with open(self._progress_file(path), encoding="utf-8") as stream:
                found = json.load(stream)
            return int(found["done"]) if found["device"] == path and found["total"] == size else 0
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def forget(self, path: str) -> None:
        """The device is about to be, or has been, given its header."""
        with suppress(FileNotFoundError):
            os.unlink(self._progress_file(path))

    def run(self, path: str, size: int) -> Filled:
        """Fill what is not filled yet.

        :raises RootOfTrustError: if the mapping does not go away afterwards.
        """
        first, started = self.done(path, size) // CHUNK * CHUNK, time.monotonic()
        name = FILL_NAME + device_key(path)
        state_folder()
        # Large sectors are a fifth faster; which are used does not matter to what nobody decrypts.
        self._cryptsetup.open_plain(path, name, Secret(os.urandom(KEY_BYTES)), 512 if size % 4096 else 4096)
        try:
            target = os.open(f"/dev/mapper/{name}", os.O_WRONLY | os.O_DIRECT)
        except OSError:
            self._cryptsetup.close(name)
            raise
        try:
            # From here on the kernel closes it, however this process ends.
            self._cryptsetup.close_with_its_last_user(name)
            self._write(target, path, first, size, started)
            os.fsync(target)
        finally:
            os.close(target)
        self._wait_until_closed(name)
        self._tell(path, size, size, first, started)
        return Filled((size - first) / MIB, time.monotonic() - started)

    def _write(self, target: int, path: str, first: int, size: int, started: float) -> None:
        end = os.lseek(target, 0, os.SEEK_END)
        position = os.lseek(target, min(first, end), os.SEEK_SET)
        told = started
        with mmap.mmap(-1, CHUNK) as zeros, memoryview(zeros) as view:  # on a page of its own, as O_DIRECT asks for
            while position < end:
                position += os.write(target, view[: min(CHUNK, end - position)])
                if time.monotonic() - told >= OFTEN:
                    told = time.monotonic()
                    self._tell(path, position, size, first, started)

    def _tell(self, path: str, done: int, total: int, first: int, started: float) -> None:
        speed = (done - first) / MIB / max(time.monotonic() - started, 0.001)
        line = {
            "device": path,
            "pid": os.getpid(),
            "done": done,
            "total": total,
            "percent": round(100 * done / total, 1),
            "mib_per_second": round(speed, 1),
            "seconds_left": round((total - done) / MIB / speed) if speed else None,
        }
        atomic_write(self._progress_file(path), json.dumps(line).encode("utf-8") + b"\n", 0o644)

    @staticmethod
    def _wait_until_closed(name: str) -> None:
        deadline = time.monotonic() + CLOSING
        while os.path.lexists(f"/dev/mapper/{name}"):
            if time.monotonic() > deadline:
                raise RootOfTrustError(f"The mapping {name} is still there {CLOSING:g} s after it was closed.", "See who has it open.")
            time.sleep(0.02)  # between two looks, until the deadline, which fails above
