# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the lab remembers of its machines.

Disks, TPM state, logs and the record of a machine lie in its state directory and outlive a boot; sockets and the guardian's
status lie in its run directory, whose paths are short because a UNIX socket's path may have 107 bytes only.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from lab.errors import LabError
from lab.process import ProcessId
from lab.spec import MachineSpec, check_name

# 107 bytes, less a name twice (30 each) and "/uml/" and "/mconsole" around it.
_LONGEST_RUN_ROOT = 30


def state_root() -> Path:
    """Where the machines' state directories lie: ROOTOFTRUST_LAB_STATE, or the user's XDG state directory."""
    chosen = os.environ.get("ROOTOFTRUST_LAB_STATE")
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return Path(base) / "rootoftrust-lab"


def run_root() -> Path:
    """Where the machines' run directories lie: ROOTOFTRUST_LAB_RUN, or /run/rot-lab."""
    chosen = Path(os.environ.get("ROOTOFTRUST_LAB_RUN") or "/run/rot-lab")
    if len(str(chosen)) > _LONGEST_RUN_ROOT:
        raise LabError(f"{chosen}: too long a path for sockets: set ROOTOFTRUST_LAB_RUN to a shorter one")
    return chosen


@dataclass(frozen=True)
class Record:
    """A machine that exists.

    :ivar spec: what was asked for; its engine is the one chosen, never "auto".
    :ivar uuid: its identity: the DMI UUID (QEMU), the machine-id given at a clone's first boot (UML).
    :ivar mac: the address of its network card.
    :ivar owner: the process it ends with; None: it stays until it is taken down.
    :ivar booted: a login was seen since its disks were made.
    :ivar images: the cached files that its disks and its boot rest on, by their part ("root", "kernel", ...).
    :ivar seconds: what the last start took until the login, or None.
    """

    spec: MachineSpec
    uuid: str
    mac: str
    owner: ProcessId | None = None
    booted: bool = False
    images: dict[str, str] = field(default_factory=dict)
    seconds: float | None = None

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def state_dir(self) -> Path:
        return state_root() / self.name

    @property
    def run_dir(self) -> Path:
        return run_root() / self.name

    @property
    def known_hosts(self) -> Path:
        return self.state_dir / "known_hosts"

    @property
    def console_log(self) -> Path:
        return self.state_dir / "console.log"

    @property
    def namespace(self) -> str:
        return f"rot-{self.name}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Record:
        spec = dict(data["spec"])
        for name in ("disks", "kernel_args", "needs"):
            spec[name] = tuple(spec[name])
        owner = ProcessId(**data["owner"]) if data["owner"] else None
        return cls(**{**data, "spec": MachineSpec(**spec), "owner": owner})


def write_file(path: Path, text: str) -> None:
    """Replace a file as a whole: a reader sees the old text or the new one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def save(record: Record) -> Record:
    """Write the record into its state directory, which is made when missing."""
    record.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    write_file(record.state_dir / "machine.json", json.dumps(record.to_json(), indent=1))
    return record


def update(record: Record, **changes: Any) -> Record:
    """Save the record with some fields changed."""
    return save(replace(record, **changes))


def load(name: str) -> Record | None:
    """The record of a machine, None when there is no such machine."""
    check_name(name)
    path = state_root() / name / "machine.json"
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        return Record.from_json(json.loads(text))
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(f"{path}: not a machine's record ({error}): remove {path.parent}") from error


def names() -> list[str]:
    """The names of all machines, sorted."""
    return sorted(path.parent.name for path in state_root().glob("*/machine.json"))


def load_all() -> list[Record]:
    """All records, by name; one that cannot be read is left to whoever asks for that machine by its name."""
    records = []
    for name in names():
        with contextlib.suppress(LabError):
            records.append(load(name))
    return [record for record in records if record is not None]


def forget(record: Record) -> None:
    """Remove all that is kept of a machine."""
    shutil.rmtree(record.run_dir, ignore_errors=True)
    # The record goes first: a removal that is cut short leaves files without a machine, not a machine without files.
    with contextlib.suppress(FileNotFoundError):
        (record.state_dir / "machine.json").unlink()
    shutil.rmtree(record.state_dir, ignore_errors=True)


@contextlib.contextmanager
def lock(name: str) -> Iterator[None]:
    """One operation at a time per machine, and per purpose that is shared by all ("cpus"); waits for the other."""
    run_root().mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(run_root() / f"{name}.lock", "w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
