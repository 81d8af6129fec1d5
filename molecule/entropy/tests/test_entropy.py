# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""After a reboot: the pool is full, and what was asked to feed it does so. Read with plain tools, not with the collection's modules."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from testinfra.host import Host

POOL = PurePosixPath("/proc/sys/kernel/random")
HWRNG = PurePosixPath("/sys/class/misc/hw_random")


def read(host: Host, path: PurePosixPath) -> str:
    return str(host.check_output("cat %s", str(path))).strip()


def is_container(host: Host) -> bool:
    return host.run("systemd-detect-virt --container --quiet").rc == 0


def test_the_pool_is_full(host: Host) -> None:
    assert int(read(host, POOL / "entropy_avail")) == int(read(host, POOL / "poolsize")) == 256


def test_random_numbers_come_without_waiting(host: Host) -> None:
    # 1 is GRND_NONBLOCK: an unready generator answers EAGAIN.
    assert host.check_output("python3 -c 'import os; print(len(os.getrandom(32, 1)))'") == "32"


def test_a_container_is_left_to_its_host(host: Host) -> None:
    if not is_container(host):
        pytest.skip("a machine, which has a pool of its own")
    assert host.run("command -v rngd haveged jitterentropy-rngd").stdout == ""


def test_rngd_runs_with_the_options_asked_for(host: Host) -> None:
    if is_container(host):
        pytest.skip("a container, whose pool is its host's")
    service = host.service("rngd.service")
    assert service.is_running
    assert service.is_enabled
    # Not ps: the one of procps 4.0.6 wants a boot time, which a User Mode Linux kernel does not tell.
    (process,) = host.check_output("pgrep -a -x rngd").splitlines()
    assert process.split()[1:] == ["/usr/sbin/rngd", "-f", "-r", "/dev/hwrng"]


def test_the_kernel_reads_a_hardware_rng(host: Host) -> None:
    if is_container(host):
        pytest.skip("a container, whose devices are its host's")
    assert read(host, HWRNG / "rng_current") in read(host, HWRNG / "rng_available").split()
    assert host.check_output("head -c 64 /dev/hwrng | wc -c").strip() == "64"
