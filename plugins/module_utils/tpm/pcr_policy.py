# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is sealed to the values of PCRs, as a TPM 2.0 (Library, Part 3) and a TPM 1.2 (Main, Part 2) describe it. Pure."""

from __future__ import annotations

import hashlib
import struct
from typing import Mapping

from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.commands import (
    POLICY_AUTH_VALUE,
    POLICY_PCR,
    algorithm,
    selection,
)


def pcr_policy(bank: str, values: Mapping[int, str], hash_name: str, password: bool) -> str:
    """The digest, in hexadecimal, of the policy that a session of these registers fulfils.

    :param values: register → value in hexadecimal.
    :param hash_name: of the policy: sha1, sha256, sha384 or sha512.
    :param password: whether PolicyPassword follows.
    """
    numbers = sorted(values)
    together = hashlib.new(hash_name, b"".join(bytes.fromhex(values[number]) for number in numbers)).digest()
    start = bytes(hashlib.new(hash_name).digest_size)
    registers = selection({algorithm(bank): numbers})
    policy = hashlib.new(hash_name, start + struct.pack(">I", POLICY_PCR) + registers + together).digest()
    if password:
        policy = hashlib.new(hash_name, policy + struct.pack(">I", POLICY_AUTH_VALUE)).digest()
    return policy.hex()


def pcr_info(values: Mapping[int, str]) -> str:
    """The TPM_PCR_INFO of a TPM 1.2, in hexadecimal: the registers, the digest at release, and room for the digest at creation."""
    bits = sum(1 << number for number in values).to_bytes(3, "little")
    select = struct.pack(">H", len(bits)) + bits
    together = b"".join(bytes.fromhex(values[number]) for number in sorted(values))
    at_release = hashlib.new("sha1", select + struct.pack(">I", len(together)) + together).digest()
    return (select + at_release + bytes(len(at_release))).hex()
