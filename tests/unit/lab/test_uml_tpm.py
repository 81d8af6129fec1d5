# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel of machines with a TPM is made of, and when a machine gets it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lab import guest_tpm, uml_build
from lab.spec import MachineSpec
from lab.state import Record


def record(booted: bool = False, **spec: object) -> Record:
    made = MachineSpec("m", engine="uml", **spec)  # type: ignore[arg-type]  # of several types, each checked by MachineSpec
    return Record(spec=made, uuid="0", mac="0", owner=None, images={}, booted=booted)


def test_an_option_counts_as_the_kernel_writes_it() -> None:
    config = '# CONFIG_A is not set\nCONFIG_B=y\nCONFIG_C=m\nCONFIG_D="-x"\nCONFIG_E=n\n# a comment\n'
    assert list(uml_build.options(config)) == ["CONFIG_B=y", "CONFIG_C=m", 'CONFIG_D="-x"']


def test_what_looks_for_a_tpm_once_is_a_module() -> None:
    options = set(uml_build.options(uml_build.CONFIG.read_text(encoding="utf-8")))
    assert {"CONFIG_TRUSTED_KEYS=m", "CONFIG_ENCRYPTED_KEYS=m", "CONFIG_DM_CRYPT=m", "CONFIG_TCG_VTPM_PROXY=y"} <= options


def test_each_option_is_set_once() -> None:
    options = [one.partition("=")[0] for one in uml_build.options(uml_build.CONFIG.read_text(encoding="utf-8"))]
    assert sorted(set(options)) == sorted(options)


@pytest.mark.parametrize("version", ["1.2", "2.0"])
def test_the_first_process_starts_the_tpm_that_was_asked_for(version: str) -> None:
    assert guest_tpm.kernel_args(record(tpm=version), "7.2-tpm") == ["init=/usr/lib/modules/7.2-tpm/lab/init", f"LAB_TPM={version}"]


def test_a_clone_has_a_tpm_of_its_own_from_its_first_boot_on() -> None:
    fresh = f"{guest_tpm.FRESH}1"
    assert fresh in guest_tpm.kernel_args(record(tpm="2.0", disk_from="other"), "7.2")
    assert fresh not in guest_tpm.kernel_args(record(tpm="2.0", disk_from="other", booted=True), "7.2")


def test_the_first_process_is_a_script_that_a_shell_can_read(tmp_path: Path) -> None:
    script = tmp_path / "init"
    script.write_text(guest_tpm.INIT)
    subprocess.run(["sh", "-n", script], check=True, timeout=10)
