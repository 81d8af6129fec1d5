# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Block devices, and files in their place: size, and the bytes of a LUKS header."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import time
from typing import Any, BinaryIO

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import Area
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.parse import (
    LUKS2_BINARY,
    SUPERBLOCK_END,
    Malformed,
    Superblock,
    header_size,
    luks2_metadata,
    parse_area,
    parse_superblock,
)

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


def claimed(path: str) -> bool:
    """Whether the kernel has given the device to a mount, wherever that is, to swap or to a device over it, or a program to itself.

    For a regular file the kernel does not know.
    """
    if not stat.S_ISBLK(os.stat(path).st_mode):
        return False
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_EXCL))
    except OSError as error:
        if error.errno == errno.EBUSY:
            return True
        raise
    return False


def stays_claimed(path: str, patience: float = 3.0) -> bool:
    """The same for longer than a program takes that a cut run had started.

    :param patience: seconds.
    """
    deadline = time.monotonic() + patience
    while claimed(path):
        if time.monotonic() > deadline:
            return True
        time.sleep(0.1)  # between two looks, until the deadline, after which it is refused as in use
    return False


def metadata(path: str) -> dict[str, Any]:
    """The JSON of a LUKS2 header, by the bytes: cryptsetup before 2.4 does not show it.

    :raises Malformed: if there is no whole LUKS2 header.
    """
    with open(path, "rb") as stream:
        start = stream.read(LUKS2_BINARY)
        stream.seek(0)
        return luks2_metadata(stream.read(header_size(start)))


def digest(path: str, offset: int, length: int) -> str:
    """SHA-256 of a part, in hexadecimal digits."""
    found = hashlib.sha256()
    with open(path, "rb") as stream:
        stream.seek(offset)
        while length > 0:
            chunk = stream.read(min(CHUNK, length))
            if not chunk:
                raise RootOfTrustError(f"{path} ends before the part that is to be read.", "Look at the size of the device.")
            found.update(chunk)
            length -= len(chunk)
    return found.hexdigest()


def superblock(path: str, offset: int, kind: str) -> Superblock | None:
    """The superblock of the file system that begins at an offset, as the device has it; None where there is none."""
    with open(path, "rb") as stream:
        stream.seek(offset)
        return parse_superblock(stream.read(SUPERBLOCK_END), kind)


def copy_part(path: str, source: int, target: int, length: int) -> None:
    """Copy a part of a device to another place of it, and have it there on return."""
    with open(path, "r+b", buffering=0) as stream:
        for position in range(0, length, CHUNK):
            stream.seek(source + position)
            chunk = stream.read(min(CHUNK, length - position))
            stream.seek(target + position)
            stream.write(chunk)
        os.fsync(stream.fileno())


def read_part(path: str, offset: int, length: int) -> bytes:
    """A part of a device; what is behind its end is missing."""
    with open(path, "rb") as stream:
        stream.seek(offset)
        return stream.read(length)


def write_part(path: str, offset: int, data: bytes) -> None:
    """Write a part of a device, and have it there on return."""
    with open(path, "r+b", buffering=0) as stream:
        stream.seek(offset)
        stream.write(data)
        os.fsync(stream.fileno())


def drop_cache(path: str) -> None:
    """Have later reads come from the device itself. BLKFLSBUF of linux/fs.h."""
    with open(path, "rb") as stream:
        fcntl.ioctl(stream.fileno(), 0x1261)


def forget_partitions(path: str, patience: float = 10.0) -> None:
    """Have the kernel read the partition table anew, and so lose partitions whose table is gone. BLKRRPART of linux/fs.h.

    :param patience: seconds; udev opens a device after each write to it, and the kernel keeps partitions that somebody has open.
    :raises RootOfTrustError: if it does not let go of them.
    """
    deadline = time.monotonic() + patience
    with open(path, "rb") as stream:
        while True:
            try:
                fcntl.ioctl(stream.fileno(), 0x125F)
                return
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
            if time.monotonic() > deadline:
                raise RootOfTrustError(f"The kernel does not let go of the partitions of {path}.", "See who has one open with lsof(8).")
            time.sleep(0.1)  # between two tries, until the deadline, which fails above


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
