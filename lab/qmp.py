# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU's machine protocol: JSON lines over a UNIX socket (https://www.qemu.org/docs/master/interop/qmp-spec.html)."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from types import TracebackType
from typing import Any

from lab.errors import LabError


class Qmp:
    """A conversation with one QEMU, as a context manager."""

    def __init__(self, path: Path, timeout: float = 60.0) -> None:
        """Connect; ``timeout`` (seconds) holds for each answer."""
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(str(path))
        except OSError as error:
            self._socket.close()
            raise LabError(f"{path}: QEMU does not answer ({error}): is the machine running?") from error
        self._stream = self._socket.makefile("rw", encoding="utf-8")
        self._read()
        self.execute("qmp_capabilities")

    def __enter__(self) -> Qmp:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stream.close()
        self._socket.close()

    def _read(self) -> dict[str, Any]:
        try:
            line = self._stream.readline()
        except OSError as error:
            raise LabError(f"{self._path}: QEMU gave no answer ({error}): kill the machine and start it again") from error
        if not line:
            raise LabError(f"{self._path}: QEMU ended in the middle of the conversation: see its log")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run a command and return its result; events that come in between are passed over."""
        self._stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self._stream.flush()
        while True:
            answer = self._read()
            if "error" in answer:
                raise LabError(f"{self._path}: {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def human(self, line: str) -> None:
        """Run a command of the human monitor that says nothing when it succeeds."""
        said = self.execute("human-monitor-command", **{"command-line": line})
        if said.strip():
            raise LabError(f"{self._path}: {line}: {said.strip()}")
