# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is asked of crypttab, what is refused, and what is done to its lines."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import diff
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks import plan_crypttab as plan
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import ABSENT, CrypttabState, WantedEntry
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.parse import parse_crypttab

FILE = "# boot\nroot\tUUID=aa-bb  none luks,discard\n\nswap /dev/sdb2 /dev/urandom swap,size=256 # note\n"
HOME = {"name": "home", "device": "UUID=cc", "options": ["luks", "nofail"]}
ROOT = {"name": "root", "device": "UUID=aa-bb", "options": ["luks", "discard"]}


def asked(*items: dict[str, Any], accept: tuple[str, ...] = ()) -> tuple[WantedEntry, ...]:
    return plan.wanted_entries(items, accept)


def state(*items: dict[str, Any], text: str = FILE, backup: bool = False) -> CrypttabState:
    return CrypttabState("/etc/crypttab", tuple(parse_crypttab(text)), asked(*items), backup)


def after(found: CrypttabState) -> str:
    lines = list(found.lines)
    for wanted in found.entries:
        lines = plan.edit_crypttab(lines, wanted)
    return "".join(line.text for line in lines)


def test_an_entry_is_added_at_the_end() -> None:
    found = state(HOME)
    assert after(found) == FILE + "home UUID=cc none luks,nofail\n"
    (step,) = plan.plan_crypttab(found)
    assert step.sentence == "Add the entry home in /etc/crypttab."
    assert diff([step]) == {
        "before": {"/etc/crypttab": {"home": []}},
        "after": {"/etc/crypttab": {"home": ["home UUID=cc none luks,nofail"]}},
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "home UUID=cc none luks,nofail\n"),
        ("a /dev/b", "a /dev/b\nhome UUID=cc none luks,nofail\n"),
        ("home UUID=cc", "home UUID=cc none luks,nofail"),
        ("home UUID=dd\r\n#x\r\n", "home UUID=cc none luks,nofail\r\n#x\r\n"),
        ("#home UUID=cc none luks\n", "#home UUID=cc none luks\nhome UUID=cc none luks,nofail\n"),
    ],
)
def test_the_ends_of_lines_are_kept(text: str, expected: str) -> None:
    assert after(state(HOME, text=text)) == expected


def test_the_same_in_other_words_is_left() -> None:
    for item in (ROOT, {**ROOT, "options": ["discard", "luks"]}, {**ROOT, "key_file": "-"}):
        assert plan.plan_crypttab(state(item, backup=True)) == []


def test_a_change_touches_its_line_only() -> None:
    found = state({**ROOT, "options": ["luks"]})
    assert after(found) == FILE.replace("root\tUUID=aa-bb  none luks,discard", "root UUID=aa-bb none luks")
    (step,) = plan.plan_crypttab(found)
    assert (step.before, step.after) == ({"root": ["root\tUUID=aa-bb  none luks,discard"]}, {"root": ["root UUID=aa-bb none luks"]})


def test_absent_removes_every_line_of_the_name() -> None:
    text = FILE + "root /dev/x\n"
    found = state({"name": "root", "state": ABSENT}, text=text)
    assert after(found) == FILE.replace("root\tUUID=aa-bb  none luks,discard\n", "")
    assert [step.sentence for step in plan.plan_crypttab(found)] == ["Remove the entry root in /etc/crypttab."]
    assert plan.plan_crypttab(state({"name": "nobody", "state": ABSENT})) == []


def test_two_lines_of_one_name_are_refused() -> None:
    with pytest.raises(RootOfTrustError, match=r"crypttab has 2 lines of the name root: .*; root /dev/x"):
        plan.plan_crypttab(state(ROOT, text=FILE + "root /dev/x\n"))
    with pytest.raises(RootOfTrustError, match="Two entries of the name root"):
        state(ROOT, {"name": "root", "state": ABSENT})


def test_a_copy_is_made_before_the_first_change_of_a_file_that_is_there() -> None:
    assert [step.action for step in plan.plan_crypttab(state(HOME, ROOT, backup=True))] == ["copy", "write"]
    assert [step.action for step in plan.plan_crypttab(state(HOME, ROOT, backup=True, text=""))] == ["write", "write"]


def test_the_report_is_of_what_will_be() -> None:
    found = state(HOME, ROOT, {"name": "swap", "state": ABSENT})
    steps = plan.plan_crypttab(found)
    told = plan.report_crypttab(found, steps)
    assert [entry["line"] for entry in told["entries"]] == ["home UUID=cc none luks,nofail", "root\tUUID=aa-bb  none luks,discard", None]
    assert told["daemon_reload"] is True
    now = plan.report_crypttab(found, ())
    assert (now["entries"][0]["line"], now["entries"][2]["line"], now["daemon_reload"]) == (
        None,
        "swap /dev/sdb2 /dev/urandom swap,size=256 # note",
        False,
    )


REFUSED = [
    ({"name": "a b"}, "name 'a b'"),
    ({"name": "a/b"}, "name 'a/b'"),
    ({"name": "#a"}, "name '#a'"),
    ({"name": "control"}, "name 'control'"),
    ({"name": ".."}, "name '..'"),
    ({"name": "x" * 128}, "name 'xxx"),
    ({"name": "a\nb /dev/c"}, "name"),
    ({"device": None}, "has no device"),
    ({"device": "sda1"}, "device 'sda1'"),
    ({"device": "UUID="}, "device 'UUID='"),
    ({"device": "UUID=x y"}, "device 'UUID=x y'"),
    ({"device": "UUID=../x"}, "device"),
    ({"device": "SERIAL=1"}, "device"),
    ({"device": "/dev/my disk"}, "device"),
    ({"device": "/dev/a\nb"}, "device"),
    ({"key_file": "key"}, "key file 'key'"),
    ({"key_file": "/a b"}, "key file '/a b'"),
    ({"options": ["luks,discard"]}, "no single word"),
    ({"options": [""]}, "no single word"),
    ({"options": ["luks discard"]}, "no single word"),
    ({"options": ["diskard"]}, "diskard .* is not known .is discard meant"),
    ({"options": ["luks=yes"]}, "takes no value"),
    ({"options": ["tries"]}, "needs a number"),
    ({"options": ["tries=many"]}, "needs a number"),
    ({"options": ["cipher="]}, "needs a value"),
    ({"options": ["tpm2-device"]}, "needs a value"),
    ({"options": ["luks", "plain"]}, "luks and plain"),
    ({"options": ["swap", "tmp"]}, "swap and tmp"),
    ({"options": ["tries=1", "tries=2"]}, "tries twice"),
]


@pytest.mark.parametrize(("change", "message"), REFUSED)
def test_what_is_no_entry_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RootOfTrustError, match=message):
        asked({**HOME, **change})


ACCEPTED = [
    {"options": ["tpm2-device=auto", "tpm2-pcrs=7+11", "tpm2-pin=yes", "x-initrd.attach", "x-anything=1", "_netdev"]},
    {"options": ["keyscript=/lib/cryptsetup/scripts/passdev", "initramfs", "noearly"], "key_file": "/dev/disk/by-label/k:/key:5"},
    {"options": ["keyscript=decrypt_derived"], "key_file": "cryptroot"},
    {"options": ["tmp", "plain", "check", "size=512"], "key_file": "/dev/urandom"},
    {"options": ["tmp=ext4", "check=blkid", "checkargs=ext4"]},
    {"device": "/srv/my\\040disk.img", "key_file": "/key:LABEL=stick"},
    {"device": "PARTLABEL=home"},
]


@pytest.mark.parametrize("change", ACCEPTED)
def test_both_dialects_are_accepted(change: dict[str, Any]) -> None:
    (wanted,) = asked({**HOME, **change})
    assert after(state({**HOME, **change}, text="")).split() == [
        word for word in ("home", wanted.entry.device, wanted.entry.key, ",".join(wanted.entry.options)) if word
    ]


def test_other_options_are_accepted_by_name() -> None:
    item = {**HOME, "options": ["brand-new=1"]}
    with pytest.raises(RootOfTrustError, match="brand-new"):
        asked(item)
    assert asked(item, accept=("brand-new",))[0].entry.options == ("brand-new=1",)


WORD = st.sampled_from(["home", "root", "#x", "/dev/a", "UUID=cc", "none", "luks", "-", "", " ", "\t", "\n", "\r\n"])


@given(st.lists(WORD, max_size=40).map(" ".join), st.sampled_from(["present", "absent"]))
def test_whatever_the_file_one_run_is_enough(text: str, kind: str) -> None:
    item = {**HOME, "state": kind}
    try:
        once = after(state(item, text=text))
    except RootOfTrustError as error:
        assert "lines of the name home" in error.message
        return
    assert plan.plan_crypttab(state(item, text=once)) == []
    others = [line.text.rstrip("\n") for line in parse_crypttab(text) if line.entry is None or line.entry.name != "home"]
    assert [line.text.rstrip("\n") for line in parse_crypttab(once) if line.entry is None or line.entry.name != "home"] == others
