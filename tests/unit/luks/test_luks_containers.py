# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which devices get a LUKS header, which lose it, and which are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import diff
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import plan_containers as plan
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import (
    Device,
    Header,
    Holder,
    Keyslot,
    Mount,
    Pbkdf,
    Signature,
    Trace,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.parse import Malformed, parse_traces

RECORDED = Path(__file__).parents[1] / "fixtures/luks"
UUID = "11111111-2222-4333-8444-555555555555"
OTHER = "99999999-2222-4333-8444-555555555555"
MARK = plan.UNFINISHED + "abc-8abc-0123456789ab"
MIB = 1024 * 1024
PARAMS: dict[str, Any] = {
    "device": "/dev/x",
    "header": None,
    "state": "present",
    "type": "luks2",
    "cipher": None,
    "key_bits": None,
    "hash": None,
    "sector_size": None,
    "label": None,
    "subsystem": None,
    "uuid": None,
    "pbkdf": None,
    "passphrase": None,
    "key_file": None,
    "wipe": [],
    "fill": "none",
    "change": [],
}
EXT4 = Trace("/dev/x", "ext4", UUID, "0x438")
LUKS = (Trace("/dev/x", "crypto_LUKS", UUID, "0x0"), Trace("/dev/x", "crypto_LUKS", UUID, "0x4000"))
GPT = tuple(Trace("/dev/x", kind, "", place) for kind, place in (("gpt", "0x200"), ("gpt", "0xffffe00"), ("PMBR", "0x1fe")))


def header(uuid: str = UUID, **fields: Any) -> Header:
    slots = (Keyslot(0, "luks2", "normal", 512, "aes-xts-plain64", Pbkdf("argon2id", "", 4, 32, 1)),)
    plain = Header("luks2", uuid, "a", "s", 3, "aes-xts-plain64", 512, 4096, 16 * MIB, slots)
    return replace(plain, **fields)


def container(*traces: Trace, device: dict[str, Any] | None = None, state: dict[str, Any] | None = None, **params: Any) -> plan.Container:
    blank = Device("/dev/x", 64 * MIB, True, False, None, None)
    wanted = plan.wanted_container({**PARAMS, **params})
    whole = plan.Container(wanted, replace(blank, **(device or {})), traces, secret=Secret(b"s"))
    return replace(whole, **(state or {}))


def steps(found: plan.Container) -> list[str]:
    return [step.action for step in plan.plan_containers([found])]


def refusal(found: plan.Container) -> str:
    with pytest.raises(RootOfTrustError) as caught:
        plan.plan_containers([found])
    return str(caught.value)


# --- what is done ----------------------------------------------------------------------------------------------------

PART = Holder("x1", partition=True)
DONE: dict[str, tuple[plan.Container, list[str]]] = {
    "nothing on it": (container(), ["format"]),
    "nothing on it, and something named": (container(wipe=["ext4"]), ["format"]),
    "named by type": (container(EXT4, wipe=["ext4"]), ["wipe", "format"]),
    "named by UUID": (container(EXT4, wipe=[UUID.upper()]), ["wipe", "format"]),
    "a partition table": (container(*GPT, wipe=["gpt"]), ["wipe", "format"]),
    "what a partition has": (
        container(*GPT, replace(EXT4, path="/dev/x1"), wipe=["gpt", "ext4"], device={"holders": (PART,)}),
        ["wipe", "format"],
    ),
    "filled": (container(fill="random"), ["fill", "format"]),
    "filled to the end, and then cut": (container(fill="random", state={"filled": 64 * MIB}), ["format"]),
    "cut while it was filled": (
        container(fill="random", device={"holders": (Holder("dm-0", "rootoftrust-fill-1-2"),)}, state={"claimed": True}),
        ["close", "fill", "format"],
    ),
    "a file, cut while it was filled": (
        container(fill="random", device={"holders": (Holder("loop0"), Holder("dm-0", "rootoftrust-fill-1-2")), "block": False}),
        ["close", "fill", "format"],
    ),
    "cut while its header was made": (
        container(*(replace(trace, uuid=MARK) for trace in LUKS), device={"header": header(MARK)}),
        ["format"],
    ),
    "cut while its header was made, and torn": (
        container(replace(LUKS[0], uuid=MARK), device={"signature": Signature("crypto_LUKS", "crypto", MARK, "", "")}),
        ["format"],
    ),
    "another's torn header, named": (
        container(*LUKS, device={"signature": Signature("crypto_LUKS", "crypto", UUID, "", "")}, wipe=[UUID]),
        ["wipe", "format"],
    ),
    "it has one": (container(device={"header": header()}, wipe=["crypto_LUKS", UUID], fill="random", state={"secret": None}), []),
    "it has one, open and mounted": (
        container(
            device={"header": header(), "holders": (Holder("dm-0", "d", "CRYPT-LUKS2-x-d"),), "mounts": (Mount("a", "/a", "ext4", ()),)}
        ),
        [],
    ),
    "another UUID is asked for": (container(device={"header": header()}, uuid=OTHER, wipe=[UUID]), []),
    "a label to be changed": (container(device={"header": header()}, label="b", cipher="x", change=["label"]), ["change"]),
    "a label that is right": (container(device={"header": header()}, label="a", change=["label"]), []),
    "detached": (container(header="/h"), ["format"]),
    "absent": (container(*LUKS, device={"header": header()}, state={"secret": None}, wipe=[UUID]), []),
    "a small device with a detached header": (container(header="/h", device={"size": MIB}), ["format"]),
}


@pytest.mark.parametrize("case", DONE)
def test_what_is_to_be_done(case: str) -> None:
    found, expected = DONE[case]
    assert steps(found) == expected


def absent(*traces: Trace, wipe: list[str], **device: Any) -> plan.Container:
    return replace(container(*traces, wipe=wipe, device=device), wanted=plan.wanted_container({**PARAMS, "state": "absent", "wipe": wipe}))


def test_a_header_is_destroyed_only_by_its_uuid_and_only_where_nothing_is_open() -> None:
    found = absent(*LUKS, wipe=[UUID.upper()], header=header())
    assert steps(found) == ["destroy"]
    torn = Signature("crypto_LUKS", "crypto", UUID, "", "")
    assert steps(absent(*LUKS, wipe=[UUID], signature=torn)) == ["destroy"]
    assert steps(absent(EXT4, wipe=["ext4"], signature=Signature("ext4", "filesystem", UUID, "", ""))) == []
    assert steps(absent(wipe=[])) == []
    for wipe in ([], ["crypto_LUKS"], [OTHER]):
        assert f"has a LUKS header with UUID {UUID}" in refusal(absent(*LUKS, wipe=wipe, header=header()))
    held = (Holder("dm-0", "data", "CRYPT-LUKS2-x-data"),)
    assert "/dev/x is held by data" in refusal(absent(*LUKS, wipe=[UUID], header=header(), holders=held))


def test_the_reason_why_it_is_made_anew_is_told() -> None:
    (step,) = plan.plan_containers([DONE["cut while its header was made"][0]])
    assert "a run that made its header was cut" in step.sentence


def test_the_diff_has_no_secret_and_the_random_uuid_is_not_predicted() -> None:
    found = container(EXT4, wipe=["ext4"], passphrase="hidden", label="b")
    due = plan.plan_containers([found])
    assert diff(due) == {
        "before": {"/dev/x": {"signatures": [f"/dev/x has ext4 with UUID {UUID}"], "luks": None}},
        "after": {"/dev/x": {"signatures": [], "luks": "luks2", "label": "b"}},
    }
    told = plan.report_containers([found], due)["containers"][0]
    assert (told["luks"], told["type"], told["uuid"]) == (True, "luks2", None)


# --- what is refused -------------------------------------------------------------------------------------------------

REFUSED: dict[str, tuple[plan.Container, str]] = {
    "read-only": (container(device={"read_only": True}), "/dev/x is read-only."),
    "mounted": (container(EXT4, wipe=["ext4"], device={"mounts": (Mount("/dev/x", "/m", "ext4", ()),)}), "/dev/x is mounted at /m."),
    "swap": (container(wipe=["swap"], device={"swaps": ("/dev/x",)}), "/dev/x is in use as swap (/dev/x)."),
    "held": (container(device={"holders": (Holder("md0"), Holder("dm-0", "lv"))}), "/dev/x is held by md0 and lv."),
    "held by a loop device": (container(device={"holders": (Holder("loop0"),)}), "/dev/x is held by loop0."),
    "being decrypted": (
        container(device={"claims": ("being decrypted as home",)}),
        "/dev/x is being decrypted as home. Run luks_encryption",
    ),
    "claimed": (container(state={"claimed": True}), "/dev/x is in use: the kernel lets nobody else have it."),
    "too small": (container(device={"size": 16 * MIB}), "is too small: it has 16777216 bytes, and 16781312 are needed"),
    "too small for LUKS1": (container(device={"size": 2 * MIB}, type="luks1"), "is too small"),
    "not named": (container(EXT4), f"/dev/x has ext4 with UUID {UUID}. If that is to be lost, name it in wipe: {UUID}."),
    "another is named": (container(EXT4, wipe=["xfs", OTHER]), f"has ext4 with UUID {UUID}, which wipe (xfs, {OTHER}) does not name."),
    "one of two is named": (
        container(EXT4, Trace("/dev/x", "linux_raid_member", OTHER, "0x1000"), wipe=["ext4"]),
        f"/dev/x has linux_raid_member with UUID {OTHER}",
    ),
    "a table": (container(*GPT), "/dev/x has a partition table (gpt). If that is to be lost, name it in wipe: gpt."),
    "a partition's content": (
        container(*GPT, replace(EXT4, path="/dev/x1"), wipe=["gpt"], device={"holders": (PART,)}),
        f"/dev/x1 has ext4 with UUID {UUID}",
    ),
    "partitions without a table": (container(device={"holders": (PART,)}), "has the partitions x1, but no partition table"),
    "what wipefs does not see": (
        container(device={"signature": Signature("", "", "", "", "atari")}, wipe=["atari"]),
        "has a partition table (atari), which wipefs(8)",
    ),
    "another's torn header": (
        container(*LUKS, device={"signature": Signature("crypto_LUKS", "crypto", UUID, "", "")}),
        "/dev/x has crypto_LUKS",
    ),
    "no secret": (container(state={"secret": None}), "no secret is given. Give passphrase or key_file."),
    "no folder": (container(header="/no/h", state={"header_folder": False}), "There is no folder /no for the header /no/h."),
    "a header that is none": (container(header="/h", state={"header_exists": True}), "/h is there, and is no LUKS header."),
    "named by what goes": (
        replace(container(EXT4, wipe=["ext4"]), wanted=plan.wanted_container({**PARAMS, "device": f"UUID={UUID}", "wipe": ["ext4"]})),
        "names /dev/x by what is to go",
    ),
    "UUID of what is open": (
        container(device={"header": header(), "holders": (Holder("dm-0", "data"),)}, uuid=OTHER, change=["uuid"]),
        "would keep the old UUID",
    ),
    "label of LUKS1": (
        container(device={"header": header(type="luks1")}, label="b", change=["label"]),
        "is of type LUKS1, which has no label",
    ),
    "change of what is read-only": (container(device={"header": header(), "read_only": True}, label="b", change=["label"]), "is read-only"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    found, message = REFUSED[case]
    assert message in refusal(found)


def test_a_device_is_not_asked_for_twice() -> None:
    with pytest.raises(RootOfTrustError, match="/dev/x is asked for more than once"):
        plan.plan_containers([container(), container()])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"type": "luks1", "label": "a"}, "LUKS1 has no label"),
        ({"type": "luks1", "sector_size": 4096}, "LUKS1 has no sector_size"),
        ({"type": "luks1", "pbkdf": {"type": "argon2id"}}, "no key derivation but pbkdf2"),
        ({"header": "h"}, "not an absolute path"),
        ({"uuid": "x"}, "x is not a UUID"),
        ({"uuid": MARK}, "mean headers that are being made"),
        ({"key_bits": 100}, "a key cannot have 100 bits"),
        ({"change": ["label"]}, "label is to be changed, but not to what"),
        ({"passphrase": "a", "key_file": "/k"}, "both passphrase and key_file"),
    ],
)
def test_what_does_not_go_together(params: dict[str, Any], message: str) -> None:
    with pytest.raises(RootOfTrustError, match=message):
        plan.wanted_container({**PARAMS, **params})


NAMES = st.sampled_from(["ext4", "gpt", "swap", "LVM2_member", UUID, OTHER, "dos"])
TRACES = st.builds(Trace, st.just("/dev/x"), st.sampled_from(["ext4", "gpt", "PMBR", "swap", "LVM2_member", "dos", "crypto_LUKS"]),
                   st.sampled_from(["", UUID, OTHER]), st.just("0x0"))  # fmt: skip


@given(st.lists(TRACES, max_size=4), st.lists(NAMES, max_size=3), st.sampled_from(["none", "random"]), st.booleans())
def test_no_step_destroys_what_was_not_named(traces: list[Trace], wipe: list[str], fill: str, busy: bool) -> None:
    found = container(*traces, wipe=wipe, fill=fill, device={"swaps": ("/dev/x",) if busy else ()})
    try:
        due = steps(found)
    except RootOfTrustError:
        return
    assert not busy and due[-1] == "format"
    for trace in traces:
        assert {trace.type.replace("PMBR", "gpt"), trace.uuid} & set(wipe)


# --- drift, programs -------------------------------------------------------------------------------------------------


def test_drift_is_in_what_was_asked_for_only() -> None:
    asked = {"type": "luks1", "cipher": "x", "key_bits": 256, "uuid": OTHER, "pbkdf": {"type": "pbkdf2"}}
    drift = plan.drifts(container(device={"header": header()}, **asked))
    assert [(each["field"], each["is"], each["asked"]) for each in drift] == [
        ("type", "luks2", "luks1"), ("cipher", "aes-xts-plain64", "x"), ("key_bits", 512, 256), ("uuid", UUID, OTHER),
        ("pbkdf", "argon2id", "pbkdf2"),
    ]  # fmt: skip
    assert plan.drifts(container(device={"header": header()}, uuid=UUID.upper(), label="a", sector_size=4096)) == []
    assert plan.drifts(container(device={"header": header(MARK)}, label="b")) == []


def test_what_is_changed_is_no_drift_any_more() -> None:
    found = container(device={"header": header()}, label="b", subsystem="", change=["label"])
    told = plan.report_containers([found], plan.plan_containers([found]))["containers"][0]
    assert [each["field"] for each in told["drift"]] == ["subsystem"]


def test_a_plain_file_system_beside_a_detached_header_is_warned_of() -> None:
    found = container(header="/h", device={"header": header(), "signature": Signature("ext4", "filesystem", UUID, "", "")})
    (warning,) = plan.report_containers([found], ())["warnings"]
    assert "it is not encrypted" in warning


@pytest.mark.parametrize("version", ["2.36.1", "2.38.1", "2.41.5", "2.42.4"])
def test_what_wipefs_says(version: str) -> None:
    def read(case: str) -> list[Trace]:
        return parse_traces("/dev/x", (RECORDED / f"wipefs-{version}-{case}.json").read_text())

    assert read("blank") == []
    assert [(trace.type, trace.offset) for trace in read("ext4")] == [("ext4", "0x438")]
    assert [trace.type for trace in read("gpt")] == ["gpt", "gpt", "PMBR"]
    assert [trace.type for trace in read("dos")] == ["dos"]
    assert read("luks2") == list(LUKS)


def test_what_wipefs_does_not_say() -> None:
    assert parse_traces("/dev/x", "") == []
    for text in ("{}", "no", '{"signatures": [{"type": "x"}]}'):
        with pytest.raises(Malformed, match="What wipefs says about /dev/x cannot be read"):
            parse_traces("/dev/x", text)
