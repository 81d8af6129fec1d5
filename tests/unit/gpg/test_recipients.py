# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Those to whom something is to be encrypted."""

from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.plan_recipients import Recipient, faults, recipient

RECORDED = Path(__file__).parents[1] / "fixtures/gpg"
GOOD = "935E3F73FC998DCA7105D9E8181149305300889F"


def recorded(version: str, case: str) -> str:
    return (RECORDED / f"gpg-{version}-{case}.txt").read_text()


@pytest.mark.parametrize("version", ["2.2.27", "2.4.7"])
def test_recipients_are_read(version: str) -> None:
    assert recipient(recorded(version, "good"), 1, "the recovery key of /dev/x") == Recipient(GOOD, "good <g@x>")


@pytest.mark.parametrize("version", ["2.2.27", "2.4.7"])
@pytest.mark.parametrize(
    ("case", "fault"), [("exp", "has expired"), ("rev", "is revoked"), ("signonly", "has no encryption subkey that is in use")]
)
def test_what_nothing_can_be_encrypted_to(version: str, case: str, fault: str) -> None:
    found = recipient(recorded(version, case), 1, "the recovery key of /dev/x")
    assert found.fault == fault
    assert faults([found]) == (f"The OpenPGP key {found.fingerprint} ({found.user}) {fault}.",)


def test_an_expired_subkey_is_no_encryption_subkey_in_use() -> None:
    text = recorded("2.4.7", "good").replace(":::scESC:", ":::scSC:").replace("sub:-:", "sub:e:")
    assert recipient(text, 1, "the recovery key of /dev/x").fault == "has no encryption subkey that is in use"


def test_a_user_id_does_not_give_itself_out_for_a_key_that_is_not_revoked() -> None:
    text = recorded("2.4.7", "rev")
    forged = "tru:\u2028pub:-:\n" + text
    assert recipient(forged, 1).fault == recipient(text, 1).fault == "is revoked"


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
        recipient(text, 2, "the recovery key of /dev/x")
