# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encryption in place on machines of their own: data kept, home away for seconds, cut at will, and refused where it has to be."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import BIN, Ansible
from tests.integration.home_in_use import fill, gaps, is_whole, write_after_boots
from tests.integration.refusals import Refusal, Row, refusals
from tests.integration.secret_watch import SecretWatch, told

pytestmark = pytest.mark.uml
SECRET = "a very secret passphrase of a test"
CHEAP = {"type": "argon2id", "memory": 32, "iterations": 4, "threads": 1}  # for tests only
ASKED: dict[str, Any] = {"name": "home", "mount": "/home", "passphrase": SECRET, "pbkdf": CHEAP, "poll": 1}


def volume(result: dict[str, Any]) -> dict[str, Any]:
    assert not result.get("failed"), result["msg"]
    (told_of,) = result["encryptions"]
    return dict(told_of)


@pytest.fixture(params=["11", pytest.param("13", marks=pytest.mark.slow)])
def home(request: pytest.FixtureRequest) -> Iterator[Machine]:
    size = "1536M" if request.param == "13" else "192M"
    machine = up(MachineSpec(f"it-enc-home-{request.param}", release=request.param, engine="uml", disks=(size,)), owner=os.getpid())
    fill(machine, machine.disks[0], 1030 if request.param == "13" else 30)
    yield machine
    machine.down()


def test_home_is_encrypted_while_it_is_in_use_with_nothing_lost(home: Machine, tmp_path: Path) -> None:
    ansible, asked = Ansible(tmp_path, home), {**ASKED, "device": home.disks[0], "stop_units": ["writer.service"]}
    before = home.run(f"dumpe2fs -h {home.disks[0]} 2>/dev/null | grep -E 'Block count|UUID'; ls /var/lib").stdout
    predicted = ansible.module(home.name, "luks_encryption", asked, "--check", "--diff")
    assert predicted["changed"] is True, predicted
    assert home.run(f"dumpe2fs -h {home.disks[0]} 2>/dev/null | grep -E 'Block count|UUID'; ls /var/lib").stdout == before

    # The watcher takes most of the machine's processor: where it looks on, nothing is timed.
    watched = home.name.endswith("-11")
    with SecretWatch(home, SECRET.encode(), allowed=["/run/rootoftrust/home.key"]) if watched else contextlib.nullcontext():
        started = ansible.module(home.name, "luks_encryption", {**asked, "wait": False}, "--diff", "-vvvv")
    assert not started.get("failed"), started["msg"]
    assert started["steps"] == predicted["steps"]
    assert started["diff"] == predicted["diff"]
    assert volume(started)["away_seconds"] < (300 if watched else 30)
    again = ansible.module(home.name, "luks_encryption", {**asked, "passphrase": None, "wait": False})
    if volume(started)["state"] == "encrypting" and not watched:
        assert volume(again)["running"] is True
        assert again["changed"] is False
    ended = ansible.module(home.name, "luks_encryption", asked, "-vvvv")
    assert (volume(ended)["state"], volume(ended)["finished"], volume(ended)["progress"]) == ("encrypted", True, None)
    assert told(str([started, again, ended]), SECRET.encode()) == []

    assert is_whole(home)
    longest = gaps(home)
    assert longest[0] < volume(started)["away_seconds"] + 5
    assert longest[1] < 5  # there is but one gap, the announced one
    # Without any secret: so no key can have been derived.
    second = ansible.module(home.name, "luks_encryption", {**asked, "passphrase": None}, "--diff")
    assert (second["changed"], second["steps"]) == (False, [])
    assert home.run(f"blkid -p -o value -s TYPE {home.disks[0]}").stdout.strip() == "crypto_LUKS"
    assert home.run("ls /run/rootoftrust/*.key /var/lib/rootoftrust/luks_encryption/* /run/rootoftrust/LUKS2*", check=False).stdout == ""
    told_sizes = home.run(
        "dumpe2fs -h /dev/mapper/home 2>/dev/null | sed -n 's/^Block \\(count\\|size\\): *//p'; blockdev --getsize64 /dev/mapper/home"
    )
    blocks, size, room = (int(word) for word in told_sizes.stdout.split())
    assert 0 <= room - blocks * size < 65536  # it has taken all its room again


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    machine = up(MachineSpec("it-enc", release="13", engine="uml", disks=("192M", "192M", "384M", "384M")), owner=os.getpid())
    machine.run("apt-get -qq install xfsprogs btrfs-progs lvm2 mdadm >/dev/null 2>&1", timeout=300)
    yield machine
    machine.down()


@pytest.fixture
def ansible(machine: Machine, tmp_path: Path) -> Ansible:
    return Ansible(tmp_path, machine)


@pytest.fixture
def plain(machine: Machine) -> Iterator[str]:
    """A small plain volume at /home; whatever became of it is taken away again."""
    disk = machine.disks[0]
    fill(machine, disk, 20)
    yield disk
    clean(machine)


def clean(machine: Machine) -> None:
    machine.run(
        "systemctl stop writer 'rootoftrust-luks-*'; for try in 1 2 3; do umount /home && break; sleep 1; done;"
        " for name in /dev/mapper/*; do test $name = /dev/mapper/control || cryptsetup close $name; done; vgchange -qan;"
        " mdadm --stop --scan; swapoff -a; rm -rf /var/lib/rootoftrust /etc/systemd/system/rootoftrust* /etc/systemd/system/dev-mapper*;"
        f" systemctl daemon-reload; for disk in {' '.join(machine.disks)}; do wipefs -qaf $disk; done",
        check=False,
    )


# What is done before, what is asked for beside the device, what is told, and what is done after; first of all a new ext4 is mounted.
REFUSED: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "mounted elsewhere": (
        "umount /home; mkdir -p /srv/data; mount {disk} /srv/data", {}, "is mounted at /srv/data, not at /home", "umount /srv/data",
    ),
    "mounted twice": (
        "mkdir -p /srv/data; mount --bind /home /srv/data", {}, "is mounted at /home, /srv/data", "umount /srv/data",
    ),
    "something mounted below": (
        "mkdir -p /home/under; mount -t tmpfs none /home/under", {}, "Below /home are mounted: /home/under", "umount /home/under",
    ),
    "busy": (
        "systemd-run -q --unit=busy --working-directory=/home sleep 1000", {}, "is in use by sleep (process", "systemctl stop busy",
    ),
    "partition table": ("umount /home; echo 'label: dos' | sfdisk -q --wipe always {disk}", {}, "a partition table (dos)", ""),
    "LVM physical volume": ("umount /home; pvcreate -qffy {disk}", {}, "LVM2_member", ""),
    "RAID member": (
        "umount /home; wipefs -qa {disk}; mdadm --create /dev/md0 --run --level=1 --raid-devices=2 {disk} missing || "
        "mdadm --build --help; mdadm --stop /dev/md0; blkid -p {disk}",
        {}, "linux_raid_member", "mdadm --stop --scan",
    ),
    "swap in use": ("umount /home; mkswap {disk}; swapon {disk}", {}, "swap", "swapoff {disk}"),
    "nothing on it": ("umount /home; wipefs -qa {disk}", {}, "there is no data to keep", ""),
    "too small": (
        "umount /home; truncate -s 100M /var/tmp/small; mkfs.ext4 -qF /var/tmp/small; modprobe loop; losetup /dev/loop5 /var/tmp/small",
        {"device": "/dev/loop5"}, "less than 128", "losetup -d /dev/loop5; rm /var/tmp/small",
    ),
    "no block device": (
        "truncate -s 200M /var/tmp/file; mkfs.ext4 -qF /var/tmp/file", {"device": "/var/tmp/file"}, "is no block device",
        "rm /var/tmp/file",
    ),
    "read-only": ("umount /home; blockdev --setro {disk}", {}, "is read-only", "blockdev --setrw {disk}"),
    "errors in the file system": ("umount /home; debugfs -w -R 'ssv state 2' {disk}", {"busy": "refuse"}, "has errors", ""),
    "no room": ("head -c 150M /dev/zero > /home/large", {}, "cannot be made smaller than", ""),
    "no secret": ("true", {"passphrase": None}, "A secret of", ""),
    "no name": ("true", {"name": None}, "has no name", ""),
    "name taken": ("dmsetup create home --table '0 8 zero'", {}, "There is a mapping home already", "dmsetup remove home"),
    "root's own disk": ("true", {"device": "/dev/ubda", "mount": "/"}, "of the header backups lies on /dev/ubda itself", ""),
    "header without its choice": ("true", {"header": "/root/h"}, "belong together", ""),
}  # fmt: skip


@pytest.fixture(scope="module")
def refused(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Refusal]:
    disk = machine.disks[0]
    # With the small blocks that a small disk would get, one in 150 looks to the kernel as if it had partitions of Acorn's (ADFS).
    fresh = f"mkfs.ext4 -q -F -b 4096 {disk} && mkdir -p /home && mount {disk} /home"
    # What is mounted changes by itself: its digest would tell nothing.
    look = f"sync; findmnt {disk} >/dev/null || sha256sum {disk}; cat /proc/mounts; ls /etc/systemd/system /var/lib"
    gone = f"umount /home; for n in 1 2 3 4 5; do wipefs -qaf {disk} && break; sleep 1; done"
    rows = {
        why: Row(
            f"{fresh}; {command.format(disk=disk)}",
            {name: value for name, value in {**ASKED, "device": disk, **options}.items() if value is not None},
            look,
            f"{after.format(disk=disk) or 'true'}; {gone}",
        )
        for why, (command, options, dummy, after) in REFUSED.items()
    }
    return refusals(machine, Ansible(tmp_path_factory.mktemp("refused"), machine), "luks_encryption", rows)[0]


@pytest.mark.parametrize("why", REFUSED)
def test_refuses_and_changes_nothing(why: str, refused: dict[str, Refusal]) -> None:
    refused[why].holds(REFUSED[why][2])


def test_an_encrypted_device_is_never_encrypted_twice(tmp_path: Path) -> None:
    """cryptsetup 2.3.7 would put a second header inside the first."""
    machine = up(MachineSpec("it-enc-twice", release="11", engine="uml", disks=("192M",)), owner=os.getpid())
    try:
        fill(machine, machine.disks[0], 20)
        machine.run("systemctl stop writer")
        asked = {**ASKED, "device": machine.disks[0]}
        ansible = Ansible(tmp_path, machine)
        assert volume(ansible.module(machine.name, "luks_encryption", asked))["state"] == "encrypted"
        machine.run("umount /home && cryptsetup close home")
        before = machine.run(f"sha256sum {machine.disks[0]}").stdout
        for options in ({}, {"uuid": "11111111-2222-3333-4444-555555555555"}, {"passphrase": "another one"}):
            result = ansible.module(machine.name, "luks_encryption", {**asked, **options})
            assert (result["changed"], volume(result)["state"]) == (False, "encrypted")
        assert machine.run(f"sha256sum {machine.disks[0]}").stdout == before
    finally:
        machine.down()


def test_busy_processes_are_ended_when_that_is_asked_for(machine: Machine, ansible: Ansible, plain: str) -> None:
    machine.run(
        "systemctl stop writer; systemd-run -q --unit=polite --working-directory=/home sleep 1000;"
        " systemd-run -q --unit=stubborn --working-directory=/home sh -c \"trap '' TERM; while :; do sleep 1; done\""
    )
    result = ansible.module(machine.name, "luks_encryption", {**ASKED, "device": plain, "busy": "terminate"})
    assert volume(result)["state"] == "encrypted"
    assert any("End sleep" in step for step in result["steps"])
    assert is_whole(machine)


def test_a_failure_before_the_header_brings_the_volume_back(machine: Machine, ansible: Ansible, plain: str) -> None:
    """A file whose blocks cannot be: e2fsck wants a person for that, and the superblock does not tell of it."""
    machine.run(
        "systemctl stop writer; head -c 100000 /dev/urandom > /home/lost; sync; umount /home;"
        f" debugfs -w -R 'sif lost flags 0' {plain}; debugfs -w -R 'sif lost block[0] 4294967280' {plain};"
        f" mount {plain} /home && systemctl start writer"
    )
    result = ansible.module(machine.name, "luks_encryption", {**ASKED, "device": plain, "stop_units": ["writer.service"]})
    assert result["failed"] is True
    assert result["step_failed"].startswith("Check the file system")
    assert machine.run("findmnt -no SOURCE /home; systemctl is-active writer").stdout.split() == [plain, "active"]
    assert is_whole(machine)


def test_what_is_mounted_in_another_namespace_is_brought_back(machine: Machine, ansible: Ansible, plain: str) -> None:
    machine.run("systemctl stop writer; systemd-run -q --unit=elsewhere unshare -m --propagation private sleep 1000; sleep 1")
    before = machine.run(f"dumpe2fs -h {plain} 2>/dev/null | grep -E 'Block count|UUID'").stdout
    asked = {**ASKED, "device": plain, "stop_units": ["writer.service"]}
    result = ansible.module(machine.name, "luks_encryption", asked)
    assert "the kernel lets nobody else have it" in result["msg"]
    assert machine.run("findmnt -no SOURCE /home").stdout.strip() == plain
    assert machine.run(f"dumpe2fs -h {plain} 2>/dev/null | grep -E 'Block count|UUID'").stdout == before
    machine.run("systemctl stop elsewhere")
    assert volume(ansible.module(machine.name, "luks_encryption", asked))["finished"] is True
    assert is_whole(machine)


@contextlib.contextmanager
def at_work(machine: Machine, ansible: Ansible, asked: dict[str, Any], **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A controller that runs the module, from the moment on at which the module has begun."""
    play = ansible.folder / "play.yml"
    play.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [{"rootoftrust.linux.luks_encryption": asked}]}]))
    with subprocess.Popen(
        [BIN / "ansible-playbook", "-i", ansible.inventory, play],
        env={**ansible.environment, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as controller:
        deadline = time.monotonic() + 60
        while machine.run("test -e /var/lib/rootoftrust/luks_encryption/home.json", check=False).returncode and time.monotonic() < deadline:
            time.sleep(0.1)
        yield controller


def finished(machine: Machine, ansible: Ansible, asked: dict[str, Any]) -> bool:
    """Whether the next run comes to an end; the module goes on without its controller, until the work is in the background."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        result = ansible.module(machine.name, "luks_encryption", asked)
        if "Another run is at work" not in result.get("msg", ""):
            break
    return bool(volume(result)["finished"])


def test_the_work_goes_on_when_the_controller_is_killed(machine: Machine, ansible: Ansible, plain: str) -> None:
    asked = {**ASKED, "device": plain, "stop_units": ["writer.service"]}
    with at_work(machine, ansible, asked) as controller:
        os.killpg(controller.pid, signal.SIGKILL)
    assert finished(machine, ansible, asked)
    assert is_whole(machine)


def connections(mark: str) -> list[int]:
    """The processes of ssh that have a word in their environment; that which serves a connection to others has it too."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "comm").read_text() == "ssh\n" and mark.encode() in (entry / "environ").read_bytes():
                found.append(int(entry.name))
    return found


@pytest.mark.slow
def test_the_work_goes_on_when_the_connection_is_cut(machine: Machine, ansible: Ansible, plain: str) -> None:
    asked = {**ASKED, "device": plain, "stop_units": ["writer.service"]}
    mark = f"cut-{uuid.uuid4()}"
    with (
        tempfile.TemporaryDirectory() as sockets,  # not those of a connection that an earlier run has left open
        at_work(machine, ansible, asked, ROOTOFTRUST_TEST=mark, ANSIBLE_SSH_CONTROL_PATH_DIR=sockets) as controller,
    ):
        cut = connections(mark)
        assert cut, "the module was through before its connection could be cut"
        for pid in cut:
            os.kill(pid, signal.SIGKILL)
        assert controller.wait(120) in (2, 4), "the controller lives, and has got no result"
    assert finished(machine, ansible, asked)
    assert is_whole(machine)
    gaps(machine)


def test_two_controllers_at_once(machine: Machine, ansible: Ansible, plain: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    asked = {**ASKED, "device": plain, "stop_units": ["writer.service"]}
    other = Ansible(tmp_path_factory.mktemp("other"), machine)
    results: list[dict[str, Any]] = []
    threads = [
        threading.Thread(target=lambda one=one: results.append(one.module(machine.name, "luks_encryption", asked)))
        for one in (ansible, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    refused = [result for result in results if result.get("failed")]
    told_of = f"Another run is at work on the LUKS header of {plain}. Wait for its end, and do not start two at once."
    assert [result["msg"] for result in refused] == [told_of]
    assert volume(ansible.module(machine.name, "luks_encryption", asked))["finished"] is True
    assert is_whole(machine)


def test_after_a_power_cut_it_goes_on_at_boot_by_itself(tmp_path: Path) -> None:
    machine = up(MachineSpec("it-enc-cut", release="13", engine="uml", disks=("1024M",)), owner=os.getpid())
    try:
        fill(machine, machine.disks[0], 600)
        machine.run("systemctl enable writer; mkdir -m 700 /etc/keys; head -c 64 /dev/urandom > /etc/keys/home; chmod 400 /etc/keys/home")
        asked = {**ASKED, "device": machine.disks[0], "passphrase": None, "key_file": "/etc/keys/home", "stop_units": ["writer.service"]}
        ansible = Ansible(tmp_path, machine)
        started = volume(ansible.module(machine.name, "luks_encryption", {**asked, "wait": False}))
        machine.run(
            f"echo home UUID={started['uuid']} /etc/keys/home luks,nofail > /etc/crypttab;"
            f" echo UUID=$(blkid -s UUID -o value /dev/mapper/home) /home ext4 nofail 0 2 >> /etc/fstab; sync"
        )
        write_after_boots(machine)
        machine.run("sync")
        assert volume(ansible.module(machine.name, "luks_encryption", {**asked, "wait": False}))["progress"] is not None
        machine.kill()
        machine.start()
        deadline = time.monotonic() + 120
        while "online-reencrypt" in machine.run(f"cryptsetup luksDump {machine.disks[0]}").stdout and time.monotonic() < deadline:
            time.sleep(1)
        assert "online-reencrypt" not in machine.run(f"cryptsetup luksDump {machine.disks[0]}").stdout
        assert is_whole(machine)
        ended = ansible.module(machine.name, "luks_encryption", asked)
        assert (volume(ended)["finished"], volume(ended)["mount"]) == (True, "/home")
        assert ansible.module(machine.name, "luks_encryption", asked)["changed"] is False
        assert machine.run("ls /etc/systemd/system", check=False).stdout.count("rootoftrust") == 0
    finally:
        machine.down()


def test_a_new_volume_key(machine: Machine, ansible: Ansible, plain: str) -> None:
    asked = {**ASKED, "device": plain, "volume_key": "2026", "stop_units": ["writer.service"]}
    made = volume(ansible.module(machine.name, "luks_encryption", asked))
    assert made["state"] == "encrypted"
    assert ansible.module(machine.name, "luks_encryption", asked)["changed"] is False  # it is named, not made again
    machine.run(
        f"printf other > /run/other; printf '{SECRET}' > /run/first; cryptsetup luksAddKey -q --pbkdf pbkdf2"
        f" --pbkdf-force-iterations 1000 --key-file /run/first {plain} /run/other; rm /run/first"
    )
    before = machine.run(f"cryptsetup luksDump {plain} | grep -A9 ^Digests").stdout
    refused = ansible.module(machine.name, "luks_encryption", {**asked, "volume_key": "2027"})
    assert "would lose the keyslots" in refused["msg"]
    assert machine.run(f"cryptsetup luksDump {plain} | grep -A9 ^Digests").stdout == before
    wrong = ansible.module(machine.name, "luks_encryption", {**asked, "volume_key": "2027", "passphrase": "wrong"})
    assert "does not open" in wrong["msg"]
    # A copy of the disk is there, to which udev's link by UUID leads.
    copy, link = machine.disks[1], f"/dev/disk/by-uuid/{made['uuid']}"
    machine.run(
        f'mkdir -p /run/udev/rules.d; echo \'KERNEL=="{copy[5:]}", OPTIONS+="link_priority=100"\' > /run/udev/rules.d/99-copy.rules;'
        f" udevadm control --reload; dd if={plain} of={copy} bs=1M count=20 conv=fsync; udevadm settle"
    )
    assert machine.run(f"readlink -f {link}").stdout.strip() == copy
    digest = machine.run(f"sha256sum {copy}").stdout
    refused = ansible.module(machine.name, "luks_encryption", {**asked, "device": f"UUID={made['uuid']}", "volume_key": "2027"})
    assert f"2 devices have UUID={made['uuid']}: {plain}, {copy}. Give the path of the device." in refused["msg"]
    rekey = {**asked, "volume_key": "2027", "other_keyslots": "drop"}
    refused = ansible.module(machine.name, "luks_encryption", {**rekey, "device": copy, "name": "copy", "mount": None})
    assert f"is open as home on {plain[5:]}, not on {copy}" in refused["msg"]
    assert volume(ansible.module(machine.name, "luks_encryption", rekey))["finished"] is True
    assert int(machine.run("ls /var/lib/rootoftrust/luks_headers | wc -l").stdout) > 1, "the copy needs the older ones"
    assert machine.run(f"cryptsetup luksDump {plain} | grep -A9 ^Digests").stdout != before
    assert machine.run(f"sha256sum {copy}").stdout == digest
    machine.run(f"rm /run/udev/rules.d/99-copy.rules; udevadm control --reload; wipefs -qaf {copy}")
    assert ansible.module(machine.name, "luks_encryption", {**asked, "volume_key": "2027", "passphrase": None})["changed"] is False
    assert is_whole(machine)
    gaps(machine)


@pytest.mark.slow
def test_xfs_is_encrypted_with_its_header_in_a_file(machine: Machine, ansible: Ansible) -> None:
    disk = machine.disks[2]
    machine.run(f"mkfs.xfs -qf {disk} && mount {disk} /home && mkdir /home/alice && head -c 20M /dev/urandom > /home/alice/f"
                " && cd /home/alice && sha256sum * > /root/digests")  # fmt: skip
    refused = ansible.module(machine.name, "luks_encryption", {**ASKED, "device": disk})
    assert "which is no logical volume" in refused["msg"]
    assert "room: header" in refused["msg"]
    asked = {**ASKED, "device": disk, "room": "header", "header": "/var/lib/home.header"}
    assert volume(ansible.module(machine.name, "luks_encryption", {**asked, "wait": False}))["state"] == "encrypting"
    for module, how in (("luks_container", {"passphrase": SECRET}), ("luks_encryption", {**ASKED, "room": "auto"})):
        refused = ansible.module(machine.name, module, {**how, "device": disk})
        assert refused["failed"] is True and "/var/lib/home.header" in refused["msg"], refused
    done = ansible.module(machine.name, "luks_encryption", asked)
    assert (volume(done)["finished"], volume(done)["mount"]) == (True, "/home")
    assert ansible.module(machine.name, "luks_encryption", asked)["changed"] is False
    assert is_whole(machine)
    assert machine.run(f"blkid -p {disk}", check=False).stdout == ""
    machine.run(
        f"umount /home; cryptsetup close home; printf '{SECRET}' | cryptsetup open --key-file - --header /var/lib/home.header {disk} home"
    )
    machine.run("mount /dev/mapper/home /home")
    assert is_whole(machine)
    clean(machine)


@pytest.mark.slow
def test_btrfs_is_made_smaller_and_a_logical_volume_larger(machine: Machine, ansible: Ansible) -> None:
    for disk, command in (
        (
            machine.disks[3],  # the second device of what was made on another
            f"mkfs.btrfs -qf {machine.disks[2]} && mount {machine.disks[2]} /home && btrfs -q device add -f {{0}} /home"
            f" && btrfs -q device remove {machine.disks[2]} /home",
        ),
        (
            "/dev/vg/data",
            f"pvcreate -qffy {machine.disks[2]} && vgcreate -q vg {machine.disks[2]} && lvcreate -qy -L 300M -n data vg"
            " && mkfs.xfs -qf {0} && mount {0} /home",
        ),
    ):
        machine.run(command.format(disk) + " && mkdir /home/alice && head -c 20M /dev/urandom > /home/alice/f"
                    " && cd /home/alice && sha256sum * > /root/digests")  # fmt: skip
        asked = {**ASKED, "device": disk}
        done = ansible.module(machine.name, "luks_encryption", asked)
        assert (volume(done)["finished"], volume(done)["mount"]) == (True, "/home"), disk
        assert is_whole(machine), disk
        assert ansible.module(machine.name, "luks_encryption", asked)["changed"] is False
        clean(machine)


def test_luks1_becomes_luks2_with_a_stronger_key_derivation(machine: Machine, ansible: Ansible) -> None:
    disk = machine.disks[1]
    machine.run(f"printf '{SECRET}' | cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 --key-file - {disk}")
    asked = {"device": disk, "type": "luks2", "passphrase": SECRET, "pbkdf": CHEAP}
    predicted = ansible.module(machine.name, "luks_encryption", asked, "--check", "--diff")
    done = ansible.module(machine.name, "luks_encryption", asked, "--diff")
    assert (predicted["steps"], predicted["diff"]) == (done["steps"], done["diff"])
    assert "argon2id" in machine.run(f"cryptsetup luksDump {disk}").stdout
    assert machine.run(f"printf '{SECRET}' | cryptsetup open --test-passphrase --key-file - {disk}").returncode == 0
    assert ansible.module(machine.name, "luks_encryption", {**asked, "passphrase": None})["changed"] is False
    machine.run(f"wipefs -qa {disk}")
