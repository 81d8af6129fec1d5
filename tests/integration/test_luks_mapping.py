# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""luks_mapping on machines with disks of their own: opened, closed, and changed while it is in use."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import Ansible
from tests.integration.module_bench import Bench
from tests.integration.secret_watch import SecretWatch, told

pytestmark = pytest.mark.uml
NAME = "it-luks-mapping"
SECRET = "a passphrase that must not be told"
CHEAP = "--pbkdf argon2id --pbkdf-memory 32 --pbkdf-parallel 1 --pbkdf-force-iterations 4"  # for tests only


@pytest.fixture(scope="module", params=[pytest.param("11", marks=pytest.mark.slow), "13"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    disks = ("64M", "64M")
    machine = up(MachineSpec(f"{NAME}-{request.param}", release=request.param, engine="uml", disks=disks), owner=os.getpid())
    yield machine
    machine.down()


@pytest.fixture(scope="module")
def ansible(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Ansible:
    return Ansible(tmp_path_factory.mktemp("luks"), machine)


@pytest.fixture
def disk(machine: Machine) -> Iterator[str]:
    disk = machine.disks[0]
    machine.run(f"cryptsetup luksFormat -q --type luks2 {CHEAP} --key-file - {disk}", stdin=SECRET)
    yield disk
    machine.run("umount /mnt; for name in data other lin; do dmsetup remove $name; done 2>/dev/null; true")


@pytest.fixture(scope="module")
def bench(machine: Machine) -> Iterator[Bench]:
    bench = Bench(machine)
    yield bench
    bench.close()


def calls(bench: Bench, *asked: dict[str, Any]) -> list[dict[str, Any]]:
    """The results of the module, called once for each of the arguments."""
    results = bench.calls(*[("luks_mapping", arguments) for arguments in asked])
    assert SECRET not in json.dumps(results)
    return results


def stories(bench: Bench, *asked: dict[str, Any]) -> list[dict[str, Any]]:
    """For each of the arguments: a check run predicts the real one, and the next needs no secret to find nothing to do."""
    three = []
    for arguments in asked:
        three += [{**arguments, "check": True}, arguments, {name: value for name, value in arguments.items() if name != "passphrase"}]
    results = calls(bench, *three)
    for predicted, result, again in zip(results[::3], results[1::3], results[2::3], strict=True):
        assert not result.get("failed"), result
        for field in ("changed", "steps", "diff", "mappings"):
            assert predicted[field] == result[field]
        assert result["changed"] is True
        assert (again["changed"], again["steps"]) == (False, [])
    return results[1::3]


def test_a_volume_is_opened_changed_while_it_is_mounted_and_closed(machine: Machine, bench: Bench, ansible: Ansible, disk: str) -> None:
    one = {"name": "data", "device": disk, "passphrase": SECRET}
    tasks = [{"rootoftrust.linux.luks_mapping": one}, {"rootoftrust.linux.luks_mapping": {**one, "state": "closed"}}]
    with SecretWatch(machine, SECRET):
        run = ansible.playbook(json.dumps([{"hosts": machine.name, "gather_facts": False, "tasks": tasks}]), "-vvvv")
    assert (run.rc, told(run.output, SECRET)) == (0, [])
    (opened,) = stories(bench, {**one, "discard": True})
    assert opened["mappings"][0]["flags"] == ["discards"]
    machine.run("mkfs.ext4 -q /dev/mapper/data && mount /dev/mapper/data /mnt && echo here > /mnt/file")
    queues = {"no_read_workqueue": True, "no_write_workqueue": True}
    lasting = {**one, "persistent": True}
    changes: list[dict[str, Any]] = [{**one, **queues}, {**lasting, "discard": False}, {**lasting, "no_read_workqueue": False}]
    first, second, third = stories(bench, *changes)
    assert first["mappings"][0]["flags"] == ["discards", "no_read_workqueue", "no_write_workqueue"], "the others stay"
    assert second["mappings"][0]["persistent_flags"] == ["no_read_workqueue", "no_write_workqueue"]
    assert third["mappings"][0]["flags"] == third["mappings"][0]["persistent_flags"] == ["no_write_workqueue"]
    assert machine.run("cat /mnt/file").stdout == "here\n", "it was mounted all the time"
    assert "no-write-workqueue" in machine.run(f"cryptsetup luksDump {disk}").stdout
    refused, kept, read_only, wrong, right = calls(
        bench, {"name": "data", "state": "closed"}, {**one, "no_write_workqueue": False}, {**one, "read_only": True},
        {**one, "passphrase": "wrong", "verify": True}, {**one, "verify": True},
    )  # fmt: skip
    assert "/dev/mapper/data is mounted at /mnt" in refused["msg"]
    assert "sets no_write_workqueue at each opening" in kept["msg"]
    assert "only after it is closed, and it is mounted at /mnt" in read_only["msg"]
    assert "does not open" in wrong["msg"]
    assert (right["changed"], right["mappings"][0]["proven"]) == (False, True)
    machine.run("umount /mnt")
    turned, closed = stories(bench, {**one, "read_only": True}, {"name": "data", "device": disk, "state": "closed"})
    assert turned["mappings"][0]["read_only"] is True and "Close data, and open it read-only" in turned["steps"][0]
    assert closed["mappings"][0] == {**closed["mappings"][0], "state": "closed", "path": None, "flags": []}


# Has the header written anew until the sum of its first bytes is what the kernel takes for a partition table: see lab/images.py.
UNLUCKY = """
import subprocess, sys
def sector():
    with open(sys.argv[1], "rb") as disk:
        return disk.read(512)
number = 0
while (0x2A + sum(sector()[:511])) % 256 != sector()[511]:
    number += 1
    subprocess.run(["cryptsetup", "config", "--label", str(number), sys.argv[1]], check=True)
"""


def test_what_the_kernel_takes_for_a_partition_table_is_none(machine: Machine, ansible: Ansible, bench: Bench, disk: str) -> None:
    rules = "/run/udev/rules.d/59-lab-partitions.rules"
    machine.run(f"mkdir -p /run/udev/rules.d; : > {rules}; udevadm control --reload")
    try:
        machine.run(["python3", "-", disk], stdin=UNLUCKY)
        machine.run(f"udevadm settle; blockdev --rereadpt {disk}; udevadm settle")
        uuid = machine.run(f"cryptsetup luksUUID {disk}").stdout.strip()
        assert machine.run(f"lsblk -rno NAME {disk}").stdout.split() == [disk[5:], f"{disk[5:]}1"]
        opened, known = calls(
            bench,
            {"name": "data", "device": f"UUID={uuid}", "passphrase": SECRET},
            {"name": "data", "device": disk, "state": "closed"},
        )
        assert (opened.get("msg"), opened["changed"], known["changed"]) == (None, True, True)
        assert opened["mappings"][0]["device"] == disk
        # As systemd opens it where udev's link leads to the partition.
        machine.run(f"cryptsetup open --key-file - {disk}1 data", stdin=SECRET)
        (known,) = calls(bench, {"name": "data", "device": disk})
        assert (known.get("msg"), known["changed"]) == (None, False)
        rekey = ansible.module(machine.name, "luks_encryption", {"device": disk, "name": "data", "passphrase": SECRET, "volume_key": "2"})
        assert f"{disk} is in use through {disk[5:]}1" in rekey["msg"]
        info = ansible.module(machine.name, "luks_info", {"device": f"UUID={uuid}"})["devices"][0]
        assert (info["path"], info["mapping"]["name"], [holder["mapper"] for holder in info["holders"]]) == (disk, "data", ["data"])
    finally:
        machine.run(f"cryptsetup close data; rm {rules}; udevadm control --reload; partx --delete {disk}", check=False)


def test_the_copy_of_an_open_volume_is_not_taken_for_it(machine: Machine, bench: Bench, disk: str) -> None:
    copy = machine.disks[1]
    calls(bench, {"name": "data", "device": disk, "passphrase": SECRET})
    machine.run(f"dd if={disk} of={copy} bs=1M conv=fsync status=none")
    closed, other = calls(
        bench, {"name": "data", "device": copy, "state": "closed"}, {"name": "other", "device": copy, "passphrase": SECRET}
    )
    assert f"/dev/mapper/data belongs to {disk}, and not to the LUKS volume of {copy}" in closed["msg"]
    assert f"is open as data on {disk[5:]}, not on {copy}" in other["msg"]
    assert machine.run("ls /dev/mapper").stdout.split() == ["control", "data"]
    machine.run(f"wipefs -qaf {copy}")


def test_names_that_belong_to_something_else_are_left_alone(machine: Machine, bench: Bench, disk: str) -> None:
    other = machine.disks[1]
    machine.run(f"cryptsetup luksFormat -q --type luks2 {CHEAP} --key-file - {other}", stdin=SECRET)
    machine.run(f"cryptsetup open --key-file - {other} data", stdin=SECRET)
    machine.run(f'echo "0 1000 linear {disk} 40000" | dmsetup create lin')
    one = {"name": "data", "device": disk, "passphrase": SECRET}
    results = calls(
        bench, one, {"name": "data", "device": disk, "state": "closed"}, {"name": "lin", "state": "closed"},
        {"name": "second", "device": other, "passphrase": SECRET}, {"name": "second", "device": other, "state": "closed"},
    )  # fmt: skip
    for result in results[:2]:
        assert f"/dev/mapper/data belongs to {other}, and not to the LUKS volume of {disk}" in result["msg"]
    assert "/dev/mapper/lin is no LUKS volume" in results[2]["msg"]
    assert f"{other} is open as data, not as second" in results[3]["msg"]
    assert results[4]["changed"] is False
    assert any(f"{other} is still open, as data" in str(warning) for warning in results[4]["warnings"])
    assert machine.run("ls /dev/mapper").stdout.split() == ["control", "data", "lin"]


def test_wrong_secrets_and_other_kinds_of_volumes(machine: Machine, bench: Bench, disk: str) -> None:
    one: dict[str, Any] = {"name": "data", "device": disk}
    wrong, none, missing = calls(bench, {**one, "passphrase": "wrong"}, one, {**one, "header": "/root/none", "passphrase": "x"})
    assert f"The secret that is to unlock {disk} does not open it" in wrong["msg"]
    assert "no secret is given" in none["msg"]
    assert "/root/none has no LUKS header" in missing["msg"]
    machine.run(f"wipefs -qa {disk}; rm -f /root/head")
    machine.run(f"cryptsetup luksFormat -q --type luks2 {CHEAP} --header /root/head --key-file - {disk}", stdin=SECRET)
    detached = {**one, "header": "/root/head", "passphrase": SECRET}
    stories(bench, {**detached, "discard": True}, {**detached, "discard": False}, {"name": "data", "state": "closed"})
    machine.run(f"cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 --key-file - {disk}", stdin=SECRET)
    stories(bench, {**one, "passphrase": SECRET}, {**one, "same_cpu_crypt": True, "passphrase": SECRET}, {**one, "state": "closed"})


def test_a_volume_whose_reencryption_waits_is_opened(machine: Machine, bench: Bench, disk: str) -> None:
    machine.run(f"cryptsetup reencrypt -q --init-only {CHEAP} --key-file - {disk}", stdin=SECRET)
    one = {"name": "data", "device": disk, "passphrase": SECRET}
    opened, refused = calls(bench, one, {**one, "discard": True})
    assert opened["mappings"][0]["reencryption"] is True and "in the middle of its reencrypt" in opened["steps"][0]
    assert "changes nothing of it while that lasts" in refused["msg"]
