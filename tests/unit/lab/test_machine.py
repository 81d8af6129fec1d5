# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from lab.machine import is_early_panic

# The end of a console of QEMU 7.2, emulated, with Linux 6.12.
SEEN = "[    1.760000] RIP: 0010:0xffffffff8dd0\n[    1.779816] Kernel panic - not syncing: Fatal exception in interrupt\n"


@pytest.mark.parametrize(
    ("console", "early"),
    [
        (SEEN, True),
        (SEEN.replace("    1.779816", "   41.779816"), False),
        ("[    2.010000] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n", False),
        ("[    3.010000] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\n", False),
        ("", False),
    ],
)
def test_only_a_fatal_exception_of_the_first_seconds_is_the_emulators(console: str, early: bool) -> None:
    assert is_early_panic(console) is early
