# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a user can get wrong, on a machine of its own: each is a clear error, and the old keys stay and are served."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import ROOT, Ansible

pytestmark = pytest.mark.uml
NAME = "it-bad-input"
SITE = ROOT / "playbooks/site.yml"


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    machine = up(MachineSpec(NAME, release="12", engine="uml"), owner=os.getpid())
    yield machine
    machine.down()


@pytest.fixture(scope="module")
def ansible(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Ansible:
    return Ansible(tmp_path_factory.mktemp("bad"), machine)


@pytest.fixture
def unharmed(machine: Machine) -> Iterator[None]:
    """The keys on disk, what lies beside them and what the server presents are the same afterwards."""

    def look() -> tuple[str, str, str]:
        return (
            machine.run("cd /etc/ssh && sha256sum ssh_host_*").stdout,
            machine.run("ls -A /etc/ssh").stdout,
            machine.run("ssh-keyscan 127.0.0.1 2>/dev/null | sort").stdout,
        )

    before = look()
    assert before[2].count("\n") >= 3
    yield
    assert look() == before


Call = Callable[..., dict[str, Any]]


@pytest.fixture
def host_key(ansible: Ansible) -> Call:
    return lambda *options, **arguments: ansible.module(NAME, "ssh_host_key", arguments, *options)


CASES = {
    "an unknown type": ({"type": "ed448"}, "ed448"),
    "dsa": ({"type": "dsa"}, "dsa"),
    "rsa of 512 bits": ({"type": "rsa", "size": 512}, "512"),
    "rsa of 1024 bits": ({"type": "rsa", "size": 1024}, "1024"),
    "a curve that is none": ({"type": "ecdsa", "size": 255}, "255"),
    "ed25519 with a size": ({"type": "ed25519", "size": 4096}, "4096"),
    "a path in a missing folder": ({"type": "ed25519", "path": "/etc/ssh/missing/key"}, "/etc/ssh/missing"),
    "a path that is a folder": ({"type": "ed25519", "path": "/etc/ssh", "force": True}, "/etc/ssh"),
    "a relative path": ({"type": "ed25519", "path": "key"}, "key"),
    "a fingerprint that is none": ({"type": "ed25519", "bad_fingerprints": ["hello"]}, "hello"),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("unharmed")
def test_a_wrong_argument_is_refused(host_key: Call, case: str) -> None:
    arguments, named = CASES[case]
    result = host_key(**arguments)
    assert result.get("failed") is True, result
    assert named in result["msg"]
    assert not result.get("changed")
    assert "Traceback" not in str(result)


@pytest.mark.usefixtures("unharmed")
def test_a_read_only_file_system(machine: Machine, host_key: Call) -> None:
    machine.run("mount --bind /etc/ssh /etc/ssh && mount -o remount,bind,ro /etc/ssh")
    try:
        result = host_key(type="ed25519", force=True)
    finally:
        machine.run("umount /etc/ssh")
    assert result.get("failed") is True
    assert "ead-only file system" in result["msg"]
    assert result["steps"] == []


@pytest.mark.usefixtures("unharmed")
def test_a_full_disk(machine: Machine, host_key: Call) -> None:
    # dd is to fail: it writes until nothing is left.
    machine.run(
        "mkdir -p /run/full && mount -t tmpfs -o size=24k,nr_inodes=20 full /run/full && cp -a /etc/ssh/ssh_host_ed25519_key* /run/full/"
        " && (dd if=/dev/zero of=/run/full/filler bs=1k 2>/dev/null || true)"
    )
    try:
        before = machine.run("cd /run/full && sha256sum ssh_host_* && ls -A").stdout
        result = host_key(type="ed25519", path="/run/full/ssh_host_ed25519_key", force=True)
        assert machine.run("cd /run/full && sha256sum ssh_host_* && ls -A").stdout == before
    finally:
        machine.run("umount /run/full")
    assert result.get("failed") is True
    assert "o space left on device" in result["msg"]


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("check", [(), ("--check",)], ids=["real", "check"])
def test_a_server_that_is_not_installed(machine: Machine, host_key: Call, check: tuple[str, ...]) -> None:
    machine.run("mv /usr/sbin/sshd /usr/sbin/sshd.away")
    try:
        result = host_key(*check, type="ed25519", force=True)
    finally:
        machine.run("mv /usr/sbin/sshd.away /usr/sbin/sshd")
    assert result.get("failed") is True
    assert "sshd" in result["msg"]
    assert "not installed" in result["msg"]


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("check", [(), ("--check",)], ids=["real", "check"])
def test_a_configuration_that_is_broken_before_the_run(machine: Machine, ansible: Ansible, check: tuple[str, ...]) -> None:
    machine.run("cp -a /etc/ssh/sshd_config /run/sshd_config && echo 'NoSuchOption yes' >> /etc/ssh/sshd_config")
    try:
        run = ansible.playbook(SITE, "-e", "ssh_host_keys_force=true", *check)
        told = run.tasks(NAME)[-1][1]["msg"]
    finally:
        machine.run("cp -a /run/sshd_config /etc/ssh/sshd_config")
    assert run.rc == 2
    assert "NoSuchOption" in told
    assert not [name for name in run.changed(NAME) if "keys" in name]


@pytest.mark.usefixtures("unharmed")
def test_a_gate_that_does_not_open_stops_the_keys(ansible: Ansible) -> None:
    """The failure is told, the evidence has it, and no key was touched."""
    run = ansible.playbook(
        SITE, "-e", "ssh_host_keys_force=true", "-e", '{"entropy_require_sources": ["no-such-rng"]}', "-e", "entropy_timeout=2"
    )
    assert run.rc == 2
    assert "no-such-rng" in run.tasks(NAME)[-1][1]["msg"]
    names = [name for name, dummy in run.tasks(NAME)]
    assert not [name for name in names if "Make the keys" in name]


# ---------------------------------------------------------------------------------------------------------------- gate


@pytest.fixture
def gate(ansible: Ansible) -> Call:
    return lambda *options, **arguments: ansible.module(NAME, "entropy_gate", arguments, *options)


def test_the_gate_opens_on_a_healthy_pool(gate: Call) -> None:
    result = gate()
    assert (result["healthy"], result["changed"], result["reasons"]) == (True, False, [])
    assert result["waited"] < 1


def test_more_bits_than_the_pool_has_are_refused_at_once(gate: Call) -> None:
    result = gate(min_bits=1000, timeout=60)
    assert result["failed"] is True
    assert result.get("waited", 0) < 1
    assert "256" in result["msg"]
    assert "1000" in result["msg"]


def test_a_source_that_is_not_there_times_out_with_its_remedy(gate: Call) -> None:
    result = gate(require_sources=["rngd"], timeout=2)
    assert result["failed"] is True
    assert 2 <= result["waited"] < 5
    (reason,) = result["reasons"]
    assert "rngd" in reason["text"]
    assert reason["remedy"]
    assert reason["remedy"] in result["msg"]


BIASED = "import random, sys; bits = random.Random(1).getrandbits; sys.stdout.buffer.write(bytes(bits(8) | bits(8) for _ in range(300000)))"
SOURCES = {
    "zeros": ("dd if=/dev/zero of=/run/rng bs=2504 count=120 2>/dev/null", "stuck"),
    "biased": (f"python3 -c '{BIASED}' > /run/rng", "biased"),
    "one that gives nothing": ("mkfifo /run/rng", "silent"),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_a_bad_device_is_named_for_what_it_is(machine: Machine, gate: Call, kind: str) -> None:
    command, code = SOURCES[kind]
    machine.run("rm -f /run/rng; " + command)
    result = gate(require_quality="/run/rng", quality_blocks=100, timeout=4)
    assert result["failed"] is True
    assert f"quality_{code}" in {reason["code"] for reason in result["reasons"]}, result
    assert all(reason["remedy"] for reason in result["reasons"])


def test_a_device_that_vanishes_while_it_is_read(machine: Machine, ansible: Ansible) -> None:
    """A writer that dies in the middle is what a pulled USB stick looks like to the reader."""
    machine.run("rm -f /run/rng; mkfifo /run/rng; systemd-run --no-block sh -c 'head -c 40000 /dev/urandom > /run/rng'")
    result = ansible.module(NAME, "rng_quality", {"source": "/run/rng", "blocks": 1000, "timeout": 20})
    assert result["failed"] is True
    assert result["reason"] == "vanished", result


def test_the_gate_tells_that_a_device_vanished_though_it_waits_on(machine: Machine, gate: Call) -> None:
    machine.run("rm -f /run/rng; mkfifo /run/rng; systemd-run --no-block sh -c 'head -c 20000 /dev/urandom > /run/rng'")
    result = gate(require_quality="/run/rng", timeout=4)
    assert result["failed"] is True
    assert result["reasons"][0]["code"] == "quality_vanished"
    assert result["waited"] < 8


def test_the_machine_s_own_generator_is_good(ansible: Ansible) -> None:
    result = ansible.module(NAME, "rng_quality", {"source": "/dev/urandom", "blocks": 400})
    assert (result["healthy"], result["blocks"]) == (True, 400)
