# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role luks and its playbooks on a machine: predicted, done, done again, cut short of its escrow, rotated, lost and recovered."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

import jsonschema
import pytest

from lab.machine import up
from lab.spec import MachineSpec
from tests.integration.ansible_run import ROOT, Ansible
from tests.integration.luks_play import CHEAP, Story, state
from tests.integration.secret_watch import told

pytestmark = pytest.mark.uml
NAME = "it-luks-role"
HOME, DATA, NEW = "first passphrase of home", "first passphrase of data", "second passphrase of both"


@dataclass
class Told(Story):
    """A story with what was there before it."""

    before: dict[str, str] = field(default_factory=dict)

    def sums(self) -> bool:
        return self.machine.run("cd /home && sha256sum --quiet -c /root/sums", check=False).returncode == 0


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Told]:
    folder = tmp_path_factory.mktemp("role")
    gnupg = tmp_path_factory.mktemp("gpg")
    gnupg.chmod(0o700)
    machine = up(MachineSpec(NAME, release="13", engine="uml", disks=("320M", "128M", "128M", "64M")), owner=os.getpid())
    home, swap, data, dummy = machine.disks
    machine.run(
        f"mkfs.ext4 -q -b 4096 {home} && echo UUID=$(blkid -s UUID -o value {home}) /home ext4 nodev 0 2 >> /etc/fstab && mount /home"
        " && cp -a /usr/lib/python3 /home/ && cd /home && find python3 -type f -print0 | xargs -0 sha256sum > /root/sums"
        f" && mkswap -q {swap} && swapon {swap} && echo {swap} none swap sw 0 0 >> /etc/fstab"
        f" && mkfs.ext4 -q -b 4096 {data} && mkdir /srv/data && mount {data} /srv/data && cp -a /etc/ssh /srv/data/"
    )
    story = Told(machine, Ansible(folder, machine), gnupg, {}, state(machine))
    story.variables = {
        "luks_prompt": False,
        "luks_secrets": {"home": {"passphrase": HOME}, "data": {"passphrase": DATA}},
        "luks_volumes": [
            {
                "mount": "/home",
                "pbkdf": CHEAP,
                "unlock": {"key_file": {}},
                "recovery": {"recipients": [story.recipient()], "escrow": str(folder / "escrow")},
            },
            {
                "mount": "/srv/data",
                "name": "data",
                "device": data,
                "method": "format",
                "wipe": ["ext4"],
                "backup": {"archive": "/var/backups/data.tar.gz"},
                "pbkdf": CHEAP,
                "unlock": {"key_file": {}},
            },
            {"name": "swap", "method": "swap", "device": swap, "wipe": ["swap"], "swap_off": True},
        ],
    }
    yield story
    machine.down()


def test_a_check_run_tells_the_steps_and_changes_nothing(story: Told) -> None:
    run = story.play("encrypt_home", "--check", "--diff")
    assert run.rc == 0, run.output[-3000:]
    assert any("Encrypt in place" in name for name in run.changed(NAME))
    assert run.result(NAME, "Encrypt in place")["steps"]
    assert "these follow" in str(run.result(NAME, "Tell what has to wait")["msg"])
    assert state(story.machine) == story.before


def test_it_is_home_where_the_inventory_asks_for_nothing(story: Told) -> None:
    volumes = story.variables.pop("luks_volumes")
    try:
        run = story.play("encrypt_home", "--check")
        missed = story.play("encrypt_home", "--check", luks_secrets={})
    finally:
        story.variables["luks_volumes"] = volumes
    assert run.rc == 0, run.output[-3000:]
    assert any("/home" in step for step in run.result(NAME, "Encrypt in place")["steps"])
    assert (missed.rc, "no passphrase is given for home" in missed.output) == (2, True)
    assert state(story.machine) == story.before


def test_what_was_not_named_is_refused(story: Told) -> None:
    volumes = [{**volume, "wipe": [], "backup": None} for volume in story.variables["luks_volumes"][1:]]
    for volume in volumes:
        del volume["backup"]
        run = story.play("encrypt_home", luks_volumes=[volume])
        assert run.rc == 2
        assert ("ext4" if volume["name"] == "data" else "swap") in run.output
    assert state(story.machine) == story.before


def test_a_passphrase_that_is_to_go_needs_a_way_back(story: Told) -> None:
    run = story.play("encrypt_home", luks_volumes=[{"mount": "/home", "unlock": {"key_file": {}, "passphrase": {"keep": False}}}])
    assert run.rc == 2
    assert "needs a recovery with escrow" in run.output
    assert state(story.machine) == story.before


def test_without_a_secret_nothing_begins(story: Told) -> None:
    run = story.play("encrypt_home", luks_secrets={})
    assert run.rc == 2
    assert "no passphrase is given for" in run.output
    assert state(story.machine) == story.before


def test_an_expired_recipient_is_refused_before_anything_is_changed(story: Told) -> None:
    story.gpg("--faked-system-time=20200101T000000", "--quick-gen-key", "Expired", "future-default", "default", "1y")
    expired = {"recovery": {"recipients": [story.gpg("--armor", "--export", "Expired")], "escrow": "/nowhere"}}
    run = story.play("encrypt_home", luks_volumes=[{**story.variables["luks_volumes"][0], **expired}])
    assert run.rc == 2
    assert "has expired" in run.output
    assert state(story.machine) == story.before


@pytest.mark.parametrize(("using", "said"), [("exec 3> held; sleep 1d", "remount"), ("sleep 1d", "busy")])
def test_files_in_use_are_in_no_archive_and_nothing_is_formatted(story: Told, using: str, said: str) -> None:
    """Neither a writer, nor whoever holds it back from being unmounted, which is found when the archive is made."""
    machine, data = story.machine, story.machine.disks[2]
    machine.run(["systemd-run", "-q", "--unit=using", "--working-directory=/srv/data", "sh", "-c", using])
    run = story.play("encrypt_home", luks_volumes=story.variables["luks_volumes"][1:2])
    assert (run.rc, "are not in an archive, and nothing was formatted" in run.output, said in run.output) == (2, True, True)
    machine.run("systemctl stop using; touch /srv/data/later && rm -f /srv/data/held")
    assert machine.run(f"findmnt -no SOURCE,TARGET /srv/data; blkid -p -o value -s TYPE {data}").stdout.split() == [
        data,
        "/srv/data",
        "ext4",
    ]


def test_an_archive_is_of_what_may_be_formatted_alone(story: Told) -> None:
    before = story.machine.run("ls -l --time-style=full-iso /var/backups").stdout
    run = story.play("encrypt_home", luks_volumes=[{**story.variables["luks_volumes"][1], "wipe": ["xfs"]}])
    assert (run.rc, "has to be named in wipe" in run.output) == (2, True)
    story.machine.run("touch /srv/data/writable")
    assert story.machine.run("ls -l --time-style=full-iso /var/backups").stdout == before


def test_the_first_run_encrypts_and_tells_no_secret(story: Told) -> None:
    # Command lines and environments are watched in the tests of each module; here what Ansible says, and the journal.
    run = story.play("encrypt_home", "-vvvv")
    assert run.rc == 0, run.output[-3000:]
    assert told(story.machine.run("journalctl --no-pager").stdout, HOME, DATA) == []
    assert told(run.output, HOME, DATA) == []
    assert story.sums()
    assert story.machine.run("lsblk -no TYPE /dev/mapper/home /dev/mapper/data").stdout.split() == ["crypt", "crypt"]
    assert story.machine.run("diff -r /etc/ssh /srv/data/ssh && ls /var/backups").stdout.split() == ["data.tar.gz"]
    assert "later" in story.machine.run("ls /srv/data").stdout, "the archive of the run before had not been whole"
    assert "/dev/dm-" in story.machine.run("cat /proc/swaps").stdout
    assert f"{story.machine.disks[1]} none" not in story.machine.run("cat /etc/fstab").stdout
    for unit in ("home.mount", "srv-data.mount"):
        assert "local-fs.target" in story.machine.run(f"systemctl show --property=Before {unit}").stdout, "a boot waits for it"


def test_the_evidence_says_so(story: Told) -> None:
    written = sorted((story.ansible.folder / "evidence").glob("encrypt_home-*.json"))[-1]
    document = json.loads(written.read_text())
    jsonschema.validate(document, json.loads((ROOT / "docs/evidence-1.schema.json").read_text()))
    luks = document["hosts"][NAME]["evidence"]["luks"]
    assert (luks["proven"], luks["faults"]) == (True, [])
    assert {volume["name"]: volume["state"] for volume in luks["volumes"]} == {"home": "encrypted", "data": "encrypted", "swap": "swap"}
    assert luks["volumes"][0]["recovery"]["sha256"] == hashlib.sha256(story.escrow.read_bytes()).hexdigest()


@pytest.mark.parametrize(("mark", "back"), [("$(findmnt -no UUID /srv/data)", True), ("archived", False)])
def test_only_an_unpacking_that_was_cut_is_done_again(story: Told, mark: str, back: bool) -> None:
    """The archive of a file system that was not made for it would take the place of newer files."""
    machine = story.machine
    machine.run(f"echo {mark} > /var/backups/data.tar.gz.due && rm -r /srv/data/ssh && sed -i /srv.data/d /etc/fstab")
    run = story.play("encrypt_home", luks_secrets={})
    assert run.rc == 0, run.output[-3000:]
    assert (machine.run("test -d /srv/data/ssh", check=False).returncode == 0) is back
    assert (machine.run("test -e /var/backups/data.tar.gz.due", check=False).returncode == 0) is not back
    machine.run("rm -f /var/backups/data.tar.gz.due; cp -a /etc/ssh /srv/data/")


def test_a_second_run_changes_nothing_and_asks_for_nothing(story: Told) -> None:
    run = story.play("site", luks_secrets={})
    run = story.play("site", luks_secrets={})  # the first has made the host keys
    assert run.rc == 0, run.output[-3000:]
    assert run.changed(NAME) == []
    assert not any("Prove that the" in name for name, dummy in run.tasks(NAME)), "no key is derived"


def test_audit_tries_every_way_in(story: Told) -> None:
    assert story.play("audit").rc == 0
    story.machine.run("cp -a /etc/cryptsetup-keys.d/home.key /root/ && head -c 64 /dev/urandom > /etc/cryptsetup-keys.d/home.key")
    run = story.play("audit")
    assert run.rc == 2
    story.machine.run("mv /root/home.key /etc/cryptsetup-keys.d/home.key")
    kept = story.escrow.read_bytes()
    story.escrow.write_bytes(b"another")
    run = story.play("audit")
    assert (run.rc, "not in escrow" in run.output) == (2, True)
    story.escrow.write_bytes(kept)


def test_the_recovery_key_leads_back(story: Told) -> None:
    key = story.gpg("--decrypt", str(story.escrow)).strip()
    story.machine.run("umount /home && cryptsetup close home && rm /etc/cryptsetup-keys.d/home.key")
    run = story.play("recover", "-vvvv", recover_key=key, recover_passphrase=NEW, recover_pbkdf=CHEAP)
    assert run.rc == 0, run.output[-3000:]
    assert told(run.output, NEW, key) == []
    assert story.opens(0, NEW)
    assert not story.opens(0, HOME)
    assert story.sums()


def test_a_damaged_header_is_put_back(story: Told) -> None:
    key = story.gpg("--decrypt", str(story.escrow)).strip()
    backup = story.machine.run(
        "ls -t /var/lib/rootoftrust/luks_headers/$(cryptsetup luksUUID " + story.machine.disks[0] + ")-*"
    ).stdout.split()[0]
    other = story.machine.run(
        "ls /var/lib/rootoftrust/luks_headers/$(cryptsetup luksUUID " + story.machine.disks[2] + ")-*"
    ).stdout.split()[0]
    story.machine.run("umount /home && cryptsetup close home")
    asked = {"recover_device": story.machine.disks[0], "recover_key": key, "recover_passphrase": NEW, "recover_pbkdf": CHEAP}
    assert story.play("recover", recover_header=other, **asked).rc == 2, "the header of another volume"
    story.machine.run(f"dd if=/dev/zero of={story.machine.disks[0]} bs=1M count=1 conv=notrunc,fsync status=none")
    blank = story.play("recover", recover_header=backup, **asked)
    assert (blank.rc, "shows nothing that is known" in blank.output) == (2, True)
    run = story.play("recover", recover_header=backup, recover_blank=True, **asked)
    assert run.rc == 0, run.output[-3000:]
    story.machine.run("mount /home")
    assert story.sums()


@pytest.mark.parametrize(("making", "said"), [("mkfs.ext4 -q -F -b 4096", "ext4"), ("mkswap -q", "swap"), ("echo ,, | sfdisk -q", "dos")])
def test_a_header_is_put_over_nothing_else(story: Told, making: str, said: str) -> None:
    machine, other = story.machine, story.machine.disks[3]
    backup = machine.run("ls /var/lib/rootoftrust/luks_headers/$(cryptsetup luksUUID " + machine.disks[0] + ")-*").stdout.split()[0]
    machine.run(f"wipefs -qa {other} && {making} {other}")
    digest = machine.run(f"sha256sum {other}").stdout
    asked = {"recover_device": other, "recover_key": "x", "recover_passphrase": NEW, "recover_blank": True}
    run = story.play("recover", recover_header=backup, **asked)
    assert (run.rc, "is not put back" in run.output, said in run.output) == (2, True, True), run.output[-3000:]
    assert machine.run(f"sync; sha256sum {other}").stdout == digest


def test_another_version_brings_new_secrets_and_takes_the_old_ones(story: Told) -> None:
    old = story.gpg("--decrypt", str(story.escrow)).strip()
    escrow = story.escrow.with_name(story.escrow.name.replace("-1.asc", "-2.asc"))
    story.variables["luks_secrets"] = {"home": {"passphrase": "third passphrase of home", "unlock": NEW}, "data": {"passphrase": NEW}}
    story.variables["luks_version"] = "2"
    check = story.play("rotate_luks_keys", "--check", "--diff")
    assert check.rc == 0, check.output[-3000:]
    assert "the removal of recovery key 1, once the recovery key is in escrow" in str(check.result(NAME, "Tell what has to wait")["msg"])
    assert story.opens(0, NEW)
    escrow.mkdir()  # so that the ciphertext cannot be put there
    assert story.play("rotate_luks_keys").rc == 2
    assert story.opens(0, old), "it goes when the new one is in escrow"
    escrow.rmdir()
    run = story.play("rotate_luks_keys")
    assert run.rc == 0, run.output[-3000:]
    assert story.opens(0, "third passphrase of home")
    assert not story.opens(0, NEW)
    assert not story.opens(0, old)
    assert story.opens(0, story.gpg("--decrypt", str(story.escrow)).strip())
    assert (story.opens(2, NEW), story.opens(2, DATA)) == (True, False)
    assert story.play("rotate_luks_keys", luks_secrets={}).changed(NAME) == []
