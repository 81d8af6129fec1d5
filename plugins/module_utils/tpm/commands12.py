# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The TPM 1.2 commands of this collection, as bytes (TPM Main Specification 1.2, Parts 2 and 3). Pure."""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import NamedTuple

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret

WELL_KNOWN = bytes(20)  # the secret that everybody knows
DIGEST = 20  # bytes of SHA-1, and of every authorisation
_PLAIN, _AUTHORISED = 0x00C1, 0x00C2
_OIAP, _TAKE_OWNERSHIP, _READ_PUBEK = 0x0A, 0x0D, 0x7C
_OWNER = 0x0005  # TPM_PID_OWNER
_OAEP_LABEL = b"TCPA"
# TPM_KEY: version, storage key, no flags, always authorised, RSA with OAEP and no signatures, 2048 bits of two primes, the rest empty
_STORAGE_ROOT = struct.pack(">4BHIBIHHIIIIIII", 1, 1, 0, 0, 0x11, 0, 1, 1, 3, 1, 12, 2048, 2, 0, 0, 0, 0)


class Session(NamedTuple):
    """An authorisation session (OIAP): its handle, and the TPM's last number used once."""

    handle: int
    nonce_even: bytes


class RsaKey(NamedTuple):
    """A public key."""

    modulus: int
    exponent: int

    @property
    def size(self) -> int:
        """Bytes."""
        return (self.modulus.bit_length() + 7) // 8


def _command(tag: int, ordinal: int, body: bytes = b"") -> bytes:
    return struct.pack(">HII", tag, 10 + len(body), ordinal) + body


def start_session() -> bytes:
    return _command(_PLAIN, _OIAP)


def read_endorsement_key(nonce: bytes) -> bytes:
    """:param nonce: 20 bytes; the checksum of the answer is over them."""
    return _command(_PLAIN, _READ_PUBEK, nonce)


def take_ownership(key: RsaKey, owner: Secret, session: Session, nonce_odd: bytes, seeds: tuple[bytes, bytes]) -> bytes:
    """Set the owner's authorisation, and have a storage root key with the well-known secret.

    :param key: the endorsement key, for which the secrets are encrypted.
    :param owner: the authorisation: 20 bytes.
    :param seeds: 20 random bytes for each of the two.
    """
    inside = struct.pack(">H", _OWNER)
    for secret, seed in zip((owner.reveal(), WELL_KNOWN), seeds):
        encrypted = oaep(key, secret, seed)
        inside += struct.pack(">I", len(encrypted)) + encrypted
    inside += _STORAGE_ROOT
    digest = hashlib.new("sha1", struct.pack(">I", _TAKE_OWNERSHIP) + inside).digest()
    proof = hmac.new(owner.reveal(), digest + session.nonce_even + nonce_odd + b"\0", "sha1").digest()
    return _command(_AUTHORISED, _TAKE_OWNERSHIP, inside + struct.pack(">I", session.handle) + nonce_odd + b"\0" + proof)


def oaep(key: RsaKey, secret: bytes, seed: bytes) -> bytes:
    """RSAES-OAEP of RFC 8017 with SHA-1 and the label that the TPM wants."""
    block = hashlib.new("sha1", _OAEP_LABEL).digest() + bytes(key.size - len(secret) - 2 * DIGEST - 2) + b"\1" + secret
    masked = _xor(block, _mask(seed, len(block)))
    padded = b"\0" + _xor(seed, _mask(masked, len(seed))) + masked
    return pow(int.from_bytes(padded, "big"), key.exponent, key.modulus).to_bytes(key.size, "big")


def _mask(seed: bytes, size: int) -> bytes:
    """MGF1."""
    blocks = (hashlib.new("sha1", seed + struct.pack(">I", number)).digest() for number in range(-(-size // DIGEST)))
    return b"".join(blocks)[:size]


def _xor(one: bytes, two: bytes) -> bytes:
    return bytes(left ^ right for left, right in zip(one, two))
