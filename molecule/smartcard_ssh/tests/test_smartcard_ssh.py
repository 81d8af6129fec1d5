# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""After a reboot: the readers' daemon waits, ssh takes keys from cards for the hosts named, and passwords are on as no card was seen."""

from __future__ import annotations

from testinfra.host import Host


def test_the_readers_daemon_waits(host: Host) -> None:
    assert host.service("pcscd.socket").is_enabled and host.service("pcscd.socket").is_running


def test_ssh_takes_keys_from_cards_for_the_hosts_named_alone(host: Host) -> None:
    provider = {name: host.check_output("ssh -G %s", name) for name in ("a.example.org", "a.example.com")}
    assert "opensc-pkcs11.so" in provider["a.example.org"] and "opensc-pkcs11.so" not in provider["a.example.com"]


def test_its_owner_is_let_in_and_passwords_stay_on(host: Host) -> None:
    home = host.user("games").home
    assert host.file(f"{home}/.ssh/authorized_keys").content_string.startswith("restrict,pty ssh-ed25519 ")
    assert not host.file("/etc/ssh/sshd_config.d/40-rootoftrust-smartcard.conf").exists


def test_the_agent_is_started_for_users(host: Host) -> None:
    unit = host.file("/etc/systemd/user/default.target.wants/rootoftrust-ssh-agent.service")
    assert unit.exists and "opensc-pkcs11.so" in host.file(unit.linked_to).content_string
