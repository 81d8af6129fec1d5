# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The driver counts right, and a stage cannot fail without being counted."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tools import check

JUNIT = """\
<testsuites><testsuite>
  <testcase classname="tests.a" name="good"/>
  <testcase classname="tests.a" name="bad"><failure message="assert 1 == 2&#10;more">trace</failure></testcase>
  <testcase classname="tests.a" name="broken"><error message="no fixture"/></testcase>
  <testcase classname="tests.a" name="left out"><skipped message="no KVM here"/></testcase>
</testsuite></testsuites>
"""


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(check, "ROOT", tmp_path)
    for name in ("LOGS", "REPORTS"):
        monkeypatch.setattr(check, name, tmp_path / name)
        (tmp_path / name).mkdir()
    return tmp_path


def session(name: str, result: str, reason: str | None = None) -> dict[str, object]:
    return {"name": name, "signatures": [name], "result": result, "reason": reason}


def stage(code: str, *sessions: dict[str, object], limit: int = 30, counts: bool = True) -> check.Stage:
    """Return a stage that runs some Python and whose nox would have reported these sessions."""
    if sessions:
        (check.REPORTS / "stage.json").write_text(json.dumps({"sessions": sessions}))
    return check.Stage("stage", (sys.executable, "-c", code), limit, counts)


def junit(name: str, text: str = JUNIT) -> None:
    (check.REPORTS / name).mkdir()
    (check.REPORTS / name / "junit.xml").write_text(text)


def test_junit_files_are_added_up_with_their_reasons() -> None:
    junit("unit")
    tally = check.run_lanes([stage("", session("unit", "failed"))])
    assert str(tally) == "1 passed, 2 failed, 1 skipped"
    assert tally.failed[0] == "unit tests.a::bad: assert 1 == 2"
    assert tally.skipped == ["unit tests.a::left out: no KVM here"]


def test_a_session_without_junit_is_one_test() -> None:
    sessions = session("ruff", "success"), session("mypy", "failed"), session("qemu", "skipped", "not here")
    tally = check.run_lanes([stage("raise SystemExit(1)", *sessions)])
    assert str(tally) == "1 passed, 1 failed, 1 skipped"
    assert tally.skipped == ["qemu: not here"]


def test_a_session_that_fails_though_its_tests_passed_counts_as_failed() -> None:
    junit("unit", '<testsuite><testcase classname="a" name="good"/></testsuite>')
    assert str(check.run_lanes([stage("", session("unit", "failed"))])) == "1 passed, 1 failed, 0 skipped"


@pytest.mark.parametrize("counts", [True, False])
def test_a_stage_that_crashes_before_it_reports_counts_as_failed(counts: bool) -> None:
    tally = check.run_lanes([stage("raise SystemExit(3)", counts=counts)])
    assert tally.failed == ["stage: exit status 3"]


def test_a_stage_that_ran_no_test_counts_as_failed() -> None:
    tally = check.run_lanes([stage("")])
    assert tally.failed == ["stage: ran no test"]


def test_a_stage_is_ended_at_its_time_limit() -> None:
    tally = check.run_lanes([stage("import time; time.sleep(60)", limit=1)])
    assert tally.failed == ["stage: over its time limit of 1 s"]


def test_the_end_of_the_log_of_a_failed_stage_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    check.run_lanes([stage("print('the cause'); raise SystemExit(1)")])
    assert "the cause" in capsys.readouterr().out


def test_lanes_run_side_by_side_and_their_stages_in_turn(tmp_path: Path) -> None:
    order = tmp_path / "order"
    write = f"open({str(order)!r}, 'a').write"
    first = stage(f"import time; time.sleep(0.6); {write}('1')", counts=False)
    second = stage(f"{write}('2')", counts=False)
    other = stage(f"{write}('o')", counts=False)
    assert str(check.run_lanes([first, second], [other])) == "0 passed, 0 failed, 0 skipped"
    assert order.read_text() == "o12"


def test_a_stage_whose_images_failed_is_not_run_and_counts_as_failed() -> None:
    needy = check.Stage("uml", (sys.executable, "-c", ""), 30, needs=("image-uml", "image-qemu"))
    tally = check.run_lanes([needy], failed=frozenset({"image-uml", "ruff"}))
    assert tally.failed == ["uml: not run, for image-uml failed"]
