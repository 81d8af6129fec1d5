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
_OIAP, _TAKE_OWNERSHIP, _SET_CAPABILITY, _READ_PUBEK = 0x0A, 0x0D, 0x3F, 0x7C
_OWNER = 0x0005  # TPM_PID_OWNER
_OAEP_LABEL = b"TCPA"
# TPM_SET_PERM_FLAGS, and of those flags that who knows the storage root key's secret may read its public key (TPM_PF_READSRKPUB)
_FLAGS, _READ_STORAGE_ROOT = 0x1, 17


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


def storage_root(size: int = 0) -> bytes:
    """A TPM_KEY: version, storage key, no flags, always authorised, RSA with OAEP and no signatures, 2048 bits of two primes, no PCRs.

    :param size: of the public key in bytes, for which zeros stand.
    """
    return struct.pack(">4BHIBIHHIIIIII", 1, 1, 0, 0, 0x11, 0, 1, 1, 3, 1, 12, 2048, 2, 0, 0, size) + bytes(size) + bytes(4)


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
    return _as_owner(_TAKE_OWNERSHIP, inside + storage_root(), owner, session, nonce_odd)


def let_storage_root_be_read(owner: Secret, session: Session, nonce_odd: bytes) -> bytes:
    """Let who knows the storage root key's secret read its public key, which only the owner may by itself."""
    return _as_owner(_SET_CAPABILITY, struct.pack(">IIIIB", _FLAGS, 4, _READ_STORAGE_ROOT, 1, 1), owner, session, nonce_odd)


def _as_owner(ordinal: int, inside: bytes, owner: Secret, session: Session, nonce_odd: bytes) -> bytes:
    digest = hashlib.new("sha1", struct.pack(">I", ordinal) + inside).digest()
    proof = hmac.new(owner.reveal(), digest + session.nonce_even + nonce_odd + b"\0", "sha1").digest()
    return _command(_AUTHORISED, ordinal, inside + struct.pack(">I", session.handle) + nonce_odd + b"\0" + proof)


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
