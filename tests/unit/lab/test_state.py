# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lab import guardian, state
from lab.errors import LabError
from lab.process import ProcessId
from lab.spec import MachineSpec
from lab.state import Record


@pytest.fixture(autouse=True)
def own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOTOFTRUST_LAB_STATE", str(tmp_path / "state"))
    # Not tmp_path, which may be longer than what is left of a socket's path.
    monkeypatch.setattr(state, "_LONGEST_RUN_ROOT", 200)
    monkeypatch.setenv("ROOTOFTRUST_LAB_RUN", str(tmp_path / "run"))


def _record(name: str = "m") -> Record:
    spec = MachineSpec(name, engine="uml", disks=("64M", "1G"), kernel_args=("a=b", "c"), needs=("snapshot",), tpm="2.0")
    owner = ProcessId.of(os.getpid())
    return Record(spec=spec, uuid="u", mac="02:00:00:00:00:02", owner=owner, images={"root": "/x"}, seconds=1.5)


def test_a_record_is_read_as_it_was_written() -> None:
    written = state.save(_record())
    assert state.load("m") == written
    changed = state.update(written, booted=True, owner=None)
    assert state.load("m") == changed != written


def test_there_is_no_machine_that_nobody_made() -> None:
    assert state.load("m") is None
    assert state.names() == []
    assert guardian.status(_record()) is None


def test_a_damaged_record_names_its_file_and_hides_no_other_machine() -> None:
    state.save(_record("good"))
    bad = state.save(_record("bad")).state_dir / "machine.json"
    bad.write_text('{"spec": {}}')
    with pytest.raises(LabError, match=f"{bad}: not a machine's record"):
        state.load("bad")
    assert [record.name for record in state.load_all()] == ["good"]


def test_forgetting_leaves_nothing() -> None:
    record = state.save(_record())
    record.run_dir.mkdir(parents=True)
    state.forget(record)
    assert state.names() == []
    assert not record.state_dir.exists()
    assert not record.run_dir.exists()
    state.forget(record)


def test_a_run_directory_too_long_for_sockets_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "_LONGEST_RUN_ROOT", 30)
    monkeypatch.setenv("ROOTOFTRUST_LAB_RUN", "/run/" + "x" * 40)
    with pytest.raises(LabError, match="too long a path for sockets"):
        state.run_root()


def test_the_longest_name_leaves_room_for_its_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOTOFTRUST_LAB_RUN", "/" + "x" * 29)
    name = "a" * 30
    assert len(f"{_record(name).run_dir}/uml/{name}/mconsole") <= 107


def test_a_lock_is_held_against_other_processes() -> None:
    attempt = (
        "import fcntl, sys; f = open(sys.argv[1], 'w')\n"
        "try: fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)\n"
        "except BlockingIOError: sys.exit(3)"
    )
    command = [sys.executable, "-c", attempt, str(state.run_root() / "m.lock")]
    with state.lock("m"):
        assert subprocess.run(command, check=False).returncode == 3
    assert subprocess.run(command, check=False).returncode == 0


def test_a_process_is_not_mistaken_for_a_later_one_with_its_pid() -> None:
    me = ProcessId.of(os.getpid())
    assert me is not None and me.alive
    assert not ProcessId(me.pid, me.started - 1).alive
    assert ProcessId(me.pid, me.started - 1).open() is None


def test_a_process_that_has_ended_is_not_alive_even_as_a_zombie() -> None:
    child = subprocess.Popen(["sleep", "600"])
    seen = ProcessId.of(child.pid)
    assert seen is not None and seen.alive
    descriptor = seen.open()
    assert descriptor is not None
    os.close(descriptor)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not seen.alive
    child.wait()
    assert ProcessId.of(child.pid) is None
