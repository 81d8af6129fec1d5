# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``make torture`` in small: cuts of every job, another seed each day; the long run is started by a person."""

from __future__ import annotations

import datetime
import random

import pytest

from tests.torture.__main__ import Settings, shares, torture
from tests.torture.jobs import JOBS
from tests.torture.rig import Profile, Seam, draw, seams_of

CUTS = 20


@pytest.mark.uml
def test_the_next_run_finishes_what_a_power_cut_has_left() -> None:
    settings = Settings(seed=datetime.date.today().toordinal(), engine="uml", workers=2)
    outcomes = torture(list(JOBS), ["13"], CUTS, settings)
    assert len(outcomes) == CUTS
    again = f"again: make torture SEED={settings.seed} CUT=<number> RELEASE=13 ONLY=<job>"
    assert [f"cut {outcome.number}: {outcome.text}: {outcome.error}" for outcome in outcomes if outcome.error] == [], again
    assert sum(outcome.was_cut for outcome in outcomes) > CUTS / 2, "most cuts have to come before the job is over"


LOG = """\
1795.1 write(1</dev/pts/0>, ""..., 3) = 3
1795.2 write(6</dev/ubdb>, ""..., 4096) = 4096
1795.3 fsync(6</dev/ubdb>) = 0
1795.4 ioctl(3</dev/mapper/control>, DM_VERSION, {}) = 0
1795.5 ioctl(3</dev/mapper/control>, DM_TABLE_LOAD, {}) = 0
1795.6 write(7</var/lib/x/LUKS2-temp-1.new>, ""..., 4096) = 4096
1795.7 write(8<socket:[12]>, ""..., 10) = 10
1795.8 unlink("/etc/x") = 0
"""


def test_a_seam_is_known_by_its_number_among_the_calls_of_that_name() -> None:
    assert seams_of("cryptsetup-reencrypt.2", LOG) == [
        Seam("cryptsetup-reencrypt", 2, "write", 2, "the disk"),
        Seam("cryptsetup-reencrypt", 2, "fsync", 1, "the disk"),
        Seam("cryptsetup-reencrypt", 2, "ioctl", 2, "DM_TABLE_LOAD"),
        Seam("cryptsetup-reencrypt", 2, "write", 3, "a header that is being made"),
        Seam("cryptsetup-reencrypt", 2, "unlink", 1, "a name"),
    ]


def test_a_cut_is_drawn_from_the_seed_and_its_number_alone() -> None:
    profile = Profile(tuple(seams_of("python3.1", LOG)), 1.0, 9.0)
    drawn = [[draw(random.Random(f"7-{number}"), profile, True) for number in range(200)] for dummy in range(2)]
    assert drawn[0] == drawn[1]
    assert {moment.kind for moment in drawn[0]} == {"seam", "time", "torn"}
    assert {moment.seam for moment in drawn[0] if moment.seam} == set(profile.seams)
    assert all(1.0 <= moment.seconds <= 9.0 for moment in drawn[0] if moment.kind == "time")


def test_every_cut_has_one_place() -> None:
    parts = shares(["a", "b"], ["12", "13"], 10)
    assert sorted(number for numbers in parts.values() for number in numbers) == list(range(1, 11))
    assert {len(numbers) for numbers in parts.values()} == {2, 3}
