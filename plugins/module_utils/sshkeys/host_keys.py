# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host keys of this machine, from all that is asked about them: files, sshd, identity, record."""

from __future__ import annotations

import errno
import grp
import os
from dataclasses import replace
from typing import Any, Callable

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError, ToolFailed
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.key_pair import KeyPairs
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.key_record import KeyRecord
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.machine_identity import MachineIdentity
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.model import (
    PRESENT_TYPES,
    Access,
    AccessRule,
    Pair,
    Served,
    ServerCheck,
    ServerSettings,
    State,
    Wanted,
    WantedKey,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.parse import sha256_fingerprint
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.plan import (
    ADOPT,
    MAKE,
    PROTECT,
    PUBLISH,
    REMOVE,
    TIDY,
    keys_of_server,
    private_access,
    replaces,
    report_look,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.ssh_keygen import SshKeygen
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.ssh_keyscan import SshKeyscan, own_address
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.sshd import Sshd

REMEDIES = {
    errno.ENOSPC: "Free space on its file system; the old key is untouched.",
    errno.EDQUOT: "Raise the quota of its owner; the old key is untouched.",
    errno.EROFS: "Mount its file system so that it can be written to; the old key is untouched.",
    errno.EACCES: "Run the task as root (become).",
    errno.EPERM: "See whether it is immutable (lsattr) or a security policy forbids it; the old key is untouched.",
}


class HostKeys:
    """Reads and changes the host keys.

    :param runner: starts ssh-keygen, sshd and restorecon.
    :param identity, record: tests give their own; a machine has only these.
    :param rule: access that the files must have; None for what this system's sshd expects.
    :param fips: the kernel's word on FIPS mode.
    """

    def __init__(
        self,
        runner: Runner,
        identity: MachineIdentity | None = None,
        record: KeyRecord | None = None,
        rule: AccessRule | None = None,
        fips: str = "/proc/sys/crypto/fips_enabled",
    ) -> None:
        self._runner = runner
        self._keygen = SshKeygen(runner)
        self._keyscan = SshKeyscan(runner)
        self._sshd = Sshd(runner, self._keygen)
        self._pairs = KeyPairs(self._keygen)
        self._identity = identity or MachineIdentity()
        self._record = record or KeyRecord()
        self._rule = rule or access_rule()
        self._fips = fips
        self._keys: tuple[WantedKey, ...] | None = None
        self._settings: ServerSettings | None = None
        self._first: State | None = None
        self._backup = False

    def read(self, asked: Wanted) -> State:
        """All facts for a plan; keeps other runs off until this process ends.

        :raises RootOfTrustError: if sshd is missing or its configuration broken where they are needed, or a key may not be read.
        """
        if asked.server:
            self._sshd.require()
        self._backup = asked.backup
        keys = self.keys(asked)
        self._pairs.lock([key.path for key in keys])
        state = self._facts(asked)
        if replaces(state, asked):
            self._keygen.require()
            state = replace(state, check=self._sshd.check() if asked.server else None)
        state = replace(state, first=self._first)
        self._first = self._first or state
        return state

    def look(self, asked: Wanted, handshake: bool, prove: bool) -> dict[str, Any]:
        """The result of ssh_host_key_info: keys, server, and what it presents.

        :param handshake: ask the running server for its keys.
        :param prove: take it as a failure if a key is due or not the one presented.
        :raises RootOfTrustError: if that is so; its facts are the result.
        """
        server: dict[str, Any] = {"installed": False, "config_valid": None, "error": "", "ports": [], "addresses": [], "running": None}
        if asked.server:
            self._ask_server(server)
        self._keys = asked.keys or keys_of_server(self._settings, self._pairs.exists, asked.template, self._in_fips_mode())
        state = self._facts(asked)
        served: list[Served] | None = None
        if handshake and self._settings is not None:
            served = self._handshake(self._settings, state)
            server["running"] = bool(served)
        result = report_look(asked, state, server, served, self._settings)
        if prove and result["faults"]:
            raise RootOfTrustError(" ".join(result["faults"]), "", result)
        return result

    def _ask_server(self, server: dict[str, Any]) -> None:
        try:
            self._sshd.require()
            server["installed"] = True
            self._settings = self._sshd.settings()
        except RootOfTrustError as error:
            server.update(config_valid=False if server["installed"] else None, error=str(error))
            return
        server.update(
            config_valid=True,
            ports=list(self._settings.ports),
            addresses=[{"address": address, "port": port} for address, port in self._settings.listens],
        )

    def _handshake(self, settings: ServerSettings, state: State) -> list[Served]:
        """What the server presents, asked once for each port (one process answers at all addresses), for the types looked at."""
        types = [kind for kind in PRESENT_TYPES if any(pair.wanted.type == kind for pair in state.pairs)]
        ports = {
            port: address for address, port in sorted(((own_address(address), port) for address, port in settings.listens), reverse=True)
        }
        return [item for port, address in sorted(ports.items()) for item in self._keyscan.scan(address, port, types or PRESENT_TYPES)]

    def _facts(self, asked: Wanted) -> State:
        """The facts without those of the server."""
        pairs = tuple(_typed(self._pairs.read(key)) for key in self.keys(asked))
        return State(pairs=pairs, identity=self._identity.read(), record=self._record.read(), rule=self._rule, asked=asked)

    def keys(self, asked: Wanted) -> tuple[WantedKey, ...]:
        """The keys that are asked for; those of the server are found out once."""
        if self._keys is None:
            self._keys = asked.keys
        if self._keys is None:
            self._settings = self._sshd.settings() if asked.server else None
            self._keys = keys_of_server(self._settings, self._pairs.exists, asked.template, self._in_fips_mode())
        return self._keys

    def _in_fips_mode(self) -> bool:
        try:
            with open(self._fips, encoding="ascii") as stream:
                return stream.read().strip() == "1"
        except OSError:
            return False

    def apply(self, step: Step) -> None:
        """Do one step.

        :raises RootOfTrustError: if it cannot be done; a pair is then as it was.
        """
        pair: Pair = step.detail
        try:
            self._actions()[step.action](step, pair)
        except OSError as error:
            place = error.filename or pair.real
            raise RootOfTrustError(f"{error.strerror} ({place}).", REMEDIES.get(error.errno or 0, "")) from error

    def _actions(self) -> dict[str, Callable[[Step, Pair], None]]:
        return {
            MAKE: self._make,
            REMOVE: self._remove,
            PROTECT: lambda _step, pair: self._pairs.protect(pair, self._access(pair), self._rule.public),
            PUBLISH: lambda _step, pair: self._pairs.publish(pair, self._rule.public),
            ADOPT: lambda _step, pair: self._note(pair, "adopted"),
            TIDY: lambda step, _pair: self._pairs.tidy(step.subject),
        }

    def _make(self, _step: Step, pair: Pair) -> None:
        """The note comes first: after a cut between the two, a clock that is wrong could make the new key pass for an old one."""
        try:
            staged, key = self._pairs.stage(pair, self._rule.private[0], self._rule.public)
        except ToolFailed as error:
            raise RootOfTrustError(
                f"No new key could be made in {os.path.dirname(pair.real)}: {error.message}",
                "Free space there, or see why it cannot be written to; the old key is untouched.",
                error.facts,
            ) from error
        try:
            if self._record.read().writable:
                self._record.note(sha256_fingerprint(key), pair.wanted.path, self._identity.read(), "made")
            self._pairs.replace(pair, staged, self._backup, lambda: self._confirm(pair, removed=False))
        finally:
            self._pairs.discard(staged)
        self._label(pair)

    def _remove(self, _step: Step, pair: Pair) -> None:
        self._pairs.remove(pair, self._backup, lambda: self._confirm(pair, removed=True))

    def _note(self, pair: Pair, how: str) -> None:
        if pair.key is not None:
            self._record.note(sha256_fingerprint(pair.key), pair.wanted.path, self._identity.read(), how)

    def _access(self, pair: Pair) -> Access:
        return private_access(pair, State(pairs=(pair,), identity=self._identity.read(), rule=self._rule))

    def _confirm(self, pair: Pair, removed: bool) -> None:
        """The server accepted its configuration before; it must still do so."""
        before = self._first.check if self._first else None
        if before is None:
            return
        after = self._sshd.check()
        error = _worse(before, after, pair, removed)
        if error:
            raise RootOfTrustError(
                f"sshd does not accept what was done to {pair.wanted.path}, so the old state was put back: {error}",
                "See what sshd -t says.",
                {"server_error": after.error},
            )

    def _label(self, pair: Pair) -> None:
        """Give the new files their SELinux label, as the distributions' own sshd-keygen does."""
        if os.path.isdir("/sys/fs/selinux/booleans") and self._runner.find("restorecon"):
            self._runner.run(["restorecon", pair.real, pair.real + ".pub"], ok=None)


def _worse(before: ServerCheck, after: ServerCheck, pair: Pair, removed: bool) -> str:
    if not after.valid:
        return after.error
    if not removed and {pair.real, pair.wanted.path} & set(after.unusable):
        return "it cannot load the new key."
    if after.keyless and not before.keyless:
        return "it has no host key left."
    return ""


def _typed(pair: Pair) -> Pair:
    """A key of the server whose path does not tell its type is wanted as what it is."""
    if pair.wanted.type or pair.key is None:
        return pair
    return replace(pair, wanted=replace(pair.wanted, type=pair.key.type))


def access_rule(group: str = "ssh_keys") -> AccessRule:
    """What this system's sshd and ssh-keysign expect: a group for host keys exists on RHEL before 10."""
    try:
        readers = grp.getgrnam(group).gr_gid
    except KeyError:
        return AccessRule()
    return AccessRule(private=(Access(0o640, 0, readers), Access(0o600, 0, 0)))
