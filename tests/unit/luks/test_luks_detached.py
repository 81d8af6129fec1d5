# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encryptions whose header is in a file: what ties it to its device, whose name may be another disk's at the next boot."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import containers, devices, encryption
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import plan_encryption as plan
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.devices import lasting_name
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
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_containers import WantedContainer, plan_containers
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_encryption import Job, Note, Situation, Wish

MIB = 1024 * 1024
SIZE = 1024 * MIB
FS, LUKS = "0f0e0d0c-0b0a-4908-8706-050403020100", "11111111-2222-4333-8444-555555555555"
XFS = Signature("xfs", "filesystem", FS, "", "")
LINEAR, FINAL = Segment(0, "linear", 0, None), Segment(1, "crypt", 0, None, flags=("backup-final",))
HEADER = Header(
    "luks2", LUKS, "", "", 3, "aes-xts-plain64", 512, 512, 0, (Keyslot(0, "luks2", "normal", 512),), (), (LINEAR, FINAL),
    work=Work("encrypt", "forward", "checksum"),
)  # fmt: skip
MOUNT = Mount("/dev/sdb1", "/home", "xfs", ())
MAPPED = (Holder("dm-0", "home", f"CRYPT-LUKS2-{LUKS.replace('-', '')}-home"),)
WISH = Wish("/dev/sdb1", header="/h", name="home", secret=Secret(b"x"), room="header")
PROVEN = Note("home", "/dev/sdb1", SIZE, plan.PROVEN, "xfs", FS, "/h", LUKS)


def disk(header: Header | None = HEADER, **changes: Any) -> Device:
    return replace(Device("/dev/sdb1", SIZE, True, False, header, XFS), **changes)


def ended(**changes: Any) -> Header:
    return replace(HEADER, work=None, segments=(Segment(0, "crypt", 0, None),), **changes)


def situation(device: Device | None = None, **changes: Any) -> Situation:
    return replace(Situation(device or disk(), "/h", note=PROVEN, keyslot=0, version=(2, 7, 5)), **changes)


def actions(found: Situation, **asked: Any) -> list[str]:
    return [step.action for step in plan.plan_encryption(found, replace(WISH, **asked))]


def refused(found: Situation, **asked: Any) -> str:
    with pytest.raises(RootOfTrustError) as error:
        plan.plan_encryption(found, replace(WISH, **asked))
    assert error.value.remedy
    return str(error.value)


# --- names -------------------------------------------------------------------------------------------------------------


def test_a_device_has_a_name_that_outlives_a_boot(tmp_path: Path) -> None:
    links = tmp_path / "links"
    for folder, names in {"by-uuid": ["1"], "by-diskseq": ["2"], "by-path": ["pci"], "by-partuuid": ["3"], "by-id": ["ata", "wwn"]}.items():
        (links / folder).mkdir(parents=True)
        for name in names:
            (links / folder / name).symlink_to(tmp_path / "sdb1")
    (links / "by-id/another").symlink_to(tmp_path / "sdc1")
    (tmp_path / "sdb1").touch()
    path = str(tmp_path / "sdb1")
    for left, expected in (("by-id", "by-id/ata"), ("by-partuuid", "by-partuuid/3"), ("by-path", "by-path/pci")):
        assert lasting_name(path, str(links)) == str(links / expected)
        for link in (links / left).iterdir():
            link.unlink()
    assert lasting_name(path, str(links)) == path
    (tmp_path / "vg-home").symlink_to(path)
    assert lasting_name(str(tmp_path / "vg-home"), str(links)) == str(tmp_path / "vg-home")


def test_it_is_noted_and_a_link_by_what_is_on_the_device_is_refused() -> None:
    plain = situation(disk(None), note=None, filesystem=plan.FileSystem("xfs", FS, SIZE), lasting="/dev/disk/by-id/x")
    for found in (plain, situation(note=None, lasting="/dev/disk/by-id/x")):
        (note, *_rest) = plan.plan_encryption(found, WISH)
        assert (note.action, note.detail.note.device) == (plan.NOTE, "/dev/disk/by-id/x")
    said = refused(plain, device=f"/dev/disk/by-uuid/{FS}")
    assert said.startswith(f"/dev/disk/by-uuid/{FS} names /dev/sdb1 by what is to go.")


# --- another device ----------------------------------------------------------------------------------------------------


def test_the_work_does_not_go_on_over_a_device_of_another_size() -> None:
    assert actions(situation()) == [plan.OPEN, plan.RUN]
    other = situation(disk(size=SIZE + 1))
    assert refused(other) == (
        "/dev/sdb1 has 1073741825 bytes; that whose encryption goes on with the header /h had 1073741824."
        " Give the device that was called /dev/sdb1, as large as it was."
    )
    assert actions(replace(other, background=plan.Background("u", True, True), device=disk(size=SIZE + 1, holders=MAPPED))) == []


@pytest.mark.parametrize("signature", [None, XFS])
def test_a_device_whose_header_is_gone_is_not_begun_anew(signature: Signature | None) -> None:
    inside = plan.FileSystem("xfs", FS, SIZE)
    found = situation(disk(None, signature=signature), filesystem=inside)
    assert refused(found).startswith("/dev/sdb1 is encrypted with the header /h, which is not there. Put it back")
    assert plan.INITIALISE in actions(situation(disk(None), filesystem=inside, note=None))


def test_a_device_that_shows_something_is_not_what_a_finished_header_is_of() -> None:
    found = situation(disk(ended()), note=None)
    assert actions(found) == []
    assert plan.report_encryptions([(found, WISH)], ())["warnings"] == [
        f"/dev/sdb1 has xfs with UUID {FS}, though /h is its LUKS header: it is not encrypted, or not all of it, or is another device."
    ]
    opened = replace(found, device=disk(ended(), holders=MAPPED))
    for steps in (replace(opened, note=PROVEN), opened):
        assert refused(steps, volume_key="2027").startswith(f"/dev/sdb1 has xfs with UUID {FS}, though /h is its LUKS header")
    right = replace(opened, device=disk(ended(), holders=MAPPED, signature=None))
    assert plan.report_encryptions([(right, WISH)], ())["warnings"] == []
    assert plan.REKEY in actions(right, volume_key="2027")
    assert actions(replace(right, note=PROVEN)) == [plan.BACK_UP, plan.FORGET]
    plain = situation(disk(replace(ended(), segments=(Segment(0, "linear", 0, None),))), note=None)
    assert plan.report_encryptions([(plain, WISH)], ())["warnings"] == [], "it has been decrypted"


def test_a_closed_volume_gets_no_new_key_by_a_header_that_may_be_of_another() -> None:
    assert "is not open, so it is not known whether the header /h belongs to it" in refused(
        situation(disk(ended(), signature=None), note=None), volume_key="2027"
    )


@pytest.mark.parametrize(
    "segments",
    [
        (Segment(0, "crypt", 0, 4 * MIB, flags=("in-reencryption",)), Segment(1, "linear", 4 * MIB, None)),
        (Segment(0, "linear", 0, 4 * MIB, flags=("in-reencryption",)), Segment(1, "linear", 4 * MIB, None)),
        (Segment(0, "crypt", 0, 4 * MIB), Segment(1, "linear", 4 * MIB, None)),
    ],
)
@pytest.mark.parametrize("over", [False, True])
def test_what_is_encrypted_in_part_and_mounted_as_if_it_were_plain_is_left_to_a_person(segments: tuple[Segment, ...], over: bool) -> None:
    """Its first part is being worked on, so that a boot may still take it for the file system."""
    header = replace(HEADER, segments=(*segments, replace(FINAL, number=2)))
    found = situation(disk(header, mounts=(MOUNT,)), over=over)
    said = refused(found)
    assert said.startswith("/dev/sdb1 is mounted at /home as if it were plain, though a part of it is encrypted. Unmount /home,")
    assert actions(situation(disk(header)))[-1] == plan.RUN, "once it is unmounted"
    assert actions(situation(disk(mounts=(MOUNT,))))[:2] == [plan.UNMOUNT, plan.OPEN], "nothing is encrypted yet"


# --- runs --------------------------------------------------------------------------------------------------------------


class Programs:
    """What a run asks of the host; it tells what was started."""

    def __init__(self, device: Device, inside: Signature | None = XFS, notes: Sequence[Note] = ()) -> None:
        self.device, self.inside, self.notes = device, inside, list(notes)
        self.done: list[str] = []

    def look(self, _named: str, _header: str | None = None) -> Device:
        return self.device

    def signature(self, _path: str) -> Signature | None:
        return self.inside

    def all(self) -> list[Note]:
        return self.notes

    @staticmethod
    def path(named: str) -> str:
        return named

    def runs(self) -> bool:
        return False

    def settle(self) -> None:
        pass

    def open(self, _path: str, name: str, _secret: Secret, _options: Sequence[str]) -> None:
        self.done.append(f"open {name}")

    def close(self, name: str) -> None:
        self.done.append(f"close {name}")

    def resume_command(self, device: str, _secret: str, header: str | None) -> list[str]:
        return ["cryptsetup", f"--header={header}", device]

    def run(self, _name: str, text: str, _at_boot: bool) -> None:
        self.done.append(text)

    def start(self, units: Sequence[str]) -> None:
        self.done.append(f"start {' '.join(units)}")

    def unlocked_by(self, _path: str, _secret: Secret) -> int:
        return 0

    def reinitialise(self, _device: str, _secret: Secret, _options: Sequence[str]) -> None:
        self.done.append("reinitialise")


def run(programs: Programs, monkeypatch: pytest.MonkeyPatch) -> Any:
    runner: Any = None
    found: Any = encryption.Encryptions(runner, "/backups")
    for name in ("_devices", "_cryptsetup", "_systemd", "_notes"):
        setattr(found, name, programs)
    for name, fake in {"metadata": lambda _path: {}, "is_over": lambda _found: False, "atomic_write": lambda *_arguments: None}.items():
        monkeypatch.setattr(encryption, name, fake)
    monkeypatch.setattr(encryption, "lasting_name", lambda path: f"/dev/disk/by-id/{os.path.basename(path)}")
    monkeypatch.setattr(encryption, "os", SimpleNamespace(path=os.path, makedirs=lambda *_arguments, **_options: None))
    return found


def job(programs: Programs, action: str) -> Any:
    return plan.step(Job(WISH, situation(programs.device), PROVEN), action)


def test_the_unit_knows_its_device_by_the_name_that_outlives_a_boot(monkeypatch: pytest.MonkeyPatch) -> None:
    programs = Programs(disk(holders=MAPPED))
    run(programs, monkeypatch).apply(job(programs, plan.RUN))
    (text,) = programs.done
    assert '"/dev/disk/by-id/sdb1"' in text and "/dev/sdb1" not in text


@pytest.mark.parametrize("inside", [None, replace(XFS, uuid="12345678-0b0a-4908-8706-050403020100")])
def test_what_does_not_show_its_file_system_is_closed_again_and_not_gone_on_with(
    inside: Signature | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for action, expected in ((plan.OPEN, ["open home", "close home"]), (plan.RUN, [])):
        programs = Programs(disk(holders=MAPPED), inside)
        with pytest.raises(RootOfTrustError, match="is not the device that /h is the header of"):
            run(programs, monkeypatch).apply(job(programs, action))
        assert programs.done == expected


def test_a_new_volume_key_is_begun_only_where_something_is_seen_through_the_header(monkeypatch: pytest.MonkeyPatch) -> None:
    for inside, expected in ((XFS, ["reinitialise"]), (None, [])):
        programs = Programs(disk(ended(), holders=MAPPED, signature=None), inside)
        step = plan.step(Job(replace(WISH, volume_key="2027"), situation(programs.device, note=None), None), plan.REKEY)
        try:
            run(programs, monkeypatch).apply(step)
        except RootOfTrustError as error:
            assert "whether the header /h belongs to it" in str(error)
        assert programs.done == expected


def test_what_is_asked_for_without_its_header_is_told_to_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encryption.Encryptions, "_lock", lambda *_arguments: None)
    found = run(Programs(disk(None, signature=None), notes=[PROVEN]), monkeypatch)
    with pytest.raises(RootOfTrustError, match=r"The header of /dev/sdb1 is kept in /h\. Give header: /h\."):
        found.read([replace(WISH, header=None, room="auto")])
    with pytest.raises(RootOfTrustError, match="Give header: /h"):
        found.read([replace(WISH, header="/another")])


@pytest.mark.parametrize(
    ("now", "slot", "message"),
    [
        (ended(keyslots=(*HEADER.keyslots, Keyslot(1, "luks2", "normal", 512))), 0, "would lose the keyslots 1"),
        (ended(), None, "The secret given does not open /dev/sdb1"),
        (HEADER, 0, "is not as it was a moment ago"),
        (None, 0, "is not as it was a moment ago"),
    ],
)
def test_what_has_changed_since_the_plan_is_seen_before_a_new_volume_key_is_begun(
    now: Header | None, slot: int | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    then, programs = disk(ended(), holders=MAPPED, signature=None), Programs(disk(now, holders=MAPPED, signature=None))
    monkeypatch.setattr(programs, "unlocked_by", lambda _path, _secret: slot)
    step = plan.step(Job(replace(WISH, volume_key="2027"), situation(then, note=None), None), plan.REKEY)
    with pytest.raises(RootOfTrustError, match=message):
        run(programs, monkeypatch).apply(step)
    assert programs.done == []


UNPROVEN = replace(PROVEN, stage=plan.STASHED, luks_uuid="", header=None)


@pytest.mark.parametrize(
    ("note", "device", "known"),
    [
        (PROVEN, disk(None, signature=None), True),  # asked for without its header
        (PROVEN, disk(None), True),
        (PROVEN, disk(None, signature=None, size=SIZE + 1), False),
        (PROVEN, disk(None, signature=replace(XFS, uuid="1")), False),
        (PROVEN, disk(None, signature=None, path="/dev/sdc1"), False),
        (replace(PROVEN, mode=plan.DECRYPT), disk(None, signature=None), False),
        (replace(PROVEN, header=None), disk(None, signature=None), False),
        (UNPROVEN, disk(signature=None), True),
        (UNPROVEN, disk(signature=None, size=SIZE + 1), False),
        (UNPROVEN, disk(signature=None, path="/dev/sdc1"), False),
    ],
)
def test_which_note_is_about_a_device(note: Note, device: Device, known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run(Programs(device, notes=[note]), monkeypatch)
    assert found._note_of(device) == (note if known else None)


def test_the_note_of_a_header_that_is_proven_outlives_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain file system is mounted, and cannot be taken away."""
    programs = Programs(disk(None, mounts=(MOUNT,)))
    programs.notes = [replace(PROVEN, mount=MOUNT, units=("app.service",))]
    found = run(programs, monkeypatch)
    found._mounts = SimpleNamespace(unmount=lambda _target: programs.done.append("unmount"))
    monkeypatch.setattr(encryption, "stays_claimed", lambda _path: True)
    step = plan.step(Job(WISH, situation(disk(mounts=(MOUNT,))), programs.notes[0]), plan.UNMOUNT)
    with pytest.raises(RootOfTrustError, match="the kernel lets nobody else have it"):
        found.apply(step)
    assert programs.done == ["unmount", "start app.service"]


# --- other modules -----------------------------------------------------------------------------------------------------


def test_a_device_that_shows_nothing_while_it_is_encrypted_is_not_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = [PROVEN, replace(PROVEN, name="data", device="/dev/sdc1"), replace(PROVEN, name="away", mode=plan.DECRYPT, header=None)]
    monkeypatch.setattr(devices, "Notes", lambda: SimpleNamespace(all=lambda: notes))
    runner: Any = None
    found: Any = containers.Containers(runner)
    found._devices = SimpleNamespace(look=lambda _named, _header: disk(None, signature=None, claims=devices.claims("/dev/sdb1")))
    found._wipefs = SimpleNamespace(traces=lambda _path: [])
    monkeypatch.setattr(containers, "claimed", lambda _path: False)
    monkeypatch.setattr(containers, "stays_claimed", lambda _path: False)
    wanted = WantedContainer("/dev/sdb1", None, "present", "luks2")
    container = found._look(wanted)
    assert container.device.claims == ("being decrypted as away", "being encrypted as home, with header: /h")
    with pytest.raises(RootOfTrustError, match="/dev/sdb1 is being decrypted as away"):
        plan_containers([container])
    notes.pop()
    with pytest.raises(RootOfTrustError, match=r"/dev/sdb1 is being encrypted as home, with header: /h\. Run luks_encryption"):
        plan_containers([found._look(wanted)])
