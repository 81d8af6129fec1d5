# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""blkid(8): says what is on a device, and which device has a UUID."""

from __future__ import annotations

import os

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError, ToolFailed
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import Signature
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.parse import parse_probe

NOTHING, AMBIVALENT = 2, 8  # exit statuses, blkid(8)
LINKS = {"UUID": "by-uuid", "PARTUUID": "by-partuuid", "LABEL": "by-label", "PARTLABEL": "by-partlabel"}


class Blkid:
    """
    :param runner: starts it.
    :param links: where udev keeps its symbolic links.
    :param claims: where it keeps which devices ask for one.
    """

    def __init__(self, runner: Runner, links: str = "/dev/disk", claims: str = "/run/udev/links", sys: str = "/sys") -> None:
        self._runner = runner
        self._links = links
        self._claims = claims
        self._sys = sys

    def signature(self, path: str, offset: int = 0) -> Signature | None:
        """What the device itself shows, without any cache; None where nothing is known.

        :param offset: bytes from its start, from where on it is looked at.
        :raises RootOfTrustError: if it shows several things that exclude each other.
        """
        done = self._runner.run(
            ["blkid", "-p", *([f"--offset={offset}"] if offset else []), "-o", "export", path], ok=(0, NOTHING, AMBIVALENT)
        )
        if done.rc == AMBIVALENT:
            raise RootOfTrustError(
                f"{path} has signatures that exclude each other: {done.error_text}",
                "See wipefs(8) for what they are, and remove the old ones.",
            )
        return parse_probe(done.text)

    def linked(self, named: str) -> str | None:
        """The real path of a device as crypttab names it, as far as udev's links tell: by a path, or by UUID=, LABEL= …"""
        tag, equals, value = named.partition("=")
        if named.startswith("/"):
            return os.path.realpath(named)
        if not equals or tag not in LINKS:
            return None
        link = os.path.join(self._links, LINKS[tag], value.lower() if tag == "UUID" else value)
        if not os.path.exists(link):
            return None
        found = self.claimants(named)
        return found[0] if len(found) == 1 else os.path.realpath(link)

    def device(self, named: str) -> str:
        """The path of a device given by its path or by UUID=, LABEL= …

        :raises RootOfTrustError: if there is none, or more than one.
        """
        if named.startswith("/"):
            return named
        if named.partition("=")[0] not in LINKS:
            raise RootOfTrustError(f"{named} is neither an absolute path nor one of {'=, '.join(LINKS)}=.", "Correct the device.")
        linked = self.linked(named)
        if linked is not None:
            found = self.claimants(named)
            if len(found) < 2:
                return linked
        else:  # the devices themselves, where no udev runs
            try:
                found = self._runner.run(["blkid", "-c", "/dev/null", "-o", "device", "-t", named], ok=(0, NOTHING)).text.split()
            except ToolFailed as error:
                raise RootOfTrustError(f"No device with {named} can be looked for: {error.message}") from None
        if len(found) != 1:
            several = f"{len(found)} devices have {named}: {', '.join(found)}." if found else f"No device has {named}."
            raise RootOfTrustError(several, "Give the path of the device.")
        return found[0]

    def claimants(self, named: str) -> list[str]:
        """The devices that have what they are named by. udev's link leads to one of them, and with a copy of a disk that is the copy."""
        tag, _equals, value = named.partition("=")
        link = f"disk\\x2f{LINKS[tag]}\\x2f{value.lower() if tag == 'UUID' else value}"
        found = set()
        for folder in (link, f"\\x2f{link}"):  # of systemd 257 and 262, and of 247
            path = os.path.join(self._claims, folder)
            try:
                numbers = os.listdir(path)
            except OSError:  # nobody asks for it, or no longer
                continue
            found |= {os.path.realpath(os.path.join(self._sys, "dev/block", number[1:])) for number in numbers if number.startswith("b")}
        # What a disk shows itself is not that of a partition of it: the kernel takes it for a partition table.
        disks = [path for path in found if os.path.exists(path) and os.path.dirname(path) not in found]
        return sorted("/dev/" + os.path.basename(path).replace("!", "/") for path in disks)
