# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""After a reboot: the daemon runs, the token has its label, and no slot but that in use is configured. Seen with pkcsconf."""

from __future__ import annotations

from testinfra.host import Host


def test_the_daemon_runs(host: Host) -> None:
    service = host.service("pkcsslotd")
    assert service.is_enabled and service.is_running


def test_one_slot_with_the_token(host: Host) -> None:
    told = host.check_output("pkcsconf -t")
    assert told.count("Token #") == 1 and "Label: Server" in told
    assert "SO_PIN_TO_BE_CHANGED" not in told and "USER_PIN_TO_BE_CHANGED" not in told and "USER_PIN_INITIALIZED" in told


def test_p11_kit_knows_the_library(host: Host) -> None:
    module = host.file("/etc/pkcs11/modules/opencryptoki.module").content_string.splitlines()[-1]
    assert host.file(module.partition(": ")[2]).exists
