# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last word on an encryption in place: a /home in use, under the distributions' own kernels, through playbook and role.

On each release the tests are the chapters of one story, in their order.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import ROOT, Ansible, Run
from tests.integration.home_in_use import fill, gaps, is_whole, lines_written, write_after_boots

pytestmark = [pytest.mark.qemu, pytest.mark.slow]
# By release: the size of the disk, and MiB of files. The large one is nearly full, as ext4 takes some itself, and 64 MiB go to the header.
SIZES = {"13": ("1344M", 1030), "12": ("256M", 100), "11": ("256M", 100)}
# What opens it with nobody there, and what has it gone. Debian 11 has no systemd-cryptenroll.
UNLOCK = {"13": {"tpm2": {"pcrs": [7]}}, "12": {"tpm2": {"pcrs": [7]}}, "11": {"key_file": {}}}
LOSE = {"13": "tpm2_clear", "12": "tpm2_clear", "11": "rm /etc/cryptsetup-keys.d/home.key"}
PASSPHRASE = "typed by a person 4711"
CHEAP = {"type": "argon2id", "memory": 32, "iterations": 4, "threads": 1}  # for tests only
# Emulated machines are ten times slower than real ones, and slower still where others work on the host.
LONG = 7200.0
# Shares of the announced time, as a busy host makes everything slower alike: 13 s without /home became 54 at four times the load.
# The writer's own gap: it is stopped before the unmount, and after the mount Python starts and counts the lines first. Seen: 1.04 to 1.09.
GAP = 1.5
# Any other pause, of a writer that nobody stopped. Seen: 0.03 to 0.25, the latter where the host had eleven processes for two processors.
PAUSE = 0.5


@dataclass
class Story:
    """A machine, and what its inventory asks for."""

    machine: Machine
    ansible: Ansible

    def encrypt(self, secret: bool) -> Run:
        """Run the playbook; without the secret where none may be needed."""
        home = {"mount": "/home", "pbkdf": CHEAP, "stop_units": ["writer.service"], "unlock": UNLOCK[self.machine.spec.release]}
        variables = {
            "luks_prompt": False,
            "luks_secrets": {"home": {"passphrase": PASSPHRASE}} if secret else {},
            "luks_timeout": "15min",  # an emulated boot may take longer than the default
            "luks_volumes": [home],
        }
        path = self.ansible.folder / "variables.json"
        path.write_text(json.dumps(variables))
        return self.ansible.playbook(ROOT / "playbooks/encrypt_home.yml", "-e", f"@{path}", timeout=LONG)

    def is_back(self, lines: int) -> None:
        """/home is mounted from the volume, every file is as it was, and the writer goes on after that many lines."""
        assert self.machine.run("findmnt -no SOURCE /home").stdout.strip() == "/dev/mapper/home"
        assert is_whole(self.machine)
        deadline = time.monotonic() + 120
        while lines_written(self.machine) <= lines and time.monotonic() < deadline:
            time.sleep(1)  # between two looks, until the deadline; what must hold is asserted after it
        assert lines_written(self.machine) > lines
        gaps(self.machine)  # no line is missing


@pytest.fixture(scope="module", params=SIZES)
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    release = request.param
    size, files = SIZES[release]
    machine = up(MachineSpec(f"it-luks-home-{release}", release=release, engine="qemu", tpm="2.0", disks=(size,)), owner=os.getpid())
    fill(machine, machine.disks[0], files)
    machine.run("echo UUID=$(findmnt -no UUID /home) /home ext4 nodev 0 2 >> /etc/fstab; systemctl daemon-reload")
    yield Story(machine, Ansible(tmp_path_factory.mktemp(f"home-{release}"), machine))
    machine.down()


def test_home_is_encrypted_while_it_is_in_use(story: Story) -> None:
    machine = story.machine
    started = time.monotonic()
    run = story.encrypt(secret=True)
    assert run.rc == 0, run.output[-3000:]
    (encryption,) = run.result(machine.name, "Encrypt in place")["encryptions"]
    assert (encryption["state"], encryption["finished"]) == ("encrypted", True)
    away = encryption["away_seconds"]
    longest, second, *dummy = gaps(machine)
    figures = {
        "release": machine.spec.release,
        "away_seconds": away,
        "longest_gap": round(longest, 2),
        "next_gap": round(second, 2),
        "playbook_seconds": round(time.monotonic() - started),
    }
    print(figures)
    assert longest < away * GAP
    assert second < away * PAUSE
    assert is_whole(machine)
    assert machine.run(f"blkid -p -o value -s TYPE {machine.disks[0]}").stdout.strip() == "crypto_LUKS"
    assert machine.run(f"cryptsetup luksDump {machine.disks[0]}").stdout.count("online-reencrypt") == 0


def test_after_a_reboot_it_is_opened_with_nobody_there(story: Story) -> None:
    write_after_boots(story.machine)
    lines = lines_written(story.machine)
    story.machine.reboot_wait()
    story.is_back(lines)


def test_after_a_power_cut_it_is_opened_with_nobody_there(story: Story) -> None:
    lines = lines_written(story.machine)
    story.machine.run("sync")
    story.machine.kill()
    story.machine.start()
    story.is_back(lines)


def test_a_second_run_changes_nothing(story: Story) -> None:
    run = story.encrypt(secret=False)
    assert run.rc == 0, run.output[-3000:]
    assert run.changed(story.machine.name) == []


def test_where_nothing_else_opens_it_the_console_asks_for_the_passphrase(story: Story) -> None:
    machine = story.machine
    machine.run(LOSE[machine.spec.release])
    lines, seen = lines_written(machine), len(machine.console())
    failed: list[str] = []

    def answer(seen: int) -> None:
        """What a person does: nothing until asked, and another try where the first word was wrong."""
        for word in ("not this one", PASSPHRASE):
            if not _asks(machine, seen):
                failed.append(machine.console()[seen:][-2000:])
                return
            seen = len(machine.console())
            machine.type_on_console(f"{word}\n")

    person = threading.Thread(target=answer, args=(seen,))
    person.start()
    machine.reboot_wait()
    person.join()
    assert failed == []
    story.is_back(lines)


def _asks(machine: Machine, seen: int) -> bool:
    """Whether the console comes to ask for a passphrase, beyond what was seen there."""
    deadline = time.monotonic() + LONG / 4
    while "Please enter passphrase for disk" not in machine.console()[seen:]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)  # between two looks at the console, until the deadline, which is a failure
    return True
