# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The public keys of others in a keyring, their signatures and trust."""

from __future__ import annotations

import time
from typing import Any, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import certain
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.gnupg import Gnupg
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.keys import OpenedKeyring
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.model import PRESENT, Key
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.parse import ownertrust_line, parse_keys, parse_ownertrust
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.plan_public_keys import (
    DELETE,
    HOME,
    IMPORT,
    LOCAL,
    SIGN_KEY,
    PublicRing,
    WantedPublicKey,
    wanted_public_key,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.plan_recipients import recipient
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.plan_trust import TrustRing, report_listing, wanted_trust


class PublicKeys(OpenedKeyring):
    """:param runner: starts gpg."""

    def __init__(self, runner: Runner) -> None:
        super().__init__(runner)
        self._gnupg = Gnupg(runner)
        self._asked: Sequence[Mapping[str, Any]] = ()
        self._wanted: tuple[WantedPublicKey, ...] = ()

    def read(self, params: Mapping[str, Any], asked: Sequence[Mapping[str, Any]]) -> PublicRing:
        """The keyring, each key that is asked for with its signatures.

        :raises RootOfTrustError: if something that is asked for cannot be had, or the keyring cannot be worked with.
        """
        self._asked = asked
        home = self.open(params)
        if not self._wanted:
            self._wanted = tuple(self._meant(one, number) for number, one in enumerate(asked, 1))
        keys = {key.fingerprint: key for key in self.listed()}
        found = tuple(self._signed(keys.get(one.fingerprint), one) for one in self._wanted)
        brought = tuple(self._brought(one, key, params) for one, key, params in zip(self._wanted, found, asked))
        own = tuple(key for key in keys.values() if key.primary.secret)
        return PublicRing(home, self.exists, self._wanted, found, brought, own, int(time.time()))

    def _meant(self, params: Mapping[str, Any], number: int) -> WantedPublicKey:
        text = params["public_key"] if params["state"] == PRESENT else None
        shown = recipient(self._gnupg.show(text), number, "public_keys") if text is not None else None
        return wanted_public_key(params, shown)

    def _signed(self, key: Key | None, wanted: WantedPublicKey) -> Key | None:
        """With its signatures, where these count."""
        if key is None or wanted.signer is None:
            return key
        (told,) = parse_keys(self.keyring.signatures(key.fingerprint))
        return Key(key.primary, key.subkeys, told.user_ids, key.trust, key.disabled, key.usable)

    def _brought(self, wanted: WantedPublicKey, key: Key | None, params: Mapping[str, Any]) -> int:
        if key is None or not wanted.given:
            return 0
        known = self.keyring.public(key.fingerprint, whole=True)
        return self._gnupg.brings(known, params["public_key"].encode("utf-8")).get(wanted.fingerprint, 0)

    def apply(self, step: Step) -> None:
        """Do one step."""
        if step.action == HOME:
            self.account.make_home(step.subject)
            return
        params, wanted = self._asked[step.detail], self._wanted[step.detail]
        if step.action == IMPORT:
            self.keyring.bring(params["public_key"].encode("utf-8"))
        elif step.action == SIGN_KEY:
            passphrase = Secret.from_param(params["passphrase"])
            self.keyring.sign(wanted.fingerprint, certain(wanted.signer), wanted.signature == LOCAL, passphrase)
        elif step.action == DELETE:
            self.keyring.delete(wanted.fingerprint, secret=False)
        else:
            self.keyring.set_ownertrust(ownertrust_line(wanted.fingerprint, certain(wanted.trust)))


class Trust(OpenedKeyring):
    """Whose signatures are believed."""

    def read(self, params: Mapping[str, Any], asked: Sequence[Mapping[str, Any]]) -> TrustRing:
        """What is set.

        :raises RootOfTrustError: if the keyring cannot be worked with.
        """
        home, wanted = self.open(params), wanted_trust(asked)
        exists = self.exists
        return TrustRing(home, exists, wanted, parse_ownertrust(self.keyring.ownertrust()) if exists else {})

    def apply(self, step: Step) -> None:
        """Do one step."""
        if step.action == HOME:
            self.account.make_home(step.subject)
        else:
            self.keyring.set_ownertrust(ownertrust_line(step.subject, step.detail))


class Listing(OpenedKeyring):
    """What a keyring holds."""

    def look(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The result of gpg_key_info."""
        home = self.open(params)
        told = report_listing(self.listed(), params["fingerprints"], params["user_ids"], int(time.time()))
        return {"home": home, **told}
