# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a program of the host; a failure becomes a `LabError` that shows its last words."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab.errors import LabError

_LAST_LINES = 15


def run(
    argv: Sequence[str | Path],
    *,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = 900,
) -> str:
    """Return the standard output of ``argv``, run in the C locale.

    ``env`` is added to the environment; ``timeout`` is in seconds.
    Raises LabError with the end of what the program printed when it cannot start, fails, or takes too long.
    """
    command = [str(word) for word in argv]
    try:
        done = subprocess.run(
            command,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C.UTF-8", **(env or {})},
            cwd=cwd,
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as error:
        raise LabError(f"{command[0]}: not found on this host: install the package that has it") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(command[:4])}: not finished after {timeout:.0f} s: see the load of this host") from error
    if done.returncode != 0:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-_LAST_LINES:])
        raise LabError(f"{' '.join(command[:4])}: ended with status {done.returncode}:\n{last}")
    return done.stdout
