# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""When the images of the initramfs are made anew, and which they are."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys import plan_initramfs as plan
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.initramfs import Images

OLD, NEW = plan.Dated("/boot/initrd.img-6.1", 100.0), plan.Dated("/boot/initrd.img-6.12", 300.0)
HOOK = plan.Dated("/etc/hook", 200.0)
FOUND = plan.Initramfs("dracut", (OLD, NEW), (HOOK,), 400.0)


def test_images_that_are_older_than_a_source_are_made_anew() -> None:
    (step,) = plan.plan_initramfs(FOUND)
    assert step.before == {"old": [OLD.path]} and step.once is False
    assert "dracut --force --regenerate-all" in step.sentence and "/boot/initrd.img-6.1 is older" in step.sentence
    for settled in (replace(FOUND, images=(NEW,)), replace(FOUND, images=()), replace(FOUND, sources=())):
        assert plan.plan_initramfs(settled) == []
    assert "There is no image" in plan.report_initramfs(replace(FOUND, images=()), [])["warnings"][0]


def test_images_of_no_kernel_are_not_made_anew_but_told() -> None:
    stray = replace(FOUND, images=(NEW,), strays=(OLD,))
    assert plan.plan_initramfs(stray) == []
    (warning,) = plan.report_initramfs(stray, [])["warnings"]
    assert warning.startswith("/boot/initrd.img-6.1 is older than what goes into it and stays so")
    assert plan.report_initramfs(replace(stray, sources=()), [])["warnings"] == []


def test_what_changes_in_this_run_and_what_is_of_the_future_is_done_once() -> None:
    (step,) = plan.plan_initramfs(replace(FOUND, images=(NEW,)), changed=True)
    assert step.once is True
    (step,) = plan.plan_initramfs(replace(FOUND, sources=(replace(HOOK, written=500.0),)))
    assert step.once is True


def test_without_a_program_it_is_an_error() -> None:
    with pytest.raises(RootOfTrustError, match="no program that does it is there"):
        plan.plan_initramfs(replace(FOUND, tool=""))


class Programs:
    """A runner that has some programs."""

    def __init__(self, *names: str) -> None:
        self.names = names

    def find(self, program: str) -> str | None:
        return f"/usr/sbin/{program}" if program in self.names else None


def test_which_files_are_images_and_what_makes_them(tmp_path: Path) -> None:
    names = ["initrd.img-6.1", "initramfs-6.12.img", "initrd-6.4-default", "initrd.img-6.1.dpkg-bak", "initramfs-0-rescue-ab.img",
             "initramfs-linux.img", "initramfs-linux-fallback.img", "vmlinuz-6.1", "initrd.img-6.1.backup", "initrd.img-5.10"]  # fmt: skip
    for name in names:
        (tmp_path / name).touch()
    for name in ("6.1", "6.12", "6.4-default", "6.17-arch1", "5.10"):
        (tmp_path / "modules" / name).mkdir(parents=True)
        if name != "5.10":  # of which only a folder is left
            (tmp_path / "modules" / name / "modules.dep").touch()
    (tmp_path / "modules/6.17-arch1/pkgbase").write_text("linux\n")
    folder = tmp_path / "module"
    folder.mkdir()
    (folder / "new").touch()
    os.utime(folder, (5, 5))
    os.utime(folder / "new", (9, 9))
    both: Any = Programs("dracut", "update-initramfs")
    found = Images(cast(Runner, both), str(tmp_path), str(tmp_path / "modules")).read([str(folder), str(tmp_path / "none")])
    assert [Path(image.path).name for image in found.images] == [
        "initramfs-6.12.img", "initramfs-linux.img", "initrd-6.4-default", "initrd.img-6.1",
    ]  # fmt: skip
    assert [Path(image.path).name for image in found.strays] == ["initrd.img-5.10", "initrd.img-6.1.backup"]
    assert found.sources == (plan.Dated(str(folder), 9.0),)
    assert found.tool == "initramfs-tools"
    none: Any = Programs()
    assert Images(cast(Runner, none), str(tmp_path)).tool() == ""
