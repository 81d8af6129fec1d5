# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is noted of a key for the time of a boot."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys import files


def test_the_texts_of_a_key_are_noted_by_its_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "memory_folder", lambda: str(tmp_path))
    for text in (b"first", b"second"):
        assert not files.is_remembered(7, text)
        files.remember(7, text)
    assert files.is_remembered(7, b"first") and files.is_remembered(7, b"second")
    assert not files.is_remembered(8, b"first") and not files.is_remembered(7, b"third")
    (notes,) = tmp_path.iterdir()
    assert notes.stat().st_mode & 0o777 == 0o600 and "first" not in notes.read_text()


def test_a_note_of_somebody_else_counts_for_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "memory_folder", lambda: str(tmp_path))
    other = os.geteuid() + 1
    monkeypatch.setattr(os, "geteuid", lambda: other)
    files.remember(7, b"text")
    assert not files.is_remembered(7, b"text"), "the file belongs to the true user, who is another one"
