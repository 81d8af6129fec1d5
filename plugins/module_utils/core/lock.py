# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run at a time on an object: what was planned from a reading holds only as long as nobody else writes."""

from __future__ import annotations

import fcntl
import os
import time

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import memory_folder

PATIENCE = 10.0  # seconds


class Locks:
    """Locks on objects, each held from when it is first asked for to the end of the process, however that comes.

    :param folder: where their files are; a tmpfs by default.
    :param patience: seconds to wait for another run.
    """

    def __init__(self, folder: str | None = None, patience: float = PATIENCE) -> None:
        self._folder = folder
        self._patience = patience
        self._held: dict[str, int] = {}

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Of the locks that are held. A program that has them too holds them on where this process is killed."""
        return tuple(self._held.values())

    def hold(self, name: str, what: str) -> None:
        """Be the only run on an object.

        :param name: of the object, as a part of a file's name.
        :param what: the object in words.
        :raises RootOfTrustError: if another run does not end in time.
        """
        if name in self._held:
            return
        file = os.path.join(self._folder or memory_folder(), f"rootoftrust-{name}.lock")
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + self._patience
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    os.close(descriptor)
                    raise RootOfTrustError(
                        f"Another run is at work on {what}.", "Wait for its end, and do not start two at once."
                    ) from None
            time.sleep(0.05)  # between two tries, until the deadline, which fails above
        self._held[name] = descriptor
