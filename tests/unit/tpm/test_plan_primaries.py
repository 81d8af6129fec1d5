# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which persistent parents are made, evicted, kept and refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm import plan_primaries as plan
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.model import (
    NODA,
    STORAGE,
    Authorisations,
    Lockout,
    PersistentObject,
    Properties,
    PublicArea,
)

PARAMS: dict[str, Any] = {"handle": "0x81000001", "state": "present", "algorithm": None, "da_protection": False}
ECC = PublicArea("ecc", "sha256", STORAGE | {NODA}, symmetric="aes128cfb", curve="p256")
RSA = PublicArea("rsa", "sha256", STORAGE | {NODA}, symmetric="aes128cfb", bits=2048)
FRESH = Properties("IBM", "SW", "1.0.0.0", "1.38", Authorisations(False, False, False), Lockout(False, 0, 3, 1000, 1000), False, 5)


def primaries(*pairs: tuple[dict[str, Any], PublicArea | None], fits: bool | None = True, **facts: Any) -> plan.Primaries:
    wanted = tuple(plan.wanted_primary({**PARAMS, **params}) for params, _public in pairs)
    found = tuple(PersistentObject(one.handle, public, "000b") if public else None for one, (_p, public) in zip(wanted, pairs, strict=True))
    return plan.Primaries(wanted, found, replace(FRESH, **facts), owner_fits=fits)


def refused(found: plan.Primaries) -> str:
    with pytest.raises(RootOfTrustError) as error:
        plan.plan_primaries(found)
    return str(error.value)


def test_an_absent_key_is_made_and_a_present_one_kept() -> None:
    (step,) = plan.plan_primaries(primaries(({}, None)))
    assert (step.action, step.before["state"], step.after["state"], step.after["algorithm"]) == ("make", "absent", "present", "ecc256")
    assert step.detail.public == ECC
    (step,) = plan.plan_primaries(primaries(({"algorithm": "rsa2048"}, None)))
    assert step.detail.public == RSA
    for public in (ECC, RSA):
        assert plan.plan_primaries(primaries(({}, public), fits=None)) == []


def test_a_key_is_evicted_only_where_it_is_as_described() -> None:
    gone: dict[str, Any] = {"state": "absent"}
    (step,) = plan.plan_primaries(primaries((gone, ECC)))
    assert (step.action, step.before["algorithm"], step.after["algorithm"]) == ("evict", "ecc256", None)
    assert plan.plan_primaries(primaries((gone, None), fits=None)) == []
    assert "it is ecc256, not rsa2048" in refused(primaries(({**gone, "algorithm": "rsa2048"}, ECC)))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"attributes": STORAGE}, "it is not noda"),
        ({"attributes": ECC.attributes | {"sign"}}, "it is sign"),
        ({"attributes": ECC.attributes - {"fixedtpm"}}, "it is not fixedtpm"),
        ({"policy": "00" * 32}, "it has a policy"),
        ({"name_algorithm": "sha384"}, "it has its name by sha384, not sha256"),
        ({"symmetric": "aes256cfb"}, "it protects its children by aes256cfb, not aes128cfb"),
        ({"symmetric": ""}, "it protects its children by nothing"),
        ({"curve": "p384"}, "it is ecc384, not rsa2048 or ecc256"),
        ({"curve": "bn_p256"}, "it is ecc_bn_p256, not"),
        ({"type": "keyedhash"}, "it is keyedhash, not"),
    ],
)
def test_another_object_is_left_alone(changes: dict[str, Any], told: str) -> None:
    for state in ("present", "absent"):
        message = refused(primaries(({"state": state}, replace(ECC, **changes))))
        assert "At 0x81000001 lies another object than described" in message and told in message


def test_da_protection_is_part_of_what_it_is() -> None:
    under = replace(ECC, attributes=STORAGE)
    assert plan.plan_primaries(primaries(({"da_protection": True}, under), fits=None)) == []
    assert "is noda" in refused(primaries(({"da_protection": True}, ECC)))


def test_the_owner_authorisation_has_to_fit_where_something_is_to_be_done() -> None:
    owned = Authorisations(True, False, False)
    assert "is set, and none is given" in refused(primaries(({}, None), fits=None, authorisations=owned))
    wrong = replace(primaries(({}, None), fits=False, authorisations=owned), owner_given=True)
    assert "refuses the owner authorisation" in refused(wrong)
    assert plan.plan_primaries(primaries(({}, ECC), fits=None, authorisations=owned)) == [], "nothing to do, nothing needed"


def test_room_is_made_before_it_is_taken() -> None:
    new, old = ({"handle": "0x81000002"}, None), ({"state": "absent"}, ECC)
    assert [step.action for step in plan.plan_primaries(primaries(new, old, room=0))] == ["evict", "make"]
    assert "room for 0 more persistent objects, and 1 are to be made" in refused(primaries(new, room=0))


@pytest.mark.parametrize(
    ("handle", "told"),
    [
        ("0x80000001", "no persistent object's"),
        ("0x81800000", "the platform's"),
        ("0x82000000", "no persistent object's"),
        ("81000001x", "is no number"),
        ("-1", "is no number"),
        ("", "is no number"),
    ],
)
def test_a_handle_out_of_range_is_refused(handle: str, told: str) -> None:
    with pytest.raises(RootOfTrustError, match=told):
        plan.wanted_primary({**PARAMS, "handle": handle})


@given(st.integers(0x81000000, 0x817FFFFF))
def test_a_handle_is_the_same_however_it_is_written(handle: int) -> None:
    assert {plan.parse_handle(text) for text in (str(handle), f"{handle:#x}", f"0X{handle:X}")} == {handle}


def test_a_handle_asked_for_twice_is_refused() -> None:
    assert "more than once" in refused(primaries(({}, None), ({"handle": "2164260865"}, None)))


def test_the_report_tells_what_will_hold() -> None:
    found = primaries(({}, None), ({"handle": "0x81000002", "state": "absent"}, RSA))
    will = plan.report_primaries(found, plan.plan_primaries(found))["primaries"]
    assert [(one["handle"], one["state"], one["algorithm"], one["name"]) for one in will] == [
        ("0x81000001", "present", "ecc256", None),
        ("0x81000002", "absent", None, None),
    ]
    held = plan.report_primaries(primaries(({}, ECC), fits=None), ())
    assert held["primaries"][0]["name"] == "000b" and held["warnings"] == []
    locked = plan.report_primaries(primaries(({}, ECC), fits=None, lockout=Lockout(True, 3, 3, 1000, 1000)), ())
    assert "in lockout" in locked["warnings"][0]
