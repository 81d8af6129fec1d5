# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who has logged in by which key, from what sshd has logged. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, Iterable, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.parse import parse_public, sha256_fingerprint

# At LogLevel INFO, sshd's default: auth.c, auth_log() of OpenSSH, since 6.8.
_ACCEPTED = re.compile(r"Accepted publickey for (\S+) from (\S+) port \d+ ssh2: (\S+) (SHA256:[A-Za-z0-9+/]{43})")


@dataclass(frozen=True, order=True)
class Login:
    """A log-in by a key. The name of a user is one word, so that nobody can forge a line by theirs."""

    user: str
    address: str
    type: str
    fingerprint: str


def parse_journal(text: str) -> list[str]:
    """What root's own processes have logged, of the output of ``journalctl -o json``. What is no entry is passed over.

    A name that somebody gave may have in it what Python takes for the end of a line; an entry ends where the journal ends it.
    """
    found = []
    for line in text.split("\n"):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("MESSAGE"), str) and entry.get("_UID") == "0":
            found.append(entry["MESSAGE"])
    return found


def parse_logins(messages: Iterable[str]) -> list[Login]:
    """The log-ins by a key among messages of sshd; each kind once."""
    found = {Login(*match.groups()) for match in (_ACCEPTED.match(message) for message in messages) if match is not None}
    return sorted(found)


def fingerprints(keys: Sequence[str]) -> list[str]:
    """Of public keys, each a line of authorized_keys without options.

    :raises RootOfTrustError: if one is none.
    """
    return [sha256_fingerprint(parse_public(one)[0]) for one in keys]


def report_logins(
    logins: Sequence[Login], users: Sequence[Mapping[str, Any]], require: bool, passwords: Sequence[str] | None
) -> dict[str, Any]:
    """The result of ssh_login_info.

    :param users: each with the keys by one of which they should have logged in.
    :param passwords: the ways in which the server takes passwords; None where that was not asked.
    :raises RootOfTrustError: if ``require`` and one has not.
    """
    told = []
    for one in users:
        wanted = fingerprints(one["keys"])
        seen = sorted({login.fingerprint for login in logins if login.user == one["user"] and login.fingerprint in wanted})
        told.append({"user": one["user"], "fingerprints": wanted, "seen": seen, "proven": bool(seen)})
    missing = [one["user"] for one in told if not one["proven"]]
    result = {"users": told, "proven": not missing, "logins": [vars(login) for login in logins], "passwords": passwords}
    if require and missing:
        raise RootOfTrustError(
            f"No log-in by one of their keys has been seen of: {', '.join(missing)}.",
            "Have them log in by their key once, and run again.",
            result,
        )
    return result
