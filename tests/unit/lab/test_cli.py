# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from lab import __main__ as cli
from lab import choice, engine, machine, state
from lab.errors import LabError
from lab.process import ProcessId
from lab.spec import MachineSpec
from lab.state import Record


@pytest.fixture(autouse=True)
def own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOTOFTRUST_LAB_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("ROOTOFTRUST_LAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(state, "_LONGEST_RUN_ROOT", 200)
    monkeypatch.setenv("ROOTOFTRUST_LAB_RUN", str(tmp_path / "run"))


def _existing(name: str, owner: ProcessId | None = None, **spec: Any) -> Record:
    made = MachineSpec(name, engine="uml", **spec)
    return state.save(Record(spec=made, uuid="u", mac="02:00:00:00:00:02", owner=owner, seconds=2.0))


def _wish(*words: str) -> MachineSpec:
    return cli._spec(cli._parser().parse_args(["up", *words]))


def test_the_options_of_up_make_the_specification() -> None:
    options = "--release trixie --engine qemu --memory 1G --disk 64M --disk 2G --tpm 2.0 --no-rng --cpus 1 --need usb"
    wished = _wish("m", *options.split(), "--kernel-arg=panic=0", "--kernel-arg", "x")
    assert wished == MachineSpec(
        "m",
        release="trixie",
        engine="qemu",
        memory="1G",
        disks=("64M", "2G"),
        tpm="2.0",
        rng=False,
        cpus=1,
        needs=("usb",),
        kernel_args=("panic=0", "x"),
    )
    assert _wish("m") == MachineSpec("m")
    assert _wish("m", "--disk-from", "n", "--resume", "t") == MachineSpec("m", disk_from="n", resume="t")


def test_up_without_options_takes_an_existing_machine_as_it_is() -> None:
    record = _existing("m", memory="256M", disks=("64M",))
    assert _wish("m") == record.spec
    assert _wish("m", "--memory", "1G").memory == "1G"


def test_owners() -> None:
    parse = cli._parser().parse_args
    assert parse(["up", "m"]).owner == os.getppid()
    assert parse(["up", "m", "--owner", "none"]).owner is None
    assert parse(["up", "m", "--owner", "17"]).owner == 17
    with pytest.raises(SystemExit):
        parse(["up", "m", "--owner", "me"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["kill", "nobody"], "machine nobody: does not exist: make it with"),
        (["start", "nobody"], "machine nobody: does not exist"),
        (["inventory", "nobody"], "machine nobody: does not exist"),
        (["kill", "No/body"], "not usable"),
        (["down"], "needs either names or --all"),
        (["down", "m", "--all"], "needs either names or --all"),
        (["up", "m", "--memory", "1"], "not a whole number"),
        (["up", "m", "--disk-from", "nobody"], "machine nobody: does not exist"),
        (["up", "m", "--release", "sarge"], "'sarge': unknown to the lab"),
    ],
)
def test_errors_are_one_line_and_status_1(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("lab: ")
    assert said in shown.err
    assert "Traceback" not in shown.err
    assert state.names() == []


def test_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status"]) == 0
    assert capsys.readouterr().out == "no machines\n"
    _existing("b", disks=("64M", "1G"))
    _existing("a", tpm="2.0")
    assert cli.main(["status", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["name"], row["state"], row["owner"]) for row in rows] == [("a", "stopped", None), ("b", "stopped", None)]
    assert cli.main(["status"]) == 0
    header, first, second = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["name", "state", "engine"]
    assert first.split()[:3] == ["a", "stopped", "uml"]
    assert "64M,1G" in second


def test_down_is_content_with_what_is_gone_already(capsys: pytest.CaptureFixture[str]) -> None:
    _existing("m")
    assert cli.main(["down", "m", "n"]) == 0
    assert capsys.readouterr().out == "m: gone\nn: there is no such machine\n"
    assert state.names() == []


def test_machines_of_owners_that_have_ended_are_swept(capsys: pytest.CaptureFixture[str]) -> None:
    me = ProcessId.of(os.getpid())
    assert me is not None
    _existing("left", owner=ProcessId(me.pid, me.started - 1))
    _existing("mine", owner=me)
    _existing("kept")
    assert cli.main(["status"]) == 0
    assert "left: its owner has ended: removed" in capsys.readouterr().err
    assert state.names() == ["kept", "mine"]


def test_an_owner_that_does_not_exist_is_refused() -> None:
    # The largest pid is 2^22 (proc(5), pid_max).
    with pytest.raises(LabError, match="no such process"):
        machine.up(MachineSpec("m"), owner=2**22 + 1)
    assert state.names() == []


def test_the_quickest_engine_that_has_all_is_chosen_and_the_reasons_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    findings = {
        "uml": choice.Finding("uml", True, "kernel", frozenset({"dm-crypt"})),
        "qemu": choice.Finding("qemu", True, "qemu", frozenset({"dm-crypt", "tpm"})),
    }
    monkeypatch.setattr(choice, "_find", lambda one: findings[one.name])
    assert choice.choose(MachineSpec("m")).name == "uml"
    assert choice.choose(MachineSpec("m", tpm="2.0")).name == "qemu"
    assert choice.choose(MachineSpec("m", engine="qemu")).name == "qemu"
    with pytest.raises(LabError, match=r"uml: has no tpm\)"):
        choice.choose(MachineSpec("m", engine="uml", tpm="2.0"))
    findings["uml"] = choice.Finding("uml", False, "kernel panics", frozenset())
    assert choice.choose(MachineSpec("m")).name == "qemu"
    with pytest.raises(LabError, match=r"uml: kernel panics; qemu: has no floppy"):
        choice.choose(MachineSpec("m", needs=("floppy",)))


def test_a_trial_is_made_once_per_boot_of_the_host() -> None:
    tried: list[bool] = []

    def attempt() -> engine.Trial:
        tried.append(True)
        return engine.Trial(False, "seen")

    assert engine.trial_once("key", attempt) == engine.trial_once("key", attempt) == engine.Trial(False, "seen")
    assert len(tried) == 1
    path = next(Path(os.environ["ROOTOFTRUST_LAB_CACHE"]).glob("trials/*"))
    path.write_text(path.read_text().replace('"boot_id": "', '"boot_id": "another-'))
    engine.trial_once("key", attempt)
    assert len(tried) == 2
