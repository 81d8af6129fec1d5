# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is known of a host's entropy: the kernel's pool, who feeds it, from what, and what was found wrong with it."""

from __future__ import annotations

from dataclasses import dataclass, field

NO_HWRNG = "none"  # what rng_current prints when nothing is selected; newer kernels (seen: 6.18) list it in rng_available too
BEST = "best"  # the name by which the choice is left to the kernel


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be.

    :ivar code: one lower-case word for programs.
    :ivar text: the fact, for people.
    :ivar remedy: what to do about it.
    """

    code: str
    text: str
    remedy: str


@dataclass(frozen=True)
class Pool:
    """The kernel's input pool and the generator behind it.

    :ivar entropy_avail: bits, as the kernel estimates.
    :ivar poolsize: bits. 256 on kernels with the BLAKE2s pool (5.18 and the stable series that took it over), 4096 before.
    :ivar crng_ready: whether getrandom() gives bytes without waiting: the generator was seeded.
    :ivar blocking: whether /dev/random waits whenever the estimate is low (up to Linux 5.5).
    """

    entropy_avail: int
    poolsize: int
    crng_ready: bool
    blocking: bool = False

    @property
    def kind(self) -> str:
        """``bits256`` or ``legacy4096``, by the size: the version says nothing, since 5.10 and 5.15 got the new pool late."""
        return "bits256" if self.poolsize <= 256 else "legacy4096"

    @property
    def ready_bits(self) -> int:
        """The estimate at which the kernel seeds its generator: all of a 256-bit pool, 128 bits of the older one (random.c of each)."""
        return self.poolsize if self.kind == "bits256" else 128


@dataclass(frozen=True)
class Hwrng:
    """The kernel's hw_random framework.

    :ivar present: whether the kernel has it at all (and shows it here).
    :ivar available: names of the generators.
    :ivar current: the one in use, or empty.
    :ivar selected: whether a person chose it; None where the kernel does not say.
    :ivar quality: credited bits per 1024 bits read; None where the kernel does not say.
    :ivar quality_settable: whether ``rng_quality`` exists.
    :ivar device: whether /dev/hwrng is there.
    :ivar fed: whether the kernel's own thread feeds the pool from it.
    """

    present: bool = False
    available: tuple[str, ...] = ()
    current: str = ""
    selected: bool | None = None
    quality: int | None = None
    quality_settable: bool = False
    device: bool = False
    fed: bool = False

    @property
    def credited(self) -> bool:
        """Whether what the kernel takes from it counts as entropy."""
        return bool(self.fed and self.current and self.quality)


@dataclass(frozen=True)
class Process:
    """A running program that may feed the pool."""

    pid: int
    name: str
    argv: tuple[str, ...] = ()

    @property
    def is_kernel_thread(self) -> bool:
        """Kernel threads have no command line."""
        return not self.argv


@dataclass(frozen=True)
class Unit:
    """A systemd unit, as ``systemctl show`` has it.

    :ivar skipped: whether the last start was given up because a condition did not hold (which systemd calls a success).
    """

    name: str
    active: str
    enabled: str
    result: str = ""
    skipped: bool = False
    main_pid: int = 0
    argv: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()


@dataclass(frozen=True)
class Feeder:
    """Something that puts bytes into the pool, or is set up to.

    :ivar name: kernel-hwrng, rngd, haveged, jitterentropy, infnoise or clrngd.
    :ivar flavour: which of the programs called rngd it is: rng-tools5, rng-tools-debian or rng-tools-6.
    :ivar unit: its systemd unit, or empty.
    :ivar active: whether it runs.
    :ivar credited: whether the kernel counts what it gives.
    :ivar sources: the devices it was told to read; empty where it takes its defaults.
    :ivar fake: whether one of these is the kernel's own pool.
    :ivar state: the unit's state, for a daemon that does not run: inactive, failed or skipped.
    :ivar test_mode: whether it throws away what it reads.
    """

    name: str
    active: bool
    credited: bool
    flavour: str = ""
    unit: str = ""
    enabled: bool = False
    sources: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    fake: bool = False
    state: str = ""
    test_mode: bool = False


@dataclass(frozen=True)
class Cpu:
    """Instructions of the processor that give random numbers: x86 (rdrand, rdseed), POWER (darn), Arm (rndr)."""

    rdrand: bool = False
    rdseed: bool = False
    darn: bool = False
    rndr: bool = False

    @property
    def any(self) -> bool:
        return self.rdrand or self.rdseed or self.darn or self.rndr


@dataclass(frozen=True)
class Tpm:
    """The first TPM: its version (``2.0``, ``1.2`` or empty) and whether the kernel uses its generator."""

    present: bool = False
    version: str = ""
    hwrng: bool = False


@dataclass(frozen=True)
class SeedFile:
    """A file that carries seed from one boot to the next.

    :ivar credit: what is counted: ``no``, ``yes``, ``force``, or ``kernel`` where the kernel decides (``random.trust_bootloader``).
    """

    path: str
    kind: str
    present: bool
    credit: str


@dataclass(frozen=True)
class Setting:
    """A line of a configuration file: where it stands, its name and its value."""

    path: str
    name: str
    value: str


@dataclass(frozen=True)
class Host:
    """All of it."""

    kernel: str
    pool: Pool
    hwrng: Hwrng = Hwrng()
    feeders: tuple[Feeder, ...] = ()
    cpu: Cpu = Cpu()
    tpm: Tpm = Tpm()
    virtualization: str = ""
    container: str = ""
    fips: bool = False
    seed_files: tuple[SeedFile, ...] = ()
    sysctls: tuple[Setting, ...] = ()
    fake_settings: tuple[Setting, ...] = ()


@dataclass(frozen=True)
class Gate:
    """What must hold before keys are made.

    :ivar min_bits: the least estimate, in bits; None means the kernel's own threshold.
    :ivar sources: names of hardware generators or words of SOURCES in plan.py.
    """

    min_bits: int | None = None
    sources: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recommendation:
    """The sources that fit a host, and why."""

    sources: tuple[str, ...]
    because: str


@dataclass(frozen=True)
class Choice:
    """What the hw_random framework shall use.

    :ivar name: a generator, or BEST.
    :ivar quality: 0 to 1024, or None to leave it.
    """

    name: str
    quality: int | None = None


@dataclass(frozen=True)
class Sampling:
    """How much of a source is judged: blocks, seconds, and failed blocks that are tolerated (None: by the binomial distribution)."""

    source: str
    blocks: int
    timeout: float
    max_failures: int | None = None


@dataclass(frozen=True)
class Sample:
    """What was read of a source and how its blocks fared.

    :ivar ended: ``complete``, or why not: silent, vanished, short, timeout, not_found, permission, unsuitable.
    :ivar detail: what the system said.
    """

    ended: str
    length: int
    seconds: float
    blocks: int
    failures: int
    failed: dict[str, int] = field(default_factory=dict)
    detail: str = ""
