# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A header whose reencryption is over but for its last write: it is known, its end is written, and no boot goes on with it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import luks2_header
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.parse import luks2_metadata
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_encryption import GUARD
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_metadata import areas_that_go, ended, is_over, key_number

RECORDED = Path(__file__).parents[1] / "fixtures/luks"
OVER = ["reencrypt", "encrypt", "decrypt"]
BEGUN_OR_GOING = sorted(path.stem for path in RECORDED.glob("cryptsetup-*-luks2-*crypt-*.json") if not path.stem.endswith("-over"))


def recorded(name: str) -> dict[str, Any]:
    return dict(json.loads((RECORDED / f"{name}.json").read_text()))


@pytest.mark.parametrize("mode", OVER)
def test_what_is_over_is_known_by_its_one_segment_and_its_key(mode: str) -> None:
    found = recorded(f"cryptsetup-2.6.1-luks2-{mode}-over")
    assert is_over(found)
    assert not is_over(ended(found))
    if mode == "reencrypt":  # before it begins it has the same segments, with the other key
        digests = {
            number: {**digest, "segments": ["0"] if "0" not in digest["segments"] else ["2"]} for number, digest in found["digests"].items()
        }
        assert not is_over({**found, "digests": digests})


@pytest.mark.parametrize("name", BEGUN_OR_GOING)
def test_what_is_to_begin_or_is_going_on_or_has_ended_is_not_over(name: str) -> None:
    assert not is_over(recorded(name))


def test_the_end_keeps_the_one_key_with_its_keyslots_and_tokens() -> None:
    found = recorded("cryptsetup-2.6.1-luks2-reencrypt-over")
    found["tokens"] = {"3": {"type": "x", "keyslots": ["0", "1"]}}
    new = ended(found)
    assert new["segments"] == {"0": found["segments"]["0"]}
    assert [(number, slot["type"]) for number, slot in new["keyslots"].items()] == [("1", "luks2")]
    assert [(digest["keyslots"], digest["segments"]) for digest in new["digests"].values()] == [(["1"], ["0"])]
    assert new["tokens"] == {"3": {"type": "x", "keyslots": ["1"]}}
    assert "requirements" not in new["config"]
    assert areas_that_go(found) == [
        (int(found["keyslots"][slot]["area"]["offset"]), int(found["keyslots"][slot]["area"]["size"])) for slot in "02"
    ]
    found["config"]["requirements"]["mandatory"].append("something-else")
    assert ended(found)["config"]["requirements"] == {"mandatory": ["something-else"]}


def test_the_number_of_the_key() -> None:
    assert key_number(recorded("cryptsetup-2.6.1-luks2-decrypt-init")) == 0
    assert key_number(recorded("cryptsetup-2.6.1-luks2-reencrypt-over")) == 1
    assert key_number(recorded("cryptsetup-2.6.1-luks2-decrypt-end")) is None


def test_a_decryption_ends_without_any_key() -> None:
    new = ended(recorded("cryptsetup-2.6.1-luks2-decrypt-over"))
    assert (new["keyslots"], new["digests"]) == ({}, {})
    assert new["segments"] == {"0": {"type": "linear", "offset": "0", "size": "dynamic"}}


def test_no_header_is_written_that_is_not_over_or_not_whole(tmp_path: Path) -> None:
    original = (RECORDED / "cryptsetup-2.7.5-luks2-encrypt-init.bin").read_bytes()
    header = tmp_path / "header"
    for data, why in ((original, "is not over"), (original[:300] + b"x" + original[301:], "is not whole")):
        header.write_bytes(data.ljust(1 << 20, b"\0"))
        before = header.read_bytes()
        with pytest.raises(RootOfTrustError, match=why):
            luks2_header.write_end(str(header))
        assert header.read_bytes() == before


def test_both_copies_are_written_with_the_next_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    header = tmp_path / "header"
    original = (RECORDED / "cryptsetup-2.7.5-luks2-encrypt-init.bin").read_bytes().ljust(16 << 20, b"\0")
    header.write_bytes(original)
    monkeypatch.setattr(luks2_header, "is_over", lambda _found: True)
    luks2_header.write_end(str(header))
    data = header.read_bytes()
    size = int.from_bytes(data[8:16], "big")
    first, second = data[:size], data[size : 2 * size]
    assert (first[:6], second[:6]) == (b"LUKS\xba\xbe", b"SKUL\xba\xbe")
    for copy, place in ((first, 0), (second, size)):
        assert int.from_bytes(copy[16:24], "big") == int.from_bytes(original[16:24], "big") + 1
        assert int.from_bytes(copy[256:264], "big") == place
        assert copy[24:72] == original[24:72]  # the label
        assert luks2_metadata(copy) == ended(luks2_metadata(original))
    assert first[448:512] != second[448:512] != original[448:512]


@pytest.mark.parametrize("name", sorted(path.stem for path in RECORDED.glob("cryptsetup-*-luks2-*crypt-*.txt")))
@pytest.mark.parametrize("let", [True, False])
def test_the_unit_goes_on_with_nothing_that_it_could_do_twice(name: str, let: bool, tmp_path: Path) -> None:
    """As at boot: only where the segments show that it has begun and is not over; and where the module lets it, once."""
    go, program = tmp_path / "go", tmp_path / "cryptsetup"
    program.write_text(f"#!/bin/sh\ncat {RECORDED / name}.txt\n")
    program.chmod(0o755)
    if let:
        go.touch()
    argv = ["/bin/sh", "-c", GUARD, "sh", str(go), "/dev/x", "/bin/echo", "goes", "on"]
    done = subprocess.run(argv, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True, text=True, check=True)
    case = name.split("luks2-")[1]
    one_segment = case.endswith(("-over", "-end")) or case == "reencrypt-init"
    assert done.stdout == ("" if one_segment and not let else "goes on\n"), case
    assert not go.exists()
