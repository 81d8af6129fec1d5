# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the models of an encryption and of a decryption in place share: their ends, and the programs that do the same in both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_encryption import Background, Note


class Cut(BaseException):
    """kill -9, or the power goes."""


class Lost(AssertionError):
    """The data is lost, or about to be."""


class HostWorld(Protocol):
    """A host with one volume, in as far as it is the same in both."""

    notes: dict[str, Note]
    units: set[str]
    background: str
    mounted: str | None

    def tick(self) -> None:
        """One write has been reached: the place of a cut."""


class HostPrograms:
    """mounts.py, systemd.py and notes.py, in as far as both use them in the same way."""

    def __init__(self, world: HostWorld) -> None:
        self._host = world

    @staticmethod
    def path(named: str) -> str:
        return named

    def version(self) -> tuple[int, ...]:
        return (2, 7, 5)

    # mounts

    def below(self, _target: str) -> tuple[str, ...]:
        return ()

    def busy(self, _target: str, _units: Sequence[str]) -> tuple[()]:
        return ()

    def unmount(self, _target: str) -> None:
        self._host.tick()
        self._host.mounted = None

    # systemd

    def runs(self) -> bool:
        return True

    def background(self, _name: str) -> Background:
        return Background("u.service", self._host.background != "none", self._host.background == "active")

    def down(self, units: Iterable[str]) -> tuple[str, ...]:
        return tuple(unit for unit in units if unit not in self._host.units)

    def stop(self, units: Sequence[str]) -> None:
        self._host.tick()
        self._host.units -= set(units)

    def start(self, units: Sequence[str]) -> None:
        self._host.tick()
        self._host.units |= set(units)

    def settle(self) -> None:
        pass

    # notes

    def all(self) -> list[Note]:
        return list(self._host.notes.values())

    def write(self, note: Note) -> None:
        self._host.tick()
        self._host.notes[note.name] = note

    def remove(self, note: Note) -> None:
        self._host.tick()
        self._host.notes.pop(note.name, None)
