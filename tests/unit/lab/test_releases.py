# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Releases are found by every usual name, and their lists of packages make sense."""

from __future__ import annotations

import pytest

from lab import releases
from lab.errors import LabError
from lab.releases import RELEASES, Release


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("11", "11"),
        ("bullseye", "11"),
        ("debian-12", "12"),
        ("Debian 12", "12"),
        ("debian12", "12"),
        ("debian/bookworm", "12"),
        ("trixie", "13"),
        ("debian:13", "13"),
        ("14", "forky"),
        ("Forky", "forky"),
    ],
)
def test_names(name: str, key: str) -> None:
    assert releases.get(name).key == key


@pytest.mark.parametrize("name", ["", "10", "debian", "jammy", "rhel-9"])
def test_unknown_names_are_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(LabError, match="use one of 11, 12, 13, forky"):
        releases.get(name)


def test_no_name_means_two_releases() -> None:
    names = [name for release in RELEASES.values() for name in (release.key, release.suite, *release.aliases)]
    by_release = [{release.key, release.suite, *release.aliases} for release in RELEASES.values()]
    assert len(set(names)) == sum(map(len, by_release))


@pytest.mark.parametrize("release", RELEASES.values(), ids=lambda release: release.key)
def test_what_roles_install_is_not_installed_already(release: Release) -> None:
    assert not set(release.packages) & set(release.offline_packages)
    for packages in (release.packages, release.offline_packages):
        assert len(packages) == len(set(packages))


def test_suites() -> None:
    assert RELEASES["13"].suites == ("trixie", "trixie-security")
    assert RELEASES["forky"].suites == ("forky",)


@pytest.mark.parametrize("release", RELEASES.values(), ids=lambda release: release.key)
def test_quirks_name_a_package_of_the_release(release: Release) -> None:
    for quirk in release.quirks:
        where, dummy, package = quirk.partition(":")
        assert where in {"container", "uml", "qemu"}
        assert package in release.offline_packages
