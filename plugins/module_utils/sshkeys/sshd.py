# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""sshd(8), asked about its configuration; it is never started here."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Iterator

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Finished, Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.model import ServerCheck, ServerSettings
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.parse import (
    lacks_keys,
    parse_settings,
    privilege_separation_folder,
    unusable_keys,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.ssh_keygen import SshKeygen


class Sshd:
    """
    :param runner: starts it.
    :param keygen: makes the key of a trial where the server has none.
    """

    def __init__(self, runner: Runner, keygen: SshKeygen) -> None:
        self._runner = runner
        self._keygen = keygen

    def installed(self) -> bool:
        """Whether there is an sshd on this host."""
        return self._runner.find("sshd") is not None

    def require(self) -> None:
        """:raises RootOfTrustError: if there is none."""
        if not self.installed():
            raise RootOfTrustError(
                "The SSH server sshd is not installed on this host.",
                "Install openssh-server, or set server to none to make keys for a host that will get one later.",
            )

    def check(self) -> ServerCheck:
        """Whether it accepts its configuration (``sshd -t``). That it has no host key yet, or that its service is stopped, is no fault."""
        first, last, _key = self._ask("-t")
        return ServerCheck(
            valid=last.rc == 0,
            keyless=lacks_keys(first.error_text),
            error="" if last.rc == 0 else last.error_text,
            unusable=unusable_keys(first.error_text),
        )

    def settings(self) -> ServerSettings:
        """Its effective settings (``sshd -T``).

        :raises RootOfTrustError: if it does not accept its configuration.
        """
        _first, last, key = self._ask("-T")
        if last.rc != 0:
            raise RootOfTrustError(
                f"sshd does not accept its configuration: {last.error_text}",
                "Mend the configuration until sshd -t is silent.",
                {"server_error": last.error_text},
            )
        settings = parse_settings(last.text)
        return replace(settings, host_keys=tuple(path for path in settings.host_keys if path != key))

    def _ask(self, option: str) -> tuple[Finished, Finished, str | None]:
        """Ask, and once more for each thing that only the running service has: a key, and the folder for privilege separation.

        :return: the first answer about keys, the last answer, and the key that was lent.
        """
        key: str | None = None
        with ExitStack() as lent:
            words = ["sshd", option]
            done = self._runner.run(words, ok=None)
            folder = privilege_separation_folder(done.error_text)
            first = done
            if done.rc != 0 and lacks_keys(done.error_text):
                key = lent.enter_context(self._keygen.throw_away_key())
                words += ["-h", key]
                done = self._runner.run(words, ok=None)
                folder = privilege_separation_folder(done.error_text)
            if done.rc != 0 and folder is not None:
                lent.enter_context(_lent_folder(folder))
                done = self._runner.run(words, ok=None)
        return first, done, key


@contextmanager
def _lent_folder(path: str) -> Iterator[None]:
    """A folder that is there for the time of a trial; one that is there already stays."""
    try:
        os.mkdir(path, 0o755)
    except OSError:  # sshd will say it better
        yield
        return
    try:
        yield
    finally:
        os.rmdir(path)
