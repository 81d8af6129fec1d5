# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What luks_encryption plans, refuses and tells, and what it reads of file systems and headers."""

from __future__ import annotations

import configparser
import contextlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import diff
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import parse
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import plan_encryption as plan
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import (
    Device,
    Header,
    Holder,
    Keyslot,
    Mount,
    Pbkdf,
    PbkdfChoice,
    Segment,
    Signature,
    Token,
    Work,
    open_form,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_decryption import plan_volumes
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_encryption import (
    Background,
    FileSystem,
    Note,
    Process,
    Situation,
    Stash,
    Wish,
)

RECORDED = Path(__file__).parents[1] / "fixtures/luks"
MIB = 1024 * 1024
SIZE = 1024 * MIB
UUID, LUKS = "0f0e0d0c-0b0a-4908-8706-050403020100", "11111111-2222-4333-8444-555555555555"
EXT4 = Signature("ext4", "filesystem", UUID, "", "")
FULL = FileSystem("ext4", UUID, SIZE, 100 * MIB)
ROOMY = FileSystem("ext4", UUID, SIZE - plan.ROOM, 100 * MIB)
HOME = Mount("/dev/vdb", "/home", "ext4", ("rw", "relatime"))
WISH = Wish("/dev/vdb", name="home", secret=Secret(b"x"))
NOTE = Note("home", "/dev/vdb", SIZE, plan.PREPARED, "ext4", UUID)
STASHED = replace(NOTE, stage=plan.STASHED, stash=Stash(SIZE - plan.STASH_FROM_END, plan.HEAD, "d"))
PROVEN = replace(STASHED, stage=plan.PROVEN, luks_uuid=LUKS)
MAPPED = (Holder("dm-0", "home", f"CRYPT-LUKS2-{LUKS.replace('-', '')}-home"),)
SLOT = Keyslot(0, "luks2", "normal", 512, "aes-xts-plain64", Pbkdf("argon2id", "", 4, 32, 1))
ENCRYPTING = Work("encrypt", "backward", "datashift")


def plain(**changes: Any) -> Device:
    return replace(Device("/dev/vdb", SIZE, True, False, None, EXT4), **changes)


def luks(work: Work | None = None, slots: tuple[Keyslot, ...] = (SLOT,), **changes: Any) -> Header:
    segments = (Segment(0, "crypt", 16 * MIB, None, "aes-xts-plain64", 512),)
    header = Header("luks2", LUKS, "", "", 3, "aes-xts-plain64", 512, 512, 16 * MIB, slots, (), segments, work=work)
    return replace(header, **changes)


def encrypted(header: Header | None = None, **changes: Any) -> Device:
    return plain(header=header or luks(), signature=None, **changes)


def situation(device: Device | None = None, **changes: Any) -> Situation:
    found = Situation(device or plain(), "/dev/vdb", FULL if device is None or device.header is None else None, version=(2, 7, 5))
    return replace(found, **changes)


def actions(found: Situation, **asked: Any) -> list[str]:
    return [step.action for step in plan.plan_encryption(found, replace(WISH, **asked))]


def refused(found: Situation, **asked: Any) -> str:
    with pytest.raises(RootOfTrustError) as error:
        plan.plan_encryption(found, replace(WISH, **asked))
    assert error.value.remedy
    return str(error.value)


# --- the beginning -----------------------------------------------------------------------------------------------------

TO_THE_HEADER = [plan.NOTE, plan.CHECK, plan.SHRINK, plan.STASH, plan.INITIALISE]


def test_a_volume_in_use_is_away_only_between_its_unmount_and_its_mount() -> None:
    found = situation(plain(mounts=(HOME,)))
    done = actions(found, stop_units=("app.service",))
    assert done[:8] == [plan.NOTE, plan.STOP, plan.UNMOUNT, plan.CHECK, plan.SHRINK, plan.STASH, plan.INITIALISE, plan.PROVE]
    assert done[-3:] == [plan.MOUNT, plan.START, plan.RUN]
    assert done.index(plan.PROVE) < done.index(plan.BACK_UP) < done.index(plan.MOUNT)


@pytest.mark.parametrize(
    ("found", "asked", "expected"),
    [
        (situation(), {}, TO_THE_HEADER),
        (situation(filesystem=ROOMY), {}, [plan.NOTE, plan.CHECK, plan.STASH, plan.INITIALISE]),
        (situation(filesystem=replace(FULL, minimum=None)), {}, TO_THE_HEADER),
        (situation(spare=SIZE), {"room": "grow"}, [plan.NOTE, plan.CHECK, plan.EXTEND, plan.STASH, plan.INITIALISE]),
        (
            situation(filesystem=replace(FULL, minimum=SIZE), spare=plan.ROOM),
            {},
            [plan.NOTE, plan.CHECK, plan.EXTEND, plan.STASH, plan.INITIALISE],
        ),
        (
            situation(plain(signature=replace(EXT4, type="xfs")), filesystem=FileSystem("xfs", UUID), spare=SIZE),
            {},
            [plan.NOTE, plan.EXTEND, plan.STASH, plan.INITIALISE],
        ),
        (
            situation(plain(signature=replace(EXT4, type="btrfs"), mounts=(HOME,)), filesystem=FileSystem("btrfs", UUID, SIZE)),
            {},
            [plan.NOTE, plan.SHRINK, plan.UNMOUNT, plan.STASH, plan.INITIALISE],  # while it is mounted
        ),
        (situation(), {"room": "header", "header": "/h"}, [plan.NOTE, plan.CHECK, plan.INITIALISE]),
    ],
)
def test_how_there_comes_to_be_room(found: Situation, asked: dict[str, Any], expected: list[str]) -> None:
    done = actions(found, **asked)
    assert done[: done.index(plan.INITIALISE) + 1] == expected


RIGID = replace(FULL, rigid="has the feature bigalloc, which resize2fs is not made for")
BTRFS = situation(plain(signature=replace(EXT4, type="btrfs")), filesystem=FileSystem("btrfs", UUID, SIZE))


@pytest.mark.parametrize(
    ("found", "asked", "way"),
    [
        (situation(filesystem=RIGID), {"room": "header", "header": "/h"}, ""),
        (situation(filesystem=replace(RIGID, size=SIZE - plan.ROOM)), {}, plan.STASH),
        (situation(filesystem=RIGID, spare=SIZE), {}, plan.EXTEND),
        (situation(filesystem=RIGID, spare=SIZE), {"room": "grow"}, plan.EXTEND),
        (BTRFS, {"room": "header", "header": "/h"}, ""),
        (replace(BTRFS, filesystem=FileSystem("btrfs", UUID, SIZE - plan.ROOM)), {}, plan.STASH),
        (replace(BTRFS, spare=SIZE), {"room": "grow"}, plan.EXTEND),
    ],
)
def test_what_keeps_it_from_being_made_smaller_counts_only_where_that_is_the_way(found: Situation, asked: dict[str, Any], way: str) -> None:
    done = actions(found, **asked)
    assert plan.SHRINK not in done and plan.INITIALISE in done and (not way or way in done)


def test_a_file_system_whose_size_is_not_to_be_changed_is_not_grown_at_the_end() -> None:
    begun = noted(situation(filesystem=RIGID, spare=SIZE))
    assert begun.rigid
    assert actions(situation(encrypted(holders=MAPPED), note=replace(PROVEN, rigid=True))) == [plan.BACK_UP, plan.FORGET]
    for asked, spare in (({}, None), ({"room": "shrink"}, SIZE), ({"room": "grow"}, 0)):
        assert "has the feature bigalloc" in refused(situation(filesystem=RIGID, spare=spare), **asked)


@pytest.mark.parametrize("asked", [{}, {"room": "header", "header": "/h"}])
@pytest.mark.parametrize("fault", ["has errors, says its superblock", "has 2 devices, which is not supported"])
def test_what_is_broken_or_on_several_devices_is_refused_whatever_the_room(fault: str, asked: dict[str, Any]) -> None:
    assert fault in refused(situation(filesystem=replace(FULL, size=SIZE - plan.ROOM, fault=fault)), **asked)


def noted(found: Situation) -> Note:
    (step, *_rest) = plan.plan_encryption(found, WISH)
    note: Note = step.detail.note
    return note


def test_what_is_noted() -> None:
    found = situation(plain(mounts=(HOME,)), down_units=("down.service",))
    step = plan.plan_encryption(found, replace(WISH, stop_units=("up.service", "down.service")))[0]
    assert step.action == plan.NOTE
    assert step.detail.note == replace(NOTE, mount=HOME, units=("up.service",))


def test_processes_are_ended_only_where_that_is_asked_for() -> None:
    found = situation(plain(mounts=(HOME,)), processes=(Process(7, "vi", "has /home/a open"),))
    assert plan.TERM in actions(found, busy="terminate")
    assert refused(found) == (
        "/home is in use by vi (process 7, has /home/a open). Name their units in stop_units, end them, or choose busy: terminate."
    )


OTHER = Holder("dm-9", "vg-home")
REFUSALS: list[tuple[str, Situation, dict[str, Any]]] = [
    ("/dev/vdb is no block device. Give a partition, a logical volume or a disk.", situation(plain(block=False)), {}),
    ("/dev/vdb is read-only. Make it writable: see blockdev(8).", situation(plain(read_only=True)), {}),
    (
        "/dev/vdb has nothing that is known: there is no data to keep. Use luks_container.",
        situation(plain(signature=None), filesystem=None),
        {},
    ),
    (
        "/dev/vdb has a partition table (gpt), which is no file system. Give a partition of it.",
        situation(plain(signature=Signature("", "", "", "", "gpt")), filesystem=None),
        {},
    ),
    (
        "/dev/vdb has swap, which is no file system. Give the device of a file system.",
        situation(plain(signature=Signature("swap", "other", "", "", "")), filesystem=None),
        {},
    ),
    ("/dev/vdb is held by vg-home. Take that away first.", situation(plain(holders=(OTHER,))), {}),
    ("/dev/vdb is in use as swap. Take that away first.", situation(plain(swaps=("/dev/vdb",))), {}),
    ("/dev/vdb has 127 MiB, less than 128. Use luks_container on a new device.", situation(plain(size=127 * MIB)), {}),
    (
        "/dev/vdb is mounted at /home, /srv. Leave one of the mounts.",
        situation(plain(mounts=(HOME, replace(HOME, target="/srv")))),
        {},
    ),
    ("/dev/vdb is mounted at /home, not at /srv. Correct mount or device.", situation(plain(mounts=(HOME,))), {"mount": "/srv"}),
    (
        "/dev/vdb is mounted at /, which the running system needs. Encrypt it when installing.",
        situation(plain(mounts=(replace(HOME, target="/"),))),
        {},
    ),
    ("Below /home are mounted: /home/a, /home/b. Unmount them first.", situation(plain(mounts=(HOME,)), below=("/home/a", "/home/b")), {}),
    ("The folder of the notes or of the header backups lies on /dev/vdb itself. Give one elsewhere.", situation(home_of_notes=True), {}),
    ("The mapping of /dev/vdb has no name. Give name.", situation(), {"name": None}),
    ("There is a mapping home already, of another device. Give another name.", situation(taken=True), {}),
    ("systemd does not run here; the work goes on in one of its units. Use a host with systemd.", situation(systemd=False), {}),
    ("room: header and the path of the header's file belong together. Give both, or none.", situation(), {"room": "header"}),
    ("room: header and the path of the header's file belong together. Give both, or none.", situation(), {"header": "/h"}),
    ("There is no folder /no for the header /no/h. Make it.", situation(header_folder=False), {"room": "header", "header": "/no/h"}),
    ("/h is there, and is no LUKS header. Remove it, or correct header.", situation(header_file=True), {"room": "header", "header": "/h"}),
    (
        "This cryptsetup cannot be told the UUID of the header. Leave uuid out; the result tells what it chose.",
        situation(version=(2, 3, 7)),
        {"uuid": LUKS},
    ),
    ("A secret of /dev/vdb is needed: it becomes the first keyslot. Give passphrase or key_file.", situation(), {"secret": None}),
    (
        "The ext4 on /dev/vdb has errors, says its superblock. Unmount it and run fsck.ext4 on it.",
        situation(filesystem=replace(FULL, fault="has errors, says its superblock")),
        {},
    ),
    (
        "The btrfs on /dev/vdb is not mounted; it is made smaller while it is. Mount it.",
        situation(plain(signature=replace(EXT4, type="btrfs")), filesystem=FileSystem("btrfs", UUID, SIZE)),
        {},
    ),
    (
        "The ext4 on /dev/vdb cannot be made smaller than 1000 MiB, and has to fit 960 MiB to leave 64 MiB for the LUKS header."
        " Delete files, make the device larger, or choose room: header.",
        situation(filesystem=replace(FULL, minimum=1000 * MIB)),
        {},
    ),
    (
        "xfs cannot be made smaller. Choose room: grow (a logical volume) or room: header.",
        situation(plain(signature=replace(EXT4, type="xfs")), filesystem=FileSystem("xfs", UUID), spare=SIZE),
        {"room": "shrink"},
    ),
    (
        "The xfs fills /dev/vdb, which is no logical volume. Make the device 64 MiB larger, or choose room: header, which keeps the LUKS"
        " header in a file elsewhere.",
        situation(plain(signature=replace(EXT4, type="xfs")), filesystem=FileSystem("xfs", UUID, SIZE)),
        {},
    ),
    (
        "The ext4 fills /dev/vdb, whose volume group has but 63 MiB free. Make the device 64 MiB larger, or choose room: header,"
        " which keeps the LUKS header in a file elsewhere.",
        situation(spare=63 * MIB),
        {"room": "grow"},
    ),
    (
        "/home is in use by the very connection that this runs in: sshd (process 5, has its working directory there)."
        " Connect as root, or as a user whose home is elsewhere.",
        situation(plain(mounts=(HOME,)), processes=(Process(5, "sshd", "has its working directory there", own=True),)),
        {"busy": "terminate"},
    ),
    ("/dev/vdb is being worked on under the name home. Give name: home.", situation(note=NOTE), {"name": "other"}),
    ("UUID=abcd names /dev/vdb by what is to go. Give the path /dev/vdb instead.", situation(), {"device": "UUID=abcd"}),
    ("LABEL=home names /dev/vdb by what is to go. Give the path /dev/vdb instead.", situation(), {"device": "LABEL=home"}),
]


@pytest.mark.parametrize(("sentence", "found", "asked"), REFUSALS, ids=[sentence[:50] for sentence, _found, _asked in REFUSALS])
def test_what_is_refused_before_anything_is_changed(sentence: str, found: Situation, asked: dict[str, Any]) -> None:
    assert refused(found, **asked) == sentence


def test_every_place_that_the_running_system_needs_is_refused() -> None:
    for target in plan.SYSTEM_MOUNTS:
        assert f"mounted at {target}, which" in refused(situation(plain(mounts=(replace(HOME, target=target),))))


# --- after a cut -------------------------------------------------------------------------------------------------------


def test_a_header_that_was_cut_is_taken_back() -> None:
    torn = plain(signature=Signature("crypto_LUKS", "crypto", "torn", "", ""))
    found = situation(torn, note=STASHED, stash="fits")
    done = actions(found)
    assert done[:3] == [plan.RESTORE, plan.INITIALISE, plan.PROVE]
    assert "copy of its first bytes is not whole" in refused(replace(found, stash="broken"))
    assert refused(replace(found, device=replace(torn, mounts=(HOME,)))) == "/dev/vdb is mounted at /home. Unmount it."
    assert "it becomes the first keyslot" in refused(found, secret=None)


def test_a_header_that_opens_is_proven_and_kept() -> None:
    found = situation(encrypted(luks(ENCRYPTING)), note=STASHED, stash="fits", keyslot=0)
    assert actions(found) == [plan.PROVE, plan.BACK_UP, plan.OPEN, plan.RUN]
    assert actions(replace(found, note=replace(STASHED, mount=HOME, units=("a",)))) == [
        plan.PROVE,
        plan.BACK_UP,
        plan.OPEN,
        plan.MOUNT,
        plan.START,
        plan.RUN,
    ]
    opened = encrypted(luks(ENCRYPTING), holders=MAPPED)
    assert actions(replace(found, device=opened)) == [plan.PROVE, plan.BACK_UP, plan.RUN]


def test_a_copy_of_what_has_been_written_to_since_is_not_put_back() -> None:
    done = actions(situation(plain(mounts=(HOME,)), note=replace(STASHED, mount=HOME), stash="used", filesystem=ROOMY))
    assert plan.RESTORE not in done
    assert [action for action in done if action in (plan.UNMOUNT, plan.CHECK, plan.STASH, plan.INITIALISE)] == [
        plan.UNMOUNT,
        plan.CHECK,
        plan.STASH,
        plan.INITIALISE,
    ]


def test_when_a_key_is_derived_to_look() -> None:
    early, work = situation(encrypted(luks(ENCRYPTING)), note=STASHED), situation(encrypted(luks(ENCRYPTING)), note=PROVEN)
    running = replace(work, background=Background("u", True, True))
    expected = [(early, True), (work, True), (running, False), (situation(), False), (situation(encrypted()), False)]
    for found, needed in expected:
        assert plan.needs_secret(found, WISH) is needed
        assert not plan.needs_secret(found, replace(WISH, secret=None))
    assert plan.needs_secret(situation(encrypted()), replace(WISH, volume_key="2027"))
    assert not plan.needs_secret(situation(encrypted(), volume_key="2027"), replace(WISH, volume_key="2027"))


def test_the_end_of_a_new_volume_key_is_written_without_a_trial_of_the_secret() -> None:
    """cryptsetup 2.3.7 can try none then."""
    rekeying = situation(encrypted(luks(Work("reencrypt", "forward", "checksum"))))
    assert plan.needs_secret(rekeying, WISH)
    over = replace(rekeying, over=True)
    assert not plan.needs_secret(over, WISH)
    assert actions(over)[:2] == [plan.BACK_UP, plan.FINISH]
    assert plan.needs_secret(situation(encrypted(luks(ENCRYPTING)), note=PROVEN, over=True), WISH), "its volume may have to be opened"


@pytest.mark.parametrize("size", [SIZE, SIZE - plan.ROOM])
def test_what_a_resize2fs_that_was_cut_has_changed_is_taken_back_and_then_done_anew(size: int) -> None:
    broken = replace(FULL, size=size, fault="has errors, says its superblock")
    done = actions(situation(undo=True, note=replace(NOTE, undo="/u"), filesystem=broken))
    assert done[:4] == [plan.UNDO, plan.CHECK, plan.SHRINK, plan.STASH]
    assert "has errors" in refused(situation(note=NOTE, filesystem=broken))


def test_what_resize2fs_has_done_to_its_end_is_not_taken_back() -> None:
    done = actions(situation(undo=True, note=replace(NOTE, undo="/u"), filesystem=ROOMY))
    assert done[:3] == [plan.CHECK, plan.STASH, plan.INITIALISE]


SWAP, OTHER_FS = Signature("swap", "other", "", "", ""), replace(EXT4, uuid="12345678-0b0a-4908-8706-050403020100")


def test_a_copy_is_put_back_only_over_what_it_is_the_copy_of() -> None:
    for other in (SWAP, OTHER_FS):
        said = refused(situation(plain(signature=other), note=STASHED, stash="fits"))
        assert said.startswith(f"The encryption of another file system was begun on /dev/vdb; now it has {other}. ")
        assert "home.json" in said
    for work in (None, Work("reencrypt", "forward", "checksum")):
        said = refused(situation(encrypted(luks(work)), note=STASHED, stash="fits", keyslot=-1))
        assert said.startswith("/dev/vdb has a LUKS header that is not of the encryption that was begun there. ")
    assert "cannot be known whether the ext4" in refused(situation(note=STASHED, stash="unclear"))


XFS = replace(EXT4, type="xfs")


def test_a_volume_that_was_made_larger_is_not_made_larger_again() -> None:
    extended = situation(plain(size=SIZE + plan.ROOM, signature=XFS), note=NOTE, filesystem=FileSystem("xfs", UUID, SIZE), spare=0)
    assert plan.EXTEND not in actions(extended, room="grow")
    assert plan.EXTEND not in actions(replace(extended, note=None), room="grow"), "a failure has taken the note away"


@pytest.mark.parametrize(("kind", "expected"), [("ext4", plan.SHRINK), ("xfs", plan.EXTEND)])
def test_a_file_system_that_was_grown_since_into_the_room_is_measured(kind: str, expected: str) -> None:
    larger = SIZE + 4 * plan.ROOM
    device = plain(size=larger, signature=replace(EXT4, type=kind))
    found = situation(device, note=NOTE, filesystem=FileSystem(kind, UUID, larger, 100 * MIB if kind == "ext4" else None), spare=SIZE)
    assert expected in actions(found)


def test_where_the_size_is_not_known_only_what_this_run_adds_is_free() -> None:
    device = plain(size=SIZE + plan.ROOM, signature=replace(EXT4, type="f2fs"))
    found = situation(device, note=NOTE, filesystem=FileSystem("f2fs", UUID), spare=plan.ROOM)
    assert plan.EXTEND in actions(found)
    assert refused(replace(found, spare=0)).endswith("0 MiB free. Choose room: header, which keeps the LUKS header in a file elsewhere.")


def test_the_end_of_a_device_is_written_to_only_where_the_file_system_does_not_reach() -> None:
    device, unknown = plain(), FileSystem("f2fs", UUID)
    plan.check_room(ROOMY, device, device)
    plan.check_room(unknown, plain(size=SIZE + plan.ROOM), device)
    refusals = [
        (replace(ROOMY, size=SIZE - plan.ROOM + 1), device, "may reach to byte 1006632961 of 1073741824"),
        (unknown, plain(size=SIZE + plan.ROOM - 1), "may reach to byte 1073741824"),
        (None, device, "does not show its file system any more"),
    ]
    for found, now, message in refusals:
        with pytest.raises(RootOfTrustError, match=message):
            plan.check_room(found, now, device)


def test_the_size_of_an_xfs() -> None:
    block = bytearray(parse.SUPERBLOCK_END)
    block[:16] = b"XFSB" + (4096).to_bytes(4, "big") + (75 * 1024).to_bytes(8, "big")
    found = parse.parse_superblock(bytes(block), "xfs")
    assert found is not None and found.size == 300 * MIB


def test_a_plain_mount_under_a_detached_header_is_taken_away_first() -> None:
    noted = replace(PROVEN, header="/h", mount=HOME, units=("a",))
    begun = luks(ENCRYPTING, segments=(Segment(0, "linear", 0, None), Segment(1, "crypt", 0, None, flags=("backup-final",))))
    found = situation(encrypted(begun, mounts=(HOME,)), note=noted, keyslot=0)
    assert actions(found, header="/h", room="header") == [plan.STOP, plan.UNMOUNT, plan.OPEN, plan.MOUNT, plan.START, plan.RUN]
    early = replace(found, note=replace(noted, stage=plan.PREPARED))
    done = actions(early, header="/h", room="header")
    assert done == [plan.PROVE, plan.BACK_UP, plan.STOP, plan.UNMOUNT, plan.OPEN, plan.MOUNT, plan.START, plan.RUN]


def test_two_volumes_of_one_name_are_refused() -> None:
    with pytest.raises(RootOfTrustError, match="Two volumes are to have the name home"):
        plan_volumes([(situation(), WISH), (situation(), replace(WISH, device="/dev/vdc"))])


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "a b", "müller", "-x", "a\n"])
def test_a_name_that_is_no_name_of_a_mapping_is_refused(name: str) -> None:
    assert "cannot be that of a mapping" in refused(situation(), name=name)


def test_work_that_somebody_else_has_begun_is_noted_and_gone_on_with() -> None:
    found = situation(encrypted(luks(Work("reencrypt", "forward", "checksum"))), keyslot=0)
    assert actions(found) == [plan.NOTE, plan.OPEN, plan.RUN]
    assert refused(found, name=None) == "The mapping of /dev/vdb has no name. Give name."
    mapped = replace(found, device=encrypted(luks(Work("reencrypt", "forward", "checksum")), holders=MAPPED))
    assert actions(mapped, name=None) == [plan.NOTE, plan.RUN]


def test_a_new_volume_key_that_was_cut_before_it_began_is_begun() -> None:
    note = Note("home", "/dev/vdb", SIZE, plan.PROVEN, "", "", None, LUKS)
    found = situation(encrypted(holders=MAPPED), note=note, keyslot=0)
    assert actions(found, volume_key="2027") == [plan.BACK_UP, plan.NOTE, plan.NAME_KEY, plan.REKEY, plan.RUN]
    assert actions(replace(found, volume_key="2027"), volume_key="2027") == [plan.BACK_UP, plan.FORGET]


# --- the work and its end ----------------------------------------------------------------------------------------------


def test_the_work_is_gone_on_with() -> None:
    closed = situation(encrypted(luks(ENCRYPTING)), note=replace(PROVEN, mount=HOME, units=("a",)), keyslot=0, down_units=("a",))
    assert actions(closed) == [plan.OPEN, plan.MOUNT, plan.START, plan.RUN]
    mapped = encrypted(luks(ENCRYPTING), holders=MAPPED, mounts=(replace(HOME, source="/dev/mapper/home"),))
    assert actions(replace(closed, device=mapped, down_units=())) == [plan.RUN]
    assert actions(replace(closed, device=mapped, down_units=(), background=Background("u", True, True))) == []
    assert refused(replace(closed, keyslot=-1)) == "The secret given does not open /dev/vdb. Give one that does."
    assert refused(closed, secret=None) == "A secret of /dev/vdb is needed: it unlocks the volume. Give passphrase or key_file."


def test_the_end() -> None:
    found = situation(encrypted(holders=MAPPED), note=PROVEN)
    assert actions(found) == [plan.GROW, plan.BACK_UP, plan.FORGET]
    assert actions(replace(found, device=encrypted())) == [plan.OPEN, plan.GROW, plan.BACK_UP, plan.FORGET]
    assert actions(found, volume_key="2026") == [plan.GROW, plan.NAME_KEY, plan.BACK_UP, plan.FORGET]
    assert actions(replace(found, note=replace(PROVEN, fs_type="xfs"))) == [plan.BACK_UP, plan.FORGET]
    assert actions(replace(found, note=replace(PROVEN, fs_type="btrfs"))) == [plan.BACK_UP, plan.FORGET]
    assert actions(replace(found, note=replace(PROVEN, header="/h")), header="/h", room="header") == [plan.BACK_UP, plan.FORGET]
    mounted = replace(found, note=replace(PROVEN, fs_type="btrfs", mount=HOME))
    assert actions(mounted) == [plan.MOUNT, plan.GROW, plan.BACK_UP, plan.FORGET]
    assert actions(replace(found, background=Background("u", True, True))) == []  # the unit has not quite ended
    steps = plan.plan_encryption(found, WISH)
    assert all(step.once for step in steps)  # the work may end while a run is doing something else
    assert all(step.detail.ending for step in steps)


# --- what is encrypted already -----------------------------------------------------------------------------------------


def test_nothing_is_done_to_what_is_as_asked() -> None:
    for device in (encrypted(), encrypted(holders=MAPPED)):
        assert actions(situation(device)) == []
        assert actions(situation(device), secret=None) == []
        assert actions(situation(device, volume_key="2026"), volume_key="2026", cipher="serpent-xts-plain64") == []
    assert actions(situation(encrypted()), type="luks2", pbkdf=PbkdfChoice("argon2id")) == []


REKEYED = [plan.BACK_UP, plan.NOTE, plan.NAME_KEY, plan.REKEY]


@pytest.mark.parametrize("asked", [{"volume_key": "2027"}, {"state": plan.PLAIN}])
def test_a_copy_of_what_is_open_is_left_alone(asked: dict[str, Any]) -> None:
    inside = FileSystem("ext4", UUID)
    found = situation(encrypted(holders=MAPPED), keyslot=0, filesystem=inside, on_device=True, key_number=0)
    assert plan_volumes([(found, replace(WISH, **asked))])
    copy = replace(found, device=replace(found.device, twins=("home on vdc",)))
    with pytest.raises(RootOfTrustError, match=f"{LUKS} is open as home on vdc, not on /dev/vdb:"):
        plan_volumes([(copy, replace(WISH, **asked))])
    assert plan_volumes([(copy, WISH)]) == []
    through = replace(found, device=replace(found.device, through="vdb1"))
    with pytest.raises(RootOfTrustError, match="/dev/vdb is in use through vdb1: the kernel takes its first bytes for a partition table"):
        plan_volumes([(through, replace(WISH, **asked))])
    assert plan_volumes([(through, WISH)]) == []


def test_a_new_volume_key() -> None:
    found = situation(encrypted(holders=MAPPED), keyslot=0, volume_key="2026")
    assert actions(found, volume_key="2027") == [*REKEYED, plan.RUN]
    assert actions(replace(found, device=encrypted()), volume_key="2027") == [*REKEYED, plan.OPEN, plan.RUN]
    steps = plan.plan_encryption(found, replace(WISH, volume_key="2027", name=None))
    assert steps[1].detail.note == Note("home", "/dev/vdb", SIZE, plan.PROVEN, "", "", None, LUKS)
    assert diff(steps)["after"] == {"/dev/vdb": {"volume_key": "2027", "state": "reencrypting", "unit": "active"}}
    assert refused(replace(found, keyslot=-1), volume_key="2027") == "The secret given does not open /dev/vdb. Give one that does."
    assert "it unlocks the volume" in refused(found, volume_key="2027", secret=None)
    assert refused(replace(found, device=encrypted()), volume_key="2027", name=None) == "The mapping of /dev/vdb has no name. Give name."


def test_keyslots_that_would_be_lost_are_named() -> None:
    slots = (SLOT, replace(SLOT, number=3), replace(SLOT, number=4, kind="reencrypt"))
    found = situation(encrypted(luks(slots=slots), holders=MAPPED), keyslot=0)
    assert refused(found, volume_key="2027") == (
        "A new volume key of /dev/vdb would lose the keyslots 3: their secrets are not given."
        " Choose other_keyslots: drop, and enrol them again afterwards."
    )
    assert plan.REKEY in actions(found, volume_key="2027", other_keyslots="drop")


def test_a_luks1_header_is_converted_while_it_is_closed() -> None:
    luks1 = luks(type="luks1", slots=(replace(SLOT, kind="luks1", pbkdf=Pbkdf("pbkdf2", "sha256", 1000)),))
    found = situation(encrypted(luks1), keyslot=0)
    assert actions(found) == []
    assert actions(found, type="luks2") == [plan.BACK_UP, plan.CONVERT, plan.BACK_UP]
    both = [plan.BACK_UP, plan.CONVERT, plan.STRENGTHEN, plan.BACK_UP]
    assert actions(found, type="luks2", pbkdf=PbkdfChoice("argon2id")) == both
    assert actions(found, type="luks2", pbkdf=PbkdfChoice("argon2id"), volume_key="a") == [*both, *REKEYED[1:], plan.OPEN, plan.RUN]
    assert refused(found, volume_key="a") == "/dev/vdb has a LUKS1 header, which cannot have that. Ask for type: luks2 too."
    held = replace(found, device=encrypted(luks1, holders=(OTHER,)))
    assert refused(held, type="luks2") == "/dev/vdb is held by vg-home. Close it to convert its header."


def test_a_weak_key_derivation_is_replaced_where_the_secret_is() -> None:
    weak = replace(SLOT, number=1, pbkdf=Pbkdf("pbkdf2", "sha256", 1000))
    found = situation(encrypted(luks(slots=(SLOT, weak))), keyslot=1)
    assert actions(found, pbkdf=PbkdfChoice("argon2id")) == [plan.BACK_UP, plan.STRENGTHEN, plan.BACK_UP]
    assert actions(replace(found, keyslot=0), pbkdf=PbkdfChoice("argon2id")) == []
    assert plan.needs_secret(replace(found, keyslot=None), replace(WISH, pbkdf=PbkdfChoice("argon2id")))
    # A keyslot that a machine opens has a random key: its key derivation is no weakness, and no reason to derive one.
    of_a_tpm = luks(slots=(SLOT, weak), tokens=(Token(0, "systemd-tpm2", (1,)),))
    assert not plan.needs_secret(situation(encrypted(of_a_tpm)), replace(WISH, pbkdf=PbkdfChoice("argon2id")))


def test_another_key_derivation_is_drift_where_no_secret_tells_whose_it_is() -> None:
    """A key file, or a recovery key, has its own; that is no reason to ask for a secret in each run."""
    other = replace(SLOT, number=1, pbkdf=Pbkdf("pbkdf2", "sha256", 1000))
    found = situation(encrypted(luks(slots=(SLOT, other), tokens=(Token(0, "rootoftrust-keyslot", (1,)),))))
    asked: dict[str, Any] = {"secret": None, "pbkdf": PbkdfChoice("argon2id")}
    assert actions(found, **asked) == []
    assert report(found, **asked)["drift"] == [{"field": "pbkdf", "is": "pbkdf2", "asked": "argon2id"}]
    assert report(replace(found, keyslot=0), pbkdf=PbkdfChoice("argon2id"))["drift"] == []
    assert actions(replace(found, keyslot=1), pbkdf=PbkdfChoice("argon2id")) == [plan.BACK_UP, plan.STRENGTHEN, plan.BACK_UP]


def test_drift_is_told_and_not_changed() -> None:
    found = situation(encrypted())
    assert plan.drift(found, replace(WISH, cipher="aes-xts-plain64", key_bits=512, sector_size=512), luks()) == []
    assert plan.drift(found, replace(WISH, cipher="serpent-xts-plain64", key_bits=256, sector_size=4096), luks()) == [
        {"field": "cipher", "is": "aes-xts-plain64", "asked": "serpent-xts-plain64"},
        {"field": "key_bits", "is": 512, "asked": 256},
        {"field": "sector_size", "is": 512, "asked": 4096},
    ]


# --- words -------------------------------------------------------------------------------------------------------------


def every_step() -> list[Any]:
    """At least one of each action."""
    mounted, asked = plain(mounts=(HOME,)), replace(WISH, stop_units=("app.service",), busy="terminate")
    found = situation(mounted, processes=(Process(7, "vi", "has a file open"),))
    steps = plan.plan_encryption(found, asked)
    steps += plan.plan_encryption(situation(spare=SIZE), replace(WISH, room="grow"))
    steps += plan.plan_encryption(situation(plain(signature=None), note=STASHED, stash="fits"), WISH)
    steps += plan.plan_encryption(situation(undo=True, note=NOTE, filesystem=replace(FULL, fault="has errors")), WISH)
    steps += plan.plan_encryption(situation(encrypted(), note=PROVEN), WISH)
    luks1 = luks(type="luks1", slots=(replace(SLOT, pbkdf=Pbkdf("pbkdf2", "sha256", 1)),))
    changed = replace(WISH, type="luks2", pbkdf=PbkdfChoice("argon2id"), volume_key="a")
    return steps + plan.plan_encryption(situation(encrypted(luks1), keyslot=0), changed)


def test_each_step_is_said_in_a_sentence_that_names_its_object() -> None:
    steps = every_step()
    words = [name for name in vars(plan) if name.isupper() and isinstance(getattr(plan, name), str)]
    told = {step.action for step in steps}
    assert {plan.NOTE, plan.STOP, plan.TERM, plan.UNMOUNT, plan.UNDO, plan.CHECK, plan.SHRINK, plan.EXTEND} <= told
    assert {plan.STASH, plan.RESTORE, plan.INITIALISE, plan.PROVE, plan.BACK_UP, plan.OPEN, plan.MOUNT, plan.START} <= told
    assert {plan.RUN, plan.GROW, plan.FORGET, plan.NAME_KEY, plan.REKEY, plan.CONVERT, plan.STRENGTHEN} <= told
    assert words
    for step in steps:
        assert step.sentence[0].isupper()
        assert step.sentence.endswith(".")
        assert "  " not in step.sentence
        assert " ." not in step.sentence
        assert step.subject == "/dev/vdb"
        assert set(step.before) <= set(step.after)
        assert any(
            word in step.sentence for word in ("/dev/vdb", "/home", "app.service", "vi (process 7", "home.service", "of home", "volume key")
        )


def test_the_difference_that_an_encryption_makes() -> None:
    steps = plan.plan_encryption(situation(plain(mounts=(HOME,))), WISH)
    assert diff(steps) == {
        "before": {"/dev/vdb": {"source": "/dev/vdb", "file_system": "1024 MiB", "state": "plain", "mapping": None, "unit": "inactive"}},
        "after": {
            "/dev/vdb": {"source": "/dev/mapper/home", "file_system": "960 MiB", "state": "encrypting", "mapping": "home", "unit": "active"}
        },
    }


def test_no_secret_is_shown() -> None:
    for step in every_step():
        assert "b'x'" not in repr(step)
        json.dumps(diff([step]))


def report(found: Situation, steps: Any = (), **asked: Any) -> dict[str, Any]:
    told = plan.report_encryptions([(found, replace(WISH, **asked))], steps)
    (volume,) = told["encryptions"]
    return {**volume, "warnings": told["warnings"]}


def test_the_report_of_a_plain_volume() -> None:
    assert report(situation(plain(mounts=(HOME,))), uuid=LUKS) == {
        "device": "/dev/vdb",
        "path": "/dev/vdb",
        "name": "home",
        "uuid": LUKS,
        "state": "plain",
        "progress": None,
        "running": False,
        "finished": False,
        "unit": None,
        "mount": "/home",
        "away_seconds": None,
        "drift": [],
        "warnings": [],
    }
    found = situation()
    assert report(found, plan.plan_encryption(found, WISH))["state"] == "encrypting"  # check mode


def test_the_report_of_work() -> None:
    parts = (Segment(0, "linear", 0, 256 * MIB), Segment(1, "crypt", 256 * MIB, None, "aes-xts-plain64", 512))
    header = luks(ENCRYPTING, segments=parts)
    unit = Background("u.service", True, True)
    found = situation(encrypted(header, holders=MAPPED), note=replace(PROVEN, mount=HOME), background=unit, away=3.5)
    told = report(found)
    assert told["state"] == "encrypting"
    assert told["progress"]["percent"] == 75.0
    assert (told["running"], told["finished"], told["unit"], told["mount"], told["away_seconds"]) == (
        True,
        False,
        "u.service",
        "/home",
        3.5,
    )
    failed = replace(found, background=Background("u.service", True, False, "IO error"))
    assert report(failed)["warnings"] == ["The work on /dev/vdb ended too early: IO error"]
    states = [("reencrypt", "reencrypting"), ("decrypt", "decrypting")]
    for mode, state in states:
        assert report(replace(found, device=encrypted(luks(Work(mode, "forward", "checksum")))))["state"] == state


def test_the_report_of_an_end() -> None:
    told = report(situation(encrypted(holders=MAPPED)), cipher="other")
    assert (told["state"], told["finished"], told["uuid"], told["name"]) == ("encrypted", True, LUKS, "home")
    assert told["drift"] == [{"field": "cipher", "is": "aes-xts-plain64", "asked": "other"}]
    assert not report(situation(encrypted(), note=PROVEN))["finished"]
    found = situation(encrypted(holders=MAPPED), keyslot=0)
    steps = plan.plan_encryption(found, replace(WISH, volume_key="2027"))
    told = report(found, steps, volume_key="2027")
    assert (told["state"], told["finished"]) == ("reencrypting", False)


# --- the unit ----------------------------------------------------------------------------------------------------------

# What systemd-escape of systemd 247 and 259 prints.
ESCAPED = {
    "home": "home",
    "my-home": r"my\x2dhome",
    ".hidden": r"\x2ehidden",
    "a.b": "a.b",
    "a:b": "a:b",
    "a_b": "a_b",
    "a+b": r"a\x2bb",
    "a@b": r"a\x40b",
    "a=b": r"a\x3db",
    "a#b": r"a\x23b",
    "a b": r"a\x20b",
    "müller": r"m\xc3\xbcller",
    "a\\b": r"a\x5cb",
    "a%b": r"a\x25b",
    "a$b": r"a\x24b",
    "x..": "x..",
    "-x": r"\x2dx",
    "~": r"\x7e",
}


@pytest.mark.parametrize(("name", "escaped"), ESCAPED.items())
def test_names_are_escaped_as_systemd_does(name: str, escaped: str) -> None:
    assert plan.escape_unit(name) == escaped
    assert plan.unit_name(name) == f"rootoftrust-luks-{escaped}.service"


@given(st.text(min_size=1), st.text(min_size=1))
def test_two_names_have_two_units(one: str, other: str) -> None:
    assert (plan.escape_unit(one) == plan.escape_unit(other)) == (one == other)


def section(text: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(delimiters="=")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


def test_the_unit_hangs_on_the_mapping() -> None:
    argv = ["/usr/sbin/cryptsetup", "reencrypt", "--resume-only", "--key-file=/run/rootoftrust/my-home.key", "--", "/dev/vdb"]
    unit = section(plan.unit_text("my-home", argv, "/dev/vdb", "/run/go", "/run/rootoftrust/my-home.key", True))
    device = r"dev-mapper-my\x2dhome.device"
    assert unit["Unit"]["BindsTo"] == unit["Unit"]["After"] == unit["Install"]["WantedBy"] == device
    assert unit["Unit"]["ConditionPathExists"] == "/run/rootoftrust/my-home.key"
    service = unit["Service"]
    assert service["Type"] == "oneshot"
    assert service["TimeoutStartSec"] == "infinity"
    assert service["ExecStart"].endswith(" ".join(f'"{word}"' for word in ["sh", "/run/go", "/dev/vdb", *argv]))
    assert service["ExecStartPost"] == r"-systemctl disable --no-reload rootoftrust-luks-my\\x2dhome.service"
    assert service["ExecStopPost"] == "-rm -f /run/rootoftrust/my-home.key"
    kept = section(plan.unit_text("my-home", argv, "/dev/vdb", "/run/go", "/etc/keys/home", False))
    assert "ExecStopPost" not in kept["Service"]  # the user's own file stays


def test_what_systemd_would_take_for_its_own_is_quoted() -> None:
    unit = section(plan.unit_text("home", ["/bin/x", 'a "b" 100% $HOME \\ c'], "/dev/x", "/run/go", "/etc/100%", False))
    assert unit["Service"]["ExecStart"].endswith(r'"/bin/x" "a \"b\" 100%% $$HOME \\ c"')
    assert unit["Unit"]["ConditionPathExists"] == "/etc/100%%"


# --- recorded ----------------------------------------------------------------------------------------------------------

E2FSPROGS = ["1.46.2", "1.47.0", "1.47.2", "1.47.4"]  # Debian 11, 12, 13 and after it


def ext(version: str, case: str) -> parse.Ext:
    return parse.parse_ext((RECORDED / f"dumpe2fs-{version}-{case}.txt").read_text())


@pytest.mark.parametrize("version", E2FSPROGS)
@pytest.mark.parametrize(
    ("case", "kind", "errors"),
    [
        ("ext2", "ext2", False),
        ("ext3", "ext3", False),
        ("ext4", "ext4", False),
        ("ext4-mounted", "ext4", False),  # "not clean" is no error
        ("ext4-error-state", "ext4", True),
        ("ext4-error-count", "ext4", True),
    ],
)
def test_what_dumpe2fs_says(version: str, case: str, kind: str, errors: bool) -> None:
    found = ext(version, case)
    assert (found.type, found.uuid, found.errors) == (kind, UUID, errors)
    assert found.blocks * found.block_size == 256 * MIB


def test_a_resize2fs_that_was_killed_leaves_the_mark_of_errors() -> None:
    assert ext("1.47.2", "ext4-resize-cut").errors


@pytest.mark.parametrize("text", ["", "dumpe2fs: Bad magic number in super-block", "Filesystem features: extent\nFilesystem UUID: x\n"])
def test_what_is_no_output_of_dumpe2fs_is_refused(text: str) -> None:
    with pytest.raises(parse.Malformed, match="dumpe2fs"):
        parse.parse_ext(text)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(parse.Malformed):
        parse.parse_ext(text)


def recorded(version: str, case: str) -> dict[str, Any]:
    data = (RECORDED / f"cryptsetup-{version}-luks2-{case}.bin").read_bytes()
    return parse.luks2_metadata(data[: parse.header_size(data)])


@pytest.mark.parametrize("version", ["2.3.7", "2.7.5"])
def test_the_json_of_a_header_by_its_bytes(version: str) -> None:
    found = recorded(version, "encrypt-init")
    flags = {flag: segment for segment in found["segments"].values() for flag in segment.get("flags", ())}
    moved = flags["backup-moved-segment"]
    assert (int(moved["offset"]), int(moved["size"])) == (240 * MIB, plan.HEAD)
    assert found["tokens"] == {}
    (token,) = recorded(version, "token")["tokens"].values()
    assert token == {"type": plan.VOLUME_KEY_TOKEN, "keyslots": [], "version": "2026"}


@pytest.mark.parametrize("cut", [0, 100, 4096, 4500])
def test_a_header_that_ends_too_early_is_refused(cut: int) -> None:
    data = (RECORDED / "cryptsetup-2.7.5-luks2-token.bin").read_bytes()
    with pytest.raises(parse.Malformed):
        parse.luks2_metadata(data[:cut])


# dmsetup info -c -o name,uuid, while the work was going on
DURING = {
    "backward": [
        ("home", "CRYPT-LUKS2-c6fe878388134d87a9129f4f130f3938-home"),
        ("home-hotzone-backward", "CRYPT-SUBDEV-c6fe878388134d87a9129f4f130f3938-home-hotzone-backward"),
        ("home-overlay", "CRYPT-SUBDEV-c6fe878388134d87a9129f4f130f3938-home-overlay"),
    ],
    "forward": [
        ("home", "CRYPT-LUKS2-e954527847ea4dca9846309253398a16-home"),
        ("home-hotzone-forward", "CRYPT-SUBDEV-e954527847ea4dca9846309253398a16-home-hotzone-forward"),
        ("home-overlay", "CRYPT-SUBDEV-e954527847ea4dca9846309253398a16-home-overlay"),
    ],
}


@pytest.mark.parametrize("direction", DURING)
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_the_open_volume_is_told_from_the_helpers_of_a_reencryption(direction: str, order: tuple[int, ...]) -> None:
    holders = [Holder(f"dm-{number}", *DURING[direction][number]) for number in order]
    digits = DURING[direction][0][1].split("-")[2]
    uuid = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    assert open_form(holders, uuid) == "home"
    assert open_form(holders, LUKS) is None
