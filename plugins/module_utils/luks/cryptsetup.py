# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""cryptsetup(8): tells what a header says, and copies it."""

from __future__ import annotations

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError, ToolFailed
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Finished, Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import LUKS1, Header
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.parse import parse_dump

# Exit statuses, the same from 2.3.7 to 2.8.8
NO, WRONG_DEVICE = 1, 4


class Cryptsetup:
    """:param runner: starts it."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def header(self, path: str) -> Header | None:
        """What the header says; None where there is no usable one. It derives no key.

        :param path: the device, the detached header, or a header backup.
        :raises RootOfTrustError: if the device is not there.
        :raises ToolFailed: if cryptsetup fails over a header that it knows.
        """
        text = self._ask("luksDump", path)
        if text.rc != 0:
            # Status 1 has many reasons; isLuks has it for one.
            if text.rc == NO and self._ask("isLuks", path).rc == NO:
                return None
            raise ToolFailed(f"cryptsetup cannot tell what the LUKS header of {path} says: {text.error_text}", facts={"rc": text.rc})
        header = parse_dump(text.text)
        if header.type == LUKS1:
            return header
        metadata = self._ask("luksDump", path, "--dump-json-metadata")  # 2.4 and later
        return parse_dump(text.text, metadata.text) if metadata.rc == 0 else header

    def _ask(self, action: str, path: str, *options: str) -> Finished:
        done = self._runner.run(["cryptsetup", action, *options, "--", path], ok=None)
        if done.rc == WRONG_DEVICE:
            raise RootOfTrustError(f"cryptsetup cannot use {path}: {done.error_text}", "Correct the path of the device.")
        return done

    def back_up_header(self, path: str, backup: str) -> None:
        """Write the header and its keyslots to a file of mode 0400 that must not exist yet.

        :raises ToolFailed: if that does not succeed; a part of the file may be left.
        """
        self._runner.run(["cryptsetup", "luksHeaderBackup", "--batch-mode", f"--header-backup-file={backup}", "--", path])
