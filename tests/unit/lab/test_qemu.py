# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator

import pytest

from lab import qemu, state
from lab.errors import LabError
from lab.spec import MachineSpec
from lab.state import Record


@pytest.fixture
def record(monkeypatch: pytest.MonkeyPatch) -> Iterator[Record]:
    # Not tmp_path, which may be longer than what is left of a socket's path.
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        monkeypatch.setattr(state, "_LONGEST_RUN_ROOT", 200)
        monkeypatch.setenv("ROOTOFTRUST_LAB_RUN", folder)
        record = Record(spec=MachineSpec("m", engine="qemu"), uuid="u", mac="02:00:00:00:00:02")
        record.run_dir.mkdir(parents=True)
        yield record


@pytest.fixture
def console(record: Record) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(qemu.console_socket(record)))
        server.listen()
        yield server


def test_all_that_is_typed_is_taken_before_the_line_is_hung_up(record: Record, console: socket.socket) -> None:
    taken: list[bytes] = []

    def guest() -> None:
        """Talkative and slow: it wants to be heard before it takes the next few bytes."""
        line, dummy = console.accept()
        with line:
            while part := line.recv(16):
                line.sendall(b"*" * 100_000)
                taken.append(part)

    thread = threading.Thread(target=guest)
    thread.start()
    qemu.type_on_console(record, "a passphrase ü longer than the buffer of a serial line\n", timeout=30)
    assert b"".join(taken).decode() == "a passphrase ü longer than the buffer of a serial line\n"
    thread.join()


def test_a_console_where_nobody_listens_is_told(record: Record, console: socket.socket) -> None:
    with pytest.raises(LabError, match=r"did not take what was typed .*does the guest listen there"):
        qemu.type_on_console(record, "a word\n", timeout=0.2)


def test_a_machine_without_power_has_no_console(record: Record) -> None:
    with pytest.raises(LabError, match=r"console\.sock: the console did not take what was typed"):
        qemu.type_on_console(record, "a word\n", timeout=0.2)
