# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run at a time on a header."""

from __future__ import annotations

import os
import stat

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.lock import Locks


class HeaderLocks(Locks):
    def hold_header(self, path: str) -> None:
        """Be the only run on a header.

        :param path: the device, or the file of a detached header, by whichever of its names.
        :raises RootOfTrustError: if another run does not end in time.
        """
        found = os.stat(path)
        at = f"{found.st_rdev:x}" if stat.S_ISBLK(found.st_mode) else f"{found.st_dev:x}-{found.st_ino:x}"
        self.hold(f"luks-{at}", f"the LUKS header of {path}")
