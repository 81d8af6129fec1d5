# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How long rng_quality and rngtest take for the same 20 MB.

Both read the same file from the page cache, in turns, in one run. For rngtest it is the whole program; for rng_quality it is reading
and testing as the module does it, without the start of Python and Ansible, which is a matter of the connection.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy import device, fips, plan

BLOCKS = 8000
REPETITIONS = 5


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def table() -> list[str]:
    """Markdown."""
    rngtest = shutil.which("rngtest")
    if rngtest is None:
        sys.exit("rngtest is not installed (Debian: rng-tools5), so there is nothing to compare with.")
    with tempfile.NamedTemporaryFile() as file:
        file.write(os.urandom(fips.bytes_for(BLOCKS)))
        file.flush()
        wanted = plan.sampling(file.name, BLOCKS, 600.0, None)

        def theirs() -> None:
            with open(file.name, "rb") as stream:
                subprocess.run([rngtest], stdin=stream, stderr=subprocess.DEVNULL, check=False)

        def ours() -> None:
            device.sample(wanted)

        def ours_before_3_10() -> None:
            keep, fips.count_ones = fips.count_ones, fips.count_ones_by_sums
            try:
                device.sample(wanted)
            finally:
                fips.count_ones = keep

        version = ".".join(map(str, sys.version_info[:3]))
        contenders = {
            "rngtest": theirs,
            f"rng_quality (Python {version})": ours,
            "rng_quality (the way of Python before 3.10)": ours_before_3_10,
        }
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for dummy in range(REPETITIONS):
            for name, work in contenders.items():
                times[name].append(seconds(work))
    lines = ["| program | min | median | of rngtest's median |", "|---|---|---|---|"]
    reference = statistics.median(times["rngtest"])
    for name, found in times.items():
        median = statistics.median(found)
        lines.append(f"| {name} | {min(found):.2f} s | {median:.2f} s | {median / reference:.2f} |")
    return [f"{BLOCKS} blocks, {fips.bytes_for(BLOCKS) / 1e6:.0f} MB, {REPETITIONS} repetitions:", "", *lines]
