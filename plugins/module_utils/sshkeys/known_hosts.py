# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""known_hosts, the file in which ssh(1) keeps the host keys of others; see sshd(8)."""

from __future__ import annotations

import fcntl
import os
import secrets
import stat
import time
from typing import Any, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.files import atomic_write
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.model import ABSENT, Known, KnownHost
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.parse import hash_pattern
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.plan import edit_known_hosts, known_host

SALT = 20  # bytes, the length of an SHA-1 digest; ssh(1) accepts no other
LOCK_PATIENCE = 60.0  # seconds to wait for other processes


class KnownHosts:
    """
    :param path: the file.
    :param hashed: write new names as hashes.
    """

    def __init__(self, path: str, hashed: bool) -> None:
        self._path = path
        self._hashed = hashed

    def read(self, hosts: Sequence[Mapping[str, Any]]) -> Known:
        """The file and what is asked of it.

        :param hosts: each host's options.
        :raises RootOfTrustError: if the options of one are wrong, or the path is that of a folder.
        """
        return Known(path=self._path, text=self._text(), hosts=tuple(known_host(options) for options in hosts))

    def _text(self) -> str:
        """The whole file, empty where it is missing. Bytes that are no UTF-8 are kept by surrogates."""
        try:
            with open(self._path, encoding="utf-8", errors="surrogateescape", newline="") as stream:
                return stream.read()
        except FileNotFoundError:
            return ""
        except IsADirectoryError:
            raise RootOfTrustError(f"{self._path} is a folder.", "Correct the path.") from None

    def apply(self, step: Step) -> None:
        """Write one host's lines. The file is read again under a lock: others may have written since.

        :raises RootOfTrustError: if a key is not known, or the lock is held by others for a minute.
        """
        host: KnownHost = step.detail
        if None in host.keys and host.state != ABSENT:
            raise RootOfTrustError(f"Not all keys of {', '.join(host.names)} are known.", "Make them first, then give their public parts.")
        folder = os.path.dirname(os.path.realpath(self._path))
        os.makedirs(folder, mode=0o700, exist_ok=True)
        lock = os.open(os.path.join(folder, f".{os.path.basename(self._path)}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            _wait_for(lock, self._path)
            self._write(edit_known_hosts(self._text(), host, _hashed if self._hashed else None))
        finally:
            os.close(lock)

    def _write(self, text: str) -> None:
        try:
            found = os.stat(self._path)
            mode, owner = stat.S_IMODE(found.st_mode), (found.st_uid, found.st_gid)
        except FileNotFoundError:
            mode, owner = 0o600, (-1, -1)
        atomic_write(self._path, text.encode("utf-8", "surrogateescape"), mode, owner)


def _hashed(pattern: str) -> str:
    return hash_pattern(pattern, secrets.token_bytes(SALT))


def _wait_for(lock: int, path: str) -> None:
    deadline = time.monotonic() + LOCK_PATIENCE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise RootOfTrustError(f"Other processes have been writing {path} for a minute.", "Wait for their end.") from None
        time.sleep(0.02)
