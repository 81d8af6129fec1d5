# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images in /boot, and the programs that make them."""

from __future__ import annotations

import glob
import os
import re
import time
from typing import Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.plan_initramfs import COMMANDS, Dated, Initramfs

IMAGES = ("initrd.img-*", "initramfs-*.img", "initrd-*")
# What the tools leave beside their images: the one before, and those that are made once or with everything in them.
_NONE = re.compile(r"\.(?:bak|dpkg-bak|old|new|tmp)$|rescue|fallback|kdump")
LONGEST = 1800.0  # seconds


class Images:
    """
    :param runner: starts the program.
    :param boot: where the images are.
    """

    def __init__(self, runner: Runner, boot: str = "/boot") -> None:
        self._runner = runner
        self._boot = boot

    def read(self, sources: Sequence[str]) -> Initramfs:
        """What there is. A folder among the sources counts as the newest of what is in it."""
        paths = {path for pattern in IMAGES for path in glob.glob(os.path.join(self._boot, pattern))}
        images = tuple(_dated(path) for path in sorted(paths) if os.path.isfile(path) and not _NONE.search(os.path.basename(path)))
        found = tuple(_dated(path) for path in sources if os.path.exists(path))
        return Initramfs(self.tool(), images, found, time.time())

    def tool(self) -> str:
        """What makes the images of this host."""
        return next((name for name, command in COMMANDS.items() if self._runner.find(command[0])), "")

    def apply(self, step: Step) -> None:
        """Make all of them."""
        self._runner.run(COMMANDS[step.detail], timeout=LONGEST)


def _dated(path: str) -> Dated:
    inside = [os.path.join(folder, name) for folder, _below, names in os.walk(path) for name in names]
    return Dated(path, max(os.stat(each).st_mtime for each in (path, *inside)))
