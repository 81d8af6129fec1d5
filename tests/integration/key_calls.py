# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Calls of the modules for the kernel's keys, many at once, and what each has to show."""

from __future__ import annotations

import json
from typing import Any

from tests.integration.module_bench import Bench

SECRET = "a payload that must not be told"
Call = tuple[str, dict[str, Any]]


def calls(bench: Bench, *asked: Call) -> list[dict[str, Any]]:
    """The results of modules, or of shell commands."""
    results = bench.calls(*asked)
    assert SECRET not in json.dumps(results)
    return results


def key(*keys: dict[str, Any], check: bool = False) -> Call:
    return "kernel_key", {"keys": list(keys), "check": check}


def shell(command: str) -> Call:
    return "shell", {"cmd": command}


def stories(bench: Bench, *asked: Call) -> list[dict[str, Any]]:
    """For each of the calls: a check run predicts the real one, and the next run finds nothing to do. Commands run as they are."""
    three: list[Call] = []
    for module, arguments in asked:
        one = (module, arguments)
        three += [one] if module == "shell" else [(module, {**arguments, "check": True}), one, one]
    results = iter(calls(bench, *three))
    told = []
    for module, dummy in asked:
        if module == "shell":
            told.append(next(results))
            assert told[-1]["rc"] == 0, told[-1]
            continue
        predicted, result, again = next(results), next(results), next(results)
        assert not result.get("failed"), result
        for field in ("changed", "steps", "diff"):
            assert predicted[field] == result[field], (predicted, result)
        assert result["changed"] is True, result
        assert (again["changed"], again["steps"]) == (False, [])
        told.append(result)
    return told
