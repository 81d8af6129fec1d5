# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A /home that is in use: files with known digests, and a service that writes there all the time and so shows when it was away."""

from __future__ import annotations

import itertools

from lab.machine import Machine

# Its pause is the resolution of what it shows. What a power cut has torn it drops at its start, as a program does that keeps a journal.
WRITER = r"""
import os, time
out = os.open("/home/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
whole = open("/home/log", "rb").read().partition(b"\0")[0].rpartition(b"\n")
os.ftruncate(out, len(whole[0]) + len(whole[1]))
number = (whole[0] + whole[1]).count(b"\n")
while True:
    os.write(out, b"%d %.3f\n" % (number, time.time()))
    number += 1
    time.sleep(0.01)
"""
UNIT = "[Service]\nExecStart=/usr/bin/python3 /root/writer.py\n[Install]\nWantedBy=multi-user.target\n"
WITH_HOME = "[Unit]\nRequiresMountsFor=/home\n"


def fill(machine: Machine, disk: str, mib: int) -> None:
    """An ext4 at /home, full of files whose digests are known, with a service that writes there all the time."""
    machine.run(
        f"mkfs.ext4 -q -F -b 4096 {disk} && mkdir -p /home && mount {disk} /home && mkdir /home/alice && cd /home/alice"
        f" && head -c {mib}M /dev/urandom | split -b 1000000 - part- && sha256sum * > /root/digests && sync",
        timeout=1800,
    )
    machine.run(["tee", "/root/writer.py"], stdin=WRITER)
    machine.run(["tee", "/etc/systemd/system/writer.service"], stdin=UNIT)
    machine.run("systemctl daemon-reload && systemctl start writer")


def write_after_boots(machine: Machine) -> None:
    """Have the writer started at each boot, as soon as /home is mounted: by then fstab has to name it."""
    units = "/etc/systemd/system"
    machine.run(
        f"cd {units} && mkdir -p writer.service.d home.mount.wants && cat > writer.service.d/home.conf"
        # Not by systemctl add-wants, which refuses a mount that is made of fstab.
        " && ln -sf ../writer.service home.mount.wants/writer.service && systemctl daemon-reload",
        stdin=WITH_HOME,
    )


def is_whole(machine: Machine) -> bool:
    """Whether each file is as it was, read from the disk."""
    return machine.run("cd /home/alice && sha256sum --quiet -c /root/digests", check=False, timeout=1800).returncode == 0


def gaps(machine: Machine) -> list[float]:
    """The pauses between two lines of the writer, longest first; no line may be missing."""
    lines = [line.split() for line in machine.run("cat /home/log").stdout.splitlines()]
    assert [int(number) for number, dummy in lines] == list(range(len(lines)))
    times = [float(seconds) for dummy, seconds in lines]
    return sorted((later - earlier for earlier, later in itertools.pairwise(times)), reverse=True)


def lines_written(machine: Machine) -> int:
    """How many lines the writer has written."""
    return int(machine.run("wc -l < /home/log").stdout)
