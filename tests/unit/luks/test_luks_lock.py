# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All that writes to a LUKS header, or makes one, has the same lock."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rootoftrust.linux.plugins.module_utils.core import lock as core_lock
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.containers import Containers
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.encryption import Encryptions
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.lock import HeaderLocks
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.mappings import Mappings
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import Device
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_containers import WIPE, Container, WantedContainer
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_mappings import OPEN_IT, MappedVolume, WantedMapping

RUNNER: Any = None


def encrypt(path: str, header: str | None) -> None:
    Encryptions(RUNNER, "/backups")._lock(path, header)


def wipe(path: str, header: str | None) -> None:
    container = Container(WantedContainer(path, header, "present", "luks2"), Device(path, 1, False, False, None, None))
    Containers(RUNNER).apply(Step(path, WIPE, "", {}, {}, container))


def open_it(path: str, header: str | None) -> None:
    device = Device(path, 1, False, False, None, None)
    mappings: Any = Mappings(RUNNER, False)
    mappings._locks = HeaderLocks(patience=0.0)
    wanted = WantedMapping("home", path, header, "open")
    mappings.apply(Step("home", OPEN_IT, "", {}, {}, MappedVolume(wanted, device, secret=Secret(b"x"))))


@pytest.mark.parametrize(("work", "detached"), [(encrypt, False), (encrypt, True), (wipe, False), (open_it, False), (open_it, True)])
def test_what_writes_to_a_header_has_it_to_itself(work: Any, detached: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core_lock, "memory_folder", lambda: str(tmp_path))
    volume, header = tmp_path / "volume", tmp_path / "header"
    for path in (volume, header):
        path.touch()
    HeaderLocks().hold_header(str(header if detached else volume))
    with pytest.raises(RootOfTrustError, match=f"Another run is at work on the LUKS header of {header if detached else volume}"):
        work(str(volume), str(header) if detached else None)
