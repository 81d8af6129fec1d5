# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which device lies under a mount point: a plain one, one below an open volume, one behind a closed one."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.blkid import Blkid
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import Mount
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.parse import parse_crypttab, parse_fstab
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.places import Places
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_encryption import Note


class NoProgram:
    def get_bin_path(self, arg: str, **_options: object) -> str:
        return arg

    def run_command(self, args: list[str], **_options: object) -> tuple[int, bytes, bytes]:
        return 2, b"", b""


class Host:
    """A host whose devices are files: all of them have the number 0:0, of which sysfs says what a test wants."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"
        self.home.mkdir()
        self.mounts = self.fstab = self.crypttab = ""
        self.notes: list[Note] = []
        (root / "dev/disk/by-uuid").mkdir(parents=True)
        (root / "sys/dev/block").mkdir(parents=True)

    def device(self, name: str) -> Path:
        path = self.root / "dev" / name
        path.touch()
        return path

    def kernel(self, **devices: tuple[str, list[str]]) -> None:
        """name=(uuid of the device mapper, what it lies on); the first is the one that is mounted."""
        for name, (uuid, slaves) in devices.items():
            folder = self.root / "sys/class/block" / name
            (folder / "slaves").mkdir(parents=True)
            (folder / "dm").mkdir()
            (folder / "dm/uuid").write_text(uuid + "\n")
            for slave in slaves:
                (folder / "slaves" / slave).touch()
        (self.root / "sys/dev/block/0:0").symlink_to(self.root / "sys/class/block" / next(iter(devices)))

    def look(self, name: str | None = None, named: str | None = None) -> str:
        (self.root / "mounts").write_text(self.mounts)
        (self.root / "fstab").write_text(self.fstab)
        places = Places(
            Blkid(Runner(NoProgram()), str(self.root / "dev/disk")),
            parse_crypttab(self.crypttab),
            str(self.root / "sys"),
            str(self.root / "mounts"),
            str(self.root / "fstab"),
            self.notes,
        )
        return places.device(named or str(self.home), name)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_a_plain_device_is_itself(host: Host) -> None:
    path = host.device("sda3")
    host.kernel(sda3=("", []))
    host.mounts = f"{host.device('old')} {host.home} ext4 rw 0 0\nsystemd-1 {host.home} autofs rw 0 0\n{path} {host.home} ext4 rw 0 0\n"
    assert host.look() == str(path)


def test_below_an_open_volume_lies_the_encrypted_device(host: Host) -> None:
    host.mounts = f"{host.device('dm-1')} {host.home} ext4 rw 0 0\n"
    host.kernel(**{"dm-1": ("CRYPT-LUKS2-0123-home", ["sda3"])})
    assert host.look() == "/dev/sda3"


def test_what_a_reencryption_puts_between_is_seen_through_and_a_logical_volume_is_not(host: Host) -> None:
    host.mounts = f"{host.device('dm-3')} {host.home} ext4 rw 0 0\n"
    host.kernel(
        **{
            "dm-3": ("CRYPT-LUKS2-0123-home", ["dm-1", "dm-2"]),
            "dm-1": ("CRYPT-SUBDEV-0123-home-hotzone", ["dm-2", "dm-0"]),
            "dm-2": ("CRYPT-SUBDEV-0123-home-overlay", ["dm-0"]),
            "dm-0": ("LVM-abc", ["sda3"]),
        }
    )
    (host.root / "sys/class/block/dm-0/dm/name").write_text("vg-home\n")
    assert host.look() == "/dev/mapper/vg-home"


def test_the_uuid_of_a_file_system_in_a_volume_tells_the_volume(host: Host) -> None:
    (host.root / "dev/disk/by-uuid/0123-abcd").symlink_to(host.device("dm-0"))
    host.kernel(**{"dm-0": ("CRYPT-LUKS2-1234-home", ["sda3"])})
    assert host.look(named="UUID=0123-ABCD") == "/dev/sda3"
    assert host.look(named="/dev/dm-0") == "/dev/dm-0"


def test_a_volume_on_two_devices_is_ambiguous(host: Host) -> None:
    host.mounts = f"{host.device('dm-1')} {host.home} ext4 rw 0 0\n"
    host.kernel(**{"dm-1": ("CRYPT-PLAIN-home", ["sda3", "sdb3"])})
    with pytest.raises(RootOfTrustError, match="lies on 2 devices: sda3, sdb3"):
        host.look()


def test_where_nothing_is_mounted_fstab_tells(host: Host) -> None:
    path = host.device("sda3")
    (host.root / "dev/disk/by-uuid/0123-abcd").symlink_to(path)
    host.kernel(sda3=("", []))
    host.fstab = f"# {host.home}\nUUID=0123-ABCD\t{host.home}  ext4 defaults 0 2\n"
    assert host.look() == str(path)


@pytest.mark.parametrize(("source", "name"), [("UUID=0123", "home"), ("/dev/mapper/home", None)])
def test_a_closed_volume_is_found_by_crypttab(host: Host, source: str, name: str | None) -> None:
    host.fstab = f"{source} {host.home} ext4 defaults 0 2\n"
    host.crypttab = f"home {host.device('sda3')} none luks\n"
    assert host.look(name) == str(host.root / "dev/sda3")


@pytest.mark.parametrize(("uuid", "found"), [("", "/dev/sda3"), ("abcd", "dev/sdb3"), ("gone", "/dev/sda3")])
def test_one_whose_encryption_was_cut_before_crypttab_had_its_line_is_noted(host: Host, uuid: str, found: str) -> None:
    (host.root / "dev/disk/by-uuid/abcd").symlink_to(host.device("sdb3"))  # the names of devices have changed since
    mount = Mount("/dev/sda3", str(host.home), "ext4", ())
    host.notes = [
        Note("data", "/dev/sda4", 1, "proven", "ext4", "9", mount=None),
        Note("home", "/dev/sda3", 1, "proven", "ext4", "0123", luks_uuid=uuid, mount=mount),
    ]
    host.fstab = f"UUID=0123 {host.home} ext4 nofail 0 2\n"
    assert host.look() == (found if found.startswith("/") else str(host.root / found))


def test_nothing_is_guessed(host: Host) -> None:
    host.crypttab = "data /dev/sda4 none luks\n"
    with pytest.raises(RootOfTrustError, match="neither fstab nor crypttab tells"):
        host.look("home")


def test_a_line_of_fstab_has_at_least_three_fields() -> None:
    found = parse_fstab("#x\n\nUUID=1 /my\\040home ext4\n/dev/sda2 none swap sw,pri=1 0 0\nhalf a\n")
    assert [(line.source, line.target, line.options) for line in found] == [
        ("UUID=1", "/my home", ()),
        ("/dev/sda2", "none", ("sw", "pri=1")),
    ]
