# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parsers on recorded output of OpenSSH 8.4, 9.2, 10.0 and 10.6, and on anything else.

The private keys among the recordings were made for this and are used nowhere.
"""

from __future__ import annotations

import base64
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys import parse
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.parse import Malformed

RECORDED = Path(__file__).parents[1] / "fixtures/sshkeys"
VERSIONS = ["8.4p1", "9.2p1", "10.0p1", "10.6p1"]
KEYS = sorted(path for path in RECORDED.glob("ssh-keygen-*p1-*") if not path.name.endswith((".pub", ".txt")))
PLAIN = [path for path in KEYS if "encrypted" not in path.name]
OURS = [path for path in PLAIN if not path.name.endswith(("pem", "pkcs8", "mldsa44-ed25519"))]


def text(name: str) -> str:
    return (RECORDED / name).read_text()


def test_there_are_recordings() -> None:
    assert len(PLAIN) == 21
    assert len(KEYS) == 27


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: path.name)
def test_a_private_key_file_tells_its_public_part(path: Path) -> None:
    found = parse.parse_private(path.read_bytes())
    key, comment = parse.parse_public(path.with_name(path.name + ".pub").read_text())
    assert comment == "c@h"
    if path in OURS:
        assert (found.public, found.comment) == (key, "c@h")
    else:
        assert found.public is None, "only ssh-keygen can tell"
    kind = path.name.split("p1-")[1].split("-pem")[0].split("-pkcs8")[0]
    assert key.type == kind.rstrip("0123456789") if kind.startswith("ecdsa") else kind
    sizes = {"rsa": 2048, "dsa": 1024, "ecdsa384": 384, "ecdsa521": 521, "mldsa44-ed25519": 512}
    assert key.size == sizes.get(kind, 256)


@pytest.mark.parametrize("path", [path for path in KEYS if path not in PLAIN], ids=lambda path: path.name)
def test_an_encrypted_key_is_told_as_such(path: Path) -> None:
    with pytest.raises(Malformed, match="passphrase"):
        parse.parse_private(path.read_bytes())


@pytest.mark.parametrize("path", PLAIN, ids=lambda path: path.name)
def test_a_private_key_cut_anywhere_is_no_key(path: Path) -> None:
    whole = path.read_bytes().rstrip()
    for end in range(0, len(whole), 7):
        with pytest.raises(Malformed):
            parse.parse_private(whole[:end])


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_damage_inside_is_found_or_does_no_harm(path: Path) -> None:
    """A changed byte makes the file malformed, or leaves what it tells as it was (a comment, a scalar that needs arithmetic)."""
    lines = path.read_bytes().splitlines()
    content = base64.b64decode(b"".join(lines[1:-1]))
    before = parse.parse_private(path.read_bytes()).public
    found = 0
    for at in range(0, len(content), 3):
        changed = base64.b64encode(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
        try:
            public = parse.parse_private(b"\n".join([lines[0], changed, lines[-1]])).public
        except Malformed:
            found += 1
        else:
            assert public == before
    assert found > len(content) / 6


@pytest.mark.parametrize("version", VERSIONS)
def test_fingerprints_are_those_of_ssh_keygen(version: str) -> None:
    lines = text(f"ssh-keygen-{version}-public.txt").splitlines()
    assert len(lines) == 15
    for line, sha256, md5, _sha1_record, record in zip(*[iter(lines)] * 5, strict=True):
        key, comment = parse.parse_public(line)
        assert sha256.split() == [str(key.size), parse.sha256_fingerprint(key), comment, f"({key.type.upper()})"]
        assert md5.split()[1] == parse.md5_fingerprint(key)
        assert record.split("SSHFP ")[1] == parse.sshfp(key)
        assert line == f"{parse.public_text(key)} {comment}"


@pytest.mark.parametrize("version", VERSIONS)
def test_sshd_s_settings(version: str) -> None:
    settings = parse.parse_settings(text(f"sshd-{version}-T.txt"))
    usual = [f"/etc/ssh/ssh_host_{kind}_key" for kind in ("rsa", "ecdsa", "ed25519")]
    assert list(settings.host_keys) == usual + (["/etc/ssh/ssh_host_mldsa44_ed25519_key"] if version == "10.6p1" else [])
    assert settings.ports == (2222,)
    assert sorted(settings.listens) == [("127.0.0.1", 2222), ("::", 2222)]
    assert {"ssh-ed25519", "rsa-sha2-512"} <= set(settings.algorithms)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_ways_in_which_a_server_takes_passwords(version: str) -> None:
    told = text(f"sshd-{version}-T.txt")
    assert parse.parse_settings(told).passwords == ("password", "keyboard-interactive")
    closed = told.lower().replace("passwordauthentication yes", "passwordauthentication no")
    assert parse.parse_settings(closed).passwords == ("keyboard-interactive",)
    assert parse.parse_settings(closed.replace("kbdinteractiveauthentication yes", "kbdinteractiveauthentication no")).passwords == ()
    assert parse.parse_settings("").passwords != (), "what it does not say is not taken for closed"


@pytest.mark.parametrize("version", VERSIONS)
def test_what_sshd_says_against_its_configuration(version: str) -> None:
    # sshd ends its lines on standard error with CR LF; the records are kept with LF.
    said = {case: text(f"sshd-{version}-{case}.txt").replace("\n", "\r\n") for case in ("no_keys", "no_folder", "bad_option", "unusable")}
    assert [case for case in said if parse.lacks_keys(said[case])] == ["no_keys"]
    assert {case: parse.privilege_separation_folder(errors) for case, errors in said.items()} == {
        "no_keys": None, "no_folder": "/run/sshd", "bad_option": None, "unusable": None,
    }  # fmt: skip
    assert parse.unusable_keys(said["unusable"]) == ("/etc/ssh/garbage", "/etc/ssh/none", "/etc/ssh/open")
    assert parse.unusable_keys(said["bad_option"]) == ()


@pytest.mark.parametrize("version", VERSIONS)
def test_what_ssh_keyscan_prints(version: str) -> None:
    served = parse.parse_keyscan(text(f"ssh-keyscan-{version}.txt"), "127.0.0.1", 2222)
    files = text(f"ssh-keygen-{version}-public.txt").splitlines()[::5]
    assert {parse.public_text(item.key) for item in served} == {" ".join(line.split()[:2]) for line in files}
    assert {(item.address, item.port) for item in served} == {("127.0.0.1", 2222)}


@pytest.mark.parametrize("version", VERSIONS)
def test_names_that_openssh_hashed(version: str) -> None:
    entries = [parse.parse_known_line(line) for line in text(f"known_hosts-{version}-hashed.txt").splitlines() if line[0] != "#"]
    assert len(entries) == 3
    for entry in entries:
        assert entry is not None
        assert entry.names("[127.0.0.1]:2222")
        assert not entry.names("127.0.0.1")
        assert entry.without(["[127.0.0.1]:2222"]) == ""


def test_a_name_is_hashed_as_openssh_does_it() -> None:
    entry = parse.parse_known_line(text("known_hosts-9.2p1-hashed.txt").splitlines()[0])
    assert entry is not None
    salt = base64.b64decode(entry.patterns[0].split("|")[2])
    assert parse.hash_pattern("[127.0.0.1]:2222", salt) == entry.patterns[0]


ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJyzE8U68dYovEBnQFpYcceuhUcVEouyJcRWcIIy0pWb"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"a,b {ED25519} c d\n", ("", ("a", "b"))),
        (f"  @revoked\t*.x,!y.x {ED25519}", ("@revoked", ("*.x", "!y.x"))),
        (f"@cert-authority a {ED25519}", ("@cert-authority", ("a",))),
        (f"# a {ED25519}", None),
        (f"#a {ED25519}", None),
        (f"a 1024 35 {ED25519}", None),
        ("a ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIJyzE8U68dYovEBnQFpYcceuhUcVEouyJcRWcIIy0pWb", None),
        ("a ssh-ed25519 AAAA", None),
        ("", None),
        ("\r\n", None),
    ],
)
def test_a_line_of_known_hosts(line: str, expected: tuple[str, tuple[str, ...]] | None) -> None:
    entry = parse.parse_known_line(line)
    assert (entry and (entry.marker, entry.patterns)) == expected


def test_names_are_compared_without_case_and_taken_off() -> None:
    entry = parse.parse_known_line(f"Web1,web2,[web1]:22\t{ED25519}  c\r\n")
    assert entry is not None
    assert entry.names("web1")
    assert not entry.names("web")
    assert entry.without(["web1"]) == f"web2,[web1]:22\t{ED25519}  c\r\n"


@pytest.mark.parametrize(
    ("given_", "spelt"),
    [
        ("SHA256:uNiVztksCsDhcc0u9e8BrcYPLA7vFJbFHkLqYtbSXnU", "SHA256:uNiVztksCsDhcc0u9e8BrcYPLA7vFJbFHkLqYtbSXnU"),
        ("SHA256:uNiVztksCsDhcc0u9e8BrcYPLA7vFJbFHkLqYtbSXnU=", "SHA256:uNiVztksCsDhcc0u9e8BrcYPLA7vFJbFHkLqYtbSXnU"),
        ("MD5:30:42:D7:30:8D:C4:CF:03:A2:17:46:DB:A8:F8:50:BE", "MD5:30:42:d7:30:8d:c4:cf:03:a2:17:46:db:a8:f8:50:be"),
        (" 30:42:d7:30:8d:c4:cf:03:a2:17:46:db:a8:f8:50:be", "MD5:30:42:d7:30:8d:c4:cf:03:a2:17:46:db:a8:f8:50:be"),
        ("SHA256:short", None),
        ("30:42", None),
        ("", None),
    ],
)
def test_fingerprints_are_spelt_one_way(given_: str, spelt: str | None) -> None:
    if spelt is None:
        with pytest.raises(Malformed):
            parse.parse_fingerprint(given_)
    else:
        assert parse.parse_fingerprint(given_) == spelt


# --- anything else: never another exception than the domain's

ARMOURED = st.builds(
    lambda name, body: b"-----BEGIN " + name + b"-----\n" + base64.b64encode(body) + b"\n-----END " + name + b"-----\n",
    st.sampled_from([b"OPENSSH PRIVATE KEY", b"RSA PRIVATE KEY", b"EC PRIVATE KEY", b"DSA PRIVATE KEY", b"PRIVATE KEY"]),
    st.binary(max_size=300) | st.binary(max_size=200).map(lambda tail: parse.OPENSSH_MAGIC + tail),
)
DAMAGED = st.builds(
    lambda path, at, tail: path.read_bytes()[: at % path.stat().st_size] + tail + path.read_bytes()[at % path.stat().st_size + 1 :],
    st.sampled_from(KEYS),
    st.integers(0, 4000),
    st.binary(max_size=4),
)


@given(st.binary(max_size=400) | ARMOURED | DAMAGED)
def test_any_private_key(data: bytes) -> None:
    try:
        parse.parse_private(data)
    except Malformed as error:
        assert len(str(error)) < 100, "it holds none of the content"


@given(st.binary(max_size=300))
def test_any_blob(data: bytes) -> None:
    try:
        key = parse.parse_blob(data)
    except Malformed:
        return
    assert key.blob == data


@given(st.text(max_size=200) | st.text(alphabet="ssh-rsa AAB3Nza=\n", max_size=80))
def test_any_public_line(line: str) -> None:
    try:
        parse.parse_public(line)
    except Malformed:
        return


LINES = st.text(max_size=100) | st.builds(
    lambda marker, names, rest: f"{marker}{names} {ED25519}{rest}",
    st.sampled_from(["", "@revoked ", "@x\t", " "]),
    st.text(alphabet="ab,*!|1[]:=/ ", max_size=30),
    st.text(max_size=10),
)


@given(LINES, st.text(max_size=10))
def test_any_known_line(line: str, name: str) -> None:
    entry = parse.parse_known_line(line)
    if entry is not None:
        entry.names(name)
        if not entry.marker and not line[0].isspace():
            assert entry.without([]) == line


@given(st.text(max_size=300))
def test_the_lines_of_a_file_make_up_the_file(text_: str) -> None:
    assert "".join(parse.known_lines(text_)) == text_


@given(st.text(max_size=200) | st.text(alphabet="port listenaddress hostkey[]:0129\n", max_size=120))
def test_any_output_of_sshd(said: str) -> None:
    with suppress(Malformed):
        parse.parse_settings(said)
    parse.unusable_keys(said)
    parse.privilege_separation_folder(said)
    parse.parse_keyscan(said, "127.0.0.1", 22)
