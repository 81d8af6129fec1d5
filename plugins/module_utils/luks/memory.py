# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""/proc/meminfo: how much memory a key derivation may take on this host."""

from __future__ import annotations

import re
from dataclasses import replace

from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import LUKS1, PbkdfChoice

DEFAULT = 1024 * 1024  # KiB, what cryptsetup is built with (cryptsetup --help), from 2.3.7 to 2.8.8
LEAST = 64 * 1024  # KiB: the second recommended option of RFC 9106, 4
SHARE = 4  # a quarter of what is free now: at boot the same host derives the key beside everything else that starts


def bounded(choice: PbkdfChoice, luks: str, meminfo: str = "/proc/meminfo") -> PbkdfChoice:
    """The choice with a memory that fits this host, where the user has chosen none.

    :param luks: type of the header; LUKS1 has only pbkdf2, which takes no memory.
    """
    if luks == LUKS1 or choice.type == "pbkdf2" or choice.memory is not None:
        return choice
    with open(meminfo, encoding="ascii") as stream:
        found = re.search(r"^MemAvailable:\s+(\d+) kB$", stream.read(), re.MULTILINE)
    free = int(found.group(1)) if found else 0
    return replace(choice, memory=min(DEFAULT, max(LEAST, free // SHARE)))
