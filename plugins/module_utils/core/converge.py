# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one shape of every module: read, plan, apply. The only place that knows of check mode."""

from __future__ import annotations

from typing import Any, Callable, Mapping, NoReturn, Protocol, Sequence, TypeVar

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step, diff, plain

Desired = TypeVar("Desired")
Current = TypeVar("Current")


class Module(Protocol):
    """The part of AnsibleModule by which a result leaves."""

    check_mode: bool

    def exit_json(self, **result: Any) -> NoReturn: ...

    def fail_json(self, msg: str, **result: Any) -> NoReturn: ...

    def warn(self, warning: str) -> None: ...


def converge(
    module: Module,
    *,
    desired: Desired,
    read: Callable[[Desired], Current],
    plan: Callable[[Current, Desired], Sequence[Step]],
    apply: Callable[[Step], None],
    report: Callable[[Current, Sequence[Step]], Mapping[str, Any]],
) -> None:
    """Bring the system to the desired state and leave the process with the result.

    :param desired: what is wanted.
    :param read: fetches the facts; changes nothing.
    :param plan: pure; the steps still missing, in order. No step means there is nothing to change.
    :param apply: does one step.
    :param report: pure; the module's own result, from the state that holds now and the steps that are still to come: all of them in
        check mode, none after a real run.

    After the steps the system is read and planned once more: a step that did not bring what it was for is a failure, not "ok".
    """
    done: list[Step] = []
    left: list[Step] = []
    try:
        current = read(desired)
        steps = list(plan(current, desired))
        result: dict[str, Any] = {"changed": bool(steps), "steps": plain([step.sentence for step in steps]), "diff": diff(steps)}
        if module.check_mode or not steps:
            module.exit_json(**result, **_told(module, report(current, steps)))
        left = list(steps)
        while left:
            apply(left[0])
            done.append(left.pop(0))
        current = read(desired)
        missed = [step for step in plan(current, desired) if not step.once]
        if missed:
            raise RootOfTrustError(
                f"All steps were done, yet the system is not as asked: {missed[0].sentence}",
                "Look for another program that manages the same object.",
            )
    except (RootOfTrustError, OSError) as error:
        _fail(module, error, done, left)
    module.exit_json(**result, **_told(module, report(current, ())))


def observe(module: Module, look: Callable[[], Mapping[str, Any]]) -> None:
    """Leave the process with what ``look`` found; for modules that change nothing."""
    try:
        result = look()
    except (RootOfTrustError, OSError) as error:
        _fail(module, error, [], [])
    module.exit_json(changed=False, **_told(module, result))


def _told(module: Module, result: Mapping[str, Any]) -> dict[str, Any]:
    """A module's own result as plain values; its ``warnings``, a list of sentences, go the way that Ansible has for them."""
    for warning in result.get("warnings", ()):
        module.warn(plain(warning))
    return {name: plain(value) for name, value in result.items() if name != "warnings"}


def _fail(module: Module, error: Exception, done: Sequence[Step], left: Sequence[Step]) -> NoReturn:
    """Say what failed, what was already done, and what was not."""
    facts: dict[str, Any] = {}
    if isinstance(error, RootOfTrustError):
        facts = {**_told(module, error.facts), "remedy": error.remedy}
    message = str(error)
    if left:
        message = f"{left[0].sentence.rstrip('.')}: {message}"
        facts["step_failed"] = plain(left[0].sentence)
        facts["steps_left"] = plain([step.sentence for step in left[1:]])
    steps = plain([step.sentence for step in done])
    module.fail_json(msg=plain(message), changed=bool(done), steps=steps, diff=diff(done), **facts)
