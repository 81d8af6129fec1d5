# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open volumes: names under /dev/mapper."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError, certain
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.files import sync_file
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.cryptsetup import Cryptsetup
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.devices import Devices
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.lock import HeaderLocks
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_mappings import (
    CLOSE_IT,
    OPEN,
    OPEN_IT,
    REFRESH,
    MappedVolume,
    is_due,
    mapping_options,
    wanted_mapping,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.secrets import read_secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.sysfs import Sysfs


class Mappings:
    """
    :param runner: starts the programs.
    :param verify: whether each secret is tried, even where nothing is to be done.
    """

    def __init__(self, runner: Runner, verify: bool) -> None:
        self._cryptsetup = Cryptsetup(runner)
        self._devices = Devices(runner)
        self._sysfs = Sysfs()
        self._locks = HeaderLocks()
        self._verify = verify

    def read(self, asked: Sequence[Mapping[str, Any]]) -> list[MappedVolume]:
        """The volumes, what is open of them, and who uses that. A secret is looked for only where it is needed."""
        return [self._look(params) for params in asked]

    def _look(self, params: Mapping[str, Any]) -> MappedVolume:
        wanted = wanted_mapping(params)
        device = self._devices.look(wanted.device, wanted.header) if wanted.device is not None else None
        volume = MappedVolume(wanted, device, self._sysfs.mapped(wanted.name))
        if volume.holder is not None:
            path = f"/dev/mapper/{wanted.name}"
            over = self._sysfs.holders(path)
            mounts, swaps = self._sysfs.uses(path, over)
            volume = replace(volume, over=tuple(over), mounts=tuple(mounts), swaps=tuple(swaps))
            if volume.holder is not None and volume.holder.uuid.startswith("CRYPT-LUKS"):
                volume = replace(volume, active=self._cryptsetup.status(wanted.name))
        if wanted.state != OPEN or device is None or device.header is None or not (self._verify or is_due(volume)):
            return volume
        secret = read_secret(params)
        if not self._verify:
            return replace(volume, secret=secret)
        if secret is None:
            raise RootOfTrustError(f"{wanted.name} is to be verified, and no secret is given.", "Give passphrase or key_file.")
        return replace(volume, secret=secret, proven=self._cryptsetup.opens(wanted.header or device.path, secret))

    def apply(self, step: Step) -> None:
        """Do one step.

        :raises RootOfTrustError: if the secret does not open the volume.
        """
        volume: MappedVolume = step.detail
        name = volume.wanted.name
        if step.action == CLOSE_IT:
            self._cryptsetup.close(name)
            return
        device, secret = certain(volume.device), certain(volume.secret)
        options, at = mapping_options(volume), volume.wanted.header or device.path
        self._locks.hold_header(at)  # cryptsetup writes to it: flags that are kept, and what it repairs of a reencryption that was cut
        if step.action == REFRESH:
            self._cryptsetup.refresh(name, secret, options)
        else:
            if step.action != OPEN_IT:
                # What cannot be opened again is not closed.
                if not self._cryptsetup.opens(at, secret):
                    raise RootOfTrustError(f"The secret given does not open {device.path}.", "Correct passphrase or key_file.")
                self._cryptsetup.close(name)
            read_only = volume.wanted.read_only
            if read_only is None and volume.active is not None:
                read_only = volume.active.read_only
            self._cryptsetup.open(device.path, name, secret, [*options, *(["--readonly"] if read_only else [])])
        if volume.wanted.persistent:
            sync_file(at)
