# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An encryption in place, cut after any write of it: the data is never lost, and the next runs reach the goal.

The plan is the real one, and so is what is done and read at each step (Encryptions). Only the programs and the disk below are a model:
a disk whose cache may lose any part of what was written and not yet flushed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError, ToolFailed
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import encryption
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
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.parse import Malformed, Superblock
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_decryption import plan_volumes
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_encryption import FileSystem, Note, Wish
from tests.unit.luks.host_programs import Cut, HostPrograms, Lost

KIB, MIB = 1024, 1024 * 1024
DEVICE, NAME, TARGET, UUID = "/dev/vdb", "home", "/home", "0f0e0d0c-0b0a-4908-8706-050403020100"
SIZE = 1024 * MIB
ALICE, BOB = Secret(b"alice"), Secret(b"bob")
# The head of the device, in parts that a disk may have written or not: what they are to ext4, and to a LUKS2 header of 16 MiB.
PARTS = {
    "boot": (0, KIB),  # the magic of LUKS
    "super": (KIB, 4 * KIB),  # the superblock of ext4; the checksum of the header
    "json": (4 * KIB, 16 * KIB),
    "second": (16 * KIB, 32 * KIB),  # the second copy of the header
    "slots": (32 * KIB, 128 * KIB),
    "more slots": (128 * KIB, 512 * KIB),
    "rest": (512 * KIB, 16 * MIB),
}
HEAD, SMALL, MORE = 0, SIZE - plan.ROOM, 256 * MIB


@dataclass
class LuksHeader:
    """What is in a header.

    :param secret: that its keyslot takes; -1 is none.
    :param work: the mode of a reencryption.
    :param data: the file system as it is once it is encrypted; before it is in the moved head.
    :param over: all is done, but for the last write of the header, which says so.
    :param moved: where the head is until all is done.
    """

    uuid: str
    secrets: dict[int, Secret]
    work: str | None = "encrypt"
    key: int = 1
    tokens: dict[int, dict[str, Any]] = field(default_factory=dict)
    data: dict[str, Any] | None = None
    over: bool = False
    moved: int = SIZE - plan.HEAD


class World:
    """A host with one disk."""

    def __init__(self, *, room: bool = False, mounted: bool = True, units: Sequence[str] = (), by_path: bool = False) -> None:
        self.version = 0
        self.truth: dict[str, Any] = {}  # what the file system has to give back, by part
        self.device = SIZE
        self.spare: int | None = None  # bytes free in its volume group
        self.size = self.before = SMALL if room else SIZE  # of the file system, and before it was made smaller
        self.disk: dict[Any, Any] = {}
        for part in PARTS:
            self.disk[HEAD, part] = self.truth[part] = ("fs", part, 0)
        self.disk["body"] = self.truth["body"] = ("fs", "body", 0)
        self.disk["tail", self.size] = self.truth["tail"] = ("fs", "tail", 0)  # what lies at its end
        self.uuid = UUID
        self.half = False  # resize2fs is in the middle of it
        self.unflushed: list[tuple[Any, Any]] = []
        self.headers: dict[str, LuksHeader] = {}
        self.mapping: str | None = None  # the UUID of the header behind it
        self.mounted: str | None = None
        self.by_path = by_path
        self.notes: dict[str, Note] = {}
        self.undo: dict[str, Any] | None = None
        self.flagged = False  # its superblock tells of errors
        self.marks = 0  # mounts and checks
        self.shrunk: dict[str, Any] = {}  # what resize2fs wrote last
        self.units, self.enabled = set(units), frozenset(units)
        self.background = "none"
        self.backups = 0
        self.copied = False  # there is a copy of the disk
        self.elsewhere = False  # mounted in another namespace
        self.left: int | None = None  # writes until the cut
        self.writes = 0
        if mounted:
            self.mount(DEVICE)

    # --- time and writes -------------------------------------------------------------------------------------------

    def tick(self) -> None:
        self.writes += 1
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Cut

    def put(self, place: Any, content: Any) -> None:
        """Write one part."""
        self.tick()
        self.unflushed.append((place, self.disk.get(place)))
        self.disk[place] = content
        if isinstance(place[0], int) and HEAD < place[0] < self.size:
            self.disk["tail", self.size] = ("overwritten",)

    def flush(self) -> None:
        self.tick()
        self.unflushed = []

    def kill(self) -> None:
        """The run ends; what it had written is written."""
        self.left, self.unflushed = None, []

    def power_off(self, kept: Callable[[], bool]) -> None:
        """What was not flushed is there or is not, each part for itself."""
        self.left = None
        for place, before in reversed(self.unflushed):
            if not kept():
                self.disk[place] = before
        self.unflushed = []
        self.mapping = self.mounted = None
        if self.background == "active":
            self.background = "dead"

    def boot(self) -> None:
        """fstab has its say."""
        self.units = set(self.enabled)
        plain = self.signature() if not self.by_path or self.mountable() else None
        if self.mountable() and (self.by_path or (plain is not None and plain.uuid == self.uuid)):
            if self.half:  # fsck brings it in order: it is as large as it was
                self.half = False
                self.marks += 1
                for part in ("super", "rest"):
                    self.change(HEAD, part)
            self.mount(DEVICE)

    # --- the file system -------------------------------------------------------------------------------------------

    def change(self, where: Any, part: str) -> None:
        """Something legitimate writes to the file system; that is data from now on."""
        self.version += 1
        self.truth[part] = ("fs", part, self.version)
        if isinstance(where, LuksHeader):
            assert where.data is not None
            where.data[part] = self.truth[part]
        elif part in PARTS:
            self.disk[where, part] = self.truth[part]
        else:
            self.disk["body" if part == "body" else ("tail", self.size)] = self.truth[part]

    def extend(self, _path: str, size: int) -> None:
        """lvextend."""
        self.tick()
        self.device += size

    def grow(self, device: int) -> None:
        """The device is made larger (lvextend), and its file system with it (lvextend -r, or x-systemd.growfs at boot)."""
        self.device = device
        if self.mapping is None and self.mountable() and self.signature() is not None and not self.half and self.size < device:
            self.size = device
            self.disk["tail", device] = self.truth["tail"]
            self.marks += 1
            for part in ("super", "tail"):
                self.change(HEAD, part)

    def mount(self, source: str) -> None:
        self.mounted = source
        self.marks += 1
        self.use(("super",))

    def use(self, parts: Iterable[str]) -> None:
        header = self.headers[self.mapping] if self.mounted != DEVICE and self.mapping else None
        for part in parts:
            self.change(header if header is not None and header.data is not None else header.moved if header is not None else HEAD, part)

    def head(self, where: int) -> dict[str, Any]:
        return {part: self.disk.get((where, part)) for part in PARTS}

    def right_head(self) -> dict[str, Any]:
        return {part: self.truth[part] for part in PARTS}

    def right_body(self) -> bool:
        return bool(self.disk["body"] == self.truth["body"] and self.disk["tail", self.size] == self.truth["tail"])

    def mountable(self) -> bool:
        """Whether the kernel takes what is there for the file system, and fsck lets it pass."""
        return all(self.disk[HEAD, part][0] == "fs" for part in PARTS if part != "boot")

    def torn_and_used(self) -> bool:
        """Only the magic of LUKS has reached the disk, and then the file system was mounted for all that."""
        return self.disk[HEAD, "boot"][0] == "luks" and self.mountable()

    def whole(self) -> bool:
        return self.head(HEAD) == self.right_head() and self.right_body() and not self.half

    # --- the header --------------------------------------------------------------------------------------------------

    def header(self) -> LuksHeader | None:
        """What cryptsetup finds: one of the two copies is enough, if nothing else seems to be there."""
        first = {self.disk[HEAD, part] for part in ("boot", "super", "json")}
        found = {content[1] for content in first if content[0] == "luks"}
        return self.headers[found.pop()] if len(found) == 1 and all(content[0] == "luks" for content in first) else None

    def opening(self, secret: Secret) -> int | None:
        header = self.header()
        if header is None or any(self.disk[HEAD, part] != ("luks", header.uuid, part) for part in ("slots", "more slots")):
            return None
        return next((number for number, known in header.secrets.items() if known == secret), None)

    def signature(self) -> Signature | None:
        if self.disk[HEAD, "boot"][0] == "luks":
            return Signature("crypto_LUKS", "crypto", "torn", "", "")
        return Signature("ext4", "filesystem", self.uuid, "", "") if self.disk[HEAD, "super"][0] == "fs" else None

    def through(self, header: LuksHeader) -> bool:
        """Whether a header gives the data."""
        opens = any(self.opening(secret) is not None for secret in (ALICE, BOB))
        if header.data is not None:
            return opens and header.data == self.truth
        return opens and self.head(header.moved) == self.right_head() and self.right_body()

    # --- what must hold ----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """At every moment there is a way to the data."""
        ways = [
            self.whole(),
            self.torn_and_used() and {**self.head(HEAD), "boot": None} == {**self.right_head(), "boot": None} and self.right_body(),
        ]
        ways += [self.undo is not None and self.undo == {part: self.truth[part] for part in ("super", "rest")} and self.right_body()]
        stashes = [note.stash for note in self.notes.values() if note.stash is not None]
        ways += [self.head(stash.offset) == self.right_head() and self.right_body() for stash in stashes]
        header = self.header()
        ways += [header is not None and self.through(header)]
        if not any(ways):
            raise Lost(f"{self.disk} for {self.truth}, {self.notes}")

    def work_ends(self, written: bool = True) -> None:
        """The unit has done its work.

        :param written: whether it comes to write that down; else it is cut just before.
        """
        header = self.header()
        if self.background != "active" or header is None:
            return
        if header.work == "encrypt":
            if not self.through(header):
                raise Lost("What is encrypted is not the data.")
            header.data = dict(self.truth)
            for part in PARTS:
                self.disk[header.moved, part] = ("free", part)
        header.key += header.work == "reencrypt"
        header.over = not written
        header.work = None if written else header.work
        self.background = "done" if written else "dead"


class Disk:
    """block_device.py."""

    def __init__(self, world: World) -> None:
        self.world = world

    def digest(self, _path: str, offset: int, length: int) -> str:
        world = self.world
        start = max(place[0] for place in world.disk if isinstance(place[0], int) and place[0] <= offset)
        parts = [part for part, (first, end) in PARTS.items() if first < offset - start + length and end > offset - start]
        # The same content is the same wherever it is.
        return repr([world.disk.get((start, part), ("other",)) for part in parts])

    def copy_part(self, _path: str, source: int, target: int, _length: int) -> None:
        for part in PARTS:
            self.world.put((target, part), self.world.disk.get((source, part)))
        self.world.flush()

    def superblock(self, _path: str, offset: int, _kind: str) -> Superblock | None:
        found = self.world.disk.get((offset, "super"), ("free",))
        return Superblock(self.world.uuid, repr(found).encode(), True) if found[0] == "fs" else None

    def metadata(self, _path: str) -> dict[str, Any]:
        header = self.world.header()
        if header is None:
            raise Malformed("No header.")
        segments: dict[str, Any] = {"0": {}}
        config: dict[str, Any] = {}
        if header.work:
            segments["9"] = {"flags": ["backup-final"]}
            config["requirements"] = {"mandatory": ["online-reencrypt-v2"]}
        if header.work == "encrypt" and not header.over:
            segments["2"] = {"flags": ["backup-moved-segment"], "offset": str(header.moved), "size": str(plan.HEAD)}
        digests = {str(header.key): {"digest": f"key {header.key}", "segments": ["0", "9"] if header.over else ["0"]}}
        if header.work and not header.over:
            digests[str(header.key + 1)] = {
                "digest": f"key {header.key + 1}",
                "segments": ["0", "9"] if header.work == "reencrypt" else ["9"],
            }
        tokens = {str(number): token for number, token in header.tokens.items()}
        return {"segments": segments, "digests": digests, "tokens": tokens, "config": config}

    def write_end(self, _path: str) -> None:
        header = self.world.header()
        self.world.tick()
        if header is None or not header.over:
            raise Lost("What is not over is called so.")
        header.over, header.work = False, None


class Programs(HostPrograms):
    """devices.py, cryptsetup.py, e2fsprogs.py, mounts.py, systemd.py and notes.py, in as far as Encryptions uses them."""

    folder = "/var/lib/rootoftrust/luks_encryption"

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.world = world

    def has_copy(self, _path: str, _luks_uuid: str) -> bool:
        return self.world.copied

    def look(self, named: str, _header: str | None = None) -> Any:
        if named == DEVICE and not isinstance(self, Ext):
            return self._device()
        fault = "has errors, says its superblock" if self.world.half or self.world.flagged else ""
        return FileSystem("ext4", self.world.uuid, self.world.size, 100 * MIB, fault)

    def _device(self) -> Device:
        world = self.world
        found = world.header()
        header = None
        if found is not None:
            slots = tuple(Keyslot(number, "luks2", "normal", 512) for number in found.secrets)
            work = Work(found.work, "backward", "datashift") if found.work else None
            header = Header("luks2", found.uuid, "", "", 1, "", 512, 512, 0, slots, (), (Segment(0, "crypt", 0, None),), work=work)
        holders = (Holder("dm-0", NAME, f"CRYPT-LUKS2-{world.mapping.replace('-', '')}-{NAME}"),) if world.mapping else ()
        mounts = (Mount(world.mounted, TARGET, "ext4", ("rw",)),) if world.mounted else ()
        return Device(DEVICE, world.device, True, False, header, None if header else world.signature(), holders, mounts)

    # cryptsetup

    def unlocked_by(self, _path: str, secret: Secret) -> int | None:
        return self.world.opening(secret)

    def opens(self, _path: str, secret: Secret) -> bool:
        return self.world.opening(secret) is not None

    def initialise(self, _device: str, secret: Secret, _options: Sequence[str], _folder: str) -> None:
        """The moved head and the header are written without a flush between them."""
        world = self.world
        if not world.whole() or world.mounted or world.mapping or world.size > world.device - plan.ROOM:
            raise Lost("A header is written over what is not ready for it.")
        uuid = f"{len(world.headers):08d}-2222-4333-8444-555555555555"
        moved = world.device - plan.HEAD
        world.headers[uuid] = LuksHeader(uuid, {0: secret}, moved=moved)
        for part in PARTS:
            world.put((moved, part), world.disk[HEAD, part])
        for part in PARTS:
            world.put((HEAD, part), ("luks", uuid, part))
        world.flush()

    def open(self, _device: str, _name: str, secret: Secret, _options: Sequence[str]) -> None:
        world, header = self.world, self.world.header()
        world.tick()
        if world.mapping is not None or world.mounted or header is None:
            raise ToolFailed("Device home already exists.")
        if world.opening(secret) is None:
            raise RootOfTrustError("The secret does not open it.")
        world.mapping = header.uuid

    def close(self, _name: str) -> None:
        self.world.tick()
        if self.world.mounted:
            raise ToolFailed("Device home is still in use.")
        self.world.mapping = None

    def resize(self, _name: str, _secret: Secret) -> None:
        self.world.tick()

    def resume_command(self, device: str, secret_path: str, _header: str | None) -> list[str]:
        return ["/usr/sbin/cryptsetup", "reencrypt", secret_path, device]

    def add_token(self, _path: str, token: dict[str, Any]) -> None:
        self.world.tick()
        header = self.world.header()
        assert header is not None
        header.tokens[max(header.tokens, default=-1) + 1] = token

    def remove_token(self, _path: str, number: int) -> None:
        self.world.tick()
        header = self.world.header()
        assert header is not None
        del header.tokens[number]

    def reinitialise(self, _device: str, secret: Secret, _options: Sequence[str]) -> None:
        header = self.world.header()
        self.world.tick()
        if header is None or header.work is not None or self.world.opening(secret) is None:
            raise ToolFailed("Device is in reencryption already.")
        header.work, header.secrets = "reencrypt", {0: secret}

    # mounts

    def mount(self, source: str, _mount: Mount) -> None:
        self.world.tick()
        self.world.mount(source)

    # systemd

    def run(self, _name: str, _text: str, _at_boot: bool) -> None:
        self.world.tick()
        header = self.world.header()
        if self.world.mapping is None or header is None or header.work is None:
            raise Lost("The unit has nothing to do.")
        if header.over:
            raise Lost("cryptsetup would do all of it a second time.")
        self.world.background = "active"

    def forget(self, what: str) -> None:
        self.world.tick()
        if what == NAME:
            self.world.background = "none"

    # notes

    def undo_file(self, name: str) -> str:
        return f"{self.folder}/{name}.e2undo"


class Ext(Programs):
    """e2fsprogs.py."""

    def mark(self, _path: str) -> str:
        return str(self.world.marks)

    def check(self, _path: str) -> None:
        world = self.world
        world.tick()
        if not world.mountable() or world.half or world.disk[HEAD, "boot"][0] != "fs":
            raise RootOfTrustError("It has errors that e2fsck does not correct by itself.")
        world.marks += 1
        world.change(HEAD, "super")

    def shrink(self, _path: str, size: int, _undo: str) -> None:
        world = self.world
        assert size == world.device - plan.ROOM
        world.tick()
        world.undo = None
        world.tick()
        world.undo = {part: world.disk[HEAD, part] for part in ("super", "rest")}
        world.half = True
        for part in ("super", "rest"):
            world.put((HEAD, part), ("fs", part, "half"))
        world.put(("tail", size), world.disk["tail", world.size])
        world.tick()
        world.half, world.before, world.size = False, world.size, size
        world.unflushed = []
        for part in ("super", "rest"):
            world.change(HEAD, part)
        world.shrunk = {part: world.truth[part] for part in ("super", "rest")}
        world.flush()
        self.forget("undo")

    def undo(self, _path: str, _undo: str) -> None:
        world = self.world
        world.tick()
        if world.undo is None:
            raise ToolFailed("There is no undo file.")
        for part, content in world.undo.items():
            world.put((HEAD, part), content)
        if world.size != world.before:  # a whole shrink is taken back
            if any(world.truth[part] != content for part, content in world.shrunk.items()):
                raise Lost("What has been written since the file system was made smaller is overwritten.")
            world.truth.update(world.undo)
            world.disk["tail", world.before] = world.disk["tail", world.size]
            world.size = world.before
        world.half = False
        world.flush()
        self.forget("undo")

    def grow(self, _path: str, _mounted: bool) -> None:
        self.world.tick()

    def forget(self, _what: str) -> None:
        self.world.tick()
        self.world.undo = None


class Backups:
    """header_backups.py: only that there is a moment in which it is done."""

    world: World

    def __init__(self, _runner: Any, params: dict[str, Any]) -> None:
        self.keep = params["keep"]

    def read(self, _volumes: Any) -> Any:
        self.world.tick()
        self.world.backups = 1 if self.keep == 0 else self.world.backups + 1


def shim(world: World) -> Any:
    """The os of encryption.py."""

    def exists(path: str) -> bool:
        if path.startswith("/dev/mapper/"):
            return world.mapping is not None
        return world.undo is not None if path.endswith(".e2undo") else path == "/"

    path = SimpleNamespace(join=os.path.join, dirname=os.path.dirname, exists=exists, realpath=lambda path: path)
    nothing: Callable[..., None] = lambda *_rest, **_options: None  # noqa: E731
    return SimpleNamespace(path=path, makedirs=nothing, unlink=nothing, mkdir=nothing, rmdir=nothing)


class Host:
    """Runs of the module on a world."""

    def __init__(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = world
        disk = Disk(world)
        Backups.world = world
        for name, fake in {
            "digest": disk.digest,
            "copy_part": disk.copy_part,
            "metadata": disk.metadata,
            "write_end": disk.write_end,
            "drop_cache": lambda _path: None,
            "HeaderBackups": Backups,
            "plan_backups": lambda _state: [],
            "Sysfs": lambda: SimpleNamespace(carries=lambda _path, _file: False),
            "atomic_write": lambda *_arguments: None,
            "superblock": disk.superblock,
            "stays_claimed": lambda _path: world.elsewhere,
            "shutil": SimpleNamespace(rmtree=lambda *_rest, **_options: None),
            "os": shim(world),
        }.items():
            monkeypatch.setattr(encryption, name, fake)
        monkeypatch.setattr(encryption.Encryptions, "_lock", lambda *_arguments: None)

    def once(self, wish: Wish) -> list[str]:
        """One run, as converge has it.

        :returns: the actions that were done.
        """
        runner: Any = None
        run: Any = encryption.Encryptions(runner, "/backups")
        programs = Programs(self.world)
        for name in ("_devices", "_cryptsetup", "_mounts", "_systemd", "_notes"):
            setattr(run, name, programs)
        run._ext = Ext(self.world)
        run._lvm = SimpleNamespace(spare=lambda _path: self.world.spare, extend=self.world.extend)
        steps = plan_volumes(run.read([wish]))
        for step in steps:
            run.apply(step)
        missed = [step.sentence for step in plan_volumes(run.read([wish])) if not step.once]
        assert not (steps and missed), f"{[step.action for step in steps]}, and yet: {missed}"
        return [step.action for step in steps]

    def cut(self, wish: Wish, after: int) -> bool:
        """One run, cut after some writes.

        :returns: whether it came so far.
        """
        self.world.left = after
        try:
            self.once(wish)
        except Cut:
            return True
        finally:
            self.world.left = None
        return False

    def finish(self, wish: Wish) -> list[list[str]]:
        """Runs until there is nothing to do."""
        done = []
        for _number in range(6):
            done.append(self.once(wish))
            self.world.check()
            self.world.work_ends()
            if not done[-1] and not self.once(wish):
                return done
        raise AssertionError(f"It does not come to an end: {done}")

    def is_at_goal(self, wish: Wish, mounted: bool, units: Iterable[str]) -> None:
        world, header = self.world, self.world.header()
        assert header is not None
        assert header.work is None
        assert world.through(header)
        assert not world.notes
        assert world.undo is None
        assert world.background == "none"
        assert world.mounted == (f"/dev/mapper/{NAME}" if mounted else None)
        assert world.units >= set(units)
        assert world.backups
        assert [token.get("version") for token in header.tokens.values()] == ([wish.volume_key] if wish.volume_key else [])


# --- each place where it may be cut ------------------------------------------------------------------------------------

FIRST = Wish(DEVICE, name=NAME, secret=ALICE, stop_units=("app.service",))
KINDS = (
    "kill",
    "kill, used",
    "kill, boot",
    "kill, grown",
    "all written",
    "nothing unflushed",
    "every other part",
    "the others",
    "the latest",
)
CASES = [
    {"room": room, "mounted": mounted, "units": units, "by_path": by_path}
    for room in (False, True)
    for mounted, units in ((True, ("app.service",)), (False, ()))
    for by_path in (False, True)
]


def end_run(world: World, kind: str) -> None:
    """What the cut leaves, and what others then do."""
    world.kill()
    if kind == "kill, used":
        administrator(world)
    elif kind in ("kill, boot", "kill, grown"):
        world.power_off(lambda: True)
        world.boot()
        if kind == "kill, grown" and world.header() is None:
            world.grow(max(SIZE, world.device) + MORE)


def power_cut(world: World, kind: str) -> None:
    """The latest writes come first: of a header, its own seven parts, and then those of the moved head, written before them."""
    kept = {
        "all written": [True],
        "nothing unflushed": [False],
        "every other part": [True, False],
        "the others": [False, True],
        "the latest": [*[True] * len(PARTS), *[False] * len(PARTS)],
    }
    turn = iter(kept[kind] * 60)
    world.power_off(lambda: next(turn))
    world.check()
    world.boot()


def administrator(world: World) -> None:
    """Somebody, or an automount, mounts what is there, writes to it, and unmounts it."""
    if world.mounted is None:
        if world.mapping is not None:
            world.mount(f"/dev/mapper/{NAME}")
        elif world.mountable() and not world.half:
            world.mount(DEVICE)
    if world.mounted is not None:
        world.use(("rest", "body", "tail"))
        world.mounted = None


def places(prepare: Callable[[], tuple[World, Host, Wish]]) -> Iterator[int]:
    """The numbers of writes after which a run can be cut."""
    world, host, wish = prepare()
    before = world.writes
    host.once(wish)
    yield from range(world.writes - before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_cut_after_each_write(case: dict[str, Any], kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare() -> tuple[World, Host, Wish]:
        world = World(**case)
        return world, Host(world, monkeypatch), FIRST

    for after in places(prepare):
        with told(f"{case}, {kind}, after write {after}"):
            world, host, wish = prepare()
            assert host.cut(wish, after)
            (end_run if kind.startswith("kill") else power_cut)(world, kind)
            world.check()
            go_on(world, host, wish, world.mounted is not None or noted(world), case["units"])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mounted", [True, False])
def test_a_cut_of_what_makes_the_device_larger_after_each_write(mounted: bool, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare() -> tuple[World, Host, Wish]:
        world = World(mounted=mounted)
        world.spare = 1024 * MIB
        return world, Host(world, monkeypatch), replace(FIRST, room="grow")

    for after in places(prepare):
        with told(f"{kind}, after write {after}"):
            world, host, wish = prepare()
            assert host.cut(wish, after)
            (end_run if kind.startswith("kill") else power_cut)(world, kind)
            world.check()
            go_on(world, host, wish, world.mounted is not None or noted(world), ())
            assert world.size == SIZE or kind == "kill, grown"
            assert world.device <= SIZE + plan.ROOM or kind == "kill, grown", "it is made larger once"


def noted(world: World) -> bool:
    return any(note.mount for note in world.notes.values())


def go_on(world: World, host: Host, wish: Wish, mounted: bool, units: Sequence[str]) -> None:
    try:
        host.finish(wish)
    except RootOfTrustError:
        if not world.torn_and_used():
            raise
        world.check()  # it takes a person, and all that a person needs is there
    else:
        host.is_at_goal(wish, mounted, units)


@contextmanager
def told(what: str) -> Iterator[None]:
    try:
        yield
    except (AssertionError, RootOfTrustError) as error:
        raise AssertionError(what) from error


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("closed", [False, True])
def test_a_cut_of_a_new_volume_key_after_each_write(closed: bool, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = replace(FIRST, volume_key="2026"), replace(FIRST, volume_key="2027")

    def prepare() -> tuple[World, Host, Wish]:
        world = World(units=("app.service",))
        host = Host(world, monkeypatch)
        host.finish(first)
        if closed:
            world.power_off(lambda: True)
        return world, host, second

    for after in places(prepare):
        with told(f"{kind}, after write {after}"):
            world, host, wish = prepare()
            header = world.header()
            assert header is not None
            key = header.key
            assert host.cut(wish, after)
            (end_run if kind.startswith("kill") else power_cut)(world, kind)
            world.check()
            host.finish(wish)
            assert header.key == key + 1  # once, whatever was cut
            host.is_at_goal(wish, world.mounted is not None, ())


@pytest.mark.parametrize("copied", [True, False])
def test_older_header_backups_go_only_where_no_copy_of_the_volume_is_there(copied: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    host = Host(world, monkeypatch)
    host.finish(replace(FIRST, volume_key="2026"))
    world.copied, before = copied, world.backups
    host.finish(replace(FIRST, volume_key="2027"))
    assert (world.backups > before) is copied


def test_what_was_mounted_in_the_middle_of_its_shrinking_is_left_to_a_person(monkeypatch: pytest.MonkeyPatch) -> None:
    for after in places(lambda: (world := World(), Host(world, monkeypatch), FIRST)):
        world = World()
        host = Host(world, monkeypatch)
        host.cut(FIRST, after)
        if not world.half:
            continue
        world.half, world.flagged = False, True  # the kernel takes it, and what resize2fs has moved so far happens to be no loss
        world.mount(DEVICE)
        world.use(PARTS)
        world.mounted = None
        with pytest.raises(RootOfTrustError, match="has errors"):
            host.once(FIRST)
        world.check()
        world.flagged = False  # e2fsck
        host.finish(FIRST)
        host.is_at_goal(FIRST, True, ())
        return
    raise AssertionError("No cut was in the middle of it.")


def test_a_file_system_that_grows_while_it_is_away_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(room=True)
    host = Host(world, monkeypatch)

    def unmount(_programs: Programs, _target: str) -> None:
        world.mounted = None
        world.grow(SIZE)

    monkeypatch.setattr(Programs, "unmount", unmount)
    with pytest.raises(RootOfTrustError, match="may reach to byte"):
        host.once(FIRST)
    assert world.whole() and world.mounted == DEVICE and not world.notes
    monkeypatch.undo()
    host = Host(world, monkeypatch)
    host.finish(FIRST)
    host.is_at_goal(FIRST, True, ())


@pytest.mark.parametrize("mounted", [True, False])
def test_what_is_mounted_in_another_namespace_is_left_as_it_is(mounted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(mounted=mounted, units=("app.service",))
    world.elsewhere = True
    with pytest.raises(RootOfTrustError, match="mount in another mount namespace"):
        Host(world, monkeypatch).once(FIRST)
    assert world.whole() and world.size == SIZE and not world.notes
    assert (world.mounted, world.units) == (DEVICE if mounted else None, {"app.service"})


class Strange(Disk):
    """A file system whose superblock is not read here."""

    def superblock(self, _path: str, _offset: int, _kind: str) -> None:
        return None


@pytest.mark.parametrize("used", [True, False])
def test_a_copy_is_not_put_back_over_a_strange_file_system_that_may_have_been_in_use(used: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "Disk", Strange)
    for after in places(lambda: (world := World(mounted=False), Host(world, monkeypatch), FIRST)):
        world = World(mounted=False)
        host = Host(world, monkeypatch)
        host.cut(FIRST, after)
        if any(note.stash for note in world.notes.values()):
            break
    world.power_off(lambda: True)
    if not used:
        host.finish(FIRST)
        host.is_at_goal(FIRST, False, ())
        return
    administrator(world)
    with pytest.raises(RootOfTrustError, match="It cannot be known whether"):
        host.once(FIRST)
    world.check()


def stashed(monkeypatch: pytest.MonkeyPatch) -> tuple[World, Host]:
    """A run that was cut in the first write of its header, and given up."""
    world = World()
    host = Host(world, monkeypatch)
    for after in range(100):
        world = World()
        host = Host(world, monkeypatch)
        host.cut(FIRST, after)
        if world.headers:
            break
    world.power_off(lambda: True)
    return world, host


def test_a_new_file_system_is_not_overwritten_by_an_old_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    world, host = stashed(monkeypatch)
    world.uuid = "12345678-0b0a-4908-8706-050403020100"
    for part in PARTS:
        world.change(HEAD, part)
    world.use(("body", "tail"))
    with pytest.raises(RootOfTrustError):
        host.once(FIRST)
    world.check()


def test_a_header_through_which_something_was_written_is_not_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    for after in places(lambda: (world := World(), Host(world, monkeypatch), FIRST)):
        world = World()
        host = Host(world, monkeypatch)
        host.cut(FIRST, after)
        header = world.header()
        if header is not None and world.through(header) and next(iter(world.notes.values())).stage == plan.STASHED:
            break
    world.power_off(lambda: True)
    world.mapping = header.uuid if header is not None else None
    administrator(world)
    for _number in range(2):
        with pytest.raises(RootOfTrustError, match=r"the secret given does not open it|mounted"):
            host.once(replace(FIRST, secret=BOB))
        world.check()
        world.mapping = None
    host.finish(FIRST)
    host.is_at_goal(FIRST, True, ())


def test_the_moved_head_of_an_earlier_try_is_not_taken_for_a_newer_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare() -> tuple[World, Host, Wish]:
        world = World()
        host = Host(world, monkeypatch)
        for after in range(100):
            world = World()
            host = Host(world, monkeypatch)
            host.cut(FIRST, after)
            if world.opening(ALICE) is not None:
                break
        world.power_off(lambda: True)
        host.cut(replace(FIRST, secret=BOB), len(PARTS) + 1)  # the header is taken back, and there it is cut again
        world.power_off(lambda: True)
        world.boot()
        assert world.mounted
        return world, host, FIRST

    for after in places(prepare):
        with told(f"after write {after}"):
            world, host, wish = prepare()
            assert host.cut(wish, after)
            power_cut(world, "the latest")
            world.check()
            host.finish(wish)
            host.is_at_goal(wish, True, ())


def test_a_new_luks_volume_is_not_overwritten_by_an_old_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    world, host = stashed(monkeypatch)
    uuid = "99999999-2222-4333-8444-555555555555"
    world.headers[uuid] = LuksHeader(uuid, {0: BOB}, work=None, data=dict(world.truth))
    for part in PARTS:
        world.disk[HEAD, part] = ("luks", uuid, part)
    for secret in (ALICE, BOB):
        with pytest.raises(RootOfTrustError):
            host.once(replace(FIRST, secret=secret))
        world.check()


# --- whatever happens in whatever order --------------------------------------------------------------------------------


class Encrypting(RuleBasedStateMachine):
    """Whatever happens in whatever order."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = pytest.MonkeyPatch()
        self.world = World()
        self.word: str | None = None

    @initialize(case=st.sampled_from(CASES), word=st.sampled_from([None, "2026"]))
    def begin(self, case: dict[str, Any], word: str | None) -> None:
        self.world = World(**case)
        self.word = word

    def wish(self, secret: Secret) -> Wish:
        return replace(FIRST, secret=secret, volume_key=self.word)

    def right(self) -> Secret:
        return next((secret for secret in (ALICE, BOB) if self.world.opening(secret) is not None), ALICE)

    @rule(secret=st.sampled_from([ALICE, BOB]), after=st.none() | st.integers(0, 60), kept=st.none() | st.randoms(use_true_random=False))
    def run(self, secret: Secret, after: int | None, kept: Any) -> None:
        host, world = Host(self.world, self.patches), self.world
        world.left = after
        try:
            host.once(self.wish(secret))
        except Cut:
            world.kill() if kept is None else world.power_off(lambda: bool(kept.getrandbits(1)))
            if kept is not None:
                world.boot()
        except RootOfTrustError as error:
            self.refused(error, secret)
        finally:
            world.left = None
            world.unflushed = []

    def refused(self, error: RootOfTrustError, secret: Secret) -> None:
        """A run with the right secret has nothing to refuse, but for what it says."""
        world = self.world
        known = world.header() is not None and world.opening(secret) is None
        busy = world.mounted is not None and "mounted" in str(error)
        if not (known or busy or world.torn_and_used()):
            raise AssertionError(f"It refuses: {error}") from error

    @rule(kept=st.randoms(use_true_random=False))
    def power(self, kept: Any) -> None:
        self.world.power_off(lambda: bool(kept.getrandbits(1)))
        self.world.boot()

    @precondition(lambda self: self.world.mounted is not None)
    @rule(parts=st.sets(st.sampled_from([*PARTS, "body", "tail"])))
    def use(self, parts: set[str]) -> None:
        self.world.use(sorted(parts))

    @precondition(lambda self: self.world.mounted is not None)
    @rule()
    def unmount(self) -> None:
        self.world.mounted = None

    @precondition(lambda self: self.world.mounted is None and not self.world.half)
    @rule()
    def mount(self) -> None:
        """By an administrator, or at boot."""
        world = self.world
        header = world.header()
        if world.mapping is not None:
            if header is not None and header.uuid == world.mapping and world.through(header):
                world.mount(f"/dev/mapper/{NAME}")
        elif world.mountable():
            world.mount(DEVICE)

    @precondition(lambda self: self.world.header() is None and not self.world.half)
    @rule(device=st.sampled_from([SIZE, SIZE + MORE]))
    def grow(self, device: int) -> None:
        self.world.grow(max(device, self.world.device))

    @precondition(lambda self: self.world.mapping is None and self.world.mounted is None)
    @rule()
    def open(self) -> None:
        """By crypttab, or by hand."""
        header = self.world.header()
        if header is not None and self.world.through(header):
            self.world.mapping = header.uuid

    @rule(written=st.booleans())
    def work_ends(self, written: bool) -> None:
        self.world.work_ends(written)

    @precondition(lambda self: self.world.background == "active")
    @rule()
    def work_fails(self) -> None:
        self.world.background = "dead"

    @rule(word=st.sampled_from(["2026", "2027"]))
    def another_key(self, word: str) -> None:
        header = self.world.header()
        if header is not None and header.work is None:
            self.word = word

    @invariant()
    def there_is_a_way(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        world, host = self.world, Host(self.world, self.patches)
        mounted, wish = world.mounted is not None, self.wish(self.right())
        try:
            host.finish(wish)
            assert world.mounted is not None or not mounted
            host.is_at_goal(wish, world.mounted is not None, world.enabled)
        except RootOfTrustError as error:
            self.refused(error, self.right())
            world.check()
        finally:
            self.patches.undo()


TestEncrypting = Encrypting.TestCase
TestEncrypting.settings = settings(max_examples=150, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck))
