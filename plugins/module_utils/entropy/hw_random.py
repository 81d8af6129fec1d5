# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel's hw_random framework: /sys/class/misc/hw_random."""

from __future__ import annotations

import os

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy import parse, proc
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.model import BEST, Choice, Hwrng
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.pseudofile import read_text

FOLDER = "sys/class/misc/hw_random"
ATTRIBUTES = ("rng_available", "rng_current", "rng_selected", "rng_quality")
OLD_QUALITY = "sys/module/rng_core/parameters/current_quality"


class HwRandom:
    """The framework of one system.

    :param root: where that system's file tree begins.
    """

    def __init__(self, root: str = "/") -> None:
        self._root = root

    def state(self, fed: bool) -> Hwrng:
        """What it shows now.

        :param fed: whether the kernel's thread runs.
        """
        attributes = {name: read_text(os.path.join(self._root, FOLDER, name)) for name in ATTRIBUTES}
        attributes["current_quality"] = read_text(os.path.join(self._root, OLD_QUALITY))
        return parse.hwrng(attributes, device=os.path.exists(os.path.join(self._root, "dev/hwrng")), fed=fed)

    def read(self, desired: Choice) -> Hwrng:
        """As :meth:`state`, for the module that chooses: what is not there is an error.

        :raises RootOfTrustError: if the kernel shows no hw_random framework here.
        """
        current = self.state(fed=any(process.is_kernel_thread for process in proc.processes(self._root)))
        if not current.present:
            manager = proc.container(self._root)
            raise RootOfTrustError(
                f"/{FOLDER} is not there, so no hardware random number generator can be chosen.",
                f"This is a container ({manager}): choose the generator on its host."
                if manager
                else "Load the generator's driver (e.g. modprobe virtio_rng), or build the kernel with CONFIG_HW_RANDOM.",
            )
        return current

    def apply(self, step: Step) -> None:
        """Write one attribute and prove by reading that the kernel took it over: some kernels say yes and change nothing.

        :raises RootOfTrustError: if it did not.
        """
        choice: Choice = step.detail
        if step.action == "quality":
            self._write("rng_quality", str(choice.quality))
            return
        self._write("rng_current", "" if choice.name == BEST else choice.name)
        current = self.state(fed=False).current
        if choice.name not in (BEST, current):
            raise RootOfTrustError(
                f"The kernel accepted the change to {choice.name} but still uses {current or 'none'}.",
                f"Look into the kernel's log: the driver of {choice.name} may refuse to start.",
            )

    def _write(self, name: str, value: str) -> None:
        path = os.path.join(self._root, FOLDER, name)
        try:
            with open(path, "wb", buffering=0) as stream:
                stream.write(value.encode() + b"\n")  # the line end makes an empty value a write at all
        except OSError as error:
            raise RootOfTrustError(
                f"{value or 'the empty name'} could not be written to {path}: {error.strerror}.",
                "Run as root on the host itself, not in a container; /sys must not be mounted read-only.",
            ) from error
