# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which volumes are opened, closed, or given other flags."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import plan_mappings as plan
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import (
    ActiveMapping,
    Device,
    Header,
    Holder,
    Mount,
    Signature,
    Work,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.parse import Malformed, parse_status

RECORDED = Path(__file__).parents[1] / "fixtures/luks"
UUID = "11111111-2222-4333-8444-555555555555"
OURS = Holder("dm-0", "data", f"CRYPT-LUKS2-{UUID.replace('-', '')}-data")
PARAMS: dict[str, Any] = {
    "name": "data",
    "device": "/dev/x",
    "header": None,
    "state": "open",
    "passphrase": None,
    "key_file": None,
    "read_only": None,
    "discard": None,
    "same_cpu_crypt": None,
    "submit_from_crypt_cpus": None,
    "no_read_workqueue": None,
    "no_write_workqueue": None,
    "persistent": False,
}
HEADER = Header("luks2", UUID, "", "", 3, "aes-xts-plain64", 512, 512, 16777216, ())
IDLE = ActiveMapping("/dev/x", False, (), False)


def volume(
    is_open: bool = True, *, flags: tuple[str, ...] = (), kept: tuple[str, ...] = (), facts: dict[str, Any] | None = None,
    active: dict[str, Any] | None = None, device: dict[str, Any] | None = None, header: dict[str, Any] | None = None, **params: Any,
) -> plan.MappedVolume:  # fmt: skip
    wanted = plan.wanted_mapping({**PARAMS, **params})
    inside = replace(HEADER, flags=kept, **(header or {}))
    below = Device("/dev/x", 64 << 20, True, False, inside, None, (OURS,) if is_open else ())
    found = plan.MappedVolume(wanted, replace(below, **(device or {})), secret=Secret(b"s"))
    if is_open:
        found = replace(found, holder=OURS, active=replace(IDLE, flags=flags, **(active or {})))
    return replace(found, **(facts or {}))


def closed(**fields: Any) -> plan.MappedVolume:
    return volume(False, **fields)


USED = {"mounts": (Mount("/dev/mapper/data", "/srv", "ext4", ()),)}
OTHER = Holder("dm-1", "other", f"CRYPT-LUKS2-{UUID.replace('-', '')}-other")
DONE: dict[str, tuple[plan.MappedVolume, list[str]]] = {
    "closed, to be open": (closed(), ["open"]),
    "open, to be open": (volume(facts={"secret": None}), []),
    "open, to be closed": (volume(state="closed"), ["close"]),
    "closed, to be closed": (closed(state="closed", device={"header": None}), []),
    "closed by its name alone": (volume(state="closed", device=None, facts={"device": None}), ["close"]),
    "a flag to be set": (volume(discard=True, facts=USED), ["refresh"]),
    "a flag to be taken away": (volume(flags=("discards",), discard=False), ["refresh"]),
    "a flag that is set": (volume(flags=("discards", "same_cpu_crypt"), discard=True, same_cpu_crypt=True), []),
    "flags nobody asked for": (volume(flags=("discards", "high_priority")), []),
    "a flag to be kept": (volume(flags=("discards",), discard=True, persistent=True), ["refresh"]),
    "a flag that is kept": (volume(flags=("discards",), kept=("allow-discards",), discard=True, persistent=True), []),
    "a flag not to be kept": (volume(kept=("allow-discards",), discard=False, persistent=True), ["refresh"]),
    "read-only": (volume(active={"read_only": True}), []),
    "to be read-only": (volume(read_only=True), ["reopen"]),
    "to be written to": (volume(active={"read_only": True}, read_only=False), ["reopen"]),
    "in the middle of its encryption": (closed(header={"work": Work("encrypt", "backward", "checksum")}), ["open"]),
}


@pytest.mark.parametrize("case", DONE)
def test_what_is_to_be_done(case: str) -> None:
    found, expected = DONE[case]
    assert [step.action for step in plan.plan_mappings([found])] == expected


def test_a_cut_reencryption_is_told_of() -> None:
    (step,) = plan.plan_mappings([DONE["in the middle of its encryption"][0]])
    assert "in the middle of its encrypt: cryptsetup first repairs" in step.sentence


STRANGE = Holder("dm-0", "data", "LVM-x")
REFUSED: dict[str, tuple[plan.MappedVolume, str]] = {
    "mounted": (volume(state="closed", facts=USED), "/dev/mapper/data is mounted at /srv."),
    "swap": (volume(state="closed", facts={"swaps": ("/dev/dm-0",)}), "is in use as swap"),
    "held": (volume(state="closed", facts={"over": (Holder("dm-1", "vg-home"),)}), "is held by vg-home"),
    "open in a program": (volume(state="closed", active={"in_use": True}), "open in a program, or mounted in another mount namespace"),
    "no LUKS": (volume(state="closed", facts={"holder": STRANGE, "active": None}), "is no LUKS volume (LVM-x)"),
    "another's name": (volume(device={"holders": ()}), "belongs to /dev/x, and not to the LUKS volume of /dev/x"),
    "another header": (volume(header={"uuid": "2" + UUID[1:]}), "/dev/mapper/data belongs to"),
    "another's name, to be closed": (volume(state="closed", device={"holders": ()}), "/dev/mapper/data belongs to"),
    "open under another name": (closed(device={"holders": (OTHER,)}), "/dev/x is open as other, not as data. Close other first."),
    "the copy of what is open": (closed(device={"twins": ("home on y",)}), "is open as home on y, not on /dev/x"),
    "the device in use": (closed(device={"mounts": (Mount("/dev/x", "/m", "ext4", ()),)}), "/dev/x is mounted at /m"),
    "no header": (
        closed(device={"header": None, "signature": Signature("ext4", "", "", "", "")}),
        "no LUKS header that can be used, but ext4",
    ),
    "no secret": (closed(facts={"secret": None}), "no secret is given"),
    "wrong secret": (volume(facts={"proven": False}), "does not open /dev/x"),
    "read-only device": (closed(device={"read_only": True}), "/dev/x is read-only. Set read_only: true."),
    "to be read-only while mounted": (volume(read_only=True, facts=USED), "only after it is closed, and it is mounted at /srv"),
    "a flag the header keeps": (volume(kept=("allow-discards",), flags=("discards",), discard=False), "sets discards at each opening"),
    "flags of LUKS1 kept": (volume(header={"type": "luks1"}, persistent=True), "LUKS1, whose header keeps no flags"),
    "flags while it is encrypted": (
        volume(header={"work": Work("encrypt", "backward", "checksum")}, discard=True),
        "in the middle of its encrypt",
    ),
    "an unknown flag": (volume(flags=("novel",), discard=True), "flags that this module does not know: novel"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(case: str) -> None:
    found, message = REFUSED[case]
    with pytest.raises(RootOfTrustError) as caught:
        plan.plan_mappings([found])
    assert message in str(caught.value)


def test_a_name_is_not_asked_for_twice() -> None:
    with pytest.raises(RootOfTrustError, match="data is asked for more than once"):
        plan.plan_mappings([volume(), volume()])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"name": "a/b"}, "no name under"),
        ({"name": ""}, "no name under"),
        ({"device": None}, "no device is given"),
        ({"header": "h"}, "not an absolute path"),
        ({"passphrase": "a", "key_file": "/k"}, "both passphrase and key_file"),
    ],
)
def test_what_does_not_go_together(params: dict[str, Any], message: str) -> None:
    with pytest.raises(RootOfTrustError, match=message):
        plan.wanted_mapping({**PARAMS, **params})


def test_options() -> None:
    found = volume(flags=("no_read_workqueue",), discard=True, persistent=True, header={})
    assert plan.mapping_options(found) == ["--allow-discards", "--perf-no_read_workqueue", "--persistent"]
    assert plan.mapping_options(volume(discard=True, flags=("discards",))) == ["--allow-discards"]
    detached = replace(volume(), wanted=plan.wanted_mapping({**PARAMS, "header": "/h"}))
    assert plan.mapping_options(detached) == ["--header=/h"]


ASKED = st.dictionaries(st.sampled_from(sorted(plan.OPTIONS)), st.booleans())
SET = st.sets(st.sampled_from(sorted(plan.OPTIONS.values())))


@given(ASKED, SET, SET, st.booleans())
def test_after_the_step_there_is_nothing_to_do(asked: dict[str, bool], now: set[str], kept: set[str], persistent: bool) -> None:
    def written(flags: set[str]) -> tuple[str, ...]:
        return tuple("allow-discards" if flag == "discards" else flag.replace("_", "-") for flag in sorted(flags))

    found = volume(flags=tuple(sorted(now | kept)), kept=written(kept), persistent=persistent, **asked)
    try:
        due = plan.plan_mappings([found])
    except RootOfTrustError:
        assert not persistent
        return
    if not due:
        return
    final = plan.final_flags(found)
    for option, on in asked.items():
        assert (plan.OPTIONS[option] in final) == on
    after = volume(flags=tuple(sorted(final)), kept=written(final if persistent else kept), persistent=persistent, **asked)
    assert plan.plan_mappings([after]) == []
    (told,) = plan.report_mappings([found], due)["mappings"]
    (later,) = plan.report_mappings([after], ())["mappings"]
    assert told == later, "the check run predicts the result"


def test_the_report_of_what_is_to_be_closed() -> None:
    found = volume(state="closed", facts={"proven": None})
    (told,) = plan.report_mappings([found], plan.plan_mappings([found]))["mappings"]
    assert (told["state"], told["path"], told["flags"], told["read_only"]) == ("closed", None, [], None)
    other = closed(state="closed", device={"holders": (OTHER,)})
    assert plan.report_mappings([other], ())["warnings"] == ["/dev/x is still open, as other."]


# --- what cryptsetup says --------------------------------------------------------------------------------------------

PERFORMANCE = ("same_cpu_crypt", "submit_from_crypt_cpus")
QUEUES = ("discards", "no_read_workqueue", "no_write_workqueue")
STATUS = {
    "plain": IDLE,
    "perf": replace(IDLE, flags=PERFORMANCE),
    "all": replace(IDLE, flags=QUEUES),
    "readonly": replace(IDLE, read_only=True),
    "detached": replace(IDLE, flags=("discards",)),
    "reencryption": replace(IDLE, flags=("discards",)),
    "in-use": replace(IDLE, in_use=True),
}


@pytest.mark.parametrize("version", ["2.3.7", "2.6.1", "2.7.5", "2.8.8"])
@pytest.mark.parametrize("case", STATUS)
def test_what_cryptsetup_says_of_a_mapping(version: str, case: str) -> None:
    text = (RECORDED / f"cryptsetup-{version}-status-{case}.txt").read_text()
    assert parse_status(text) == replace(STATUS[case], device="/dev/ubdb")


def test_a_mapping_that_is_none_of_cryptsetups() -> None:
    for text in ("/dev/mapper/lin is active.\n  type:    n/a\n", ""):
        with pytest.raises(Malformed, match="nothing about a device"):
            parse_status(text)
