# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

from typing import Any

import pytest

from lab.errors import LabError
from lab.spec import MachineSpec, parse_size


@pytest.mark.parametrize(("text", "size"), [("512M", 512 * 2**20), ("2G", 2 * 2**30), ("1M", 2**20)])
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "512", "0M", "1.5G", "512m", "-1G", "1T", "512M ", "M"])
def test_what_is_not_a_size_is_refused(text: str) -> None:
    with pytest.raises(LabError, match="not a whole number with M or G"):
        parse_size(text)


@pytest.mark.parametrize("name", ["a", "m1", "rot-uml-13", "a" * 30])
def test_names(name: str) -> None:
    assert MachineSpec(name).name == name


@pytest.mark.parametrize("name", ["", "1a", "-a", "a-", "A", "a_b", "a.b", "a/b", "..", "a" * 31, "a\n", "ä"])
def test_what_cannot_be_a_name_is_refused(name: str) -> None:
    with pytest.raises(LabError, match="not usable"):
        MachineSpec(name)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"engine": "xen"}, "no engine 'xen'"),
        ({"memory": "64M"}, "too little to boot"),
        ({"memory": "lots"}, "not a whole number"),
        ({"disks": ("64M", "big")}, "'big': not a whole number"),
        ({"tpm": "3.0"}, "no TPM '3.0'"),
        ({"cpus": 3}, "3 CPUs"),
        ({"disk_from": "m"}, "its own clone"),
        ({"resume": "clean"}, "add disk_from"),
    ],
)
def test_what_no_machine_can_be_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(LabError, match=said):
        MachineSpec("m", **options)


@pytest.mark.parametrize(
    ("options", "capabilities"),
    [
        ({}, set()),
        ({"tpm": "1.2"}, {"tpm"}),
        ({"rng": False}, {"no-rng"}),
        ({"cpus": 1}, set()),
        ({"cpus": 2}, {"smp"}),
        ({"disk_from": "other"}, set()),
        ({"disk_from": "other", "resume": "clean"}, {"snapshot"}),
        ({"needs": ("own-kernel",), "tpm": "2.0"}, {"own-kernel", "tpm"}),
    ],
)
def test_what_an_engine_must_have(options: dict[str, Any], capabilities: set[str]) -> None:
    assert MachineSpec("m", **options).capabilities() == capabilities
