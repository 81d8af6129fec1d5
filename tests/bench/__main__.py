# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``make bench``: the measurements, written into docs/benchmarks.md; ``make bench ARGS=encryption`` measures that one anew."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
from collections.abc import Callable

from tests.bench import encryption, kernel_keys, luks_keyslot, rng_quality, site
from tests.integration.ansible_run import ROOT

PATH = ROOT / "docs/benchmarks.md"
HEAD = """\
<!--
Copyright (c) 2026, rootoftrust.linux contributors
SPDX-License-Identifier: GPL-3.0-or-later
-->

# Benchmarks

Written by `make bench`. The ratios carry over to other hosts, the seconds do not.
"""
# Name → title, what is measured, and the measurement.
SECTIONS: dict[str, tuple[str, str, Callable[[], list[str]]]] = {
    "rng_quality": (
        "`rng_quality` against `rngtest`",
        """\
The FIPS 140-2 tests of the same file, in turns. For `rngtest` it is the whole program; for the module it is reading and testing,
without the start of Python and Ansible, which every module pays.""",
        rng_quality.table,
    ),
    "site": (
        "`site.yml` without changes against gathering facts",
        f"Whole runs of `ansible-playbook`, in turns, against one User Mode Linux machine (Debian 13), {site.REPETITIONS} repetitions:",
        site.table,
    ),
    "luks_keyslot": (
        "`luks_keyslot` against `community.crypto.luks_device`",
        f"""\
That a passphrase opens a volume already: it is the last of 4 keyslots at cryptsetup's default cost. Processes that run
the modules' `main()` on this host, with the start of Python, in turns, {luks_keyslot.REPETITIONS} repetitions:""",
        luks_keyslot.table,
    ),
    "kernel_keys": (
        "The role `kernel_keys` without changes",
        f"""\
Whole runs of `ansible-playbook` against one User Mode Linux machine (Debian 13), a master key and encrypted keys under it,
{kernel_keys.REPETITIONS} repetitions; goal: no more than {kernel_keys.MOST} module executions, however many keys there are.""",
        kernel_keys.table,
    ),
    "encryption": (
        "Encryption in place",
        f"""\
An ext4 of {encryption.SIZE}, with {encryption.FILES} files of about 1 MiB, on one User Mode Linux machine (Debian 13), in
turns, {encryption.REPETITIONS} repetitions. For luks_encryption it is a whole run of Ansible that starts the work in the
background, while the file system is in use again, and one after its end; for the others it is the commands, with
--reduce-device-size 32M, as their manual recommends and luks_encryption does. Goal: ≤ 1.05 for luks_encryption. What Ansible
takes (10 to 15 s) does not grow with the disk. On 2026-11-28 it was 1.03, on 2026-11-29, with the host a seventh slower, 1.09, which is
over the goal. The last row leaves out that the disk has to be overwritten, too.""",
        encryption.table,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench")
    parser.add_argument("section", nargs="*", choices=[*SECTIONS, []], help="by default all")
    chosen = parser.parse_args().section or list(SECTIONS)
    before = _sections(PATH.read_text(encoding="utf-8"))
    texts = [_measured(*SECTIONS[name]) if name in chosen else before.get(SECTIONS[name][0]) for name in SECTIONS]
    PATH.write_text("\n".join([HEAD, *filter(None, texts)]), encoding="utf-8")
    print(PATH.read_text(encoding="utf-8"))


def _measured(title: str, text: str, table: Callable[[], list[str]]) -> str:
    where = f"{os.cpu_count()} cores, Linux {platform.release().split('-')[0]}, Python {platform.python_version()}"
    lines = table()
    return "\n".join([f"## {title}", "", text, "", *lines, "", f"Measured on {datetime.date.today().isoformat()}: {where}.", ""])


def _sections(text: str) -> dict[str, str]:
    """The sections of the file by their titles."""
    found = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    return {part.partition("\n")[0]: f"## {part.rstrip()}\n" for part in found}


if __name__ == "__main__":
    main()
