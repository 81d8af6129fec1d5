# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What gpg prints, recorded from real ones, and what users write; and any other text, which must not break a parser."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg import parse
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.model import DAY, TRUSTS, Expiry

RECORDED = Path(__file__).parents[1] / "fixtures/gpg"
VERSIONS = ["2.2.27", "2.2.40", "2.4.7", "2.4.9"]
NOW = 1_795_000_000


def recorded(version: str, case: str) -> str:
    return (RECORDED / f"gpg-{version}-{case}.txt").read_text()


@pytest.mark.parametrize("version", VERSIONS)
def test_keys_with_all_that_they_have(version: str) -> None:
    """Made by the same commands with each release."""
    first, rsa, public = parse.parse_keys(recorded(version, "listing"))
    assert (first.primary.algorithm, sorted(first.primary.usage), first.primary.secret) == ("ed25519", ["cert", "sign"], "disk")
    assert [(part.algorithm, sorted(part.usage), part.revoked) for part in first.subkeys] == [
        ("cv25519", ["encrypt"], False),
        ("ed25519", ["auth"], False),
    ]
    assert [part.expires is None for part in first.parts] == [False, False, False]
    assert len(first.fingerprint) == 40 and len(first.primary.keygrip) == 40
    assert {user.text: user.revoked for user in first.user_ids} == {
        "Jörg: \\ with signs (c:d) <joerg@example.org>": False,
        "Old <old@example.org>": True,
    }
    assert (first.trust, first.usable) == ("ultimate", {"cert", "sign", "encrypt", "auth"})
    assert (rsa.primary.algorithm, rsa.primary.expires, rsa.primary.secret) == ("rsa2048", None, "disk")
    assert (public.primary.secret, public.trust) == ("", "marginal")


@pytest.mark.parametrize("version", VERSIONS)
def test_signatures_by_one_s_own_key(version: str) -> None:
    (key,) = parse.parse_keys(recorded(version, "signed"))
    own = recorded(version, "own").strip()
    assert any(how == "local" and own.endswith(name) for user in key.user_ids for name, how in user.signers)


@pytest.mark.parametrize("version", VERSIONS)
def test_status_of_what_was_made_and_of_what_failed(version: str) -> None:
    assert len(parse.created(parse.parse_status(recorded(version, "status-made")))) == 40
    wrong, none = (recorded(version, f"status-{case}") for case in ("wrong", "none"))
    assert parse.explain(parse.parse_status(wrong), wrong)[0] == "The passphrase given does not open the secret key."
    assert parse.explain(parse.parse_status(none), none)[0] == "The secret key is protected by a passphrase, and none was given."
    assert list(parse.imported(parse.parse_status(recorded(version, "status-imported"))).values()) == [1]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_certificate_that_gpg_keeps_is_made_importable(version: str) -> None:
    kept = recorded(version, "revocation")
    assert "\n:-----BEGIN PGP PUBLIC KEY BLOCK-----" in kept
    certificate = parse.importable(kept)
    assert certificate.startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----\n") and certificate.endswith("-----END PGP PUBLIC KEY BLOCK-----\n")
    packets, fingerprint = recorded(version, "packets"), recorded(version, "own").strip()
    assert parse.revoked_key(packets) == fingerprint
    assert parse.revoked_key(packets + packets) == parse.revoked_key("") == parse.revoked_key(packets.replace("0x20", "0x18")) == ""
    assert parse.revoked_key(packets.replace("(issuer fpr ", "(")) == fingerprint[-16:], "one of old tells no more"
    assert parse.revoked_key(packets.replace(f"keyid {fingerprint[-16:]}", f"keyid {'0' * 16}")) == ""
    with pytest.raises(RootOfTrustError, match="no revocation certificate"):
        parse.importable("nothing")


@pytest.mark.parametrize("version", VERSIONS)
def test_ownertrust(version: str) -> None:
    assert sorted(parse.parse_ownertrust(recorded(version, "ownertrust")).values()) == ["marginal", "ultimate", "ultimate"]


@given(st.dictionaries(st.text("0123456789ABCDEF", min_size=40, max_size=40), st.sampled_from(TRUSTS)))
def test_what_is_written_of_ownertrust_is_read_again(trusts: dict[str, str]) -> None:
    assert parse.parse_ownertrust("".join(parse.ownertrust_line(*one) for one in trusts.items())) == trusts


FIELDS = st.lists(st.text(string.printable.replace("\n", "").replace(":", ""), max_size=12), max_size=22)
RECORDS = st.tuples(st.sampled_from(["pub", "sec", "sub", "ssb", "fpr", "grp", "uid", "sig", "tru", "rvk", "cfg", ""]), FIELDS)


@given(st.lists(RECORDS, max_size=12))
def test_no_listing_breaks_the_parser(records: list[tuple[str, list[str]]]) -> None:
    for key in parse.parse_keys("\n".join(":".join([kind, *fields]) for kind, fields in records)):
        assert key.fingerprint and key.primary in key.parts


@given(st.text())
def test_no_text_breaks_a_parser(text: str) -> None:
    parse.parse_keys(text)
    parse.parse_ownertrust(text)
    parse.explain(parse.parse_status(text), text)
    parse.revoked_key(text)
    parse.comments(text)
    parse.unescape(text.encode("utf-8", "replace").decode())


KEYWORDS = st.sampled_from(["KEY_CREATED", "FAILURE", "ERROR", "IMPORT_OK", "X"])


@given(st.lists(st.tuples(KEYWORDS, st.lists(st.text("0123456789ABCxyz ", max_size=9)))))
def test_no_status_breaks_the_parser(lines: list[tuple[str, list[str]]]) -> None:
    found = parse.parse_status("\n".join(f"[GNUPG:] {keyword} {' '.join(words)}" for keyword, words in lines))
    assert [line.keyword for line in found] == [keyword for keyword, dummy in lines]
    parse.created(found)
    parse.imported(found)
    parse.error_codes(found)


@given(st.text(st.characters(blacklist_categories=["Cs"])))
def test_an_escaped_field_is_had_back(text: str) -> None:
    escaped = "".join(f"\\x{ord(letter):02x}" if letter in ":\\" or ord(letter) < 32 else letter for letter in text)
    assert parse.unescape(escaped) == text


NAMES = st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zs", "Zl", "Zp"], blacklist_characters="()<>@ "), min_size=1, max_size=20)


@given(st.one_of(st.none(), NAMES), st.one_of(st.none(), NAMES), NAMES, NAMES)
def test_user_ids_are_put_together_as_gpg_does(name: str | None, comment: str | None, local: str, domain: str) -> None:
    mail = f"{local}@{domain}"
    comment = comment if name else None
    text = " ".join(filter(None, [name, f"({comment})" if comment else None, f"<{mail}>"]))
    assert parse.parse_user_id(text) == (name or "", comment or "", mail)
    assert parse.user_id(parse.user_id(text)) == parse.user_id(text)
    assert parse.user_id(f"<{mail}>") == mail


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("A  <m@x>", "A <m@x>"),
        ("A   (c) <m@x>", "A (c) <m@x>"),
        ("A ( c ) <m@x>", "A (c) <m@x>"),
        ("A ( ) <m@x>", "A <m@x>"),
        ("A  B (c  d) <m@x>", "A  B (c  d) <m@x>"),
    ],
)
def test_blanks_around_name_and_comment_are_those_that_gpg_leaves(text: str, made: str) -> None:
    assert parse.user_id(text) == made


def test_a_comment_without_a_name_is_refused() -> None:
    """gpg makes a user ID of it that begins with a blank, so that it would never be found again."""
    with pytest.raises(RootOfTrustError, match="has a comment and no name"):
        parse.user_id("(c) <m@x>")


def test_a_line_of_a_listing_ends_where_gpg_ends_it() -> None:
    """Other signs at which Python ends a line may be in a user ID."""
    listing = recorded("2.4.7", "listing").replace("Old <", "Old\u2028pub:r::::::::Forged\x85fpr:::::::::0: <")
    assert [key.fingerprint for key in parse.parse_keys(listing)] == [
        key.fingerprint for key in parse.parse_keys(recorded("2.4.7", "listing"))
    ]
    told = parse.parse_status("[GNUPG:] USERID_HINT 0 A\u2028[GNUPG:] KEY_CREATED P 0000\n[GNUPG:] X")
    assert [line.keyword for line in told] == ["USERID_HINT", "X"]


@pytest.mark.parametrize(
    "text",
    ["", "Nobody", "a <b>", "a <b@c> d", "a\n <b@c>", "a (b <c@d>", "a <b@c", "<b@c d>", " a <b@c>", "x" * 2050 + " <b@c>", "a <b@c>\x7f"],
)
def test_what_is_no_user_id(text: str) -> None:
    with pytest.raises(RootOfTrustError, match="user ID"):
        parse.user_id(text)


@pytest.mark.parametrize(
    ("text", "expiry"),
    [
        ("never", Expiry()),
        ("30d", Expiry(seconds=30 * DAY)),
        ("2w", Expiry(seconds=14 * DAY)),
        ("6m", Expiry(seconds=180 * DAY)),
        ("2y", Expiry(seconds=730 * DAY)),
        ("2030-01-31", Expiry(moment=1896091200)),
    ],
)
def test_ends(text: str, expiry: Expiry) -> None:
    assert parse.parse_expiry(text, NOW) == expiry


@pytest.mark.parametrize(
    "text", ["", "0", "-1d", "1h", "2 y", "30", "2030-02-30", "2030-13-01", "2001-01-01", "99999y", "2107-01-01", "soon"]
)
def test_what_is_no_end(text: str) -> None:
    with pytest.raises(RootOfTrustError):
        parse.parse_expiry(text, NOW)


@pytest.mark.parametrize(
    ("text", "message"),
    [("0123456789ABCDEF", "only a key ID"), ("", "no fingerprint"), ("0x12345678", "only a key ID"), ("G" * 40, "no fingerprint")],
)
def test_what_is_no_fingerprint(text: str, message: str) -> None:
    with pytest.raises(RootOfTrustError, match=message):
        parse.parse_fingerprint(text)


def test_a_fingerprint_as_people_write_it() -> None:
    written = "6f4a 1b2c 3d4e 5f60 7182  93a4 b5c6 d7e8 f901 2a3b"
    assert parse.parse_fingerprint(written) == parse.parse_fingerprint(f"0x{written}") == written.replace(" ", "").upper()


@pytest.mark.parametrize(("moment", "text"), [(None, "never"), (0, "1970-01-01"), (4294967295, "2106-02-07")])
def test_days(moment: int | None, text: str) -> None:
    assert parse.day(moment) == text
