# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Shared libraries of a few instructions, made without a compiler: their C_GetFunctionList crashes, hangs, fails or ends the process."""

from __future__ import annotations

import platform
import struct
from pathlib import Path

# Instructions of x86-64 and of ARM64.
CODE = {
    "crashes": {"x86_64": bytes.fromhex("0f0b"), "aarch64": bytes.fromhex("00000000")},  # an undefined instruction
    "hangs": {"x86_64": bytes.fromhex("ebfe"), "aarch64": bytes.fromhex("00000014")},  # a jump to itself
    "fails": {"x86_64": bytes.fromhex("b805000000c3"), "aarch64": bytes.fromhex("a0008052c0035fd6")},  # return 5
    # exit_group(3), as a library might that gives up
    "exits": {"x86_64": bytes.fromhex("bf03000000b8e70000000f05"), "aarch64": bytes.fromhex("60008052c80b8052010000d4")},
}
_MACHINES = {"x86_64": 62, "aarch64": 183}


def make(path: Path, what: str) -> Path:
    """Write a library whose one function does what ``CODE`` says."""
    machine = platform.machine()
    code = CODE[what][machine]
    names = b"\0C_GetFunctionList\0"
    dynamic, symbols, strings, table, function = 0x100, 0x200, 0x280, 0x300, 0x400
    end = function + len(code)
    entries = [(4, table), (5, strings), (6, symbols), (10, len(names)), (11, 24), (0, 0)]  # HASH STRTAB SYMTAB STRSZ SYMENT NULL
    header = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 3, _MACHINES[machine], 1, 0, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 7, 0, 0, 0, end, end, 0x1000)
    told = struct.pack("<IIQQQQQQ", 2, 6, dynamic, dynamic, dynamic, 16 * len(entries), 16 * len(entries), 8)
    image = bytearray(end)
    for offset, part in (
        (0, header + load + told),
        (dynamic, b"".join(struct.pack("<QQ", *entry) for entry in entries)),
        (symbols, bytes(24) + struct.pack("<IBBHQQ", 1, 0x12, 0, 1, function, len(code))),
        (strings, names),
        (table, struct.pack("<IIIII", 1, 2, 1, 0, 0)),
        (function, code),
    ):
        image[offset : offset + len(part)] = part
    path.write_bytes(image)
    return path
