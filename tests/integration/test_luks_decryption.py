# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decryption in place on machines of their own: data kept, hidden while it is neither, cut at will, and refused where it has to be."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import Ansible
from tests.integration.refusals import Refusal, Row, refusals
from tests.integration.secret_watch import told

pytestmark = pytest.mark.uml
SECRET = "a very secret passphrase of a test"
CHEAP_OPTIONS = "--pbkdf argon2id --pbkdf-memory 32 --pbkdf-parallel 1 --pbkdf-force-iterations 4"  # for tests only
ASKED: dict[str, Any] = {"state": "plain", "name": "home", "mount": "/home", "passphrase": SECRET, "poll": 1}
NOTES = "/var/lib/rootoftrust/luks_encryption"


@pytest.fixture(scope="module", params=["13", *(pytest.param(name, marks=pytest.mark.slow) for name in ("12", "forky"))])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    machine = up(MachineSpec(f"it-dec-{request.param}", release=request.param, engine="uml", disks=("400M",)), owner=os.getpid())
    machine.run("apt-get -qq install xfsprogs btrfs-progs >/dev/null 2>&1", timeout=300)
    yield machine
    machine.down()


@pytest.fixture
def ansible(machine: Machine, tmp_path: Path) -> Ansible:
    return Ansible(tmp_path, machine)


@pytest.fixture
def volume(machine: Machine) -> Iterator[str]:
    """A volume with an ext4 at /home, full of files whose digests are known; whatever became of it is taken away again."""
    make(machine, "mkfs.ext4 -q -F")
    yield machine.disks[0]
    clean(machine)


def make(machine: Machine, mkfs: str, header: str = "") -> None:
    """A volume that is open and mounted at /home."""
    disk = machine.disks[0]
    detached = f"--header {header}" if header else ""
    machine.run(
        f"umask 077; printf '{SECRET}' > /run/secret; cryptsetup luksFormat -q --type luks2 {CHEAP_OPTIONS} {detached}"
        f" --key-file /run/secret {disk}"
        f" && cryptsetup open {detached} --key-file /run/secret {disk} home && rm /run/secret && {mkfs} /dev/mapper/home && mkdir -p /home"
        " && mount /dev/mapper/home /home && mkdir /home/alice && cd /home/alice && head -c 60M /dev/urandom | split -b 1000000 - part-"
        " && sha256sum * > /root/digests && sync"
    )


def clean(machine: Machine) -> None:
    machine.run(
        "systemctl stop 'rootoftrust-luks-*'; umount /home; cryptsetup close home; rm -rf /var/lib/rootoftrust /root/header;"
        f" rm -f /etc/systemd/system/rootoftrust*; systemctl daemon-reload; wipefs -qaf {machine.disks[0]}",
        check=False,
    )


def is_whole(machine: Machine) -> bool:
    return machine.run("cd /home/alice && sha256sum --quiet -c /root/digests", check=False).returncode == 0


def shown(machine: Machine) -> str:
    return machine.run(f"blkid -p -o value -s TYPE {machine.disks[0]}", check=False).stdout.strip()


def result_of(result: dict[str, Any]) -> dict[str, Any]:
    assert not result.get("failed"), result["msg"]
    (found,) = result["encryptions"]
    return dict(found)


def ask(machine: Machine, ansible: Ansible, *options: str, **asked: Any) -> dict[str, Any]:
    return ansible.module(machine.name, "luks_encryption", {**ASKED, "device": machine.disks[0], **asked}, *options)


def test_a_volume_becomes_plain_with_nothing_lost(machine: Machine, ansible: Ansible, volume: str) -> None:
    before = machine.run(f"cryptsetup luksDump {volume}; ls /var/lib").stdout
    predicted = ask(machine, ansible, "--check", "--diff")
    assert machine.run(f"cryptsetup luksDump {volume}; ls /var/lib").stdout == before
    started = ask(machine, ansible, "--diff", "-vvvv", wait=False)
    assert (started["steps"], started["diff"]) == (predicted["steps"], predicted["diff"])
    assert result_of(started)["state"] == "decrypting"
    assert shown(machine) == "", "nothing may take it for a file system yet"
    refused = ansible.module(
        machine.name, "luks_container", {"device": volume, "passphrase": "other", "type": "luks2", "wipe": ["ext4", "crypto_LUKS"]}
    )
    assert "being decrypted as home" in refused.get("msg", "")
    ended = ask(machine, ansible, "-vvvv")
    assert (result_of(ended)["state"], result_of(ended)["finished"], result_of(ended)["mount"]) == ("plain", True, "/home")
    assert told(str([started, ended]), SECRET.encode()) == []
    assert machine.run("findmnt -no SOURCE /home").stdout.strip() == volume
    assert shown(machine) == "ext4"
    assert is_whole(machine)
    size = int(machine.run(f"dumpe2fs -h {volume} 2>/dev/null | sed -n 's/^Block count: *//p'").stdout)
    assert size * 4096 > 399 * 1024**2 or size * 1024 > 399 * 1024**2, "it has the room of the header"
    second = ask(machine, ansible, "--diff", passphrase=None)
    assert (second["changed"], second["steps"], result_of(second)["finished"]) == (False, [], True)
    assert machine.run(f"ls -A {NOTES}/ ; ls /run/rootoftrust/*.key; ls /etc/systemd/system | grep rootoftrust", check=False).stdout == ""
    machine.run(f"umount /home && e2fsck -fn {volume}")


BIGALLOC = "mkfs.ext4 -q -F -O bigalloc -C 65536"  # not made larger: resize2fs is not made for it


@pytest.mark.parametrize("mkfs", [BIGALLOC, *(pytest.param(f"mkfs.{name} -q", marks=pytest.mark.slow) for name in ("xfs", "btrfs"))])
def test_other_file_systems(machine: Machine, ansible: Ansible, mkfs: str) -> None:
    make(machine, mkfs)
    try:
        done = ask(machine, ansible)
        assert result_of(done)["finished"] is True
        assert is_whole(machine)
        assert any("take the room" in step for step in done["steps"]) == ("btrfs" in mkfs), "XFS and bigalloc stay as large as they are"
    finally:
        clean(machine)


@pytest.mark.slow
def test_a_detached_header(machine: Machine, ansible: Ansible) -> None:
    make(machine, "mkfs.ext4 -q -F", header="/root/header")
    try:
        done = ask(machine, ansible, header="/root/header")
        assert (result_of(done)["state"], result_of(done)["finished"]) == ("plain", True)
        assert is_whole(machine)
        assert ask(machine, ansible, header="/root/header", passphrase=None)["changed"] is False
    finally:
        clean(machine)


# What is done before, what is asked for beside the device, what is told, and what is done after.
REFUSED: dict[str, tuple[str, dict[str, Any], str, str]] = {
    "wrong secret": ("true", {"passphrase": "wrong"}, "does not open", ""),
    "no secret": ("true", {"passphrase": None}, "A secret of", ""),
    "busy": ("systemd-run -q --unit=busy --working-directory=/home sleep 1000", {}, "is in use by sleep", "systemctl stop busy"),
    "mounted elsewhere": (
        "umount /home; mkdir -p /srv/data; mount /dev/mapper/home /srv/data", {}, "not at /home",
        "umount /srv/data; mount /dev/mapper/home /home",
    ),
    "no file system that is known": (
        "umount /home; wipefs -qa /dev/mapper/home; mkswap /dev/mapper/home", {}, "is not decrypted here",
        "mkfs.ext4 -q -F /dev/mapper/home; mount /dev/mapper/home /home",
    ),
    "closed": (
        "umount /home; cryptsetup close home", {}, "is not open",
        f"printf '{SECRET}' | cryptsetup open --key-file - {{disk}} home; mount /dev/mapper/home /home",
    ),
    "a reencryption": (
        f"printf '{SECRET}' | cryptsetup reencrypt --init-only -q {CHEAP_OPTIONS} --key-file - --active-name home",
        {}, "has not ended", "",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def refused(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Refusal]:
    make(machine, "mkfs.ext4 -q -F")
    disk = machine.disks[0]
    look = f"cryptsetup luksDump {disk}; cat /proc/mounts; ls /etc/systemd/system /var/lib"
    rows = {
        why: Row(
            command,
            {name: value for name, value in {**ASKED, "device": disk, **options}.items() if value is not None},
            look,
            after.format(disk=disk) or "true",
        )
        for why, (command, options, dummy, after) in REFUSED.items()
    }
    found, dummy = refusals(machine, Ansible(tmp_path_factory.mktemp("refused"), machine), "luks_encryption", rows)
    clean(machine)
    return found


@pytest.mark.parametrize("why", REFUSED)
def test_refuses_and_changes_nothing(why: str, refused: dict[str, Refusal]) -> None:
    refused[why].holds(REFUSED[why][2])


def test_a_header_that_the_beginning_has_taken_is_put_back(machine: Machine, ansible: Ansible, volume: str) -> None:
    """The run is killed when cryptsetup has just removed the header from the device, and has not moved anything."""
    stand_in = (
        "#!/bin/sh\ncase \"$*\" in *--decrypt*) ;; *) exec /usr/sbin/cryptsetup.real \"$@\";; esac\n"
        f"dd if=/dev/zero of={volume} bs=4096 count=5 conv=notrunc,fsync status=none\n"
        "kill -9 $(ps -o ppid= $PPID) $PPID\n"
    )  # fmt: skip
    machine.run(
        "mv /usr/sbin/cryptsetup /usr/sbin/cryptsetup.real; cat > /usr/sbin/cryptsetup; chmod 755 /usr/sbin/cryptsetup", stdin=stand_in
    )
    try:
        killed = ask(machine, ansible)
        assert killed["failed"] is True and "module" in killed["msg"].lower(), killed
    finally:
        machine.run("mv /usr/sbin/cryptsetup.real /usr/sbin/cryptsetup")
    assert machine.run(f"cryptsetup isLuks {volume}", check=False).returncode == 1
    done = ask(machine, ansible)
    assert done["steps"][0].startswith("Put the LUKS header")
    assert result_of(done)["finished"] is True
    assert is_whole(machine)


@pytest.mark.slow
def test_a_failure_before_the_beginning_brings_the_volume_back(machine: Machine, ansible: Ansible, volume: str) -> None:
    stand_in = "#!/bin/sh\ncase \"$*\" in *--decrypt*) exit 1;; esac\nexec /usr/sbin/cryptsetup.real \"$@\"\n"  # fmt: skip
    machine.run(
        "mv /usr/sbin/cryptsetup /usr/sbin/cryptsetup.real; cat > /usr/sbin/cryptsetup; chmod 755 /usr/sbin/cryptsetup", stdin=stand_in
    )
    try:
        failed = ask(machine, ansible)
    finally:
        machine.run("mv /usr/sbin/cryptsetup.real /usr/sbin/cryptsetup")
    assert failed["step_failed"].startswith("Begin to decrypt")
    assert machine.run("findmnt -no SOURCE /home").stdout.strip() == "/dev/mapper/home"
    assert is_whole(machine)
    assert machine.run(f"ls {NOTES}").stdout == ""
