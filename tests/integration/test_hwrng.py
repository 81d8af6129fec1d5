# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two hardware RNGs in one machine, with the distribution's own kernel: the virtual one and the TPM's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import Ansible

pytestmark = pytest.mark.qemu
NAME = "it-hwrng"


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    machine = up(MachineSpec(NAME, release="13", engine="qemu", tpm="2.0"), owner=os.getpid())
    yield machine
    machine.down()


@pytest.fixture(scope="module")
def ansible(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Ansible:
    return Ansible(tmp_path_factory.mktemp("hwrng"), machine)


def current(machine: Machine) -> str:
    return machine.run("cat /sys/class/misc/hw_random/rng_current").stdout.strip()


def test_the_host_is_seen_as_it_is(ansible: Ansible) -> None:
    seen = ansible.module(NAME, "entropy_info", {})
    assert {"virtio_rng.0", "tpm-rng-0"} <= set(seen["hwrng"]["available"])
    assert seen["tpm"]["present"] is True
    assert seen["virtualization"] == "qemu"
    assert (seen["healthy"], seen["recommendation"]["sources"]) == (True, ["kernel"])


def steps(result: dict[str, Any]) -> tuple[bool, list[str], Any]:
    return result["changed"], result["steps"], result["diff"]


@pytest.mark.parametrize("name", ["virtio_rng.0", "tpm-rng-0", "virtio_rng.0"])
def test_the_kernel_is_switched_and_the_second_run_changes_nothing(machine: Machine, ansible: Ansible, name: str) -> None:
    before = current(machine)
    predicted = ansible.module(NAME, "hwrng", {"name": name}, "--check", "--diff")
    assert current(machine) == before
    done = ansible.module(NAME, "hwrng", {"name": name}, "--diff")
    assert steps(predicted) == steps(done)
    assert done["changed"] is (before != name)
    assert current(machine) == name
    assert steps(ansible.module(NAME, "hwrng", {"name": name}))[:2] == (False, [])


def test_an_unknown_name_is_refused_with_those_there_are(machine: Machine, ansible: Ansible) -> None:
    before = current(machine)
    result = ansible.module(NAME, "hwrng", {"name": "no-such-rng"})
    assert result["failed"] is True
    assert "virtio_rng.0" in result["msg"]
    assert current(machine) == before


def test_the_gate_tells_them_apart(ansible: Ansible) -> None:
    assert ansible.module(NAME, "entropy_gate", {"require_sources": ["virtio_rng.0", "any-hwrng"]})["healthy"] is True
    result = ansible.module(NAME, "entropy_gate", {"require_sources": ["tpm"], "timeout": 1})
    assert result["failed"] is True
    assert [reason["code"] for reason in result["reasons"]] == ["source_absent"]
