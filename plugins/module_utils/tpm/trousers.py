# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file in which TrouSerS knows the keys of the system, as its 0.3.14 and 0.3.15 write it. Pure.

A version (1), how many keys there are (4 bytes), and for each: its UUID and its parent's (16 bytes each), the sizes of the public key (2),
the key (2) and the vendor's data (4), flags (2), and those three. Numbers are little-endian; inside a key they are as a TPM has them.
"""

from __future__ import annotations

import struct

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.commands12 import storage_root
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.model import SYSTEM_DATA

_VERSION = 1
_HEAD, _ENTRY = struct.Struct("<BI"), struct.Struct("<16s16sHHIH")
_STORAGE_ROOT = bytes(15) + b"\1"  # its UUID (TSS_UUID_SRK)
_KEY_BYTES = 256  # of a public key with 2048 bits, which stays in the TPM: zeros stand for it
_FLAGS = 3  # its parent is in the file of the system as well, and it has no other


def has_storage_root(data: bytes) -> bool:
    """Whether the storage root key is known.

    :param data: the file; empty where there is none.
    :raises RootOfTrustError: if it is not such a file.
    """
    return _STORAGE_ROOT in _keys(data)


def with_storage_root(data: bytes) -> bytes:
    """The file with the storage root key in it."""
    blob = storage_root(_KEY_BYTES)
    entry = _ENTRY.pack(_STORAGE_ROOT, bytes(16), _KEY_BYTES, len(blob), 0, _FLAGS) + bytes(_KEY_BYTES) + blob
    return _HEAD.pack(_VERSION, len(_keys(data)) + 1) + data[_HEAD.size :] + entry


def _keys(data: bytes) -> list[bytes]:
    """The UUIDs of the keys."""
    if not data:
        return []
    found, place = [], _HEAD.size
    try:
        version, count = _HEAD.unpack_from(data)
        for _number in range(count):
            uuid, _parent, *sizes, _flags = _ENTRY.unpack_from(data, place)
            place += _ENTRY.size + sum(sizes)
            found.append(uuid)
    except struct.error:
        place = -1
    if place != len(data) or version != _VERSION:
        raise RootOfTrustError(f"{SYSTEM_DATA} is not as TrouSerS writes it.", "Look at what has written it, or put it away.")
    return found
