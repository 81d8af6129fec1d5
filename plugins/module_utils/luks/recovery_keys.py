# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keyslots of recovery keys: the keys are made here, only their ciphertext is kept."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import replace
from typing import Any, Mapping

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.files import atomic_write
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.gnupg import Gnupg
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.plan_recipients import Recipient, faults, recipient
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.keyslots import KEY_MODE, Keyslots, make_folder, staged
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import PRESENT, PbkdfChoice
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_keyslots import (
    DEFAULT_VERSION,
    RECOVERY,
    WAITING,
    Asked,
    Facts,
    Known,
    Order,
    Volume,
    Wanted,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_recovery import KEY_BYTES, typed

# 256 random bits are not guessed however fast a guess is, and in a rescue system there may be little memory.
CHEAP = PbkdfChoice(type="pbkdf2", iterations=1000)


class RecoveryKeys(Keyslots):
    """:param runner: starts the programs."""

    def __init__(self, runner: Runner) -> None:
        super().__init__(runner)
        self._gnupg = Gnupg(runner)
        self._shown: dict[str, str] = {}
        self._made: dict[int, tuple[Secret, str]] = {}

    def _learn(self, volume: Volume, params: Mapping[str, Any]) -> Asked:
        asked = super()._learn(volume, params)
        return replace(asked, warnings=asked.wanted.faults)

    def _wanted(self, params: Mapping[str, Any], volume: Volume) -> Wanted:
        uuid, version = volume.header.uuid, DEFAULT_VERSION if params.get("version") is None else params["version"]
        if not re.fullmatch(r"[0-9A-Fa-f-]+", uuid):
            raise RootOfTrustError(f"The LUKS header of {volume.path} has no usable UUID: {uuid!r}.", "Give it one by cryptsetup luksUUID.")
        if not os.path.isabs(params["folder"]):
            raise RootOfTrustError(f"The folder {params['folder']} is not absolute.", "Give its whole path.")
        recipients = self._recipients(params) if params["state"] == PRESENT else []
        return Wanted(
            state=params["state"],
            name=params["name"],
            version=version,
            kind=RECOVERY,
            keyslot=params.get("keyslot"),
            priority=params.get("priority"),
            count_tokens=bool(params.get("count_tokens")),
            keep_older=bool(params.get("keep_older")),
            file=os.path.join(params["folder"], f"{uuid}-{params['name']}-{version}.asc"),
            recipients=tuple(sorted({one.fingerprint for one in recipients})),
            faults=faults(recipients),
        )

    def _recipients(self, params: Mapping[str, Any]) -> list[Recipient]:
        device, armoured = params["device"], params.get("recipients")
        if not armoured:
            raise RootOfTrustError(f"Nobody is named who may read the recovery key of {device}.", "Give recipients.")
        for text in armoured:
            if text not in self._shown:
                self._shown[text] = self._gnupg.show(text)
        return [recipient(self._shown[text], number, f"the recovery key of {device}") for number, text in enumerate(armoured, 1)]

    def _files(self, wanted: Wanted, params: Mapping[str, Any], facts: Facts) -> Facts:
        if wanted.file is None or wanted.state != PRESENT:
            return facts
        if os.path.exists(staged(wanted.file)):
            facts = replace(facts, file=WAITING)
        return replace(facts, sha256=_digest(wanted.file))

    def _own(self, index: int) -> Secret:
        return self._made[index][0]

    def _make(self, order: Order) -> None:
        """A key, of which only the ciphertext is written, beside its place."""
        key = Secret(typed(os.urandom(KEY_BYTES)))
        sealed = self._gnupg.encrypt(key, self._params[order.index]["recipients"])
        path = str(self._asked[order.index].wanted.file)
        make_folder(os.path.dirname(path))
        atomic_write(staged(path), sealed, KEY_MODE)
        self._made[order.index] = (key, hashlib.sha256(sealed).hexdigest())

    def _complete(self, index: int, known: Known) -> Known:
        return known if known.sha256 else replace(known, sha256=self._made[index][1])

    def _choice(self, params: Mapping[str, Any]) -> PbkdfChoice:
        return super()._choice(params) if params.get("pbkdf") else CHEAP


def _digest(path: str) -> str:
    """SHA-256 of a ciphertext; empty where there is none."""
    try:
        with open(path, "rb") as stream:
            return hashlib.sha256(stream.read()).hexdigest()
    except FileNotFoundError:
        return ""
