# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The root file system takes its packages from where the host does, and is the same in every machine but for its identity."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from lab import apt, keys, releases, rootfs
from lab.errors import LabError

DEB822 = """\
# The archive of this machine.
Types: deb deb-src
URIs: http://archive.example/debian
Suites: bookworm bookworm-updates
Components: main
  contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://security.example/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: trixie
Components: main
"""
ONE_LINE = """\
# deb http://commented.example/debian bookworm main
deb-src http://source.example/debian bookworm main
deb [arch=amd64 signed-by=/k.gpg] https://archive.example/debian trixie main contrib # why
deb https://archive.example/debian trixie-updates main
deb http://security.example/debian-security trixie-security main
"""
OTHERS = """\
deb http://archive.ubuntu.example/ubuntu jammy main universe
deb https://download.docker.example/linux/debian bookworm stable
deb cdrom:[Debian]/ bookworm main
"""


@pytest.fixture(autouse=True)
def no_override(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROOTOFTRUST_LAB_MIRROR", raising=False)
    monkeypatch.delenv("ROOTOFTRUST_LAB_SECURITY_MIRROR", raising=False)


def etc(tmp_path: Path, **files: str) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    for name, text in files.items():
        (tmp_path / "sources.list.d" / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return tmp_path


def test_deb822_sources(tmp_path: Path) -> None:
    mirror = apt.choose(apt.host_sources(etc(tmp_path, debian_sources=DEB822)))
    assert mirror == apt.Mirror("http://archive.example/debian", "http://security.example/debian-security")


def test_one_line_sources(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(ONE_LINE, encoding="utf-8")
    mirror = apt.choose(apt.host_sources(etc(tmp_path)))
    assert mirror == apt.Mirror("https://archive.example/debian", "http://security.example/debian-security")


def test_sources_that_apt_ignores_are_ignored(tmp_path: Path) -> None:
    assert apt.host_sources(etc(tmp_path, debian_sources_disabled=DEB822, debian_list_save=ONE_LINE)) == []


def test_components_on_a_second_line_count() -> None:
    assert apt.parse_deb822(DEB822)[0].components == ("main", "contrib")


def test_no_debian_archive_is_an_error_that_says_what_to_set() -> None:
    with pytest.raises(LabError, match="set ROOTOFTRUST_LAB_MIRROR"):
        apt.choose(apt.parse_one_line(OTHERS))


def test_the_debian_archive_is_told_from_others() -> None:
    assert apt.choose(apt.parse_one_line(OTHERS + ONE_LINE)).main == "https://archive.example/debian"


def test_an_archive_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOTOFTRUST_LAB_MIRROR", "http://own.example/debian")
    assert apt.mirror() == apt.Mirror("http://own.example/debian", None)


def test_lines_leave_out_security_updates_that_the_host_does_not_have() -> None:
    start = f"deb [signed-by={apt.KEYRING}]"
    both = apt.Mirror("http://m.example", "http://s.example")
    assert both.lines(["trixie", "trixie-security"]) == [
        f"{start} http://m.example trixie main",
        f"{start} http://s.example trixie-security main",
    ]
    assert apt.Mirror("http://m.example", None).lines(["trixie", "trixie-security"]) == [f"{start} http://m.example trixie main"]


def test_a_mask_replaces_a_unit(tmp_path: Path) -> None:
    units = tmp_path / "etc/systemd/system"
    units.mkdir(parents=True)
    (units / "a.service").write_text("[Unit]\n", encoding="utf-8")
    rootfs.mask(tmp_path, ["a.service", "b.timer"])
    assert [(units / name).readlink() for name in ("a.service", "b.timer")] == [Path("/dev/null")] * 2


def test_a_file_is_written_in_place_of_a_link_not_through_it(tmp_path: Path) -> None:
    outside = tmp_path / "resolv.conf of the host"
    outside.write_text("nameserver\n", encoding="utf-8")
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/resolv.conf").symlink_to(outside)
    rootfs.write(tmp_path / "root", "etc/resolv.conf", "", mode=0o600)
    assert outside.read_text(encoding="utf-8") == "nameserver\n"
    assert stat.S_IMODE((tmp_path / "root/etc/resolv.conf").lstat().st_mode) == 0o600


def test_what_every_machine_needs_is_never_masked() -> None:
    needed = {"ssh", "systemd-udevd", "systemd-random-seed", "systemd-journald"}
    assert not {f"{unit}.service" for unit in needed} & set(rootfs._MASKED)


def test_host_keys_are_made_once_per_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOTOFTRUST_LAB_CACHE", str(tmp_path))
    twelve = rootfs.known_hosts(releases.get("12"))
    assert {line.split()[0] for line in twelve} >= {"ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256"}
    assert rootfs.known_hosts(releases.get("12")) == twelve
    assert not set(rootfs.known_hosts(releases.get("13"))) & set(twelve)
    private = keys.ensure().private
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert private.with_suffix(".pub").read_text(encoding="utf-8").strip() == keys.ensure().public
