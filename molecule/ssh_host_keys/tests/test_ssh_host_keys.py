# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""After a reboot: the keys are good, their files are as they should be, and the server presents them. Read with OpenSSH's own tools."""

from __future__ import annotations

import json

import pytest
from testinfra.host import Host

TYPES = {"ed25519": ("ssh-ed25519", 256), "ecdsa": ("ecdsa-sha2-nistp256", 256), "rsa": ("ssh-rsa", 3072)}


@pytest.fixture(params=TYPES)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def path(kind: str) -> str:
    return f"/etc/ssh/ssh_host_{kind}_key"


def test_the_files_are_as_sshd_wants_them(host: Host, kind: str) -> None:
    private, public = host.file(path(kind)), host.file(f"{path(kind)}.pub")
    assert (private.user, private.group, private.mode) == ("root", "root", 0o600)
    assert (public.user, public.group, public.mode) == ("root", "root", 0o644)


def test_type_and_size(host: Host, kind: str) -> None:
    bits, fingerprint = host.check_output("ssh-keygen -l -f %s", path(kind)).split()[:2]
    assert int(bits) >= TYPES[kind][1]
    assert fingerprint.startswith("SHA256:")


def test_the_public_part_matches_the_private_one(host: Host, kind: str) -> None:
    derived = host.check_output("ssh-keygen -y -f %s", path(kind)).split()[:2]
    assert host.file(f"{path(kind)}.pub").content_string.split()[:2] == derived


def test_the_server_presents_the_key_on_disk(host: Host, kind: str) -> None:
    # The comment lines go to standard output from OpenSSH 9.8 on.
    presented = host.check_output("ssh-keyscan -t %s 127.0.0.1 2>/dev/null | grep -v '^#'", kind).split()[1:3]
    assert presented == host.file(f"{path(kind)}.pub").content_string.split()[:2]
    assert presented[0] == TYPES[kind][0]


def test_the_key_is_younger_than_the_machine(host: Host, kind: str) -> None:
    """The image's keys are gone: they were made before any machine came of it, and are the same in all of them."""
    if host.run("systemd-detect-virt --container --quiet").rc == 0:
        pytest.skip("a container, whose machine-id is made by its engine")
    assert host.file(path(kind)).mtime >= host.file("/etc/machine-id").mtime


def test_the_record_holds_no_identity_in_clear(host: Host) -> None:
    record = host.file("/var/lib/rootoftrust/ssh_host_keys.json")
    assert (record.user, record.mode) == ("root", 0o600)
    assert json.loads(record.content_string)
    assert host.file("/etc/machine-id").content_string.strip() not in record.content_string


def test_nothing_is_left_of_the_making(host: Host) -> None:
    names = set(host.check_output("ls -A /etc/ssh").split())
    assert not [name for name in names if name.startswith(".")]
