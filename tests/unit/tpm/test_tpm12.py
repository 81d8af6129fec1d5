# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a TPM 1.2 is told, and when it is given an owner."""

from __future__ import annotations

import base64
import hashlib
import hmac
import random
import struct
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm import commands12, parse12, pcr_policy, trousers
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm import plan_ownership as plan
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.commands12 import RsaKey, Session


def _prime(rng: random.Random, bits: int) -> int:
    while True:
        number = rng.getrandbits(bits) | 1 << (bits - 1) | 1
        if all(pow(base, number - 1, number) == 1 for base in (2, 3, 5, 7, 11)):
            return number


_RNG = random.Random(20261128)
P, Q = _prime(_RNG, 512), _prime(_RNG, 512)
KEY = RsaKey(P * Q, 65537)
PRIVATE = pow(65537, -1, (P - 1) * (Q - 1))


def opened(encrypted: bytes) -> bytes:
    """RSAES-OAEP decryption, written from RFC 8017 7.1.2."""

    def mask(seed: bytes, size: int) -> bytes:
        told = b"".join(hashlib.sha1(seed + number.to_bytes(4, "big")).digest() for number in range(size // 20 + 1))
        return told[:size]

    block = pow(int.from_bytes(encrypted, "big"), PRIVATE, KEY.modulus).to_bytes(KEY.size, "big")
    first, seed, data = block[0], block[1:21], block[21:]
    seed = bytes(one ^ two for one, two in zip(seed, mask(data, 20), strict=True))
    data = bytes(one ^ two for one, two in zip(data, mask(seed, len(data)), strict=True))
    label, rest = data[:20], data[20:].lstrip(b"\0")
    assert (first, label, rest[:1]) == (0, hashlib.sha1(b"TCPA").digest(), b"\1")
    return rest[1:]


@given(st.binary(min_size=20, max_size=20).filter(lambda secret: secret[:1] != b"\0"), st.binary(min_size=20, max_size=20))
@settings(max_examples=30, deadline=None)
def test_who_has_the_key_gets_the_secret(secret: bytes, seed: bytes) -> None:
    encrypted = commands12.oaep(KEY, secret, seed)
    assert len(encrypted) == KEY.size and opened(encrypted) == secret


def test_the_owner_s_secret_goes_encrypted_and_proven() -> None:
    owner, session = Secret(b"o" * 20), Session(0x02000000, b"e" * 20)
    command = commands12.take_ownership(KEY, owner, session, b"n" * 20, (b"1" * 20, b"2" * 20))
    tag, size, ordinal, protocol, first = struct.unpack_from(">HIIHI", command)
    assert (tag, size, ordinal, protocol, first) == (0x00C2, len(command), 0x0D, 5, KEY.size)
    assert opened(command[16 : 16 + first]) == b"o" * 20
    assert owner.reveal() not in command
    assert command[-45:-41] == struct.pack(">I", session.handle) and command[-41:-21] == b"n" * 20 and command[-21:-20] == b"\0"


def test_an_endorsement_key_is_taken_only_from_the_answer_to_the_question() -> None:
    modulus = KEY.modulus.to_bytes(KEY.size, "big")
    body = struct.pack(">IHHIIII", 1, 3, 1, 12, 1024, 2, 0) + struct.pack(">I", KEY.size) + modulus
    whole = body + hashlib.sha1(body + b"q" * 20).digest()
    assert parse12.parse_endorsement_key(whole, b"q" * 20) == KEY
    for spoilt, nonce in ((whole, b"r" * 20), (whole[:30] + b"x" + whole[31:], b"q" * 20)):
        with pytest.raises(RootOfTrustError, match="is not that to the question"):
            parse12.parse_endorsement_key(spoilt, nonce)


@pytest.mark.parametrize(
    ("code", "told"),
    [(0x1, "is wrong; it was tried once"), (0x23, "no endorsement key"), (0x807, "it refuses"), (7, "it is disabled"), (0x803, "guessing")],
)
def test_a_refusal_is_told(code: int, told: str) -> None:
    with pytest.raises(RootOfTrustError, match=rf"The TPM does not do it: .*{told}"):
        parse12.opened12("do it", struct.pack(">HII", 0xC4, 10, code))


def test_who_may_read_the_storage_root_key_the_owner_says() -> None:
    owner, session = Secret(b"o" * 20), Session(0x02000000, b"e" * 20)
    command = commands12.let_storage_root_be_read(owner, session, b"n" * 20)
    told = struct.unpack(">HIIIIIIB", command[:27])
    assert told == (0x00C2, len(command), 0x3F, 1, 4, 17, 1, 1), "TPM_SetCapability, of the permanent flags, readSRKPub, true"
    digest = hashlib.sha1(command[6:27]).digest()
    assert command[-20:] == hmac.new(b"o" * 20, digest + b"e" * 20 + b"n" * 20 + b"\0", "sha1").digest()


SYSTEM_DATA = base64.b64decode((Path(__file__).parent.parent / "fixtures/tpm/trousers-0.3.15-system.data.base64.txt").read_text())


def test_the_storage_root_key_is_registered_as_trousers_does_it() -> None:
    assert trousers.with_storage_root(b"") == trousers.with_storage_root(b"\1" + bytes(4)) == SYSTEM_DATA
    assert trousers.has_storage_root(SYSTEM_DATA) and not trousers.has_storage_root(b"") and not trousers.has_storage_root(b"\1" + bytes(4))
    other = SYSTEM_DATA[:5] + b"x" * 16 + SYSTEM_DATA[21:]
    both = trousers.with_storage_root(other)
    assert trousers.has_storage_root(both) and both[5 : len(other)] == other[5:], "another key stays"


@given(st.integers(0, len(SYSTEM_DATA) - 1), st.binary(max_size=3))
def test_a_file_that_is_cut_or_longer_is_not_taken_for_one(size: int, more: bytes) -> None:
    for spoilt in (SYSTEM_DATA[:size] if size else b"\2", SYSTEM_DATA + b"x" + more):
        with pytest.raises(RootOfTrustError, match="not as TrouSerS writes it"):
            trousers.has_storage_root(spoilt)


FREE = plan.Ownership(False, True, True, True)


def test_an_owner_is_made_once() -> None:
    (step,) = plan.plan_ownership(FREE)
    assert (step.action, step.after) == (plan.TAKE, {"owned": True})
    assert plan.report_ownership(FREE, [step]) == {"owned": True, "trousers": False}
    owned = replace(FREE, owned=True, given=False)
    assert plan.plan_ownership(owned) == [] and plan.report_ownership(owned, []) == {"owned": True, "trousers": False}


def test_trousers_is_told_once_there_is_an_owner() -> None:
    unknown = replace(FREE, shared=False)
    steps = plan.plan_ownership(unknown)
    assert [step.action for step in steps] == [plan.TAKE, plan.SHARE]
    assert plan.report_ownership(unknown, steps) == {"owned": True, "trousers": True}
    assert [step.action for step in plan.plan_ownership(replace(unknown, owned=True))] == [plan.SHARE]
    assert plan.plan_ownership(replace(FREE, owned=True, shared=True, given=False)) == []
    with pytest.raises(RootOfTrustError, match="that needs the owner"):
        plan.plan_ownership(replace(unknown, owned=True, given=False))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"given": False}, "no authorisation for one is given"),
        ({"enabled": False}, "The TPM is disabled"),
        ({"active": False}, "The TPM is deactivated"),
        ({"owned": None}, "does not tell"),
    ],
)
def test_a_tpm_that_cannot_have_one_now(changes: dict[str, bool | None], told: str) -> None:
    with pytest.raises(RootOfTrustError, match=told):
        plan.plan_ownership(replace(FREE, **changes))  # type: ignore[arg-type]  # one field at a time


def test_an_information_of_pcrs() -> None:
    info = pcr_policy.pcr_info({0: "00" * 20, 10: "11" * 20})
    assert info[:10] == "0003010400" and len(info) == 2 * (5 + 40) and info[-40:] == "00" * 20
    composite = bytes.fromhex("000301040000000028") + bytes(20) + b"\x11" * 20
    assert info[10:50] == hashlib.sha1(composite).hexdigest()
