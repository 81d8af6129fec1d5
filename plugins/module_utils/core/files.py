# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writing a file so that a power cut leaves either the old one or the new one, whole."""

from __future__ import annotations

import os
import tempfile


def sync_folder(folder: str) -> None:
    """Make the names in a folder survive a power cut (fsync of the folder itself)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: str) -> None:
    """Make the content of a file survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def atomic_write(path: str, data: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Put a file in place: temporary file in the same folder, fsync, rename, fsync of the folder.

    :param path: the file; where it is a symbolic link, the file that the link leads to is replaced.
    :param data: its whole new content.
    :param mode: its permission bits, set before any content is in it.
    :param owner: user and group number; the process's own where None.
    :raises OSError: as the system has it; the old file is then untouched and nothing is left beside it.
    """
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    descriptor, temporary = tempfile.mkstemp(prefix=f".{os.path.basename(target)}.", dir=folder)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            os.fchmod(stream.fileno(), mode)
            if owner is not None:
                os.fchown(stream.fileno(), *owner)
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.rename(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise
    sync_folder(folder)
