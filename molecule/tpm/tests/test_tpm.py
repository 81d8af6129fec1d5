# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The scenario's hosts have no TPM: the role leaves them as they are. With one: tests/integration/test_tpm_role.py."""

from __future__ import annotations

from testinfra.host import Host


def test_a_host_without_a_tpm_has_got_nothing(host: Host) -> None:
    assert not host.file("/sys/class/tpm/tpm0").exists
    group = host.run("getent group tss")
    assert group.rc in (0, 2), "2: there is no such group"
    assert group.stdout.strip().rpartition(":")[2] == "", "nobody was let at a device that is not there"
