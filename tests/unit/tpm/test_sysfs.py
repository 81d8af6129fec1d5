# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which TPM there is, and who has it open, on trees of files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.model import Holder
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.overview import overview
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.primary_keys import PrimaryKeys
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.proc import holders
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.sysfs import Sysfs
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.tpm2 import opened_device

PARAMS = {"owner_auth": None, "owner_auth_encoding": "text"}
ASKED = [{"handle": "0x81000001", "state": "present", "algorithm": None, "da_protection": False}]


def tree(root: Path, **files: str) -> str:
    """A host whose TPM has these attributes and devices."""
    (root / "proc").mkdir(exist_ok=True)
    for name, text in files.items():
        path = root / ("dev" if name.startswith(("tpm0", "tpmrm")) else "sys/class/tpm/tpm0") / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(root)


def test_no_tpm(tmp_path: Path) -> None:
    root = tree(tmp_path)
    told = overview(root)
    assert (told["present"], told["version"], told["persistent"]) == (False, "", [])
    with pytest.raises(RootOfTrustError, match="This host has no TPM"):
        PrimaryKeys(PARAMS, root).read(ASKED)


def test_a_tpm12_is_told_by_its_attributes_and_has_no_such_keys(tmp_path: Path) -> None:
    caps = "Manufacturer: 0x49465800\nTCG version: 1.2\nFirmware version: 6.43\n"
    root = tree(tmp_path, tpm0="", caps=caps, pcrs="PCR-00: AB CD\n", enabled="1", active="1", owned="0", temp_deactivated="0")
    told = overview(root)
    assert (told["version"], told["manufacturer"], told["firmware"], told["banks"]) == ("1.2", "IFX", "6.43", {"sha1": {"0": "abcd"}})
    assert told["states"] == {"enabled": True, "active": True, "owned": False, "temp_deactivated": False}
    assert told["authorisations"]["owner"] is False
    with pytest.raises(RootOfTrustError, match=r"version 1\.2, which has no such keys"):
        PrimaryKeys(PARAMS, root).read(ASKED)


@pytest.mark.parametrize(("files", "device"), [({"tpm0": "", "tpmrm0": ""}, "/dev/tpmrm0"), ({"tpm0": ""}, "/dev/tpm0"), ({}, None)])
def test_the_device_of_the_resource_manager_is_preferred(tmp_path: Path, files: dict[str, str], device: str | None) -> None:
    chip = Sysfs(tree(tmp_path, tpm_version_major="2\n", **files)).chip()
    assert chip is not None and (chip.version, chip.device) == ("2.0", device)


def test_a_container_without_the_device_says_so(tmp_path: Path) -> None:
    root = tree(tmp_path, tpm_version_major="2\n")
    for look in (lambda: overview(root), lambda: PrimaryKeys(PARAMS, root).read(ASKED)):
        with pytest.raises(RootOfTrustError, match="neither /dev/tpmrm0 nor /dev/tpm0"):
            look()


def test_holders_are_found_by_what_they_have_open(tmp_path: Path) -> None:
    for pid, name, target in ((12, "tpm2-abrmd", "/dev/tpm0"), (7, "reader", "/dev/tpmrm0"), (8, "other", "/dev/null")):
        (tmp_path / f"proc/{pid}/fd").mkdir(parents=True)
        (tmp_path / f"proc/{pid}/comm").write_text(f"{name}\n")
        (tmp_path / f"proc/{pid}/fd/3").symlink_to(target)
    (tmp_path / "proc/sys").mkdir()
    (tmp_path / f"proc/{os.getpid()}").mkdir()
    assert holders(str(tmp_path)) == [Holder(7, "reader", "/dev/tpmrm0"), Holder(12, "tpm2-abrmd", "/dev/tpm0")]


def test_a_device_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(RootOfTrustError, match="cannot be opened: No such file"), opened_device(str(tmp_path / "tpmrm0")):
        pass
    with pytest.raises(RootOfTrustError, match="does not answer: No space left"), opened_device("/dev/full") as exchange:
        exchange(b"x")


def test_an_owner_authorisation_too_long_for_any_tpm_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RootOfTrustError, match="longer than the 64 bytes"):
        PrimaryKeys({**PARAMS, "owner_auth": "x" * 65}, str(tmp_path)).read(ASKED)
