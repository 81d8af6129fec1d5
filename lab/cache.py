# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What takes long to make is made once and found again by the digest of its recipe.

An entry is a directory ``<root>/<kind>/<name>-<digest>``. It is built under a temporary name beside its final one and
renamed when whole, so an entry that exists is complete, whatever was killed meanwhile. The whole cache may be deleted
at any time.

A machine that depends on an entry (a copy-on-write disk over an image) pins it by `pin`; the pin is a link to a path of
the machine and counts for as long as that path exists, so a crashed machine needs no clean-up here.
"""

from __future__ import annotations

import ast
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from lab.errors import LabError

_PINS = ".pins"
# Removing them would lock the lab out of its machines.
_KEPT_KIND = "ssh"
# Two checkouts of this repository, with different recipes, do not take each other's images away.
_IDLE = 2 * 3600.0
_BUILDING = ".building-"
_DIGEST_LENGTH = 12
_ANY_DIGEST = "[0-9a-f]" * _DIGEST_LENGTH

# CPython 3.11 counts the depth of a tree that it makes once for all threads (SystemError: recursion depth mismatch).
_PARSER = threading.Lock()

Recipe = Mapping[str, object] | str


def root() -> Path:
    """``$ROOTOFTRUST_LAB_CACHE``, else ``rootoftrust-lab`` in ``$XDG_CACHE_HOME`` or ``~/.cache``."""
    own = os.environ.get("ROOTOFTRUST_LAB_CACHE")
    if own:
        return Path(own).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "rootoftrust-lab"


def code_of(*modules: ModuleType) -> str:
    """The code of ``modules`` without comments and docstrings: a part of the recipe of what they build."""
    return "\n".join(_code(Path(str(module.__file__)).read_text(encoding="utf-8")) for module in modules)


def _code(source: str) -> str:
    with _PARSER:
        tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def digest(recipe: Recipe) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of ``recipe``."""
    text = recipe if isinstance(recipe, str) else json.dumps(recipe, sort_keys=True, default=_plain)
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LENGTH]


def _plain(value: object) -> list[str]:
    if isinstance(value, (set, frozenset)):
        return sorted(str(item) for item in value)
    raise TypeError(f"a recipe cannot hold {type(value).__name__}")


def entry(kind: str, name: str, recipe: Recipe, build: Callable[[Path], None]) -> Path:
    """Return the directory of this entry; when it is missing, let ``build`` fill a new one first.

    ``build`` gets an empty directory. Processes that ask for the same name at once build it once: the others wait.
    Entries of the same name with another recipe are removed afterwards, if nobody pins them or has asked for them for
    two hours.
    """
    final = root() / kind / f"{name}-{digest(recipe)}"
    if _asked_for(final):
        return final
    with _locked(kind, name):
        if _asked_for(final):
            return final
        # We hold the lock of this name, so whatever is half-built under it was left by a killed process.
        for rest in final.parent.glob(f"{_BUILDING}{name}-*"):
            _remove(rest)
        building = final.parent / f"{_BUILDING}{final.name}"
        building.mkdir()
        try:
            build(building)
        except BaseException:
            _remove(building)
            raise
        building.rename(final)
        for other in _of_name(kind, name):
            if other != final and not users(other) and time.time() - other.stat().st_mtime > _IDLE:
                _remove(other)
    return final


def _asked_for(directory: Path) -> bool:
    """Whether the entry exists; its time of change becomes now."""
    try:
        os.utime(directory)
    except FileNotFoundError:
        return False
    return True


def final_path(building: Path) -> Path:
    """The path that the directory handed to a ``build`` function has once it is whole."""
    return building.with_name(building.name.removeprefix(_BUILDING))


def pin(path: Path, user: Path) -> None:
    """Keep the entry that holds ``path`` for as long as ``user``, a path of whoever depends on it, exists."""
    pins = _entry_of(path) / _PINS
    link = pins / hashlib.sha256(str(user).encode()).hexdigest()[:_DIGEST_LENGTH]
    try:
        pins.mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError):
            link.symlink_to(user.absolute())
    except FileNotFoundError as error:
        raise LabError(f"{path}: removed from the cache meanwhile: try again") from error


def users(directory: Path) -> list[Path]:
    """The existing paths that pin the entry ``directory``; pins whose path is gone are dropped."""
    alive: list[Path] = []
    for link in sorted((directory / _PINS).glob("*")):
        target = Path(os.readlink(link))
        if target.exists():
            alive.append(target)
        else:
            link.unlink(missing_ok=True)
    return alive


@dataclass(frozen=True)
class Entry:
    """One entry as `lab cache` shows it; ``size`` in bytes, as allocated on disk."""

    kind: str
    name: str
    path: Path
    size: int
    users: tuple[Path, ...]


def entries() -> list[Entry]:
    """All whole entries, sorted by path."""
    return [
        Entry(path.parent.name, path.name, path, _allocated(path), tuple(users(path)))
        for path in sorted(root().glob(f"*/*-{_ANY_DIGEST}"))
        if path.is_dir() and not path.name.startswith(".")
    ]


def prune() -> list[Path]:
    """Remove every entry that nobody pins and every half-built one, but no keys; return what was removed."""
    removed: list[Path] = []
    for path in sorted(root().glob(f"*/*-{_ANY_DIGEST}")):
        if path.is_dir() and path.parent.name != _KEPT_KIND:
            name = path.name.removeprefix(_BUILDING).rpartition("-")[0]
            with _locked(path.parent.name, name):
                if path.exists() and not users(path):
                    _remove(path)
                    removed.append(path)
    return removed


@contextlib.contextmanager
def _locked(kind: str, name: str) -> Iterator[None]:
    """Hold the lock of one name. The kernel releases it when its holder dies."""
    directory = root() / kind
    directory.mkdir(parents=True, exist_ok=True)
    with open(directory / f".{name}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _of_name(kind: str, name: str) -> list[Path]:
    return [path for path in (root() / kind).glob(f"{name}-{_ANY_DIGEST}") if path.is_dir()]


def _entry_of(path: Path) -> Path:
    base = root()
    try:
        kind, name = path.absolute().relative_to(base).parts[:2]
    except ValueError as error:
        raise LabError(f"{path}: not in the cache {base}: use a path that the lab handed out") from error
    return base / kind / name


def _remove(path: Path) -> None:
    """Remove a tree in two steps, so that a kill in between never leaves half an entry under a final name."""
    doomed = path if path.name.startswith(_BUILDING) else path.with_name(f"{_BUILDING}{path.name}")
    if doomed != path:
        path.rename(doomed)
    shutil.rmtree(doomed)


def _allocated(path: Path) -> int:
    total = 0
    for directory, dummy, files in os.walk(path):
        for file in files:
            total += os.lstat(os.path.join(directory, file)).st_blocks * 512
    return total
