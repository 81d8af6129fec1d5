# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keyrings: what is known of them, and the steps done to them."""

from __future__ import annotations

from typing import Any, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError, certain
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.lock import Locks
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys import plan_keyrings as plan
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.keyctl import Keyctl, KeyctlError
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.keyrings import LOCK, Keyrings, refusal
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.model import FoundKeyring, Place
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.procfs import Procfs


class KeyringSteps:
    def __init__(self) -> None:
        self._opened: Keyrings | None = None
        self._locks = Locks()

    @property
    def _rings(self) -> Keyrings:
        if self._opened is None:
            self._opened = Keyrings(Keyctl(), Procfs())
        return self._opened

    def read(self, asked: Sequence[Mapping[str, Any]]) -> list[FoundKeyring]:
        """What is known of the keyrings asked for."""
        self._locks.hold(*LOCK)
        return [self._look(params) for params in asked]

    def _look(self, params: Mapping[str, Any]) -> FoundKeyring:
        wanted = plan.wanted_keyring(params)
        place = self._rings.find(wanted.path)
        links = tuple(self._rings.find(path) for path in wanted.links)
        if place.missing:
            return FoundKeyring(wanted, place, links=links)
        above, slash, dummy = wanted.path.rpartition("/")
        parent = self._rings.find(above).serial if slash else None
        try:
            keys = tuple(self._rings.keys_in(place.serial))
            linked = tuple(link.path for link in links if not link.missing and place.serial in self._rings.keyctl.links(link.serial))
        except KeyctlError as error:
            raise RootOfTrustError(f"The keyring {wanted.path} cannot be read: {error.strerror}.", "Look at its permissions.") from None
        return FoundKeyring(wanted, place, parent, self._rings.look(place.serial), keys, links, linked)

    def apply(self, step: Step) -> None:
        """Do one step.

        :raises RootOfTrustError: if the kernel refuses, saying why.
        """
        try:
            if step.action == plan.MAKE:
                self._make(step.detail)
            else:
                self._apply(step.action, *step.detail)
        except KeyctlError as error:
            raise refusal(error, "The kernel refuses", self._rings.procfs) from None

    def _make(self, one: FoundKeyring) -> None:
        serial = self._rings.make(self._rings.find(one.wanted.path))
        if one.wanted.timeout:
            self._rings.keyctl.set_timeout(serial, one.wanted.timeout)
        if one.wanted.permissions is not None:
            self._rings.keyctl.set_permissions(serial, one.wanted.permissions)

    def _apply(self, action: str, one: FoundKeyring, place: Place | None) -> None:
        keyctl, wanted = self._rings.keyctl, one.wanted
        if action == plan.LINK:
            # An earlier step may have made it.
            keyctl.link(self._rings.find(wanted.path).serial, self._rings.find(certain(place).path).serial)
            return
        serial = certain(one.key).serial
        if action == plan.PERMIT:
            keyctl.set_permissions(serial, certain(wanted.permissions))
        elif action == plan.EXPIRE:
            keyctl.set_timeout(serial, certain(wanted.timeout))
        else:
            keyctl.unlink(serial, certain(one.parent))
