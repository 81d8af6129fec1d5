# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``make bench``: all measurements in one run, written into docs/benchmarks.md."""

from __future__ import annotations

import datetime
import os
import platform

from tests.bench import rng_quality, site
from tests.integration.ansible_run import ROOT

HEAD = """\
<!--
Copyright (c) 2026, rootoftrust.linux contributors
SPDX-License-Identifier: GPL-3.0-or-later
-->

# Benchmarks

Written by `make bench`, all of it measured in one run. The ratios carry over to other hosts, the seconds do not.
"""


def main() -> None:
    where = f"{os.cpu_count()} cores, Linux {platform.release().split('-')[0]}, Python {platform.python_version()}"
    lines = [
        HEAD,
        f"Measured on {datetime.date.today().isoformat()}: {where}.",
        "",
        "## `rng_quality` against `rngtest`",
        "",
        "The FIPS 140-2 tests of the same file, in turns. For `rngtest` it is the whole program; for the module it is reading and testing,",
        "without the start of Python and Ansible, which every module pays.",
        "",
        *rng_quality.table(),
        "",
        "## `site.yml` without changes against gathering facts",
        "",
        f"Whole runs of `ansible-playbook`, in turns, against one User Mode Linux machine (Debian 13), {site.REPETITIONS} repetitions:",
        "",
        *site.table(),
        "",
    ]
    path = ROOT / "docs/benchmarks.md"
    path.write_text("\n".join(lines), encoding="utf-8")
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
