# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record of which host key was made or adopted on which machine."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.files import atomic_write
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.model import Identity, Noted, Record
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.plan import moment

VERSION = 1


class KeyRecord:
    """:param path: the file."""

    def __init__(self, path: str = "/var/lib/rootoftrust/ssh_host_keys.json") -> None:
        self._path = path

    def read(self) -> Record:
        """The notes; none where the file is missing, none and a fault where it cannot be used."""
        try:
            with open(self._path, encoding="utf-8") as stream:
                content = json.load(stream)
            keys = {fingerprint: _noted(entry) for fingerprint, entry in content["keys"].items()}
        except FileNotFoundError:
            return Record(writable=self._writable())
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            fault = f"{self._path} cannot be used ({type(error).__name__}); it is taken as empty and written anew when a note is due."
            return Record(writable=self._writable(), fault=fault)
        return Record(keys=keys, writable=self._writable())

    def note(self, fingerprint: str, path: str, identity: Identity, how: str) -> None:
        """Write down on which machine a key was made or adopted. Notes of keys that were there before stay: a backup may be put back.

        :raises OSError: as the system has it.
        """
        keys = dict(self.read().keys)
        keys[fingerprint] = Noted(identity.machine, identity.hardware, how, moment(time.time()), path)
        content = {"version": VERSION, "keys": {name: vars(note) for name, note in sorted(keys.items())}}
        os.makedirs(os.path.dirname(self._path), mode=0o755, exist_ok=True)
        atomic_write(self._path, (json.dumps(content, indent=1) + "\n").encode("utf-8"), 0o600)

    def _writable(self) -> bool:
        """Whether its file system takes writes."""
        folder = os.path.dirname(self._path)
        while not os.path.isdir(folder):
            folder = os.path.dirname(folder)
        return not os.statvfs(folder).f_flag & os.ST_RDONLY


def _noted(entry: Any) -> Noted:
    machine, hardware = entry["machine"], entry["hardware"]
    for digest in (machine, hardware):
        if digest is not None and not isinstance(digest, str):
            raise ValueError("a digest is no text")
    return Noted(machine=machine, hardware=hardware, how=str(entry["how"]), when=str(entry["when"]), path=str(entry["path"]))
