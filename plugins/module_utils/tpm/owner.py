# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The owner of a TPM 1.2."""

from __future__ import annotations

import hashlib
import os
from typing import Any, Mapping

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm import commands12
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.commands12 import DIGEST
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.model import TPM12
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.parse12 import opened12, parse_endorsement_key, parse_session
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.plan_ownership import Ownership
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.sysfs import PLAIN, Sysfs
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.tpm2 import opened_device


class Owner:
    """
    :param params: the module's, for the owner authorisation.
    :param root: of the host's file system.
    """

    def __init__(self, params: Mapping[str, Any], root: str = "/") -> None:
        self._secret = Secret.from_param(params["owner_auth"], params["owner_auth_encoding"])
        self._sysfs = Sysfs(root)

    def read(self, dummy: object) -> Ownership:
        """What the kernel tells; the TPM itself is not asked."""
        chip = self._sysfs.chip()
        if chip is None:
            raise RootOfTrustError("This host has no TPM, or its kernel no driver for it.", "Enable it in the firmware's settings.")
        if chip.version != TPM12:
            raise RootOfTrustError(
                f"The TPM of this host is version {chip.version or 'unknown'}, which has no such owner.",
                "Set its owner authorisation with tpm2_changeauth, where it should have one.",
            )
        owned, enabled, active = (chip.facts[name] == "1" if name in chip.facts else None for name in ("owned", "enabled", "active"))
        return Ownership(owned, enabled, active, self._secret is not None)

    def apply(self, dummy: Step) -> None:
        """Take ownership. The storage root key is made by the TPM meanwhile, which may take a minute."""
        given = self._secret.reveal() if self._secret is not None else b""
        owner = Secret(hashlib.new("sha1", given).digest())  # as TrouSerS has it for a password
        with opened_device(PLAIN) as exchange:
            nonce = os.urandom(DIGEST)
            asked = exchange(commands12.read_endorsement_key(nonce))
            key = parse_endorsement_key(opened12("tell its endorsement key", asked), nonce)
            session = parse_session(opened12("start a session", exchange(commands12.start_session())))
            seeds = (os.urandom(DIGEST), os.urandom(DIGEST))
            opened12("take an owner", exchange(commands12.take_ownership(key, owner, session, os.urandom(DIGEST), seeds)))
