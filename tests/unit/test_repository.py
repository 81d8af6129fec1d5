# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Holds the files around the code together: pins, versions, licences, action groups."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LICENSE = "SPDX-License-Identifier: GPL-3.0-or-later"
COMMENTED = {".cfg", ".conf", ".ini", ".py", ".sh", ".toml", ".yaml", ".yml"}
UNCOMMENTED = ("changelogs/fragments/", "changelogs/changelog.yaml")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GALAXY = yaml.safe_load((ROOT / "galaxy.yml").read_text())


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def lock() -> list[str]:
    return [line for line in (ROOT / "tools/requirements.txt").read_text().splitlines() if not line.startswith("#")]


def tracked_files() -> list[str]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_the_lock_holds_one_exact_version_of_each() -> None:
    assert [line for line in lock() if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)] == []


def test_the_lock_is_of_the_pins_in_pyproject() -> None:
    locked = {normal(name): version for name, version in (line.split("==") for line in lock())}
    wanted = (re.sub(r"\[.*\]", "", pin).split("==") for pin in PYPROJECT["dependency-groups"]["controller"])
    assert {normal(name): version for name, version in wanted}.items() <= locked.items()


def test_the_execution_environment_has_the_lock_s_versions() -> None:
    dependencies = yaml.safe_load((ROOT / "execution-environment.yml").read_text())["dependencies"]
    pins = [dependencies[name]["package_pip"] for name in ("ansible_core", "ansible_runner")]
    assert [pin for pin in pins if pin not in lock()] == []


@pytest.mark.parametrize("name", sorted(GALAXY["dependencies"]))
def test_the_bundled_collection_is_one_that_galaxy_yml_allows(name: str) -> None:
    folder = ROOT / ".venv/collections/ansible_collections" / name.replace(".", "/")
    manifest = yaml.safe_load((folder / "MANIFEST.json").read_text())
    found = version(manifest["collection_info"]["version"])
    at_least, below = re.fullmatch(r">=([\d.]+),<([\d.]+)", GALAXY["dependencies"][name]).groups()
    assert version(at_least) <= found < version(below)


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def test_every_source_file_names_its_licence() -> None:
    sources = [name for name in tracked_files() if Path(name).suffix in COMMENTED and not name.startswith(UNCOMMENTED)]
    heads = {name: (ROOT / name).read_text(encoding="utf-8")[:600] for name in sources if "/fixtures/" not in name}
    assert heads
    assert [name for name, head in heads.items() if head.strip() and LICENSE not in head] == []


def test_every_playbook_documents_its_arguments() -> None:
    playbooks = [path for path in (ROOT / "playbooks").glob("*.yml") if not path.name.endswith(".meta.yml")]
    assert [path.name for path in playbooks if not path.with_suffix(".meta.yml").exists()] == []


def test_requires_ansible_is_the_pinned_core() -> None:
    runtime: dict[str, Any] = yaml.safe_load((ROOT / "meta/runtime.yml").read_text())
    core = next(line for line in lock() if line.startswith("ansible-core==")).split("==")[1]
    least = version(runtime["requires_ansible"].removeprefix(">="))
    assert least <= version(core)
    assert least[:2] == version(core)[:2]
