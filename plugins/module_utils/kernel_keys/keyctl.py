# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""add_key(2), request_key(2) and keyctl(2): the kernel's own interface to its keys. No program, no secret outside."""

from __future__ import annotations

import ctypes
import os
import struct

# The C library has no wrappers. Numbers of (add_key, request_key, keyctl), from asm/unistd.h, by machine and size of a pointer.
NUMBERS = {
    ("x86_64", 8): (248, 249, 250),
    ("x86_64", 4): (286, 287, 288),  # a 32-bit Python on a 64-bit kernel
    ("i386", 4): (286, 287, 288),
    ("i486", 4): (286, 287, 288),
    ("i586", 4): (286, 287, 288),
    ("i686", 4): (286, 287, 288),
    ("aarch64", 8): (217, 218, 219),
    ("aarch64", 4): (309, 310, 311),
    ("armv6l", 4): (309, 310, 311),
    ("armv7l", 4): (309, 310, 311),
    ("armv8l", 4): (309, 310, 311),
    ("riscv64", 8): (217, 218, 219),
    ("loongarch64", 8): (217, 218, 219),
    ("ppc64le", 8): (269, 270, 271),
    ("ppc64", 8): (269, 270, 271),
    ("ppc", 4): (269, 270, 271),
    ("s390x", 8): (278, 279, 280),
    ("mips64", 8): (5239, 5240, 5241),
    ("mips", 4): (4280, 4281, 4282),
}
THREAD, PROCESS, SESSION, USER, USER_SESSION = -1, -2, -3, -4, -5  # linux/keyctl.h
(_GET_ID, _UPDATE, _REVOKE, _SETPERM, _DESCRIBE, _CLEAR, _LINK, _UNLINK, _READ, _SET_TIMEOUT) = (0, 2, 3, 5, 6, 7, 8, 9, 11, 15)


class KeyctlError(OSError):
    """What the kernel refused. ``errno`` says why."""


class Keyctl:
    """The system calls, on serial numbers and the negative numbers of special keyrings."""

    def __init__(self) -> None:
        where = (os.uname().machine, struct.calcsize("P"))
        if where not in NUMBERS:
            raise OSError(f"the numbers of the system calls for keys are not known for {where[0]}")
        self._add_key, self._request_key, self._keyctl = NUMBERS[where]
        self._syscall = ctypes.CDLL(None, use_errno=True).syscall
        self._syscall.restype = ctypes.c_long

    def add(self, kind: str, description: str, payload: bytes | None, keyring: int) -> int:
        """Make a key in a keyring, or update the one that is there; its serial number."""
        size = len(payload) if payload is not None else 0
        return self._call(self._add_key, kind.encode(), os.fsencode(description), payload, ctypes.c_size_t(size), ctypes.c_int(keyring))

    def request(self, kind: str, description: str) -> int:
        """Find a key as the kernel itself does it, in the keyrings of this process; nobody outside is asked to make one."""
        return self._call(self._request_key, kind.encode(), os.fsencode(description), None, ctypes.c_int(0))

    def resolve(self, special: int, create: bool = False) -> int:
        """The serial number of a special keyring."""
        return self._call(self._keyctl, _GET_ID, ctypes.c_int(special), ctypes.c_int(create))

    def describe(self, serial: int) -> str:
        """``type;uid;gid;permissions;description``."""
        return os.fsdecode(self._buffered(_DESCRIBE, serial).rstrip(b"\0"))

    def read(self, serial: int) -> bytes:
        """The payload of a user key, the blob of a trusted or encrypted one, the links of a keyring."""
        return self._buffered(_READ, serial)

    def links(self, keyring: int) -> list[int]:
        """The serial numbers of what a keyring holds."""
        data = self.read(keyring)
        return list(struct.unpack(f"={len(data) // 4}i", data[: len(data) // 4 * 4]))

    def update(self, serial: int, payload: bytes) -> None:
        self._call(self._keyctl, _UPDATE, ctypes.c_int(serial), payload, ctypes.c_size_t(len(payload)))

    def revoke(self, serial: int) -> None:
        self._call(self._keyctl, _REVOKE, ctypes.c_int(serial))

    def set_permissions(self, serial: int, permissions: int) -> None:
        self._call(self._keyctl, _SETPERM, ctypes.c_int(serial), ctypes.c_uint(permissions))

    def set_timeout(self, serial: int, seconds: int) -> None:
        """Let it expire; 0: never."""
        self._call(self._keyctl, _SET_TIMEOUT, ctypes.c_int(serial), ctypes.c_uint(seconds))

    def link(self, serial: int, keyring: int) -> None:
        """Put it into a keyring too. What has its type and description there gives way in the same moment."""
        self._call(self._keyctl, _LINK, ctypes.c_int(serial), ctypes.c_int(keyring))

    def unlink(self, serial: int, keyring: int) -> None:
        self._call(self._keyctl, _UNLINK, ctypes.c_int(serial), ctypes.c_int(keyring))

    def clear(self, keyring: int) -> None:
        self._call(self._keyctl, _CLEAR, ctypes.c_int(keyring))

    def _buffered(self, operation: int, serial: int) -> bytes:
        """Ask until the answer fits: the key may grow in between."""
        size = 0
        while True:
            buffer = ctypes.create_string_buffer(max(size, 1))
            needed = self._call(self._keyctl, operation, ctypes.c_int(serial), buffer, ctypes.c_size_t(size))
            if needed <= size:
                return buffer.raw[:needed]
            size = needed

    def _call(self, number: int, *arguments: object) -> int:
        result: int = self._syscall(ctypes.c_long(number), *arguments)
        if result < 0:
            error = ctypes.get_errno()
            raise KeyctlError(error, os.strerror(error))
        return result
