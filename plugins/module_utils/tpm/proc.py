# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""/proc: who has the TPM's devices open."""

from __future__ import annotations

import os

from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.model import Holder
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.sysfs import MANAGED, PLAIN


def holders(root: str = "/") -> list[Holder]:
    """The processes but this one that have a device of the TPM open, as far as this user may see them."""
    found = []
    folder = os.path.join(root, "proc")
    for entry in sorted(filter(str.isdigit, os.listdir(folder)), key=int):
        if int(entry) == os.getpid():
            continue
        process = os.path.join(folder, entry)
        try:
            opened = {os.readlink(os.path.join(process, "fd", number)) for number in os.listdir(os.path.join(process, "fd"))}
            with open(os.path.join(process, "comm"), encoding="utf-8", errors="replace") as stream:
                program = stream.read().strip()
        except OSError:  # it has ended, or is another user's
            continue
        found += [Holder(int(entry), program, device) for device in (PLAIN, MANAGED) if device in opened]
    return found
