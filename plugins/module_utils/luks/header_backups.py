# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A folder with backups of LUKS headers, one file each, named after the UUID and the time."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import stat
import tempfile
import time
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any, Iterator, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.files import sync_file, sync_folder
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.blkid import Blkid
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.block_device import header_digest, size
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.cryptsetup import Cryptsetup
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import BackedUp, BackupState, HeaderBackup
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.parse import Malformed
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_backups import BACK_UP, PROTECT, backup_rule
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.sysfs import Sysfs

LOCK_PATIENCE = 60.0  # seconds to wait for other processes
TRIES = 3  # for a header that is changed while it is copied
STAMP = "%Y%m%dT%H%M%SZ"
SUFFIX = ".luks-header"


class HeaderBackups:
    """
    :param runner: starts the programs.
    :param params: folder, keep and mode.
    """

    def __init__(self, runner: Runner, params: Mapping[str, Any]) -> None:
        self._cryptsetup = Cryptsetup(runner)
        self._blkid = Blkid(runner)
        self._sysfs = Sysfs()
        self._params = params

    def read(self, volumes: Sequence[Mapping[str, Any]]) -> BackupState:
        """The headers and the backups there are.

        :param volumes: for each its ``device`` and detached ``header``.
        :raises RootOfTrustError: if one has no header, or what is asked for is wrong.
        """
        rule = backup_rule(self._params)
        return BackupState(rule, tuple(self._volume(volume, rule.folder) for volume in volumes))

    def _volume(self, volume: Mapping[str, Any], folder: str) -> BackedUp:
        path = self._blkid.device(volume["device"])
        at = volume.get("header") or path
        size(path)
        size(at)
        if self._cryptsetup.header(at) is None:
            found = self._blkid.signature(at)
            raise RootOfTrustError(
                f"{at} has no LUKS header that can be used, but {found or 'nothing that is known'}.", "Correct the device."
            )
        area, digest = header_digest(at)
        if not re.fullmatch(r"[0-9A-Fa-f-]+", area.uuid):
            raise RootOfTrustError(f"The LUKS header of {at} has no usable UUID: {area.uuid!r}.", "Give it one by cryptsetup luksUUID.")
        return BackedUp(
            device=volume["device"],
            header_path=at,
            uuid=area.uuid,
            digest=digest,
            backups=tuple(_backups(folder, area.uuid)),
            rests=tuple(os.path.join(folder, name) for name in _names(folder, rf"\.{re.escape(area.uuid)}-.*\.part")),
            within=self._sysfs.carries(path, _existing(folder)),
        )

    def apply(self, step: Step) -> None:
        """Do one step.

        :raises RootOfTrustError: if a backup is not equal to the header, or the folder is locked by others for a minute.
        """
        if step.action == BACK_UP:
            self._back_up(step.detail, backup_rule(self._params).mode)
        elif step.action == PROTECT:
            os.chmod(step.subject, backup_rule(self._params).mode)
            sync_file(step.subject)
        else:
            folder = os.path.dirname(step.subject)
            with _locked(folder):
                _remove(step.subject)
                sync_folder(folder)

    def _back_up(self, volume: BackedUp, mode: int) -> None:
        """Into a folder of its own inside the folder, proven, and only then under its name."""
        folder = self._params["folder"]
        if not os.path.isdir(folder):
            os.makedirs(folder, mode=0o700)
            sync_folder(os.path.dirname(os.path.realpath(folder)))
        with _locked(folder):
            backups = _backups(folder, volume.uuid)
            if backups and backups[-1].digest == header_digest(volume.header_path)[1]:
                return  # another run was quicker
            part = tempfile.mkdtemp(prefix=f".{volume.uuid}-", suffix=".part", dir=folder)
            try:
                copy = self._proven_copy(volume.header_path, part)
                os.chmod(copy, mode)
                sync_file(copy)
                os.rename(copy, os.path.join(folder, f"{volume.uuid}-{_stamp(folder, volume.uuid)}{SUFFIX}"))
                sync_folder(folder)
            finally:
                _remove(part)

    def _proven_copy(self, header: str, part: str) -> str:
        """A copy whose bytes, and what cryptsetup reads from them, are those of the header."""
        for number in range(TRIES):
            copy = os.path.join(part, str(number))
            self._cryptsetup.back_up_header(header, copy)
            if header_digest(copy) == header_digest(header) and self._cryptsetup.header(copy) == self._cryptsetup.header(header):
                return copy
        raise RootOfTrustError(
            f"{TRIES} copies of the LUKS header of {header} are not equal to it: it is being changed.", "Wait until a reencryption pauses."
        )


def _names(folder: str, pattern: str) -> list[str]:
    names = os.listdir(folder) if os.path.isdir(folder) else []
    return sorted(name for name in names if re.fullmatch(pattern, name))


def _backups(folder: str, uuid: str) -> list[HeaderBackup]:
    found = []
    for name in _names(folder, rf"{re.escape(uuid)}-\d{{8}}T\d{{6}}Z{re.escape(SUFFIX)}"):
        path = os.path.join(folder, name)
        try:
            digest: str | None = header_digest(path)[1]
        except Malformed:
            digest = None
        stamp = name[len(uuid) + 1 : -len(SUFFIX)]
        found.append(HeaderBackup(path, stamp, digest, stat.S_IMODE(os.stat(path).st_mode)))
    return found


def _stamp(folder: str, uuid: str) -> str:
    """The time, or a second after that of the newest backup where the clock says that it is not later."""
    now = datetime.now(timezone.utc)
    backups = _backups(folder, uuid)
    if backups:
        newest = datetime.strptime(backups[-1].stamp, STAMP).replace(tzinfo=timezone.utc)
        now = max(now, newest + timedelta(seconds=1))
    return now.strftime(STAMP)


def _existing(folder: str) -> str:
    while not os.path.exists(folder):
        folder = os.path.dirname(folder)
    return folder


def _remove(path: str) -> None:
    """Remove a file, or a folder with its files; what is gone already is well."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


@contextmanager
def _locked(folder: str) -> Iterator[None]:
    """Alone in the folder, among those that use this module."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline = time.monotonic() + LOCK_PATIENCE
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise RootOfTrustError(f"Other processes have been writing to {folder} for a minute.", "Wait for their end.") from None
            time.sleep(0.02)  # between two tries, until the deadline, which fails above
        yield
    finally:
        os.close(descriptor)
