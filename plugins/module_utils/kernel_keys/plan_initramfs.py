# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the images of the initramfs are made anew. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step

MAKE = "make anew"
# The program that makes all images anew, by the name of what it belongs to; where several are there, the first is the system's own.
COMMANDS = {
    "initramfs-tools": ("update-initramfs", "-u", "-k", "all"),
    "dracut": ("dracut", "--force", "--regenerate-all"),
    "mkinitcpio": ("mkinitcpio", "-P"),
}


@dataclass(frozen=True)
class Dated:
    """A file, and when it was written, in seconds since 1970."""

    path: str
    written: float


@dataclass(frozen=True)
class Initramfs:
    """The images of a host and what goes into them.

    :param tool: what makes them, one of COMMANDS; empty where there is none.
    :param images: of kernels that are there.
    :param sources: those of the files asked for that are there.
    :param now: the host's clock.
    :param strays: images of no such kernel, as a copy and what a removed kernel has left: nothing makes them anew.
    """

    tool: str
    images: tuple[Dated, ...]
    sources: tuple[Dated, ...]
    now: float
    strays: tuple[Dated, ...] = ()


def plan_initramfs(found: Initramfs, changed: bool = False) -> list[Step]:
    """One step, where an image is older than a source.

    :param changed: whether a source has just been changed, or would be.
    :raises RootOfTrustError: if nothing is there that could make it.
    """
    images = [image.path for image in found.images]
    written = _written(found)
    old = images if changed else [image.path for image in found.images if image.written < written]
    if not old:
        return []
    why = "what goes into them is changed" if changed else f"{', '.join(old)} is older than what goes into it"
    if not found.tool:
        raise RootOfTrustError(
            f"{', '.join(images)} cannot be made anew, though {why}: no program that does it is there.", f"Known are {', '.join(COMMANDS)}."
        )
    sentence = f"Make the images of the initramfs anew ({' '.join(COMMANDS[found.tool])}): {why}."
    # A source from the future, on a host whose clock was wrong, is newer than any image.
    once = changed or written > found.now
    return [Step("initramfs", MAKE, sentence, {"old": old}, {"old": []}, found.tool, once=once)]


def _written(found: Initramfs) -> float:
    """When the newest of the sources was written."""
    return max((source.written for source in found.sources), default=0.0)


def report_initramfs(found: Initramfs, dummy: Sequence[Step]) -> dict[str, Any]:
    """The result of the module initramfs."""
    warnings = [] if found.images else ["There is no image of an initramfs in /boot: nothing is made anew."]
    old = [image.path for image in found.strays if image.written < _written(found)]
    if old:
        warnings.append(f"{', '.join(old)} is older than what goes into it and stays so, for no kernel is there that it is of.")
    return {"tool": found.tool, "images": [image.path for image in found.images], "warnings": warnings}
