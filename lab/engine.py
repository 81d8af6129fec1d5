# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What an engine is: a way to run a machine. Machines look the same from outside, whichever engine runs them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import cache, command
from lab.guardian import Program
from lab.spec import MachineSpec
from lab.state import Record, write_file


@dataclass(frozen=True)
class Trial:
    """Whether something runs on this host, and what was seen."""

    runs: bool
    seen: str


def trial_once(key: str, attempt: Callable[[], Trial]) -> Trial:
    """The result of this trial since the host's last boot, made now if there is none."""
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    path = cache.root() / "trials" / f"{key}.json"
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        if known["boot_id"] == boot_id:
            return Trial(**known["trial"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        pass
    trial = attempt()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, json.dumps({"boot_id": boot_id, "trial": asdict(trial)}))
    return trial


class Engine(ABC):
    """One way to run machines."""

    #: as in MachineSpec.engine
    name: str
    #: number of virtual CPUs when the machine does not say
    default_cpus: int

    @abstractmethod
    def capabilities(self) -> frozenset[str]:
        """What its machines can have, in the words of MachineSpec.capabilities."""

    @abstractmethod
    def trial(self) -> Trial:
        """Try, in seconds, whether it runs on this host."""

    @abstractmethod
    def boot_timeout(self, record: Record) -> float:
        """Seconds after which a machine that gives no login is taken for dead."""

    @abstractmethod
    def images(self, spec: MachineSpec) -> dict[str, str]:
        """The cached files that such a machine rests on, by their part; made first when missing."""

    @abstractmethod
    def make_disks(self, record: Record) -> None:
        """Fill the state directory with a root disk over the image and with the spare disks."""

    @abstractmethod
    def disk_files(self, record: Record) -> list[Path]:
        """The machine's disks, the root disk first."""

    @abstractmethod
    def disk_devices(self, record: Record) -> list[str]:
        """The paths of the spare disks in the guest."""

    @abstractmethod
    def programs(self, record: Record, resume: str | None) -> list[Program]:
        """The processes of one boot, or of a return to the snapshot ``resume``; the virtual machine is the last."""

    @abstractmethod
    def frozen(self, record: Record) -> AbstractContextManager[None]:
        """Hold the running machine still, so that its disk files can be copied as a power cut would leave them."""

    def clone_disks(self, source: Record, record: Record) -> None:
        """Copy the disks of a machine that stands still."""
        for path in self.disk_files(source):
            command.run(["cp", "--sparse=always", "--reflink=auto", path, record.state_dir / path.name])
