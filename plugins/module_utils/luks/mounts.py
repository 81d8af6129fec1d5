# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""mount(8), umount(8), and who keeps a file system busy, by proc(5)."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Collection, Iterator

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import Mount
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.parse import parse_mounts
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_encryption import Process

LINKS = (("cwd", "has its working directory there"), ("root", "has its root there"), ("exe", "runs from there"))
PATIENCE = 10.0  # seconds from TERM to KILL, and again until it has to be gone
TRIES = 20  # of an unmount: what has just ended may take a moment to let go
PAUSE = 0.1  # seconds between two


class Mounts:
    """
    :param runner: starts the programs.
    :param proc: the mount point of proc.
    """

    def __init__(self, runner: Runner, proc: str = "/proc") -> None:
        self._runner = runner
        self._proc = proc

    def below(self, target: str) -> tuple[str, ...]:
        """What is mounted below a mount point."""
        with open(os.path.join(self._proc, "self/mounts"), encoding="utf-8", errors="surrogateescape") as stream:
            mounts = parse_mounts(stream.read())
        return tuple(mount.target for mount in mounts if mount.target.startswith(target.rstrip("/") + "/"))

    def mount(self, source: str, mount: Mount) -> None:
        """Mount as it was mounted before."""
        self._runner.run(["mount", "-t", mount.type, "-o", ",".join(mount.options), "--", source, mount.target])

    def unmount(self, target: str) -> None:
        """:raises ToolFailed: if it stays busy."""
        for dummy in range(TRIES):
            if self._runner.run(["umount", "--", target], ok=None).rc == 0:
                return
            time.sleep(PAUSE)  # between two tries; the last one fails below
        self._runner.run(["umount", "--", target])

    def busy(self, target: str, units: Collection[str]) -> tuple[Process, ...]:
        """The processes that have something open in a file system.

        :param units: of systemd, whose processes are passed over: they will be stopped.
        """
        device = os.stat(target).st_dev
        own = self._ancestors()
        found = []
        for pid in sorted(int(name) for name in os.listdir(self._proc) if name.isdigit()):
            what = "" if pid == os.getpid() else self._what(pid, device)
            if what and not self._units(pid) & set(units):
                found.append(Process(pid, self._read(pid, "comm").strip(), what, pid in own))
        return tuple(found)

    def terminate(self, target: str) -> None:
        """End those processes, by KILL where TERM does not help."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + PATIENCE
            victims = [process for process in self.busy(target, ()) if not process.own]
            for process in victims:
                _signal(process.pid, number)
            while victims and time.monotonic() < deadline:
                time.sleep(PAUSE)  # until they have ended; what is left gets the next signal, or keeps the unmount from succeeding
                victims = [process for process in self.busy(target, ()) if not process.own]
            if not victims:
                return

    def _what(self, pid: int, device: int) -> str:
        folder = os.path.join(self._proc, str(pid))
        for name, what in LINKS:
            if _device(os.path.join(folder, name)) == device:
                return what
        for path in self._open(folder):
            if _device(path) == device:
                return f"has {os.readlink(path)} open" if os.path.islink(path) else "has a file open"
        number = f" {os.major(device):02x}:{os.minor(device):02x} "
        return "has a file mapped" if number in self._read(pid, "maps") else ""

    @staticmethod
    def _open(folder: str) -> Iterator[str]:
        try:
            for name in os.listdir(os.path.join(folder, "fd")):
                yield os.path.join(folder, "fd", name)
        except OSError:  # it has ended
            return

    def _units(self, pid: int) -> set[str]:
        return {part for line in self._read(pid, "cgroup").splitlines() for part in line.split("/")}

    def _ancestors(self) -> set[int]:
        found, pid = set(), os.getpid()
        while pid > 1:
            found.add(pid)
            status = [line.split() for line in self._read(pid, "status").splitlines() if line.startswith("PPid:")]
            pid = int(status[0][1]) if status else 0
        return found

    def _read(self, pid: int, name: str) -> str:
        try:
            with open(os.path.join(self._proc, str(pid), name), encoding="utf-8", errors="replace") as stream:
                return stream.read()
        except OSError:  # it has ended
            return ""


def _device(path: str) -> int | None:
    try:
        return os.stat(path).st_dev
    except OSError:  # it has ended, or the file is no file
        return None


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
