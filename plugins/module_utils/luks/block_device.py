# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Block devices, and files in their place: size, and the bytes of a LUKS header."""

from __future__ import annotations

import hashlib
import os
import stat
from typing import BinaryIO

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import Area
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.parse import LUKS2_BINARY, Malformed, header_size, parse_area

CHUNK = 1024 * 1024  # bytes


def size(path: str) -> int:
    """Bytes.

    :raises RootOfTrustError: if it is neither a block device nor a regular file, or is not there.
    """
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise RootOfTrustError(f"There is no {path}.", "Correct the path.") from None
    if not stat.S_ISBLK(mode) and not stat.S_ISREG(mode):
        raise RootOfTrustError(f"{path} is neither a block device nor a regular file.", "Correct the path.")
    with open(path, "rb") as stream:
        return stream.seek(0, os.SEEK_END)


def header_digest(path: str) -> tuple[Area, str]:
    """The extent of a LUKS header with its keyslots, and the SHA-256 of it in hexadecimal digits.

    It is the same for the device and for a backup by ``cryptsetup luksHeaderBackup``.

    :raises Malformed: if there is no whole header.
    """
    with open(path, "rb") as stream:
        start = stream.read(LUKS2_BINARY)
        stream.seek(0)
        area = parse_area(stream.read(header_size(start)))
        stream.seek(0)
        return area, _sha256(stream, area, path)


def _sha256(stream: BinaryIO, area: Area, path: str) -> str:
    digest, position = hashlib.sha256(), 0
    while position < area.length:
        chunk = bytearray(stream.read(min(CHUNK, area.length - position)))
        if not chunk:
            raise Malformed(f"{path} has {position} bytes of a LUKS header of {area.length}: it is cut short.")
        if area.blank is not None:
            first, end = (min(max(edge - position, 0), len(chunk)) for edge in area.blank)
            chunk[first:end] = bytes(end - first)
        digest.update(chunk)
        position += len(chunk)
    return digest.hexdigest()
