# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done about a host key, and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys import parse, plan
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.model import (
    Access,
    AccessRule,
    Identity,
    KnownHost,
    Noted,
    Pair,
    Record,
    Served,
    ServerCheck,
    ServerSettings,
    State,
    Wanted,
    WantedKey,
)

RECORDED = Path(__file__).parents[1] / "fixtures/sshkeys"


def key(name: str = "10.6p1-ed25519") -> Any:
    return parse.parse_public((RECORDED / f"ssh-keygen-{name}.pub").read_text())[0]


ED25519, OTHER, RSA, DSA = key(), key("8.4p1-ed25519"), key("10.6p1-rsa"), key("8.4p1-dsa")
PRINT = parse.sha256_fingerprint(ED25519)
PATH = "/etc/ssh/ssh_host_ed25519_key"
WANT = WantedKey(type="ed25519", path=PATH)
GOOD = Pair(WANT, PATH, private=Access(0o600, 0, 0), public=Access(0o644, 0, 0), key=ED25519, published=ED25519, came=2000.0)
HERE = Identity(machine="m1", hardware=None, since=1000.0)
ASKED = Wanted(keys=(WANT,))


def noted(machine: str | None, hardware: str | None = None) -> Record:
    return Record(keys={PRINT: Noted(machine, hardware, "made", "2026-01-01T00:00:00Z", PATH)})


STATE = State(pairs=(GOOD,), identity=HERE, record=noted("m1"))


def state(pair: Pair = GOOD, **fields: Any) -> State:
    return replace(STATE, pairs=(pair,), **fields)


def reasons(found: State, asked: Wanted = ASKED) -> list[str]:
    return [reason.code for reason in plan.judge(found.pairs[0], found, asked)]


def actions(found: State, asked: Wanted = ASKED) -> list[str]:
    return [step.action for step in plan.plan_host_keys(found, asked)]


def test_a_good_key_that_is_noted_needs_nothing() -> None:
    assert (reasons(STATE), actions(STATE)) == ([], [])


MISSING = replace(GOOD, private=None, key=None, public=None, published=None, came=None)
CASES: dict[str, tuple[State, list[str], list[str]]] = {
    "missing": (state(MISSING), ["missing"], ["make"]),
    "missing with a public part": (state(replace(GOOD, private=None, key=None)), ["missing"], ["make"]),
    "unreadable": (state(replace(GOOD, key=None, fault="it is empty")), ["unreadable"], ["make"]),
    "wrong type": (state(replace(GOOD, key=RSA, published=RSA)), ["wrong_type"], ["make"]),
    "forced": (state(replace(GOOD, wanted=replace(WANT, force=True))), ["forced"], ["make"]),
    "too open": (state(replace(GOOD, private=Access(0o644, 0, 0))), ["wrong_mode"], ["protect"]),
    "another's": (state(replace(GOOD, private=Access(0o600, 1, 0))), ["wrong_mode"], ["protect"]),
    "public too open": (state(replace(GOOD, public=Access(0o666, 0, 0))), ["wrong_mode"], ["protect"]),
    "no public part": (state(replace(GOOD, public=None, published=None)), ["public_missing"], ["publish"]),
    "foreign public part": (state(replace(GOOD, published=OTHER)), ["public_mismatch"], ["publish"]),
    "garbage for a public part": (state(replace(GOOD, published=None)), ["public_mismatch"], ["publish"]),
    "several": (
        state(replace(GOOD, private=Access(0o644, 0, 0), public=None, published=None), record=Record()),
        ["wrong_mode", "public_missing"],
        ["protect", "publish", "adopt"],
    ),
    "left by a cut run": (state(replace(GOOD, leftovers=("/etc/ssh/.x",))), [], ["tidy"]),
    "left, and missing": (state(replace(MISSING, leftovers=("/etc/ssh/.x", "/etc/ssh/.y"))), ["missing"], ["tidy", "tidy", "make"]),
    "not noted": (state(record=Record()), [], ["adopt"]),
    "not noted, and nowhere to": (state(record=Record(writable=False)), [], []),
    "no machine-id": (state(record=Record(), identity=Identity(None, "h1", unknown="none.")), [], []),
}


@pytest.mark.parametrize("case", CASES)
def test_reasons_and_steps(case: str) -> None:
    found, codes, steps = CASES[case]
    assert (reasons(found), actions(found)) == (codes, steps)
    assert all(reason.text.endswith(".") and PATH in reason.text for reason in plan.judge(found.pairs[0], found, ASKED))


@pytest.mark.parametrize(
    ("size", "wanted_size", "small"),
    [(2048, None, False), (2048, 2048, False), (2048, 3072, True), (1024, None, True), (4096, 3072, False)],
)
def test_too_small(size: int, wanted_size: int | None, small: bool) -> None:
    rsa = replace(RSA, size=size)
    want = WantedKey(type="rsa", path=PATH, size=wanted_size)
    found = state(replace(GOOD, wanted=want, key=rsa, published=rsa), record=Record())
    assert reasons(found) == (["too_small"] if small else [])


def test_listed_by_either_fingerprint() -> None:
    for text in (PRINT, parse.md5_fingerprint(ED25519)):
        assert reasons(STATE, replace(ASKED, bad_fingerprints=frozenset({text}))) == ["listed"]
    assert reasons(STATE, replace(ASKED, bad_fingerprints=frozenset({parse.sha256_fingerprint(OTHER)}))) == []


def test_a_reason_that_regenerate_does_not_name_is_told_and_left() -> None:
    found = state(replace(GOOD, key=RSA, published=RSA), record=Record())
    asked = replace(ASKED, regenerate=frozenset({"unreadable"}))
    assert (reasons(found, asked), actions(found, asked)) == (["wrong_type"], ["adopt"])
    assert any("regenerate does not name wrong_type" in text for text in plan.warnings(found, asked))
    assert not any("regenerate" in text for text in plan.warnings(found, ASKED))


@pytest.mark.parametrize(
    ("then", "now", "clone"),
    [
        (("m1", None), ("m1", None), False),
        (("m1", None), ("m2", None), True),
        (("m1", "h1"), ("m1", "h1"), False),
        (("m1", "h1"), ("m2", "h1"), False),  # a new machine-id on the same hardware
        (("m1", "h1"), ("m1", "h2"), True),  # a raw copy that kept the machine-id
        (("m1", "h1"), ("m2", None), True),
        (("m1", None), ("m2", "h1"), True),
        (("m1", None), (None, "h1"), False),
        ((None, "h1"), ("m1", "h1"), False),
        ((None, "h1"), ("m1", "h2"), True),
        ((None, "h1"), ("m1", None), False),
    ],
)
def test_a_copy_is_known_by_the_note(then: tuple[str | None, str | None], now: tuple[str | None, str | None], clone: bool) -> None:
    found = state(record=noted(*then), identity=Identity(*now, since=1.0))
    assert reasons(found) == (["cloned"] if clone else [])
    assert actions(found) == (["make"] if clone else [])
    late = replace(found, identity=replace(found.identity, since=9e9))
    assert reasons(late) == reasons(found), "with a note, times do not count"


@pytest.mark.parametrize(("came", "clone"), [(1000.0, False), (996.0, False), (994.0, True), (0.0, True), (9e9, False), (-9e18, True)])
def test_without_a_note_the_time_decides(came: float, clone: bool) -> None:
    found = state(replace(GOOD, came=came), record=Record())
    assert reasons(found) == (["cloned"] if clone else [])
    assert actions(found) == (["make"] if clone else ["adopt"])


def test_a_copy_that_is_to_stay_is_not_adopted() -> None:
    found = state(replace(GOOD, came=0.0), record=Record())
    assert actions(found, replace(ASKED, regenerate=frozenset())) == []


def test_removal() -> None:
    gone = replace(WANT, state="absent")
    assert actions(state(replace(GOOD, wanted=gone))) == ["remove"]
    assert actions(state(replace(GOOD, wanted=gone, private=None, key=None))) == ["remove"]
    assert actions(state(replace(MISSING, wanted=gone, folder="missing"))) == []


def test_what_cannot_be_done_is_an_error_before_anything_is() -> None:
    broken = ServerCheck(valid=False, error="line 3: NoSuchOption")
    with pytest.raises(RootOfTrustError, match="NoSuchOption"):
        plan.plan_host_keys(state(MISSING, check=broken), ASKED)
    assert actions(state(replace(GOOD, public=None), check=broken)) == ["publish"], "this does not need the server"
    with pytest.raises(RootOfTrustError, match="does not exist"):
        plan.plan_host_keys(state(replace(MISSING, folder="missing")), ASKED)
    with pytest.raises(RootOfTrustError, match="read-only"):
        plan.plan_host_keys(state(replace(MISSING, folder="read-only")), ASKED)
    assert actions(state(replace(GOOD, folder="read-only"))) == []
    unknown = replace(MISSING, wanted=WantedKey(type="", path="/etc/ssh/x"))
    with pytest.raises(RootOfTrustError, match="/etc/ssh/x"):
        plan.plan_host_keys(state(unknown), ASKED)


def test_either_access_is_right_where_the_group_exists() -> None:
    rule = AccessRule(private=(Access(0o640, 0, 99), Access(0o600, 0, 0)))
    for access, codes in ((Access(0o640, 0, 99), []), (Access(0o600, 0, 0), []), (Access(0o640, 0, 0), ["wrong_mode"])):
        assert reasons(state(replace(GOOD, private=access), rule=rule)) == codes


def test_the_report_of_a_check_run_does_not_invent_a_key() -> None:
    found = replace(state(replace(GOOD, wanted=replace(WANT, force=True))), asked=ASKED)
    (entry,) = plan.report_host_keys(found, plan.plan_host_keys(found, ASKED))["keys"]
    assert (entry["fingerprint"], entry["public_key"], entry["sshfp"]) == (None, None, [])
    assert (entry["made"], entry["previous_fingerprint"], entry["size"]) == (True, PRINT, 256)


def test_the_report_of_a_real_run_has_the_reasons_of_its_beginning() -> None:
    first = state(MISSING)
    now = replace(STATE, first=first, asked=ASKED)
    (entry,) = plan.report_host_keys(now, ())["keys"]
    assert ([reason["code"] for reason in entry["reasons"]], entry["made"], entry["fingerprint"]) == (["missing"], True, PRINT)


# --- which keys


def settings(*paths: str) -> ServerSettings:
    return ServerSettings(host_keys=paths, ports=(22,), listens=())


USUAL = [f"/etc/ssh/ssh_host_{kind}_key" for kind in ("rsa", "ecdsa", "ed25519")]
QUANTUM = "/etc/ssh/ssh_host_mldsa44_ed25519_key"


@pytest.mark.parametrize(
    ("listed", "there", "fips", "expected"),
    [
        (USUAL, set(USUAL), False, [("rsa", USUAL[0]), ("ecdsa", USUAL[1]), ("ed25519", USUAL[2])]),
        (USUAL, {USUAL[2]}, False, [("ed25519", USUAL[2])]),
        (USUAL, set(), True, [("rsa", USUAL[0]), ("ecdsa", USUAL[1])]),
        ([*USUAL, QUANTUM], set(USUAL), False, [("rsa", USUAL[0]), ("ecdsa", USUAL[1]), ("ed25519", USUAL[2])]),
        ([*USUAL, QUANTUM], {QUANTUM}, False, [("mldsa44-ed25519", QUANTUM)]),
        ([USUAL[0]], set(), False, [("rsa", USUAL[0])]),
        ([*USUAL, "/x/key"], {"/x/key"}, False, [("rsa", USUAL[0]), ("ecdsa", USUAL[1]), ("ed25519", USUAL[2]), ("", "/x/key")]),
        ([], set(), False, [("rsa", USUAL[0]), ("ecdsa", USUAL[1]), ("ed25519", USUAL[2])]),
    ],
)
def test_the_keys_of_the_server(listed: list[str], there: set[str], fips: bool, expected: list[tuple[str, str]]) -> None:
    keys = plan.keys_of_server(settings(*listed), there.__contains__, WantedKey(type="", path="", comment="c"), fips)
    assert [(key.type, key.path) for key in keys] == expected
    assert {key.comment for key in keys} == {"c"}


# --- what the server presents


def test_presented_keys_are_compared_with_the_files() -> None:
    said = settings(PATH)
    same = plan.compare_served((GOOD,), [Served("127.0.0.1", 22, ED25519)])
    assert (same[0]["matches"], plan.served_faults((GOOD,), same, said)) == (True, [])
    other = plan.compare_served((GOOD,), [Served("127.0.0.1", 22, OTHER)])
    assert other[0]["matches"] is False
    assert "reloaded" in plan.served_faults((GOOD,), other, said)[0]
    unasked = plan.compare_served((GOOD,), [Served("127.0.0.1", 22, RSA)])
    assert unasked[0]["matches"] is None
    assert len(plan.served_faults((GOOD,), unasked, said)) == 1, "its own key is not presented"
    assert plan.served_faults((GOOD,), unasked, replace(said, algorithms=("rsa-sha2-512",))) == [], "and need not be"
    assert plan.served_faults((GOOD,), unasked, settings("/other")) == []
    assert plan.served_faults((GOOD,), [], said) == ["The server presented no host key."]


# --- known_hosts


def lines(*words: str) -> str:
    return "".join(f"{word}\n" for word in words)


A, B = parse.public_text(ED25519), parse.public_text(RSA)


@pytest.mark.parametrize(
    ("before", "host", "after"),
    [
        ("", KnownHost(("a", "b"), keys=(ED25519, RSA)), lines(f"a,b {A}", f"a,b {B}")),
        (lines(f"a {A}"), KnownHost(("a", "b"), keys=(ED25519,)), lines(f"a {A}", f"b {A}")),
        (lines(f"a,c {B}", f"A {A}"), KnownHost(("a",), keys=(ED25519,)), lines(f"c {B}", f"A {A}")),
        (lines(f"a {B}"), KnownHost(("a",), keys=(ED25519,), exclusive=False), lines(f"a {B}", f"a {A}")),
        (lines(f"a {B}", f"[a]:2222 {B}"), KnownHost(("a",), port=2222, state="absent"), lines(f"a {B}")),
        (f"x {B}", KnownHost(("a",), keys=(ED25519,)), lines(f"x {B}", f"a {A}")),
        (lines(f"@revoked a {B}", f"*a,!a {B}", "# a"), KnownHost(("a",), state="absent"), lines(f"@revoked a {B}", f"*a,!a {B}", "# a")),
    ],
)
def test_known_hosts_are_edited(before: str, host: KnownHost, after: str) -> None:
    assert plan.edit_known_hosts(before, host) == after
    assert plan.edit_known_hosts(after, host) == after


def test_hashed_names_are_found_again() -> None:
    host = KnownHost(("a", "b"), keys=(ED25519, RSA))
    text = plan.edit_known_hosts("", host, lambda pattern: parse.hash_pattern(pattern, b"0123456789" * 2))
    assert text.count("|1|") == 4
    assert plan.edit_known_hosts(text, host) == text
    assert plan.edit_known_hosts(text, KnownHost(("a",), state="absent")).count("|1|") == 2


@pytest.mark.parametrize(
    "options",
    [
        {"names": []},
        {"names": ["a b"]},
        {"names": ["a,b"]},
        {"names": ["!a"]},
        {"names": ["|1|x|y"]},
        {"names": ["#a"]},
        {"names": ["a?"]},
        {"names": ["[a]"]},
        {"names": ["a\n"]},
        {"names": ["a"], "port": 0},
        {"names": ["a"], "keys": []},
        {"names": ["a"], "keys": ["ssh-rsa"]},
    ],
)
def test_a_wrong_host_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(RootOfTrustError):
        plan.known_host({"keys": [A], "state": "present", **options})


def test_a_key_twice_is_one() -> None:
    assert plan.known_host({"names": ["A", "a"], "keys": [A, A + " comment", None, ""]}).keys == (ED25519, None)
