# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a playbook on an inventory, or where none is given on the lab's machine ``site``.

``python tools/play.py PLAYBOOK INVENTORY-or-empty [argument of ansible-playbook...]``
The machine is made when there is none and stays, so that the next run meets it again; ``make lab-down`` removes it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
MACHINE = "site"
RELEASE = "13"


def main() -> None:
    playbook, inventory, *arguments = sys.argv[1:]
    inventory = str(Path(inventory).resolve()) if inventory else str(lab_inventory())
    os.chdir(ROOT)
    program = Path(sys.executable).parent / "ansible-playbook"
    os.environ["PATH"] = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    os.execv(program, [str(program), "-i", inventory, playbook, *arguments])


def lab_inventory() -> Path:
    """Have the machine running and write the inventory that reaches it."""
    if os.geteuid() != 0:
        sys.exit("A machine of the lab takes root: run this as root, or give hosts of your own: make site INVENTORY=hosts.ini")
    lab("up", MACHINE, "--release", RELEASE, "--owner", "none")
    print(
        f"The disposable machine {MACHINE!r} (Debian {RELEASE}) stays for the next run; make lab-down removes it.",
        flush=True,
    )
    path = ROOT / ".lab" / "inventory"
    path.parent.mkdir(exist_ok=True)
    with path.open("w") as file:
        lab("inventory", MACHINE, output=file)
    return path


def lab(*arguments: str, output: IO[str] | None = None) -> None:
    """Run one command of the lab; its progress goes to the screen."""
    command = [sys.executable, "-m", "lab", *arguments]
    status = subprocess.run(command, cwd=ROOT, stdout=output, stdin=subprocess.DEVNULL, check=False).returncode
    if status:
        sys.exit(status)


if __name__ == "__main__":
    main()
