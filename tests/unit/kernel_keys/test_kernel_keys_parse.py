# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's texts about keys, the blobs that it gives out, and the names that a user may give."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys import parse
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.model import KernelKey, Quota, SealOptions
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.pcr_policy import pcr_info, pcr_policy

RECORDED = Path(__file__).parents[1] / "fixtures/kernel_keys"
BLOB = (RECORDED / "linux-7.2.7-encrypted_default_32.blob").read_bytes()


def test_the_table_of_keys() -> None:
    keys = {key.description: key for key in parse.parse_proc_keys((RECORDED / "linux-7.2.7-proc_keys.txt").read_text()).values()}
    assert keys["kmkA"] == KernelKey(0x13043043, "user", "kmkA", 0, 0, 0x3F010000, "valid", "perm")
    assert (keys["ekA"].type, keys["svc:name"].type) == ("encrypted", "logon")
    assert (keys["_uid.0"].type, keys["_uid.0"].gid, keys["_uid.0"].permissions) == ("keyring", 65534, 0x1F3F0000)
    assert (keys["short"].state, keys["rev"].state) == ("expired", "revoked")
    assert (keys["cache"].expires, keys["cache"].dead) == ("59m", False)
    assert "semi;colon: 3" in keys, "only the size at its end is the kernel's"
    assert keys["app"].permissions == 0x3F1B0000


def test_a_line_that_is_none_is_left_out() -> None:
    assert parse.parse_proc_keys("nonsense\n\n") == {}


def test_the_user_s_quota() -> None:
    text = (RECORDED / "linux-7.2.7-key_users.txt").read_text()
    quota = parse.parse_key_users(text, 0)
    assert quota is not None
    assert (quota.max_keys, quota.max_bytes) == (1000000, 25000000)
    assert 0 < quota.keys < 100
    assert parse.parse_key_users(text, 4711) is None
    assert parse.parse_key_users("  997:     1 1/1 1/200 9/20000\n", 997) == Quota(1, 200, 9, 20000)


def test_a_description_may_have_what_parts_the_others() -> None:
    key = parse.parse_description(7, "user;0;100;3f010000;semi;colon: 3")
    assert key == KernelKey(7, "user", "semi;colon: 3", 0, 100, 0x3F010000)
    with pytest.raises(parse.Malformed):
        parse.parse_description(7, "user;0")


def test_names_of_modules() -> None:
    dep = "kernel/security/keys/encrypted-keys/encrypted-keys.ko.xz: kernel/security/keys/trusted-keys/trusted.ko.xz\nkernel/a/b.ko:\n"
    assert parse.parse_modules(dep) == {"encrypted_keys", "b"}
    assert parse.parse_modules("kernel/security/keys/trusted-keys/trusted.ko\n") == {"trusted"}


# --- blobs -------------------------------------------------------------------------------------------------------------


def test_the_text_of_an_encrypted_key() -> None:
    sealed = parse.parse_any_sealed(BLOB)
    assert (sealed.kind, sealed.format, sealed.master, sealed.length) == ("encrypted", "default", "user:kmkB", 32)
    assert parse.parse_sealed("encrypted", b" " + BLOB + b"\n").text == BLOB, "the kernel refuses an end of line, so it is taken away"


@pytest.mark.parametrize(("length", "digits"), [(20, 162), (32, 162), (33, 194), (64, 226), (4096, 8290)])
def test_how_long_the_kernel_s_texts_are(length: int, digits: int) -> None:
    """As seen on Linux 7.2.7."""
    assert parse.encrypted_digits(length) == digits


@given(st.integers(0, len(BLOB) - 1))
def test_a_cut_blob_is_seen_to_be_cut(at: int) -> None:
    with pytest.raises(parse.Malformed):
        parse.parse_sealed("encrypted", BLOB[:at])


@pytest.mark.parametrize(
    "text",
    [
        b"default user:kmk 32 zz",
        b"rot13 user:kmk 32 00",
        b"default kmk 32 " + b"0" * 162,
        b"default user:k mk 32 " + b"0" * 162,
        b"default user:kmk 19 " + b"0" * 162,
        b"ecryptfs user:kmk 32 " + b"0" * 162,
        b"default user:kmk 32 " + b"0" * 164,
    ],
)
def test_what_is_no_text_of_an_encrypted_key(text: bytes) -> None:
    with pytest.raises(parse.Malformed):
        parse.parse_sealed("encrypted", text)


TRUSTED = {path.stem.partition("trusted_")[2]: path.read_bytes() for path in RECORDED.glob("*-trusted_*.blob")}
ZEROS = {16: "00" * 32}


def test_a_blob_of_a_tpm_2_tells_its_parent_and_policy() -> None:
    plain, by_pcr = (parse.parse_any_sealed(TRUSTED[name] + b"\n") for name in ("tpm20_plain", "tpm20_pcr16"))
    assert (plain.kind, plain.parent, plain.policy) == ("trusted", 0x81000001, "")
    assert (by_pcr.parent, by_pcr.policy) == (0x81000001, pcr_policy("sha256", ZEROS, "sha256", password=False))


def test_a_blob_of_a_tpm_12_tells_its_pcrs() -> None:
    plain, by_pcr = (parse.parse_any_sealed(TRUSTED[name]) for name in ("tpm12_plain", "tpm12_pcr16"))
    assert (plain.kind, plain.parent, plain.policy) == ("trusted", None, "")
    info = pcr_info({16: "00" * 20})
    assert (by_pcr.parent, by_pcr.policy) == (None, info[:-40])
    assert SealOptions(pcrinfo=info.upper()).policy == by_pcr.policy


@pytest.mark.parametrize("name", sorted(TRUSTED))
def test_a_blob_that_is_cut_anywhere_is_seen_to_be_cut(name: str) -> None:
    for at in range(len(TRUSTED[name])):
        if name.startswith("tpm20") or at >= 8:  # before, nobody can tell whose it is
            with pytest.raises(parse.Malformed):
                parse.parse_sealed("trusted", TRUSTED[name][:at])


def test_blobs_of_kernels_before_5_13_and_of_other_sources() -> None:
    der = bytes.fromhex(TRUSTED["tpm20_pcr16"].decode())
    rest = der.partition(bytes.fromhex("02050081000001"))[2]  # after the parent: the public and the private part, as octet strings
    public, private = rest[2 : 2 + rest[1]], rest[2 + rest[1] + 3 :]
    assert (len(public), len(private)) == (int.from_bytes(public[:2], "big") + 2, int.from_bytes(private[:2], "big") + 2)
    raw = parse.parse_sealed("trusted", (private + public + b"creation data").hex().encode())
    assert (raw.parent, raw.policy) == (None, pcr_policy("sha256", ZEROS, "sha256", password=False))
    by_chance = (b"30" + b"9a" * 79, b"30ff" + b"aa" * 78, b"3082" + b"aa" * 78, b"3040" + b"aa" * 78)  # begin as DER does
    for text in (*by_chance, b"02020202" * 20, (private + public[:20]).hex().encode(), private.hex().encode(), b"00"):
        sealed = parse.parse_sealed("trusted", text)
        assert (sealed.parent, sealed.policy) == (None, None)
    for text in (b"0", b"0101 0000", b"xy", b"01" * 5000):
        with pytest.raises(parse.Malformed):
            parse.parse_sealed("trusted", text)


@given(st.binary(max_size=300))
def test_no_bytes_make_the_parsers_fail_otherwise(data: bytes) -> None:
    for content in (data, b"30" + data.hex().encode(), b"default user:k 32 " + data.hex().encode()):
        with suppress(parse.Malformed):
            parse.parse_any_sealed(content)
    parse.parse_proc_keys(data.decode("latin-1"))


# --- what is asked for -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "style", "length"),
    [
        ("encrypted", "default", 16), ("encrypted", "default", 19), ("encrypted", "default", 4097), ("encrypted", "ecryptfs", 32),
        ("encrypted", "enc32", 33), ("encrypted", "rot13", 32), ("trusted", "", 31), ("trusted", "", 129), ("user", "", 0),
        ("logon", "", 32768),
    ],
)  # fmt: skip
def test_lengths_that_the_kernel_refuses(kind: str, style: str, length: int) -> None:
    assert parse.length_fault(kind, style, length)


@pytest.mark.parametrize(
    ("kind", "style", "length"),
    [
        ("encrypted", "default", 20), ("encrypted", "default", 4096), ("encrypted", "ecryptfs", 64), ("encrypted", "enc32", 32),
        ("trusted", "", 32), ("trusted", "", 128), ("user", "", 1), ("logon", "", 32767),
    ],
)  # fmt: skip
def test_lengths_that_the_kernel_takes(kind: str, style: str, length: int) -> None:
    assert parse.length_fault(kind, style, length) == ""


@pytest.mark.parametrize(
    ("kind", "name", "style"),
    [
        ("user", "", "default"), ("user", "a b", "default"), ("user", "a ", "default"), ("user", "a\n", "default"),
        ("user", "a\0b", "default"),
        ("user", "x" * 4096, "default"), ("logon", "name", "default"), ("logon", ":name", "default"), ("logon", "name:", "default"),
        ("encrypted", "name", "ecryptfs"), ("encrypted", "0011223344556677a", "ecryptfs"),
    ],
)  # fmt: skip
def test_names_that_no_key_can_have(kind: str, name: str, style: str) -> None:
    assert parse.description_fault(kind, name, style)


@pytest.mark.parametrize(
    ("kind", "name", "style"),
    [("user", "a:b", "default"), ("logon", "cifs:a:198.51.100.7", "default"), ("encrypted", "0011223344556677", "ecryptfs")],
)
def test_names_that_a_key_can_have(kind: str, name: str, style: str) -> None:
    assert parse.description_fault(kind, name, style) == ""


@pytest.mark.parametrize("master", ["kmk", "logon:kmk", "user:", "user:a b", "encrypted:x", ""])
def test_what_is_no_master(master: str) -> None:
    assert parse.master_fault(master)


def test_masters() -> None:
    assert parse.master_fault("user:kmk") == parse.master_fault("trusted:a:b") == ""


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("@u", ("@u", ())),
        ("@us/a/b", ("@us", ("a", "b"))),
        ("%:.ima", ("%:.ima", ())),
        ("1234", ("1234", ())),
        ("0xff/x", ("0xff", ("x",))),
    ],
)
def test_keyrings(path: str, parts: tuple[str, tuple[str, ...]]) -> None:
    assert parse.parse_keyring(path) == parts


@pytest.mark.parametrize("path", ["", "@x", "@p", "@t", "u", "@u/", "@u//a", "@u/.a", "%:", "0", "-4", "@u/a b", "@u/\n"])
def test_what_is_no_keyring(path: str) -> None:
    with pytest.raises(parse.Malformed):
        parse.parse_keyring(path)


@pytest.mark.parametrize("text", ["3f01", "3f0100000", "zz010000", "7f010000", "00010000", "3f0100ff", "1f1f0000", "0x1e000000"])
def test_permissions_that_mean_nothing_or_shut_everybody_out(text: str) -> None:
    with pytest.raises(RootOfTrustError):
        parse.parse_permissions(text)


def test_permissions() -> None:
    assert parse.parse_permissions(None) is None
    assert parse.parse_permissions("3f010000") == parse.parse_permissions("0x3F010000") == 0x3F010000
    assert parse.parse_permissions("1f3f0000") == 0x1F3F0000, "as the user's own keyring has it"
    assert parse.parse_permissions("29000000") == 0x29000000


@given(st.text(max_size=40))
def test_no_name_makes_the_checks_fail_otherwise(text: str) -> None:
    for kind in ("user", "logon", "trusted", "encrypted"):
        parse.description_fault(kind, text)
    parse.master_fault(text)
    for check in (parse.parse_keyring, parse.parse_permissions):
        try:
            check(text)
        except RootOfTrustError as error:
            assert error.remedy


@pytest.mark.parametrize(
    ("release", "modules", "crashes"),
    [
        ("6.1.0-52-amd64", "lockdown,capability,landlock,yama,apparmor,tomoyo,bpf,integrity", True),
        ("5.10.0-33-amd64", "lockdown,capability,yama,apparmor,bpf", True),
        ("6.12.57+deb13-amd64", "lockdown,capability,landlock,yama,apparmor,tomoyo,bpf,ipe,ima,evm\n", False),
        ("6.6.0", "bpf", False),
        ("5.14.0-503.el9.x86_64", "lockdown,capability,landlock,yama,selinux,bpf", False),
        ("6.1.0", "capability,apparmor", False),
        ("6.1.0", "", False),
        ("odd", "bpf", False),
    ],
)
def test_kernels_that_evm_would_bring_down(release: str, modules: str, crashes: bool) -> None:
    """Debian 12's was seen to crash, Debian 13's not to."""
    assert bool(parse.evm_fault(release, modules)) is crashes
