# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files in which keys outlive a boot: blobs, and payloads of user keys."""

from __future__ import annotations

import hashlib
import os
import stat

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.files import atomic_write, sync_folder
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import memory_folder

MODE = 0o400
LONGEST = 1 << 16  # bytes; the longest blob of today's kernels has 8.4 KB, the longest payload 32 KB
PENDING = ".new"  # after the name of a blob that is written and not proven yet


def read_file(path: str) -> bytes | None:
    """What is in a key's file; None where there is none.

    :raises RootOfTrustError: if it is no regular file, or too large for one of a key.
    """
    try:
        with open(path, "rb") as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
                raise RootOfTrustError(f"{path} is no regular file.", "Correct the path.")
            content = stream.read(LONGEST + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RootOfTrustError(f"{path} cannot be read: {error.strerror}.", "Correct the path.") from None
    if len(content) > LONGEST:
        raise RootOfTrustError(f"{path} is too large for a key.", "Correct the path.")
    return content


def is_exposed(path: str | None) -> bool:
    """Whether others than its owner may read a file."""
    return path is not None and os.path.isfile(path) and bool(os.stat(path).st_mode & (stat.S_IRGRP | stat.S_IROTH))


def write_new(path: str, data: bytes) -> None:
    """Write a file that is not there yet, and read it back.

    :raises RootOfTrustError: if there is one now: nothing is overwritten.
    """
    if os.path.lexists(path):
        raise RootOfTrustError(f"{path} has come to be in the meantime.", "See who else writes it.")
    _make_folder(path)
    atomic_write(path, data, MODE)
    _compare(path, data)


def write_pending(path: str, data: bytes) -> bytes:
    """Write what is to take a file's place beside it, and give back what was read from there."""
    _make_folder(path)
    atomic_write(path + PENDING, data, MODE)
    return _compare(path + PENDING, data)


def put_pending(path: str) -> None:
    """Let what was written take the file's place."""
    target = os.path.realpath(path)
    os.rename(path + PENDING, target)
    sync_folder(os.path.dirname(target))


def remove(path: str) -> None:
    """Take a file away, and what a cut has left beside it."""
    for name in (path, path + PENDING):
        if os.path.lexists(name):
            os.unlink(name)
    sync_folder(os.path.dirname(path))


def remember(serial: int, text: bytes) -> None:
    """Note that the kernel has given out the key of this number as this text. It holds until the next boot, as the number does."""
    descriptor = os.open(_notes(serial), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(f"{hashlib.sha256(text).hexdigest()}\n")


def is_remembered(serial: int, text: bytes) -> bool:
    """Whether this text is noted of the key, by this very user."""
    try:
        descriptor = os.open(_notes(serial), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    with os.fdopen(descriptor, encoding="ascii") as stream:
        return os.fstat(descriptor).st_uid == os.geteuid() and hashlib.sha256(text).hexdigest() in stream.read().split()


def _notes(serial: int) -> str:
    return os.path.join(memory_folder(), f"rootoftrust-kernel-key-{os.geteuid()}-{serial}")


def _compare(path: str, data: bytes) -> bytes:
    found = read_file(path)
    if found != data:
        raise RootOfTrustError(f"{path} does not hold what was written to it.", "Look after the disk.")
    return data


def _make_folder(path: str) -> None:
    """The folder of a file, for root alone, where it is not there."""
    folder = os.path.dirname(path)
    if not os.path.isdir(folder):
        os.makedirs(folder, 0o700)
        sync_folder(os.path.dirname(folder))
