# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What cryptsetup 2.3.7, 2.6.1, 2.7.5 and 2.8.8, blkid, the kernel and people write, as models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import parse
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import (
    CrypttabEntry,
    Header,
    Holder,
    Keyslot,
    Mount,
    Pbkdf,
    Segment,
    Signature,
    Token,
    Work,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_encryption import is_plain

RECORDED = Path(__file__).parents[1] / "fixtures/luks"
VERSIONS = ["2.3.7", "2.6.1", "2.7.5", "2.8.8"]
WITH_JSON = VERSIONS[1:]
ARGON = Pbkdf("argon2id", "", 4, 32, 1)
XTS = "aes-xts-plain64"
MIB = 1024 * 1024


def recorded(version: str, case: str, json: bool) -> Header:
    name = f"cryptsetup-{version}-{case}"
    metadata = (RECORDED / f"{name}.json").read_text() if json else None
    return parse.parse_dump((RECORDED / f"{name}.txt").read_text(), metadata)


BOTH = [(version, json) for version in VERSIONS for json in (False, True) if not json or version in WITH_JSON]


@pytest.mark.parametrize(("version", "json"), BOTH)
def test_a_plain_luks2_header(version: str, json: bool) -> None:
    sector = 512 if version == "2.3.7" else 4096
    assert recorded(version, "luks2", json) == Header(
        type="luks2",
        uuid="11111111-2222-4333-8444-555555555555",
        label="home",
        subsystem="rot",
        epoch=3,
        cipher=XTS,
        key_bits=512,
        sector_size=sector,
        data_offset=16 * MIB,
        keyslots=(Keyslot(0, "luks2", "normal", 512, XTS, ARGON),),
        segments=(Segment(0, "crypt", 16 * MIB, None, XTS, sector),),
    )


# With a plugin of systemd 259 the text after its token goes to standard error, so that only the metadata have it all.
@pytest.mark.parametrize(("version", "json"), [item for item in BOTH if item != ("2.8.8", False)])
def test_keyslots_priorities_and_tokens(version: str, json: bool) -> None:
    header = recorded(version, "luks2-rich", json)
    assert [(slot.number, slot.priority, slot.pbkdf) for slot in header.keyslots] == [
        (0, "normal", ARGON),
        (1, "prefer", ARGON),
        (5, "ignore", Pbkdf("pbkdf2", "sha256", 1000)),
    ]
    tpm2 = Token(1, "systemd-tpm2", (5,))
    if json:
        tpm2 = replace(tpm2, tpm2_pcrs=(7, 11), tpm2_pcr_bank="sha256", tpm2_pin=True)
    assert header.tokens == (Token(0, "luks2-keyring", (1,), "rot:home"), tpm2, Token(4, "clevis", (5,)))


@pytest.mark.parametrize("version", VERSIONS)
def test_luks1(version: str) -> None:
    slots = tuple(Keyslot(number, "luks1", "normal", 512, XTS, Pbkdf("pbkdf2", "sha256", 1000)) for number in (0, 3))
    assert recorded(version, "luks1", False) == Header(
        type="luks1",
        uuid="21111111-2222-4333-8444-555555555555",
        label="",
        subsystem="",
        epoch=None,
        cipher=XTS,
        key_bits=512,
        sector_size=512,
        data_offset=2 * MIB,
        keyslots=slots,
        segments=(Segment(0, "crypt", 2 * MIB, None, XTS, 512),),
    )


@pytest.mark.parametrize(("version", "json"), [item for item in BOTH if item[0] != "2.7.5"])
def test_a_detached_header_of_another_cipher(version: str, json: bool) -> None:
    header = recorded(version, "luks2-detached", json)
    assert (header.cipher, header.key_bits, header.sector_size, header.data_offset) == ("aes-cbc-essiv:sha256", 256, 512, 0)
    assert header.keyslots[0].cipher == "aes-cbc-essiv:sha256"


@pytest.mark.parametrize(("version", "json"), [item for item in BOTH if item[0] != "2.7.5"])
def test_an_erased_header_has_no_way_in(version: str, json: bool) -> None:
    header = recorded(version, "luks2-erased", json)
    assert (header.keyslots, header.key_bits, header.cipher) == ((), None, XTS)
    assert header.tokens[0] == Token(0, "luks2-keyring", (), "rot:home")
    assert recorded(version, "luks1-erased", False).keyslots == ()


@pytest.mark.parametrize(("version", "json"), BOTH)
def test_an_encryption_in_place_that_has_been_prepared(version: str, json: bool) -> None:
    header = recorded(version, "luks2-encrypt-init", json)
    assert header.requirements == ("online-reencrypt-v2",)
    assert header.work == Work("encrypt", "backward", "datashift")
    assert [(slot.kind, slot.unbound) for slot in header.keyslots] == [("luks2", True), ("reencrypt", True)]
    assert (header.cipher, header.key_bits, header.data_offset) == (XTS, 512, 16 * MIB)
    progress = header.progress(512 * MIB)
    assert progress is not None
    assert (progress.done, progress.total, progress.percent) == (0, 480 * MIB, 0.0)


@pytest.mark.parametrize(("version", "json"), BOTH)
def test_a_change_of_the_volume_key_that_has_been_prepared(version: str, json: bool) -> None:
    header = recorded(version, "luks2-reencrypt-init", json)
    assert header.work is not None and (header.work.mode, header.work.direction) == ("reencrypt", "forward")
    assert [(slot.kind, slot.unbound) for slot in header.keyslots] == [("luks2", False), ("luks2", True), ("reencrypt", True)]
    progress = header.progress(64 * MIB)
    assert progress is not None
    assert (progress.done, progress.total, progress.percent) == (0, 48 * MIB, 0.0)
    unknown = header.progress(None)
    assert unknown is not None and (unknown.done, unknown.total, unknown.percent) == (0, None, None)


HALVES = {  # version, case → size of the device, bytes done, of how many: summed by hand from the recorded segments
    ("2.6.1", "luks2-encrypt-half"): (512 * MIB, 419430400, 480 * MIB),
    ("2.8.8", "luks2-encrypt-half"): (512 * MIB, 352321536, 480 * MIB),
    ("2.7.5", "luks2-encrypt-hotzone"): (512 * MIB, 436207616, 480 * MIB),
    ("2.6.1", "luks2-reencrypt-half"): (1024 * MIB, 364904448, 1008 * MIB),
    ("2.7.5", "luks2-reencrypt-half"): (1024 * MIB, 520093696, 1008 * MIB),
}


@pytest.mark.parametrize("json", [False, True])
@pytest.mark.parametrize(("version", "case"), HALVES)
def test_how_far_a_reencryption_is(version: str, case: str, json: bool) -> None:
    size, done, total = HALVES[version, case]
    progress = recorded(version, case, json).progress(size)
    assert progress is not None
    assert (progress.done, progress.total) == (done, total)
    assert progress.percent == int(1000 * done / total) / 10


@pytest.mark.parametrize("json", [False, True])
def test_a_decryption_from_its_beginning_to_its_end(json: bool) -> None:
    begun = recorded("2.6.1", "luks2-decrypt-init", json)
    assert begun.work == Work("decrypt", "forward", "datashift-checksum")
    progress = begun.progress(1024 * MIB)
    assert progress is not None and (progress.done, progress.total) == (0, 1008 * MIB)
    last = recorded("2.6.1", "luks2-decrypt-half", json)  # killed in its last part
    progress = last.progress(1024 * MIB)
    assert progress is not None and (progress.done, progress.total) == (1008 * MIB, 1024 * MIB)
    ended = recorded("2.6.1", "luks2-decrypt-end", json)
    assert (ended.work, ended.keyslots, ended.cipher) == (None, (), "")
    assert [is_plain(header) for header in (begun, last, ended)] == [False, False, True]


def test_a_header_without_reencryption_has_no_progress() -> None:
    assert recorded("2.8.8", "luks2", True).progress(64 * MIB) is None


def test_the_places_of_hot_segments() -> None:
    def part(number: int, *flags: str, size: int = 10) -> Segment:
        return Segment(number, "crypt", number * 10, size, XTS, 512, flags)

    base = recorded("2.8.8", "luks2-reencrypt-init", True)
    hot = replace(base, segments=(part(0), part(1, "in-reencryption"), part(2, size=30), part(3, "backup-final")))
    for direction, done in (("forward", 10), ("backward", 30)):
        progress = replace(hot, work=Work("reencrypt", direction, "checksum")).progress(None)
        assert progress is not None and (progress.done, progress.total) == (done, 50)
    plain = replace(hot, segments=(Segment(0, "linear", 0, 10), part(1)), work=Work("decrypt", "forward", "checksum"))
    progress = plain.progress(None)
    assert progress is not None and progress.done == 10
    finished = replace(plain, segments=(Segment(0, "linear", 0, 10),)).progress(None)
    assert finished is not None and finished.percent == 99.9


@pytest.mark.parametrize("json", ["", "[]", "{}", '{"segments": {}}', '{"segments": {}, "keyslots": {}, "digests": {}, "tokens": {}}'])
def test_broken_metadata_is_malformed(json: str) -> None:
    text = (RECORDED / "cryptsetup-2.8.8-luks2.txt").read_text()
    with pytest.raises(parse.Malformed):
        parse.parse_dump(text, json)


@pytest.mark.parametrize("cut", range(0, 1000, 37))
def test_a_cut_dump_is_malformed_or_a_header(cut: int) -> None:
    text = (RECORDED / "cryptsetup-2.3.7-luks2.txt").read_text()[:cut]
    try:
        assert parse.parse_dump(text).type == "luks2"
    except parse.Malformed:
        assert cut < 800


def test_a_token_of_anybody_is_told_as_it_is() -> None:
    text = (RECORDED / "cryptsetup-2.8.8-luks2.txt").read_text()
    metadata = (RECORDED / "cryptsetup-2.8.8-luks2.json").read_text()
    odd = metadata.replace('"tokens":{}', '"tokens":{"0":{"type":"systemd-tpm2","keyslots":["0"],"tpm2-pcrs":"all"}}')
    assert odd != metadata
    assert parse.parse_dump(text, odd).tokens == (Token(0, "systemd-tpm2", (0,), tpm2_pin=False),)


# ------------------------------------------------------------------------------------------------------- header's bytes


def test_what_is_no_header() -> None:
    for data in (b"", b"\0" * 4096, b"LUKS\xba\xbe\0\x02" + b"\0" * 100, b"LUKS\xba\xbe\0\x03" + b"\xff" * 4088):
        with pytest.raises(parse.Malformed):
            parse.header_size(data)
    with pytest.raises(parse.Malformed):
        parse.parse_area(b"LUKS\xba\xbe\0\x02" + b"\0" * 20000)
    with pytest.raises(parse.Malformed):
        parse.parse_area(b"LUKS\xba\xbe\0\x01" + b"\0" * 20)


# -------------------------------------------------------------------------------------------------------------- probing

UUID = "71111111-2222-4333-8444-555555555555"


@pytest.mark.parametrize(
    ("case", "signature", "words"),
    [
        ("empty", None, ""),
        ("ext4", Signature("ext4", "filesystem", UUID, "data", ""), f"ext4 with UUID {UUID}"),
        ("swap", Signature("swap", "other", "8" + UUID[1:], "", ""), f"swap with UUID {'8' + UUID[1:]}"),
        ("luks2", Signature("crypto_LUKS", "crypto", "9" + UUID[1:], "my home", ""), f"crypto_LUKS with UUID {'9' + UUID[1:]}"),
        ("dos", Signature("", "", "", "", "dos"), "a partition table (dos)"),
    ],
)
def test_blkid(case: str, signature: Signature | None, words: str) -> None:
    found = parse.parse_probe((RECORDED / f"blkid-2.38.1-{case}.txt").read_text())
    assert found == signature
    assert str(found or "") == words


def test_mounts_and_swaps_with_white_space_in_names() -> None:
    mounts = parse.parse_mounts("proc /proc proc rw,nosuid 0 0\n/dev/mapper/a /mnt/my\\040disk\\011x ext4 rw,relatime 0 0\n\n")
    assert mounts[1] == Mount("/dev/mapper/a", "/mnt/my disk\tx", "ext4", ("rw", "relatime"))
    table = "Filename\t\tType\tSize\tUsed\tPriority\n/dev/dm-1        partition\t1\t0\t-2\n/my\\040swap file 1 0 -3\n"
    assert parse.parse_swaps(table) == ["/dev/dm-1", "/my swap"]
    assert parse.parse_swaps("Filename Type Size Used Priority\n") == []


def test_a_mapping_is_known_by_its_uuid() -> None:
    digits = UUID.replace("-", "")
    assert Holder("dm-0", "my-home", f"CRYPT-LUKS2-{digits}-my-home").maps(UUID)
    assert Holder("dm-0", "home", f"CRYPT-LUKS1-{digits}-home").maps(UUID.upper())
    for uuid in ("", "LVM-abc", f"CRYPT-PLAIN-{'0' * 32}-home", f"CRYPT-LUKS2-{'0' * 32}-home", f"LVM-LUKS2-{digits}-x"):
        assert not Holder("dm-0", "home", uuid).maps(UUID)


# ------------------------------------------------------------------------------------------------------------- crypttab

DEBIAN = """\
# <target name>\t<source device>\t\t<key file>\t<options>
sda3_crypt UUID=1b4e28ba-2fa1-11d2-883f-0016d3cca427 none luks,discard,keyscript=/lib/cryptsetup/scripts/decrypt_keyctl

  swap   /dev/disk/by-id/x\\040y-part2   /dev/urandom   swap,cipher=aes-xts-plain64,size=256\t
#home /dev/sdb1 none luks
lonely
"""
SYSTEMD = (
    "home UUID=x /etc/cryptsetup-keys.d/home.key:LABEL=stick luks,tpm2-device=auto,tpm2-pcrs=7,,nofail trailing\r\n"
    "b /dev/sdb -\nc /dev/sdc - none"
)


def test_the_lines_of_both_dialects() -> None:
    assert [line.entry for line in parse.parse_crypttab(DEBIAN)] == [
        None,
        CrypttabEntry(
            "sda3_crypt",
            "UUID=1b4e28ba-2fa1-11d2-883f-0016d3cca427",
            "none",
            ("luks", "discard", "keyscript=/lib/cryptsetup/scripts/decrypt_keyctl"),
        ),
        None,
        CrypttabEntry("swap", "/dev/disk/by-id/x\\040y-part2", "/dev/urandom", ("swap", "cipher=aes-xts-plain64", "size=256")),
        None,
        None,
    ]
    entries = [line.entry for line in parse.parse_crypttab(SYSTEMD)]
    home = CrypttabEntry(
        "home", "UUID=x", "/etc/cryptsetup-keys.d/home.key:LABEL=stick", ("luks", "tpm2-device=auto", "tpm2-pcrs=7", "nofail")
    )
    assert entries == [home, CrypttabEntry("b", "/dev/sdb"), CrypttabEntry("c", "/dev/sdc")]
    assert [home.option(name) for name in ("luks", "tpm2-pcrs", "header", "tpm2")] == ["", "7", None, None]


@given(st.text(st.characters(codec="utf-8") | st.sampled_from(" \t\n\r#,=")))
def test_any_file_is_kept_byte_for_byte(text: str) -> None:
    assert "".join(line.text for line in parse.parse_crypttab(text)) == text


@pytest.mark.parametrize("text", [DEBIAN, SYSTEMD])
def test_an_entry_written_and_read_is_the_same(text: str) -> None:
    for line in parse.parse_crypttab(text):
        if line.entry is not None:
            assert parse.parse_crypttab_line(parse.crypttab_text(line.entry)) == line.entry
