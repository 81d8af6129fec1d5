# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The form of recovery keys. That their runs may be cut is in test_luks_keyslot.py."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import plan_keyslots as keyslots
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import plan_recovery as plan
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import PRESENT, Header, Keyslot

GOOD = "935E3F73FC998DCA7105D9E8181149305300889F"


@given(st.binary(min_size=plan.KEY_BYTES, max_size=plan.KEY_BYTES))
def test_a_key_is_typed_as_those_of_systemd(random: bytes) -> None:
    text = plan.typed(random).decode()
    assert re.fullmatch(r"([cbdefghijklnrtuv]{8}-){7}[cbdefghijklnrtuv]{8}", text)
    digits = text.replace("-", "").translate(str.maketrans("cbdefghijklnrtuv", "0123456789abcdef"))
    assert bytes.fromhex(digits) == random


def asked(faults: tuple[str, ...] = (), sha256: str = "", known: tuple[keyslots.Known, ...] = ()) -> keyslots.Asked:
    slots = (Keyslot(0, "luks2", "normal", 512), *(Keyslot(31, "luks2", "normal", 512) for _known in known))
    volume = keyslots.Volume("/dev/x", "/dev/x", Header("luks2", "u", "", "", 1, "", 512, 512, 0, slots), known)
    wanted = keyslots.Wanted(PRESENT, "recovery", kind=keyslots.RECOVERY, file="/r.asc", recipients=(GOOD,), faults=faults)
    return keyslots.Asked(volume, wanted, keyslots.Facts(unlock=True, unlocked=0, sha256=sha256), faults)


def test_a_fault_stops_a_new_key_and_is_but_told_of_one_that_is_there() -> None:
    with pytest.raises(RootOfTrustError, match=r"is due .* cannot be encrypted: it has expired"):
        keyslots.plan_keyslots([asked(("it has expired",))])
    there = asked(("it has expired",), "ab", (keyslots.Known(0, "recovery", "1", keyslots.RECOVERY, (31,), None, "ab", (GOOD,)),))
    assert keyslots.plan_keyslots([there]) == []
    told = plan.report_recovery([there], ())
    assert told["warnings"] == ["it has expired"]
    (key,) = told["recovery_keys"]
    assert (key["keyslot"], key["path"], key["sha256"], key["recipients"]) == (31, "/r.asc", "ab", [GOOD])


def test_the_digest_of_one_to_be_made_nobody_knows() -> None:
    due = asked(sha256="of an old one")
    (key,) = plan.report_recovery([due], keyslots.plan_keyslots([due]))["recovery_keys"]
    assert (key["keyslot"], key["sha256"]) == (31, None)


def test_the_one_of_another_version_stays_until_the_new_one_is_kept() -> None:
    old = keyslots.Known(0, "recovery", "1", keyslots.RECOVERY, (31,), None, "ab", (GOOD,))
    due = asked(known=(old,))
    due = replace(due, wanted=replace(due.wanted, version="2"))
    removing = [step.sentence for step in keyslots.plan_keyslots([due]) if "Remove keyslot 31" in step.sentence]
    assert len(removing) == 1, "else the next line says nothing"
    kept = replace(due, wanted=replace(due.wanted, keep_older=True))
    sentences = [step.sentence for step in keyslots.plan_keyslots([kept])]
    assert any("Add keyslot 30" in sentence for sentence in sentences)
    assert not any("keyslot 31" in sentence for sentence in sentences)
    new = keyslots.Known(1, "recovery", "2", keyslots.RECOVERY, (30,), None, "cd", (GOOD,))
    both = replace(kept, volume=replace(kept.volume, known=(old, new), header=replace(kept.volume.header, keyslots=(
        *kept.volume.header.keyslots, Keyslot(30, "luks2", "normal", 512)
    ))), facts=replace(kept.facts, sha256="cd"))  # fmt: skip
    assert keyslots.plan_keyslots([both]) == [], "both are there, and a further run leaves them"
    (going, *dummy) = keyslots.plan_keyslots([replace(both, wanted=replace(both.wanted, keep_older=False))])
    assert going.sentence.startswith("Remove keyslot 31")
