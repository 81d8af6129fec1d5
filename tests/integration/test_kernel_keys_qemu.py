# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's keys on Debian's own kernels: made, loaded at boot and in the initramfs, re-wrapped, removed. There are no trusted keys."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import Ansible, Run
from tests.integration.key_calls import calls, key, shell, stories
from tests.integration.module_bench import Bench

pytestmark = [pytest.mark.qemu, pytest.mark.slow]
FILES = "/etc/keys"
KMK = {"description": "kmk-user", "random": 32, "file": f"{FILES}/kmk-user.blob"}
EVM = {"description": "evm-key", "type": "encrypted", "master": "user:kmk-user", "length": 32, "blob": f"{FILES}/evm-user.blob"}
TRUSTED = {"description": "kmk-trusted", "type": "trusted", "length": 32, "keyhandle": "0x81000001", "blob": f"{FILES}/kmk-trusted.blob"}
READ = "keyctl pipe $(keyctl search @u encrypted evm-key)"


@pytest.fixture(scope="module", params=["12", "13"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    machine = up(MachineSpec(f"it-keys-qemu-{request.param}", release=request.param, engine="qemu"), owner=os.getpid())
    yield machine
    machine.down()


def role(machine: Machine, ansible: Ansible, *options: str, **variables: Any) -> Run:
    play = {"hosts": machine.name, "gather_facts": False, "roles": ["rootoftrust.linux.kernel_keys"]}
    return ansible.playbook(json.dumps([{**play, "vars": {"kernel_keys_keys": [KMK, EVM], **variables}}]), *options, timeout=1800)


def test_made_re_wrapped_and_removed(machine: Machine) -> None:
    bench = Bench(machine)
    other = {**KMK, "description": "next", "file": f"{FILES}/next"}
    gone = {"state": "absent", "remove_files": True}
    made, before, rewrapped, after, removed, left = stories(
        bench, key(KMK, EVM), shell(READ), key(other, {**EVM, "master": "user:next", "update": True}), shell(READ),
        key({**EVM, **gone}, {**KMK, **gone}, {**other, **gone}), shell(f"keyctl list @u; ls {FILES}"),
    )  # fmt: skip
    assert [step.split()[0] for step in made["steps"]] == ["Write", "Make", "Make", "Load"], "encrypted keys are built in"
    assert len(rewrapped["steps"]) == 4 and len(removed["steps"]) == 6
    assert before["stdout"].split()[3][:34] == after["stdout"].split()[3][:34], "the same initialisation vector: it is the same key"
    assert left["stdout"] == "keyring is empty"
    (refused,) = calls(bench, key(TRUSTED))
    assert (
        "this kernel was built without CONFIG_TRUSTED_KEYS: it has no trusted keys. Take encrypted keys under a user: master"
        in refused["msg"]
    )
    bench.close()


def test_loaded_at_boot_before_the_system_starts(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> None:
    ansible = Ansible(tmp_path_factory.mktemp("keys"), machine)
    wanted = {"kernel_keys_initramfs": True, "kernel_keys_evm": True}
    predicted = role(machine, ansible, "--check", **wanted)
    done = role(machine, ansible, **wanted)
    assert done.rc == 0, done.output[-3000:]
    assert predicted.changed(machine.name) == done.changed(machine.name) != []
    again = role(machine, ansible, **wanted)
    assert (again.rc, again.changed(machine.name)) == (0, []), again.output[-3000:]
    text = machine.run(f"{READ}; sha256sum {FILES}/*").stdout
    machine.reboot_wait()
    machine.run("systemctl is-active rootoftrust-kernel-keys || { journalctl -b -u rootoftrust-kernel-keys; exit 1; }")
    assert machine.run(f"{READ}; sha256sum {FILES}/*").stdout == text
    log = machine.run("dmesg; cat /sys/kernel/security/evm").stdout
    evm = [number for number, line in enumerate(log.splitlines()) if "evm: key initialized" in line]
    init = [
        number for number, line in enumerate(log.splitlines()) if "systemd[1]: Inserted module" in line or "systemd[1]: systemd 25" in line
    ]
    assert evm and init and evm[0] < init[0], "EVM has its key before the first process of the system starts"
    assert log.splitlines()[-1] in ("1", "3") and "Not all keys" not in log
