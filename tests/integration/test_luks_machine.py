# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The LUKS modules on a machine, where volumes are really open: what a regular file on this host cannot show."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import Ansible

pytestmark = pytest.mark.uml
NAME = "it-luks"
CHEAP = "--pbkdf argon2id --pbkdf-memory 32 --pbkdf-parallel 1 --pbkdf-force-iterations 4"  # for tests only


@pytest.fixture(scope="module", params=["11", pytest.param("13", marks=pytest.mark.slow)])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    machine = up(MachineSpec(f"{NAME}-{request.param}", release=request.param, engine="uml", disks=("128M",)), owner=os.getpid())
    disk = machine.disks[0]
    machine.run(
        f"printf secret > /run/key && cryptsetup luksFormat -q --type luks2 {CHEAP} --key-file /run/key {disk}"
        f" && cryptsetup open --key-file /run/key {disk} data && mkfs.ext4 -q /dev/mapper/data"
        " && mkdir -p /srv/data && mount /dev/mapper/data /srv/data"
        f" && echo data UUID=$(cryptsetup luksUUID {disk}) none luks,nofail > /etc/crypttab"
    )
    yield machine
    machine.down()


@pytest.fixture
def ansible(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Ansible:
    return Ansible(tmp_path_factory.mktemp("luks"), machine)


def test_an_open_volume_is_seen_with_its_mapping_mount_and_crypttab(machine: Machine, ansible: Ansible) -> None:
    result = ansible.module(machine.name, "luks_info", {"device": machine.disks[0]})
    (device,) = result["devices"]
    assert device["luks"] is True
    assert device["header"]["uuid"] == machine.run(f"cryptsetup luksUUID {machine.disks[0]}").stdout.strip()
    assert device["mapping"]["name"] == "data"
    assert [mount["target"] for mount in device["mounts"]] == ["/srv/data"]
    assert [line["name"] for line in device["crypttab"]] == ["data"]
    assert "secret" not in str(result)


def test_a_backup_inside_the_volume_itself_is_warned_of(machine: Machine, ansible: Ansible) -> None:
    asked = {"device": machine.disks[0], "folder": "/srv/data/headers"}
    result = ansible.module(machine.name, "luks_header_backup", asked)
    assert result["changed"] is True
    assert any("in that volume itself" in str(warning) for warning in result["warnings"])
    assert ansible.module(machine.name, "luks_header_backup", asked)["changed"] is False


def test_a_new_keyslot_makes_a_new_backup_due(machine: Machine, ansible: Ansible) -> None:
    asked = {"device": machine.disks[0], "folder": "/var/backups/luks"}
    assert ansible.module(machine.name, "luks_header_backup", asked)["changed"] is True
    machine.run(f"printf other > /run/other && cryptsetup luksAddKey -q {CHEAP} --key-file /run/key {machine.disks[0]} /run/other")
    predicted = ansible.module(machine.name, "luks_header_backup", asked, "--check", "--diff")
    done = ansible.module(machine.name, "luks_header_backup", asked, "--diff")
    assert (predicted["changed"], predicted["steps"], predicted["diff"]) == (True, done["steps"], done["diff"])
    assert machine.run("ls /var/backups/luks").stdout.count(".luks-header") == 2
    seen = ansible.module(machine.name, "luks_info", {"device": machine.disks[0], "backups": [done["devices"][0]["path"]]})
    assert seen["devices"][0]["backups"][0]["matches"] is True


def test_a_closed_volume_has_no_mapping(machine: Machine, ansible: Ansible) -> None:
    machine.run("umount /srv/data && cryptsetup close data")
    (device,) = ansible.module(machine.name, "luks_info", {"device": machine.disks[0]})["devices"]
    assert (device["luks"], device["mapping"], device["mounts"]) == (True, None, [])
