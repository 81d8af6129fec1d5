# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""luks_container, ended as by kill -9 before each change that it makes; the next run finishes. On regular files, with this host's tools."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.integration.test_luks_files import PATH, SECRET, Host

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: cryptsetup keeps its locks in /run/cryptsetup"),
    *(
        pytest.mark.skipif(shutil.which(program, path=PATH) is None, reason=f"{program} is not installed (Debian: {package})")
        for program, package in (("cryptsetup", "cryptsetup-bin"), ("wipefs", "util-linux"), ("mkswap", "util-linux"))
    ),
]
UUID = "11111111-2222-4333-8444-555555555555"
CHEAP = {"type": "argon2id", "memory": 32, "iterations": 4, "threads": 1}  # for tests only
MARK = "726f6f74-6f66-8"

# Ends the process before the n-th call that changes a name, makes bytes last, or starts a program that writes.
CUT = """
import os, signal
calls = 0
def cut(function, counts=lambda *args: True):
    def wrapped(*args, **kwargs):
        global calls
        calls += counts(*args)
        if calls == {at}:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return wrapped
for name in ("rename", "unlink", "fsync"):
    setattr(os, name, cut(getattr(os, name)))
WRITERS = ("luksFormat", "luksUUID", "luksErase", "--quiet")
from ansible.module_utils.basic import AnsibleModule
AnsibleModule.run_command = cut(AnsibleModule.run_command, lambda module, argv: any(word in WRITERS for word in argv))
"""
STORIES: dict[str, dict[str, Any]] = {
    "on the device": {"wipe": ["swap"], "passphrase": SECRET, "pbkdf": CHEAP},
    "detached": {"wipe": ["swap"], "passphrase": SECRET, "pbkdf": CHEAP, "header": "head"},
    "absent": {"state": "absent", "wipe": [UUID]},
    "detached, absent": {"state": "absent", "wipe": [UUID], "header": "head"},
}
LEAST = {"on the device": 6, "detached": 8, "absent": 4, "detached, absent": 3}  # moments


def prepared(host: Host, story: str) -> tuple[Path, dict[str, Any]]:
    for path in host.folder.iterdir():
        path.unlink()
    host.key.write_text(SECRET)
    arguments = dict(STORIES[story])
    if "header" in arguments:
        arguments["header"] = str(host.folder / "head")
    volume = host.folder / "volume"
    if arguments.get("state") != "absent":
        with volume.open("wb") as stream:
            stream.truncate(20 * 1024 * 1024)
        host.run("mkswap", volume)
    else:
        volume = host.volume()
        if "header" in arguments:
            host.cryptsetup("luksHeaderBackup", volume, "--header-backup-file", arguments["header"])
            volume.write_bytes(bytes(20 * 1024 * 1024))
    return volume, {"device": volume, **arguments}


@pytest.mark.parametrize("story", STORIES)
def test_a_run_that_is_cut_is_finished_by_the_next(tmp_path: Path, story: str) -> None:
    host, cuts = Host(tmp_path), 0
    while True:
        volume, arguments = prepared(host, story)
        at = Path(arguments.get("header", volume))
        done = host.raw("luks_container", first=CUT.format(at=cuts + 1), **arguments)
        if done.stdout.strip():
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        shown = host.run("blkid", "-p", "-o", "export", at, check=False).stdout if at.exists() else ""
        if story in ("on the device", "detached") and "crypto_LUKS" in shown and MARK not in shown:
            host.run("cryptsetup", "open", "--test-passphrase", "--key-file", host.key, at)  # what looks finished is
        host.good("luks_container", **arguments)
        if arguments.get("state") == "absent":
            assert host.run("cryptsetup", "isLuks", at, check=False).returncode != 0
            assert not ("header" in arguments and at.exists())
        else:
            assert MARK not in host.cryptsetup("luksUUID", at)
            host.run("cryptsetup", "open", "--test-passphrase", "--key-file", host.key, at)
            assert host.call("luks_container", **{**arguments, "passphrase": None})["changed"] is False
        assert {path.name for path in host.folder.iterdir()} <= {"key", "volume", "head"}, "no rest is left"
        cuts += 1
    assert cuts >= LEAST[story]


TORN = {
    "the first copy has no metadata": [(4096, 8192)],
    "neither has": [(4096, 8192), (20480, 8192)],
    "the second is not there": [(16384, 16384)],
}


@pytest.mark.parametrize("torn", TORN)
def test_a_header_of_which_a_part_was_written_is_made_anew(tmp_path: Path, torn: str) -> None:
    host = Host(tmp_path)
    volume = host.volume()
    host.cryptsetup("luksUUID", "--uuid", MARK + "abc-8abc-0123456789ab", volume)
    with volume.open("r+b") as stream:
        for place, length in TORN[torn]:
            stream.seek(place)
            stream.write(bytes(length))
    result = host.good("luks_container", device=volume, passphrase="another", pbkdf=CHEAP)
    assert "anew: a run that made its header was cut" in result["steps"][0]
    assert MARK not in host.cryptsetup("luksUUID", volume)
    host.run("cryptsetup", "open", "--test-passphrase", "--key-file", "-", volume, input="another")


def test_two_runs_at_once_make_one_header(tmp_path: Path) -> None:
    host = Host(tmp_path)
    volume = host.volume()
    host.cryptsetup("luksUUID", "--uuid", MARK + "abc-8abc-0123456789ab", volume)
    hold = """
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.lock import HeaderLocks
HeaderLocks().hold_header(PATH)
""".replace("PATH", repr(str(volume)))
    before = host.look()
    result = host.call("luks_container", first=hold, device=volume, passphrase=SECRET, pbkdf=CHEAP)
    assert result["failed"] is True and f"Another run is at work on the LUKS header of {volume}" in result["msg"]
    assert host.look() == before


def test_a_program_that_outlives_its_run_does_not_write_over_the_next_one(tmp_path: Path) -> None:
    host = Host(tmp_path)
    volume = tmp_path / "volume"
    volume.write_bytes(bytes(20 * 1024 * 1024))
    kill = """
import os, signal, threading, time
def watch():
    while True:
        with open(PATH, "rb") as stream:
            if stream.read(4) == b"LUKS":
                os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(0.01)
threading.Thread(target=watch, daemon=True).start()
""".replace("PATH", repr(str(volume)))
    slow = {"type": "argon2id", "memory": 65536, "iterations": 60, "threads": 1}
    assert host.raw("luks_container", first=kill, device=volume, passphrase=SECRET, pbkdf=slow).returncode == -signal.SIGKILL
    asked = {"device": volume, "passphrase": "another", "pbkdf": CHEAP}
    # It waits for cryptsetup's own lock, or is refused for ours; what it makes is not written over by what was left running.
    deadline = time.monotonic() + 60
    while (result := host.call("luks_container", **asked)).get("failed"):
        assert f"Another run is at work on the LUKS header of {volume}" in result["msg"]
        assert time.monotonic() < deadline
    assert MARK not in host.cryptsetup("luksUUID", volume)
    host.run("cryptsetup", "open", "--test-passphrase", "--key-file", "-", volume, input="another")
