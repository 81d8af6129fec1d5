# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The owner of a TPM 1.2, and what TrouSerS has to know of its storage root key."""

from __future__ import annotations

import hashlib
import os
from typing import Any, Mapping

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.files import atomic_write
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm import commands12, trousers
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.commands12 import DIGEST
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.model import SYSTEM_DATA, TPM12
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.parse12 import opened12, parse_endorsement_key, parse_session
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.plan_ownership import SHARE, TAKE, Ownership
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.sysfs import PLAIN, Sysfs
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.tpm2 import Exchange, opened_device


class Owner:
    """
    :param params: the module's, for the owner authorisation.
    :param root: of the host's file system.
    """

    def __init__(self, params: Mapping[str, Any], root: str = "/") -> None:
        self._secret = Secret.from_param(params["owner_auth"], params["owner_auth_encoding"])
        self._sysfs = Sysfs(root)
        self._registry = os.path.join(root, SYSTEM_DATA.lstrip("/"))
        self._shares = params["trousers"]

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
        # A storage root key that there is not yet is not the one that is registered.
        shared = bool(owned) and trousers.has_storage_root(self._registered()) if self._shares else None
        return Ownership(owned, enabled, active, self._secret is not None, shared)

    def _registered(self) -> bytes:
        try:
            with open(self._registry, "rb") as stream:
                return stream.read()
        except FileNotFoundError:
            return b""

    def apply(self, step: Step) -> None:
        """Take ownership: the storage root key is made by the TPM meanwhile, which may take a minute. Or let TrouSerS use that."""
        given = self._secret.reveal() if self._secret is not None else b""
        owner = Secret(hashlib.new("sha1", given).digest())  # as TrouSerS has it for a password
        with opened_device(PLAIN) as exchange:
            if step.action == TAKE:
                self._take(exchange, owner)
            else:
                session = parse_session(opened12("start a session", exchange(commands12.start_session())))
                command = commands12.let_storage_root_be_read(owner, session, os.urandom(DIGEST))
                opened12("let its storage root key be read", exchange(command))
        if step.action == SHARE:
            self._register()

    @staticmethod
    def _take(exchange: Exchange, owner: Secret) -> None:
        nonce = os.urandom(DIGEST)
        asked = exchange(commands12.read_endorsement_key(nonce))
        key = parse_endorsement_key(opened12("tell its endorsement key", asked), nonce)
        session = parse_session(opened12("start a session", exchange(commands12.start_session())))
        seeds = (os.urandom(DIGEST), os.urandom(DIGEST))
        opened12("take an owner", exchange(commands12.take_ownership(key, owner, session, os.urandom(DIGEST), seeds)))

    def _register(self) -> None:
        """The file is the daemon's, who owns its folder; where there is none yet, TrouSerS is yet to be installed."""
        folder = os.path.dirname(self._registry)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        known = self._registered()
        if not trousers.has_storage_root(known):
            owner = os.stat(folder)
            atomic_write(self._registry, trousers.with_storage_root(known), 0o600, (owner.st_uid, owner.st_gid))
