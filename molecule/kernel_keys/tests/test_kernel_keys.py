# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""After a reboot: the keys are there, loaded by the unit and not by Ansible, and are those of their blobs. Read with keyctl."""

from __future__ import annotations

import pytest
from testinfra.host import Host

UNIT = "rootoftrust-kernel-keys.service"


@pytest.fixture(autouse=True)
def machine(host: Host) -> None:
    if host.run("systemd-detect-virt --container --quiet").rc == 0:
        pytest.skip("a container, whose keyrings are its host's")


@pytest.fixture
def encrypted(host: Host) -> None:
    if not host.file("/etc/keys/evm-user.blob").exists:
        pytest.skip("a kernel without encrypted keys")


def number(host: Host, kind: str, name: str) -> str:
    return str(host.check_output("keyctl search @u %s %s", kind, name))


def test_the_unit_has_loaded_them_at_boot(host: Host) -> None:
    assert host.service(UNIT).is_enabled
    assert [host.check_output("systemctl show -P %s %s", field, UNIT) for field in ("Result", "ActiveState")] == ["success", "active"]
    started, ready = (
        int(host.check_output("systemctl show -P %s %s", field, unit))
        for field, unit in (("ExecMainExitTimestampMonotonic", UNIT), ("ActiveEnterTimestampMonotonic", "sysinit.target"))
    )
    assert 0 < started <= ready, "before the services of the system"


@pytest.mark.parametrize(("name", "file"), [("kmk-user", "/etc/keys/kmk-user.blob"), ("app-secret", "/etc/keys/app secret.key")])
def test_a_user_key_is_that_of_its_file(host: Host, name: str, file: str) -> None:
    kept = host.check_output("sha256sum < %s", file)
    assert host.check_output("keyctl pipe %s | sha256sum", number(host, "user", name)) == kept
    assert host.file(file).mode == 0o400


@pytest.mark.usefixtures("encrypted")
@pytest.mark.parametrize(("name", "blob"), [("evm-key", "evm-user"), ("app", "app")])
def test_the_keys_are_those_of_their_blobs(host: Host, name: str, blob: str) -> None:
    kept = host.file(f"/etc/keys/{blob}.blob")
    assert kept.mode == 0o400
    assert host.check_output("keyctl pipe %s", number(host, "encrypted", name)) == kept.content_string


@pytest.mark.usefixtures("encrypted")
def test_the_key_with_permissions_of_its_own_is_in_its_keyring(host: Host) -> None:
    assert host.check_output("keyctl rdescribe %s", number(host, "encrypted", "app")) == "encrypted;0;0;3f0b0000;app"
    ring = number(host, "keyring", "app")
    assert number(host, "encrypted", "app") in host.check_output("keyctl rlist %s", ring).split()
