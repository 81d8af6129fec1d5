# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds the shape of the code: what DESIGN says in words, checked on the syntax trees.

Each rule is a function from the root of a collection to the list of its breaches. The same functions are run on a tree
with one deliberate breach per rule, so that a rule that has gone blind fails too.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DOMAINS = {"entropy", "sshkeys", "gpg", "kernel_keys", "tpm", "pkcs11", "luks"}
PURE_NAMES = {"model.py", "parse.py", "plan.py", "fips.py", "verdict.py", "commands.py", "commands12.py", "parse12.py", "pcr_policy.py"}
PURE_PREFIX = "plan_"  # a domain of many kinds of objects has a plan for each
PURE_CORE = {"errors", "step", "secret"}
IMPURE_CALLS = {"open", "exec", "eval", "input", "__import__"}
IMPURE_STDLIB = {
    "ctypes", "fcntl", "glob", "io", "mmap", "multiprocessing", "os", "pathlib", "pty", "random", "select", "shutil", "signal", "socket",
    "subprocess", "sys", "tempfile", "termios", "threading", "time",
}  # fmt: skip
COLLECTION = "ansible_collections.rootoftrust.linux.plugins.module_utils."
MAX_STATEMENTS = 40
SHELL_MODULES = {"command", "shell", "raw", "script", "expect"}
DISTRIBUTIONS = {"debian", "ubuntu", "redhat", "rhel", "centos", "rocky", "alma", "fedora", "suse", "alpine", "archlinux"}
DOCUMENTATION = {"DOCUMENTATION", "EXAMPLES", "RETURN"}


def trees(root: Path, under: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((root / under).rglob("*.py")):
        yield path.relative_to(root), ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            # What is imported from a domain itself are modules.
            yield from (f"{module}.{name.name}" for name in node.names) if module.split(".")[-1] in DOMAINS else (module,)


def pure_files_do_no_io(root: Path) -> list[str]:
    """model, parse and plan import the standard library only, and of it nothing that reaches the system."""
    breaches = []
    for path, tree in trees(root, "plugins/module_utils"):
        if not _is_pure(path.name):
            continue
        for name in imports(tree):
            if not _pure_import(name):
                breaches.append(f"{path}: imports {name}")
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS:
                breaches.append(f"{path}:{node.lineno}: calls {node.func.id}()")
    return breaches


def _is_pure(name: str) -> bool:
    return name in PURE_NAMES or name.startswith(PURE_PREFIX)


def _pure_import(name: str) -> bool:
    if name.startswith(COLLECTION):
        package, dummy, module = name[len(COLLECTION) :].rpartition(".")
        return (package == "core" and module in PURE_CORE) or (package in DOMAINS and _is_pure(f"{module}.py"))
    top = name.split(".")[0]
    return top in sys.stdlib_module_names and top not in IMPURE_STDLIB


def _attribute_only_in(root: Path, attribute: str, home: str) -> list[str]:
    return [
        f"{path}:{node.lineno}: {attribute} belongs to {home} alone"
        for path, tree in trees(root, "plugins")
        if str(path) != home
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == attribute
    ]


def check_mode_stands_in_converge_alone(root: Path) -> list[str]:
    return _attribute_only_in(root, "check_mode", "plugins/module_utils/core/converge.py")


def programs_are_started_by_runner_alone(root: Path) -> list[str]:
    breaches = _attribute_only_in(root, "run_command", "plugins/module_utils/core/runner.py")
    for path, tree in trees(root, "plugins"):
        breaches += [f"{path}: imports {name}" for name in imports(tree) if name.split(".")[0] in {"subprocess", "pty", "multiprocessing"}]
        breaches += [
            f"{path}:{node.lineno}: os.{node.attr}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "os"
            and (node.attr in {"system", "popen"} or node.attr.startswith(("exec", "spawn", "posix_spawn")))
        ]
    return breaches


def modules_are_docs_spec_and_one_call(root: Path) -> list[str]:
    """A module file has few statements, and leaves through converge (or, when it only looks, observe) exactly once."""
    breaches = []
    for path, tree in trees(root, "plugins/modules"):
        if (root / "plugins/action" / path.name).exists():
            continue  # the documentation of an action plugin
        count = sum(isinstance(node, ast.stmt) and not _is_header(node) for node in ast.walk(tree))
        if count > MAX_STATEMENTS:
            breaches.append(f"{path}: {count} statements, more than {MAX_STATEMENTS}")
        calls = [
            node.func.id
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"converge", "observe"}
        ]
        if len(calls) != 1:
            breaches.append(f"{path}: calls converge or observe {len(calls)} times, not once")
    return breaches


def _is_header(node: ast.stmt) -> bool:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return True
    return isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id in DOCUMENTATION for target in node.targets)


def domains_are_the_seven_words(root: Path) -> list[str]:
    folders = {path.name for path in (root / "plugins/module_utils").iterdir() if path.is_dir() and path.name != "__pycache__"}
    return [f"plugins/module_utils/{name}: no domain of the design" for name in sorted(folders - DOMAINS - {"core"})]


def _tasks(node: object) -> Iterator[dict[str, object]]:
    if isinstance(node, list):
        for item in node:
            yield from _tasks(item)
    elif isinstance(node, dict):
        yield node
        for part in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks", "handlers"):
            yield from _tasks(node.get(part))


def roles_run_no_shell_and_name_no_distribution(root: Path) -> list[str]:
    """A role's tasks call modules that know what they do; what differs by distribution is in its vars."""
    breaches = []
    for path in sorted([*root.glob("roles/*/tasks/**/*.yml"), *root.glob("roles/*/handlers/**/*.yml")]):
        text = path.read_text(encoding="utf-8")
        for task in _tasks(yaml.safe_load(text)):
            for key in task:
                if str(key).rpartition(".")[2] in SHELL_MODULES:
                    breaches.append(f"{path.relative_to(root)}: {task.get('name')}: uses {key}")
            if "loop" in task and not any("include" in str(key) or "import" in str(key) for key in task):
                breaches.append(f"{path.relative_to(root)}: {task.get('name')}: loops over a module; give the module the list")
        for number, line in enumerate(text.splitlines(), 1):
            words = set(line.lower().replace("'", " ").replace('"', " ").replace(".", " ").split())
            if not line.lstrip().startswith("#") and words & DISTRIBUTIONS:
                breaches.append(f"{path.relative_to(root)}:{number}: names a distribution")
    return breaches


def roles_have_spec_main_and_verify(root: Path) -> list[str]:
    breaches = []
    for role in sorted(path for path in (root / "roles").glob("*") if path.is_dir()):
        specs = yaml.safe_load((role / "meta/argument_specs.yml").read_text(encoding="utf-8"))["argument_specs"]
        defaults = yaml.safe_load((role / "defaults/main.yml").read_text(encoding="utf-8")) or {}
        for entry in ("main", "verify"):
            if entry not in specs or not (role / f"tasks/{entry}.yml").exists():
                breaches.append(f"roles/{role.name}: no entry point {entry}")
        for entry, spec in specs.items():
            if not (role / f"tasks/{entry}.yml").exists():
                breaches.append(f"roles/{role.name}: argument_specs describes {entry}, which has no tasks file")
            for name, option in (spec.get("options") or {}).items():
                if not name.startswith(f"{role.name}_"):
                    breaches.append(f"roles/{role.name}: option {name} does not begin with the role's name")
                if name in defaults and defaults[name] != option.get("default"):
                    breaches.append(f"roles/{role.name}: the default of {name} differs between defaults/main.yml and {entry}")
                if name not in defaults and not option.get("required") and "default" in option:
                    breaches.append(f"roles/{role.name}: {name} has a default in {entry} but not in defaults/main.yml")
        described = {name for spec in specs.values() for name in spec.get("options") or {}}
        breaches += [f"roles/{role.name}: default {name} is in no argument_specs" for name in sorted(set(defaults) - described)]
    return breaches


RULES: dict[Callable[[Path], list[str]], dict[str, str]] = {
    pure_files_do_no_io: {"plugins/module_utils/luks/plan.py": "import os\n"},
    check_mode_stands_in_converge_alone: {"plugins/modules/luks_info.py": "if module.check_mode:\n    pass\n"},
    programs_are_started_by_runner_alone: {"plugins/module_utils/luks/cryptsetup.py": "import subprocess\n"},
    modules_are_docs_spec_and_one_call: {"plugins/modules/luks_info.py": "x = 1\n" * (MAX_STATEMENTS + 1) + "converge()\n"},
    domains_are_the_seven_words: {"plugins/module_utils/disks/model.py": ""},
    roles_run_no_shell_and_name_no_distribution: {
        "roles/luks/tasks/main.yml": "- name: Format\n  ansible.builtin.command: cryptsetup luksFormat /dev/sda\n"
    },
    roles_have_spec_main_and_verify: {
        "roles/luks/meta/argument_specs.yml": "argument_specs: {main: {options: {luks_x: {default: 1}}}}\n",
        "roles/luks/defaults/main.yml": "luks_x: 2\n",
        "roles/luks/tasks/main.yml": "",
    },
}
MORE_BREACHES = {
    "a pure file opens a file": (pure_files_do_no_io, {"plugins/module_utils/luks/parse.py": "open('/etc/crypttab')\n"}),
    "a pure file imports ansible": (
        pure_files_do_no_io,
        {"plugins/module_utils/luks/model.py": "from ansible.module_utils import basic\n"},
    ),
    "a pure file imports I/O of its domain": (
        pure_files_do_no_io,
        {"plugins/module_utils/luks/plan.py": f"from {COLLECTION}luks.cryptsetup import Cryptsetup\n"},
    ),
    "a module runs a program itself": (programs_are_started_by_runner_alone, {"plugins/modules/x.py": "module.run_command(['ls'])\n"}),
    "os.system": (programs_are_started_by_runner_alone, {"plugins/modules/x.py": "import os\nos.system('ls')\n"}),
    "a module that leaves in two ways": (modules_are_docs_spec_and_one_call, {"plugins/modules/x.py": "converge()\nobserve()\n"}),
    "a loop over a module": (
        roles_run_no_shell_and_name_no_distribution,
        {"roles/luks/tasks/main.yml": "- name: Keys\n  rootoftrust.linux.luks_keyslot:\n    x: 1\n  loop: [1, 2]\n"},
    ),
    "a distribution in a task": (
        roles_run_no_shell_and_name_no_distribution,
        {"roles/luks/tasks/main.yml": "- name: X\n  ansible.builtin.debug:\n  when: ansible_facts.distribution == 'Debian'\n"},
    ),
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_collection_keeps_the_rule(rule: Callable[[Path], list[str]]) -> None:
    assert rule(ROOT) == []


def _write(root: Path, files: dict[str, str]) -> None:
    for folder in ("plugins/module_utils/core", "plugins/modules", "roles"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(("rule", "files"), RULES.items(), ids=[rule.__name__ for rule in RULES])
def test_the_rule_sees_a_breach(rule: Callable[[Path], list[str]], files: dict[str, str], tmp_path: Path) -> None:
    _write(tmp_path, {})
    assert rule(tmp_path) == [], "an empty collection breaks no rule"
    _write(tmp_path, files)
    assert rule(tmp_path) != []


@pytest.mark.parametrize("case", MORE_BREACHES)
def test_the_rule_sees_this_breach_too(case: str, tmp_path: Path) -> None:
    rule, files = MORE_BREACHES[case]
    _write(tmp_path, files)
    assert rule(tmp_path) != []
