# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The TPM 2.0 commands of this collection, as bytes (TPM 2.0 Library, Part 3). Pure."""

from __future__ import annotations

import struct
from typing import Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.model import ALGORITHMS, ATTRIBUTES, CURVES, PublicArea

NO_SESSIONS, SESSIONS = 0x8001, 0x8002
OWNER = 0x40000001
_PASSWORD_SESSION, _NOBODY = 0x40000009, 0x40000007
_HANDLES, _PCRS, _PROPERTIES = 1, 5, 6  # kinds of capabilities
POLICY_SESSION, TRIAL_SESSION = 1, 3
_EVICT_CONTROL, _CREATE_PRIMARY, _POLICY_SECRET, _FLUSH_CONTEXT = 0x120, 0x131, 0x151, 0x165
POLICY_AUTH_VALUE = 0x16B  # what PolicyPassword adds to a policy, too
_READ_PUBLIC, _START_AUTH_SESSION, _GET_CAPABILITY, _PCR_READ = 0x173, 0x176, 0x17A, 0x17E
POLICY_PCR, _POLICY_PASSWORD = 0x17F, 0x18C

_NUMBERS = {name: number for number, name in ALGORITHMS.items()}
_CURVE_NUMBERS = {name: number for number, name in CURVES.items()}


def _command(code: int, handles: Sequence[int] = (), parameters: bytes = b"", owner: Secret | None = None) -> bytes:
    """A command; with ``owner``, the first handle is authorised by this password."""
    body = b"".join(struct.pack(">I", handle) for handle in handles)
    if owner is not None:
        session = struct.pack(">IHB", _PASSWORD_SESSION, 0, 0) + _sized(owner.reveal())
        body += struct.pack(">I", len(session)) + session
    body += parameters
    return struct.pack(">HII", NO_SESSIONS if owner is None else SESSIONS, 10 + len(body), code) + body


def _sized(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


def get_properties(first: int, count: int) -> bytes:
    return _command(_GET_CAPABILITY, parameters=struct.pack(">III", _PROPERTIES, first, count))


def get_handles(first: int, count: int) -> bytes:
    return _command(_GET_CAPABILITY, parameters=struct.pack(">III", _HANDLES, first, count))


def get_banks() -> bytes:
    return _command(_GET_CAPABILITY, parameters=struct.pack(">III", _PCRS, 0, 1))


def read_pcrs(banks: Mapping[int, Sequence[int]]) -> bytes:
    """:param banks: algorithm → registers."""
    return _command(_PCR_READ, parameters=selection(banks))


def selection(banks: Mapping[int, Sequence[int]]) -> bytes:
    """A TPML_PCR_SELECTION; algorithm → registers."""
    selections = struct.pack(">I", len(banks))
    for algorithm, numbers in banks.items():
        bits = sum(1 << number for number in set(numbers))
        selections += struct.pack(">HB", algorithm, 3) + bits.to_bytes(3, "little")
    return selections


def read_public(handle: int) -> bytes:
    return _command(_READ_PUBLIC, [handle])


def create_primary(public: PublicArea, owner: Secret) -> bytes:
    """A primary key of the owner hierarchy, without a secret of its own; the answer has a transient handle."""
    no_secret = _sized(_sized(b"") + _sized(b""))
    return _command(_CREATE_PRIMARY, [OWNER], no_secret + _sized(template(public)) + _sized(b"") + struct.pack(">I", 0), owner)


def evict_control(loaded: int, persistent: int, owner: Secret) -> bytes:
    """Make a loaded object persistent; where both handles are the persistent one, remove it."""
    return _command(_EVICT_CONTROL, [OWNER, loaded], struct.pack(">I", persistent), owner)


def flush_context(handle: int) -> bytes:
    return _command(_FLUSH_CONTEXT, parameters=struct.pack(">I", handle))


def start_session(kind: int, hash_name: str = "sha256") -> bytes:
    """A session for a policy, or for a trial, which only computes what a policy would be and authorises nothing."""
    parameters = _sized(bytes(16)) + _sized(b"") + struct.pack(">BHH", kind, _NUMBERS["null"], algorithm(hash_name))
    return _command(_START_AUTH_SESSION, [_NOBODY, _NOBODY], parameters)


def policy_pcr(session: int, bank: str, pcrs: Sequence[int]) -> bytes:
    """Have a session hold as long as the registers do not change."""
    return _command(POLICY_PCR, [session], _sized(b"") + selection({algorithm(bank): pcrs}))


def policy_password(session: int) -> bytes:
    """Have a session ask for the object's own authorisation too."""
    return _command(_POLICY_PASSWORD, [session])


def algorithm(name: str) -> int:
    """The number of an algorithm."""
    return _NUMBERS[name]


def policy_secret(session: int, owner: Secret) -> bytes:
    """Have the TPM see the owner authorisation, and change nothing but the session."""
    return _command(_POLICY_SECRET, [OWNER, session], _sized(b"") + _sized(b"") + _sized(b"") + struct.pack(">i", 0), owner)


def template(public: PublicArea) -> bytes:
    """The TPMT_PUBLIC of a storage key that is to be made."""
    bits = sum(1 << bit for bit, name in ATTRIBUTES.items() if name in public.attributes)
    area = struct.pack(">HHI", _NUMBERS[public.type], _NUMBERS[public.name_algorithm], bits) + _sized(bytes.fromhex(public.policy))
    area += struct.pack(">HHHH", _NUMBERS["aes"], 128, _NUMBERS["cfb"], _NUMBERS["null"])
    if public.type == "rsa":
        return area + struct.pack(">HI", public.bits, 0) + _sized(b"")
    return area + struct.pack(">HH", _CURVE_NUMBERS[public.curve or ""], _NUMBERS["null"]) + _sized(b"") + _sized(b"")
