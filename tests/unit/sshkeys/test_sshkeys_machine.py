# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which machine this is, and the record of it, read from files of the test."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.key_pair import leftovers
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.key_record import KeyRecord
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.machine_identity import MachineIdentity
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.model import Identity
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.ssh_keyscan import own_address
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.statx import birth_time

ID = "0123456789abcdef0123456789abcdef"
UUID = "4c4c4544-0042-3510-8056-b4c04f4d5931"
Machine = Callable[..., Identity]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    def read(**files: str) -> Identity:
        for name, content in files.items():
            (tmp_path / name).write_text(content.replace("HERE", str(tmp_path)))
        return MachineIdentity(
            machine_id=str(tmp_path / "machine_id"),
            product_uuid=str(tmp_path / "product_uuid"),
            serial_number=str(tmp_path / "serial_number"),
            mounts=str(tmp_path / "mounts"),
            container_marks=(str(tmp_path / "container"),),
            init_environment=str(tmp_path / "environ"),
        ).read()

    return read


def test_identities_are_digests(machine: Machine) -> None:
    found = machine(machine_id=ID + "\n", product_uuid=UUID + "\n")
    assert found.machine is not None
    assert found.hardware is not None
    assert len({found.machine, found.hardware}) == 2
    assert ID not in str(found)
    assert UUID not in str(found)
    again = machine(machine_id=ID.upper(), product_uuid=UUID.upper())
    assert (again.machine, again.hardware) == (found.machine, found.hardware)
    assert machine(machine_id="f" * 32).machine != found.machine


@pytest.mark.parametrize("text", ["", "uninitialized\n", "\n", ID[:-1], ID + "0", "g" * 32])
def test_a_machine_id_that_is_none(machine: Machine, text: str) -> None:
    found = machine(machine_id=text)
    assert (found.machine, found.since) == (None, None)
    assert found.unknown.endswith(".")
    assert machine().machine is None


def test_a_machine_id_that_is_mounted_over(machine: Machine) -> None:
    line = "36 35 0:25 /machine-id HERE/machine_id rw,nosuid - tmpfs tmpfs rw\n"
    assert machine(machine_id=ID, mounts=line).machine is None
    assert machine(machine_id=ID, mounts=line.replace("machine_id", "machine_id2")).machine is not None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Not Settable",
        "00000000-0000-0000-0000-000000000000",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "03000200-0400-0500-0006-000700080009",
        "To be filled by O.E.M.",
        "None",
    ],
)
def test_firmware_that_tells_what_all_tell(machine: Machine, text: str) -> None:
    assert machine(machine_id=ID, product_uuid=text).hardware is None
    assert machine(machine_id=ID, product_uuid=text, serial_number="10000000abcdef01\0").hardware is not None


def test_a_container_does_not_count_its_host_s_hardware(machine: Machine) -> None:
    assert machine(product_uuid=UUID, environ="A=1\0B=2\0").hardware is not None
    assert machine(environ="A=1\0container=lxc\0").hardware is None
    assert machine(environ="", container="docker").hardware is None


def test_the_record(tmp_path: Path) -> None:
    path = tmp_path / "lib/record.json"
    record = KeyRecord(str(path))
    assert (record.read().keys, record.read().fault, record.read().writable) == ({}, "", True)
    record.note("SHA256:a", "/a", Identity("m", None), "made")
    record.note("SHA256:b", "/b", Identity("m", "h"), "adopted")
    assert {name: (note.machine, note.hardware, note.how) for name, note in record.read().keys.items()} == {
        "SHA256:a": ("m", None, "made"),
        "SHA256:b": ("m", "h", "adopted"),
    }
    assert path.stat().st_mode & 0o777 == 0o600
    assert json.loads(path.read_text())["version"] == 1


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"keys": []}', '{"keys": {"a": 1}}', '{"keys": {"a": {}}}', "\0", '{"keys": {"a": {"machine": 1}}}']
)
def test_a_record_that_is_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "record.json"
    path.write_text(content)
    found = KeyRecord(str(path)).read()
    assert found.keys == {}
    assert "cannot be used" in found.fault


def test_the_birth_of_a_file_is_not_its_time(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("x")
    os.utime(path, (1000, 1000))
    born = birth_time(str(path))
    if born is None:
        pytest.skip("this file system does not tell the birth of a file")
    assert born > 1e9
    assert birth_time(str(tmp_path / "none")) is None


def test_only_what_a_run_leaves_is_taken_for_that(tmp_path: Path) -> None:
    ours = [".key.rootoftrust-0123abcd", ".key.rootoftrust-0123abcd.pub", ".key.rootoftrust-0123abcd-old", ".key.pub.ab_12345"]
    others = ["key", "key.pub", "key.20260101T000000Z~", ".key.swp", ".key2.rootoftrust-1", ".key.pub.swp", "x.key.rootoftrust-1"]
    for name in ours + others:
        (tmp_path / name).touch()
    assert leftovers(str(tmp_path / "key")) == sorted(str(tmp_path / name) for name in ours)
    assert leftovers(str(tmp_path / "none/key")) == []


@pytest.mark.parametrize(
    ("listens", "own"),
    [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("192.0.2.1", "192.0.2.1"), ("fe80::1%eth0", "fe80::1%eth0"), ("host", "host")],
)
def test_where_a_server_is_reached_from_its_own_host(listens: str, own: str) -> None:
    assert own_address(listens) == own
