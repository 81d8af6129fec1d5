# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``make torture``: cut the power of machines at work with LUKS volumes, boot them, let the next run finish the work, and look.

Each cut is drawn from the seed and its own number alone, so that one can be done again by itself.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random

from lab.errors import LabError
from tests.torture.jobs import JOBS, Broken, Job
from tests.torture.rig import Profile, Rig, draw

_printing = threading.Lock()


@dataclass(frozen=True)
class Outcome:
    """What became of one cut; ``error`` is empty if all that must hold did."""

    number: int
    text: str
    was_cut: bool
    ways: tuple[str, ...]
    seconds: float
    error: str = ""


@dataclass(frozen=True)
class Settings:
    """What was asked for."""

    seed: int
    engine: str
    workers: int


def say(text: str) -> None:
    with _printing:
        print(text, flush=True)


def one_cut(job: Job, profile: Profile, seed: int, number: int) -> Outcome:
    """One cut of a machine whose disks are put back first."""
    rig = job.rig
    moment = draw(Random(f"{seed}-{number}"), profile, job.tears and rig.machine.engine == "uml")
    started = time.monotonic()
    said, ways, error = "", [], ""
    try:
        rig.put_back()
        said = rig.cut(job.tasks(), moment)
        rig.machine.start()
        ways = job.ways_in()
        if not ways:
            raise Broken("there is no way in")
        runs = job.finish()
        said += f"; {runs} run{'' if runs == 1 else 's'} to the end"
        job.check()
    except (Broken, LabError) as found:
        error = str(found)
    text = f"{job.name} on {rig.release}, {moment}: {said}; way in: {', '.join(ways) or 'none'}"
    return Outcome(number, text, said.startswith("cut"), tuple(ways), time.monotonic() - started, error)


def group(name: str, release: str, numbers: Sequence[int], settings: Settings) -> list[Outcome]:
    """All cuts of one job on one machine."""
    kind = JOBS[name]
    rig = Rig(f"torture-{name}-{release}-{os.getpid()}"[:30], release, settings.engine, kind.disk[settings.engine])
    outcomes = []
    try:
        job = kind(rig)
        job.prepare()
        rig.keep()
        profile = rig.dry(job.tasks())
        say(f"{name} on {release}: {profile.ends - profile.begins:.1f} s of work with {len(profile.seams)} seams in it")
        for number in numbers:
            outcome = one_cut(job, profile, settings.seed, number)
            say(f"{number:4} {'BROKEN' if outcome.error else 'ok':6} {outcome.seconds:5.1f} s  {outcome.text}")
            if outcome.error:
                say(f"            {outcome.error}")
                say(f"            again: make torture SEED={settings.seed} CUT={number} ENGINE={settings.engine} {_choice(name, release)}")
            outcomes.append(outcome)
    finally:
        rig.close()
    return outcomes


def _choice(name: str, release: str) -> str:
    return f"RELEASE={release} ONLY={name}"


def shares(names: Sequence[str], releases: Sequence[str], count: int) -> dict[tuple[str, str], list[int]]:
    """Which cuts each job on each release gets: in turns."""
    kinds = [(name, release) for release in releases for name in names]
    return {kind: list(range(1 + place, count + 1, len(kinds))) for place, kind in enumerate(kinds)}


def torture(names: Sequence[str], releases: Sequence[str], count: int, settings: Settings, cut: int | None = None) -> list[Outcome]:
    """All the cuts; each group on its own machine, so many at once as there are workers."""
    wanted = shares(names, releases, count) if cut is None else {(names[0], releases[0]): [cut]}
    outcomes: list[Outcome] = []
    with ThreadPoolExecutor(settings.workers) as pool:
        waiting = [pool.submit(group, *kind, numbers, settings) for kind, numbers in wanted.items() if numbers]
        for future in waiting:
            outcomes += future.result()
    return sorted(outcomes, key=lambda outcome: outcome.number)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make torture", description="Cut the power of machines at work with LUKS volumes.")
    parser.add_argument("--count", "-N", type=int, default=100, help="cuts (default: 100)")
    parser.add_argument("--seed", type=int, help="what all cuts are drawn from (default: random, and printed)")
    parser.add_argument("--engine", choices=("uml", "qemu"), default="uml")
    parser.add_argument("--release", default="13", help="Debian releases, with commas (default: 13)")
    parser.add_argument("--only", default=",".join(JOBS), help=f"jobs, with commas (default: {','.join(JOBS)})")
    parser.add_argument("--cut", type=int, help="only the cut of this number; takes one job and one release")
    parser.add_argument("--workers", type=int, default=2, help="machines at a time (default: 2)")
    asked = parser.parse_args(argv)
    names, releases = asked.only.split(","), asked.release.split(",")
    unknown = sorted(set(names) - set(JOBS))
    if unknown:
        parser.error(f"no such job: {', '.join(unknown)}")
    if asked.cut is not None and (len(names), len(releases)) != (1, 1):
        parser.error("--cut needs one job and one release")
    settings = Settings(secrets.randbelow(10**6) if asked.seed is None else asked.seed, asked.engine, asked.workers)
    say(
        f"seed {settings.seed}, {1 if asked.cut is not None else asked.count} cuts, {settings.engine}, Debian {asked.release}, {asked.only}"
    )
    started = time.monotonic()
    outcomes = torture(names, releases, asked.count, settings, asked.cut)
    broken = [outcome for outcome in outcomes if outcome.error]
    ways = Counter(way for outcome in outcomes for way in outcome.ways)
    say(
        f"seed {settings.seed}: {len(outcomes)} cuts in {time.monotonic() - started:.0f} s, {sum(outcome.was_cut for outcome in outcomes)}"
        f" before the job was over; ways in: {', '.join(f'{way} {count}' for way, count in ways.most_common())}; broken: {len(broken)}"
    )
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
