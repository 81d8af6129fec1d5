# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What there is of the kernel's keys, for a person to read. Nothing is changed, and no payload is told."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys import files
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.keyctl import SESSION, USER, Keyctl, KeyctlError
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.keyrings import Keyrings, refusal
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.model import (
    ENCRYPTED,
    LOGON,
    SEALED,
    TRUSTED,
    KernelKey,
    Sealed,
    described,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.model import USER as USER_TYPE
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.parse import Malformed, parse_any_sealed, parse_sealed
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.procfs import Procfs


def look(path: str, blobs: Sequence[str]) -> dict[str, Any]:
    """The keys in a keyring and in those in it, what the kernel has for keys, and what is known of blobs.

    :raises RootOfTrustError: if there is no such keyring.
    """
    keyctl, procfs = Keyctl(), Procfs()
    rings = Keyrings(keyctl, procfs)
    try:
        place = rings.find(path)
        found = [] if place.missing else list(rings.all_in(place.serial))
        user, session = keyctl.resolve(USER, create=True), keyctl.resolve(SESSION, create=True)
        in_session = session == user or user in [key.serial for dummy, key in rings.all_in(session)]
    except KeyctlError as error:
        raise refusal(error, f"The keyring {path} cannot be read", procfs) from None
    exports: list[bytes] = []
    keys = [_key(keyctl, keyring, key, exports) for keyring, key in found]
    return {
        "keyring": {"path": path, "serial": None if place.missing else place.serial},
        "keys": keys,
        "session": {"serial": session, "has_user_keyring": in_session},
        "types": {kind: _type(rings, kind) for kind in (USER_TYPE, LOGON, TRUSTED, ENCRYPTED)},
        "quota": _quota(procfs),
        "blobs": [_blob(blob, exports) for blob in blobs],
    }


def _key(keyctl: Keyctl, keyring: int, key: KernelKey, exports: list[bytes]) -> dict[str, Any]:
    told: dict[str, Any] = {**described(key), "keyring": keyring, "length": None, "exportable": None, "fault": ""}
    if key.dead:
        return told
    if key.type == USER_TYPE:
        with suppress(KeyctlError):
            told["length"] = len(keyctl.read(key.serial))
    elif key.type in SEALED:
        try:
            sealed = parse_sealed(key.type, keyctl.read(key.serial))
        except (KeyctlError, Malformed) as error:
            told.update(exportable=False, fault=error.message if isinstance(error, Malformed) else str(error.strerror))
        else:
            exports.append(sealed.text)
            told.update(exportable=True, **_sealed(sealed))
    return told


def _sealed(sealed: Sealed) -> dict[str, Any]:
    if sealed.kind == ENCRYPTED:
        return {"format": sealed.format, "master": sealed.master, "length": sealed.length}
    return {"parent": None if sealed.parent is None else f"{sealed.parent:#x}", "policy": sealed.policy}


def _type(rings: Keyrings, kind: str) -> dict[str, Any]:
    available = rings.has_type(kind)
    why = "" if available else rings.procfs.why_lacking(kind)
    return {"available": available, "why": why, "module": rings.procfs.module(kind)}


def _quota(procfs: Procfs) -> dict[str, Any]:
    quota = procfs.quota()
    told = {} if quota is None else {"keys": quota.keys, "max_keys": quota.max_keys, "bytes": quota.bytes, "max_bytes": quota.max_bytes}
    return {**told, "uid": os.geteuid(), "limits": procfs.limits()}


def _blob(path: str, exports: Sequence[bytes]) -> dict[str, Any]:
    content = files.read_file(path)
    told: dict[str, Any] = {"path": path, "present": content is not None, "usable": False, "fault": "", "type": None, "in_kernel": False}
    if content is None:
        return told
    try:
        sealed = parse_any_sealed(content)
    except Malformed as fault:
        return {**told, "fault": fault.message}
    return {**told, "usable": True, "type": sealed.kind, "in_kernel": sealed.text in exports, **_sealed(sealed)}
