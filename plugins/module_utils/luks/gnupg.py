# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""gpg(1), to encrypt to public keys that are given: with no keyring, no trust and no network."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from typing import Iterator, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import ToolFailed
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner, memory_folder
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret

# gpg ends with 2 where it is given no key at all, and says so by showing none.
SHOWN, NONE = 0, 2
ARMOUR = b"-----BEGIN PGP MESSAGE-----"


class Gnupg:
    """:param runner: starts it."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def show(self, armoured: str) -> str:
        """The keys in a text, as ``--with-colons`` has them; empty where there is none."""
        with self._home() as home:
            (file,) = _write(home, [armoured])
            return self._runner.run(["gpg", *_options(home), "--with-colons", "--show-keys", file], ok=(SHOWN, NONE)).text

    def encrypt(self, secret: Secret, armoured: Sequence[str]) -> bytes:
        """The secret, encrypted to each of the keys, in ASCII armour.

        :raises ToolFailed: if that does not succeed.
        """
        with self._home() as home:
            to = [f"--recipient-file={file}" for file in _write(home, armoured)]
            argv = ["gpg", *_options(home), "--trust-model=always", "--armor", *to, "--encrypt"]
            sealed = self._runner.run(argv, stdin=secret).stdout
        if not sealed.startswith(ARMOUR) or secret.reveal() in sealed:
            raise ToolFailed("gpg has not given an encrypted message.")
        return sealed

    @contextmanager
    def _home(self) -> Iterator[str]:
        """A home of its own for gpg, in memory; it and any agent that was started for it are gone on every way out."""
        home = tempfile.mkdtemp(prefix=".rootoftrust-gnupg-", dir=memory_folder())
        try:
            yield home
        finally:
            if os.path.lexists(os.path.join(home, "S.gpg-agent")):
                self._runner.run(["gpgconf", "--homedir", home, "--kill", "all"], ok=None)
            shutil.rmtree(home)


def _options(home: str) -> list[str]:
    return [f"--homedir={home}", "--no-options", "--batch", "--no-tty", "--quiet", "--no-autostart", "--disable-dirmngr"]


def _write(home: str, armoured: Sequence[str]) -> list[str]:
    files = [os.path.join(home, f"{number}.asc") for number in range(len(armoured))]
    for file, text in zip(files, armoured):
        with open(file, "w", encoding="utf-8") as stream:
            stream.write(text)
    return files
