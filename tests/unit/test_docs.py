# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds a module's documentation to what it says: the examples use options that exist, the attributes are all there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FQCN = "rootoftrust.linux."
ATTRIBUTES = {"check_mode", "diff_mode", "idempotent", "platform"}
PLAY_KEYWORDS = {"tasks", "hosts", "block", "roles"}
MODULES = sorted(path for path in (ROOT / "plugins/modules").glob("*.py") if path.name != "__init__.py")
FRAGMENTS = {path.stem: path for path in (ROOT / "plugins/doc_fragments").glob("*.py") if path.name != "__init__.py"}


def constants(path: Path) -> dict[str, Any]:
    """Return the YAML that a module or a fragment's class holds in its upper-case names."""
    found = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and isinstance(node.value, ast.Constant):
            name, value = node.targets[0].id, node.value.value
            if name.isupper() and isinstance(value, str):
                found[name] = value
    return found


def documentation(path: Path) -> dict[str, Any]:
    """Return a module's documentation with this collection's fragments merged in, as Ansible does it."""
    own = yaml.safe_load(constants(path)["DOCUMENTATION"])
    options, attributes = dict(own.get("options") or {}), dict(own.get("attributes") or {})
    for fragment in own.get("extends_documentation_fragment") or []:
        name, _dot, section = fragment.removeprefix(FQCN).partition(".")
        shared = yaml.safe_load(constants(FRAGMENTS[name])[(section or "documentation").upper()])
        options = {**(shared.get("options") or {}), **options}
        for key, value in (shared.get("attributes") or {}).items():
            attributes[key] = {**value, **attributes.get(key, {})}
    return {**own, "options": options, "attributes": attributes}


def example_tasks(node: Any) -> Iterator[dict[str, Any]]:
    for task in node or []:
        inner = [task[key] for key in PLAY_KEYWORDS & task.keys() if isinstance(task[key], list)]
        if inner:
            for tasks in inner:
                yield from example_tasks([task for task in tasks if isinstance(task, dict)])
        else:
            yield task


def option_breaches(given: Any, options: dict[str, Any], where: str) -> Iterator[str]:
    """Compare what a task gives with the documented options, down through their suboptions."""
    if not isinstance(given, dict):
        return
    names = set(options) | {alias for option in options.values() for alias in option.get("aliases") or []}
    yield from (f"{where}: {name} is no option" for name in given if name not in names)
    for name, option in options.items():
        if option.get("required") and not {name, *(option.get("aliases") or [])} & given.keys():
            yield f"{where}: {name} is required and not given"
        value = given.get(name)
        if option.get("choices") and isinstance(value, str) and "{{" not in value and value not in option["choices"]:
            yield f"{where}: {name} has no choice {value}"
        if option.get("suboptions"):
            for item in value if isinstance(value, list) else [value]:
                yield from option_breaches(item, option["suboptions"], f"{where}.{name}")


def example_breaches(module: str, examples: str, options: dict[str, Any]) -> list[str]:
    breaches, used = [], 0
    for task in example_tasks(yaml.safe_load(examples)):
        if module in task:
            breaches.append(f"{module}: write {FQCN}{module}")
        if FQCN + module in task:
            used += 1
            breaches += option_breaches(task[FQCN + module] or {}, options, module)
        if "name" not in task:
            breaches.append(f"{module}: a task without a name")
    if not used:
        breaches.append(f"{module}: no example uses it")
    return breaches


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_examples_use_documented_options(path: Path) -> None:
    assert example_breaches(path.stem, constants(path)["EXAMPLES"], documentation(path)["options"]) == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_attributes_are_documented(path: Path) -> None:
    attributes = documentation(path)["attributes"]
    assert attributes.keys() >= ATTRIBUTES
    assert [name for name, attribute in attributes.items() if "support" not in attribute] == []


@pytest.mark.parametrize(
    ("example", "breach"),
    [
        ("- name: X\n  rootoftrust.linux.m: {sizes: 1}", "m: sizes is no option"),
        ("- name: X\n  rootoftrust.linux.m: {}", "m: size is required and not given"),
        ("- name: X\n  rootoftrust.linux.m: {size: 1, kind: c}", "m: kind has no choice c"),
        ("- name: X\n  rootoftrust.linux.m: {size: 1, keys: [{a: 1}, {b: 1}]}", "m.keys: b is no option"),
        ("- name: X\n  m: {size: 1}", "m: write rootoftrust.linux.m"),
        ("- rootoftrust.linux.m: {size: 1}", "m: a task without a name"),
        ("- hosts: all\n  tasks:\n    - name: X\n      debug:", "m: no example uses it"),
    ],
)
def test_a_breach_is_seen(example: str, breach: str) -> None:
    options = {
        "size": {"required": True},
        "kind": {"choices": ["a", "b"]},
        "keys": {"suboptions": {"a": {}}},
    }
    assert breach in example_breaches("m", example, options)
