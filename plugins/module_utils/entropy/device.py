# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A device or file as a source of bytes, read with a deadline and without ever hanging on it."""

from __future__ import annotations

import errno
import os
import select
import signal
import stat
import time
from contextlib import contextmanager
from typing import Any, Callable, Iterator

from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy import fips
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.model import Sample, Sampling

CHUNK = 65536
SHORT_PAUSE, LONG_PAUSE = 0.0002, 0.02  # seconds between tries, doubled from one to the next, on a device that has nothing though
# poll() calls it ready: /dev/hwrng cannot be polled
GONE = (errno.ENODEV, errno.ENXIO, errno.EIO)
MEANING = {  # what a failure to open or to begin reading says of the source
    errno.ENOENT: "not_found",
    errno.ENOTDIR: "not_found",
    errno.ENODEV: "not_found",
    errno.ENXIO: "not_found",
    errno.EACCES: "permission",
    errno.EPERM: "permission",
}


class _Over(Exception):
    """The time is over."""


class _Ended(Exception):
    """The source gives no more."""

    def __init__(self, how: str, detail: str = "") -> None:
        super().__init__(how)
        self.how = how
        self.detail = detail


def sample(sampling: Sampling) -> Sample:
    """Read a source and judge its blocks.

    A source that cannot be opened, gives nothing, too little, or ends is no exception but a sample that says so.
    """
    tester = fips.Tester()
    wanted = fips.bytes_for(sampling.blocks)
    start = time.monotonic()
    length = 0

    def take(data: bytes) -> None:
        nonlocal length
        length += len(data)
        tester.feed(data)

    how, detail = "complete", ""
    try:
        with _alarm(sampling.timeout):
            _read(sampling.source, wanted, start + sampling.timeout, take)
    except _Over:
        how = "timeout" if length else "silent"
    except _Ended as end:
        how, detail = end.how, end.detail
    seconds = time.monotonic() - start
    return Sample(how, length, seconds, tester.blocks, tester.failures, tester.failed, detail)


def _read(path: str, wanted: int, deadline: float, take: Callable[[bytes], None]) -> None:
    """Hand over exactly ``wanted`` bytes in pieces, or raise _Over or _Ended."""
    descriptor = _open(path)
    try:
        regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        got, pause = 0, SHORT_PAUSE
        while got < wanted:
            left = deadline - time.monotonic()
            if left <= 0:
                raise _Over
            if not poll.poll(left * 1000):
                continue
            data = _piece(descriptor, min(CHUNK, wanted - got), got, regular)
            if not data:
                time.sleep(min(pause, left))
                pause = min(2 * pause, LONG_PAUSE)
                continue
            pause = SHORT_PAUSE
            got += len(data)
            take(data)
    finally:
        os.close(descriptor)


def _piece(descriptor: int, size: int, got: int, regular: bool) -> bytes:
    """What there is now, at most ``size`` bytes; empty when there is nothing yet."""
    try:
        data = os.read(descriptor, size)
    except BlockingIOError:
        return b""
    except OSError as error:
        if got or error.errno not in MEANING:
            raise _Ended("vanished" if error.errno in GONE else "unsuitable", error.strerror or "") from None
        raise _Ended(MEANING[error.errno], error.strerror or "") from None
    if not data:
        raise _Ended("short" if regular else "vanished", "end of file")
    return data


def _open(path: str) -> int:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise _Ended(MEANING.get(error.errno or 0, "unsuitable"), error.strerror or "") from None
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _Ended("unsuitable", "a directory")
    return descriptor


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise _Over when the time is over, also out of a read that waits.

    /dev/hwrng waits for a lock that the kernel's own thread may hold, even when opened non-blocking.
    """

    def over(_number: int, _frame: Any) -> None:
        raise _Over

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
