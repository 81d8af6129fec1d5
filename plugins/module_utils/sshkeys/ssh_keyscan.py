# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""ssh-keyscan(1): the host keys that a server presents in the handshake."""

from __future__ import annotations

import ipaddress
from typing import Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.model import Served
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.parse import parse_keyscan

PATIENCE = 5  # seconds for one connection


class SshKeyscan:
    """:param runner: starts it."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def scan(self, address: str, port: int, kinds: Sequence[str]) -> tuple[Served, ...]:
        """The keys of these types that a server presents; none if it does not answer.

        :raises ToolMissing: if it is not installed.
        """
        words = ["ssh-keyscan", "-T", str(PATIENCE), "-p", str(port), "-t", ",".join(kinds), address]
        done = self._runner.run(words, ok=None, timeout=PATIENCE * 4.0)
        return parse_keyscan(done.text, address, port)


def own_address(listens: str) -> str:
    """Where a socket that listens at an address can be reached from its own host."""
    try:
        address = ipaddress.ip_address(listens.partition("%")[0])
    except ValueError:
        return listens
    if not address.is_unspecified:
        return listens
    return "127.0.0.1" if address.version == 4 else "::1"
