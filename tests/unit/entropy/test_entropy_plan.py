# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is found wrong, what is recommended, when the gate opens, and how a generator is chosen."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy import clock, fips, plan, verdict
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.model import (
    BEST,
    Choice,
    Cpu,
    Feeder,
    Gate,
    Host,
    Hwrng,
    Pool,
    Sample,
    Sampling,
    SeedFile,
    Setting,
)

MODULES = Path(__file__).parents[3] / "plugins/modules"
READY = Pool(entropy_avail=256, poolsize=256, crng_ready=True)
BLOCKING = Pool(entropy_avail=60, poolsize=4096, crng_ready=True, blocking=True)
VIRTIO = Hwrng(
    present=True,
    available=("virtio_rng.0",),
    current="virtio_rng.0",
    selected=False,
    quality=1024,
    quality_settable=True,
    device=True,
    fed=True,
)
RNGD = Feeder(name="rngd", active=True, credited=True, flavour="rng-tools5", unit="rngd.service", enabled=True, sources=("/dev/hwrng",))
FAKE = replace(RNGD, sources=("/dev/urandom",), fake=True)
SKIPPED = Feeder(name="rngd", active=False, credited=False, unit="rng-tools-debian.service", enabled=True, state="skipped")
BARE = Host(kernel="6.12", pool=READY)
GUEST = replace(BARE, hwrng=VIRTIO, virtualization="kvm")
BOX = replace(BARE, container="lxc")


def codes(findings: Any) -> list[str]:
    for finding in findings:
        assert finding.text.endswith(".") and finding.remedy
    return [finding.code for finding in findings]


# ---------------------------------------------------------------------------------------------------------- reasons, notices
@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (GUEST, []),
        (BARE, []),
        (replace(BARE, pool=replace(READY, crng_ready=False, entropy_avail=0)), ["crng_not_ready"]),
        (replace(BOX, pool=replace(READY, crng_ready=False)), ["crng_not_ready"]),
        (replace(GUEST, feeders=(FAKE,)), ["fake_source"]),
        (replace(GUEST, feeders=(replace(FAKE, credited=False, test_mode=True),)), []),
        (replace(GUEST, feeders=(replace(FAKE, active=False, credited=False),)), []),
        (BOX, []),
        (replace(BARE, pool=BLOCKING), []),
    ],
)
def test_reasons(host: Host, expected: list[str]) -> None:
    assert codes(verdict.reasons(host)) == expected


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        (GUEST, []),
        (BARE, []),
        (BOX, ["container"]),
        (replace(BOX, virtualization="kvm", hwrng=replace(VIRTIO, quality=0)), ["container"]),
        (replace(BARE, pool=BLOCKING), ["pool_low"]),
        (replace(BARE, pool=replace(BLOCKING, entropy_avail=128)), []),
        (replace(BARE, pool=replace(READY, entropy_avail=10)), []),
        (replace(GUEST, hwrng=replace(VIRTIO, current="", quality=None)), ["hwrng_not_selected"]),
        (replace(GUEST, hwrng=replace(VIRTIO, quality=0)), ["hwrng_not_credited"]),
        (replace(GUEST, hwrng=replace(VIRTIO, fed=False)), ["hwrng_not_credited"]),
        (replace(GUEST, hwrng=replace(VIRTIO, quality=0), feeders=(RNGD,)), []),
        (replace(BARE, virtualization="kvm"), ["vm_without_virtio_rng"]),
        (replace(BARE, virtualization="vmware"), []),
        (replace(GUEST, feeders=(SKIPPED,)), ["daemon_skipped"]),
        (replace(GUEST, feeders=(replace(SKIPPED, enabled=False),)), []),
        (replace(GUEST, feeders=(replace(SKIPPED, state="failed"),)), ["daemon_failed"]),
        (replace(GUEST, feeders=(replace(RNGD, test_mode=True, credited=False),)), ["rngd_test_mode"]),
        (replace(GUEST, fake_settings=(Setting("/etc/default/x", "HRNGDEVICE", "/dev/urandom"),)), ["fake_source_configured"]),
        (replace(GUEST, feeders=(FAKE,), fake_settings=(Setting("/etc/default/x", "HRNGDEVICE", "/dev/urandom"),)), []),
        (replace(GUEST, sysctls=(Setting("/etc/sysctl.conf", "kernel.random.write_wakeup_threshold", "1"),)), ["obsolete_sysctl"]),
        (
            replace(BARE, pool=replace(BLOCKING, entropy_avail=900), sysctls=(Setting("/c", "kernel.random.read_wakeup_threshold", "1"),)),
            [],
        ),
        (replace(GUEST, seed_files=(SeedFile("/s", "systemd", True, "force"),)), ["seed_credit_forced"]),
        (replace(GUEST, seed_files=(SeedFile("/s", "systemd", True, "yes"),)), []),
    ],
)
def test_notices(host: Host, expected: list[str]) -> None:
    assert codes(verdict.notices(host)) == expected


@pytest.mark.parametrize(
    ("host", "why"),
    [
        (GUEST, "the kernel feeds itself from virtio_rng.0"),
        (replace(BARE, fips=True), "FIPS"),
        (BOX, "container"),
        (BARE, "a condition"),
    ],
)
def test_why_a_unit_was_left_out(host: Host, why: str) -> None:
    found = verdict.notices(replace(host, feeders=(SKIPPED,)))
    assert why in next(finding.text for finding in found if finding.code == "daemon_skipped")


def test_every_code_is_documented() -> None:
    source = (MODULES.parent / "module_utils/entropy/verdict.py").read_text(encoding="utf-8")
    described = (MODULES / "entropy_info.py").read_text(encoding="utf-8") + (MODULES / "rng_quality.py").read_text(encoding="utf-8")
    gate = (MODULES / "entropy_gate.py").read_text(encoding="utf-8")
    found = set(re.findall(r'Finding\(\s*"(\w+)"', source)) | set(re.findall(r'^        "(\w+)": \(', source, re.MULTILINE))
    assert {"crng_not_ready", "daemon_skipped", "stuck", "biased", "silent", "permission"} <= found
    assert [code for code in sorted(found) if f"C({code})" not in described] == []
    of_gate = set(re.findall(r'Finding\(\s*"(\w+)"', (MODULES.parent / "module_utils/entropy/plan.py").read_text(encoding="utf-8")))
    assert of_gate == {"too_few_bits", "min_bits_unreachable", "source_absent"}
    assert [code for code in of_gate if f"C({code})" not in gate] == []


# ------------------------------------------------------------------------------------------------------------ recommendation
@pytest.mark.parametrize(
    ("host", "sources"),
    [
        (BOX, ()),
        (GUEST, ("kernel",)),
        (replace(GUEST, hwrng=replace(VIRTIO, quality=0)), ("rngd",)),
        (replace(GUEST, hwrng=replace(VIRTIO, quality=None, fed=False)), ("rngd",)),
        (replace(BARE, cpu=Cpu(rdrand=True)), ("rngd",)),
        (replace(BARE, cpu=Cpu(rdrand=True), fips=True), ("kernel",)),
        (BARE, ("kernel",)),
        (replace(BARE, pool=BLOCKING), ("jitterentropy",)),
        (replace(BARE, pool=replace(READY, crng_ready=False)), ("jitterentropy",)),
    ],
)
def test_recommendation(host: Host, sources: tuple[str, ...]) -> None:
    found = plan.recommend(host)
    assert found.sources == sources
    assert found.because


def test_what_is_recommended_without_a_daemon_lets_the_gate_open() -> None:
    for host in (GUEST, BARE, replace(BARE, fips=True), replace(GUEST, hwrng=replace(VIRTIO, quality=0), fips=True)):
        assert plan.recommend(host).sources == ("kernel",)
        assert plan.unmet(host, Gate(sources=("kernel",))) == ()


# ----------------------------------------------------------------------------------------------------------------------- gate
@pytest.mark.parametrize(
    ("pool", "min_bits", "expected"),
    [
        (READY, None, []),
        (READY, 256, []),
        (replace(READY, entropy_avail=255), None, ["too_few_bits"]),
        (replace(READY, entropy_avail=255), 200, []),
        (replace(BLOCKING, entropy_avail=128), None, []),
        (replace(BLOCKING, entropy_avail=127), None, ["too_few_bits"]),
        (replace(BLOCKING, entropy_avail=900), 1000, ["too_few_bits"]),
        (READY, 0, []),
    ],
)
def test_bits(pool: Pool, min_bits: int | None, expected: list[str]) -> None:
    assert codes(plan.unmet(replace(BARE, pool=pool), Gate(min_bits=min_bits))) == expected


def test_more_bits_than_the_pool_holds_are_refused() -> None:
    with pytest.raises(RootOfTrustError, match="min_bits is 1000, but this kernel's pool holds 256 bits") as error:
        plan.check_gate(READY, Gate(min_bits=1000))
    assert error.value.facts["reasons"][0]["code"] == "min_bits_unreachable"
    plan.check_gate(READY, Gate(min_bits=256))
    plan.check_gate(BLOCKING, Gate(min_bits=1000))


@pytest.mark.parametrize(
    ("host", "source", "there"),
    [
        (GUEST, "virtio_rng.0", True),
        (GUEST, "tpm-rng-0", False),
        (GUEST, "any-hwrng", True),
        (BARE, "any-hwrng", False),
        (GUEST, "kernel-hwrng", True),
        (BARE, "kernel-hwrng", False),
        (replace(GUEST, hwrng=replace(VIRTIO, quality=0)), "kernel-hwrng", False),
        (BARE, "kernel", True),
        (replace(BARE, pool=BLOCKING), "kernel", False),
        (GUEST, "tpm", False),
        (replace(GUEST, hwrng=replace(VIRTIO, current="tpm-rng-0")), "tpm", True),
        (replace(GUEST, feeders=(RNGD,)), "rngd", True),
        (replace(GUEST, feeders=(FAKE,)), "rngd", False),
        (replace(GUEST, feeders=(replace(RNGD, credited=False),)), "rngd", False),
        (replace(GUEST, feeders=(SKIPPED,)), "rngd", False),
        (replace(GUEST, feeders=(RNGD,)), "haveged", False),
        (replace(GUEST, feeders=(replace(RNGD, name="haveged"),)), "haveged", True),
        (replace(GUEST, feeders=(replace(RNGD, name="jitterentropy"),)), "jitterentropy", True),
    ],
)
def test_required_sources(host: Host, source: str, there: bool) -> None:
    found = [finding for finding in plan.unmet(host, Gate(sources=(source,))) if finding.code == "source_absent"]
    assert bool(found) is not there
    assert all(source in finding.text for finding in found)


def test_all_that_is_missing_is_named() -> None:
    host = replace(GUEST, pool=replace(READY, crng_ready=False, entropy_avail=0), feeders=(FAKE,))
    found = plan.unmet(host, Gate(sources=("rngd", "tpm")))
    assert codes(found) == ["crng_not_ready", "fake_source", "too_few_bits", "source_absent", "source_absent"]


class Later:
    """A host that is ready only after some looks."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def __call__(self) -> Host:
        self.looks -= 1
        return GUEST if self.looks < 0 else replace(GUEST, pool=replace(READY, crng_ready=False, entropy_avail=0))


def sample_of(*ended: str) -> Any:
    left = list(ended)

    def sample(sampling: Sampling) -> Sample:
        return Sample(left.pop(0), fips.bytes_for(20), 0.1, 20, 0, dict.fromkeys(fips.TESTS, 0))

    return sample


def wait(read: Any, quality: Sampling | None = None, sample: Any = None, timeout: float = 1.0, **gate: Any) -> dict[str, Any]:
    return clock.wait_for_gate(Gate(**gate), quality, timeout=timeout, interval=0.01, read=read, sample=sample)


def test_the_gate_opens_as_soon_as_it_can() -> None:
    result = wait(Later(3))
    assert result["healthy"] and result["reasons"] == [] and 0.03 <= result["waited"] < 0.5
    assert wait(Later(0), timeout=0)["healthy"]


def test_the_gate_stays_shut_with_all_reasons() -> None:
    with pytest.raises(RootOfTrustError) as error:
        wait(Later(10**6), timeout=0.05, sources=("rngd",))
    facts = error.value.facts
    assert [reason["code"] for reason in facts["reasons"]] == ["crng_not_ready", "too_few_bits", "source_absent"]
    assert not facts["healthy"] and 0.05 <= facts["waited"] < 0.5
    for reason in facts["reasons"]:
        assert reason["text"] in str(error.value) and reason["remedy"] in str(error.value)


QUALITY = Sampling("/dev/x", 20, 1.0)


def test_a_device_that_comes_later_is_waited_for() -> None:
    assert wait(Later(0), QUALITY, sample_of("not_found", "silent", "complete"))["quality"]["healthy"]


def test_a_device_that_cannot_be_mended_by_waiting_is_refused_at_once() -> None:
    with pytest.raises(RootOfTrustError) as error:
        wait(Later(0), QUALITY, sample_of("permission"), timeout=60)
    assert [reason["code"] for reason in error.value.facts["reasons"]] == ["quality_permission"]


@pytest.mark.parametrize(("timeout", "interval"), [(-1.0, 0.5), (1.0, 0.0), (1.0, -1.0)])
def test_times_that_make_no_sense(timeout: float, interval: float) -> None:
    with pytest.raises(RootOfTrustError, match="may be negative"):
        clock.wait_for_gate(Gate(), None, timeout=timeout, interval=interval, read=Later(0), sample=sample_of())


# ------------------------------------------------------------------------------------------------------------- a judged source
def judged(blocks: int, failures: int, max_failures: int | None = None, ended: str = "complete", **failed: int) -> list[str]:
    sample = Sample(ended, fips.bytes_for(blocks), 1.0, blocks, failures, {**dict.fromkeys(fips.TESTS, 0), **failed})
    return codes(verdict.source_reasons(sample, Sampling("/dev/x", blocks, 5.0, max_failures)))


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (judged(1000, 8, runs=8), []),
        (judged(1000, 9, runs=9), ["too_many_failures"]),
        (judged(1000, 1, max_failures=0, runs=1), ["too_many_failures"]),
        (judged(1000, 20, max_failures=20, poker=20), []),
        (judged(1000, 30, monobit=25), ["biased"]),
        (judged(1000, 30, poker=9, runs=30), ["biased"]),
        (judged(1000, 30, poker=8, runs=30), ["too_many_failures"]),
        (judged(1000, 1, continuous_run=1), []),
        (judged(1000, 2, continuous_run=2), ["stuck"]),
        (judged(1, 1, continuous_run=1), ["stuck"]),
        (judged(1000, 1000, max_failures=1000, continuous_run=1000, monobit=1000), ["stuck"]),
        *[
            (judged(3, 0, ended=ended), [ended])
            for ended in ("silent", "vanished", "short", "timeout", "not_found", "permission", "unsuitable")
        ],
    ],
)
def test_reasons_of_a_source(found: list[str], expected: list[str]) -> None:
    assert found == expected


def test_the_remedy_for_a_short_file_says_how_many_blocks_it_has() -> None:
    sample = Sample("short", fips.bytes_for(7) + 1, 1.0, 7, 0, dict.fromkeys(fips.TESTS, 0))
    assert verdict.source_reasons(sample, Sampling("/f", 1000, 5.0))[0].remedy == "Set blocks to 7."
    with pytest.raises(RootOfTrustError) as error:
        verdict.accept(sample, Sampling("/f", 1000, 5.0), always=False)
    assert (error.value.facts["reason"], error.value.facts["healthy"]) == ("short", False)
    assert verdict.accept(sample, Sampling("/f", 1000, 5.0), always=True)["reason"] == "short"


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"blocks": 0}, "not one block"),
        ({"blocks": -5}, "not one block"),
        ({"max_bytes": 2503}, "not one block"),
        ({"timeout": 0.0}, "timeout is 0 s"),
        ({"max_failures": -1}, "max_failures is -1"),
    ],
)
def test_samplings_that_make_no_sense(options: dict[str, Any], error: str) -> None:
    with pytest.raises(RootOfTrustError, match=error):
        plan.sampling(**{"source": "/f", "blocks": 10, "timeout": 1.0, "max_failures": None, **options})


def test_the_limit_of_bytes_limits_the_blocks() -> None:
    assert plan.sampling("/f", 1000, 1.0, None, max_bytes=fips.bytes_for(3) + 2499).blocks == 3
    assert plan.sampling("/f", 2, 1.0, None, max_bytes=10**9).blocks == 2


# -------------------------------------------------------------------------------------------------------- choosing a generator
TWO = replace(VIRTIO, available=("virtio_rng.0", "tpm-rng-0"))


@pytest.mark.parametrize(
    ("current", "choice", "actions"),
    [
        (TWO, Choice("virtio_rng.0"), []),
        (TWO, Choice("virtio_rng.0", 1024), []),
        (TWO, Choice("virtio_rng.0", 700), ["quality"]),
        (TWO, Choice("tpm-rng-0"), ["name"]),
        (TWO, Choice("tpm-rng-0", 1024), ["name", "quality"]),
        (TWO, Choice(BEST), []),
        (replace(TWO, selected=True), Choice(BEST), ["name"]),
        (replace(TWO, selected=None), Choice(BEST), []),
        (replace(TWO, current="", quality=None), Choice(BEST), ["name"]),
    ],
)
def test_steps_to_a_generator(current: Hwrng, choice: Choice, actions: list[str]) -> None:
    assert [step.action for step in plan.plan_hwrng(current, choice)] == actions


@pytest.mark.parametrize(
    ("current", "choice", "error"),
    [
        (TWO, Choice("nix"), "nix is not available; available: virtio_rng.0, tpm-rng-0"),
        (TWO, Choice(""), "is not available"),
        (Hwrng(present=True), Choice(BEST), "no hardware generator to choose from"),
        (TWO, Choice(BEST, 1025), "quality is 1025"),
        (TWO, Choice(BEST, -1), "quality is -1"),
        (replace(TWO, quality_settable=False), Choice(BEST, 500), "no attribute rng_quality"),
    ],
)
def test_generators_that_cannot_be_chosen(current: Hwrng, choice: Choice, error: str) -> None:
    with pytest.raises(RootOfTrustError, match=error):
        plan.plan_hwrng(current, choice)
