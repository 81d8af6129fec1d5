# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write ``tools/requirements.txt``: what pip makes of the dependency group ``controller`` of pyproject.toml."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = """\
# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
# Written by `make lock` from pyproject.toml. Do not edit.
"""


def main() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        wanted = tomllib.load(file)["dependency-groups"]["controller"]
    with tempfile.TemporaryDirectory() as directory:
        venv.create(directory, with_pip=True)
        pip = [f"{directory}/bin/python", "-m", "pip", "--disable-pip-version-check", "-qq"]
        subprocess.run([*pip, "install", *wanted], check=True, stdout=sys.stderr)
        frozen = subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True).stdout
    (ROOT / "tools" / "requirements.txt").write_text(HEADER + frozen)


if __name__ == "__main__":
    main()
