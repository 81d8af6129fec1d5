# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role luks with secrets and escrow by task files, a detached header, and work in the background: there after a reboot, and proven."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import Ansible
from tests.integration.luks_play import (
    CHEAP,
    Story,
    derived,
    note_calls,
    opens,
    state,
)
from tests.integration.secret_watch import told

pytestmark = [pytest.mark.uml, pytest.mark.slow]
HOME, DATA = "first passphrase of home", "first passphrase of data"
HEADER = "/etc/luks/data.header"
VERIFY = ("--tags", "luks_verify")

# The user's tasks, on the controller: one that gives secrets, one that keeps recovery keys.
GIVE = """
- name: Leave a trace of having been asked
  ansible.builtin.tempfile: {path: FOLDER, prefix: asked-}
  delegate_to: localhost
  become: false
  check_mode: false
- name: Give the secrets
  ansible.builtin.set_fact:
    luks_secrets: SECRETS
  no_log: true
"""
KEEP = """
- name: Keep it
  ansible.builtin.copy:
    content: "{{ luks_escrow.ciphertext }}"
    dest: "FOLDER/kept-{{ luks_escrow.name }}-{{ luks_escrow.version }}.asc"
    mode: "0600"
  delegate_to: localhost
  become: false
- name: Read it back
  ansible.builtin.set_fact:
    luks_escrow_read_back: "{{ lookup('ansible.builtin.file', path, rstrip=false) }}"
  vars:
    path: "FOLDER/kept-{{ luks_escrow.name }}-{{ luks_escrow.version }}.asc"
"""


@dataclass
class Ways(Story):
    """A story whose secrets come from a task file, and whose recovery keys go to one.

    :ivar predicted: the steps that a check run has told.
    """

    predicted: list[str] = field(default_factory=list)

    def give(self, **secrets: dict[str, str]) -> None:
        """Have the task file give these."""
        text = GIVE.replace("FOLDER", str(self.ansible.folder)).replace("SECRETS", json.dumps(secrets))
        (self.ansible.folder / "give.yml").write_text(text)

    def keep(self, rightly: bool = True) -> None:
        """Have the other task file keep what it is given, or only say so."""
        text = KEEP if rightly else KEEP.partition("- name: Read")[0]
        (self.ansible.folder / "keep.yml").write_text(text.replace("FOLDER", str(self.ansible.folder)))

    @property
    def asked(self) -> int:
        """How often the secrets were asked for, since this was looked at."""
        traces = list(self.ansible.folder.glob("asked-*"))
        for trace in traces:
            trace.unlink()
        return len(traces)

    def recovery_key(self) -> str:
        """Of /home, as one of the recipients decrypts what was kept."""
        return self.gpg("--decrypt", str(self.ansible.folder / f"kept-home-{self.variables.get('luks_version', '1')}.asc")).strip()

    def whole(self) -> bool:
        return self.machine.run("sha256sum --quiet -c /root/sums", check=False).returncode == 0

    def comes_back(self) -> None:
        """Reboot; both volumes are there with nobody asked."""
        self.machine.reboot_wait()
        self.appears("/home", "/srv/data")
        assert self.whole()


def make(release: str, folder: Path, gnupg: Path, name: str, size: str = "192M") -> Ways:
    """A machine with a plain /home and a plain /srv/data, files in both, and a service that writes into /home."""
    gnupg.chmod(0o700)
    machine = up(MachineSpec(name, release=release, engine="uml", disks=(size, "128M")), owner=os.getpid())
    home, data = machine.disks
    machine.run(
        f"mkfs.ext4 -q -b 4096 {home} && echo UUID=$(blkid -s UUID -o value {home}) /home ext4 nodev 0 2 >> /etc/fstab && mount /home"
        f" && mkfs.ext4 -q -b 4096 {data} && mkdir -p /srv/data /etc/luks && echo LABEL=data /srv/data ext4 defaults 0 2 >> /etc/fstab"
        f" && e2label {data} data && mount {data} /srv/data && cp -a /usr/lib/python3 /home/ && cp -a /etc/systemd /srv/data/"
        " && find /home /srv/data -type f -print0 | xargs -0 sha256sum > /root/sums"
    )
    machine.run(
        "printf '[Service]\\nExecStart=/bin/sh -c \"exec sleep 1d > /home/held\"\\n' > /etc/systemd/system/holder.service"
        " && systemctl daemon-reload && systemctl start holder && systemd-run -q --unit=guest --working-directory=/home sleep 1d"
    )
    ways = Ways(machine, Ansible(folder, machine), gnupg)
    ways.give(home={"passphrase": HOME}, data={"passphrase": DATA})
    ways.keep()
    ways.variables = {
        "luks_prompt": False,
        "luks_secrets_tasks": str(folder / "give.yml"),
        "luks_volumes": [
            {
                "mount": "/home",
                "pbkdf": CHEAP,
                "busy": "terminate",
                "stop_units": ["holder.service"],
                "unlock": {"key_file": {}, "passphrase": {"keep": False}},
                "recovery": {"recipients": [ways.recipient()], "tasks": str(folder / "keep.yml")},
            },
            {
                "mount": "/srv/data",
                "name": "data",
                "pbkdf": CHEAP,
                "device": data,
                "room": "header",
                "header": HEADER,
                "unlock": {"key_file": {}},
            },
        ],
    }
    return ways


# --- the whole way -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ways(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    story = make("13", tmp_path_factory.mktemp("ways"), tmp_path_factory.mktemp("gpg"), "it-ways-13")
    yield story
    story.machine.down()


def test_a_check_run_predicts_the_steps_and_changes_nothing(ways: Ways) -> None:
    before = state(ways.machine)
    run = ways.play("encrypt_home", "--check", "--diff")
    assert run.rc == 0, run.output[-3000:]
    assert state(ways.machine) == before
    assert ways.machine.run("systemctl is-active holder guest").stdout.split() == ["active", "active"]
    ways.predicted = run.result(ways.machine.name, "Encrypt in place")["steps"]
    assert any("End sleep" in step for step in ways.predicted)
    of_home, of_data = run.result(ways.machine.name, "Tell what has to wait")["msg"]
    assert "its ways in (key_file, passphrase, recovery), the removal of the passphrase, once the recovery key is in escrow" in of_home
    assert "its ways in (key_file, passphrase), the backup" in of_data
    assert ways.asked == 1


def test_the_real_run_does_them_and_tells_no_secret(ways: Ways) -> None:
    run = ways.play("encrypt_home", "-vvvv")
    assert run.rc == 0, run.output[-3000:]
    steps = run.result(ways.machine.name, "Encrypt in place")["steps"]
    assert steps[: len(ways.predicted)] == ways.predicted
    assert any("End sleep" in step for step in steps)
    key = ways.recovery_key()
    assert told(run.output, HOME, DATA, key) == []
    assert told(ways.machine.run("journalctl --no-pager").stdout, HOME, DATA, key) == []
    assert ways.asked == 1
    assert ways.whole()
    assert ways.machine.run("systemctl is-active holder").stdout.split() == ["active"]
    # The last passphrase went when the recovery key was in escrow.
    home, data = ways.machine.disks
    order = [name for name, dummy in run.tasks(ways.machine.name)]
    assert order.index("rootoftrust.linux.luks : Mark it as read back") < order.index(
        "rootoftrust.linux.luks : Take away what is not to be kept"
    )
    assert (opens(ways.machine, home, HOME), opens(ways.machine, home, key)) == (False, True)
    assert opens(ways.machine, HEADER, DATA)
    assert ways.machine.run(f"blkid -p {data}", check=False).stdout == ""


def test_both_are_there_after_a_reboot_with_nobody_asked(ways: Ways) -> None:
    ways.comes_back()


def test_a_second_run_changes_nothing_asks_for_nothing_and_derives_no_key(ways: Ways) -> None:
    note_calls(ways.machine)
    run = ways.play("encrypt_home")
    assert run.rc == 0, run.output[-3000:]
    assert run.changed(ways.machine.name) == []
    assert (derived(ways.machine), ways.asked) == ([], 0)


def test_audit_proves_every_way(ways: Ways) -> None:
    run = ways.play("audit", *VERIFY)
    assert run.rc == 0, run.output[-3000:]
    tried = derived(ways.machine)
    assert any(ways.machine.disks[0] in call for call in tried)
    assert any(HEADER in call for call in tried)
    assert ways.asked == 0


def test_a_detached_header_that_was_lost_is_put_back_into_its_file(ways: Ways) -> None:
    machine, data = ways.machine, ways.machine.disks[1]
    backup = machine.run(f"ls /var/lib/rootoftrust/luks_headers/$(cryptsetup luksUUID {HEADER})-*").stdout.split()[-1]
    machine.run(f"umount /srv/data && cryptsetup close data && rm {HEADER}")
    new = {"recover_key": DATA, "recover_passphrase": "second passphrase of data", "recover_pbkdf": CHEAP}
    asked = {"recover_device": data, "recover_name": "data", "recover_header": backup, **new}
    over = ways.play("recover", recover_blank=True, **asked)
    assert (over.rc, "is not put back" in over.output) == (2, True), "it is the header of a file"
    run = ways.play("recover", recover_detached=HEADER, **asked)
    assert run.rc == 0, run.output[-3000:]
    assert opens(machine, HEADER, "second passphrase of data")
    machine.run("mount /srv/data")
    assert ways.whole()


# --- the work in the background ----------------------------------------------------------------------------------------

# What is left of the secrets after the role, also after a failure.
LEFT = """
- hosts: all
  gather_facts: true
  tasks:
    - name: Have it
      block:
        - name: Encrypted volumes
          ansible.builtin.include_role:
            name: rootoftrust.linux.luks
      rescue:
        - name: Keep why not
          ansible.builtin.set_fact:
            why: "{{ ansible_failed_result.msg }}"
    - name: Tell what is left
      ansible.builtin.debug:
        msg: "{{ [why | default(''), luks_secrets] }}"
"""


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ways]:
    """A /home whose encryption is so slow that it can be looked at meanwhile."""
    story = make("13", tmp_path_factory.mktemp("wait"), tmp_path_factory.mktemp("gpg"), "it-ways-wait", "640M")
    story.variables.update(luks_wait=False, luks_volumes=story.variables["luks_volumes"][:1])
    unit = "/etc/systemd/system/rootoftrust-luks-home.service.d"
    story.machine.run(f"mkdir {unit} && printf '[Service]\\nCPUQuota=1%%\\n' > {unit}/slow.conf")
    yield story
    story.machine.down()


def is_working(machine: Machine) -> bool:
    return "online-reencrypt" in machine.run(f"cryptsetup luksDump {machine.disks[0]}").stdout


def test_a_run_that_ends_before_crypttab_leaves_a_machine_that_boots(waiting: Ways) -> None:
    machine = waiting.machine
    machine.run("for turn in 1 2; do echo home /dev/none none luks,noauto,nofail >> /etc/crypttab; done")
    run = waiting.play("encrypt_home")
    assert (run.rc, "Have crypttab name them: " in run.output, waiting.asked) == (2, True, 1), run.output[-3000:]
    assert is_working(machine)
    machine.reboot_wait()  # its fstab has a file system that only the next run opens
    machine.run("sed -i /none/d /etc/crypttab")


def test_without_wait_it_begins_and_returns_and_is_left_alone_meanwhile(waiting: Ways) -> None:
    machine = waiting.machine
    run = waiting.play("encrypt_home", "-vvvv")
    assert (run.rc, waiting.asked) == (0, 1), run.output[-3000:]
    assert told(run.output, HOME) == []
    assert "encrypted up to" in str(run.result(machine.name, "Tell what has to wait")["msg"])
    assert waiting.whole()
    assert is_working(machine)
    meanwhile = waiting.play("encrypt_home")
    assert (meanwhile.rc, meanwhile.changed(machine.name), waiting.asked) == (0, [], 0), meanwhile.output[-3000:]
    assert is_working(machine), "it was over before it could be looked at"
    evidence = json.loads(sorted((waiting.ansible.folder / "evidence").glob("encrypt_home-*.json"))[-1].read_text())
    assert evidence["hosts"][machine.name]["evidence"]["luks"]["volumes"][0]["state"] == "encrypting"


def test_the_passphrase_stays_until_the_escrow_was_read_back(waiting: Ways) -> None:
    machine = waiting.machine
    machine.run(
        "rm -r /etc/systemd/system/rootoftrust-luks-home.service.d; systemctl set-property --runtime rootoftrust-luks-home CPUQuota="
    )
    deadline = time.monotonic() + 300
    while is_working(machine):
        assert time.monotonic() < deadline
        time.sleep(1)  # between two looks, until the deadline, which fails above
    waiting.keep(rightly=False)
    run = waiting.play(LEFT, "-vvvv")
    assert waiting.asked == 1
    why, left = run.result(machine.name, "Tell what is left")["msg"]
    assert "did not set luks_escrow_read_back to what it was given" in why
    assert left == {}
    assert told(run.output, HOME) == []
    assert opens(machine, machine.disks[0], HOME)
    audit = waiting.play("audit", *VERIFY)
    assert (audit.rc, "has not put the recovery key into escrow" in audit.output) == (2, True)

    waiting.keep()
    done = waiting.play("encrypt_home")
    assert (done.rc, opens(machine, machine.disks[0], HOME)) == (0, False), done.output[-3000:]
    assert opens(machine, machine.disks[0], waiting.recovery_key())
    machine.reboot_wait()
    waiting.appears("/home")
    assert waiting.whole()
    assert waiting.play("encrypt_home").changed(machine.name) == []
    assert waiting.play("audit", *VERIFY).rc == 0
