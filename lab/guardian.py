# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The process between a machine and its owner.

It is the parent of the virtual machine's processes, which die with it. It holds a lock for as long as it lives, waits, and acts:

- the owner ended, in whatever way: the machine, its network and its files are removed;
- SIGUSR1, a power cut: the machine's processes are killed, everything else stays;
- SIGTERM: power cut, then the guardian itself ends.

Without an owner it ends with the virtual machine.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from lab import network, state
from lab.errors import LabError
from lab.process import die_with_parent

# A program that has not opened its socket by then never will (seconds; swtpm needs 0.05).
_SOCKET_TIMEOUT = 10.0


@dataclass(frozen=True)
class Program:
    """One process of a machine.

    :ivar argv: its command line.
    :ivar log: file that gets its output; written anew.
    :ivar socket: UNIX socket that must exist before the next program is started, or None.
    """

    argv: list[str]
    log: str
    socket: str | None = None


@dataclass(frozen=True)
class Status:
    """What the guardian tells about itself.

    :ivar pid: of the guardian.
    :ivar running: whether the virtual machine runs.
    :ivar vm: process id of the virtual machine (the last of its programs).
    :ivar since: when it was started (seconds since the epoch).
    :ivar exit_code: of a virtual machine that has ended; negative: the signal.
    """

    pid: int
    running: bool
    vm: int
    since: float
    exit_code: int | None = None


# ---------------------------------------------------------------------------------------------------- seen from outside


def _lock_path(record: state.Record) -> Path:
    return record.run_dir / "guardian.lock"


def _alive(record: state.Record) -> bool:
    """Whether the machine has a guardian: the lock is the proof, a pid would not be."""
    try:
        with open(_lock_path(record), encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def status(record: state.Record) -> Status | None:
    """What the machine's guardian says; None when there is none."""
    if not _alive(record):
        return None
    try:
        return Status(**json.loads((record.run_dir / "guardian.json").read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def start(record: state.Record, programs: list[Program]) -> None:
    """Start a guardian with these programs, the virtual machine last; LabError when one of them does not start."""
    dismiss(record)
    record.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    order = record.run_dir / "programs.json"
    state.write_file(order, json.dumps([asdict(program) for program in programs]))
    package_parent = str(Path(__file__).resolve().parent.parent)
    done = subprocess.run(
        [sys.executable, "-m", "lab.guardian", record.name],
        env={**os.environ, "PYTHONPATH": package_parent},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        start_new_session=True,
    )
    if done.returncode != 0:
        raise LabError(done.stderr.strip() or f"machine {record.name}: its guardian ended with {done.returncode}")


def cut_power(record: state.Record, timeout: float = 10.0) -> None:
    """Kill the virtual machine; return when it is gone. Nothing happens when it does not run."""
    _signal_until(record, signal.SIGUSR1, lambda seen: seen is None or not seen.running, timeout)


def dismiss(record: state.Record, timeout: float = 10.0) -> None:
    """End the guardian, and with it a virtual machine that runs."""
    _signal_until(record, signal.SIGTERM, lambda seen: seen is None, timeout)


def wait_stopped(record: state.Record, timeout: float) -> bool:
    """Whether the virtual machine ends by itself within ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        seen = status(record)
        if seen is None or not seen.running:
            return True
        time.sleep(0.05)
    return False


def _signal_until(record: state.Record, number: int, reached: Callable[[Status | None], bool], timeout: float) -> None:
    """Send the guardian a signal and wait for its effect; LabError when that does not come."""
    seen = status(record)
    if reached(seen) or seen is None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(seen.pid, number)
    deadline = time.monotonic() + timeout
    while not reached(status(record)):
        if time.monotonic() > deadline:
            raise LabError(
                f"machine {record.name}: its guardian (pid {seen.pid}) did not act on signal {number} within {timeout:g} s: "
                f"read {record.state_dir / 'guardian.log'}"
            )
        time.sleep(0.01)


# ---------------------------------------------------------------------------------------------------------- the process


class _Guardian:
    """The children of the guardian and what happens to them."""

    def __init__(self, record: state.Record) -> None:
        self._record = record
        self._children: list[subprocess.Popen[bytes]] = []
        self._since = time.time()

    def start(self, programs: list[Program]) -> None:
        """Start the programs in order; LabError when one cannot be started or does not open its socket."""
        for program in programs:
            if program.socket is not None:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(program.socket)
            self._children.append(self._spawn(program))
            if program.socket is not None:
                self._wait_for_socket(program)
        self.tell(running=True)

    def _spawn(self, program: Program) -> subprocess.Popen[bytes]:
        with open(program.log, "wb") as log:
            try:
                return subprocess.Popen(
                    program.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=die_with_parent,
                )
            except OSError as error:
                raise LabError(f"{program.argv[0]}: does not start: {error}: is its package installed?") from error

    def _wait_for_socket(self, program: Program) -> None:
        deadline = time.monotonic() + _SOCKET_TIMEOUT
        while not Path(program.socket or "").exists():
            if self._children[-1].poll() is not None or time.monotonic() > deadline:
                raise LabError(f"{program.argv[0]}: opened no socket {program.socket}: read {program.log}")
            time.sleep(0.01)

    def tell(self, running: bool, exit_code: int | None = None) -> None:
        """Write the status file."""
        status = Status(os.getpid(), running, self._children[-1].pid, self._since, exit_code)
        state.write_file(self._record.run_dir / "guardian.json", json.dumps(asdict(status)))

    def cut_power(self) -> None:
        """Kill all that belongs to the virtual machine, and connections into it."""
        for child in reversed(self._children):
            # Not yet waited for, so the pid still is the child's and its process group's.
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
        network.clear(self._record.namespace)
        if self._children:
            self.tell(running=False, exit_code=self._children[-1].returncode)

    def watch(self) -> None:
        """Act on what happens until there is nothing more to watch."""
        with selectors.DefaultSelector() as selector:
            signals = _signal_source()
            selector.register(signals, selectors.EVENT_READ, "signal")
            vm = os.pidfd_open(self._children[-1].pid)
            selector.register(vm, selectors.EVENT_READ, "vm")
            owner = self._record.owner.open() if self._record.owner else None
            if owner is not None:
                selector.register(owner, selectors.EVENT_READ, "owner")
            elif self._record.owner is not None:
                return self._remove()
            while True:
                events = {key.data for key, dummy in selector.select()}
                if "owner" in events:
                    return self._remove()
                received = signals.recv(16) if "signal" in events else b""
                if signal.SIGTERM in received:
                    return self.cut_power()
                if (signal.SIGUSR1 in received or "vm" in events) and vm in selector.get_map():
                    selector.unregister(vm)
                    self.cut_power()
                    if owner is None:
                        return None

    def _remove(self) -> None:
        self.cut_power()
        network.delete(self._record.namespace)
        state.forget(self._record)


def _signal_source() -> socket.socket:
    """A socket that gives the number of each signal received, as one byte."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    signal.set_wakeup_fd(writer.detach())
    for number in (signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, lambda _number, _frame: None)
    return reader


@contextlib.contextmanager
def _held_lock(record: state.Record) -> Iterator[None]:
    with open(_lock_path(record), "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            with contextlib.suppress(FileNotFoundError):
                (record.run_dir / "guardian.json").unlink()


def _guard(record: state.Record, programs: list[Program], ready: IO[str]) -> None:
    """The life of the guardian; an error at the start goes to ``ready``, which is then closed."""
    with _held_lock(record):
        guardian = _Guardian(record)
        try:
            guardian.start(programs)
        except LabError as error:
            guardian.cut_power()
            ready.write(str(error))
            return
        finally:
            ready.close()
        guardian.watch()


def main(name: str) -> int:
    """Start the guardian of a machine in the background; 0 when its programs run, else their error on stderr."""
    record = state.load(name)
    if record is None:
        raise LabError(f"machine {name}: does not exist: make it with `python -m lab up {name}`")
    order = json.loads((record.run_dir / "programs.json").read_text(encoding="utf-8"))
    programs = [Program(**program) for program in order]
    reader, writer = os.pipe()
    if os.fork() != 0:
        # This process ends as soon as the guardian is ready, so init becomes its parent and no zombie is left to anyone.
        os.close(writer)
        with open(reader, encoding="utf-8") as answer:
            error = answer.read()
        print(error, end="", file=sys.stderr)
        return 1 if error else 0
    os.close(reader)
    os.chdir("/")
    with open(record.state_dir / "guardian.log", "wb") as log:
        os.dup2(log.fileno(), 2)
    with open(writer, "w", encoding="utf-8") as ready:
        _guard(record, programs, ready)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
