# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that stand for programs and the kernel: cryptsetup, blkid, sysfs, and the header's bytes."""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError, ToolFailed
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import block_device, devices
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import sysfs as sysfs_module
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.blkid import Blkid
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.btrfs import Btrfs
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.cryptsetup import Cryptsetup
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.e2fsprogs import E2fsprogs
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import Area, Holder, Signature
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.parse import Malformed
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.sysfs import Sysfs

RECORDED = Path(__file__).parents[1] / "fixtures/luks"
UUID = "11111111-2222-4333-8444-555555555555"


class Programs:
    """Answers by the words after the program's name."""

    def __init__(self, **answers: tuple[int, str, str]) -> None:
        self.answers = answers
        self.calls: list[list[str]] = []

    def get_bin_path(self, arg: str, **_options: Any) -> str:
        return arg

    def run_command(self, args: list[str], **_options: Any) -> tuple[int, bytes, bytes]:
        words = args[5:]
        self.calls.append(words)
        key = "json" if "--dump-json-metadata" in words else words[0].lstrip("-")
        rc, out, err = self.answers[key]
        return rc, out.encode(), err.encode()


def recorded(name: str) -> tuple[int, str, str]:
    return 0, (RECORDED / name).read_text(), ""


UNKNOWN_OPTION = (1, "", "--dump-json-metadata: unknown option")
NOT_LUKS = (1, "", "Device x is not a valid LUKS device.")
NO_DEVICE = (4, "", "Device x does not exist or access denied.")


def header(**answers: tuple[int, str, str]) -> Any:
    return Cryptsetup(Runner(Programs(**answers))).header("x")


def test_the_metadata_are_used_where_there_are_some() -> None:
    found = header(luksDump=recorded("cryptsetup-2.8.8-luks2-rich.txt"), json=recorded("cryptsetup-2.8.8-luks2-rich.json"))
    assert found.tokens[1].tpm2_pcrs == (7, 11)
    old = header(luksDump=recorded("cryptsetup-2.3.7-luks2-rich.txt"), json=UNKNOWN_OPTION)
    assert (old.uuid, old.tokens[1].tpm2_pcrs) == (UUID, None)
    assert header(luksDump=recorded("cryptsetup-2.8.8-luks1.txt")).type == "luks1"


def test_no_luks_is_not_the_same_as_no_device() -> None:
    assert header(luksDump=NOT_LUKS, isLuks=(1, "", "")) is None
    with pytest.raises(RootOfTrustError, match="does not exist or access denied"):
        header(luksDump=NO_DEVICE)
    with pytest.raises(ToolFailed, match="Failed to acquire read lock"):
        header(luksDump=(1, "", "Failed to acquire read lock on LUKS2 device x."), isLuks=(0, "", ""))


def test_what_is_to_be_corrected_is_an_option_of_the_module_that_asks() -> None:
    wrong = Cryptsetup(Runner(Programs(open=(2, "", ""), luksAddKey=(2, "", ""))))
    with pytest.raises(RootOfTrustError, match=r"does not open it\. Correct passphrase or key_file"):
        wrong.open("x", "home", Secret(b"s"))
    with pytest.raises(RootOfTrustError, match=r"does not open it\. Give one that does in unlock"):
        wrong.add_keyslot("x", Secret(b"s"), Secret(b"t"), 1)


def test_a_path_is_never_an_option() -> None:
    programs = Programs(luksDump=NOT_LUKS, isLuks=(1, "", ""))
    Cryptsetup(Runner(programs)).header("--version")
    assert all(words[-2:] == ["--", "--version"] for words in programs.calls)


def test_devices_are_found_by_links_and_then_by_blkid(tmp_path: Path) -> None:
    (tmp_path / "by-uuid").mkdir()
    (tmp_path / "disk").touch()
    (tmp_path / "by-uuid/abc-1").symlink_to(tmp_path / "disk")

    def blkid(answer: tuple[int, str, str]) -> Blkid:
        return Blkid(Runner(Programs(c=answer)), str(tmp_path))

    linked = blkid((2, "", ""))
    assert linked.device("UUID=ABC-1") == linked.linked("UUID=abc-1") == str(tmp_path / "disk")
    assert linked.linked("LABEL=x") is None and linked.linked("none") is None
    assert linked.device("/dev/x") == "/dev/x"
    assert blkid((0, "/dev/vda1\n", "")).device("UUID=def") == "/dev/vda1"
    for answer, message in (
        ((2, "", ""), "No device has UUID=def"),
        ((0, "/dev/a\n/dev/b\n", ""), "2 devices have UUID=def: /dev/a, /dev/b"),
    ):
        with pytest.raises(RootOfTrustError, match=message):
            blkid(answer).device("UUID=def")
    with pytest.raises(RootOfTrustError, match="sda is neither"):
        linked.device("sda")


@pytest.mark.parametrize("folder", [r"\x2fdisk\x2fby-uuid\x2fabc-1", r"disk\x2fby-uuid\x2fabc-1"])  # of systemd 247, and of 257
def test_a_device_of_which_there_is_a_copy_is_not_guessed(tmp_path: Path, folder: str) -> None:
    (tmp_path / "by-uuid").mkdir()
    (tmp_path / "by-uuid/abc-1").symlink_to("/dev/null")
    for number, name in (("8:16", "sdb"), ("8:17", "sdb/sdb1"), ("104:0", "cciss!c0d0")):
        (tmp_path / "block" / name).mkdir(parents=True)
        (tmp_path / "dev/block").mkdir(parents=True, exist_ok=True)
        (tmp_path / "dev/block" / number).symlink_to(tmp_path / "block" / name)
    claims = tmp_path / "links" / folder
    claims.mkdir(parents=True)
    blkid = Blkid(Runner(Programs()), str(tmp_path), str(tmp_path / "links"), str(tmp_path))
    assert blkid.device("UUID=ABC-1") == "/dev/null"
    for name in ("b8:16", "b8:17", "b8:32", "+drivers:x"):  # the disk, what is no partition, what is gone since, and no block device
        (claims / name).touch()
        assert blkid.device("UUID=ABC-1") == "/dev/sdb"
    (claims / "b104:0").touch()
    with pytest.raises(RootOfTrustError, match="2 devices have UUID=ABC-1: /dev/cciss/c0d0, /dev/sdb"):
        blkid.device("UUID=ABC-1")


def test_signatures_that_exclude_each_other_are_an_error() -> None:
    with pytest.raises(RootOfTrustError, match="exclude each other"):
        Blkid(Runner(Programs(p=(8, "", "ambivalent result")))).signature("x")
    assert Blkid(Runner(Programs(p=(2, "", "")))).signature("x") is None


def test_a_check_that_could_not_be_made_is_not_told_as_errors_of_the_file_system() -> None:
    for rc, message in (
        (8, "e2fsck cannot check x: x is in use. e2fsck: Cannot continue, aborting."),
        (4, "has errors that e2fsck does not"),
    ):
        programs = Programs(f=(rc, "", "x is in use.\ne2fsck: Cannot continue, aborting.\n"))
        with pytest.raises(RootOfTrustError) as caught:
            E2fsprogs(Runner(programs)).check("x")
        assert message in str(caught.value)


class BtrfsPrograms(Programs):
    """btrfs-progs 6.14, of a file system whose first device was replaced by another."""

    shown = "Label: none  uuid: {0}\n\tTotal devices {1} FS bytes used 147456\n{2}\n"

    def __init__(self, *devices: int) -> None:
        lines = "".join(f"\tdevid {number:4} size 402653184 used 88866816 path /dev/ubdc\n" for number in devices)
        super().__init__(filesystem=(0, self.shown.format(UUID, len(devices), lines), ""))

    def resized(self) -> list[str]:
        return [words[2] for words in self.calls if words[1] == "resize"]


def test_a_btrfs_is_resized_on_the_device_that_it_has() -> None:
    programs = BtrfsPrograms(2)
    btrfs = Btrfs(Runner(programs))
    assert btrfs.look("/dev/ubdc", UUID).size == 402653184
    btrfs.shrink("/home", 1000)
    btrfs.grow("/home")
    assert programs.resized() == ["2:1000", "2:max"]
    several = BtrfsPrograms(1, 2)
    with pytest.raises(RootOfTrustError, match="The btrfs at /home has 2 devices by now"):
        Btrfs(Runner(several)).grow("/home")
    assert several.resized() == []


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """loop0 of a file, a LUKS mapping over it, a volume group over that with two volumes."""
    held = {"loop0": ["dm-0"], "dm-0": ["dm-1", "dm-2"], "dm-1": ["dm-3"], "dm-2": ["dm-3"], "dm-3": []}
    for number, (name, holders) in enumerate(held.items()):
        folder = tmp_path / "sys/class/block" / name
        (folder / "holders").mkdir(parents=True)
        for holder in holders:
            (folder / "holders" / holder).touch()
        (folder / "dev").write_text(f"254:{number}\n")
        if name.startswith("dm"):
            (folder / "dm").mkdir()
            (folder / "dm/name").write_text(f"name-{name}\n")
            (folder / "dm/uuid").write_text(f"CRYPT-LUKS2-{UUID.replace('-', '')}-x\n" if name == "dm-0" else "LVM-x\n")
    (tmp_path / "sys/class/block/loop0/loop").mkdir()
    (tmp_path / "image").touch()
    (tmp_path / "sys/class/block/loop0/loop/backing_file").write_text(f"{tmp_path / 'image'}\n")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/mounts").write_text("tmpfs /run tmpfs rw 0 0\n/nowhere /x ext4 rw 0 0\n")
    (tmp_path / "proc/swaps").write_text(f"Filename Type Size Used Priority\n{tmp_path / 'image'} file 1 0 -2\n")
    return tmp_path


def test_all_that_lies_over_a_file(kernel: Path) -> None:
    sysfs = Sysfs(str(kernel / "sys"), str(kernel / "proc"))
    holders = sysfs.holders(str(kernel / "image"))
    assert [holder.name for holder in holders] == ["loop0", "dm-0", "dm-1", "dm-2", "dm-3"]
    assert [holder.mapper for holder in holders if holder.maps(UUID)] == ["name-dm-0"]
    assert holders[0] == Holder("loop0")
    assert sysfs.uses(str(kernel / "image"), holders) == ([], [str(kernel / "image")])
    (kernel / "other").touch()
    assert sysfs.holders(str(kernel / "other")) == []
    assert sysfs.uses(str(kernel / "other"), []) == ([], [])


def lies_on(kernel: Path, **devices: list[str]) -> None:
    """Mappings of the volume, and what each lies on."""
    for name, slaves in devices.items():
        folder = kernel / "sys/class/block" / name.replace("_", "-")
        for path in (folder / "slaves", folder / "dm"):
            path.mkdir(parents=True, exist_ok=True)
        (folder / "dm/uuid").write_text(f"CRYPT-LUKS2-{UUID.replace('-', '')}-{name}\n")
        for slave in slaves:
            (folder / "slaves" / slave).touch()


@pytest.fixture
def copied(kernel: Path) -> Path:
    """A copy of the file, behind a loop device of its own."""
    loop = kernel / "sys/class/block/loop1"
    (loop / "loop").mkdir(parents=True)
    (loop / "loop/backing_file").write_text(f"{kernel / 'copy'}\n")
    (kernel / "copy").touch()
    return kernel


def test_what_is_open_of_a_volume_is_not_taken_for_that_of_its_copy(copied: Path) -> None:
    sysfs = Sysfs(str(copied / "sys"), str(copied / "proc"))
    # In the midst of a reencryption, at a moment at which the kernel tells of no holder.
    lies_on(copied, dm_0=["dm-4", "dm-5"], dm_4=["dm-5"], dm_5=["loop0"])
    (copied / "sys/class/block/loop0/holders/dm-0").unlink()
    assert {holder.name for holder in sysfs.holders(str(copied / "image"), UUID)} >= {"loop0", "dm-0", "dm-4", "dm-5"}
    assert sysfs.twins(str(copied / "image"), UUID) == []
    assert [holder.name for holder in sysfs.holders(str(copied / "copy"), UUID)] == ["loop1"]
    assert [(twin.holder.name, twin.devices) for twin in sysfs.twins(str(copied / "copy"), UUID)] == [
        (name, ("loop0",)) for name in ("dm-0", "dm-4", "dm-5")
    ]


def test_what_lies_below_is_looked_at_again_where_a_reencryption_hides_it(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lies_on(copied, dm_0=["dm-4"])  # whose own table is being changed, and beside it a helper that goes
    lies_on(copied, dm_6=[])

    def later(_seconds: float) -> None:
        lies_on(copied, dm_4=["loop0"])
        (copied / "sys/class/block/dm-6/dm/uuid").write_text("\n")

    monkeypatch.setattr(sysfs_module.time, "sleep", later)
    sysfs = Sysfs(str(copied / "sys"), str(copied / "proc"))
    assert sysfs.twins(str(copied / "image"), UUID) == []
    assert [twin.holder.name for twin in sysfs.twins(str(copied / "copy"), UUID)] == ["dm-0", "dm-4"]


def test_a_mapping_that_lies_on_nothing_is_waited_for(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lies_on(copied, dm_0=["dm-4"], dm_4=[])
    looks = []

    def later(_seconds: float) -> None:
        looks.append(1)
        if len(looks) == 3 * sysfs_module.TRIES:
            lies_on(copied, dm_4=["loop0"])

    monkeypatch.setattr(sysfs_module.time, "sleep", later)
    sysfs = Sysfs(str(copied / "sys"), str(copied / "proc"))
    assert sysfs.twins(str(copied / "image"), UUID) == []
    assert len(looks) == 3 * sysfs_module.TRIES


def test_a_mapping_that_lies_on_nothing_is_not_waited_for_without_end(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As dmsetup wipe_table leaves one."""
    lies_on(copied, dm_0=[])
    monkeypatch.setattr(sysfs_module, "PATIENCE", 0.2)
    (twin,) = Sysfs(str(copied / "sys"), str(copied / "proc")).twins(str(copied / "image"), UUID)
    assert str(twin).endswith("on a device that the kernel does not tell")


def test_only_beside_a_luks_header_are_partitions_none() -> None:
    some = header(luksDump=recorded("cryptsetup-2.8.8-luks2-rich.txt"), json=recorded("cryptsetup-2.8.8-luks2-rich.json"))
    ext4, table = Signature("ext4", "filesystem", "", "", ""), Signature("", "", "", "", "dos")
    assert [devices.is_no_table(some, shown) for shown in (None, ext4, table)] == [True, True, False]
    assert [devices.is_no_table(None, shown) for shown in (None, ext4, table)] == [False, False, False]


# ------------------------------------------------------------------------------------------------------- header's bytes


def luks1(padding: bytes = b"\0") -> bytes:
    """A header with 8 keyslots of 64 bytes in 4000 stripes, as cryptsetup lays them out."""
    top = struct.pack(">6sH32s32s32sII20s32sI40s", b"LUKS\xba\xbe", 1, b"aes", b"xts", b"sha256", 4096, 64, b"", b"", 1000, UUID.encode())
    slots = b"".join(struct.pack(">II32sII", 0xDEAD, 0, b"", 8 + 504 * slot, 4000) for slot in range(8))
    return (top + slots).ljust(4096, padding) + bytes(2068480 - 4096)


def test_a_digest_of_luks1_does_not_depend_on_what_a_backup_leaves_out(tmp_path: Path) -> None:
    (tmp_path / "device").write_bytes(luks1(padding=b"x") + b"data")
    (tmp_path / "backup").write_bytes(luks1())
    area, digest = block_device.header_digest(str(tmp_path / "device"))
    assert area == Area("luks1", UUID, 4036 * 512, (592, 4096))
    assert block_device.header_digest(str(tmp_path / "backup")) == (area, digest)
    changed = bytearray(luks1())
    changed[4036 * 512 - 1] = 1
    (tmp_path / "backup").write_bytes(changed)
    assert block_device.header_digest(str(tmp_path / "backup"))[1] != digest


def test_a_header_that_is_cut_short_has_no_digest(tmp_path: Path) -> None:
    (tmp_path / "backup").write_bytes(luks1()[:100000])
    with pytest.raises(Malformed, match="100000 bytes of a LUKS header of 2066432"):
        block_device.header_digest(str(tmp_path / "backup"))


def test_what_is_no_device(tmp_path: Path) -> None:
    for path, message in ((str(tmp_path), "neither a block device"), (str(tmp_path / "no"), "There is no"), (os.devnull, "neither")):
        with pytest.raises(RootOfTrustError, match=message):
            block_device.size(path)


class Trials(Programs):
    """cryptsetup 2.3.7 as it answers a trial of a secret, by whether it is right; recorded in the middle of a reencryption."""

    def __init__(self, right: bool, slots: tuple[int, ...], version: str = "cryptsetup 2.3.7", dump: str = "reencrypt-init") -> None:
        super().__init__(
            luksDump=recorded(f"cryptsetup-2.3.7-luks2-{dump}.txt"), json=UNKNOWN_OPTION, isLuks=(0, "", ""), version=(0, version, "")
        )
        self.right, self.slots = right, slots

    def run_command(self, args: list[str], **_options: Any) -> tuple[int, bytes, bytes]:
        words = args[5:]
        if words[0] != "open":
            return super().run_command(args)
        slots = [int(word.partition("=")[2]) for word in words if word.startswith("--key-slot=")] or list(self.slots)
        if self.right and set(slots) & set(self.slots):
            return 1, b"", b"Command failed with code -1 (wrong or missing parameters)." if "--verbose" in words else b""
        return 2, b"", b"No key available with this passphrase."

    def asked(self) -> Cryptsetup:
        return Cryptsetup(Runner(self))


def test_a_secret_is_tried_in_the_middle_of_a_reencryption_with_an_old_cryptsetup() -> None:
    right, wrong, secret = Trials(True, (0, 1)).asked(), Trials(False, (0, 1)).asked(), Secret(b"secret")
    assert (right.opens("x", secret), wrong.opens("x", secret)) == (True, False)
    assert (right.unlocked_by("x", secret), wrong.unlocked_by("x", secret)) == (0, None)
    assert Trials(True, (1,)).asked().unlocked_by("x", secret) == 1


def test_a_failure_without_a_word_is_one_anywhere_else() -> None:
    newer = Trials(True, (0,), version="cryptsetup 2.6.1").asked()
    with pytest.raises(ToolFailed):
        newer.opens("x", Secret(b"secret"))
    with pytest.raises(ToolFailed):
        Trials(True, (0,), dump="rich").asked().unlocked_by("x", Secret(b"secret"))
