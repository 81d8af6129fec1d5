# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done to tokens and key pairs, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11 import plan_pairs, plan_tokens
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.model import KeyObject, Slot, Token
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.parse import parse_key, parse_uri, return_value, token_flags

# CK_TOKEN_INFO.flags as the libraries tell them.
SOFTHSM_FREE = token_flags(0x001 | 0x20 | 0x400000 | 0x800000)
SOFTHSM = token_flags(0x42D)
OCK_FREE = token_flags(0x880045)
OCK = token_flags(0x44D)
FREE = Slot(0, "", "", Token("", "SoftHSM project", "SoftHSM v2", "", SOFTHSM_FREE, 4, 255))
ONE = Slot(5, "", "", Token("One", "SoftHSM project", "SoftHSM v2", "abcd", SOFTHSM, 4, 255))
OCK_SLOT = Slot(3, "", "", Token("softtok", "IBM", "Soft", "123", OCK_FREE, 4, 8))


def tokens(*slots: Slot, **options: Any) -> plan_tokens.Tokens:
    params = {"label": "One", "slot": None, "wipe": None, "so_pin": "58239057", "user_pin": "904728", **options}
    return plan_tokens.Tokens("/l.so", slots, (plan_tokens.wanted_token(params),))


def actions(*slots: Slot, **options: Any) -> list[str]:
    return [step.action for step in plan_tokens.plan_tokens(tokens(*slots, **options))]


def test_a_free_token_is_initialised_and_one_that_is_there_left() -> None:
    assert actions(FREE) == [plan_tokens.INITIALIZE, plan_tokens.INIT_PIN]
    assert actions(FREE, user_pin=None) == [plan_tokens.INITIALIZE]
    assert actions(ONE, FREE) == []
    assert plan_tokens.unhealthy(FREE) == plan_tokens.unhealthy(ONE) == []


def test_openCryptoki_s_default_pins_are_changed() -> None:
    assert actions(OCK_SLOT) == [plan_tokens.INITIALIZE, plan_tokens.CHANGE_SO_PIN, plan_tokens.INIT_PIN]
    assert actions(OCK_SLOT, so_pin="87654321") == [plan_tokens.INITIALIZE, plan_tokens.INIT_PIN]
    assert "default SO PIN" in plan_tokens.unhealthy(OCK_SLOT)[0]
    weak = replace(OCK_SLOT, token=replace(OCK_SLOT.token, label="One", flags=OCK | {"user_pin_to_be_changed"}))
    assert actions(weak) == [plan_tokens.INIT_PIN]
    assert "default user PIN" in plan_tokens.unhealthy(weak)[0]


SERIAL_LESS = replace(ONE, token=replace(ONE.token, label="Other", serial=""))


def flagged(*flags: str) -> Slot:
    return replace(ONE, token=replace(ONE.token, flags=ONE.token.flags | set(flags)))


@pytest.mark.parametrize(
    ("slots", "options", "message"),
    [
        ((replace(ONE, token=replace(ONE.token, label="Other")),), {"slot": 5}, "already initialised, as 'Other'"),
        ((replace(ONE, token=replace(ONE.token, label="Other")),), {"slot": 5, "wipe": "abc"}, "already initialised"),
        ((SERIAL_LESS,), {"wipe": ""}, "no free token"),
        ((SERIAL_LESS,), {"slot": 5, "wipe": ""}, "already initialised, as 'Other'"),
        ((FREE, replace(FREE, number=1)), {}, "2 free tokens, in the slots 0, 1"),
        ((), {}, "no free token"),
        ((Slot(3, "", ""),), {}, "slots without a token: 3"),
        ((ONE, replace(ONE, number=6)), {}, "Several tokens have the label"),
        ((FREE,), {"slot": 9}, "no token in slot 9"),
        ((FREE,), {"so_pin": None}, "needs the SO PIN"),
        ((FREE,), {"so_pin": "123"}, "has 3 bytes; it takes 4 to 255"),
        ((OCK_SLOT,), {"user_pin": "123456789"}, "has 9 bytes; it takes 4 to 8"),
        ((replace(FREE, token=replace(FREE.token, flags=FREE.token.flags | {"write_protected"})),), {}, "write-protected"),
    ],
)
def test_what_is_refused(slots: tuple[Slot, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(RootOfTrustError, match=message):
        actions(*slots, **options)


def test_a_token_is_wiped_by_its_serial_number_alone() -> None:
    other = replace(ONE, token=replace(ONE.token, label="Other"))
    assert actions(other, wipe="abcd") == [plan_tokens.INITIALIZE, plan_tokens.INIT_PIN]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("user_pin_locked",), "is locked"),
        (("user_pin_final_try",), "One more wrong user PIN locks"),
    ],
)
def test_a_pin_that_might_lock_is_not_tried(flags: tuple[str, ...], message: str) -> None:
    with pytest.raises(RootOfTrustError, match=message):
        plan_tokens.refuse_login(flagged(*flags), "One")
    assert plan_tokens.unhealthy(flagged(*flags)) != []


def test_a_token_that_keeps_no_pin_is_not_begun() -> None:
    old = replace(ONE, token=replace(ONE.token, model="TPM v1.1 Token", flags=ONE.token.flags - {"user_pin_initialized"}))
    with pytest.raises(RootOfTrustError, match="which does not keep its PINs"):
        actions(old)


def test_an_so_pin_that_might_lock_is_not_tried() -> None:
    without_pin = replace(ONE, token=replace(ONE.token, flags=(ONE.token.flags - {"user_pin_initialized"}) | {"so_pin_final_try"}))
    with pytest.raises(RootOfTrustError, match="locks the token 'One' for good"):
        actions(without_pin)
    with pytest.raises(RootOfTrustError, match="locks the token 'One' for good"):
        actions(flagged("so_pin_final_try"), label="Two", wipe="abcd")
    assert actions(replace(FREE, token=replace(FREE.token, flags=FREE.token.flags | {"so_pin_final_try"})), user_pin=None) == ["initialize"]


def test_one_without_a_serial_number_is_never_wiped() -> None:
    assert actions(FREE, wipe="") == [plan_tokens.INITIALIZE, plan_tokens.INIT_PIN], "what is empty names nothing"
    with pytest.raises(RootOfTrustError, match="It has no serial number by which it could be named"):
        plan_tokens.plan_tokens(replace(tokens(), slots=(SERIAL_LESS,), wanted=(plan_tokens.WantedToken("Two", 5, "", 8, 6),)))


PUBLIC = KeyObject(1, False, "k", b"\1", "nistp256", {})
PRIVATE = replace(PUBLIC, handle=2, private=True)


def pair(**options: Any) -> plan_pairs.WantedPair:
    params = {"label": "k", "id": None, "algorithm": "nistp256", "usage": ["sign"], "extractable": False, "state": "present", **options}
    return plan_pairs.wanted_pair(params)


def pairs(*keys: KeyObject, logged_in: bool = True, **options: Any) -> list[str]:
    return [step.action for step in plan_pairs.plan_pairs(plan_pairs.Pairs(ONE, keys, (pair(**options),), logged_in))]


def test_pairs() -> None:
    assert pairs() == [plan_pairs.GENERATE]
    assert pairs(PUBLIC, PRIVATE) == pairs(PUBLIC, logged_in=False) == []
    assert pairs(PUBLIC, PRIVATE, id="02") == [plan_pairs.GENERATE]
    assert pairs(PUBLIC, PRIVATE, id="01", state="absent") == pairs(PUBLIC, id="01", state="absent") == [plan_pairs.DESTROY]
    assert pairs(id="01", state="absent") == []
    hidden = replace(PRIVATE, algorithm="rsa")
    assert pairs(replace(PUBLIC, algorithm="rsa2048"), hidden, algorithm="rsa2048") == []


@pytest.mark.parametrize(
    ("keys", "options", "message"),
    [
        ((PUBLIC,), {}, "only the public key is on the token"),
        ((PRIVATE,), {}, "only the private key is on the token"),
        ((PUBLIC, PRIVATE, replace(PUBLIC, identity=b"\2")), {}, "their IDs are: 01, 02"),
        ((PUBLIC, PRIVATE), {"algorithm": "rsa2048"}, "is nistp256, not rsa2048"),
        ((), {"logged_in": False}, "needs the user PIN"),
        ((), {"label": " "}, "blank"),
        ((), {"label": "k "}, "blanks around it"),
        ((), {"label": "a\tb"}, "control characters"),
        ((), {"id": "1"}, "hexadecimal"),
        ((), {"state": "absent"}, "not named by its ID"),
        ((), {"algorithm": "ed25519", "usage": ["derive"]}, "can only sign"),
        ((), {"usage": ["decrypt"]}, "cannot decrypt"),
        ((), {"algorithm": "rsa2048", "usage": ["derive"]}, "nothing can be derived"),
    ],
)
def test_what_is_refused_of_pairs(keys: tuple[KeyObject, ...], options: dict[str, Any], message: str) -> None:
    with pytest.raises(RootOfTrustError, match=message):
        pairs(*keys, **options)


def test_a_token_that_is_yet_to_come_is_taken_for_empty() -> None:
    slot = plan_tokens.the_token_to_come((ONE,), "Two")
    to_come = plan_pairs.Pairs(slot, (), (pair(),), logged_in=False, token_due=True)
    (step,) = plan_pairs.plan_pairs(to_come)
    assert step.sentence.endswith("on the token Two.")
    assert plan_tokens.the_token_to_come((ONE,), "One") == ONE
    # Its user PIN is yet to come: the private keys are not seen, and not missed.
    assert plan_pairs.plan_pairs(replace(to_come, slot=ONE, keys=(PUBLIC,))) == []


def test_the_token_of_a_uri() -> None:
    uri = "pkcs11:model=PKCS%2315%20emulated;manufacturer=piv_II;serial=4c;token=A%20card%20%3B%3D;object=x;type=private?module-name=y"
    asked = parse_uri(uri)
    assert asked == {
        "model": "PKCS#15 emulated", "manufacturer": "piv_II", "serial": "4c", "token": "A card ;=", "object": "x", "type": "private"
    }  # fmt: skip
    card = Token("A card ;=", "piv_II", "PKCS#15 emulated", "4c", frozenset(), 4, 8)
    assert plan_tokens.is_meant(asked, card) and plan_tokens.is_meant(parse_uri("pkcs11:id=%01"), card)
    assert not any(plan_tokens.is_meant(asked, replace(card, **{name: "z"})) for name in ("label", "manufacturer", "model", "serial"))
    with pytest.raises(RootOfTrustError, match="is no PKCS#11 URI"):
        parse_uri("/dev/null")


def test_public_keys_are_told_in_an_order_that_stays_and_others_with_the_reason() -> None:
    good = KeyObject(1, False, "b", b"\2", "ed25519", {"point": bytes(32)})
    bad = KeyObject(3, False, "c", b"\3", "another curve", {})
    told = plan_pairs.report_ssh_keys(ONE, [bad, good, replace(good, identity=b"\1", label="a"), PRIVATE], [], [])
    assert [key["label"] for key in told["ssh_keys"]] == ["a", "b"]
    assert [key["label"] for key in told["others"]] == ["c"] and "no keys like" in told["others"][0]["reason"]
    assert len(plan_pairs.report_ssh_keys(ONE, [good], ["x"], [])["ssh_keys"]) == 0


def test_keys_and_return_values_that_are_not_known() -> None:
    told = {"handle": 1, "private": False, "type": 0x1F, "label": "x", "id": "", "attributes": {}}
    assert parse_key(told) is None
    assert (return_value(0xA0), return_value(0x80000001)) == ("CKR_PIN_INCORRECT", "CKR 0x80000001")
