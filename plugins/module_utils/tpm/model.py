# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a TPM is and holds. Pure.

Names and numbers are those of the TCG's TPM 2.0 Library, Part 2 (Structures), in its short spelling: TPM_ALG_SHA256 is ``sha256``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping

TPM12, TPM20 = "1.2", "2.0"
SYSTEM_DATA = "/var/lib/tpm/system.data"  # in which TrouSerS knows the keys of the system

ALGORITHMS = {
    0x0001: "rsa",
    0x0004: "sha1",
    0x0005: "hmac",
    0x0006: "aes",
    0x0008: "keyedhash",
    0x000B: "sha256",
    0x000C: "sha384",
    0x000D: "sha512",
    0x0010: "null",
    0x0012: "sm3_256",
    0x0013: "sm4",
    0x0014: "rsassa",
    0x0015: "rsaes",
    0x0016: "rsapss",
    0x0017: "oaep",
    0x0018: "ecdsa",
    0x0019: "ecdh",
    0x001A: "ecdaa",
    0x001B: "sm2",
    0x001C: "ecschnorr",
    0x0023: "ecc",
    0x0025: "symcipher",
    0x0026: "camellia",
    0x0027: "sha3_256",
    0x0028: "sha3_384",
    0x0029: "sha3_512",
    0x0040: "ctr",
    0x0041: "ofb",
    0x0042: "cbc",
    0x0043: "cfb",
    0x0044: "ecb",
}
CURVES = {
    0x0001: "p192",
    0x0002: "p224",
    0x0003: "p256",
    0x0004: "p384",
    0x0005: "p521",
    0x0010: "bn_p256",
    0x0011: "bn_p638",
    0x0020: "sm2_p256",
}
# Bits of TPMA_OBJECT
ATTRIBUTES = {
    1: "fixedtpm",
    2: "stclear",
    4: "fixedparent",
    5: "sensitivedataorigin",
    6: "userwithauth",
    7: "adminwithpolicy",
    10: "noda",
    11: "encryptedduplication",
    16: "restricted",
    17: "decrypt",
    18: "sign",
}
DIGEST_SIZES = {"sha1": 20, "sha256": 32, "sha384": 48, "sha512": 64, "sm3_256": 32, "sha3_256": 32, "sha3_384": 48, "sha3_512": 64}

NODA = "noda"
# What makes a key a parent that only this TPM can have
STORAGE = frozenset({"fixedtpm", "fixedparent", "sensitivedataorigin", "userwithauth", "restricted", "decrypt"})

# Handles of persistent objects that belong to the owner hierarchy; those above belong to the platform.
FIRST_PERSISTENT, LAST_OWNER, LAST_PERSISTENT = 0x81000000, 0x817FFFFF, 0x81FFFFFF


@dataclass(frozen=True)
class PublicArea:
    """The public part of an object (TPMT_PUBLIC), without its key.

    :param type: rsa, ecc, keyedhash or symcipher.
    :param name_algorithm: the hash that gives it its name.
    :param attributes: those that are set.
    :param policy: the digest of its policy in hexadecimal; empty for none.
    :param symmetric: what protects its children, such as ``aes128cfb``; empty for an object that has none.
    :param scheme: its own scheme; empty for any.
    :param bits: of an RSA key.
    :param curve: of an ECC key.
    """

    type: str
    name_algorithm: str
    attributes: frozenset[str]
    policy: str = ""
    symmetric: str = ""
    scheme: str = ""
    bits: int | None = None
    curve: str | None = None

    @property
    def algorithm(self) -> str:
        """As tpm2-tools write it: ``rsa2048``, ``ecc256`` …"""
        if self.type == "rsa":
            return f"rsa{self.bits}"
        if self.type == "ecc":
            return f"ecc{(self.curve or '')[1:]}" if (self.curve or "").startswith("p") else f"ecc_{self.curve}"
        return self.symmetric if self.type == "symcipher" else self.type

    @property
    def is_storage_parent(self) -> bool:
        """Whether other keys can be made under it."""
        return {"restricted", "decrypt"} <= self.attributes and "sign" not in self.attributes


@dataclass(frozen=True)
class PersistentObject:
    """An object that survives a reset, at its handle.

    :param name: the hash of its public area, in hexadecimal, after the two bytes of the algorithm.
    """

    handle: int
    public: PublicArea
    name: str


@dataclass(frozen=True)
class Lockout:
    """The defence against guessing (dictionary attacks).

    :param active: whether objects under that defence are refused now.
    :param failures: wrong authorisations that are counted now.
    :param limit: as many lead to the lockout.
    :param seconds_per_failure: after which one failure is forgotten.
    :param recovery_seconds: before the lockout authorisation may be tried again, once that was wrong.
    """

    active: bool
    failures: int
    limit: int
    seconds_per_failure: int
    recovery_seconds: int


@dataclass(frozen=True)
class Authorisations:
    """Whether each hierarchy's authorisation is set: without, everyone who can open the device has it."""

    owner: bool
    endorsement: bool
    lockout: bool


@dataclass(frozen=True)
class Properties:
    """TPM 2.0: what it is and how it stands.

    :param revision: of the specification, such as ``1.38``.
    :param clear_disabled: whether only the platform can clear it.
    :param room: how many more persistent objects it has room for, by its own estimate.
    """

    manufacturer: str
    vendor: str
    firmware: str
    revision: str
    authorisations: Authorisations
    lockout: Lockout
    clear_disabled: bool
    room: int


@dataclass(frozen=True)
class Holder:
    """A process that has one of the TPM's devices open."""

    pid: int
    program: str
    device: str


@dataclass(frozen=True)
class Chip:
    """What the kernel tells of the first TPM without asking it.

    :param version: ``1.2``, ``2.0``, or empty where the kernel does not tell.
    :param device: the path by which it is spoken to: the resource manager's where there is one.
    :param facts: TPM 1.2: what sysfs has (manufacturer, firmware, enabled, active, owned …).
    :param pcrs: TPM 1.2: number → value.
    """

    version: str
    device: str | None
    facts: Mapping[str, str]
    pcrs: Mapping[int, str]
