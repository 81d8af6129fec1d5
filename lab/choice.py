# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which engine runs a machine: the quickest that has all it needs and that runs on this host."""

from __future__ import annotations

from dataclasses import dataclass

from lab.engine import Engine
from lab.errors import LabError
from lab.qemu import Qemu
from lab.spec import MachineSpec
from lab.uml import Uml

#: by name, the quickest first
ENGINES: dict[str, Engine] = {engine.name: engine for engine in (Uml(), Qemu())}


@dataclass(frozen=True)
class Finding:
    """What is known of an engine on this host: ``seen`` is the reason when it does not run."""

    engine: str
    runs: bool
    seen: str
    capabilities: frozenset[str]


def survey() -> list[Finding]:
    """Try all engines, the quickest first."""
    return [_find(engine) for engine in ENGINES.values()]


def _find(engine: Engine) -> Finding:
    try:
        trial = engine.trial()
        return Finding(engine.name, trial.runs, trial.seen, engine.capabilities())
    except LabError as error:
        return Finding(engine.name, False, str(error), frozenset())


def choose(spec: MachineSpec) -> Engine:
    """The engine for this machine; LabError with the reason for each engine that was considered when there is none."""
    reasons = []
    for engine in ENGINES.values():
        if spec.engine not in ("auto", engine.name):
            continue
        finding = _find(engine)
        lacking = spec.capabilities() - finding.capabilities
        if finding.runs and not lacking:
            return engine
        reasons.append(f"{engine.name}: {'has no ' + ', '.join(sorted(lacking)) if finding.runs else finding.seen}")
    raise LabError(f"machine {spec.name}: no engine for it ({'; '.join(reasons)}): see `python -m lab engines`")
