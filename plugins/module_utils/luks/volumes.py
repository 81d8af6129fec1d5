# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""All there is to be seen of a LUKS volume, put together from the programs and the kernel."""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.blkid import Blkid
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.block_device import header_digest, size
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.cryptsetup import Cryptsetup
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.crypttab import read_lines
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.devices import is_no_table, lasting_name
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import CrypttabEntry, Header, Signature, open_form
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.notes import Notes
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.parse import Malformed
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.places import Places
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.sysfs import Sysfs
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.systemd import Systemd

OURS = "rootoftrust-"  # how the types of our own tokens begin


class Volumes:
    """
    :param runner: starts the programs.
    :param crypttab: the file.
    """

    def __init__(self, runner: Runner, crypttab: str) -> None:
        self._cryptsetup = Cryptsetup(runner)
        self._blkid = Blkid(runner)
        self._sysfs = Sysfs()
        self._systemd = Systemd(runner)
        self._crypttab = crypttab
        self._places = Places(self._blkid, read_lines(crypttab), notes=Notes().all())

    def look(self, volumes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The result of luks_info.

        :param volumes: for each its ``device``, ``name``, detached ``header``, ``mount`` and ``backups``.
        """
        warnings: list[str] = []
        return {"devices": [self._look_at(volume, warnings) for volume in volumes], "warnings": warnings}

    def _look_at(self, volume: Mapping[str, Any], warnings: list[str]) -> dict[str, Any]:
        path = self._places.device(volume["device"], volume.get("name"))
        at = volume.get("header") or path
        room = size(path)
        header = self._header(at, path)
        digest = _digest(at) if header else {"digest": None, "header_size": None}
        holders = self._sysfs.holders(path, header.uuid if header else "")
        mounts, swaps = self._sysfs.uses(path, holders)
        shown = None if header is not None and at == path else self._blkid.signature(path)
        signature = shown if header is None else None
        parts = self._sysfs.partitions(path) if is_no_table(header, shown) else {}
        if signature and signature.type == "crypto_LUKS":
            warnings.append(f"{path} has the signature of LUKS, but no header that cryptsetup can use: restore a backup of it.")
        if signature is None and at != path and not os.path.exists(at):
            warnings.append(
                f"There is no {at}, and {path} shows nothing that is known: if it is encrypted, restore a backup of its header."
            )
        mapping = open_form(holders, header.uuid) if header else None
        targets = {mount.target for mount in mounts} | {volume["device"], volume.get("mount") or ""}
        return {
            "device": volume["device"],
            "path": path,
            "lasting_path": lasting_name(path),
            "size": room,
            "header_path": at,
            "luks": header is not None,
            "header": _told(header),
            **digest,
            "reencryption": self._progress(header, room, mapping or volume.get("name")),
            "signature": None if signature is None else {**asdict(signature), "sentence": f"{path} has {signature}."},
            "mapping": None if mapping is None else {"name": mapping, "path": f"/dev/mapper/{mapping}"},
            "inside": _seen(self._blkid.signature(f"/dev/mapper/{mapping}") if mapping else None),
            "data_signature": _seen(self._blkid.signature(path, header.data_offset if at == path else 0) if header else None),
            "records": self._records(at, header),
            "holders": [asdict(holder) for holder in holders if holder.name not in parts],
            "mounts": [asdict(mount) for mount in mounts],
            "swaps": swaps,
            "fstab": [asdict(line) for line in self._places.listed(targets)],
            "crypttab": self._lines_of(path, header),
            "backups": [self._backup(backup, digest["digest"]) for backup in volume.get("backups") or ()],
        }

    def _header(self, at: str, path: str) -> Header | None:
        """A detached header that is still to be made is none."""
        if at != path and not os.path.exists(at):
            return None
        size(at)  # says what is wrong with the path
        return self._cryptsetup.header(at)

    def _progress(self, header: Header | None, room: int, name: str | None) -> dict[str, Any] | None:
        progress = header.progress(room) if header else None
        if progress is None:
            return None
        running = bool(name) and self._systemd.background(str(name)).active
        return {**asdict(progress), "percent": progress.percent, "running": running}

    def _backup(self, path: str, digest: str | None) -> dict[str, Any]:
        try:
            size(path)
            area, found = header_digest(path)
        except RootOfTrustError as error:
            return {
                "path": path, "usable": False, "fault": error.message, "uuid": None, "digest": None, "data_offset": None, "matches": False
            }  # fmt: skip
        header = self._cryptsetup.header(path)
        return {
            "path": path,
            "usable": True,
            "fault": "",
            "uuid": area.uuid,
            "digest": found,
            "data_offset": header.data_offset if header else None,
            "matches": found == digest,
        }

    def _records(self, at: str, header: Header | None) -> list[dict[str, Any]]:
        """The tokens in which the modules of this collection keep names and versions."""
        ours = [token for token in header.tokens if token.type.startswith(OURS)] if header else []
        return [{"number": token.number, **self._cryptsetup.token(at, token.number)} for token in ours]

    def _lines_of(self, path: str, header: Header | None) -> list[dict[str, Any]]:
        return [
            {"line": number, **asdict(line.entry)}
            for number, line in enumerate(read_lines(self._crypttab), 1)
            if line.entry is not None and self._names(line.entry, path, header)
        ]

    def _names(self, entry: CrypttabEntry, path: str, header: Header | None) -> bool:
        tag, _equals, value = entry.device.partition("=")
        if header is not None and tag == "UUID":
            return value.lower() == header.uuid.lower()
        if header is not None and entry.device.lower() == f"/dev/disk/by-uuid/{header.uuid}".lower():
            return True
        return self._blkid.linked(entry.device.replace("\\040", " ")) == os.path.realpath(path)


def _seen(signature: Signature | None) -> dict[str, Any] | None:
    return None if signature is None else asdict(signature)


def _told(header: Header | None) -> dict[str, Any] | None:
    if header is None:
        return None
    fields = asdict(header)
    del fields["work"]  # told as progress
    return fields


def _digest(path: str) -> dict[str, Any]:
    """None for a header whose first copy is damaged, which cryptsetup reads from the second."""
    try:
        area, digest = header_digest(path)
    except Malformed:
        return {"digest": None, "header_size": None}
    return {"digest": digest, "header_size": area.length}
