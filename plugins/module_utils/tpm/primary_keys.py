# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Persistent parents in the owner hierarchy of a TPM 2.0."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Iterator, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.model import TPM20
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.plan_primaries import (
    MAKE,
    Primaries,
    WantedPrimary,
    is_due,
    wanted_primary,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.sysfs import Sysfs
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.tpm2 import Tpm2, opened_device

LONGEST_AUTH = 64  # bytes: the largest digest that a TPM knows


class PrimaryKeys:
    """
    :param params: the module's, for the owner authorisation.
    :param root: of the host's file system.
    """

    def __init__(self, params: Mapping[str, Any], root: str = "/") -> None:
        self._params = params
        self._sysfs = Sysfs(root)
        self._owner = Secret(b"")

    def read(self, asked: Sequence[Mapping[str, Any]]) -> Primaries:
        """What lies at the handles. The owner authorisation is tried only where something is to be done."""
        wanted = tuple(wanted_primary(params) for params in asked)
        given = self._given()
        with self._tpm() as tpm:
            properties = tpm.properties()
            found = tuple(tpm.object(one.handle) for one in wanted)
            primaries = Primaries(wanted, found, properties, given is not None)
            # One that is given for a TPM that has none set is for the day when it is.
            self._owner = given if given is not None and properties.authorisations.owner else Secret(b"")
            if is_due(primaries) and (given is not None or not properties.authorisations.owner):
                primaries = replace(primaries, owner_fits=tpm.accepts_owner(self._owner))
        return primaries

    def apply(self, step: Step) -> None:
        """Do one step."""
        wanted: WantedPrimary = step.detail
        with self._tpm() as tpm:
            if step.action == MAKE:
                tpm.make_persistent(wanted.public, wanted.handle, self._owner)
            else:
                tpm.evict(wanted.handle, self._owner)

    def _given(self) -> Secret | None:
        given = Secret.from_param(self._params["owner_auth"], self._params["owner_auth_encoding"])
        if given is not None and len(given) > LONGEST_AUTH:
            raise RootOfTrustError(f"owner_auth is longer than the {LONGEST_AUTH} bytes that a TPM takes.", "Give a shorter one.")
        return given

    @contextmanager
    def _tpm(self) -> Iterator[Tpm2]:
        chip = self._sysfs.chip()
        if chip is None:
            raise RootOfTrustError("This host has no TPM, or its kernel no driver for it.", "Enable it in the firmware's settings.")
        if chip.version != TPM20:
            raise RootOfTrustError(
                f"The TPM of this host is version {chip.version or 'unknown'}, which has no such keys.",
                "Use the storage root key of a TPM 1.2, at 0x40000000.",
            )
        if chip.device is None:
            raise RootOfTrustError(
                "This host has a TPM, but neither /dev/tpmrm0 nor /dev/tpm0.", "Make the devices known to this container."
            )
        with opened_device(chip.device) as exchange:
            yield Tpm2(exchange)
