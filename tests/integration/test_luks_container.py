# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""luks_container on machines with disks of their own: what it makes, what it refuses, and what it does after a cut."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import Ansible
from tests.integration.refusals import Refusal, Row, refusals
from tests.integration.secret_watch import SecretWatch

pytestmark = pytest.mark.uml
NAME = "it-luks-container"
SECRET = "a passphrase that must not be told"
CHEAP = {"type": "argon2id", "memory": 32, "iterations": 4, "threads": 1}  # for tests only
CHEAP_OPTIONS = "--pbkdf argon2id --pbkdf-memory 32 --pbkdf-parallel 1 --pbkdf-force-iterations 4"
UUID = "11111111-2222-4333-8444-555555555555"
OTHER = "99999999-2222-4333-8444-555555555555"
MARK = "726f6f74-6f66-8"
LARGE, SMALL, FILL = range(3)  # disks
RELEASES = [pytest.param("11", marks=pytest.mark.slow), "13"]


@pytest.fixture(scope="module", params=RELEASES)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    disks = ("64M", "16M", "512M")
    machine = up(MachineSpec(f"{NAME}-{request.param}", release=request.param, engine="uml", disks=disks), owner=os.getpid())
    machine.run("printf secret > /root/key")
    yield machine
    machine.down()


@pytest.fixture
def newer(machine: Machine) -> None:
    if machine.spec.release != "13":
        pytest.skip("asked on 13 only: it asks nothing of the programs that is not asked on 11 elsewhere")


@pytest.fixture
def disk(machine: Machine) -> Iterator[str]:
    disk = machine.disks[LARGE]
    machine.run(f"wipefs -qa {disk}; dd if=/dev/zero of={disk} bs=1M count=20 status=none")
    yield disk
    machine.run(f"blockdev --setrw {disk}; cryptsetup close data 2>/dev/null; true")


@pytest.fixture(scope="module")
def ansible(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Ansible:
    return Ansible(tmp_path_factory.mktemp("luks"), machine)


def calls(machine: Machine, ansible: Ansible, *asked: dict[str, Any]) -> list[dict[str, Any]]:
    """The results of the module, called once for each of the arguments, in one play, for that is quicker."""
    tasks = []
    for number, arguments in enumerate(asked):
        plain = {name: value for name, value in arguments.items() if name != "check"}
        task = {"name": f"it {number}.", "rootoftrust.linux.luks_container": plain, "check_mode": arguments.get("check", False)}
        tasks.append({**task, "diff": True, "ignore_errors": True})
    run = ansible.playbook(json.dumps([{"hosts": machine.name, "gather_facts": False, "tasks": tasks}]))
    assert SECRET not in run.output
    return [run.result(machine.name, f"it {number}.") for number in range(len(asked))]


def ok(machine: Machine, ansible: Ansible, **arguments: Any) -> dict[str, Any]:
    (result,) = calls(machine, ansible, arguments)
    assert not result.get("failed"), result
    return result


def made(machine: Machine, ansible: Ansible, **arguments: Any) -> dict[str, Any]:
    """A check run predicts the real one; the next one finds nothing to do, and needs no secret for that."""
    without = {name: value for name, value in arguments.items() if name not in ("passphrase", "key_file")}
    predicted, result, again = calls(machine, ansible, {**arguments, "check": True}, arguments, without)
    assert not result.get("failed"), result
    # Had the check run changed anything, the real one would have found it done.
    assert result["changed"] is True
    for field in ("changed", "steps", "diff"):
        assert predicted[field] == result[field]
    assert (again["changed"], again["steps"]) == (False, []), again
    return result


def opens(machine: Machine, at: str, secret: str = SECRET) -> bool:
    done = machine.run(f"cryptsetup open --test-passphrase --key-file - {at}", check=False, stdin=secret)
    return done.returncode == 0


# udev opens a disk that was written to, and the kernel takes no partition table anew while anyone has it open.
PARTED = (
    "printf 'label: %s\\nsize=30M\\n' {label} | sfdisk -q --no-reread --no-tell-kernel $d; "
    "for n in $(seq 100); do blockdev --rereadpt $d && break; sleep 0.1; done; test -b ${{d}}1"
)


# --- what it makes ---------------------------------------------------------------------------------------------------


def test_what_was_named_is_wiped_and_a_header_made(machine: Machine, ansible: Ansible, disk: str) -> None:
    machine.run(f"set -e; d={disk}; {PARTED.format(label='gpt')}; mkfs.ext4 -q {disk}1")
    asked = {"device": disk, "wipe": ["gpt", "ext4"], "pbkdf": CHEAP, "uuid": UUID, "label": "home", "key_bits": 256}
    with SecretWatch(machine, SECRET):
        result = made(machine, ansible, passphrase=SECRET, **asked)
    assert [step.split()[0] for step in result["steps"]] == ["Wipe", "Format"]
    (told,) = result["containers"]
    assert (told["luks"], told["type"], told["uuid"], told["drift"], told["fill"]) == (True, "luks2", UUID, [], None)
    dumped = machine.run(f"cryptsetup luksDump {disk}").stdout
    for expected in (UUID, "home", "Key:        256 bits", "argon2id"):
        assert expected in dumped
    assert opens(machine, disk) and not opens(machine, disk, SECRET + "\n")
    assert disk.rpartition("/")[2] + "1" not in machine.run("ls /sys/class/block").stdout


@pytest.mark.usefixtures("newer")
def test_drift_is_told_and_changed_only_where_that_is_asked_for(machine: Machine, ansible: Ansible, disk: str) -> None:
    machine.run(f"cryptsetup luksFormat -q {CHEAP_OPTIONS} --uuid {UUID} --label a --subsystem s --key-file /root/key {disk}")
    before = machine.run(f"sha256sum < {disk}").stdout
    asked: dict[str, Any] = {"type": "luks1", "cipher": "serpent-xts-plain64", "key_bits": 128, "uuid": OTHER, "pbkdf": {"type": "pbkdf2"}}
    result = ok(machine, ansible, device=disk, wipe=["crypto_LUKS", UUID], **asked)
    assert result["changed"] is False
    drift = {each["field"]: each for each in result["containers"][0]["drift"]}
    assert list(drift) == ["type", "cipher", "key_bits", "uuid", "pbkdf"]
    assert (drift["key_bits"]["is"], drift["key_bits"]["asked"]) == (512, 128)
    assert "luks_encryption" in drift["cipher"]["how"] and "change" in drift["uuid"]["how"]
    assert machine.run(f"sha256sum < {disk}").stdout == before
    changes = {"device": disk, "label": "b", "subsystem": "s", "uuid": OTHER.upper(), "change": ["label", "uuid"]}
    assert made(machine, ansible, **changes)["containers"][0]["uuid"].lower() == OTHER
    dumped = machine.run(f"cryptsetup luksDump {disk}").stdout
    assert "Label:         \tb\n" in dumped and "Subsystem:     \ts\n" in dumped and OTHER in dumped


@pytest.mark.usefixtures("newer")
def test_a_device_is_filled_with_random_bytes_first(machine: Machine, ansible: Ansible) -> None:
    disk = machine.disks[SMALL]
    header = "/root/filled.header"
    result = made(machine, ansible, device=disk, header=header, fill="random", passphrase=SECRET, pbkdf=CHEAP)
    filled = result["containers"][0]["fill"]
    assert filled["mebibytes"] == 16 and filled["seconds"] > 0 and filled["mib_per_second"] > 0
    # Compressed, random bytes are not smaller, and no two sectors are alike.
    assert int(machine.run(f"gzip -1 < {disk} | wc -c").stdout) > 16 * 1024 * 1024
    assert machine.run("ls /dev/mapper /run/rootoftrust").stdout.count("fill") == 0
    machine.run(f"cryptsetup open --key-file - --header {header} {disk} data", stdin=SECRET)
    machine.run(f"cryptsetup close data; rm {header}; dd if=/dev/zero of={disk} bs=1M status=none; true")


def test_a_detached_header_is_made_and_destroyed(machine: Machine, ansible: Ansible, disk: str) -> None:
    machine.run(f"mkswap {disk}")
    header = "/root/detached.header"
    result = made(machine, ansible, device=disk, header=header, wipe=["swap"], passphrase=SECRET, pbkdf=CHEAP)
    uuid = result["containers"][0]["uuid"]
    assert machine.run(f"cryptsetup luksUUID {header}; ls -A /root").stdout.split().count(uuid) == 1
    assert ".part" not in machine.run("ls -A /root").stdout
    assert machine.run(f"blkid -p {disk}", check=False).returncode == 2, "nothing is to be seen on the device"
    made(machine, ansible, device=disk, header=header, state="absent", wipe=[uuid])
    assert machine.run(f"test ! -e {header}").returncode == 0


@pytest.mark.usefixtures("newer")
def test_a_header_is_destroyed_with_all_its_copies(machine: Machine, ansible: Ansible, disk: str) -> None:
    machine.run(f"cryptsetup luksFormat -q --type luks2 {CHEAP_OPTIONS} --uuid {UUID} --key-file /root/key {disk}")
    result = made(machine, ansible, device=disk, state="absent", wipe=[UUID])
    assert (result["containers"][0]["luks"], result["containers"][0]["uuid"]) == (False, None)
    assert machine.run(f"wipefs --no-act --noheadings {disk}").stdout == ""
    machine.run(f"mkfs.ext4 -q -b 4096 {disk}")
    assert ok(machine, ansible, device=disk, state="absent")["changed"] is False, "what is no LUKS header is left alone"


@pytest.mark.usefixtures("newer")
def test_luks1(machine: Machine, ansible: Ansible, disk: str) -> None:
    made(machine, ansible, device=disk, type="luks1", passphrase=SECRET, pbkdf={"iterations": 1000}, uuid=UUID)
    assert opens(machine, disk)
    made(machine, ansible, device=disk, state="absent", wipe=[UUID.upper()])


# --- what it refuses -------------------------------------------------------------------------------------------------

LVM = "dd if=/dev/zero of=$d bs=1M count=2 status=none; pvcreate -qq -f $d"
LUKS = f"cryptsetup luksFormat -q --type luks2 {CHEAP_OPTIONS} --uuid {UUID} --key-file /root/key $d"
FREED = "for n in $(seq 50); do wipefs -qa $d 2>/dev/null && break; sleep 0.1; done"
# A superblock of MD 1.2, with its checksum
RAID = """python3 - $d <<'END'
import struct, sys
block = bytearray(256 + 2 * 128)
struct.pack_into("<4I16s32sQ2IQ2I", block, 0, 0xa92b4efc, 1, 0, 0, b"\\x12" * 16, b"host:md", 0, 1, 0, 65536, 0, 2)
struct.pack_into("<3Q", block, 128, 2048, 65536, 8)
struct.pack_into("<I", block, 220, 128)
total = sum(struct.unpack(f"<{len(block) // 4}I", bytes(block)))
struct.pack_into("<I", block, 216, ((total & 0xffffffff) + (total >> 32)) & 0xffffffff)
with open(sys.argv[1], "r+b") as disk:
    disk.seek(4096)
    disk.write(block)
END"""
# What is done before, what is asked for beside the device, what is told, what is done after
REFUSED: dict[str, tuple[str, dict[str, Any], list[str], str]] = {
    "mounted elsewhere": (
        "mkfs.ext4 -q -b 4096 $d; mount -o ro,noload $d /mnt", {"wipe": ["ext4"]}, ["DISK is mounted at /mnt", "Unmount it"], "umount /mnt",
    ),
    "mounted in another namespace": (
        "mkfs.ext4 -qb4096 $d; unshare -m sh -c 'mount -o ro,noload $d /mnt; echo $$ > /run/held; exec sleep 60' >/dev/null 2>&1 & sleep 1",
        {"wipe": ["ext4"]}, ["DISK is in use", "another mount namespace"], "kill $(cat /run/held); " + FREED,
    ),
    "partition table": (
        PARTED.format(label="gpt") + "; mkfs.ext4 -q -b 4096 -U " + UUID + " ${d}1", {},
        [f"DISK has a partition table (gpt) and DISK1 has ext4 with UUID {UUID}"], "wipefs -qa ${d}1",
    ),
    "partition table named, but not what is in it": (
        PARTED.format(label="dos") + "; mkswap -U " + UUID + " ${d}1", {"wipe": ["dos"]},
        [f"DISK1 has swap with UUID {UUID}, which wipe (dos) does not name"], "wipefs -qa ${d}1",
    ),
    "partition mounted": (
        PARTED.format(label="dos") + "; mkfs.ext4 -q ${d}1; mount -o ro,noload ${d}1 /mnt", {"wipe": ["dos", "ext4"]},
        ["DISK is mounted at /mnt"], "umount /mnt; wipefs -qa ${d}1",
    ),
    "ext4 without wipe": (f"mkfs.ext4 -q -b 4096 -U {UUID} $d", {}, [f"DISK has ext4 with UUID {UUID}.", f"name it in wipe: {UUID}"], ""),
    "wrong wipe": (f"mkfs.ext4 -q -b 4096 -U {UUID} $d", {"wipe": ["xfs"]}, [f"ext4 with UUID {UUID}, which wipe (xfs) does not"], ""),
    "wrong UUID": (f"mkfs.ext4 -q -b 4096 -U {UUID} $d", {"wipe": [OTHER]}, [f"with UUID {UUID}, which wipe ({OTHER}) does not name"], ""),
    "LVM physical volume": (LVM, {}, ["DISK has LVM2_member with UUID"], ""),
    "RAID member": (RAID, {"wipe": ["ext4"]}, ["DISK has linux_raid_member with UUID 12121212"], ""),
    "active swap": ("mkswap $d; swapon $d", {"wipe": ["swap"]}, ["DISK is in use as swap", "swapoff"], "swapoff $d"),
    "too small": ("", {"device": "SMALL"}, ["SMALL is too small: it has 16777216 bytes, and 16781312 are needed"], ""),
    "read-only": ("blockdev --setro $d", {}, ["DISK is read-only"], "blockdev --setrw $d"),
    "held by dm": ('echo "0 1000 linear $d 0" | dmsetup create lin', {}, ["DISK is held by lin"], "dmsetup remove lin"),
    "a broken LUKS header": (
        LUKS + "; for at in 4096 20480; do dd if=/dev/zero of=$d bs=4096 seek=$((at / 4096)) count=1 conv=notrunc status=none; done", {},
        [f"DISK has crypto_LUKS with UUID {UUID}"], "",
    ),
    "LUKS without its detached header": (LUKS, {"header": "/root/no.header"}, [f"DISK has crypto_LUKS with UUID {UUID}"], ""),
    "no folder for the header": ("", {"header": "/no/header"}, ["There is no folder /no"], ""),
    "something else is the header": ("", {"header": "/etc/passwd"}, ["/etc/passwd is there, and is no LUKS header"], ""),
    "no secret": ("", {"passphrase": None}, ["no secret is given"], ""),
    "absent, another UUID": (
        LUKS, {"state": "absent", "wipe": [OTHER]}, [f"DISK has a LUKS header with UUID {UUID}, which wipe ({OTHER})"], "",
    ),
    "absent, by its type": (LUKS, {"state": "absent", "wipe": ["crypto_LUKS"]}, [f"lost, set wipe: {UUID}"], ""),
    "absent, while it is open": (
        LUKS + "; cryptsetup open --key-file /root/key $d data", {"state": "absent", "wipe": [UUID]}, ["DISK is held by data"],
        "cryptsetup close data",
    ),
    "another UUID, while it is open": (
        LUKS + "; cryptsetup open --key-file /root/key $d data", {"uuid": OTHER, "change": ["uuid"]},
        ["DISK is held by data: the open volume would keep the old UUID"], "cryptsetup close data",
    ),
    "wiped, but named by what is to go": (
        f"mkswap -U {UUID} $d", {"device": f"UUID={UUID}", "wipe": ["swap"]}, [f"UUID={UUID} names DISK by what is to go"], "",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def refused(machine: Machine, ansible: Ansible) -> dict[str, Refusal]:
    if machine.spec.release == "13":
        machine.run("apt-get install -y lvm2", timeout=300)  # for a real physical volume
    large, small = machine.disks[LARGE], machine.disks[SMALL]
    fresh = f"export d={large}; wipefs -qa $d; dd if=/dev/zero of=$d bs=1M count=20 status=none"
    asked_of: dict[str, Row] = {}
    for row in rows(machine):
        prepare, extra, _told, after = REFUSED[row]
        device = str(extra.get("device", large)).replace("SMALL", small)
        seen = small if device == small else large
        asked = {"passphrase": SECRET, "pbkdf": CHEAP, **extra, "device": device}
        asked_of[row] = Row(
            f"{fresh}; {prepare or 'true'}",
            {name: value for name, value in asked.items() if value is not None},
            f"blockdev --flushbufs {seen}; sha256sum < {seen}",  # a partition's pages are not those of the disk
            f"d={large}; {after or 'true'}",
        )
    found, output = refusals(machine, ansible, "luks_container", asked_of)
    assert SECRET not in output
    return found


# On 11 those rows in which its own programs or kernel are asked something else.
OLDER = (
    "mounted elsewhere",
    "partition table",
    "ext4 without wipe",
    "RAID member",
    "held by dm",
    "a broken LUKS header",
    "absent, while it is open",
)


def rows(machine: Machine) -> list[str]:
    return list(REFUSED) if machine.spec.release == "13" else list(OLDER)


@pytest.mark.parametrize("row", REFUSED)
def test_what_was_not_named_or_is_in_use_is_refused(machine: Machine, refused: dict[str, Refusal], row: str) -> None:
    if row not in refused:
        pytest.skip("asked on 13 only: it asks nothing of the programs that is not asked on 11 elsewhere")
    large, small = machine.disks[LARGE], machine.disks[SMALL]
    refused[row].holds(*(words.replace("DISK", large).replace("SMALL", small) for words in REFUSED[row][2]))


# --- cuts ------------------------------------------------------------------------------------------------------------


def cut(machine: Machine, ansible: Ansible, when: Callable[[], bool], how: Callable[[], object], **arguments: Any) -> None:
    """Run it, and end it in the middle."""
    thread = threading.Thread(target=lambda: ansible.module(machine.name, "luks_container", arguments, timeout=120))
    thread.daemon = True
    thread.start()
    deadline = time.monotonic() + 60
    while not when():
        assert time.monotonic() < deadline and thread.is_alive(), "the moment for the cut did not come"
    how()
    thread.join(60)


def test_a_fill_that_is_killed_is_gone_on_with(machine: Machine, ansible: Ansible) -> None:
    disk = machine.disks[FILL]
    machine.run(f"mkswap {disk}")
    asked = {"device": disk, "wipe": ["swap"], "fill": "random", "passphrase": SECRET, "pbkdf": CHEAP}

    def pid() -> str:
        return machine.run("grep -o '\"pid\": [0-9]*' /run/rootoftrust/fill-*.json", check=False).stdout.rpartition(" ")[2].strip()

    cut(machine, ansible, lambda: bool(pid()), lambda: machine.run(f"kill -9 {pid()}; sleep 0.5"), **asked)
    assert "rootoftrust" not in machine.run("ls /dev/mapper").stdout, "the mapping is closed whatever happens"
    line = json.loads(machine.run("cat /run/rootoftrust/fill-*.json").stdout)
    assert line["device"] == disk and 0 < line["done"] < line["total"] == 512 * 1024 * 1024
    result = made(machine, ansible, **asked)
    assert [step.split()[:3] for step in result["steps"]] == [["Fill", "the", "rest"], ["Format", disk, "as"]]
    assert 0 < result["containers"][0]["fill"]["mebibytes"] < 512
    assert opens(machine, disk)


def test_a_header_that_was_being_made_when_the_power_failed_is_made_anew(machine: Machine, ansible: Ansible, disk: str) -> None:
    slow = {"type": "argon2id", "memory": 65536, "iterations": 60, "threads": 1}
    asked = {"device": disk, "passphrase": SECRET}

    def marked() -> bool:
        return MARK in machine.run(f"blkid -p -o export {disk}", check=False).stdout

    cut(machine, ansible, marked, machine.kill, pbkdf=slow, **asked)
    machine.start()
    assert marked(), "what the cut has left"
    result = made(machine, ansible, pbkdf=CHEAP, **asked)
    assert "anew: a run that made its header was cut" in result["steps"][0]
    assert not marked() and opens(machine, disk)
