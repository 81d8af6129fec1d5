# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Progress of long work, on standard error, so that standard output stays for results."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

_output = threading.Lock()


def say(text: str) -> None:
    """Print one whole line."""
    with _output:
        print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def step(text: str) -> Iterator[None]:
    """Announce ``text``, and say how many seconds it took, or that it failed."""
    say(f"{text} …")
    start = time.monotonic()
    try:
        yield
    except BaseException:
        say(f"{text}: failed after {time.monotonic() - start:.1f} s")
        raise
    say(f"{text}: done in {time.monotonic() - start:.1f} s")
