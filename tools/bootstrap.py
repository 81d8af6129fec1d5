# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make ``.venv``: the pinned Python tools and, in ``.venv/collections``, the collections this one depends on.

It runs on the host's own python3 with nothing installed, and costs a tenth of a second when there is nothing to do.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / ".stamp"
LOCK = ROOT / "tools" / "requirements.txt"
COLLECTIONS = VENV / "collections" / "ansible_collections"
OLDEST_PYTHON = (3, 11)  # ansible-core 2.19 runs on no older one on the controller


class Pins(NamedTuple):
    """What pyproject.toml's table ``tool.rootoftrust`` names."""

    system_packages: list[str]
    bundle: str
    collections: list[str]


def main() -> None:
    if sys.version_info < OLDEST_PYTHON:
        found = ".".join(str(part) for part in sys.version_info[:3])
        sys.exit(
            f"python3: {sys.executable} is {found}: the controller needs Python 3.11 or newer "
            "(Debian 12 or newer); name another one with: make PYTHON=/path/to/python3.11 ..."
        )
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two makes at once: the second one waits and finds it done
        ensure()


def ensure() -> None:
    """Make the environment unless the one that stands there was made from exactly these pins, here."""
    pins = _pins()
    wanted = _digest(pins)
    if STAMP.is_file() and STAMP.read_text() == wanted:
        return
    started = time.monotonic()
    _install_system_packages(pins.system_packages)
    if VENV.exists():
        shutil.rmtree(VENV)
    _say("making .venv from tools/requirements.txt")
    _run([sys.executable, "-m", "venv", str(VENV)])
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-qq"]
    _run([*pip, "install", "--no-deps", "-r", str(LOCK)])
    _say(f"fetching {pins.bundle} for {', '.join(pins.collections)}")
    _extract_collections(pip, pins.bundle, pins.collections)
    _link_this_collection()
    STAMP.write_text(wanted)
    _say(f".venv is ready ({time.monotonic() - started:.0f} s)")


def _pins() -> Pins:
    import tomllib  # not at the top: an older Python must get as far as being told so

    with (ROOT / "pyproject.toml").open("rb") as file:
        table = tomllib.load(file)["tool"]["rootoftrust"]
    return Pins(table["system-packages"], table["collection-bundle"], table["collections"])


def _digest(pins: Pins) -> str:
    """Name what the environment is made from. An environment knows its own path: moved, it has to be made anew."""
    parts = [LOCK.read_text(), Path(__file__).read_text(), repr(pins), sys.version, os.path.realpath(sys.executable)]
    return hashlib.sha256("\0".join([*parts, str(VENV)]).encode()).hexdigest()


def _install_system_packages(packages: list[str]) -> None:
    missing = [package for package in packages if not _present(package)]
    if not missing:
        return
    command = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(f"missing on this machine: {' '.join(missing)}\nrun as root: apt-get update && {' '.join(command)}")
    _say(f"installing {' '.join(missing)}")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    quiet = ["-qq", "-o", "DPkg::Lock::Timeout=300"]
    _run(["apt-get", *quiet, "update"], environment)
    _run([command[0], *quiet, *command[1:]], environment)


def _present(package: str) -> bool:
    """Look for what a package brings, which need not come from the package itself."""
    if package == "python3-venv":
        return _imports("ensurepip") and _imports("venv")
    if package == "ca-certificates":
        return Path("/etc/ssl/certs/ca-certificates.crt").exists()
    return shutil.which({"openssh-client": "ssh"}.get(package, package)) is not None


def _imports(module: str) -> bool:
    return subprocess.run([sys.executable, "-c", f"import {module}"], stderr=subprocess.DEVNULL, check=False).returncode == 0


def _extract_collections(pip: list[str], bundle: str, names: list[str]) -> None:
    """Take the folders of some collections out of the bundle's wheel (54 MB, of which they are a fiftieth)."""
    folders = tuple(f"ansible_collections/{name.replace('.', '/')}/" for name in names)
    with tempfile.TemporaryDirectory(dir=VENV) as directory:
        _run([*pip, "download", "--no-deps", "--only-binary", ":all:", "-d", directory, bundle])
        (wheel,) = Path(directory).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            members = [name for name in archive.namelist() if name.startswith(folders)]
            archive.extractall(COLLECTIONS.parent, members)
    for name in names:
        if not (COLLECTIONS / name.replace(".", "/") / "MANIFEST.json").is_file():
            sys.exit(f"{bundle}: the bundle holds no collection {name}: change collections in pyproject.toml")


def _link_this_collection() -> None:
    namespace = COLLECTIONS / "rootoftrust"
    namespace.mkdir()
    (namespace / "linux").symlink_to(os.path.relpath(ROOT, namespace))


def _say(message: str) -> None:
    print(f"bootstrap: {message}", flush=True)


def _run(command: list[str], environment: dict[str, str] | None = None) -> None:
    """Run a command, quietly if it goes well."""
    result = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if result.returncode:
        sys.exit(f"{result.stdout}bootstrap: exit status {result.returncode} from: {' '.join(command)}")


if __name__ == "__main__":
    main()
