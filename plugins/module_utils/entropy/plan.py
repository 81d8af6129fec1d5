# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What to do: which sources fit a host, whether the gate opens, and how the hw_random framework gets to where it should be."""

from __future__ import annotations

from typing import Callable, Iterator, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.fips import BLOCK_BYTES, BOOTSTRAP_BYTES, bytes_for
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.model import (
    BEST,
    Choice,
    Finding,
    Gate,
    Host,
    Hwrng,
    Pool,
    Recommendation,
    Sampling,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.verdict import reasons

QUALITY_RANGE = range(1025)  # bits per 1024 bits, as rng_quality takes it
SUBJECT = "/sys/class/misc/hw_random"
FINAL = frozenset(
    {"quality_stuck", "quality_biased", "quality_too_many_failures", "quality_permission", "quality_unsuitable"}
)  # no waiting mends these


def recommend(host: Host) -> Recommendation:
    """The sources that fit: ``kernel`` (nothing to install), ``rngd``, ``jitterentropy``; none in a container."""
    if host.container:
        return Recommendation((), "The pool is that of the container's host; feed it there.")
    if host.hwrng.credited:
        return Recommendation(("kernel",), f"The kernel feeds itself from {host.hwrng.current} and counts it.")
    if host.fips:
        return Recommendation(
            ("kernel",),
            "In FIPS mode the kernel feeds itself from its own jitter source, and the unit of rngd may refuse to start.",
        )
    if host.hwrng.current:
        why = "counts nothing of it" if host.hwrng.fed else "does not feed itself from it"
        return Recommendation(("rngd",), f"There is a hardware generator ({host.hwrng.current}), but the kernel {why}.")
    if host.cpu.any:
        return Recommendation(("rngd",), "There is no hardware generator, but the processor has instructions for random numbers.")
    if host.pool.blocking or not host.pool.crng_ready:
        return Recommendation(("jitterentropy",), "There is no hardware source, and this kernel does not keep itself seeded.")
    return Recommendation(("kernel",), "There is no hardware source; this kernel seeds itself from the jitter of its timer.")


def _kernel_suffices(host: Host) -> bool:
    """Kernels from 5.6 on seed themselves from the jitter of their timer where they have nothing better."""
    return host.hwrng.credited or (host.pool.crng_ready and not host.pool.blocking)


def _kernel_hwrng_feeds(host: Host) -> bool:
    return host.hwrng.credited


def _tpm_feeds(host: Host) -> bool:
    return host.hwrng.current.startswith("tpm-rng")


def _any_hwrng(host: Host) -> bool:
    return bool(host.hwrng.current)


def _daemon(name: str) -> Callable[[Host], bool]:
    return lambda host: any(feeder.name == name and feeder.active and feeder.credited and not feeder.fake for feeder in host.feeders)


SOURCES: Mapping[str, tuple[Callable[[Host], bool], str]] = {  # word → (is it there, what to do)
    "kernel": (_kernel_suffices, "Add a hardware generator, rngd or jitterentropy-rngd: this kernel does not keep itself seeded."),
    "kernel-hwrng": (
        _kernel_hwrng_feeds,
        "Load the driver of a hardware generator; where its quality is 0, set it (module rootoftrust.linux.hwrng) or use rngd.",
    ),
    "rngd": (_daemon("rngd"), "Install rngd and start it with a real source."),
    "haveged": (_daemon("haveged"), "Install and start haveged."),
    "jitterentropy": (_daemon("jitterentropy"), "Install and start jitterentropy-rngd."),
    "tpm": (
        _tpm_feeds,
        "Enable the TPM in the firmware, and choose its generator with the module rootoftrust.linux.hwrng (name: tpm-rng-0).",
    ),
    "any-hwrng": (
        _any_hwrng,
        "Load the driver of a hardware generator; in a virtual machine add a virtio-rng device on its host.",
    ),
}


def check_gate(pool: Pool, gate: Gate) -> None:
    """Refuse what can never come true.

    :raises RootOfTrustError: if ``min_bits`` is more than the pool holds.
    """
    if gate.min_bits is not None and gate.min_bits > pool.poolsize:
        finding = Finding(
            "min_bits_unreachable",
            f"min_bits is {gate.min_bits}, but this kernel's pool holds {pool.poolsize} bits and its estimate never exceeds that.",
            "Leave min_bits out: the gate then uses the kernel's own threshold.",
        )
        raise RootOfTrustError(finding.text, finding.remedy, {"reasons": [vars(finding)], "healthy": False, "waited": 0.0})


def unmet(host: Host, gate: Gate) -> tuple[Finding, ...]:
    """What still keeps the gate shut."""
    return (*reasons(host), *_too_few_bits(host.pool, gate), *_sources_absent(host, gate))


def _too_few_bits(pool: Pool, gate: Gate) -> Iterator[Finding]:
    wanted = pool.ready_bits if gate.min_bits is None else gate.min_bits
    if pool.entropy_avail < wanted:
        yield Finding(
            "too_few_bits",
            f"The pool's estimate is {pool.entropy_avail} bits; {wanted} are asked for.",
            "Wait longer, or add a source.",
        )


def _sources_absent(host: Host, gate: Gate) -> Iterator[Finding]:
    for source in gate.sources:
        if source in SOURCES:
            there, remedy = SOURCES[source]
            present = there(host)
            text = f"The required source {source} does not feed the pool."
        else:
            present = source == host.hwrng.current
            seen = ", ".join(host.hwrng.available) or "none"
            in_use = host.hwrng.current or "none"
            text = f"The required hardware generator {source} is not in use (in use: {in_use}; available: {seen})."
            remedy = "Load its driver, and choose it with the module rootoftrust.linux.hwrng."
        if not present:
            yield Finding("source_absent", text, f"{remedy} In a container this is a matter of its host." if host.container else remedy)


def sampling(source: str, blocks: int, timeout: float, max_failures: int | None, max_bytes: int | None = None) -> Sampling:
    """How a source is to be judged.

    :raises RootOfTrustError: if a number makes no sense.
    """
    if max_bytes is not None:
        blocks = min(blocks, (max_bytes - BOOTSTRAP_BYTES) // BLOCK_BYTES)
    if blocks < 1:
        raise RootOfTrustError("There is not one block to test.", f"Give at least 1 for blocks, and at least {bytes_for(1)} for max_bytes.")
    if timeout <= 0:
        raise RootOfTrustError(f"The timeout is {timeout:g} s.", "Give a number above 0.")
    if max_failures is not None and max_failures < 0:
        raise RootOfTrustError(f"max_failures is {max_failures}.", "Give 0 or more, or leave it out.")
    return Sampling(source=source, blocks=blocks, timeout=timeout, max_failures=max_failures)


def plan_hwrng(current: Hwrng, desired: Choice) -> Sequence[Step]:
    """The steps to the desired generator and quality.

    :raises RootOfTrustError: if the generator is unknown, or the quality out of range or not settable.
    """
    _check_choice(current, desired)
    steps = []
    changes_name = _must_choose(current, desired)
    if changes_name:
        steps.append(
            Step(
                subject=SUBJECT,
                action="name",
                sentence=f"Use {_wording(desired.name)} instead of {current.current or 'none'}.",
                before={"name": current.current, "selected": current.selected},
                after={"name": desired.name, "selected": desired.name != BEST},
                detail=desired,
            )
        )
    if desired.quality is not None and (changes_name or desired.quality != current.quality):
        steps.append(
            Step(
                subject=SUBJECT,
                action="quality",
                sentence=f"Count {desired.quality} of 1024 bits from it as entropy.",
                before={"quality": current.quality},
                after={"quality": desired.quality},
                detail=desired,
            )
        )
    return steps


def _wording(name: str) -> str:
    return "the generator that the kernel finds best" if name == BEST else name


def _must_choose(current: Hwrng, desired: Choice) -> bool:
    if desired.name == BEST:
        return bool(current.selected) or not current.current
    return desired.name != current.current


def _check_choice(current: Hwrng, desired: Choice) -> None:
    there = ", ".join(current.available) or "none"
    if desired.name != BEST and desired.name not in current.available:
        raise RootOfTrustError(
            f"The hardware generator {desired.name} is not available; available: {there}.",
            "Load its driver, or name one of these.",
            {"available": current.available},
        )
    if not current.available:
        raise RootOfTrustError("The kernel has no hardware generator to choose from.", "Load the driver of one (e.g. modprobe virtio_rng).")
    if desired.quality is None:
        return
    if desired.quality not in QUALITY_RANGE:
        raise RootOfTrustError(f"quality is {desired.quality}; it is counted in bits of 1024.", "Give a number from 0 to 1024.")
    if not current.quality_settable:
        raise RootOfTrustError(
            "This kernel has no attribute rng_quality.",
            "Start it with rng_core.default_quality= on its command line, or leave quality out.",
        )
