# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When a header backup is made, and which old ones go."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import plan_backups as plan
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import BackedUp, BackupRule, BackupState, HeaderBackup

PARAMS = {"folder": "/b", "keep": None, "mode": "0400"}


def backups(*digests: str | None, mode: int = 0o400) -> tuple[HeaderBackup, ...]:
    return tuple(HeaderBackup(f"/b/{number}", f"t{number}", digest, mode) for number, digest in enumerate(digests))


def state(*digests: str | None, keep: int | None = None, mode: int = 0o400, **fields: Any) -> BackupState:
    volume = BackedUp("/dev/x", "/dev/x", "uuid", "now", backups(*digests, mode=mode), **fields)
    return BackupState(BackupRule("/b", keep, 0o400), (volume,))


def steps(found: BackupState) -> list[tuple[str, str]]:
    return [(step.action, step.subject) for step in plan.plan_backups(found)]


MADE = ("back_up", "/dev/x")
CASES: dict[str, tuple[BackupState, list[tuple[str, str]]]] = {
    "none": (state(), [MADE]),
    "the newest is right": (state("old", "now"), []),
    "an older one is right": (state("now", "old"), [MADE]),
    "the newest is broken": (state("now", None), [MADE]),
    "all old ones are kept": (state("a", "b", "c", "now"), []),
    "old ones go": (state("a", "b", "c", "now", keep=1), [("remove", "/b/0"), ("remove", "/b/1")]),
    "old ones go after the new one": (state("a", "b", "c", keep=2), [MADE, ("remove", "/b/0")]),
    "none is kept": (state("a", "b", keep=0), [MADE, ("remove", "/b/0"), ("remove", "/b/1")]),
    "the only one stays": (state("now", keep=0), []),
    "the mode": (state("a", "now", keep=0, mode=0o600), [("protect", "/b/1"), ("remove", "/b/0")]),
    "rests": (state("now", rests=("/b/.uuid-1.part",)), [("tidy", "/b/.uuid-1.part")]),
}


@pytest.mark.parametrize("case", CASES)
def test_what_is_to_be_done(case: str) -> None:
    found, expected = CASES[case]
    assert steps(found) == expected


def test_the_reason_is_told() -> None:
    assert "there is none yet" in plan.plan_backups(state())[0].sentence
    (step,) = plan.plan_backups(state("old"))
    assert "it is not as it was at t0" in step.sentence
    assert (step.before, step.after) == ({"digest": "old"}, {"digest": "now"})


def test_the_report_is_of_what_will_be() -> None:
    found = state("a", "b", keep=1, within=True)
    told = plan.report_backups(found, plan.plan_backups(found))
    assert told["devices"] == [{"device": "/dev/x", "uuid": "uuid", "digest": "now", "path": None, "older": ["/b/1"]}]
    assert "in that volume itself" in told["warnings"][0]
    now = plan.report_backups(state("a", "now"), ())
    assert (now["devices"][0]["path"], now["devices"][0]["older"], now["warnings"]) == ("/b/1", ["/b/0"], [])


def test_two_headers_of_one_uuid_are_refused() -> None:
    found = BackupState(BackupRule("/b", None, 0o400), (BackedUp("/dev/x", "/dev/x", "u", "1"), BackedUp("/dev/y", "/dev/y", "u", "2")))
    with pytest.raises(RootOfTrustError, match="/dev/x, /dev/y have one UUID, u"):
        plan.plan_backups(found)


def test_how_backups_are_kept() -> None:
    assert plan.backup_rule({**PARAMS, "keep": 3, "mode": "0640"}) == BackupRule("/b", 3, 0o640)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"folder": "b"}, "not absolute"),
        ({"keep": -1}, "-1 older"),
        ({"mode": "0644"}, "refused"),
        ({"mode": "0460"}, "refused"),
        ({"mode": "0200"}, "refused"),
        ({"mode": "0700"}, "refused"),
        ({"mode": "256"}, "four octal digits"),
        ({"mode": "u=r"}, "four octal digits"),
    ],
)
def test_how_they_are_not(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RootOfTrustError, match=message):
        plan.backup_rule({**PARAMS, **change})


DIGEST = st.sampled_from(["now", "old", None])


@given(st.lists(DIGEST, max_size=6), st.none() | st.integers(0, 4), st.booleans())
def test_cut_after_any_step_one_more_run_leads_there_and_a_good_one_never_goes(
    digests: list[str | None], keep: int | None, rest: bool
) -> None:
    """A model folder: after each prefix of the plan the next plan leads to the goal; once there is a right backup there always is."""
    found = state(*digests, keep=keep, rests=("/b/.rest",) if rest else ())
    whole = plan.plan_backups(found)
    for cut in range(len(whole) + 1):
        now = found
        for step in whole[:cut]:
            now = _done(now, step.action, step.subject)
            if (digests and digests[-1] == "now") or any(earlier.action == "back_up" for earlier in whole[: whole.index(step) + 1]):
                assert now.volumes[0].backups[-1].digest == "now"
        for step in plan.plan_backups(now):
            now = _done(now, step.action, step.subject)
        assert plan.plan_backups(now) == []
        assert now.volumes[0].backups[-1].digest == "now"
        assert keep is None or len(now.volumes[0].backups) <= keep + 1


def _done(found: BackupState, action: str, subject: str) -> BackupState:
    (volume,) = found.volumes
    kept, rests = volume.backups, volume.rests
    if action == "back_up":
        kept = (*kept, HeaderBackup("/b/new", "t9", volume.digest, 0o400))
    elif action == "remove":
        kept = tuple(backup for backup in kept if backup.path != subject)
    elif action == "tidy":
        rests = tuple(rest for rest in rests if rest != subject)
    return BackupState(found.rule, (BackedUp(volume.device, volume.header_path, volume.uuid, volume.digest, kept, rests),))
