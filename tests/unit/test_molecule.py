# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The platforms that molecule runs on, held to the lab's own words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab import docker, releases

MOLECULE = Path(__file__).resolve().parents[2] / "molecule"


def platforms(name: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = yaml.safe_load((MOLECULE / "platforms" / f"{name}.yml").read_text())["platforms"]
    return listed


@pytest.mark.parametrize(("kind", "name"), [("container", "containers"), ("uml", "uml"), ("qemu", "qemu")])
def test_every_release_of_the_lab_is_on_every_platform(kind: str, name: str) -> None:
    assert [host["name"] for host in platforms(name)] == [f"rot-{kind}-{key}" for key in releases.RELEASES]


@pytest.mark.parametrize("host", platforms("containers"), ids=lambda host: str(host["name"]))
def test_containers_run_with_the_lab_s_options(host: dict[str, Any]) -> None:
    options = docker.container_run_args(releases.get(host["name"].rpartition("-")[2])).as_dict()
    assert {key: host[key] for key in options} == json.loads(json.dumps(options))


def test_the_public_images_are_named() -> None:
    names = " ".join(host["name"] for host in platforms("public"))
    assert all(word in names for word in ("ubuntu", "rocky", "alma", "fedora", "opensuse"))


def test_a_scenario_is_named_after_each_role() -> None:
    roles = {path.name for path in (MOLECULE.parent / "roles").iterdir()}
    assert {path.parent.name for path in MOLECULE.glob("*/molecule.yml")} - {"default"} == roles
