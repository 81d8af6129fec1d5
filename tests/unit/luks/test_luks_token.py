# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tokens are enrolled and which go: from tokens recorded from real headers, and from every state that a cut can leave."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import plan_tokens as plan
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.cryptenroll import options
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import Device, Header, Keyslot, Pbkdf, Work
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.sysfs import Sysfs

FIXTURES = Path(__file__).parents[1] / "fixtures/luks"
ARGON = Pbkdf("argon2id", "", 4, 32, 1)
RANDOM = Pbkdf("pbkdf2", "sha512", 1000)
MEANS = plan.Means(
    257, frozenset({"tpm2", "fido2", "pkcs11"}), (2,), {"tpm2": (0, "/dev/tpmrm0"), "fido2": (0, "/dev/hidraw1")}, frozenset(plan.PINS)
)


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text())
    return found


def found(token: dict[str, Any], number: int = 0) -> plan.FoundToken:
    seen = plan.found_token(number, token)
    assert seen is not None
    return seen


def wanted(kind: str = "tpm2", **params: Any) -> plan.WantedToken:
    given_ = {"device": "/dev/x", "kind": kind, "state": "present", **params}
    return plan.wanted_token(given_, Secret(b"known"))


def header(*slots: Keyslot, **fields: Any) -> Header:
    return replace(Header("luks2", "u", "", "", 3, "aes-xts-plain64", 512, 512, 1 << 24, slots), **fields)


def slot(number: int, pbkdf: Pbkdf = RANDOM) -> Keyslot:
    return Keyslot(number, "luks2", "normal", 512, "aes-xts-plain64", pbkdf)


PASSPHRASE = slot(0, ARGON)


def volume(
    asked: list[plan.WantedToken], tokens: list[plan.FoundToken] | None = None, slots: list[Keyslot] | None = None, **fields: Any
) -> plan.TokenVolume:
    tokens = tokens or []
    used = sorted({number for token in tokens for number in token.keyslots})
    head = fields.pop("header", header(*([PASSPHRASE, *map(slot, used)] if slots is None else slots)))
    device = Device("/dev/x", 1 << 27, True, fields.pop("read_only", False), head, None)
    taken = tuple(number for token in tokens for number in token.keyslots)
    given_ = {"means": MEANS, "opens": True, "taken": taken, **fields}
    return plan.TokenVolume("/dev/x", "/dev/x", device, tuple(asked), tuple(tokens), **given_)


def tpm(number: int, *pcrs: int, keyslot: int | None = None, **fields: Any) -> plan.FoundToken:
    return plan.FoundToken(number, "tpm2", (number + 1 if keyslot is None else keyslot,), pcrs, "sha256", **{"with_pin": False, **fields})


def steps(*volumes: plan.TokenVolume) -> list[tuple[str, Any]]:
    told = []
    for step in plan.plan_tokens(volumes):
        change = step.detail
        told.append((step.action, change.token.number if change.token else change.keyslots or str(change.wanted or "")))
    return told


# --- what is recorded --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["252", "257"])
def test_a_tpm2_token_is_read(version: str) -> None:
    token = found(recorded(f"systemd-{version}-tpm2-token"))
    assert (token.kind, token.keyslots, token.pcrs, token.bank, token.with_pin) == ("tpm2", (1,), (7,), "sha256", False)
    assert wanted(tpm2_pcrs=[7]).matches(token)
    assert wanted(tpm2_pcrs=[7, 7], tpm2_pcr_bank="sha256").matches(token)
    for other in (
        {"tpm2_pcrs": []},
        {"tpm2_pcrs": [7, 8]},
        {"tpm2_pcrs": [7], "tpm2_pcr_bank": "sha1"},
        {"tpm2_pcrs": [7], "tpm2_pin": "1"},
    ):
        assert not wanted(**other).matches(token)
    assert str(token) == "tpm2: PCRs 7 of sha256"


def test_a_pkcs11_token_is_read() -> None:
    token = found(recorded("systemd-257-pkcs11-token"))
    assert wanted("pkcs11", pkcs11_uri="pkcs11:object=disk;token=disk?module-name=x").matches(token)
    assert not wanted("pkcs11", pkcs11_uri="pkcs11:object=other;token=disk").matches(token)


@pytest.mark.parametrize(("flags", "same"), [((True, True, False), True), ((False, True, False), False), ((True, True, True), False)])
def test_a_fido2_token_is_known_by_its_flags(flags: tuple[bool, bool, bool], same: bool) -> None:
    names = ("fido2-clientPin-required", "fido2-up-required", "fido2-uv-required")
    token = found({"type": "systemd-fido2", "keyslots": ["2"], **dict(zip(names, flags, strict=True))})
    assert wanted("fido2").matches(token) is same


TANG = {"clevis_pin": "tang"}
URL = "http://127.0.0.1"


@pytest.mark.parametrize("version", ["16", "20"])
def test_a_token_of_clevis_is_read_with_the_thumbprint_of_its_server(version: str) -> None:
    told = recorded(f"clevis-{version}-tokens")
    token = found(told["tang"])
    assert wanted("clevis", **TANG, clevis_config={"url": URL, "thp": told["thumbprint"]}).matches(token)
    assert wanted("clevis", **TANG, clevis_config={"url": f"{URL}/", "thp": told["thumbprint"]}).matches(token)
    for config in ({"url": URL, "thp": "x" + told["thumbprint"][1:]}, {"url": "http://other", "thp": told["thumbprint"]}):
        assert not wanted("clevis", **TANG, clevis_config=config).matches(token)
    assert str(token) == f"clevis: tang {URL}"


@pytest.mark.parametrize("version", ["16", "20"])
def test_a_threshold_of_clevis_is_read(version: str) -> None:
    told = recorded(f"clevis-{version}-tokens")
    token, thp = found(told["sss"]), told["thumbprint"]
    servers = [{"url": f"{URL}:80", "thp": thp}, {"url": URL, "thp": thp}]
    asked = {"t": 1, "pins": {"tang": servers}}
    assert wanted("clevis", clevis_pin="sss", clevis_config=asked).matches(token)
    for other in (
        {"t": 2, "pins": {"tang": servers}},
        {"t": 1, "pins": {"tang": servers[:1]}},
        {"t": 1, "pins": {"tang": [*servers, servers[0]]}},
    ):
        assert not wanted("clevis", clevis_pin="sss", clevis_config=other).matches(token)
    assert str(token) == f"clevis: sss 1 of (tang {URL}; tang {URL}:80)"


def clevis_tpm2(**kept: Any) -> dict[str, Any]:
    text = json.dumps({"clevis": {"pin": "tpm2", "tpm2": {"hash": "sha256", "key": "ecc", **kept}}})
    return {"type": "clevis", "keyslots": ["1"], "jwe": {"protected": base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")}}


@pytest.mark.parametrize(
    ("asked", "kept", "same"),
    [
        ({"pcr_ids": "7,1"}, {"pcr_bank": "sha256", "pcr_ids": "1,7"}, True),
        ({"pcr_ids": [7, 1], "pcr_bank": "sha256"}, {"pcr_bank": "sha256", "pcr_ids": "1,7"}, True),
        ({"pcr_ids": 7}, {"pcr_bank": "sha1", "pcr_ids": "7"}, True),
        ({"pcr_ids": 7, "pcr_bank": "sha256"}, {"pcr_bank": "sha1", "pcr_ids": "7"}, False),
        ({"pcr_ids": ""}, {}, True),
        ({"pcr_ids": ""}, {"pcr_ids": "7"}, False),
        ({"pcr_ids": "", "key": "rsa"}, {}, False),
    ],
)
def test_a_tpm2_policy_of_clevis_is_compared(asked: dict[str, Any], kept: dict[str, Any], same: bool) -> None:
    assert wanted("clevis", clevis_pin="tpm2", clevis_config=asked).matches(found(clevis_tpm2(**kept))) is same


def test_a_token_that_cannot_be_read_matches_nothing_but_the_kind() -> None:
    token = found({"type": "clevis", "keyslots": ["1"], "jwe": {"protected": "!"}})
    assert not wanted("clevis", **TANG, clevis_config={"url": URL, "thp": "t"}).matches(token)
    assert wanted("clevis", state="absent").matches(token)
    assert plan.found_token(3, {"type": "luks2-keyring", "keyslots": ["1"]}) is None


def test_a_jwe_survives_the_way_into_a_token_and_out() -> None:
    told = recorded("clevis-20-tokens")["tang"]
    assert plan.clevis_token(1, plan.compact_jwe(told)) == told


def test_the_thumbprint_of_rfc_7638() -> None:
    key = {
        "kty": "RSA", "e": "AQAB", "alg": "RS256", "kid": "2011-04-29",
        "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W"
        "-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt"
        "-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    }  # fmt: skip
    assert plan.thumbprints(key)[0] == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


# --- what is asked for -------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no kind": ({"kind": None}, "what is to open"),
    "PCRs not said": ({}, "to which PCRs"),
    "a PCR that no TPM has": ({"tpm2_pcrs": [24]}, "no PCR 24"),
    "an empty PIN": ({"tpm2_pcrs": [], "tpm2_pin": ""}, "empty"),
    "a PIN of two lines": ({"tpm2_pcrs": [], "tpm2_pin": "1\n2"}, "more than one line"),
    "no URI": ({"kind": "pkcs11"}, "pkcs11: URI"),
    "whatever is plugged in": ({"kind": "pkcs11", "pkcs11_uri": "auto"}, "pkcs11: URI"),
    "no pin of clevis": ({"kind": "clevis"}, "which pin"),
    "trust on first use": ({"kind": "clevis", **TANG, "clevis_config": {"url": URL}}, "first use"),
    "no url": ({"kind": "clevis", **TANG, "clevis_config": {"thp": "x"}}, "no url"),
    "clevis with PCRs not said": ({"kind": "clevis", "clevis_pin": "tpm2", "clevis_config": {}}, "to which PCRs"),
    "a threshold too high": (
        {"kind": "clevis", "clevis_pin": "sss", "clevis_config": {"t": 2, "pins": {"tpm2": {"pcr_ids": ""}}}},
        "threshold 2",
    ),
    "trust on first use inside": (
        {"kind": "clevis", "clevis_pin": "sss", "clevis_config": {"t": 1, "pins": {"tang": [{"url": URL}]}}},
        "first use",
    ),
    "an unknown pin inside": ({"kind": "clevis", "clevis_pin": "sss", "clevis_config": {"t": 1, "pins": {"null": {}}}}, "not one of"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_complete_or_not_safe_is_refused(case: str) -> None:
    params, reason = REFUSED[case]
    with pytest.raises(RootOfTrustError, match=reason):
        wanted(**params)


@pytest.mark.parametrize("kind", list(plan.TYPES))
def test_the_kind_alone_is_enough_to_remove(kind: str) -> None:
    assert wanted(kind, state="absent").state == "absent"


def test_what_systemd_is_told() -> None:
    assert options(wanted(tpm2_pcrs=[])) == ["--tpm2-device=auto", "--tpm2-pcrs="]
    assert options(wanted(tpm2_pcrs=[11, 7])) == ["--tpm2-device=auto", "--tpm2-pcrs=7+11"]
    assert options(wanted(tpm2_pcrs=[7, 8], tpm2_pcr_bank="sha1", tpm2_pin="1"))[1:] == ["--tpm2-pcrs=7:sha1+8:sha1", "--tpm2-with-pin=yes"]
    assert options(wanted("fido2", fido2_with_pin=False)) == [
        "--fido2-device=auto", "--fido2-with-client-pin=no", "--fido2-with-user-presence=yes", "--fido2-with-user-verification=no",
    ]  # fmt: skip
    assert options(wanted("pkcs11", pkcs11_uri="pkcs11:token=a")) == ["--pkcs11-token-uri=pkcs11:token=a"]


def test_what_clevis_is_told() -> None:
    asked = {"t": 1, "pins": {"tpm2": {"pcr_ids": [7, 1]}, "tang": {"url": URL, "thp": "x"}}}
    assert json.loads(plan.clevis_argument("sss", asked)) == {
        "t": 1,
        "pins": {"tpm2": [{"pcr_ids": "1,7"}], "tang": [{"url": URL, "thp": "x"}]},
    }
    assert plan.clevis_argument("tpm2", {"pcr_ids": ""}) == "{}"


# --- the plan ----------------------------------------------------------------------------------------------------------

SEVEN = wanted(tpm2_pcrs=[7])
ONLY_SEVEN = wanted(tpm2_pcrs=[7], exclusive=True)
GONE = wanted(state="absent")
NEW = ("enrol", str(SEVEN))
NOTE = plan.Note(5, (0,), ())
CASES: dict[str, tuple[plan.TokenVolume, list[tuple[str, Any]]]] = {
    "nothing is there": (volume([SEVEN]), [NEW]),
    "it is there": (volume([SEVEN], [tpm(0, 7)]), []),
    "it is there and alive": (volume([SEVEN], [tpm(0, 7, alive=True)]), []),
    "another is there": (volume([SEVEN], [tpm(0, 8)]), [NEW]),
    "another is there, which goes after the proof": (volume([ONLY_SEVEN], [tpm(0, 8)]), [NEW, ("remove", 0)]),
    "there are two of them": (volume([SEVEN], [tpm(0, 7), tpm(1, 7)]), []),
    "there are two of them, one is enough": (volume([ONLY_SEVEN], [tpm(0, 7), tpm(1, 7)]), [("remove", 1)]),
    "both are asked for": (volume([ONLY_SEVEN, wanted(tpm2_pcrs=[8], exclusive=True)], [tpm(0, 7), tpm(1, 8)]), []),
    "it is dead": (volume([SEVEN], [tpm(0, 7, alive=False)]), [("remove", 0), NEW]),
    "one is dead, another lives": (volume([SEVEN], [tpm(0, 7, alive=False), tpm(1, 7, alive=True)]), [("remove", 0)]),
    "its keyslot is gone": (volume([SEVEN], [replace(tpm(0, 7), keyslots=())]), [("remove", 0), NEW]),
    "rubble of another kind": (volume([wanted("clevis", state="absent")], [replace(tpm(0, 7), keyslots=())]), []),
    "it is to go": (volume([GONE], [tpm(0, 7), tpm(1, 8)]), [("remove", 0), ("remove", 1)]),
    "one of two is to go": (volume([wanted(state="absent", tpm2_pcrs=[8])], [tpm(0, 7), tpm(1, 8)]), [("remove", 1)]),
    "one with a PIN goes": (volume([wanted(state="absent", tpm2_with_pin=True)], [tpm(0, 7), tpm(1, 7, with_pin=True)]), [("remove", 1)]),
    "it is gone": (volume([GONE]), []),
    # What cuts leave.
    "cut after the note": (volume([SEVEN], note=NOTE), [("clear", ""), NEW]),
    "cut after the keyslot": (volume([SEVEN], slots=[PASSPHRASE, slot(1)], note=NOTE), [("kill", (1,)), ("clear", ""), NEW]),
    "cut before the proof, alive": (volume([SEVEN], [tpm(0, 7, alive=True)], note=NOTE), [("clear", "")]),
    "cut before the proof, dead": (volume([SEVEN], [tpm(0, 7, alive=False)], note=NOTE), [("remove", 0), ("clear", ""), NEW]),
    "a passphrase was added after the cut": (volume([SEVEN], slots=[PASSPHRASE, slot(1, ARGON)], note=NOTE), [("clear", ""), NEW]),
    "the keyslot belongs to another's token": (
        volume([SEVEN], slots=[PASSPHRASE, slot(1)], taken=(1,), note=NOTE),
        [("clear", ""), NEW],
    ),
    "a keyslot without token and without note is nobody's business": (volume([SEVEN], slots=[PASSPHRASE, slot(1)]), [NEW]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_is_to_be_done(case: str) -> None:
    state, expected = CASES[case]
    assert steps(state) == expected


@pytest.mark.parametrize(("unlock", "said"), [(None, "needs a secret"), (Secret(b"x"), "does not open it")])
def test_a_dead_token_is_told_also_where_it_cannot_be_enrolled_anew(unlock: Secret | None, said: str) -> None:
    dead = replace(volume([replace(SEVEN, unlock=unlock)], [tpm(0, 7, alive=False)]), opens=False)
    with pytest.raises(RootOfTrustError, match=f"Token 0 of .* does not open the volume. .* {said}"):
        plan.plan_tokens([dead])


def test_a_dead_token_of_another_kind_stays_until_the_new_one_is_proven() -> None:
    config = {"url": URL, "thp": recorded("clevis-20-tokens")["thumbprint"]}
    token = replace(found(recorded("clevis-20-tokens")["tang"]), alive=False)
    assert [action for action, dummy in steps(volume([wanted("clevis", **TANG, clevis_config=config)], [token]))] == ["enrol", "remove"]


BY_TANG = wanted("clevis", **TANG, clevis_config={"url": URL, "thp": "x"})
BY_CLEVIS_TPM = wanted("clevis", clevis_pin="tpm2", clevis_config={"pcr_ids": ""})
BY_FIDO2 = wanted("fido2", fido2_pin="1")


def lists(kind: str, status: int, said: str) -> plan.Means:
    return replace(MEANS, answers={kind: (status, said)})


IMPOSSIBLE: dict[str, tuple[plan.TokenVolume, str]] = {
    "no header": (volume([SEVEN], header=None), "no LUKS header"),
    "LUKS1": (volume([SEVEN], header=replace(header(PASSPHRASE), type="luks1")), "LUKS1"),
    "a reencryption": (volume([SEVEN], header=header(PASSPHRASE, work=Work("encrypt", "backward", "datashift"))), "reencryption"),
    "a reencryption only begun": (volume([SEVEN], header=header(PASSPHRASE, requirements=("online-reencrypt-v2",))), "reencryption"),
    "a removal in a reencryption": (
        volume([GONE], [tpm(0, 7)], header=header(PASSPHRASE, slot(1), requirements=("online-reencrypt-v2",))),
        "reencryption",
    ),
    "read-only": (volume([SEVEN], read_only=True), "read-only"),
    "no secret": (volume([replace(SEVEN, unlock=None)]), "Give unlock"),
    "a wrong secret": (volume([SEVEN], opens=False), "does not open"),
    "33rd keyslot": (volume([SEVEN], slots=[slot(number) for number in range(32)]), "All 32 keyslots"),
    "Debian 11": (volume([SEVEN], means=plan.Means(tpms=(2,))), "systemd-cryptenroll is not installed"),
    "an old systemd": (volume([SEVEN], means=replace(MEANS, systemd=251)), "by the environment"),
    "no TPM": (volume([SEVEN], means=replace(MEANS, tpms=())), "has no TPM"),
    "TPM 1.2": (volume([SEVEN], means=replace(MEANS, tpms=(1,))), "version 1.2"),
    "a TPM that systemd does not see": (volume([SEVEN], means=lists("tpm2", 0, "No suitable TPM2 devices found.")), "cannot use"),
    "no library": (volume([SEVEN], means=lists("tpm2", 1, "TPM2 support is not installed.")), "libtss2"),
    "no handler": (volume([SEVEN], means=replace(MEANS, handlers=frozenset())), "no handler"),
    "a bank on Debian 12": (volume([wanted(tpm2_pcrs=[7], tpm2_pcr_bank="sha1")], means=replace(MEANS, systemd=252)), "bank"),
    "a PIN that is missing": (volume([wanted(tpm2_pcrs=[7], tpm2_with_pin=True)]), "PIN, but none is given"),
    "no authenticator": (volume([BY_FIDO2], means=lists("fido2", 0, "No FIDO2 devices found.")), "no FIDO2"),
    "no library for it": (volume([BY_FIDO2], means=lists("fido2", 1, "FIDO2 tokens not supported")), "no FIDO2"),
    "its PIN on Debian 12": (volume([BY_FIDO2], means=replace(MEANS, systemd=252)), "by the environment"),
    "a PKCS#11 PIN on Debian 12": (
        volume([wanted("pkcs11", pkcs11_uri="pkcs11:token=a", pkcs11_pin="1")], means=replace(MEANS, systemd=252)),
        "by the environment",
    ),
    "no clevis": (volume([BY_TANG], means=plan.Means()), "clevis is not installed"),
    "clevis without the pin": (
        volume([BY_CLEVIS_TPM], means=replace(MEANS, clevis=frozenset({"tang"}))),
        "no pin tpm2",
    ),
    "clevis without a TPM": (volume([BY_CLEVIS_TPM], means=replace(MEANS, tpms=())), "has no TPM"),
    "the last way in": (volume([GONE], [tpm(0, 7)], slots=[slot(1)]), "Nothing would be left"),
    "the last way in beside a dead one": (
        volume([wanted(state="absent", tpm2_pcrs=[8])], [replace(tpm(0, 7), alive=False), tpm(1, 8)], slots=[slot(1), slot(2)]),
        "Nothing would be left",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_cannot_be_is_refused_before_the_first_step(case: str) -> None:
    state, reason = IMPOSSIBLE[case]
    with pytest.raises(RootOfTrustError, match=reason):
        plan.plan_tokens([state])


def test_during_a_reencryption_nothing_is_wrong_where_nothing_is_to_be_done() -> None:
    working = header(PASSPHRASE, slot(1), requirements=("online-reencrypt-v2",))
    assert steps(volume([SEVEN], [tpm(0, 7)], header=working)) == []


def test_the_note_is_read_as_it_was_written() -> None:
    assert plan.found_note(4, plan.note([3, 0], [1])) == plan.Note(4, (0, 3), (1,))
    assert plan.found_note(4, {"type": "systemd-tpm2", "keyslots": []}) is None


# --- any order of cuts: a model of a device, on which each step is done or cut ------------------------------------------------


class Disk:
    """A header on which enrolment and removal are done as tokens.py does them, and may be cut after each write."""

    def __init__(self, asked: list[plan.WantedToken]) -> None:
        self.asked = asked
        self.slots: dict[int, Pbkdf] = {0: ARGON}
        self.tokens: dict[int, plan.FoundToken] = {}
        self.note: plan.Note | None = None
        self.left = 0

    def state(self) -> plan.TokenVolume:
        tokens = list(self.tokens.values())
        seen = volume(self.asked, tokens, [slot(number, pbkdf) for number, pbkdf in sorted(self.slots.items())], note=self.note)
        return replace(seen, found=tuple(replace(token, alive=True) if token in seen.unproven else token for token in tokens))

    def write(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise InterruptedError

    def do(self, change: plan.Change, action: str) -> None:
        if action == "enrol":
            assert change.wanted is not None
            self.write()
            self.note = plan.Note(99, tuple(self.slots), tuple(self.tokens))
            keyslot = min(set(range(32)) - set(self.slots))
            self.write()
            self.slots[keyslot] = RANDOM
            number = min(set(range(32)) - set(self.tokens))
            self.write()
            self.tokens[number] = tpm(number, *(change.wanted.pcrs or ()), keyslot=keyslot)
            self.write()
            self.note = None
        elif action == "clear":
            self.write()
            self.note = None
        else:
            for number in change.keyslots:
                self.write()
                del self.slots[number]
                self.tokens = {
                    key: replace(token, keyslots=tuple(one for one in token.keyslots if one != number))
                    for key, token in self.tokens.items()
                }
            if change.token is not None:
                self.write()
                del self.tokens[change.token.number]

    def run(self, writes: int) -> bool:
        self.left = writes
        try:
            for step in plan.plan_tokens([self.state()]):
                self.do(step.detail, step.action)
                assert 0 in self.slots, "the passphrase is there at every moment"
        except InterruptedError:
            return False
        return True


@settings(max_examples=150)
@given(
    wishes=st.lists(st.tuples(st.lists(st.sampled_from([0, 7, 8]), max_size=2), st.booleans(), st.booleans()), min_size=1, max_size=4),
    cuts=st.lists(st.integers(0, 7), max_size=8),
)
def test_wherever_runs_are_cut_the_next_one_leads_to_the_goal(wishes: list[tuple[list[int], bool, bool]], cuts: list[int]) -> None:
    disk = Disk([])
    for pcrs, exclusive, absent in wishes:
        disk.asked = [wanted(tpm2_pcrs=pcrs, state="absent" if absent else "present", exclusive=exclusive)]
        for writes in cuts:
            disk.run(writes)
        assert disk.run(1000)
        assert steps(disk.state()) == []
        assert disk.note is None
        matched = [token for token in disk.tokens.values() if disk.asked[0].matches(token)]
        assert bool(matched) is not absent
        assert set(disk.slots) == {0, *(number for token in disk.tokens.values() for number in token.keyslots)}, "no orphan"
        assert all(token.keyslots for token in disk.tokens.values())


# --- what is told ------------------------------------------------------------------------------------------------------


def test_the_report_before_and_after() -> None:
    before = volume([ONLY_SEVEN], [tpm(0, 8)])
    told = plan.report_tokens([before], plan.plan_tokens([before]))
    assert [(one["token"], one["description"]) for one in told["tokens"]] == [(None, "tpm2: PCRs 7")]
    after = volume([SEVEN], [tpm(1, 7), tpm(2)], remarks=("the firmware …",))
    told = plan.report_tokens([after], ())
    assert [(one["token"], one["keyslots"]) for one in told["tokens"]] == [(1, (2,))]
    assert told["warnings"][0] == "the firmware …"
    assert "token 2 (tpm2: no PCRs) too" in told["warnings"][1]


def test_no_secret_is_in_a_step() -> None:
    (step,) = plan.plan_tokens([volume([wanted(tpm2_pcrs=[7], tpm2_pin="98765")])])
    assert "98765" not in repr(step)
    assert "known" not in repr(step.detail.wanted.unlock)


def test_the_versions_of_tpms(tmp_path: Path) -> None:
    assert Sysfs(str(tmp_path)).tpms() == ()
    for name, files in {"tpm0": {"tpm_version_major": "2\n"}, "tpm1": {"device/caps": "x"}, "tpm2": {}}.items():
        (tmp_path / "class/tpm" / name / "device").mkdir(parents=True)
        for file, text in files.items():
            (tmp_path / "class/tpm" / name / file).write_text(text)
    assert Sysfs(str(tmp_path)).tpms() == (2, 1, 2)
