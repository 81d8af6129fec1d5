# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The entropy modules through Ansible, on this host, which they only look at."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.ansible_run import Ansible

Module = Callable[..., dict[str, Any]]
GOOD = random.Random(1).randbytes(50_004)


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Module:
    ansible = Ansible(tmp_path_factory.mktemp("entropy"))

    def run(module_name: str, /, *options: str, **arguments: Any) -> dict[str, Any]:
        return ansible.module("localhost", module_name, arguments, "-e", "ansible_connection=local", *options)

    return run


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


@pytest.fixture
def stopping(fifo: Path) -> Iterator[Path]:
    """A FIFO whose writer stops in the middle."""
    child = os.fork()
    if child == 0:
        with fifo.open("wb") as stream:
            stream.write(GOOD[:10_000])
        os._exit(0)
    yield fifo
    assert os.waitpid(child, 0)[1] == 0


def test_info_agrees_with_the_kernel(module: Module) -> None:
    found = module("entropy_info")
    pool = Path("/proc/sys/kernel/random")
    assert found["pool"]["poolsize"] == int((pool / "poolsize").read_text())
    assert found["kernel"] == os.uname().release
    assert found["pool"]["crng_ready"] is True  # or this process had not come so far
    assert found["healthy"] is (found["reasons"] == [])
    assert found["changed"] is False
    current = Path("/sys/class/misc/hw_random/rng_current")
    name = current.read_text().strip() if current.exists() else "none"
    assert found["hwrng"]["current"] == ("" if name == "none" else name)


def test_the_gate_opens_at_once_on_a_healthy_host(module: Module) -> None:
    # Asked of the kernel, not of the module: a wrong verdict of ours must fail here, not skip.
    pool = Path("/proc/sys/kernel/random")
    if int((pool / "entropy_avail").read_text()) < int((pool / "poolsize").read_text()):
        pytest.skip("this host's kernel says that its pool is not full")
    for options in ((), ("--check",)):
        found = module("entropy_gate", *options)
        assert (found["healthy"], found["reasons"], found["changed"]) == (True, [], False)
        assert found["waited"] < 1


def test_the_gate_refuses_at_once_what_the_pool_can_never_hold(module: Module) -> None:
    found = module("entropy_gate", min_bits=5000, timeout=60)
    assert found["failed"] and found["waited"] == 0
    assert found["reasons"][0]["code"] == "min_bits_unreachable"
    assert "5000" in found["msg"] and "Leave min_bits out" in found["msg"]


def test_the_gate_runs_out_of_time_for_a_source_that_is_not_there(module: Module) -> None:
    found = module("entropy_gate", require_sources=["nonesuch.0", "virtio_rng.99"], timeout=1)
    assert found["failed"] and 1 <= found["waited"] < 3
    assert [reason["code"] for reason in found["reasons"]] == ["source_absent", "source_absent"]
    assert all(reason["remedy"] in found["msg"] for reason in found["reasons"])


def test_the_gate_wants_a_good_device(module: Module, fifo: Path) -> None:
    assert module("entropy_gate", require_quality="/dev/urandom")["quality"]["healthy"]
    found = module("entropy_gate", require_quality="/dev/zero", timeout=60)
    assert found["waited"] < 2 and found["reasons"][0]["code"] == "quality_stuck"
    found = module("entropy_gate", require_quality=str(fifo), timeout=1)
    assert found["waited"] < 3 and found["reasons"][0]["code"] == "quality_silent"


def test_a_good_source(module: Module, tmp_path: Path) -> None:
    (tmp_path / "good").write_bytes(GOOD)
    found = module("rng_quality", source=str(tmp_path / "good"), blocks=20)
    assert (found["healthy"], found["blocks"], found["bytes"], found["reason"]) == (True, 20, 50_004, "")
    found = module("rng_quality", source="/dev/urandom", max_bytes=30_000)
    assert (found["blocks"], found["bytes"]) == (11, 27_504)


def test_bad_sources_each_have_their_own_reason(module: Module, tmp_path: Path, fifo: Path) -> None:
    (tmp_path / "short").write_bytes(GOOD[:10_000])
    (tmp_path / "biased").write_bytes(bytes(a | b & c for a, b, c in zip(GOOD, GOOD[1:], GOOD[2:], strict=False)) + GOOD[:2])
    sources = {
        "/dev/zero": "stuck",
        str(tmp_path / "biased"): "biased",
        str(tmp_path / "short"): "short",
        str(fifo): "silent",
        str(tmp_path): "unsuitable",
        str(tmp_path / "none"): "not_found",
    }
    for source, reason in sources.items():
        start = time.monotonic()
        found = module("rng_quality", source=source, blocks=20, timeout=1)
        assert time.monotonic() - start < 15
        assert (found.get("failed"), found["healthy"], found["reason"]) == (True, False, reason), source
        assert source in found["msg"] and found["remedy"] in found["msg"]
        assert found["seconds"] < 5


def test_a_source_that_stops_in_the_middle(module: Module, stopping: Path) -> None:
    found = module("rng_quality", source=str(stopping), blocks=20, timeout=10)
    assert (found["reason"], found["bytes"], found["blocks"]) == ("vanished", 10_000, 3)


def test_a_verdict_without_failure(module: Module) -> None:
    found = module("rng_quality", source="/dev/zero", blocks=5, fail_on="never")
    assert not found.get("failed") and (found["healthy"], found["reason"]) == (False, "stuck")


@pytest.mark.parametrize("options", [{"blocks": 0}, {"timeout": 0}, {"max_bytes": 10}, {"max_failures": -1}, {"fail_on": "x"}])
def test_options_that_make_no_sense(module: Module, options: dict[str, Any]) -> None:
    assert module("rng_quality", source="/dev/urandom", **options)["failed"]


def test_an_unknown_generator_is_refused_with_what_there_is(module: Module) -> None:
    found = module("hwrng", "--check", name="nonesuch.0")
    assert found["failed"]
    folder = Path("/sys/class/misc/hw_random")
    assert ("available:" if folder.exists() else "is not there") in found["msg"]


def test_what_is_in_use_needs_no_change(module: Module) -> None:
    current = Path("/sys/class/misc/hw_random/rng_current")
    if not current.exists() or current.read_text().strip() == "none":
        pytest.skip("this host has no hardware generator in use")
    found = module("hwrng", "--check", name=current.read_text().strip())
    assert (found["changed"], found["steps"]) == (False, [])
