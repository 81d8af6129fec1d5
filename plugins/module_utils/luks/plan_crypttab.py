# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is to be done about crypttab. Pure."""

from __future__ import annotations

import difflib
import posixpath
import re
from typing import Any, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import (
    ABSENT,
    PRESENT,
    CrypttabEntry,
    CrypttabLine,
    CrypttabState,
    WantedEntry,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.parse import crypttab_text

COPY, WRITE = "copy", "write"
LONGEST_NAME = 127  # bytes, DM_NAME_LEN of linux/dm-ioctl.h without its end
NAME = re.compile(r"[A-Za-z0-9#+.:=@_-]+")  # what libdevmapper keeps as it is
TAGS = ("UUID", "PARTUUID", "LABEL", "PARTLABEL")
TYPES = ("luks", "plain", "tcrypt", "veracrypt", "bitlk", "fvault2")  # how a device is encrypted: one of them

# crypttab(5) of systemd 259 and of Debian's cryptsetup 2.8; both know those of the first three lines.
NO_VALUE, NUMBER, VALUE, EITHER = "no value", "a number", "a value", "either"
OPTIONS = {
    NO_VALUE: """luks plain tcrypt bitlk swap discard read-only readonly noauto verify same-cpu-crypt submit-from-crypt-cpus
        no-read-workqueue no-write-workqueue
        allow-discards ro nofail _netdev keyfile-erase tcrypt-hidden tcrypt-system tcrypt-veracrypt x-initrd.attach
        initramfs noearly loud quiet veracrypt tcrypthidden fvault2""",
    NUMBER: "sector-size offset skip keyfile-offset keyfile-size key-slot keyslot tries veracrypt-pim",
    VALUE: """cipher hash header size
        keyfile-timeout link-volume-key fixate-volume-key pkcs11-uri fido2-device fido2-cid fido2-rp tpm2-device tpm2-pcrs tpm2-signature
        tpm2-pcrlock tpm2-measure-bank tpm2-measure-keyslot-nvpcr token-timeout tcrypt-keyfile timeout x-systemd.device-timeout
        keyscript checkargs""",
    EITHER: """tmp headless password-echo password-cache try-empty-password fido2-pin fido2-up fido2-uv tpm2-pin tpm2-measure-pcr
        check precheck""",
}


def wanted_entries(items: Sequence[Mapping[str, Any]], also_accept: Sequence[str]) -> tuple[WantedEntry, ...]:
    """What the parameters of crypttab_entry ask for.

    :param items: the options of each entry.
    :param also_accept: names of crypttab options that are accepted though they are not known here.
    :raises RootOfTrustError: if an entry is wrong, or two have one name.
    """
    entries = tuple(_wanted_entry(item, also_accept) for item in items)
    names = [wanted.entry.name for wanted in entries]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RootOfTrustError(f"Two entries of the name {twice[0]} are asked for.", "Give each entry a name of its own.")
    return entries


def _wanted_entry(item: Mapping[str, Any], also_accept: Sequence[str]) -> WantedEntry:
    name, state = item["name"], item.get("state") or PRESENT
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME or name in (".", "..", "control") or name.startswith("#"):
        raise RootOfTrustError(
            f"The name {name!r} cannot be that of a mapping.",
            f"Use letters, digits and #+.:=@_- without # at the start, at most {LONGEST_NAME}.",
        )
    if state == ABSENT:
        return WantedEntry(CrypttabEntry(name, ""), state)
    if not item.get("device"):
        raise RootOfTrustError(f"The entry {name} has no device.", "Give device.")
    key = item.get("key_file") or "none"
    entry = CrypttabEntry(name, item["device"], "none" if key == "-" else key, tuple(item.get("options") or ()))
    _check_device(entry)
    _check_options(entry, also_accept)
    _check_key(entry)
    return WantedEntry(entry, state)


def _check_device(entry: CrypttabEntry) -> None:
    tag, equals, value = entry.device.partition("=")
    named = bool(equals and tag in TAGS and value)
    if tag == "UUID" and named:
        named = re.fullmatch(r"[0-9A-Fa-f-]+", value) is not None
    if not _is_word(entry.device) or not (named or posixpath.isabs(entry.device)):
        raise RootOfTrustError(
            f"The device {entry.device!r} of the entry {entry.name} is no path and no {'=, '.join(TAGS)}=.",
            "Give an absolute path or UUID=…; write white space as \\040.",
        )


def _check_key(entry: CrypttabEntry) -> None:
    # The third field of an entry with keyscript= is that script's, whatever it means.
    if not _is_word(entry.key) or not (entry.key == "none" or posixpath.isabs(entry.key) or entry.option("keyscript") is not None):
        raise RootOfTrustError(
            f"The key file {entry.key!r} of the entry {entry.name} is no absolute path.", "Give the whole path, or none."
        )


def _is_word(text: str) -> bool:
    return bool(text) and not re.search(r"\s|[\x00-\x1f\x7f]", text)


def _check_options(entry: CrypttabEntry, also_accept: Sequence[str]) -> None:
    names = [option.partition("=")[0] for option in entry.options]
    for option in entry.options:
        if not _is_word(option) or "," in option:
            raise RootOfTrustError(f"The option {option!r} of the entry {entry.name} is no single word.", "Give each option as an item.")
        fault = "" if option.partition("=")[0] in also_accept else _option_fault(option)
        if fault:
            raise RootOfTrustError(f"The option {option} of the entry {entry.name} {fault}.", "Correct it, or name it in also_accept.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RootOfTrustError(f"The entry {entry.name} has the option {twice[0]} twice.", "Leave one.")
    for kinds in (TYPES, ("swap", "tmp")):
        chosen = [kind for kind in kinds if kind in names]
        if len(chosen) > 1:
            raise RootOfTrustError(
                f"The entry {entry.name} has the options {' and '.join(chosen)}, which exclude each other.", "Leave one."
            )


def _option_fault(option: str) -> str:
    """What is wrong with an option; empty if nothing is."""
    name, equals, value = option.partition("=")
    if name.startswith("x-"):  # by crypttab(5) for anybody's use
        return ""
    forms = [form for form, known in OPTIONS.items() if name in known.split()]
    if not forms:
        near = difflib.get_close_matches(name, " ".join(OPTIONS.values()).split(), 1)
        return "is not known" + (f" (is {near[0]} meant?)" if near else "")
    form = forms[-1]
    if form == NO_VALUE and equals:
        return "takes no value"
    if form in (NUMBER, VALUE) and not value:
        return f"needs {form}"
    if form == NUMBER and not value.isdigit():
        return f"needs {form}"
    return ""


def edit_crypttab(lines: Sequence[CrypttabLine], wanted: WantedEntry) -> list[CrypttabLine]:
    """The lines as they should be; all others are kept byte for byte, and so is one that says the same in other words.

    :raises RootOfTrustError: if two lines have the name.
    """
    entry = wanted.entry
    own = [line for line in lines if line.entry is not None and line.entry.name == entry.name]
    if wanted.state == ABSENT:
        return [line for line in lines if line not in own]
    if len(own) > 1:
        raise RootOfTrustError(
            f"crypttab has {len(own)} lines of the name {entry.name}: {'; '.join(line.text.strip() for line in own)}.",
            "Remove all but one; which of them is meant is yours to say.",
        )
    if own:
        if own[0].entry is not None and _same(own[0].entry, entry):
            return list(lines)
        end = own[0].text[len(own[0].text.rstrip("\r\n")) :]
        return [CrypttabLine(crypttab_text(entry) + end, entry) if line is own[0] else line for line in lines]
    before = list(lines)
    if before and not before[-1].text.endswith("\n"):
        before[-1] = CrypttabLine(before[-1].text + "\n", before[-1].entry)
    return [*before, CrypttabLine(crypttab_text(entry) + "\n", entry)]


def _same(one: CrypttabEntry, other: CrypttabEntry) -> bool:
    return (one.device, one.key, sorted(one.options)) == (other.device, other.key, sorted(other.options))


def plan_crypttab(state: CrypttabState) -> list[Step]:
    """One step for each entry that is not as it should be, after one that keeps a copy where that is asked for.

    :raises RootOfTrustError: if two lines have one of the names.
    """
    lines, steps = list(state.lines), []
    for wanted in state.entries:
        changed = edit_crypttab(lines, wanted)
        if changed != lines:
            steps.append(_crypttab_step(state.path, wanted, lines, changed))
        lines = changed
    if steps and state.backup and state.lines:
        steps.insert(0, Step(state.path, COPY, f"Keep a dated copy of {state.path}."))
    return steps


def _crypttab_step(path: str, wanted: WantedEntry, before: Sequence[CrypttabLine], after: Sequence[CrypttabLine]) -> Step:
    name = wanted.entry.name
    old, new = _texts(before, name), _texts(after, name)
    verb = "Remove" if not new else "Change" if old else "Add"
    return Step(
        subject=path,
        action=WRITE,
        sentence=f"{verb} the entry {name} in {path}.",
        before={name: old},
        after={name: new},
        detail=wanted,
    )


def _texts(lines: Sequence[CrypttabLine], name: str) -> list[str]:
    return [line.text.rstrip("\r\n") for line in lines if line.entry is not None and line.entry.name == name]


def report_crypttab(state: CrypttabState, to_come: Sequence[Step]) -> dict[str, Any]:
    """The result of crypttab_entry: the lines that hold, after the steps to come."""
    lines = list(state.lines)
    for step in to_come:
        if step.action == WRITE:
            lines = edit_crypttab(lines, step.detail)
    return {
        "path": state.path,
        "backup_file": state.copy,
        "daemon_reload": state.written or bool(to_come),
        "entries": [
            {"name": wanted.entry.name, "state": wanted.state, "line": next(iter(_texts(lines, wanted.entry.name)), None)}
            for wanted in state.entries
        ],
    }
