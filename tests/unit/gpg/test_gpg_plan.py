# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plans for keys, carried out against a keyring in the test, cut after every step: the next plan leads to the goal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg import plan_keys as plan
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg import plan_public_keys as public
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.model import DAY, Key, Part, UserId
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.options import KEY_OPTIONS, PUBLIC_KEY_OPTIONS

NOW = 1_795_000_000
USER = "One <one@example.org>"


def asked(**options: Any) -> dict[str, Any]:
    """A module's parameters of one key, with its defaults."""
    defaults = {name: field.get("default") for name, field in KEY_OPTIONS.items()}
    return {**defaults, "user_ids": [USER], **options}


class World:
    """A keyring that does what the steps say."""

    def __init__(self, *params: dict[str, Any]) -> None:
        self.params, self.keys, self.files, self.exists, self.now, self.made = list(params), {}, {}, False, NOW, 0

    def ring(self) -> plan.Ring:
        wanted = tuple(
            replace(plan.wanted_key(one, self.now), backup_recipients=("R",) if one["backup_file"] else ()) for one in self.params
        )
        bare = plan.Ring("/home", self.exists, tuple(self.keys.values()), wanted, (), self.now)
        return replace(bare, files=tuple(self._files(bare, one) for one in wanted))

    def _files(self, ring: plan.Ring, wanted: plan.WantedKey) -> plan.Files:
        key = plan.find(ring, wanted)
        return plan.Files(
            self.files.get(wanted.public_key_file),
            self._export(key) if key is not None else None,
            self.files.get(wanted.backup_file),
            self.files.get(wanted.revocation_file),
        )

    @staticmethod
    def _export(key: Key) -> bytes:
        return repr((key.primary, key.subkeys, key.user_ids)).encode()

    def steps(self) -> list[Step]:
        return plan.plan_keys(self.ring())

    def apply(self, step: Step) -> None:
        if step.action == plan.HOME:
            self.exists = True
            return
        order: plan.Order = step.detail
        key = plan.find(self.ring(), order.wanted)
        if step.action == plan.MAKE:
            self.made += 1
            primary = self._part(order.part)
            self.keys[primary.fingerprint] = Key(primary, user_ids=(UserId(order.wanted.user_ids[0]),), trust="ultimate")
        elif step.action == plan.DELETE:
            del self.keys[key.fingerprint]
        elif step.action in (plan.BACKUP, plan.CERTIFICATE, plan.PUBLISH):
            content = {
                plan.BACKUP: plan.label(key, order.wanted.backup_recipients),
                plan.CERTIFICATE: key.fingerprint,
                plan.PUBLISH: self._export(key),
            }
            self.files[step.subject] = content[step.action]
        else:
            self.keys[key.fingerprint] = self._changed(step.action, order, key)

    def _part(self, part: plan.WantedPart) -> Part:
        self.made += 1
        return Part(f"{self.made:040X}", part.algorithm, part.usage, self.now, part.expires.at(self.now), secret="disk")

    def _changed(self, action: str, order: plan.Order, key: Key) -> Key:
        if action == plan.ADD_SUBKEY:
            return replace(key, subkeys=(*key.subkeys, self._part(order.part)))
        if action == plan.ADD_USER_ID:
            return replace(key, user_ids=(*(one for one in key.user_ids if one.text != order.text), UserId(order.text)))
        if action == plan.REVOKE_USER_ID:
            return replace(key, user_ids=tuple(replace(one, revoked=one.revoked or one.text == order.text) for one in key.user_ids))
        if action == plan.REVOKE_SUBKEY:
            gone = order.fingerprints[0]
            return replace(key, subkeys=tuple(replace(part, revoked=part.revoked or part.fingerprint == gone) for part in key.subkeys))
        if action == plan.TRUST:
            return replace(key, trust=order.text)
        if action == plan.REVOKE:
            return replace(key, primary=replace(key.primary, revoked=True))
        assert action == plan.EXTEND
        moment, which = order.part.expires.at(self.now), order.fingerprints[-1]
        parts = [replace(part, expires=moment) if part.fingerprint == which else part for part in key.parts]
        return replace(key, primary=parts[0], subkeys=tuple(parts[1:]))

    def finish(self) -> None:
        for step in self.steps():
            self.apply(step)


USAGES = st.sampled_from([["sign"], ["encrypt"], ["auth"]])
ENDS = st.sampled_from(["never", "30d", "1y", "2y", "2031-05-01"])
SUBKEYS = st.lists(
    st.fixed_dictionaries({"usage": USAGES}, optional={"expires": ENDS}), max_size=3, unique_by=lambda part: part["usage"][0]
)
WISHES = st.builds(
    asked,
    algorithm=st.sampled_from(["ed25519", "rsa3072", "nistp256"]),
    expires=ENDS,
    subkeys=st.one_of(
        st.none(),
        SUBKEYS,
    ),
    user_ids=st.lists(st.sampled_from([USER, "Two <two@example.org>", "three@example.org"]), min_size=1, max_size=3, unique=True),
    ownertrust=st.sampled_from([None, "full", "ultimate"]),
    public_key_file=st.sampled_from([None, "/p"]),
    revocation_file=st.sampled_from([None, "/r"]),
    backup_file=st.sampled_from([None, "/b"]),
)


@given(WISHES, st.integers(0, 12), st.integers(0, 900))
def test_a_plan_cut_anywhere_is_completed_by_the_next(wish: dict[str, Any], cut: int, days: int) -> None:
    if wish["backup_file"]:
        wish["backup_recipients"] = ["R"]
    world = World(wish)
    for step in world.steps()[:cut]:
        world.apply(step)
    world.finish()
    assert world.steps() == [], "a second run finds nothing to do"
    assert len(world.keys) == 1, "and there is one key, however often it was cut"
    world.now += days * DAY
    if wish["expires"] != "2031-05-01" and not any(part.get("expires") == "2031-05-01" for part in wish["subkeys"] or ()):
        world.finish()
        assert world.steps() == [] and len(world.keys) == 1
        assert not any(part.is_expired(world.now) for key in world.keys.values() for part in key.parts)


def test_renewed_once_also_where_that_is_due_at_once_again() -> None:
    world = World(asked(expires="20d", subkeys=[]))
    world.finish()
    world.params = [asked(expires="30d", renew_before="40d", subkeys=[])]
    assert [step.action for step in world.steps()] == [plan.EXTEND]
    world.finish()
    assert world.steps() == []
    world.now += DAY - 1
    assert world.steps() == []
    world.now += 1
    assert [step.action for step in world.steps()] == [plan.EXTEND]


@pytest.mark.parametrize(("days", "due"), [(700, False), (701, True), (729, True), (800, True)])
def test_renewed_thirty_days_before_the_end_by_default(days: int, due: bool) -> None:
    world = World(asked(subkeys=[]))
    world.finish()
    world.now += days * DAY
    assert bool(world.steps()) is due


def test_one_for_a_day_is_renewed_before_that_is_over() -> None:
    world = World(asked(expires="1d", subkeys=[]))
    world.finish()
    world.now += DAY - DAY // 4
    assert world.steps() == []
    world.now += 1
    assert [step.action for step in world.steps()] == [plan.EXTEND]
    world.finish()
    assert world.steps() == []
    world.params = [asked(expires="1d", renew_before="1d", subkeys=[])]
    world.now += DAY // 2 - 1
    assert world.steps() == [], "also where it is due at once again"


ESCROWED = {"backup_file": "/b", "backup_recipients": ["R"], "revocation_file": "/r"}


def test_the_backup_and_the_certificate_of_a_key_that_is_lost_are_kept() -> None:
    world = World(asked(**ESCROWED))
    world.finish()
    (lost,) = tuple(world.keys.values())
    kept = dict(world.files)
    world.keys = {}
    with pytest.raises(RootOfTrustError, match=f"/b has the backup of another key than that of .*: of {lost.fingerprint}, which is not in"):
        world.steps()
    del world.files["/b"]
    with pytest.raises(
        RootOfTrustError, match=f"/r is to have the revocation certificate of .*the certificate of another key, {lost.fingerprint}"
    ):
        world.steps()
    world.keys, world.files = {lost.fingerprint: lost}, kept
    assert world.steps() == [], "restored"
    world.keys, world.files = {}, {}
    world.finish()
    assert world.steps() == [] and len(world.keys) == 1, "or moved away"


@pytest.mark.parametrize("how", ["another algorithm", "revoked"])
def test_so_are_those_of_a_key_that_is_superseded(how: str) -> None:
    world = World(asked(**ESCROWED))
    world.finish()
    (old,) = tuple(world.keys.values())
    if how == "revoked":
        world.keys = {old.fingerprint: replace(old, primary=replace(old.primary, revoked=True))}
    else:
        world.params = [asked(**ESCROWED, algorithm="rsa2048")]
    with pytest.raises(RootOfTrustError) as caught:
        world.steps()
    assert old.fingerprint in caught.value.message and caught.value.remedy == "Move it away, or give another file."
    world.files = {}
    assert plan.MAKE in [step.action for step in world.steps()]


@pytest.mark.parametrize(("file", "message"), [("/b", "is no backup by this module"), ("/r", "has something other than a certificate")])
def test_a_file_with_something_else_is_not_overwritten(file: str, message: str) -> None:
    world = World(asked(**ESCROWED))
    world.files[file] = ""
    with pytest.raises(RootOfTrustError, match=message):
        world.steps()


def test_the_certificate_of_another_key_is_kept_when_one_is_revoked() -> None:
    world = World(asked(subkeys=[]))
    world.finish()
    (key,) = tuple(world.keys.values())
    world.params = [asked(fingerprint=key.fingerprint, state="revoked", revocation_file="/r")]
    world.files["/r"] = "F" * 40
    with pytest.raises(RootOfTrustError, match="the certificate of another key"):
        world.steps()
    world.files["/r"] = key.fingerprint[-16:]
    assert [step.action for step in world.steps()] == [plan.REVOKE], "one of old tells the key ID alone"
    world.finish()
    world.files["/r"] = "F" * 40
    assert world.steps() == [], "nothing is due"


def test_two_keys_have_no_file_in_common() -> None:
    two = [asked(**ESCROWED), asked(user_ids=["Two <two@example.org>"], revocation_file="/r")]
    with pytest.raises(RootOfTrustError, match="/r is asked for more than once"):
        World(*two).steps()


@pytest.mark.parametrize(
    ("part", "secret", "message"),
    [
        (0, "elsewhere", "primary key .*, which is not here"),
        (1, "card", "subkey .*, which is on a card"),
        (1, "", "subkey .*, which is not"),
    ],
)
def test_nothing_is_called_a_backup_that_has_no_secret_in_it(part: int, secret: str, message: str) -> None:
    world = World(asked())
    world.finish()
    (key,) = tuple(world.keys.values())
    parts = [replace(one, secret=secret if place == part else one.secret) for place, one in enumerate(key.parts)]
    stub = replace(key, primary=parts[0], subkeys=tuple(parts[1:]))
    world.keys = {key.fingerprint: stub}
    world.params = [asked(fingerprint=key.fingerprint, subkeys=[], backup_file="/b", backup_recipients=["R"])]
    with pytest.raises(RootOfTrustError, match=message):
        world.steps()
    world.files["/b"] = plan.label(stub, ("R",))
    assert world.steps() == [], "one from before it went to the card is left"
    del world.files["/b"]
    if part:
        world.keys = {key.fingerprint: replace(stub, subkeys=tuple(replace(one, revoked=True) for one in stub.subkeys))}
        assert [step.action for step in world.steps()] == [plan.BACKUP], "what is revoked is not missed"


def test_another_algorithm_is_another_key_and_both_are_told() -> None:
    world = World(asked(subkeys=[]))
    world.finish()
    world.params = [asked(subkeys=[], algorithm="rsa2048")]
    world.finish()
    assert len(world.keys) == 2
    told = plan.report_keys(world.ring(), [])
    assert "has other keys too" in told["warnings"][0]


@pytest.mark.parametrize("cut", range(3))
def test_a_subkey_is_replaced_before_it_is_revoked(cut: int) -> None:
    world = World(asked())
    world.finish()
    key = next(iter(world.keys.values()))
    world.params = [asked(revoked_subkeys=[key.subkeys[0].fingerprint])]
    assert [step.action for step in world.steps()] == [plan.ADD_SUBKEY, plan.REVOKE_SUBKEY]
    for step in world.steps()[:cut]:
        world.apply(step)
    world.finish()
    assert world.steps() == []
    assert [part.revoked for part in world.keys[key.fingerprint].subkeys] == [True, False]
    world.params = [asked(revoked_subkeys=["A" * 40])]
    with pytest.raises(RootOfTrustError, match="has no subkey A"):
        world.steps()


def test_two_that_fit_are_ambiguous() -> None:
    world = World(asked(subkeys=[]))
    world.finish()
    key = next(iter(world.keys.values()))
    world.keys["F" * 40] = replace(key, primary=replace(key.primary, fingerprint="F" * 40))
    with pytest.raises(RootOfTrustError, match="2 keys ed25519 to certify and sign have the user ID"):
        world.steps()
    world.params = [asked(subkeys=[], fingerprint="F" * 40)]
    assert world.steps() == []


def test_a_key_whose_secret_half_is_elsewhere_is_left_alone_until_it_has_to_change() -> None:
    world = World(asked(subkeys=[]))
    world.finish()
    key = next(iter(world.keys.values()))
    world.keys[key.fingerprint] = replace(key, primary=replace(key.primary, secret="elsewhere"))
    assert world.steps() == []
    world.now += 720 * DAY
    with pytest.raises(RootOfTrustError, match="The secret half of the primary key is not here"):
        world.steps()


def test_revoked_and_absent_need_the_fingerprint_and_do_what_they_say() -> None:
    world = World(asked(subkeys=[]))
    world.finish()
    fingerprint = next(iter(world.keys))
    with pytest.raises(RootOfTrustError, match="not named by its fingerprint"):
        plan.wanted_key(asked(state="absent"), NOW)
    world.params = [asked(state="revoked", fingerprint=fingerprint, revocation_file="/r")]
    assert [step.action for step in world.steps()] == [plan.CERTIFICATE, plan.REVOKE]
    world.finish()
    assert world.steps() == []
    world.params = [asked(fingerprint=fingerprint, subkeys=[])]
    with pytest.raises(RootOfTrustError, match="is revoked"):
        world.steps()
    world.params = [asked(state="absent", fingerprint=fingerprint)]
    world.finish()
    assert (world.keys, world.steps()) == ({}, [])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"subkeys": [{"usage": []}]}, "no usage"),
        ({"subkeys": [{"usage": ["sign", "encrypt"], "algorithm": "nistp256"}]}, "either encrypts or signs"),
        ({"subkeys": [{"usage": ["auth"]}, {"usage": ["auth"], "expires": "1y"}]}, "only ever uses the newer"),
        ({"usage": ["sign"]}, "certifies"),
        ({"public_key_file": "relative"}, "not absolute"),
        ({"backup_file": "/b"}, "both a file and recipients"),
        ({"fingerprint": "1" * 40}, "not in the keyring"),
    ],
)
def test_what_cannot_be_had(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RootOfTrustError, match=message):
        World(asked(**options)).steps()


def test_a_key_asked_for_twice_is_refused() -> None:
    with pytest.raises(RootOfTrustError, match="more than once"):
        World(asked(), asked()).steps()


def test_parameters_for_gpg() -> None:
    part = plan.wanted_key(asked(algorithm="rsa4096", usage=["sign", "cert"]), NOW).primary
    assert plan.parameters("N (c) <m@x>", part, 60, False) == (
        "%no-protection\nKey-Type: RSA\nKey-Length: 4096\nKey-Usage: cert,sign\nName-Real: N\nName-Comment: c\nName-Email: m@x\n"
        "Expire-Date: seconds=60\n%commit\n"
    )
    curve = plan.wanted_key(asked(), NOW).primary
    assert "Key-Type: EDDSA\nKey-Curve: ed25519\n" in plan.parameters("m@x", curve, None, True)


def others(**options: Any) -> public.WantedPublicKey:
    defaults = {name: field.get("default") for name, field in PUBLIC_KEY_OPTIONS.items()}
    return public.wanted_public_key({**defaults, "fingerprint": "A" * 40, **options}, None)


def held(fingerprint: str, **fields: Any) -> Key:
    return Key(Part(fingerprint, "ed25519", frozenset({"cert", "sign"}), NOW, **fields), user_ids=(UserId("Other <o@x>"),))


def test_a_public_key_is_signed_once_for_all_its_user_ids() -> None:
    own, wanted = held("B" * 40, secret="disk"), others(signed_by="B" * 40)
    ring = public.PublicRing("/home", True, (wanted,), (held("A" * 40),), (0,), (own,), NOW)
    assert [step.action for step in public.plan_public_keys(ring)] == [public.SIGN_KEY]
    by_id = replace(ring.found[0], user_ids=(UserId("Other <o@x>", signers=frozenset({("B" * 16, "local")})),))
    assert public.plan_public_keys(replace(ring, found=(by_id,))) == []
    exportable = replace(ring, found=(by_id,), wanted=(others(signed_by="B" * 40, signature="exportable"),))
    assert [step.action for step in public.plan_public_keys(exportable)] == [public.SIGN_KEY]


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ([], "has no secret half"),
        ([held("B" * 40, secret="elsewhere")], "has no secret half"),
        ([held("B" * 40, secret="disk", revoked=True)], "is revoked"),
        ([held("B" * 40, secret="disk", expires=NOW)], "has expired"),
    ],
)
def test_who_cannot_sign(own: list[Key], message: str) -> None:
    ring = public.PublicRing("/home", True, (others(signed_by="B" * 40),), (held("A" * 40),), (0,), tuple(own), NOW)
    with pytest.raises(RootOfTrustError, match=message):
        public.plan_public_keys(ring)
