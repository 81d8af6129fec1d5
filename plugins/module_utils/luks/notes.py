# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The notes of encryptions that are going on: a folder with one JSON file for each, so that a run that was cut is gone on with."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Any

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.files import atomic_write, sync_folder
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import Mount
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_encryption import Note, Stash

FOLDER = "/var/lib/rootoftrust/luks_encryption"
SUFFIX = ".json"


class Notes:
    """:param folder: where they are."""

    def __init__(self, folder: str = FOLDER) -> None:
        self.folder = folder

    def all(self) -> list[Note]:
        names = sorted(os.listdir(self.folder)) if os.path.isdir(self.folder) else []
        found = []
        for name in names:
            if name.endswith(SUFFIX) and not name.startswith("."):
                with open(os.path.join(self.folder, name), encoding="utf-8") as stream:
                    found.append(_note(json.load(stream)))
        return found

    def write(self, note: Note) -> None:
        if not os.path.isdir(self.folder):
            os.makedirs(self.folder, mode=0o700)
            sync_folder(os.path.dirname(self.folder))
        atomic_write(self._path(note.name), json.dumps(asdict(note), indent=1).encode("utf-8"), 0o600)

    def remove(self, note: Note) -> None:
        """Take a note away, and before it what a cut has left of one that was being written."""
        path = self._path(note.name)
        if os.path.exists(path):
            for name in os.listdir(self.folder):
                if name.startswith(f".{os.path.basename(path)}."):
                    os.unlink(os.path.join(self.folder, name))
            os.unlink(path)
            sync_folder(self.folder)

    def _path(self, name: str) -> str:
        return os.path.join(self.folder, name + SUFFIX)

    def undo_file(self, name: str) -> str:
        """Where resize2fs keeps what it overwrites."""
        return os.path.join(self.folder, name + ".e2undo")

    def header_file(self, name: str) -> str:
        """Where the header of a volume that is decrypted is kept."""
        return os.path.join(self.folder, name + ".luks-header")


def _note(found: dict[str, Any]) -> Note:
    mount, stash = found["mount"], found["stash"]
    return Note(
        **{
            **found,
            "mount": None if mount is None else Mount(mount["source"], mount["target"], mount["type"], tuple(mount["options"])),
            "units": tuple(found["units"]),
            "stash": None if stash is None else Stash(**stash),
        }
    )
