# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The flow of read, plan and apply, on a small object of the test's own: numbers in a dictionary."""

from __future__ import annotations

from typing import Any, NoReturn

import pytest

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import converge, observe
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step


class Left(Exception):
    """How the recorder below ends a module, as exit_json and fail_json end the process."""


class Recorder:
    def __init__(self, check_mode: bool = False) -> None:
        self.check_mode = check_mode
        self.result: dict[str, Any] = {}
        self.warned: list[str] = []

    def warn(self, warning: str) -> None:
        self.warned.append(warning)

    def exit_json(self, **result: Any) -> NoReturn:
        self.result = result
        raise Left

    def fail_json(self, msg: str, **result: Any) -> NoReturn:
        self.result = {"failed": True, "msg": msg, **result}
        raise Left


class Shelf:
    """The system of these tests: names and numbers, with a switch for each way in which applying can go wrong."""

    def __init__(self, **numbers: int) -> None:
        self.numbers = numbers
        self.applied: list[str] = []
        self.reads = 0
        self.broken: Exception | None = None
        self.deaf = False

    def read(self, desired: dict[str, int]) -> dict[str, int | None]:
        self.reads += 1
        return {name: self.numbers.get(name) for name in desired}

    def apply(self, step: Step) -> None:
        if self.broken and step.subject == "b":
            raise self.broken
        self.applied.append(step.subject)
        if not self.deaf:
            self.numbers[step.subject] = step.detail


def plan(current: dict[str, int | None], desired: dict[str, int]) -> list[Step]:
    return [
        Step(name, "set", f"set {name} to {value}", {"value": current[name]}, {"value": value}, detail=value)
        for name, value in desired.items()
        if current[name] != value
    ]


def run(shelf: Shelf, desired: dict[str, int], check: bool = False, planner: Any = plan) -> dict[str, Any]:
    module = Recorder(check)
    with pytest.raises(Left):
        converge(
            module,
            desired=desired,
            read=shelf.read,
            plan=planner,
            apply=shelf.apply,
            report=lambda current, to_come: {"current": current, "to_come": len(to_come)},
        )
    return module.result


def test_a_run_does_all_steps_in_order_and_says_them() -> None:
    shelf = Shelf(a=1)
    result = run(shelf, {"a": 2, "b": 3})
    assert shelf.applied == ["a", "b"]
    assert result["changed"] is True
    assert result["steps"] == ["set a to 2", "set b to 3"]
    assert result["diff"] == {"before": {"a": {"value": 1}, "b": {"value": None}}, "after": {"a": {"value": 2}, "b": {"value": 3}}}
    assert result["current"] == {"a": 2, "b": 3}
    assert result["to_come"] == 0


def test_the_second_run_changes_nothing_and_reads_once() -> None:
    shelf = Shelf(a=2)
    result = run(shelf, {"a": 2})
    assert (result["changed"], result["steps"], result["diff"]) == (False, [], {"before": {}, "after": {}})
    assert (shelf.applied, shelf.reads) == ([], 1)


def test_check_mode_predicts_every_step_and_does_none() -> None:
    shelf = Shelf(a=1)
    predicted = run(shelf, {"a": 2, "b": 3}, check=True)
    assert (shelf.applied, shelf.numbers) == ([], {"a": 1})
    assert predicted["to_come"] == 2
    real = run(shelf, {"a": 2, "b": 3})
    assert {key: predicted[key] for key in ("changed", "steps", "diff")} == {key: real[key] for key in ("changed", "steps", "diff")}


@pytest.mark.parametrize("error", [RootOfTrustError("b is sealed.", "Open it."), OSError(28, "No space left on device")])
def test_a_failure_half_way_tells_what_was_done_and_what_was_not(error: Exception) -> None:
    shelf = Shelf()
    shelf.broken = error
    result = run(shelf, {"a": 1, "b": 2, "c": 3})
    assert result["failed"] is True
    assert result["changed"] is True
    assert result["steps"] == ["set a to 1"]
    assert result["step_failed"] == "set b to 2"
    assert result["steps_left"] == ["set c to 3"]
    assert result["msg"].startswith("set b to 2: ")
    assert str(error) in result["msg"]
    shelf.broken = None
    assert run(shelf, {"a": 1, "b": 2, "c": 3})["steps"] == ["set b to 2", "set c to 3"], "the next run goes on from there"


def test_a_step_without_effect_is_a_failure() -> None:
    shelf = Shelf()
    shelf.deaf = True
    result = run(shelf, {"a": 1})
    assert result["failed"] is True
    assert "not as asked" in result["msg"]


def test_a_step_ordered_for_its_own_sake_may_be_due_again() -> None:
    def always(current: object, desired: object) -> list[Step]:
        return [Step("a", "set", "set a anew", detail=1, once=True)]

    assert run(Shelf(), {"a": 1}, planner=always).get("failed") is None


def test_an_error_while_reading_or_planning_changes_nothing() -> None:
    def refuse(current: object, desired: object) -> list[Step]:
        raise RootOfTrustError("/dev/sda carries ext4.", "Name it in wipe.", {"signature": "ext4"})

    shelf = Shelf()
    result = run(shelf, {"a": 1}, planner=refuse)
    assert (result["failed"], result["changed"], result["steps"]) == (True, False, [])
    assert (result["msg"], result["remedy"], result["signature"]) == ("/dev/sda carries ext4. Name it in wipe.", "Name it in wipe.", "ext4")
    assert shelf.applied == []


def test_a_secret_leaves_as_stars() -> None:
    def with_secret(current: object, desired: object) -> list[Step]:
        return [Step("slot 1", "set", "add a keyslot", {"passphrase": None}, {"passphrase": Secret(b"hunter2")}, once=True)]

    result = run(Shelf(), {}, check=True, planner=with_secret)
    assert result["diff"]["after"] == {"slot 1": {"passphrase": "***"}}
    assert "hunter2" not in repr(result)


def test_observing_changes_nothing_and_says_why_it_could_not_look() -> None:
    module = Recorder()
    with pytest.raises(Left):
        observe(module, lambda: {"names": {"b", "a"}})
    assert module.result == {"changed": False, "names": ["a", "b"]}

    def fail() -> dict[str, Any]:
        raise RootOfTrustError("no pool.", facts={"poolsize": None})

    with pytest.raises(Left):
        observe(module, fail)
    assert (module.result["failed"], module.result["poolsize"]) == (True, None)


def test_warnings_go_the_way_that_ansible_has_for_them() -> None:
    module = Recorder()
    with pytest.raises(Left):
        observe(module, lambda: {"warnings": ["The key has a certificate."], "due": False})
    assert module.result == {"changed": False, "due": False}
    assert module.warned == ["The key has a certificate."]
