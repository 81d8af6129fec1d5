# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is to be done about header backups. Pure."""

from __future__ import annotations

import posixpath
import re
from typing import Any, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import BackedUp, BackupRule, BackupState, HeaderBackup

TIDY, BACK_UP, PROTECT, REMOVE = "tidy", "back_up", "protect", "remove"


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
