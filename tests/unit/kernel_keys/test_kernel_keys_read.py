# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is known of keys whose type the kernel lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.lock import Locks
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys import keys as reading
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys import plan_keys as plan
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.keyctl import KeyctlError
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.keyrings import Keyrings
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.model import Place
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.modprobe import Modprobe
from tests.unit.kernel_keys.key_world import params


class Bare:
    """A kernel that has neither trusted keys nor any key; it is its own table of keys."""

    def __init__(self) -> None:
        self.procfs = self.keyctl = self

    def find(self, path: str) -> Place:
        return Place(path, 1)

    def key_in(self, keyring: int, kind: str, description: str) -> None:
        return None

    def has_type(self, kind: str) -> bool:
        return False

    def loadable(self, kind: str) -> str:
        return ""

    def why_lacking(self, kind: str) -> str:
        return "this kernel has none."

    def keys(self) -> dict[int, Any]:
        return {}

    def request(self, kind: str, description: str) -> int:
        raise KeyctlError(126, "Required key not available")


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> reading.Keys:
    monkeypatch.setattr(reading.Keys, "_rings", cast(Keyrings, Bare()))
    monkeypatch.setattr(reading, "Locks", lambda: Locks(str(tmp_path)))
    return reading.Keys(cast(Modprobe, None))


@pytest.mark.parametrize(("kind", "more"), [("trusted", {}), ("encrypted", {"master": "trusted:kmk"})])
def test_files_of_a_key_of_such_a_type_are_removed_too(tmp_path: Path, keys: reading.Keys, kind: str, more: dict[str, str]) -> None:
    blob = tmp_path / "blob"
    blob.write_bytes(b"00")
    gone = params("k", type=kind, blob=str(blob), state="absent", **more)
    found = keys.read([gone])
    assert plan.plan_keys(found) == []
    assert f"{blob} still there" in plan.report_keys(found, [])["warnings"][0]
    (step,) = plan.plan_keys(keys.read([{**gone, "remove_files": True}]))
    assert step.action == plan.REMOVE_FILES
    keys.apply(step)
    assert not blob.exists()
