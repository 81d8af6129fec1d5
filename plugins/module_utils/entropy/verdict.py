# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrong with a host's entropy or with a source, each with a code, the fact and what to do."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Iterable, Iterator

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.fips import (
    BLOCK_BYTES,
    BOOTSTRAP_BYTES,
    REPEAT_RATE,
    bytes_for,
    likely_failures,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.model import (
    Feeder,
    Finding,
    Host,
    Sample,
    Sampling,
)

LOW_LEGACY_BITS = 128  # below this, a read of /dev/random waits for long on kernels up to 5.5
VIRTIO_HYPERVISORS = ("kvm", "qemu")


def reasons(host: Host) -> tuple[Finding, ...]:
    """Why the pool is not healthy; empty when it is: the generator is seeded, and by nothing that only pretends to be a source."""
    return (*_not_ready(host), *_fake_feeders(host))


def notices(host: Host) -> tuple[Finding, ...]:
    """What is bad but no reason to stop."""
    checks = (_container, _low_pool, _hwrng, _virtio, _daemons, _fake_settings, _sysctls, _seeds)
    return tuple(finding for check in checks for finding in check(host))


def listed(findings: Iterable[Finding]) -> list[dict[str, str]]:
    """Findings as a module returns them."""
    return [asdict(finding) for finding in findings]


def describe(host: Host) -> dict[str, Any]:
    """The host as a module returns it."""
    pool, hwrng = host.pool, host.hwrng
    return {
        "kernel": host.kernel,
        "pool": {**asdict(pool), "kind": pool.kind, "ready_bits": pool.ready_bits},
        "hwrng": {
            **asdict(hwrng),
            "credited": hwrng.credited,
            "feeder": "kernel" if hwrng.fed and hwrng.current else "none",
        },
        "feeders": [asdict(feeder) for feeder in host.feeders],
        "cpu": asdict(host.cpu),
        "tpm": asdict(host.tpm),
        "virtualization": host.virtualization,
        "container": host.container,
        "fips": host.fips,
        "seed_files": [asdict(seed) for seed in host.seed_files],
    }


def describe_sample(sample: Sample, sampling: Sampling) -> dict[str, Any]:
    """A judged source as a module returns it."""
    found = source_reasons(sample, sampling)
    rate = sample.length * 8 / sample.seconds if sample.seconds else 0.0
    return {
        "healthy": not found,
        "reason": found[0].code if found else "",
        "reasons": listed(found),
        "source": sampling.source,
        "blocks": sample.blocks,
        "failures": sample.failures,
        "max_failures": tolerated(sample, sampling),
        "failures_by_test": dict(sample.failed),
        "bytes": sample.length,
        "seconds": round(sample.seconds, 3),
        "bits_per_second": round(rate),
    }


def accept(sample: Sample, sampling: Sampling, *, always: bool) -> dict[str, Any]:
    """A judged source as a module returns it, if it is healthy or ``always``.

    :raises RootOfTrustError: if it is not.
    """
    result = describe_sample(sample, sampling)
    found = source_reasons(sample, sampling)
    if found and not always:
        raise RootOfTrustError(found[0].text, found[0].remedy, result)
    return result


def sentence(findings: Iterable[Finding]) -> str:
    """All facts with their remedies, as one text."""
    return " ".join(f"{finding.text} {finding.remedy}" for finding in findings)


def _not_ready(host: Host) -> Iterator[Finding]:
    if not host.pool.crng_ready:
        remedy = (
            "Let the container's host gain entropy."
            if host.container
            else "Give the kernel a source: a hardware generator (virtio-rng in a virtual machine), rngd, or jitterentropy-rngd."
        )
        yield Finding(
            "crng_not_ready",
            f"The kernel's generator is not seeded yet ({host.pool.entropy_avail} of {host.pool.ready_bits} bits).",
            remedy,
        )


def _fake_feeders(host: Host) -> Iterator[Finding]:
    for feeder in host.feeders:
        if feeder.fake and feeder.credited:
            yield Finding(
                "fake_source",
                f"{feeder.name} feeds the kernel's pool with the pool's own output ({', '.join(feeder.sources)}), counted as entropy.",
                f"Stop {feeder.unit or feeder.name}, take that device out of its options, and restart the host to seed the pool anew.",
            )


def _container(host: Host) -> Iterator[Finding]:
    if host.container:
        yield Finding(
            "container",
            f"This is a container ({host.container}): the pool is that of its host, and only the host can feed it.",
            "Set up entropy sources on the host.",
        )


def _low_pool(host: Host) -> Iterator[Finding]:
    pool = host.pool
    if pool.crng_ready and pool.blocking and pool.entropy_avail < LOW_LEGACY_BITS:
        yield Finding(
            "pool_low",
            f"The estimate is {pool.entropy_avail} bits, and this kernel lets readers of /dev/random wait for more.",
            "Add a source, or let programs read /dev/urandom or getrandom().",
        )


def _hwrng(host: Host) -> Iterator[Finding]:
    state = host.hwrng
    if host.container or not state.available:
        return
    if not state.current:
        yield Finding(
            "hwrng_not_selected",
            f"The kernel has hardware generators ({', '.join(state.available)}) and uses none of them.",
            "Choose one with the module rootoftrust.linux.hwrng (name: best).",
        )
    elif not state.credited and not _runs(host, "rngd"):
        why = "counts nothing that it gives" if state.fed else "does not feed the pool from it"
        yield Finding(
            "hwrng_not_credited",
            f"The kernel uses {state.current} but {why}.",
            "Run rngd, or start the kernel with rng_core.default_quality=700.",
        )


def _virtio(host: Host) -> Iterator[Finding]:
    virtio = any(name.startswith("virtio_rng") for name in host.hwrng.available)
    if host.virtualization in VIRTIO_HYPERVISORS and not host.container and not virtio:
        yield Finding(
            "vm_without_virtio_rng",
            f"This virtual machine ({host.virtualization}) has no virtio-rng device.",
            "On its host, add to the domain: <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>. "
            "If it has one, load the module virtio_rng here.",
        )


def _daemons(host: Host) -> Iterator[Finding]:
    for feeder in host.feeders:
        if feeder.test_mode and feeder.active:
            yield Finding(
                "rngd_test_mode",
                "rngd runs with --test: it throws away what it reads.",
                "Take -t or --test out of its options.",
            )
        if feeder.state == "skipped" and feeder.enabled:
            yield _skipped(host, feeder)
        if feeder.state == "failed":
            yield Finding(
                "daemon_failed",
                f"{feeder.unit} has failed.",
                f"Read its journal (journalctl -u {feeder.unit}); rngd ends when it finds no source.",
            )


def _skipped(host: Host, feeder: Feeder) -> Finding:
    why = "a condition of its unit does not hold"
    if host.container:
        why = "it is not meant to run in a container"
    elif host.fips:
        why = "its unit does not start in FIPS mode"
    elif host.hwrng.credited:
        why = f"the kernel feeds itself from {host.hwrng.current}"
    return Finding(
        "daemon_skipped",
        f"{feeder.unit} is enabled, but systemd leaves it out: {why}.",
        f"Disable it, for it does nothing here; systemctl cat {feeder.unit} shows its conditions.",
    )


def _fake_settings(host: Host) -> Iterator[Finding]:
    active = {source for feeder in host.feeders if feeder.active for source in feeder.sources}
    for line in host.fake_settings:
        if line.value not in active:
            yield Finding(
                "fake_source_configured",
                f"{line.path} tells rngd to read {line.value}, the kernel's own pool ({line.name}).",
                "Name a real device there or remove the line.",
            )


def _sysctls(host: Host) -> Iterator[Finding]:
    if host.pool.kind != "bits256":
        return
    for line in host.sysctls:
        gone = line.name.replace("/", ".").endswith("read_wakeup_threshold")
        effect = "does not exist on this kernel" if gone else "has no effect on a pool of 256 bits"
        yield Finding("obsolete_sysctl", f"{line.path} sets {line.name}, which {effect}.", "Remove the line.")


def _seeds(host: Host) -> Iterator[Finding]:
    for seed in host.seed_files:
        if seed.credit == "force":
            yield Finding(
                "seed_credit_forced",
                f"The seed file {seed.path} is counted as entropy even if it may have been used before (copied disk).",
                "Set SYSTEMD_RANDOM_SEED_CREDIT=1 or 0 instead of force.",
            )


def _runs(host: Host, name: str) -> bool:
    return any(feeder.name == name and feeder.active and not feeder.fake for feeder in host.feeders)


def tolerated(sample: Sample, sampling: Sampling) -> int:
    """The number of failed blocks up to which the source is taken for good."""
    if sampling.max_failures is not None:
        return sampling.max_failures
    return likely_failures(sample.blocks) if sample.blocks else 0


def source_reasons(sample: Sample, sampling: Sampling) -> tuple[Finding, ...]:
    """Why a source is not healthy: one finding, or none."""
    if sample.ended != "complete":
        return (_ended(sample, sampling),)
    return tuple(_statistics(sample, sampling))


def _ended(sample: Sample, sampling: Sampling) -> Finding:
    source, seconds, wanted = sampling.source, f"{sampling.timeout:g} s", bytes_for(sampling.blocks)
    whole = max(0, (sample.length - BOOTSTRAP_BYTES) // BLOCK_BYTES)
    said = f" ({sample.detail})" if sample.detail else ""
    texts = {
        "silent": (
            f"{source} gave nothing within {seconds}.",
            "Look whether the device is switched on and its driver works; a virtual machine's host may withhold bytes.",
        ),
        "vanished": (
            f"{source} ended after {sample.length} bytes{said}.",
            "Look whether the device was unplugged or its program stopped.",
        ),
        "short": (
            f"{source} has {sample.length} bytes; {sampling.blocks} blocks take {wanted}.",
            f"Set blocks to {whole}." if whole else f"Give at least {bytes_for(1)} bytes.",
        ),
        "timeout": (
            f"{source} gave {sample.length} of {wanted} bytes within {seconds}.",
            f"Set a longer timeout or fewer blocks ({max(1, whole)}).",
        ),
        "not_found": (
            f"{source} is not there{said}.",
            "Give the path of a device or file; /dev/hwrng needs a driver that is loaded.",
        ),
        "permission": (f"{source} may not be read{said}.", "Run as root, or as a user of the device's group."),
        "unsuitable": (
            f"{source} cannot be read as a source of bytes{said}.",
            "Give the path of a character device, FIFO or regular file.",
        ),
    }
    return Finding(sample.ended, *texts[sample.ended])


def _statistics(sample: Sample, sampling: Sampling) -> Iterator[Finding]:
    source, limit = sampling.source, tolerated(sample, sampling)
    if sample.failed["continuous_run"] > likely_failures(sample.blocks, rate=REPEAT_RATE):
        yield Finding(
            "stuck",
            f"{source} repeats itself: {sample.failed['continuous_run']} of {sample.blocks} blocks have a 32-bit word twice in a row.",
            "Do not use it: the device is broken, or it is not what it seems.",
        )
        return
    if sample.failures <= limit:
        return
    facts = f"{sample.failures} of {sample.blocks} blocks failed a FIPS 140-2 test; up to {limit} are tolerated"
    biased = max(sample.failed["monobit"], sample.failed["poker"])
    if biased > limit:
        yield Finding(
            "biased",
            f"{source} does not give all values equally often ({biased} blocks): {facts}.",
            "Do not use it as it is: it needs a whitener, or it is broken or disturbed.",
        )
        return
    yield Finding("too_many_failures", f"{source}: {facts}.", "Test again with more blocks; if it stays so, do not use it.")
