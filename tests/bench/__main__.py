# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``make bench``: all measurements in one run, written into docs/benchmarks.md."""

from __future__ import annotations

import datetime
import os
import platform

from tests.bench import encryption, kernel_keys, luks_keyslot, rng_quality, site
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
        "## `luks_keyslot` against `community.crypto.luks_device`",
        "",
        "That a passphrase opens a volume already: it is the last of 4 keyslots at cryptsetup's default cost. Processes that run",
        f"the modules' `main()` on this host, with the start of Python, in turns, {luks_keyslot.REPETITIONS} repetitions:",
        "",
        *luks_keyslot.table(),
        "",
        "## The role `kernel_keys` without changes",
        "",
        "Whole runs of `ansible-playbook` against one User Mode Linux machine (Debian 13), a master key and encrypted keys under it,",
        f"{kernel_keys.REPETITIONS} repetitions; goal: no more than {kernel_keys.MOST} module executions, however many keys there are.",
        "",
        *kernel_keys.table(),
        "",
        "## Encryption in place",
        "",
        f"An ext4 of {encryption.SIZE}, with {encryption.FILES} files of about 1 MiB, on one User Mode Linux machine (Debian 13), in",
        f"turns, {encryption.REPETITIONS} repetitions. For luks_encryption it is a whole run of Ansible that starts the work in the",
        "background, while the file system is in use again, and one after its end; for the others it is the commands, with",
        "--reduce-device-size 32M, as their manual recommends and luks_encryption does. Work is the encryption of the data alone, for",
        "luks_encryption at the rate that it has once Ansible has ended, which until then takes the machine's one processor from it;",
        "goal: ≤ 1.05. The last row leaves out that the disk has to be overwritten, too.",
        "",
        *encryption.table(),
        "",
    ]
    path = ROOT / "docs/benchmarks.md"
    path.write_text("\n".join(lines), encoding="utf-8")
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
