# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""statx(2): the time at which a file came to its file system, which os.stat does not tell on Linux."""

from __future__ import annotations

import ctypes
import os
import struct

AT_FDCWD = -100
STATX_BTIME = 0x800  # linux/stat.h
SIZE = 256  # bytes of struct statx
BTIME_AT = 80  # offset of stx_btime: seconds (s64), nanoseconds (u32)


def birth_time(path: str) -> float | None:
    """Seconds since 1970; None where the file system or the C library does not tell."""
    statx = getattr(ctypes.CDLL(None, use_errno=True), "statx", None)
    if statx is None:  # glibc before 2.28
        return None
    buffer = ctypes.create_string_buffer(SIZE)
    if statx(AT_FDCWD, os.fsencode(path), 0, STATX_BTIME, buffer) != 0:
        return None
    mask = struct.unpack_from("=I", buffer.raw, 0)[0]
    if not mask & STATX_BTIME:
        return None
    seconds, nanoseconds = struct.unpack_from("=qI", buffer.raw, BTIME_AT)
    return float(seconds + nanoseconds / 1e9)
