# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run ``ansible-test sanity`` as it wants to be run: ``python tools/sanity.py REPORTS [argument...]``.

- On a copy of the collection: ansible-test needs a real path that ends in ansible_collections/rootoftrust/linux.
- In a home of its own, for ansible-test keeps its environments there.
- With only those of the path's Pythons that start.
- With a pip bootstrap script made from the package index's pip: ansible-test would download one from a host of its own,
  which a machine that reaches only a package index does not.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

from ansible_test._internal.python_requirements import get_venv_packages

ROOT = Path(__file__).resolve().parent.parent
HOME = ROOT / ".lab" / "ansible-test"
INHERITED = (".cache", ".config", ".netrc", ".pip")  # where pip looks for its configuration

BOOTSTRAP = """\
import os
import sys

wheel = os.path.join(os.path.dirname(os.path.abspath(__file__)), {wheel!r})
sys.path.insert(0, wheel)

from pip._internal.cli.main import main

arguments = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
sys.exit(main(["install", "--force-reinstall", *arguments]))
"""


def main() -> int:
    reports, arguments = Path(sys.argv[1]), sys.argv[2:]
    make_home()
    with tempfile.TemporaryDirectory() as directory:
        tree = Path(directory) / "ansible_collections" / "rootoftrust" / "linux"
        copy_collection(tree)
        environment = {**os.environ, "HOME": str(HOME), "PATH": working_path(os.environ["PATH"])}
        environment.pop("ANSIBLE_COLLECTIONS_PATH", None)
        command = ["ansible-test", "sanity", "--color", "no", "--junit", *arguments]
        result = subprocess.run(command, cwd=tree, env=environment, check=False)
        keep_reports(tree / "tests" / "output" / "junit", reports)
    return result.returncode


def keep_reports(junit: Path, reports: Path) -> None:
    """Keep what ansible-test counted, without the tests that found no file of their kind."""
    reports.mkdir(parents=True, exist_ok=True)
    for report in junit.glob("*.xml"):
        if "No tests applicable." not in report.read_text():
            shutil.copy2(report, reports)


def make_home() -> None:
    """Make the home and in it, where ansible-test looks for a cached copy, the pip bootstrap script."""
    cache = HOME / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    for name in INHERITED:
        original, link = Path.home() / name, HOME / name
        if original.exists() and not link.is_symlink():
            link.symlink_to(original)
    python = SimpleNamespace(version=f"{sys.version_info.major}.{sys.version_info.minor}")
    version = get_venv_packages(python)["pip"]
    script = cache / f"get_pip_{version.replace('.', '_')}.py"
    if not script.exists():
        download = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-qq", "download", "--no-deps"]
        subprocess.run([*download, "-d", str(cache), f"pip=={version}"], check=True)
        script.write_text(BOOTSTRAP.format(wheel=f"pip-{version}-py3-none-any.whl"))


def working_path(path: str) -> str:
    """Drop the folders with a python3.N that does not start (version managers' shims): ansible-test tries them all."""
    return os.pathsep.join(folder for folder in path.split(os.pathsep) if all(map(starts, pythons(Path(folder)))))


def pythons(folder: Path) -> list[Path]:
    return [path for path in folder.glob("python3.*") if path.suffix[1:].isdigit()]


def starts(python: Path) -> bool:
    return subprocess.run([python, "-c", ""], stderr=subprocess.DEVNULL, check=False).returncode == 0


def copy_collection(tree: Path) -> None:
    """Copy what is tracked by git or would be."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, tree / name
        if source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)


if __name__ == "__main__":
    sys.exit(main())
