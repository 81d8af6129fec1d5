# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that tests measure against or serve with, unpacked into the cache where the host lacks them.

They are not installed: their packages start a daemon that the host's owner has not asked for.
"""

from __future__ import annotations

from pathlib import Path

from lab import cache, command, host
from lab.errors import LabError

# Program: its package in the releases the lab runs on, and where in it.
_UNPACKED = {
    "rngtest": ("rng-tools5", "usr/bin"),
    "sshd": ("openssh-server", "usr/sbin"),
    "strace": ("strace", "usr/bin"),
}
# Libraries that no other package of a small host brings; they are installed, for they start nothing.
_LIBRARIES = {"libwrap.so.0": "libwrap0", "libunwind-ptrace.so.0": "libunwind8", "libunwind-x86_64.so.8": "libunwind8"}


def folder(program: str) -> Path:
    """The folder that has ``program``: the host's own, else one in the cache."""
    found = host.find(program)
    if found is not None:
        return Path(found).parent
    if program not in _UNPACKED:
        raise LabError(f"program {program!r}: not one of {', '.join(_UNPACKED)}")
    package, place = _UNPACKED[program]
    found_in = cache.entry("program", program, f"apt-get download {package}", lambda into: _unpack(package, into)) / place
    needed = command.run(["ldd", found_in / program])
    absent = [name for line in needed.splitlines() if "not found" in line for name in line.split()[:1]]
    if absent:
        host.install(sorted({_LIBRARIES.get(name, name) for name in absent}))
    return found_in


def _unpack(package: str, into: Path) -> None:
    """The package of the host's own release: it fits the host's libraries."""
    host.require("dpkg-deb", "apt-get")
    try:
        command.run(["apt-get", "-qq", "download", package], cwd=into)
    except LabError:
        command.run(["apt-get", "-qq", "update"])
        command.run(["apt-get", "-qq", "download", package], cwd=into)
    (archive,) = into.glob("*.deb")
    command.run(["dpkg-deb", "--extract", archive, into])
    archive.unlink()
