# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long it takes until a file system with data in it is encrypted, and for how long it is away: in place, by three ways.

Each begins with the same disk, on the same User Mode Linux machine, in turns, and has to give back every file. luks_encryption is a run of
Ansible that starts the work, and another when it has ended; the others are commands in the machine.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.torture.jobs import NAME, Encryption
from tests.torture.rig import CHEAP_OPTIONS, KEY, MOUNT, Rig

# As large as this host bears: what does not grow with the disk, the start and end of Ansible's runs, is to be seen as what it is.
SIZE, FILES, REPETITIONS = "32G", 1400, 2
LONGEST = 1200.0  # seconds that a command may take
UNIT = f"rootoftrust-luks-{NAME}.service"
# As luks_encryption does it: 64 MiB less while the header is written, all but 16 MiB of it back in the end.
_SHRUNK = "$(($(blockdev --getsize64 {disk}) / 1024 - 65536))K"


@dataclass(frozen=True)
class Time:
    """Seconds of one run: in all, and without the file system."""

    whole: float
    away: float


class Bench:
    """The ways, and the machine that they are tried on."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.job = Encryption(rig)
        self.job.files = FILES
        self.job.prepare()
        rig.run(f"umount {MOUNT} && rm /etc/crypttab && e2fsck -fp {rig.disk} > /dev/null && sync", check=False)
        rig.keep()

    def ours(self) -> Time:
        start = time.perf_counter()
        # Ansible does not wait: its looks would take the one processor that the machine has.
        first = self.rig.play(*self.job.tasks(wait=False))
        # Who asks systemd again and again takes the one processor that the machine has.
        self.rig.run(
            f"tail --pid=$(systemctl show -P MainPID {UNIT}) -s 0.5 -f /dev/null;"
            f" while systemctl is-active {UNIT} | grep -q activating; do sleep 0.2; done"
        )
        last = self.rig.play(*self.job.tasks(wait=False))
        whole = time.perf_counter() - start
        assert (first.rc, last.rc) == (0, 0), first.output[-2000:] + last.output[-2000:]
        return Time(whole, first.result(self.rig.machine.name, "task")["encryptions"][0]["away_seconds"])

    def _shrink(self) -> str:
        disk = self.rig.disk
        checked = f"{{ e2fsck -fp {disk} > /dev/null || [ $? = 1 ]; }}"  # 1: it has mended something, which is as good
        # -f: resize2fs overestimates the least size of a file system that is half full.
        return f"umount {MOUNT} && {checked} && resize2fs -f {disk} {_SHRUNK.format(disk=disk)} > /dev/null 2>&1"

    def _begin(self) -> str:
        common = f"--encrypt -q --type luks2 {CHEAP_OPTIONS} --reduce-device-size 32M --key-file {KEY}"
        return f"cd /run && cryptsetup reencrypt {common}"

    def offline(self) -> Time:
        shrunk = self._commands(self._shrink())
        work = self._commands(f"{self._begin()} {self.rig.disk}")
        rest = self._commands(
            f"cryptsetup open --key-file {KEY} {self.rig.disk} {NAME}",
            f"resize2fs /dev/mapper/{NAME} > /dev/null 2>&1 && mount /dev/mapper/{NAME} {MOUNT}",
        )
        whole = shrunk.whole + work.whole + rest.whole
        return Time(whole, whole)

    def online(self) -> Time:
        away = self._commands(self._shrink(), f"{self._begin()} --init-only {self.rig.disk} {NAME} && mount /dev/mapper/{NAME} {MOUNT}")
        work = self._commands(f"cryptsetup reencrypt -q --resume-only --active-name {NAME} --key-file {KEY}")
        rest = self._commands(f"cryptsetup resize --key-file {KEY} {NAME}", f"resize2fs /dev/mapper/{NAME} > /dev/null 2>&1")
        return Time(away.whole + work.whole + rest.whole, away.whole)

    def old_recipe(self) -> Time:
        """Without overwriting the disk, which the recipe has too, and which would take as long once more."""
        disk, other = self.rig.machine.disks
        return self._commands(
            f"mkfs.ext4 -q -F {other} && mount {other} /mnt && tar -C {MOUNT} -cf /mnt/home.tar . && umount {MOUNT}",
            f"cryptsetup luksFormat -q --type luks2 {CHEAP_OPTIONS} --key-file {KEY} {disk}",
            f"cryptsetup open --key-file {KEY} {disk} {NAME}",
            f"mkfs.ext4 -q /dev/mapper/{NAME} && mount /dev/mapper/{NAME} {MOUNT} && tar -C {MOUNT} -xf /mnt/home.tar && sync",
        )

    def _commands(self, *commands: str) -> Time:
        start = time.perf_counter()
        for command in commands:
            self.rig.run(command)
        whole = time.perf_counter() - start
        return Time(whole, whole)

    def one(self, way: Callable[[], Time]) -> Time:
        self.rig.put_back()
        self.rig.run(f"mountpoint -q {MOUNT} || mount {MOUNT}; sync; echo 3 > /proc/sys/vm/drop_caches")
        taken = way()
        self.job.check_data()
        return taken


def table() -> list[str]:
    """Markdown."""
    rig = Rig("bench-encryption", "13", "uml", SIZE, SIZE)
    rig.longest = LONGEST
    try:
        bench = Bench(rig)
        ways = {
            "`cryptsetup reencrypt`, in use meanwhile": bench.online,
            "luks_encryption": bench.ours,
            "`cryptsetup reencrypt`, not in use": bench.offline,
            "tar, luksFormat, mkfs, tar": bench.old_recipe,
        }
        times: dict[str, list[Time]] = {name: [] for name in ways}
        for dummy in range(REPETITIONS):
            for name, way in ways.items():
                times[name].append(bench.one(way))
    finally:
        rig.close()
    medians = {name: statistics.median(taken.whole for taken in found) for name, found in times.items()}
    reference = next(iter(medians.values()))
    lines = ["| way | whole, min | whole, median | away, median | whole, of the first way's median |", "|---|---|---|---|---|"]
    for name, found in times.items():
        least, away = min(taken.whole for taken in found), statistics.median(taken.away for taken in found)
        lines.append(f"| {name} | {least:.1f} s | {medians[name]:.1f} s | {away:.1f} s | {medians[name] / reference:.2f} |")
    return lines
