# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who has logged in by which key, from the journal; what others write into it breaks nothing and forges nothing."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys import plan_logins as plan

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl card"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f other"
(FINGERPRINT,) = plan.fingerprints([KEY])
ACCEPTED = f"Accepted publickey for bob from 192.0.2.1 port 4711 ssh2: ED25519 {FINGERPRINT}"


def entry(message: object, number: str = "0") -> str:
    """As journalctl writes it: signs beyond ASCII are as they are."""
    return json.dumps({"MESSAGE": message, "_UID": number}, ensure_ascii=False)


def test_log_ins_are_read() -> None:
    (login,) = plan.parse_logins(plan.parse_journal(f"{entry(ACCEPTED)}\n{entry(ACCEPTED)}\n"))
    assert (login.user, login.address, login.fingerprint) == ("bob", "192.0.2.1", FINGERPRINT)


@pytest.mark.parametrize("end", ["\u2028", "\u2029", "\x85"])
def test_a_name_with_what_ends_a_line_elsewhere_hides_nobody_s_log_in(end: str) -> None:
    """Whoever reaches the server may give any name."""
    text = "\n".join([entry(f"Invalid user a{end}b from 192.0.2.6 port 1"), entry(ACCEPTED)])
    assert plan.parse_journal(text) == [f"Invalid user a{end}b from 192.0.2.6 port 1", ACCEPTED]


@pytest.mark.parametrize("line", ["", "-- No entries --", "[]", "null", "7", entry([65, 255]), entry(ACCEPTED, "1000"), '{"_UID": "0"}'])
def test_what_is_no_entry_of_root_s_is_passed_over(line: str) -> None:
    assert plan.parse_journal(f"{line}\n{entry('x')}\n{line}") == ["x"]


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    plan.parse_logins(plan.parse_journal(text))


def test_a_user_is_proven_by_one_of_their_keys() -> None:
    logins = plan.parse_logins([ACCEPTED])
    bob, alice = {"user": "bob", "keys": [OTHER, KEY]}, {"user": "alice", "keys": [KEY]}
    told = plan.report_logins(logins, [bob, alice], False, ["password"])
    assert [(one["user"], one["proven"], one["seen"]) for one in told["users"]] == [("bob", True, [FINGERPRINT]), ("alice", False, [])]
    assert (told["proven"], told["passwords"]) == (False, ["password"])
    with pytest.raises(RootOfTrustError, match="has been seen of: alice"):
        plan.report_logins(logins, [bob, alice], True, None)
