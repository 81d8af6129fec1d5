# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role luks with a Tang server and a security token: opened at boot with nobody there, a new volume key, and keyslots of nobody.

On each release the tests are the chapters of one story, in their order. The server is on the machine itself, on the loopback device: clevis
asks it as it does any other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lab.machine import up
from lab.spec import MachineSpec
from tests.integration.ansible_run import Ansible
from tests.integration.luks_play import CHEAP, TOKEN_PIN, TOKEN_URI, Story, derived, have_security_token, have_tang, note_calls, state
from tests.integration.secret_watch import told

pytestmark = [pytest.mark.uml, pytest.mark.slow]
PASSPHRASE = "passphrase of home and data"
VERIFY = ("--tags", "luks_verify")


@pytest.fixture(scope="module", params=["11", "12", "13", "forky"])
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    gnupg = tmp_path_factory.mktemp("gpg")
    gnupg.chmod(0o700)
    name = f"it-luks-tang-{request.param}"
    machine = up(MachineSpec(name, release=request.param, engine="uml", disks=("192M", "64M")), owner=os.getpid())
    home, data = machine.disks
    machine.run(
        f"mkfs.ext4 -q -b 4096 {home} && echo UUID=$(blkid -s UUID -o value {home}) /home ext4 nodev 0 2 >> /etc/fstab && mount /home"
        " && cp -a /usr/lib/python3 /home/ && cd /home && find python3 -type f -print0 | xargs -0 sha256sum > /root/sums"
    )
    story = Story(machine, Ansible(tmp_path_factory.mktemp("tang"), machine), gnupg)
    escrow = str(story.ansible.folder / "escrow")
    volumes = [
        {
            "mount": "/home",
            "pbkdf": CHEAP,
            "unlock": {"clevis": {"pin": "tang", "config": have_tang(machine)}},
            "recovery": {"recipients": [story.recipient()], "escrow": escrow},
        }
    ]
    if request.param in ("13", "forky"):  # before systemd 256 its PIN would be in the environment
        have_security_token(machine)
        volumes.append(
            {
                "mount": "/srv/data",
                "name": "data",
                "device": data,
                "method": "format",
                "pbkdf": CHEAP,
                "unlock": {"pkcs11": {"uri": TOKEN_URI}, "key_file": {}},
            }
        )
    story.variables = {
        "luks_prompt": False,
        "luks_secrets": {name: {"passphrase": PASSPHRASE, "pkcs11_pin": TOKEN_PIN} for name in ("home", "data")},
        "luks_volumes": volumes,
    }
    yield story
    machine.down()


def sums(story: Story) -> bool:
    return story.machine.run("cd /home && sha256sum --quiet -c /root/sums", check=False).returncode == 0


def test_a_check_run_changes_nothing(story: Story) -> None:
    before = state(story.machine)
    run = story.play("encrypt_home", "--check", "--diff")
    assert run.rc == 0, run.output[-3000:]
    assert "its ways in (clevis, passphrase, recovery)" in str(run.result(story.machine.name, "Tell what has to wait")["msg"])
    assert state(story.machine) == before


def test_they_are_encrypted_and_the_tokens_enrolled(story: Story) -> None:
    run = story.play("encrypt_home", "-vvvv")
    assert run.rc == 0, run.output[-3000:]
    assert told(run.output, PASSPHRASE, TOKEN_PIN) == []
    assert sums(story)
    kinds = [token["kind"] for token in run.result(story.machine.name, "Have the tokens that can be tried")["tokens"]]
    assert kinds == (["clevis"] if len(story.variables["luks_volumes"]) == 1 else ["clevis", "pkcs11"])


def test_a_boot_opens_them_with_nobody_there(story: Story) -> None:
    story.machine.reboot_wait()
    story.appears(*[volume["mount"] for volume in story.variables["luks_volumes"]])
    assert sums(story)


def test_a_second_run_changes_nothing_and_derives_no_key(story: Story) -> None:
    note_calls(story.machine)
    run = story.play("encrypt_home", luks_secrets={})
    assert run.rc == 0, run.output[-3000:]
    assert run.changed(story.machine.name) == []
    assert derived(story.machine) == []


def test_audit_tries_the_server(story: Story) -> None:
    run = story.play("audit", *VERIFY)
    assert run.rc == 0, run.output[-3000:]
    story.machine.run("systemctl stop tangd.socket")
    run = story.play("audit", *VERIFY)
    story.machine.run("systemctl start tangd.socket")
    assert (run.rc, "does not open the volume" in run.output) == (2, True), run.output[-3000:]


def test_keyslots_of_nobody_go_where_that_is_asked_for(story: Story) -> None:
    disk = story.machine.disks[0]
    story.machine.run(
        f"printf '%s' '{PASSPHRASE}' > /run/old; printf somebody > /run/new; cryptsetup luksAddKey -q --pbkdf-memory 32 --pbkdf-parallel 1"
        f" --pbkdf-force-iterations 4 --key-file /run/old {disk} /run/new; rm /run/old /run/new"
    )
    assert story.opens(0, "somebody")
    assert story.play("encrypt_home").changed(story.machine.name) == ["rootoftrust.linux.luks : Have backups of the headers"], "kept"
    assert story.opens(0, "somebody")
    home, *others = story.variables["luks_volumes"]
    run = story.play("encrypt_home", luks_volumes=[{**home, "other_keyslots": "remove"}, *others])
    assert run.rc == 0, run.output[-3000:]
    assert (story.opens(0, "somebody"), story.opens(0, PASSPHRASE)) == (False, True)
    recovery = story.gpg("--decrypt", str(story.escrow)).strip()
    assert story.opens(0, recovery)


def test_a_new_volume_key_brings_all_ways_in_again(story: Story) -> None:
    machine, (disk, *dummy) = story.machine, story.machine.disks
    old = story.gpg("--decrypt", str(story.escrow)).strip()
    digest = "cryptsetup luksDump " + disk + " | sed -n '/^Digests:/,$p'"
    before = machine.run(digest).stdout
    run = story.play("rotate_luks_keys", luks_volume_key="2027")
    assert run.rc == 0, run.output[-3000:]
    assert machine.run(digest).stdout != before
    assert sums(story), "while it is in use"
    new = story.gpg("--decrypt", str(story.escrow)).strip()
    assert (story.opens(0, old), story.opens(0, new), story.opens(0, PASSPHRASE)) == (False, True, True)
    assert story.play("rotate_luks_keys", luks_volume_key="2027", luks_secrets={}).changed(machine.name) == []
    machine.reboot_wait()
    story.appears("/home")
    assert sums(story)
    assert story.play("audit", *VERIFY, luks_volume_key="2027").rc == 0
