# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ssh-keygen(1): makes keys and tells public parts."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from typing import Iterator

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError, ToolFailed, ToolMissing
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner, memory_folder
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.model import PublicKey
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.parse import parse_public

MAKING = 900.0  # seconds; RSA 16384 takes minutes on a small machine


class SshKeygen:
    """:param runner: starts it."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def require(self) -> None:
        """:raises ToolMissing: if it is not installed."""
        if self._runner.find("ssh-keygen") is None:
            raise ToolMissing("The program ssh-keygen is not installed on this host.", "Install openssh-client, or openssh.")

    def make(self, path: str, kind: str, bits: int | None, comment: str | None) -> None:
        """Make a key without passphrase at a path where there is none, and its ``.pub``.

        :raises ToolFailed: if that does not succeed; something may be left at the path.
        """
        size = [] if bits is None else ["-b", str(bits)]
        words = [] if comment is None else ["-C", comment]
        self._runner.run(["ssh-keygen", "-q", "-t", kind, *size, "-N", "", *words, "-f", path], timeout=MAKING)

    def public_of(self, data: bytes) -> PublicKey:
        """The public part of a private key file, given by its content.

        By standard input, because ssh-keygen refuses a file whose mode is too open.

        :raises RootOfTrustError: if it is no key without passphrase.
        """
        try:
            done = self._runner.run(["ssh-keygen", "-y", "-P", "", "-f", "/dev/stdin"], stdin=Secret(data))
        except ToolFailed as error:
            raise RootOfTrustError(f"ssh-keygen cannot read it ({error.message})") from None
        return parse_public(done.text)[0]

    @contextmanager
    def throw_away_key(self) -> Iterator[str]:
        """The path of a key in memory, for a trial of sshd; it is gone afterwards."""
        with tempfile.TemporaryDirectory(prefix=".rootoftrust-", dir=memory_folder()) as folder:
            path = os.path.join(folder, "key")
            self.make(path, "ecdsa", None, "trial")  # the quickest type that FIPS mode has too
            yield path
