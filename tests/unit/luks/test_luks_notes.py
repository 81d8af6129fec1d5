# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The notes of encryptions that are going on, and what a cut leaves of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.rootoftrust.linux.plugins.module_utils.core import files
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.notes import Notes
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_encryption import Note


def note(name: str) -> Note:
    return Note(name, "/dev/vda", 1 << 30, "begun", "ext4", "11111111-2222-4333-8444-555555555555")


class Cut(BaseException):
    """The power fails: nothing of what comes after is done."""


def cut_while_writing(notes: Notes, one: Note, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_arguments: object) -> None:
        raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "rename", fails)
        patched.setattr(files.os, "unlink", fails)  # nobody cleans up either
        with pytest.raises(Cut):
            notes.write(one)


def test_what_a_cut_left_of_a_note_goes_with_it_and_that_of_others_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notes = Notes(str(tmp_path / "notes"))
    for name in ("home", "home.2"):
        cut_while_writing(notes, note(name), monkeypatch)
        notes.write(note(name))
    assert len(os.listdir(notes.folder)) == 4
    assert [one.name for one in notes.all()] == ["home.2", "home"]
    notes.remove(note("home"))
    assert [one.name for one in notes.all()] == ["home.2"]
    assert all("home.2" in name for name in os.listdir(notes.folder)) and len(os.listdir(notes.folder)) == 2
    notes.remove(note("home.2"))
    assert os.listdir(notes.folder) == []
