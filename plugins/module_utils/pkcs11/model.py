# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Slots, tokens and keys as a Cryptoki library tells of them. Numbers are those of PKCS#11 2.40 and 3.0 (OASIS). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

PRESENT, ABSENT = "present", "absent"  # states

# Flags of a token (CK_TOKEN_INFO).
WRITE_PROTECTED, LOGIN_REQUIRED, USER_PIN_INITIALIZED = "write_protected", "login_required", "user_pin_initialized"
TOKEN_INITIALIZED, PROTECTED_PATH = "token_initialized", "protected_authentication_path"
USER_PIN_LOW, USER_PIN_FINAL, USER_PIN_LOCKED = "user_pin_count_low", "user_pin_final_try", "user_pin_locked"
USER_PIN_DEFAULT, SO_PIN_DEFAULT = "user_pin_to_be_changed", "so_pin_to_be_changed"
SO_PIN_LOW, SO_PIN_FINAL, SO_PIN_LOCKED = "so_pin_count_low", "so_pin_final_try", "so_pin_locked"
TOKEN_FLAGS = {
    0x1: "rng",
    0x2: WRITE_PROTECTED,
    0x4: LOGIN_REQUIRED,
    0x8: USER_PIN_INITIALIZED,
    0x20: "restore_key_not_needed",
    0x40: "clock_on_token",
    0x100: PROTECTED_PATH,
    0x200: "dual_crypto_operations",
    0x400: TOKEN_INITIALIZED,
    0x10000: USER_PIN_LOW,
    0x20000: USER_PIN_FINAL,
    0x40000: USER_PIN_LOCKED,
    0x80000: USER_PIN_DEFAULT,
    0x100000: SO_PIN_LOW,
    0x200000: SO_PIN_FINAL,
    0x400000: SO_PIN_LOCKED,
    0x800000: SO_PIN_DEFAULT,
    0x1000000: "error_state",
}
# Flags of a slot (CK_SLOT_INFO).
TOKEN_PRESENT, REMOVABLE, HARDWARE = 0x1, 0x2, 0x4

LABEL_BYTES = 32  # of a token's label, which is padded with blanks
# Compiled into openCryptoki; its tokens have them until they are changed.
DEFAULT_SO_PIN, DEFAULT_USER_PIN = "87654321", "12345678"
OLD_TPM = "TPM v1.1 Token"  # of a TPM; newer releases of it tell "TPM"

RSA, ECDSA, EDDSA = "rsa", "ecdsa", "ed25519"
ALGORITHMS = ("rsa2048", "rsa3072", "rsa4096", "nistp256", "nistp384", "nistp521", "ed25519")


@dataclass(frozen=True)
class Token:
    """What is in a slot.

    :param flags: of ``TOKEN_FLAGS``.
    :param least_pin, longest_pin: bytes.
    """

    label: str
    manufacturer: str
    model: str
    serial: str
    flags: frozenset[str]
    least_pin: int
    longest_pin: int

    @property
    def is_initialized(self) -> bool:
        """Whether it has a label and an SO PIN of someone's choice."""
        return TOKEN_INITIALIZED in self.flags

    @property
    def has_default_so_pin(self) -> bool:
        """Whether its SO PIN is openCryptoki's. SoftHSM has that flag on a free token too, beside that its SO PIN is locked."""
        return SO_PIN_DEFAULT in self.flags and (self.is_initialized or SO_PIN_LOCKED not in self.flags)


@dataclass(frozen=True)
class Slot:
    """A reader, or what stands for one.

    :param number: by which the library knows it; SoftHSM makes a new one when a token is initialised.
    :param mechanisms: their names, or numbers in hexadecimal where they have none here.
    """

    number: int
    description: str
    manufacturer: str
    token: Token | None = None
    mechanisms: tuple[str, ...] = ()


@dataclass(frozen=True)
class KeyObject:
    """A public or private key on a token.

    :param handle: by which the library knows it in this session.
    :param identity: CKA_ID.
    :param attributes: the parts of a public key: ``modulus`` and ``exponent``, or ``params`` and ``point``.
    """

    handle: int
    private: bool
    label: str
    identity: bytes
    algorithm: str
    attributes: Mapping[str, Any]
