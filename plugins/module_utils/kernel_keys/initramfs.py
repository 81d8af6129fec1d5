# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The images in /boot, and the programs that make them."""

from __future__ import annotations

import glob
import os
import re
import time
from contextlib import suppress
from typing import Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.plan_initramfs import COMMANDS, Dated, Initramfs

# The names of images, with what their kernel is called: its version, or with mkinitcpio its package.
IMAGES = re.compile(r"initrd\.img-(.+)|initramfs-(.+)\.img|initrd-(.+)")
# What the tools leave beside their images: the one before, and those that are made once or with everything in them.
_NONE = re.compile(r"\.(?:bak|dpkg-bak|old|new|tmp)$|rescue|fallback|kdump")
LONGEST = 1800.0  # seconds


class Images:
    """
    :param runner: starts the program.
    :param boot: where the images are.
    :param modules: where kernels have their modules.
    """

    def __init__(self, runner: Runner, boot: str = "/boot", modules: str = "/lib/modules") -> None:
        self._runner = runner
        self._boot = boot
        self._modules = modules

    def read(self, sources: Sequence[str]) -> Initramfs:
        """What there is. A folder among the sources counts as the newest of what is in it."""
        kernels = self._kernels()
        images: list[Dated] = []
        strays: list[Dated] = []
        for path in sorted(glob.glob(os.path.join(self._boot, "init*"))):
            name = os.path.basename(path)
            match = IMAGES.fullmatch(name)
            if match is not None and os.path.isfile(path) and not _NONE.search(name):
                (images if kernels.intersection(match.groups()) else strays).append(_dated(path))
        found = tuple(_dated(path) for path in sources if os.path.exists(path))
        return Initramfs(self.tool(), tuple(images), found, time.time(), tuple(strays))

    def _kernels(self) -> set[str]:
        """What the kernels are called that the tools make images for: those that have a list of their modules."""
        folders = [os.path.dirname(path) for path in glob.glob(os.path.join(self._modules, "*", "modules.dep"))]
        names = {os.path.basename(folder) for folder in folders}
        for folder in folders:
            with suppress(FileNotFoundError), open(os.path.join(folder, "pkgbase"), encoding="utf-8") as stream:
                names.add(stream.read().strip())
        return names

    def tool(self) -> str:
        """What makes the images of this host."""
        return next((name for name, command in COMMANDS.items() if self._runner.find(command[0])), "")

    def apply(self, step: Step) -> None:
        """Make all of them."""
        self._runner.run(COMMANDS[step.detail], timeout=LONGEST)


def _dated(path: str) -> Dated:
    inside = [os.path.join(folder, name) for folder, _below, names in os.walk(path) for name in names]
    return Dated(path, max(os.stat(each).st_mtime for each in (path, *inside)))
