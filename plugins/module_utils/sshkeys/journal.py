# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""journalctl(1): what sshd has logged."""

from __future__ import annotations

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.plan_logins import Login, parse_journal, parse_logins

# Since OpenSSH 9.8 the process of a connection is a program of its own.
IDENTIFIERS = ("sshd", "sshd-session", "sshd-auth")
PATIENCE = 120.0  # seconds; a journal may have gigabytes


class Journal:
    """:param runner: starts it."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def logins(self) -> list[Login]:
        """Who has logged in by a key: of what root's own processes have logged as sshd, for anyone may log something under that name."""
        words = [f"SYSLOG_IDENTIFIER={name}" for name in IDENTIFIERS]
        argv = ["journalctl", "--no-pager", "-o", "json", "--output-fields=MESSAGE,_UID", "_UID=0", *words]
        return parse_logins(parse_journal(self._runner.run(argv, ok=(0, 1), timeout=PATIENCE).text))
