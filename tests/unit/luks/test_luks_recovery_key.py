# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The form of recovery keys, and those who may read them. That their runs may be cut is in test_luks_keyslot.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import plan_keyslots as keyslots
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import plan_recovery as plan
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import PRESENT, Header, Keyslot

RECORDED = Path(__file__).parents[1] / "fixtures/luks"
GOOD = "935E3F73FC998DCA7105D9E8181149305300889F"


def recorded(version: str, case: str) -> str:
    return (RECORDED / f"gpg-{version}-{case}.txt").read_text()


@given(st.binary(min_size=plan.KEY_BYTES, max_size=plan.KEY_BYTES))
def test_a_key_is_typed_as_those_of_systemd(random: bytes) -> None:
    text = plan.typed(random).decode()
    assert re.fullmatch(r"([cbdefghijklnrtuv]{8}-){7}[cbdefghijklnrtuv]{8}", text)
    digits = text.replace("-", "").translate(str.maketrans("cbdefghijklnrtuv", "0123456789abcdef"))
    assert bytes.fromhex(digits) == random


@pytest.mark.parametrize("version", ["2.2.27", "2.4.7"])
def test_recipients_are_read(version: str) -> None:
    assert plan.recipient(recorded(version, "good"), 1, "/dev/x") == plan.Recipient(GOOD, "good <g@x>")


@pytest.mark.parametrize("version", ["2.2.27", "2.4.7"])
@pytest.mark.parametrize(
    ("case", "fault"), [("exp", "has expired"), ("rev", "is revoked"), ("signonly", "has no encryption subkey that is in use")]
)
def test_what_nothing_can_be_encrypted_to(version: str, case: str, fault: str) -> None:
    found = plan.recipient(recorded(version, case), 1, "/dev/x")
    assert found.fault == fault
    assert plan.faults([found]) == (f"The OpenPGP key {found.fingerprint} ({found.user}) {fault}.",)


def test_an_expired_subkey_is_no_encryption_subkey_in_use() -> None:
    text = recorded("2.4.7", "good").replace(":::scESC:", ":::scSC:").replace("sub:-:", "sub:e:")
    assert plan.recipient(text, 1, "/dev/x").fault == "has no encryption subkey that is in use"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "Recipient 2 of the recovery key of /dev/x holds no OpenPGP public key."),
        (recorded("2.4.7", "good") + recorded("2.4.7", "exp"), "holds 2 OpenPGP public keys."),
        (recorded("2.4.7", "good").replace("pub:", "sec:"), "a private key"),
    ],
)
def test_what_is_no_recipient(text: str, message: str) -> None:
    with pytest.raises(RootOfTrustError, match=message):
        plan.recipient(text, 2, "/dev/x")


def asked(faults: tuple[str, ...] = (), sha256: str = "", known: tuple[keyslots.Known, ...] = ()) -> keyslots.Asked:
    slots = (Keyslot(0, "luks2", "normal", 512), *(Keyslot(31, "luks2", "normal", 512) for _known in known))
    volume = keyslots.Volume("/dev/x", "/dev/x", Header("luks2", "u", "", "", 1, "", 512, 512, 0, slots), known)
    wanted = keyslots.Wanted(PRESENT, "recovery", kind=keyslots.RECOVERY, file="/r.asc", recipients=(GOOD,), faults=faults)
    return keyslots.Asked(volume, wanted, keyslots.Facts(unlock=True, unlocked=0, sha256=sha256), faults)


def test_a_fault_stops_a_new_key_and_is_but_told_of_one_that_is_there() -> None:
    with pytest.raises(RootOfTrustError, match=r"is due .* cannot be encrypted: it has expired"):
        keyslots.plan_keyslots([asked(("it has expired",))])
    there = asked(("it has expired",), "ab", (keyslots.Known(0, "recovery", "1", keyslots.RECOVERY, (31,), None, "ab", (GOOD,)),))
    assert keyslots.plan_keyslots([there]) == []
    told = plan.report_recovery([there], ())
    assert told["warnings"] == ["it has expired"]
    (key,) = told["recovery_keys"]
    assert (key["keyslot"], key["path"], key["sha256"], key["recipients"]) == (31, "/r.asc", "ab", [GOOD])


def test_the_digest_of_one_to_be_made_nobody_knows() -> None:
    due = asked(sha256="of an old one")
    (key,) = plan.report_recovery([due], keyslots.plan_keyslots([due]))["recovery_keys"]
    assert (key["keyslot"], key["sha256"]) == (31, None)
