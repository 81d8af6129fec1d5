# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""After a reboot: the keys, as gpg itself tells them, and messages between hosts."""

from __future__ import annotations

from testinfra.host import Host

GPG = "gpg --homedir /etc/host-keyring --batch"


def test_the_key_has_what_was_asked_for(host: Host) -> None:
    listing = host.check_output(f"{GPG} --with-colons --list-secret-keys")
    assert [line.split(":")[11].lower() for line in listing.splitlines() if line.startswith("ssb")] == ["e"]
    assert "<root@" in listing
    host.run("gpgconf --homedir /etc/host-keyring --kill all")


def test_the_keys_of_the_others_are_valid(host: Host) -> None:
    listing = host.check_output(f"{GPG} --with-colons --list-keys")
    host.run("gpgconf --homedir /etc/host-keyring --kill all")
    validity = [line.split(":")[1] for line in listing.splitlines() if line.startswith("pub")]
    assert validity and set(validity) <= {"u", "f"}, listing


def test_the_files_are_those_of_the_key(host: Host) -> None:
    assert [host.file(path).mode for path in ("/etc/host.asc", "/etc/host.rev")] == [0o644, 0o600]
    assert host.file("/etc/host.rev").content_string.startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----")


def test_the_service_s_keyring_is_its_own(host: Host) -> None:
    folder = host.file("/var/tmp/games-keyring")
    assert (folder.user, folder.mode) == ("games", 0o700)
    assert host.run("find /var/tmp/games-keyring ! -user games").stdout == ""
    assert not host.file("/var/tmp/games-keyring/S.gpg-agent").exists
