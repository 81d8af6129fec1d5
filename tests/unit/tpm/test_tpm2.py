# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands and answers, byte for byte as a software TPM has taken and given them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm import commands, parse
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.model import NODA, STORAGE, PublicArea
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.tpm2 import Tpm2

RECORDED = Path(__file__).parents[1] / "fixtures/tpm"
ECC = PublicArea("ecc", "sha256", STORAGE | {NODA}, symmetric="aes128cfb", curve="p256")
RSA = PublicArea("rsa", "sha256", STORAGE | {NODA}, symmetric="aes128cfb", bits=2048)
NOTHING = Secret(b"")


class Recording:
    """Answers as it was recorded, and accepts the recorded commands only, in their order."""

    def __init__(self, case: str) -> None:
        self.left = [
            (bytes.fromhex(one), bytes.fromhex(two)) for one, two in json.loads((RECORDED / f"swtpm-0.10.2-{case}.json").read_text())
        ]

    def __call__(self, command: bytes) -> bytes:
        expected, answer = self.left.pop(0)
        assert command.hex() == expected.hex()
        return answer


def test_a_fresh_tpm() -> None:
    recording = Recording("fresh")
    tpm = Tpm2(recording)
    seen = tpm.properties()
    assert (seen.manufacturer, seen.vendor, seen.firmware, seen.revision) == ("IBM", "SW   TPM", "8228.293.18.0", "1.83")
    assert (seen.authorisations.owner, seen.authorisations.endorsement, seen.authorisations.lockout) == (False, False, False)
    assert (seen.lockout.active, seen.lockout.failures, seen.lockout.limit, seen.lockout.seconds_per_failure) == (False, 0, 3, 1000)
    assert seen.room == 64
    banks = tpm.pcrs()
    assert {bank: (len(values), len(values[0])) for bank, values in banks.items()} == {
        "sha1": (24, 40), "sha256": (24, 64), "sha384": (24, 96), "sha512": (24, 128),
    }  # fmt: skip
    assert banks["sha256"][16] == "00" * 32 and banks["sha256"][17] == "ff" * 32
    assert tpm.objects() == []
    assert recording.left == []


@pytest.mark.parametrize(("public", "handle"), [(ECC, 0x81000001), (RSA, 0x81000002)], ids=["ecc256", "rsa2048"])
def test_what_is_made_is_as_it_was_asked_for(public: PublicArea, handle: int) -> None:
    recording = Recording(f"made-{public.algorithm}")
    tpm = Tpm2(recording)
    tpm.make_persistent(public, handle, NOTHING)
    found = tpm.object(handle)
    assert found is not None and found.public == public
    assert found.name.startswith("000b") and len(found.name) == 68
    assert recording.left == []


@pytest.mark.parametrize(
    ("case", "handle", "told"),
    [
        ("handle-in-use", 0x81000001, "something is at that handle already"),
        ("handle-of-platform", 0x81800000, "the handle is out of range"),
    ],
)
def test_a_handle_that_cannot_be_had_leaves_nothing_loaded(case: str, handle: int, told: str) -> None:
    recording = Recording(case)
    with pytest.raises(RootOfTrustError, match=rf"does not keep the key at {handle:#x}: {told}"):
        Tpm2(recording).make_persistent(ECC, handle, NOTHING)
    assert recording.left == [], "the key was flushed"


def test_objects_of_all_kinds() -> None:
    found = {one.handle: one.public for one in Tpm2(Recording("objects")).objects()}
    assert {handle: public.algorithm for handle, public in found.items()} == {
        0x81000001: "ecc256", 0x81000002: "rsa2048", 0x81000003: "rsa2048", 0x81000004: "ecc256", 0x81000005: "keyedhash",
        0x81000006: "aes128cfb", 0x81000007: "keyedhash", 0x81000008: "rsa2048", 0x81010001: "rsa2048",
    }  # fmt: skip
    assert [handle for handle, public in found.items() if public.is_storage_parent] == [0x81000001, 0x81000002, 0x81000008, 0x81010001]
    assert [found[handle].scheme for handle in (0x81000003, 0x81000004, 0x81000005)] == ["rsassa", "ecdaa", "hmac"]
    assert found[0x81000007].policy == bytes(range(32)).hex()
    assert "adminwithpolicy" in found[0x81010001].attributes and NODA not in found[0x81000008].attributes
    assert Tpm2(Recording("full")).properties().room == 55


def test_the_owner_authorisation_is_tried_without_changing_anything() -> None:
    recording = Recording("owner-set")
    tpm = Tpm2(recording)
    assert tpm.properties().authorisations.owner is True
    assert tpm.accepts_owner(Secret(b"owner")) is True
    assert tpm.accepts_owner(Secret(b"wrong")) is False
    assert recording.left == []
    wrong = Tpm2(Recording("owner-wrong"))
    with pytest.raises(RootOfTrustError, match="does not evict what is at 0x81000001: there is no such object"):
        wrong.evict(0x81000001, Secret(b"wrong"))
    with pytest.raises(RootOfTrustError, match="does not make ecc256: the authorisation is wrong") as refused:
        wrong.make_persistent(ECC, 0x81000001, Secret(b"wrong"))
    assert refused.value.facts == {"response": "0x9a2"}


def test_lockout() -> None:
    recording = Recording("lockout")
    lockout = Tpm2(recording).properties().lockout
    assert (lockout.active, lockout.failures, lockout.limit) == (True, 3, 3)
    ((_unseal, refusal),) = recording.left
    with pytest.raises(RootOfTrustError, match="does not unseal: it is in lockout"):
        parse.opened("unseal", refusal)


@pytest.mark.parametrize(
    ("response", "code"),
    [
        (0x9A2, parse.BAD_AUTH),
        (0x98E, parse.AUTH_FAIL),
        (0x18B, parse.NO_HANDLE),
        (0x28B, parse.NO_HANDLE),
        (0x14C, 0x14C),
        (0xB0902, parse.OBJECT_MEMORY),
        (0x921, parse.LOCKED_OUT),
    ],
)
def test_a_code_is_known_whatever_it_speaks_of(response: int, code: int) -> None:
    assert parse.base_code(response) == code
    assert str(parse.TpmAnswer("do it", response)).startswith("The TPM does not do it: ")


ANSWERS = sorted({answer for path in RECORDED.glob("swtpm-*.json") for _command, answer in json.loads(path.read_text())})
PARSERS = [parse.parse_handles, parse.parse_properties, parse.parse_banks, parse.parse_pcrs, parse.parse_read_public, parse.parse_public]


@given(st.sampled_from(ANSWERS), st.integers(0, 200), st.sampled_from(PARSERS))
def test_an_answer_that_is_cut_or_another_is_told_and_does_not_break(answer: str, length: int, parser: object) -> None:
    try:
        parser(bytes.fromhex(answer)[10 : 10 + length])  # type: ignore[operator]  # a table of parsers of several kinds
    except RootOfTrustError as error:
        assert "ends too early" in str(error)


def test_a_password_stands_in_its_command_and_nowhere_else() -> None:
    owner = Secret(b"hunter2 of the owner")
    with_it = [commands.create_primary(ECC, owner), commands.evict_control(1, 2, owner), commands.policy_secret(3, owner)]
    assert all(command.count(owner.reveal()) == 1 for command in with_it)
    assert all(int.from_bytes(command[2:6], "big") == len(command) for command in with_it)


def test_tpm12_as_sysfs_has_it() -> None:
    caps = "Manufacturer: 0x49424d00\nTCG version: 1.2\nFirmware version: 8.0\n"
    assert parse.parse_caps(caps) == {"manufacturer": "IBM", "specification": "1.2", "firmware": "8.0"}
    pcrs = "PCR-00: 00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F 10 11 12 13 \nPCR-17: FF FF \n"
    assert parse.parse_pcr_list(pcrs) == {0: "000102030405060708090a0b0c0d0e0f10111213", 17: "ffff"}
