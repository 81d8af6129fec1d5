# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A library that goes wrong takes nothing with it, and is told by what it did."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.cryptoki import (
    CLASS_PUBLIC,
    KEY_TYPE,
    Cryptoki,
    CryptokiError,
    Library,
)
from tests.unit.pkcs11.made_library import make


def used(path: Path, timeout: float = 30) -> RootOfTrustError:
    with pytest.raises(RootOfTrustError) as caught:
        Library(str(path), timeout).use(lambda cryptoki: cryptoki.info())
    return caught.value


def test_one_that_crashes(tmp_path: Path) -> None:
    message = used(make(tmp_path / "bad.so", "crashes")).message
    assert "crashed while it was loaded (SIG" in message


def test_one_that_hangs(tmp_path: Path) -> None:
    assert "did not come back while it was loaded within 0.5 s" in used(make(tmp_path / "slow.so", "hangs"), 0.5).message


def test_one_that_ends_the_process(tmp_path: Path) -> None:
    assert "ended its process while it was loaded" in used(make(tmp_path / "quits.so", "exits")).message


def test_one_that_fails(tmp_path: Path) -> None:
    error = used(make(tmp_path / "fails.so", "fails"))
    assert isinstance(error, CryptokiError) and error.name == "CKR_GENERAL_ERROR"
    assert error.facts == {"function": "C_GetFunctionList", "return_value": "CKR_GENERAL_ERROR"}


def test_what_is_no_library(tmp_path: Path) -> None:
    text = tmp_path / "text.so"
    text.write_text("no library")
    assert "is no usable PKCS#11 library" in used(text).message
    assert "There is no library" in used(tmp_path / "nothing.so").message


def test_no_process_and_no_descriptor_is_left(tmp_path: Path) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    for what in ("crashes", "hangs", "exits", "fails"):
        used(make(tmp_path / f"{what}.so", what), 0.5)
    assert sorted(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


class OneKey(Cryptoki):
    """A library with one public key, on a curve."""

    def __init__(self) -> None: ...

    def _find(self, _session: int, template: Any) -> list[int]:
        return [7] if template[0][1] == CLASS_PUBLIC else []

    def _attribute(self, _session: int, _handle: int, number: int) -> bytes:
        return (3).to_bytes(8, sys.byteorder) if number == KEY_TYPE else b""


@pytest.mark.parametrize("order", ["little", "big"])
def test_the_kind_of_a_key_is_a_number_of_the_machine_s_own(monkeypatch: pytest.MonkeyPatch, order: str) -> None:
    monkeypatch.setattr(sys, "byteorder", order)
    (key,) = OneKey().keys(1)
    assert key["type"] == 3
