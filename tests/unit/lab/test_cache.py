# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The cache builds once, keeps what is used, and survives being killed at any time."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab import cache
from lab.errors import LabError

LONG_AGO = 10_000.0


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ROOTOFTRUST_LAB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def writes(content: str) -> Callable[[Path], None]:
    def build(directory: Path) -> None:
        (directory / "file").write_text(content, encoding="utf-8")

    return build


def fails(directory: Path) -> None:
    (directory / "half").touch()
    raise LabError("image: half of it was made: try again")


def never(directory: Path) -> None:
    raise AssertionError(f"built again: {directory}")


def age(entry: Path) -> None:
    os.utime(entry, (time.time() - LONG_AGO,) * 2)


def test_root_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ROOTOFTRUST_LAB_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache.root() == Path("/somewhere/rootoftrust-lab")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache.root() == Path("/home/someone/.cache/rootoftrust-lab")


def test_an_entry_is_built_once() -> None:
    first = cache.entry("kind", "name", {"a": 1, "b": ["x"]}, writes("1"))
    assert cache.entry("kind", "name", {"b": ["x"], "a": 1}, never) == first
    assert (first / "file").read_text(encoding="utf-8") == "1"


def test_a_failed_build_leaves_nothing_and_is_tried_again(root: Path) -> None:
    with pytest.raises(LabError, match="half of it"):
        cache.entry("kind", "name", "recipe", fails)
    assert [path.name for path in (root / "kind").iterdir()] == [".name.lock"]
    assert (cache.entry("kind", "name", "recipe", writes("2")) / "file").exists()


def test_a_build_knows_its_final_path() -> None:
    seen: list[Path] = []
    entry = cache.entry("kind", "name", "recipe", lambda new: seen.append(cache.final_path(new)))
    assert seen == [entry]


def test_a_new_recipe_replaces_the_old_entry_only_when_idle_and_unused(tmp_path: Path) -> None:
    machine = tmp_path / "machine"
    machine.mkdir()
    idle, used, recent = (cache.entry("kind", "name", recipe, writes(recipe)) for recipe in ("1", "2", "3"))
    cache.pin(used / "file", machine)
    age(idle)
    age(used)
    cache.entry("kind", "name", "4", writes("4"))
    assert (idle.exists(), used.exists(), recent.exists()) == (False, True, True)


def test_a_pin_ends_with_its_user(tmp_path: Path) -> None:
    machine = tmp_path / "machine"
    machine.mkdir()
    entry = cache.entry("kind", "name", "recipe", writes("1"))
    cache.pin(entry / "file", machine)
    cache.pin(entry / "file", machine)
    assert cache.users(entry) == [machine]
    assert cache.prune() == []
    machine.rmdir()
    assert cache.users(entry) == []
    assert cache.prune() == [entry]
    assert not entry.exists()


def test_only_what_is_in_the_cache_can_be_pinned(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="not in the cache"):
        cache.pin(tmp_path / "file", tmp_path)
    entry = cache.entry("kind", "name", "recipe", writes("1"))
    cache.prune()
    with pytest.raises(LabError, match="removed from the cache meanwhile"):
        cache.pin(entry / "file", tmp_path)


def test_entries_and_prune_leave_keys_and_strange_directories_alone(root: Path) -> None:
    key = cache.entry("ssh", "lab", "recipe", writes("key"))
    strange = root / "docker" / "overlay2"
    strange.mkdir(parents=True)
    image = cache.entry("uml", "12", "recipe", writes("x" * 5000))
    assert [(entry.kind, entry.path) for entry in cache.entries()] == [("ssh", key), ("uml", image)]
    assert cache.entries()[1].size >= 5000
    assert cache.prune() == [image]
    assert key.exists() and strange.exists()


def test_names_that_begin_alike_do_not_remove_each_other() -> None:
    other = cache.entry("uml", "12-7.2", "recipe", writes("1"))
    age(other)
    cache.entry("uml", "12", "one", writes("1"))
    cache.entry("uml", "12", "two", writes("2"))
    assert other.exists()


def _build_slowly(directory: Path, started: str) -> None:
    Path(started).touch()
    time.sleep(0.3)
    (directory / "file").write_text(str(os.getpid()), encoding="utf-8")


def _ask(started: str) -> None:
    cache.entry("kind", "name", "recipe", lambda new: _build_slowly(new, started))


def _ask_and_hang(started: str) -> None:
    def hang(directory: Path) -> None:
        (directory / "half").touch()
        Path(started).touch()
        signal.pause()

    cache.entry("kind", "name", "recipe", hang)


def _wait_for(path: Path) -> None:
    end = time.monotonic() + 10
    while not path.exists():
        assert time.monotonic() < end, f"{path} did not appear"
        time.sleep(0.01)


def test_two_processes_build_it_once(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    first, second = tmp_path / "first", tmp_path / "second"
    processes = [fork.Process(target=_ask, args=(str(path),)) for path in (first, second)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(10)
    assert [process.exitcode for process in processes] == [0, 0]
    assert first.exists() != second.exists()


def test_what_a_killed_process_left_is_cleared(tmp_path: Path, root: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_ask_and_hang, args=(str(tmp_path / "started"),))
    process.start()
    _wait_for(tmp_path / "started")
    process.kill()
    process.join(10)
    assert list((root / "kind").glob("*/half"))
    entry = cache.entry("kind", "name", "recipe", writes("whole"))
    assert [path.name for path in entry.iterdir()] == ["file"]
    assert not list((root / "kind").glob(".building-*"))


def test_a_recipe_does_not_change_with_comments() -> None:
    code = 'def f(x: int) -> int:\n    """Say."""\n    # why\n    return x\n'
    assert cache._code(code) == cache._code("def f(x: int) -> int:\n    return x\n")
    assert cache._code(code) != cache._code(code.replace("return x", "return -x"))
    assert cache._code('class A:\n    """Only this."""\n') == "class A:\n    pass"


class _Cycle:
    """Freed by the collector only, which runs this code of Python in the midst of whatever allocates."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        sum(range(100))


def test_threads_may_ask_for_recipes_at_once() -> None:
    def ask() -> list[str]:
        errors = []
        for dummy in range(60):
            _Cycle()
            try:
                cache.code_of(cache)
            except SystemError as error:
                errors.append(str(error))
        return errors

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(2) as pool:
            assert [asked.result() for asked in [pool.submit(ask) for dummy in range(2)]] == [[], []]
    finally:
        sys.setswitchinterval(interval)


def test_a_recipe_holds_plain_values_only() -> None:
    assert cache.digest({"set": {"b", "a"}}) == cache.digest({"set": frozenset({"a", "b"})})
    with pytest.raises(TypeError, match="PosixPath"):
        cache.digest({"path": Path("/")})
