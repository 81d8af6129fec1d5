# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""opencryptoki.conf as Debian's packages have it, and any other; fields of tokens; keys in OpenSSH's form."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11 import parse, plan_slots
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.model import KeyObject
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.parse import parse_blob

RECORDED = Path(__file__).parents[1] / "fixtures/pkcs11"
VERSIONS = ["3.8.1", "3.23.0", "3.27.0"]


def recorded(version: str) -> parse.Configuration:
    return parse.parse_configuration((RECORDED / f"opencryptoki-{version}-debian.conf").read_text())


@pytest.mark.parametrize("version", VERSIONS)
def test_debian_s_own_file(version: str) -> None:
    found = recorded(version)
    assert [slot.number for slot in found.slots] == [0, 1, 2, 3, 4]
    assert [slot.get("stdll") for slot in found.slots] == [f"libpkcs11_{name}.so" for name in ("tpm", "ica", "cca", "sw", "ep11")]
    assert found.version == f"version opencryptoki-{ {'3.8.1': '3.1'}.get(version, version[:4]) }"
    assert found.slots[4].get("confname") == "ep11tok.conf"
    assert plan_slots.has_token_versions(found) is (version != "3.8.1")


WORDS = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789_.-", min_size=1, max_size=12)
VALUES = st.one_of(
    WORDS, st.text(st.characters(blacklist_categories=["Cs", "Cc", "Zl", "Zp"], blacklist_characters='"{}#')).map('"{}"'.format)
)
NAMES = st.sampled_from(["stdll", "description", "manufacturer", "hwversion", "firmwareversion", "confname", "tokname", "tokversion"])
SLOTS = st.builds(parse.SlotConfig, st.integers(0, 1023), st.dictionaries(NAMES, VALUES).map(lambda settings: tuple(settings.items())))
FILES = st.builds(
    parse.Configuration,
    st.sampled_from(["version opencryptoki-3.1", "version opencryptoki-3.27", ""]),
    st.lists(st.sampled_from(["disable-event-support", "statistics (off)", "statistics (on,implicit,internal)"]), unique=True).map(tuple),
    st.lists(SLOTS, max_size=5, unique_by=lambda slot: slot.number).map(lambda slots: tuple(sorted(slots, key=lambda slot: slot.number))),
)


@given(FILES)
def test_what_is_written_is_read_again(configuration: parse.Configuration) -> None:
    assert parse.parse_configuration(parse.write_configuration(configuration)) == configuration


@pytest.mark.parametrize("version", VERSIONS)
def test_debian_s_own_file_is_read_again(version: str) -> None:
    assert parse.parse_configuration(parse.write_configuration(recorded(version))) == recorded(version)


@given(st.text())
def test_no_text_breaks_the_parser(text: str) -> None:
    with contextlib.suppress(RootOfTrustError):
        parse.write_configuration(parse.parse_configuration(text))


@pytest.mark.parametrize(
    "text", ["slot x\n{\n}\n", "slot 1\n{\nstdll\n}\n", "slot 1\n{\n", "slot 1\n{\n}\nslot 1\n{\n}\n", 'slot 1\n{\nstdll = "a\n}\n', "}\n"]
)
def test_what_is_no_configuration(text: str) -> None:
    with pytest.raises(RootOfTrustError, match=r"opencryptoki\.conf"):
        parse.parse_configuration(text)


def wanted(**options: object) -> plan_slots.WantedSlot:
    return plan_slots.wanted_slot({"token": "soft", "number": None, "name": None, "description": None, **options})


@pytest.mark.parametrize("version", VERSIONS)
def test_only_the_token_in_software_with_its_own_number_and_store(version: str) -> None:
    found = recorded(version)
    slots = plan_slots.Slots("/c", found, (wanted(),))
    (step,) = plan_slots.plan_slots(slots)
    assert "without slot 0 (libpkcs11_tpm.so)" in step.sentence
    assert step.detail.slots == (found.slots[3],)
    assert plan_slots.plan_slots(plan_slots.Slots("/c", step.detail, (wanted(),))) == []


def test_a_second_token_of_a_kind_has_a_name_and_the_store_of_new_releases() -> None:
    slots = plan_slots.Slots("/c", recorded("3.23.0"), (wanted(), wanted(name="second", description="The second one")))
    first, second = sorted(plan_slots.desired(slots).slots, key=lambda slot: slot.number, reverse=True)
    assert (first.number, second.number) == (3, 0)
    assert dict(second.settings) == {
        "stdll": "libpkcs11_sw.so", "tokversion": "3.12", "tokname": "second", "description": '"The second one"',
    }  # fmt: skip
    with pytest.raises(RootOfTrustError, match="the same data"):
        plan_slots.desired(plan_slots.Slots("/c", recorded("3.23.0"), (wanted(), wanted(number=7))))
    with pytest.raises(RootOfTrustError, match="knows no names"):
        plan_slots.desired(plan_slots.Slots("/c", recorded("3.8.1"), (wanted(name="x"),)))
    with pytest.raises(RootOfTrustError, match="in slot 3"):
        plan_slots.desired(plan_slots.Slots("/c", recorded("3.23.0"), (wanted(), wanted(token="tpm", number=3))))


@pytest.mark.parametrize("options", [{"name": "a b"}, {"description": 'a "b"'}, {"description": "x" * 65}, {"number": 1024}])
def test_what_cannot_stand_in_the_file(options: dict[str, object]) -> None:
    with pytest.raises(RootOfTrustError):
        wanted(**options)


@given(st.binary(min_size=256, max_size=512).filter(lambda raw: raw[0] != 0), st.sampled_from([b"\x03", b"\x01\x00\x01"]))
def test_rsa_keys_for_openssh(modulus: bytes, exponent: bytes) -> None:
    bits = int.from_bytes(modulus, "big").bit_length()
    key = KeyObject(1, False, "a\nlabel  of\tsome", b"", f"rsa{bits}", {"modulus": b"\0" + modulus, "exponent": exponent})
    kind, blob = parse.ssh_public_key(key)
    read = parse_blob(blob)
    assert (kind, read.type, read.size) == ("ssh-rsa", "rsa", bits)
    assert modulus in blob and parse.ssh_line(key).endswith(" a label of some") and "\n" not in parse.ssh_line(key)


@pytest.mark.parametrize(("curve", "size", "bits"), [("nistp256", 64, 256), ("nistp384", 96, 384), ("nistp521", 132, 521)])
@given(raw=st.data())
def test_keys_on_curves_for_openssh(curve: str, size: int, bits: int, raw: st.DataObject) -> None:
    """In an OCTET STRING, as it should be, and bare."""
    point = b"\x04" + raw.draw(st.binary(min_size=size, max_size=size))
    head = bytes([4, len(point)]) if len(point) < 128 else bytes([4, 0x81, len(point)])
    blobs = {parse.ssh_public_key(KeyObject(1, False, "", b"", curve, {"point": form}))[1] for form in (point, head + point)}
    assert len(blobs) == 1
    assert parse_blob(blobs.pop()).size == bits


@given(st.binary(min_size=32, max_size=32))
def test_ed25519_keys_for_openssh(point: bytes) -> None:
    for form in (point, b"\x04\x20" + point):
        kind, blob = parse.ssh_public_key(KeyObject(1, False, "", b"", "ed25519", {"point": form}))
        assert kind == "ssh-ed25519" and blob.endswith(point) and parse_blob(blob).type == "ed25519"


@given(st.sampled_from(["nistp256", "nistp384", "nistp521", "ed25519", "rsa2048", "another curve"]), st.binary(max_size=140))
def test_no_key_breaks_the_encoder(algorithm: str, point: bytes) -> None:
    with contextlib.suppress(RootOfTrustError):
        parse.ssh_line(KeyObject(1, False, "x", b"", algorithm, {"point": point}))


@pytest.mark.parametrize(
    ("raw", "text"), [(b"softtok".ljust(32), "softtok"), ("Schlüssel".encode().ljust(32), "Schlüssel"), (b"a\0\0\0", "a"), (b" " * 32, "")]
)
def test_padded_fields(raw: bytes, text: str) -> None:
    assert parse.padded(raw) == text


@given(st.text(st.characters(blacklist_categories=["Cs", "Cc"])))
def test_labels(text: str) -> None:
    try:
        raw = parse.token_label(text)
    except RootOfTrustError:
        return
    assert len(raw) == 32 and parse.padded(raw) == text
