# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watcher for secrets finds one wherever it is told, and finds nothing where none is."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import Ansible
from tests.integration.secret_watch import SHORTEST, SecretWatch, forms, told

uml = pytest.mark.uml
CHEAP = "--pbkdf argon2id --pbkdf-memory 32 --pbkdf-parallel 1 --pbkdf-force-iterations 4"  # for tests only


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    # The oldest Python that the watcher has to run on.
    machine = up(MachineSpec("it-watch", release="11", engine="uml", disks=("64M",)), owner=os.getpid())
    yield machine
    machine.down()


def given_to(machine: Machine, *made: str) -> None:
    """Put secrets into /run/secret-N, on no command line."""
    for number, secret in enumerate(made):
        machine.run(f"umask 077; cat > /run/secret-{number}", stdin=secret)


def taken_from(machine: Machine, *made: str) -> None:
    machine.run(["rm", "-f", *(f"/run/secret-{number}" for number in range(len(made)))])


def new(count: int) -> list[str]:
    return [secrets.token_hex(12) for dummy in range(count)]


# Each shows a secret in a process that lives for 50 ms; the shell that starts it has its script from standard input.
ARGUMENT = 'for n in 0 1 2; do (exec -a "$(cat /run/secret-$n)" sleep 0.05); done'
ENVIRONMENT = "for n in 0 1 2; do (export WORD=$(base64 < /run/secret-$n); exec sleep 0.05); done"


@uml
@pytest.mark.parametrize(("script", "kind"), [(ARGUMENT, "cmdline"), (ENVIRONMENT, "environ")])
def test_a_process_of_50_ms_is_seen(machine: Machine, script: str, kind: str) -> None:
    made = new(3)
    given_to(machine, *made)
    quick = 0
    for dummy in range(5):
        for secret in made:  # one watch at a time would tell of any of them; each must be seen
            with SecretWatch(machine, secret, allowed=[f"/run/secret-{n}" for n in range(3)], strict=False) as watch:
                machine.run("bash -s", stdin=script)
            if watch.longest < 0.05:  # on a host that is busy with other things the rounds may take longer, and say so
                quick += 1
                assert {found.kind for found in watch.findings} == {kind}, f"of {watch.rounds} rounds two took {watch.longest} s"
        if quick >= 3:
            break
    taken_from(machine, *made)
    assert quick >= 3, "the watcher was never quick enough for processes of 50 ms"


@uml
def test_the_journal_the_logs_and_what_is_left_in_a_tmpfs_are_searched(machine: Machine) -> None:
    made = new(3)
    given_to(machine, *made)
    with SecretWatch(machine, *made, allowed=["/run/secret-0", "/run/secret-1"], strict=False) as watch:
        # The journal compresses what is long: its file does not tell it, only journalctl does.
        machine.run("{ head -c 2000 /dev/zero | tr '\\0' x; cat /run/secret-0; } | systemd-cat -t probe; journalctl --sync")
        machine.run("gzip -c < /run/secret-1 > /var/log/old.gz")
    taken_from(machine, *made)
    machine.run("rm /var/log/old.gz")
    seen = {str(found) for found in watch.findings if found.kind != "disk"}
    assert seen == {"journal: journalctl", "log: /var/log/old.gz", "tmpfs: /run/secret-2"}


@uml
def test_the_disks_are_searched_also_where_a_file_is_deleted(machine: Machine) -> None:
    made = new(4)
    given_to(machine, *made)
    keys = [f"/run/secret-{number}" for number in range(4)]
    with SecretWatch(machine, *made, allowed=[*keys, "/etc/mine"], strict=False) as watch:
        machine.run("cp /run/secret-0 /etc/mine && cp /run/secret-1 /etc/left && xxd -p /run/secret-2 > /srv/gone && sync && rm /srv/gone")
        machine.run(f"dd if=/run/secret-3 of={machine.disks[0]} bs=1 seek=5000 conv=fsync status=none")
    with SecretWatch(machine, *made, allowed=keys):
        pass  # what was there before does not count
    taken_from(machine, *made)
    machine.run("rm /etc/mine /etc/left")
    where = sorted(found.where for found in watch.findings)
    assert [found.kind for found in watch.findings] == ["disk"] * 3, where
    root = "/dev/ubda"
    assert where[0].startswith(root) and where[1].startswith(root)
    assert sorted(text.rpartition(", ")[2] for text in where[:2]) == ["/etc/left", "or in one that is deleted"]
    assert where[2].startswith(f"{machine.disks[0]}, byte 5000,")


@uml
def test_an_open_volume_is_searched_as_it_reads(machine: Machine) -> None:
    (secret,) = made = new(1)
    given_to(machine, *made)
    disk = machine.disks[0]
    machine.run(f"printf other > /run/key && cryptsetup luksFormat -q --type luks2 {CHEAP} --key-file /run/key {disk}")
    machine.run(f"cryptsetup open --key-file /run/key {disk} watched && mkfs.ext4 -q /dev/mapper/watched && mount /dev/mapper/watched /mnt")
    with SecretWatch(machine, secret, allowed=["/run/secret-0"], strict=False) as watch:
        machine.run("cp /run/secret-0 /mnt/file")
    machine.run("umount /mnt && cryptsetup close watched")
    taken_from(machine, *made)
    assert [str(found) for found in watch.findings] == ["volume: /dev/mapper/watched on /mnt"]


@uml
def test_a_module_that_takes_no_secret_tells_none(machine: Machine, tmp_path: Path) -> None:
    """luks_header_backup, and the key by which the volume was made: what the watcher finds in an honest run is nothing."""
    (secret,) = made = new(1)
    given_to(machine, *made)
    disk = machine.disks[0]
    ansible = Ansible(tmp_path, machine)
    task = {"name": "it", "rootoftrust.linux.luks_header_backup": {"device": disk}}
    play = json.dumps([{"hosts": machine.name, "gather_facts": False, "tasks": [task]}])
    with SecretWatch(machine, secret, allowed=["/run/secret-0"]) as watch:
        machine.run(f"cryptsetup luksFormat -q --type luks2 {CHEAP} --key-file /run/secret-0 {disk}")
        run = ansible.playbook(play, "-vvvv")
    taken_from(machine, *made)
    assert run.rc == 0, run.output[-2000:]
    assert told(run.output, secret) == []
    assert watch.rounds > 20


@uml
def test_a_secret_found_fails_the_test_unless_another_error_does(machine: Machine) -> None:
    made = new(1)
    given_to(machine, *made)
    with pytest.raises(AssertionError, match=r"a secret is told: tmpfs: /run/secret-0"), SecretWatch(machine, *made):
        pass
    with pytest.raises(ZeroDivisionError), SecretWatch(machine, *made):
        raise ZeroDivisionError
    taken_from(machine, *made)


@given(before=st.binary(max_size=7), secret=st.binary(min_size=SHORTEST, max_size=40), after=st.binary(max_size=7))
@settings(max_examples=300, deadline=None)
def test_a_secret_is_known_in_every_dress(before: bytes, secret: bytes, after: bytes) -> None:
    for text in (before + secret + after, base64.b64encode(before + secret + after), (before + secret).hex().encode()):
        assert told(text, secret)


def test_a_text_without_the_secret_is_clean_and_a_short_secret_is_refused() -> None:
    assert told('{"passphrase": "VALUE_SPECIFIED_IN_NO_LOG_PARAMETER"}', "correct horse battery") == []
    assert told(json.dumps({"passphrase": 'a "quoted" word'}), 'a "quoted" word')
    with pytest.raises(ValueError, match="by chance"):
        forms("short")
