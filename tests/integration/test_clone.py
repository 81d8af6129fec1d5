# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A raw copy of a machine's disk on other hardware: its machine-id is the original's, only the firmware's UUID tells them apart."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lab.machine import up
from lab.spec import MachineSpec
from tests.integration.ansible_run import ROOT, Ansible

pytestmark = pytest.mark.qemu
ORIGINAL, CLONE = "it-original", "it-copy"
IDENTITY = "cat /etc/machine-id /sys/class/dmi/id/product_uuid"


@pytest.mark.slow
def test_a_raw_copy_on_other_hardware_is_a_clone(tmp_path: Path) -> None:
    machines = [up(MachineSpec(ORIGINAL, release="13", engine="qemu"), owner=os.getpid())]
    try:
        original = machines[0]
        ansible = Ansible(tmp_path, original)
        assert ansible.playbook(ROOT / "playbooks/site.yml").rc == 0
        machines.append(up(MachineSpec(CLONE, disk_from=ORIGINAL), owner=os.getpid()))
        before, after = (machine.run(IDENTITY).stdout.split() for machine in machines)
        assert before[0] == after[0], "a raw copy keeps the machine-id"
        assert before[1] != after[1]
        seen = Ansible(tmp_path, *machines).module(CLONE, "ssh_host_key_info", {})
        reasons = [reason for key in seen["keys"] for reason in key["reasons"]]
        assert seen["due"] is True
        assert {reason["code"] for reason in reasons} == {"cloned"}
        assert all("other hardware" in reason["text"] for reason in reasons)
        kept = ansible.module(ORIGINAL, "ssh_host_key_info", {})
        assert (kept["due"], [key["reasons"] for key in kept["keys"]]) == (False, [[], [], []])
    finally:
        for machine in machines:
            machine.down()
