# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sources that misbehave: each has its own reason, and none makes the reader hang."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy import device, fips
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.model import Sample, Sampling

BLOCKS = 4
GOOD = random.Random(1).randbytes(fips.bytes_for(BLOCKS))


def sample(path: Path | str, timeout: float = 5.0, blocks: int = BLOCKS) -> Sample:
    start = time.monotonic()
    found = device.sample(Sampling(str(path), blocks, timeout))
    assert time.monotonic() - start < timeout + 4, "a busy machine may be late, a read that hangs is for ever"
    return found


@contextmanager
def writer(action: Callable[[], None]) -> Iterator[None]:
    thread = threading.Thread(target=action)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def test_a_good_file(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(GOOD + b"more")
    found = sample(tmp_path / "f")
    assert (found.ended, found.length, found.blocks, found.failures) == ("complete", len(GOOD), BLOCKS, 0)


def test_a_device_without_end_is_read_no_further_than_asked() -> None:
    found = sample("/dev/zero")
    assert (found.ended, found.length, found.failed["continuous_run"]) == ("complete", len(GOOD), BLOCKS)


@pytest.mark.parametrize("length", [0, 1, len(GOOD) - 1])
def test_a_short_file(tmp_path: Path, length: int) -> None:
    (tmp_path / "f").write_bytes(GOOD[:length])
    found = sample(tmp_path / "f")
    assert (found.ended, found.length) == ("short", length)


def test_a_fifo_without_a_writer_is_silent(fifo: Path) -> None:
    assert sample(fifo, timeout=0.2).ended == "silent"


def test_a_fifo_whose_writer_says_nothing_is_silent(fifo: Path) -> None:
    descriptor = os.open(fifo, os.O_RDWR)
    assert sample(fifo, timeout=0.2).ended == "silent"
    os.close(descriptor)


def test_a_fifo_whose_writer_stops_has_vanished(fifo: Path) -> None:
    with writer(lambda: fifo.write_bytes(GOOD[:3000]) and None):
        found = sample(fifo)
    assert (found.ended, found.length, found.blocks) == ("vanished", 3000, 1)


def test_a_fifo_whose_writer_is_slow_runs_out_of_time(fifo: Path) -> None:
    def trickle() -> None:
        with fifo.open("wb", buffering=0) as stream:
            stream.write(GOOD[:100])
            time.sleep(0.6)

    with writer(trickle):
        found = sample(fifo, timeout=0.3)
    assert (found.ended, found.length) == ("timeout", 100)


def test_a_fifo_with_a_good_writer(fifo: Path) -> None:
    with writer(lambda: fifo.write_bytes(GOOD) and None):
        assert sample(fifo).ended == "complete"


@pytest.fixture
def terminal() -> Iterator[tuple[int, str]]:
    master, slave = os.openpty()
    tty.setraw(slave)
    yield master, os.ttyname(slave)
    os.close(slave)


def test_a_terminal_line_that_is_silent(terminal: tuple[int, str]) -> None:
    assert sample(terminal[1], timeout=0.2).ended == "silent"
    os.close(terminal[0])


def test_a_terminal_line_that_is_unplugged_has_vanished(terminal: tuple[int, str]) -> None:
    def unplug() -> None:
        os.write(terminal[0], GOOD[:3000])
        time.sleep(0.2)
        os.close(terminal[0])

    with writer(unplug):
        found = sample(terminal[1])
    assert (found.ended, found.length) == ("vanished", 3000)


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    assert sample(tmp_path / "none").ended == "not_found"
    assert sample(tmp_path / "f" / "none").ended == "not_found"


def test_what_is_no_source(tmp_path: Path) -> None:
    assert (sample(tmp_path).ended, sample(tmp_path).detail) == ("unsuitable", "a directory")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        assert sample(tmp_path / "socket").ended == "not_found"  # ENXIO: nothing behind it to be opened


def test_what_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(GOOD)
    path.chmod(0)
    if os.geteuid() == 0:  # root reads it all the same: let another user try
        child = os.fork()
        if child == 0:
            tmp_path.chmod(0o755)
            os.chdir(tmp_path)
            os.setuid(65534)
            os._exit(0 if device.sample(Sampling("f", BLOCKS, 1.0)).ended == "permission" else 1)
        assert os.waitpid(child, 0)[1] == 0
    else:
        assert sample(path).ended == "permission"


def test_a_read_that_waits_in_the_kernel_is_broken_off(fifo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As /dev/hwrng does: poll() says ready, and a read that should not wait waits."""
    real_open = os.open
    keep = real_open(fifo, os.O_RDWR)
    monkeypatch.setattr(os, "open", lambda path, flags: real_open(path, flags & ~os.O_NONBLOCK))
    monkeypatch.setattr(device.select, "poll", AlwaysReady)
    assert sample(fifo, timeout=0.3).ended == "silent"
    os.close(keep)


class AlwaysReady:
    def register(self, *_: object) -> None: ...

    def poll(self, _timeout: float) -> list[int]:
        return [1]


def test_a_device_that_says_try_again_is_asked_again(fifo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep = os.open(fifo, os.O_RDWR)
    monkeypatch.setattr(device.select, "poll", AlwaysReady)

    def later() -> None:
        time.sleep(0.1)
        os.write(keep, GOOD)

    with writer(later):
        assert sample(fifo).ended == "complete"
    os.close(keep)


def test_the_alarm_is_put_back(tmp_path: Path) -> None:
    def mine(_number: int, _frame: object) -> None: ...

    before = signal.signal(signal.SIGALRM, mine)
    sample(tmp_path / "none")
    assert signal.getsignal(signal.SIGALRM) is mine
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    signal.signal(signal.SIGALRM, before)
