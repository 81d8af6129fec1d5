# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bytes of a LUKS2 header, written where cryptsetup cannot be asked to.

The layout is that of the LUKS2 On-Disk Format Specification 1.1: two copies, each 4096 bytes and the JSON, with a sequence number and a
checksum. While one is written the other is whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
from contextlib import contextmanager
from typing import Any, BinaryIO, Iterator

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.parse import (
    LUKS2_BINARY,
    LUKS2_HEADER,
    MAGIC,
    header_size,
    luks2_metadata,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_metadata import areas_that_go, ended, is_over

SECOND_MAGIC = b"SKUL\xba\xbe"
PLACE, CHECKSUM = slice(256, 264), slice(448, 512)  # of the copy's own offset, and of its checksum
LOCKS = "/run/cryptsetup"  # where cryptsetup has its locks, by the device's number


def write_end(path: str) -> None:
    """Write down that a reencryption is over, where cryptsetup was cut just before it did.

    :raises RootOfTrustError: if that is not so, or the header is not whole.
    """
    with _locked(path), open(path, "r+b", buffering=0) as stream:
        first = _copy(stream, 0)
        found = luks2_metadata(first)
        if not is_over(found):
            raise RootOfTrustError(f"The reencryption of {path} is not over.", "Run again.")
        text = json.dumps(ended(found), separators=(",", ":")).encode("utf-8")
        if len(text) >= len(first) - LUKS2_BINARY:
            raise RootOfTrustError(f"The new JSON does not fit into the LUKS2 header of {path}.", "Ask before you do anything.")
        number = LUKS2_HEADER.unpack_from(first)[3] + 1
        for magic, place in ((MAGIC, 0), (SECOND_MAGIC, len(first))):
            stream.seek(place)
            stream.write(_sealed(first, magic, place, number, text))
            os.fsync(stream.fileno())
        for offset, length in areas_that_go(found):
            stream.seek(offset)
            stream.write(os.urandom(length))
        os.fsync(stream.fileno())


def _copy(stream: BinaryIO, place: int) -> bytes:
    """A copy of the header that is whole."""
    stream.seek(place)
    start = stream.read(LUKS2_BINARY)
    data = start + stream.read(header_size(start) - LUKS2_BINARY)
    if _checksum(data) != data[CHECKSUM]:
        raise RootOfTrustError(f"The first copy of the LUKS2 header of {stream.name} is not whole.", "Run cryptsetup repair on it.")
    return data


def _sealed(old: bytes, magic: bytes, place: int, number: int, text: bytes) -> bytes:
    data = bytearray(len(old))
    data[:LUKS2_BINARY] = old[:LUKS2_BINARY]
    fields = list(LUKS2_HEADER.unpack_from(old))
    fields[0], fields[3], fields[6] = magic, number, os.urandom(64)  # the salt, so that no two copies are equal
    LUKS2_HEADER.pack_into(data, 0, *fields)
    data[PLACE] = place.to_bytes(8, "big")
    data[LUKS2_BINARY : LUKS2_BINARY + len(text)] = text
    data[CHECKSUM] = _checksum(bytes(data))
    return bytes(data)


def _checksum(data: bytes) -> bytes:
    """Over the whole copy, with zeros in its own place."""
    name = LUKS2_HEADER.unpack_from(data)[5].split(b"\0", 1)[0].decode("ascii")
    blank = bytearray(data)
    blank[CHECKSUM] = bytes(64)
    return hashlib.new(name, blank).digest().ljust(64, b"\0")


@contextmanager
def _locked(path: str) -> Iterator[None]:
    """Alone with the header among all that use libcryptsetup: a device by its number, a file by itself."""
    found: Any = os.stat(path)
    if stat.S_ISBLK(found.st_mode):
        os.makedirs(LOCKS, mode=0o700, exist_ok=True)
        name = f"L_{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
        descriptor = os.open(os.path.join(LOCKS, name), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    else:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
