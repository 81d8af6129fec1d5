# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is to be done about crypttab and header backups. Pure."""

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
    BackedUp,
    BackupRule,
    BackupState,
    CrypttabEntry,
    CrypttabLine,
    CrypttabState,
    HeaderBackup,
    WantedEntry,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.parse import crypttab_text

COPY, WRITE = "copy", "write"
TIDY, BACK_UP, PROTECT, REMOVE = "tidy", "back_up", "protect", "remove"
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


# --- crypttab --------------------------------------------------------------------------------------------------------


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


# --- header backups --------------------------------------------------------------------------------------------------


def backup_rule(params: Mapping[str, Any]) -> BackupRule:
    """How luks_header_backup is asked to keep backups.

    :raises RootOfTrustError: if the folder is not absolute, ``keep`` is negative, or the mode lets others read.
    """
    folder, keep, mode = params["folder"], params["keep"], params["mode"]
    if not posixpath.isabs(folder):
        raise RootOfTrustError(f"The folder {folder} is not absolute.", "Give its whole path.")
    if keep is not None and keep < 0:
        raise RootOfTrustError(f"{keep} older backups cannot be kept.", "Give 0 or more, or leave keep out to keep all.")
    if not re.fullmatch(r"0[0-7]{3}", mode):
        raise RootOfTrustError(f"The mode {mode} is not four octal digits with a 0 at the start.", 'Write it as "0400", with quotes.')
    if int(mode, 8) & 0o137 or not int(mode, 8) & 0o400:
        raise RootOfTrustError(
            f"The mode {mode} is refused: whoever reads a header backup can try passphrases at leisure.", "Use 0400, 0600, 0440 or 0640."
        )
    return BackupRule(folder, keep, int(mode, 8))


def plan_backups(state: BackupState) -> list[Step]:
    """The steps that are missing: rests away, a new backup where the header has changed, modes, and only then old ones away.

    :raises RootOfTrustError: if two headers have one UUID, by which their backups are known.
    """
    uuids = [volume.uuid for volume in state.volumes]
    for volume in state.volumes:
        if uuids.count(volume.uuid) > 1:
            same = ", ".join(other.device for other in state.volumes if other.uuid == volume.uuid)
            raise RootOfTrustError(f"{same} have one UUID, {volume.uuid}.", "Give each a folder of its own, in tasks of their own.")
    return [step for volume in state.volumes for step in _plan_backup(volume, state.rule)]


def _plan_backup(volume: BackedUp, rule: BackupRule) -> list[Step]:
    steps = [
        Step(rest, TIDY, f"Remove {rest}, the rest of a run that was cut.", {"present": True}, {"present": False}) for rest in volume.rests
    ]
    newest = volume.backups[-1] if volume.backups else None
    due = newest is None or newest.digest != volume.digest
    if due:
        why = "there is none yet" if newest is None else f"it is not as it was at {newest.stamp}"
        steps.append(
            Step(
                subject=volume.device,
                action=BACK_UP,
                sentence=f"Back up the LUKS header of {volume.device} to {rule.folder}: {why}.",
                before={"digest": None if newest is None else newest.digest},
                after={"digest": volume.digest},
                detail=volume,
            )
        )
    older = _older(volume, due)
    surplus = older[: max(len(older) - rule.keep, 0)] if rule.keep is not None else ()
    for backup in volume.backups:
        if backup not in surplus and backup.mode != rule.mode:
            steps.append(
                Step(
                    subject=backup.path,
                    action=PROTECT,
                    sentence=f"Give {backup.path} the mode {rule.mode:04o} instead of {backup.mode:04o}.",
                    before={"mode": f"{backup.mode:04o}"},
                    after={"mode": f"{rule.mode:04o}"},
                )
            )
    for backup in surplus:
        sentence = f"Remove {backup.path}: {rule.keep} older ones are kept."
        steps.append(Step(backup.path, REMOVE, sentence, {"present": True}, {"present": False}))
    return steps


def report_backups(state: BackupState, to_come: Sequence[Step]) -> dict[str, Any]:
    """The result of luks_header_backup: the backups that hold, after the steps to come."""
    due = {step.subject for step in to_come if step.action == BACK_UP}
    gone = {step.subject for step in to_come if step.action == REMOVE}
    return {
        "devices": [
            {
                "device": volume.device,
                "uuid": volume.uuid,
                "digest": volume.digest,
                # The name of one that is still to be made has the time in it.
                "path": None if volume.device in due or not volume.backups else volume.backups[-1].path,
                "older": [backup.path for backup in _older(volume, volume.device in due) if backup.path not in gone],
            }
            for volume in state.volumes
        ],
        "warnings": [
            f"The header backups of {volume.device} are in that volume itself: without the header they cannot be read. "
            "Take copies elsewhere."
            for volume in state.volumes
            if volume.within
        ],
    }


def _older(volume: BackedUp, due: bool) -> tuple[HeaderBackup, ...]:
    return volume.backups if due else volume.backups[:-1]
