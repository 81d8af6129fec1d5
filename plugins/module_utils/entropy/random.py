# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel's random number interface: /proc/sys/kernel/random and getrandom(2)."""

from __future__ import annotations

import os
import stat

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.model import Pool
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.parse import POOL_DEVICES
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.pseudofile import read_text

FOLDER = "proc/sys/kernel/random"
POOL_NUMBERS = {(1, 8), (1, 9)}  # /dev/random and /dev/urandom, from the kernel's Documentation/admin-guide/devices.txt


def crng_ready() -> bool:
    """Whether the kernel's generator was seeded since boot. Asks for a byte without waiting; takes microseconds."""
    try:
        os.getrandom(1, os.GRND_NONBLOCK)
    except BlockingIOError:
        return False
    return True


def pool(root: str = "/") -> Pool:
    """The pool as it is now.

    :raises RootOfTrustError: if /proc does not show it.
    """
    folder = os.path.join(root, FOLDER)
    try:
        available, size = (int(read_text(os.path.join(folder, name)) or "") for name in ("entropy_avail", "poolsize"))
    except ValueError:
        raise RootOfTrustError(
            f"/{FOLDER} does not tell the pool's size and estimate.", "Mount /proc, and let the process read /proc/sys."
        ) from None
    return Pool(
        entropy_avail=available,
        poolsize=size,
        crng_ready=crng_ready(),
        blocking=os.path.exists(os.path.join(folder, "read_wakeup_threshold")),
    )


def is_pool_device(path: str) -> bool:
    """Whether a path leads to the kernel's own pool, also by a symbolic link or another device node of the same number."""
    if path in POOL_DEVICES:
        return True
    try:
        status = os.stat(path)
    except OSError:
        return False
    return stat.S_ISCHR(status.st_mode) and (os.major(status.st_rdev), os.minor(status.st_rdev)) in POOL_NUMBERS
