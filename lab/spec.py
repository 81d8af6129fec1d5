# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine is to be, before any engine is chosen."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lab.errors import LabError

# The name becomes a network namespace, a host name (RFC 1123 label) and part of UNIX socket paths (108 bytes).
_NAME = re.compile(r"[a-z][a-z0-9-]{0,29}(?<!-)")
_SIZE = re.compile(r"([1-9][0-9]*)([MG])")
_UNITS = {"M": 2**20, "G": 2**30}

ENGINES = ("auto", "uml", "qemu")
TPM_VERSIONS = ("1.2", "2.0")
# Smallest memory on which systemd, sshd and python3 of every release were seen to start.
MIN_MEMORY = 128 * 2**20


def parse_size(text: str) -> int:
    """Bytes of a size such as ``512M`` or ``2G``; LabError for anything else."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise LabError(f"size {text!r}: not a whole number with M or G: write for example 512M")
    return int(match.group(1)) * _UNITS[match.group(2)]


@dataclass(frozen=True)
class MachineSpec:
    """A wished-for machine.

    :ivar name: lower-case letters, digits and hyphens, at most 30, starting with a letter.
    :ivar release: a Debian release as lab.releases knows it ("13", "trixie", "debian-13", ...).
    :ivar engine: "uml", "qemu", or "auto": the quickest that has all that is needed and runs on this host.
    :ivar memory: size, such as "512M".
    :ivar disks: sizes of the empty spare disks, in the order the guest sees them.
    :ivar tpm: version of an emulated TPM, or None.
    :ivar rng: False: the guest sees no hardware random number generator.
    :ivar kernel_args: added to the kernel command line; the last of two that contradict wins, as the kernel does it.
    :ivar cpus: number of virtual CPUs; None: what suits the engine.
    :ivar needs: capabilities (lab.engines) that "auto" must also satisfy, such as "snapshot".
    :ivar disk_from: name of a machine whose disks are copied: a clone, with an identity of its own.
    :ivar resume: with disk_from: the snapshot of that machine to go on from, in place of a boot.
    """

    name: str
    release: str = "13"
    engine: str = "auto"
    memory: str = "512M"
    disks: tuple[str, ...] = ()
    tpm: str | None = None
    rng: bool = True
    kernel_args: tuple[str, ...] = ()
    cpus: int | None = None
    needs: tuple[str, ...] = ()
    disk_from: str | None = None
    resume: str | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.engine not in ENGINES:
            raise LabError(f"machine {self.name}: no engine {self.engine!r}: take one of {', '.join(ENGINES)}")
        if parse_size(self.memory) < MIN_MEMORY:
            raise LabError(f"machine {self.name}: {self.memory} of memory is too little to boot: give at least 128M")
        for size in self.disks:
            parse_size(size)
        if self.tpm is not None and self.tpm not in TPM_VERSIONS:
            raise LabError(f"machine {self.name}: no TPM {self.tpm!r}: take one of {', '.join(TPM_VERSIONS)}")
        if self.cpus is not None and self.cpus not in (1, 2):
            raise LabError(f"machine {self.name}: {self.cpus} CPUs: take 1 or 2")
        if self.disk_from == self.name:
            raise LabError(f"machine {self.name}: cannot be its own clone: name another machine")
        if self.resume is not None and self.disk_from is None:
            raise LabError(f"machine {self.name}: a snapshot to resume needs the machine it was taken of: add disk_from")

    def capabilities(self) -> frozenset[str]:
        """What an engine must have to give this machine."""
        wanted = set(self.needs)
        if self.tpm is not None:
            wanted.add("tpm")
        if not self.rng:
            wanted.add("no-rng")
        if self.cpus == 2:
            wanted.add("smp")
        if self.resume is not None:
            wanted.add("snapshot")
        return frozenset(wanted)


def check_name(name: str) -> None:
    """LabError unless the name can be a machine's."""
    if _NAME.fullmatch(name) is None:
        raise LabError(f"machine name {name!r}: not usable: take 1 to 30 of a-z, 0-9 and -, a letter first")
