# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A decryption in place, cut after any write of it: the data is never lost, never taken for whole before it is, and the next runs end it.

The plan is the real one, and so is what is done and read at each step (Volumes). Only the programs and the disk below are a model: a disk
whose cache may lose any part of what was written and not yet flushed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError, ToolFailed
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import decryption, encryption
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import plan_encryption as plan
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import (
    Device,
    Header,
    Holder,
    Keyslot,
    Mount,
    Segment,
    Signature,
    Work,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_decryption import GROW_PLAIN, SECTOR, marker, plan_volumes
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_encryption import FileSystem, Note, Wish
from tests.unit.luks.host_programs import Cut, HostPrograms, Lost

MIB = 1024 * 1024
DEVICE, NAME, TARGET, SIZE, OFFSET = "/dev/vdb", "home", "/home", 1024 * MIB, 16 * MIB
MAPPER, UNIT = f"/dev/mapper/{NAME}", "app.service"
FS, LUKS = "0f0e0d0c-0b0a-4908-8706-050403020100", "11111111-2222-4333-8444-555555555555"
FILE = f"/notes/{NAME}.luks-header"
ALICE, BOB = Secret(b"alice"), Secret(b"bob")
HEADER = "header"  # what the head is while the header is in it


def superblock(version: int) -> bytes:
    """The first sector of an ext4 superblock; each mount changes it."""
    sector = bytearray(SECTOR)
    sector[0x38:0x3A] = b"\x53\xef"
    sector[0x68:0x78] = bytes.fromhex(FS.replace("-", ""))
    sector[0x100:0x104] = version.to_bytes(4, "big")
    return bytes(sector)


class World:
    """A host with one volume that is open.

    The head is what is in the first 16 MiB: magic and slots of the header, or the first encrypted bytes, moved. ``here`` are those at their
    old place. They contain the sector that is hidden.
    """

    def __init__(self, mounted: bool, by_fstab: bool) -> None:
        self.version = 1
        self.truth = superblock(1)
        self.disk: dict[str, Any] = {"magic": HEADER, "slots": HEADER, "here": self.truth}
        self.unflushed: list[tuple[str, Any]] = []
        self.file: str | None = None  # copy, work, over (but for the last write, which says so), ended
        self.moved_on = False  # cryptsetup has begun to decrypt
        self.is_plain = False
        self.mapping, self.mounted = True, MAPPER if mounted else None
        self.by_fstab = by_fstab
        self.key = "0"
        self.notes: dict[str, Note] = {}
        self.backups = 0
        self.units = {UNIT}
        self.background = "none"
        self.rigid = ""  # why the size of its file system is not to be changed
        self.elsewhere = False  # mounted in another namespace
        self.left: int | None = None
        self.writes = 0

    def tick(self) -> None:
        self.writes += 1
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Cut

    def put(self, place: str, content: Any) -> None:
        self.tick()
        self.unflushed.append((place, self.disk[place]))
        self.disk[place] = content

    def flush(self) -> None:
        self.tick()
        self.unflushed = []

    def power_off(self, kept: Callable[[], bool]) -> None:
        for place, before in reversed(self.unflushed):
            if not kept():
                self.disk[place] = before
        self.unflushed = []
        if self.file == "copy" and not kept():
            self.file = None  # nobody has flushed it
        self.mapping, self.mounted = False, None
        if self.background == "active":
            self.background = "none"  # nothing pulls the unit in

    def boot(self) -> None:
        """crypttab and fstab have their say."""
        self.units = {UNIT}
        if self.on_device():
            self.mapping = True
        if self.by_fstab and self.visible() is not None:
            self.mount()

    def visible(self) -> str | None:
        """What shows the file system."""
        if self.is_plain:
            return DEVICE if self.disk["here"] == self.truth else None
        return MAPPER if self.mapping and self.disk["here"] == self.truth else None

    def mount(self) -> None:
        source = self.visible()
        if source is None:
            raise Lost("What is mounted is not whole.")
        self.mounted = source
        self.use()

    def use(self) -> None:
        """A mount that may write changes the superblock."""
        self.version += 1
        self.truth = self.disk["here"] = superblock(self.version)

    def on_device(self) -> bool:
        return not self.moved_on and self.disk["magic"] == HEADER and self.disk["slots"] == HEADER

    def moved(self) -> bool:
        return bool(self.disk["magic"] == self.disk["slots"] == ("moved", self.disk["here"]))

    def check(self) -> None:
        """At every moment there is a way to the data, and to the sector that is hidden."""
        if not (self.on_device() or self.backups or self.moved_on or self.is_plain):
            raise Lost("The header is gone.")
        if self.moved_on and not self.is_plain and self.file != "work":
            raise Lost("The header of a volume that is half decrypted is gone.")
        hidden = [bytes.fromhex(note.hidden) for note in self.notes.values() if note.hidden]
        if self.disk["here"] != self.truth and self.truth not in hidden:
            raise Lost("The superblock is gone.")

    def work_ends(self, written: bool = True) -> None:
        """The unit has done its work, or is cut just before it writes that down."""
        if self.background != "active":
            return
        if self.file != "work" or not (self.moved() or self.moved_on):
            raise Lost("What is decrypted is not the data.")
        self.moved_on = self.is_plain = True
        self.file, self.background = ("ended", "done") if written else ("over", "dead")


class Programs(HostPrograms):
    """devices.py, cryptsetup.py, mounts.py, systemd.py and notes.py, in as far as Volumes uses them."""

    folder = "/notes"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.world = world

    # devices

    def signature(self, path: str) -> Signature | None:
        world = self.world
        seen = world.visible() == path and (path == MAPPER or world.is_plain)
        return Signature("ext4", "filesystem", FS, "", "") if seen else None

    def look(self, _named: str, header: str | None = None) -> Device:
        world = self.world
        found, slots = None, (Keyslot(0, "luks2", "normal", 512),)
        segments = (Segment(0, "crypt", OFFSET, None),)
        if header == FILE and world.file is not None:
            if world.file == "ended":
                slots, segments = (), (Segment(0, "linear", 0, None),)
            work = Work("decrypt", "forward", "datashift-checksum") if world.file in ("work", "over") else None
            found = Header("luks2", LUKS, "", "", 1, "", 512, 512, OFFSET, slots, (), segments, work=work)
        elif header is None and world.on_device():
            found = Header("luks2", LUKS, "", "", 1, "", 512, 512, OFFSET, slots, (), segments)
        holders = (Holder("dm-0", NAME, f"CRYPT-LUKS2-{LUKS.replace('-', '')}-{NAME}"),) if world.mapping else ()
        mounts = (Mount(world.mounted, TARGET, "ext4", ("rw",)),) if world.mounted else ()
        shows = None if found is not None and header is None else self.signature(DEVICE)
        return Device(DEVICE, SIZE, True, False, found, shows, holders, mounts)

    # cryptsetup

    def unlocked_by(self, path: str, secret: Secret) -> int | None:
        there = self.world.on_device() if path == DEVICE else self.world.file in ("copy", "work")
        return 0 if there and secret == ALICE else None

    def open(self, _device: str, _name: str, secret: Secret, options: Sequence[str]) -> None:
        self.world.tick()
        header = FILE if options else DEVICE
        if self.unlocked_by(header, secret) is None or self.world.mapping:
            raise ToolFailed("It does not open.")
        self.world.mapping = True

    def close(self, _name: str) -> None:
        self.world.tick()
        if self.world.mounted or not self.world.mapping:
            raise ToolFailed("Device home is still in use, or not active.")
        self.world.mapping = False

    def begin_decryption(self, _device: str, _secret: Secret, header: str) -> None:
        """As cryptsetup 2.6.1 and 2.7.5 do it: what is moved is not flushed before the file says that it is."""
        world = self.world
        if world.mapping or not world.on_device() or world.file is not None or header != FILE:
            raise Lost("A decryption is begun of what is not ready for it.")
        world.tick()
        world.file = "copy"
        world.put("magic", "none")
        world.flush()
        world.put("magic", ("moved", world.disk["here"]))
        world.put("slots", ("moved", world.disk["here"]))
        world.tick()
        world.file = "work"

    def restore_header(self, _path: str, _backup: str) -> None:
        world = self.world
        if world.moved_on or world.is_plain or not world.backups:
            raise Lost("A header is written over data.")
        world.put("slots", HEADER)
        world.put("magic", HEADER)
        world.flush()

    def resume_command(self, device: str, secret_path: str, header: str | None) -> list[str]:
        return ["/usr/sbin/cryptsetup", "reencrypt", secret_path, str(header), device]

    # mounts

    def mount(self, source: str, _mount: Mount) -> None:
        self.world.tick()
        if source != self.world.visible():
            raise Lost("Something is mounted that is not whole.")
        self.world.mount()

    # systemd

    def run(self, _name: str, _text: str, at_boot: bool) -> None:
        self.world.tick()
        if self.world.file != "work" or self.world.mapping or at_boot:
            raise Lost("The unit has nothing to do.")
        self.world.background = "active"

    def forget(self, _what: str) -> None:
        self.world.tick()
        self.world.background = "none"

    # notes

    def header_file(self, _name: str) -> str:
        return FILE


class Ext:
    """resize2fs and dumpe2fs."""

    def __init__(self, world: World) -> None:
        self.world = world

    def look(self, _path: str) -> FileSystem:
        return FileSystem("ext4", FS, SIZE - OFFSET, rigid=self.world.rigid)

    def grow(self, _path: str, _mounted: bool) -> None:
        assert not self.world.rigid
        self.world.tick()


class Host:
    """Runs of the module on a world."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        for name, fake in {
            "digest": self.digest,
            "drop_cache": lambda _path: None,
            "header_digest": lambda path: ("area", "whole" if path != DEVICE or world.on_device() else "broken"),
            "metadata": lambda _path: {"segments": {"0": {}}, "digests": {world.key: {"segments": ["0"]}}},
            "read_part": lambda path, _offset, _length: self.read(path),
            "write_part": self.write,
            "sync_file": lambda path: world.flush() if path == DEVICE else None,
            "sync_folder": lambda _path: None,
            "os": SimpleNamespace(
                path=SimpleNamespace(
                    join=os.path.join, dirname=os.path.dirname, exists=lambda _path: world.file is not None, realpath=lambda path: path
                ),
                unlink=self.unlink,
            ),
        }.items():
            monkeypatch.setattr(decryption, name, fake)
        for name, fake in {
            "metadata": lambda _path: {},
            "is_over": lambda _found: world.file == "over",
            "stays_claimed": self.claimed,
            "write_end": self.write_end,
        }.items():
            monkeypatch.setattr(encryption, name, fake)
        for name in ("_lock", "_forget_secret"):
            monkeypatch.setattr(encryption.Encryptions, name, lambda *_arguments: None)
        monkeypatch.setattr(encryption, "atomic_write", lambda *_arguments: None)
        monkeypatch.setattr(encryption, "os", SimpleNamespace(path=os.path, makedirs=lambda *_arguments, **_options: None))
        monkeypatch.setattr(encryption.Encryptions, "_secret_file", lambda _self, _wish, _name: ("/run/key", True))
        monkeypatch.setattr(encryption.Encryptions, "_back_up", self.back_up)
        monkeypatch.setattr(encryption.Encryptions, "_is_home_of_notes", lambda _self, _device, _wish: False)
        monkeypatch.setattr(decryption.Volumes, "_backup_of", lambda _self, _path: "/backups/1")

    def claimed(self, path: str) -> bool:
        """What is asked is whether somebody else has the volume that was just unmounted."""
        assert path == MAPPER
        return self.world.elsewhere

    def back_up(self, _job: Any) -> None:
        self.world.tick()
        if not self.world.on_device():
            raise Lost("What is backed up is no header.")
        self.world.backups += 1

    def digest(self, _path: str, offset: int, _length: int) -> str:
        disk = self.world.disk
        if offset:
            return repr(disk["here"] if not self.world.moved_on else "gone")
        both = {disk["magic"], disk["slots"]}
        (content,) = both if len(both) == 1 else ("mixed",)
        return repr(content[1]) if isinstance(content, tuple) and not self.world.moved_on else repr(content)

    def read(self, path: str) -> bytes:
        world = self.world
        if path == DEVICE and not world.is_plain:
            return bytes(SECTOR)
        assert world.is_plain or world.mapping
        return bytes(world.disk["here"])

    def write(self, path: str, _offset: int, data: bytes) -> None:
        world = self.world
        if (path == DEVICE) != world.is_plain or world.mounted:
            raise Lost("A sector is written where it does not belong.")
        world.put("here", data)
        world.flush()

    def write_end(self, _path: str) -> None:
        self.world.tick()
        if self.world.file != "over":
            raise Lost("What is not over is called so.")
        self.world.file = "ended"

    def unlink(self, _path: str) -> None:
        self.world.tick()
        self.world.file = None

    def once(self, wish: Wish) -> list[str]:
        """One run, as converge has it."""
        runner: Any = None
        run: Any = decryption.Volumes(runner, "/backups")
        programs = Programs(self.world)
        for name in ("_devices", "_cryptsetup", "_mounts", "_systemd", "_notes"):
            setattr(run, name, programs)
        run._ext = Ext(self.world)
        steps = plan_volumes(run.read([wish]))
        for step in steps:
            run.apply(step)
        missed = [step.sentence for step in plan_volumes(run.read([wish])) if not step.once]
        assert not (steps and missed), f"{[step.action for step in steps]}, and yet: {missed}"
        return [step.action for step in steps]

    def cut(self, wish: Wish, after: int) -> bool:
        """One run, cut after some writes; whether it came so far."""
        self.world.left = after
        try:
            self.once(wish)
        except Cut:
            return True
        finally:
            self.world.left = None
        return False

    def finish(self, wish: Wish) -> None:
        """Runs until there is nothing to do, and then all is as it should be."""
        world = self.world
        for _number in range(6):
            done = self.once(wish)
            world.check()
            world.work_ends()
            if not done and not self.once(wish):
                break
        else:
            raise AssertionError("It does not come to an end.")
        assert (world.is_plain, world.disk["here"], world.notes, world.file) == (True, world.truth, {}, None)
        assert world.background == "none"
        assert world.units >= set(wish.stop_units)


WISH = Wish(DEVICE, name=NAME, secret=ALICE, stop_units=(UNIT,), state=plan.PLAIN)
LOSSES = {"kill": None, "all written": [True], "nothing unflushed": [False], "every other": [True, False], "the others": [False, True]}


def after_the_cut(world: World, loss: str) -> None:
    kept = LOSSES[loss]
    if kept is None:
        world.unflushed = []
        return
    turn = iter(kept * 60)
    world.power_off(lambda: next(turn))
    world.check()
    world.boot()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("mounted", [True, False])
@pytest.mark.parametrize("by_fstab", [True, False])
def test_a_cut_after_each_write(mounted: bool, by_fstab: bool, loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for ended in ("", "over", "ended"):
        after = 0
        while True:
            world = World(mounted, by_fstab)
            host = Host(world, monkeypatch)
            if ended:
                host.once(WISH)
                world.work_ends(ended == "ended")
            if not host.cut(WISH, after):
                break
            world.check()
            after_the_cut(world, loss)
            world.check()
            host.finish(WISH)
            after += 1
        assert after > (4 if ended else 10)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_cuts_and_what_others_do_between_them(data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as monkeypatch:
        world = World(data.draw(st.booleans()), data.draw(st.booleans()))
        host = Host(world, monkeypatch)
        for _number in range(data.draw(st.integers(1, 6))):
            what = data.draw(st.sampled_from(["cut", "cut", "run", "power", "mount", "unmount", "end"]))
            if what == "cut" and host.cut(WISH, data.draw(st.integers(0, 25))):
                after_the_cut(world, data.draw(st.sampled_from(list(LOSSES))))
            elif what == "run":
                host.once(WISH)
            elif what == "power":
                world.power_off(lambda: data.draw(st.booleans()))
                world.boot()
            elif what == "mount" and not world.mounted and world.visible():
                world.mount()
            elif what == "unmount":
                world.mounted = None
            elif what == "end":
                world.work_ends(data.draw(st.booleans()))
            world.check()
        host.finish(WISH)


@pytest.mark.parametrize(("rigid", "times"), [("", 1), ("has the feature bigalloc", 0)])
def test_only_what_can_be_made_larger_takes_the_room_of_the_header(rigid: str, times: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(True, False)
    host = Host(world, monkeypatch)
    world.rigid = rigid
    host.once(WISH)
    world.work_ends()
    assert host.once(WISH).count(GROW_PLAIN) == times


def test_a_wrong_secret_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(True, True)
    with pytest.raises(RootOfTrustError, match="does not open"):
        Host(world, monkeypatch).once(Wish(DEVICE, name=NAME, secret=BOB, state=plan.PLAIN))
    assert world.writes == 0


def test_a_key_that_cryptsetup_cannot_begin_with_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """After one new volume key; seen with 2.6.1 and 2.7.5."""
    world = World(True, True)
    world.key = "1"
    with pytest.raises(RootOfTrustError, match="has the number 1"):
        Host(world, monkeypatch).once(WISH)
    assert world.writes == 0


def test_a_name_that_goes_with_the_header_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(True, True)
    with pytest.raises(RootOfTrustError, match=f"UUID=abcd names {DEVICE} by what is to go"):
        Host(world, monkeypatch).once(replace(WISH, device="UUID=abcd"))
    assert world.writes == 0


def test_what_is_mounted_in_another_namespace_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(True, True)
    world.elsewhere = True
    with pytest.raises(RootOfTrustError, match="mount in another mount namespace"):
        Host(world, monkeypatch).once(WISH)
    assert (world.mounted, world.disk["here"], world.notes, world.units) == (MAPPER, world.truth, {}, {UNIT})


def test_what_is_being_decrypted_is_not_encrypted(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(True, True)
    host = Host(world, monkeypatch)
    host.once(WISH)
    with pytest.raises(RootOfTrustError, match="is being decrypted"):
        host.once(Wish(DEVICE, name=NAME, secret=ALICE))


def test_the_marker_is_one_sector_and_no_superblock() -> None:
    note = Note(NAME * 100, DEVICE, SIZE, plan.PREPARED, "ext4", FS, luks_uuid=LUKS)
    assert len(marker(note)) == SECTOR
    assert superblock(1)[0x38:0x3A] != marker(note)[0x38:0x3A]
