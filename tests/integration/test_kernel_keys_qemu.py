# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's keys on Debian's own kernels: made, loaded at boot and in the initramfs, re-wrapped, removed. There are no trusted keys."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from pathlib import Path
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


# Only what these machines need, for an initramfs is made by an emulated processor.
IMAGES = {
    "initramfs-tools": "echo MODULES=list > /etc/initramfs-tools/conf.d/lab; printf '%s\n' virtio_pci virtio_blk virtio_net ext4 >>"
    " /etc/initramfs-tools/modules; update-initramfs -c -k $(uname -r)",
    "dracut": "mkdir -p /etc/dracut.conf.d; printf '%s\n' hostonly=yes compress=cat 'drivers=\"virtio_pci virtio_blk virtio_net ext4\"'"
    " > /etc/dracut.conf.d/lab.conf; DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends dracut > /dev/null",
}


@pytest.fixture(scope="module", params=["12", "13"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    machine = started(f"it-keys-qemu-{request.param}", request.param)
    yield machine
    machine.down()


def started(name: str, release: str) -> Machine:
    return up(MachineSpec(name, release=release, engine="qemu", memory="1G"), owner=os.getpid())


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


def with_own_initramfs(machine: Machine, folder: Path) -> None:
    """Start the machine with the image that it has made itself; the lab's own initramfs is none of Debian's."""
    packed = machine.run("base64 -w 0 /boot/initrd.img-*", timeout=900).stdout
    path = folder / "initrd"
    path.write_bytes(base64.b64decode(packed))
    machine.run("sync")
    machine.kill()
    machine.replace_image("initrd", path)
    machine.start()


def test_loaded_in_the_initramfs_before_the_system_starts(machine: Machine, tmp_path: Path) -> None:
    machine.run(IMAGES["initramfs-tools"], timeout=900)
    loaded_early(machine, tmp_path)


def test_loaded_by_dracut_too(tmp_path: Path) -> None:
    machine = started("it-keys-dracut", "13")
    try:
        machine.run(IMAGES["dracut"], timeout=1800)
        loaded_early(machine, tmp_path)
    finally:
        machine.down()


def loaded_early(machine: Machine, folder: Path) -> None:
    """What the role is asked for, with keys in the initramfs that the machine makes itself, and EVM where that can be."""
    ansible = Ansible(folder, machine)
    keyless = role(machine, ansible, kernel_keys_keys=[KMK], kernel_keys_evm=True)
    assert keyless.rc != 0 and "kernel_keys_evm needs an encrypted key" in keyless.output
    evm = machine.spec.release != "12"
    if not evm:
        refused = role(machine, ansible, kernel_keys_evm=True)
        assert refused.rc != 0 and "would crash at the next file" in refused.output and refused.changed(machine.name) == []
    wanted = {"kernel_keys_initramfs": True, "kernel_keys_evm": evm}
    predicted = role(machine, ansible, "--check", **wanted)
    done = role(machine, ansible, **wanted)
    assert done.rc == 0, done.output[-3000:]
    assert predicted.changed(machine.name) == done.changed(machine.name) != []
    assert "Have an initramfs with that in it" in str(done.changed(machine.name))
    again = role(machine, ansible, **wanted)
    assert (again.rc, again.changed(machine.name)) == (0, []), (
        "EVM has overwritten the key in the kernel, and the blob is the one that counts"
    )
    kept = machine.run(f"sha256sum {FILES}/*").stdout
    machine.run("systemctl disable rootoftrust-kernel-keys")  # what is there after the boot the initramfs has loaded
    with_own_initramfs(machine, folder)
    machine.run("keyctl search @u encrypted evm-key && keyctl search @u user kmk-user")
    assert machine.run(f"sha256sum {FILES}/*").stdout == kept
    log = machine.run("dmesg; cat /sys/kernel/security/evm").stdout.splitlines()
    assert not any("Not all keys" in line for line in log)
    if evm:
        # dracut's initramfs has a systemd of its own, which says so first.
        keys, starts = (
            [number for number, line in enumerate(log) if text in line] for text in ("evm: key initialized", "running in system mode")
        )
        assert keys[0] < starts[-1] and log[-1] in ("1", "3"), [line for line in log if "evm" in line or "keys" in line]
    machine.run("systemctl enable --now rootoftrust-kernel-keys")
    last = role(machine, ansible, **wanted)
    assert (last.rc, last.changed(machine.name)) == (0, []), last.output[-3000:]
    if evm:
        machine.run(f"mv {FILES}/evm-user.blob /root")
        lost = role(machine, ansible, **wanted)
        assert lost.rc != 0 and "it cannot be written anew" in lost.output
