# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys in a keyring, and the files that are exported from it."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from types import TracebackType
from typing import Any, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError, certain
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.files import atomic_write
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.lock import Locks
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.account import Account
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.gnupg import Gnupg, Keyring
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.model import CURVES, ENCRYPT, PRESENT, SIGN, Key
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.parse import (
    armours,
    comments,
    ownertrust_line,
    parse_keys,
    revoked_key,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.plan_keys import (
    ADD_SUBKEY,
    ADD_USER_ID,
    BACKUP,
    CERTIFICATE,
    DELETE,
    EXTEND,
    HOME,
    MAKE,
    PUBLISH,
    REVOKE,
    REVOKE_SUBKEY,
    REVOKE_USER_ID,
    TRUST,
    Files,
    Order,
    Ring,
    WantedKey,
    WantedPart,
    find,
    label,
    parameters,
    wanted_key,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.plan_recipients import faults, recipient

SECRET_MODE, PUBLIC_MODE = 0o600, 0o644
LIST_USAGES = {"cert": "cert", "sign": "sign", "encrypt": "encr", "auth": "auth"}  # words of --quick-add-key


class OpenedKeyring:
    """A user's keyring, for as long as a module runs: its end ends gpg's agent.

    :param runner: starts gpg.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._locks = Locks()
        self._opened: Keyring | None = None
        self._home = ""
        self.account = Account(None)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._opened is not None:
            self._opened.close()

    def open(self, params: Mapping[str, Any]) -> str:
        """Know the user and the home; its path.

        :raises RootOfTrustError: if that cannot be, or another run is at work there.
        """
        if not self._home:
            self.account = Account(params["user"])
            self._home = self.account.home(params["home"])
            self._locks.hold(f"gpg-{self.account.number}", f"the keyrings of {self.account.name}")
        return self._home

    @property
    def exists(self) -> bool:
        """Whether there is a home."""
        with self.account.acting():
            return os.path.isdir(self._home)

    @property
    def keyring(self) -> Keyring:
        """The keyring, whose home exists."""
        if self._opened is None:
            self._opened = Keyring(self._runner, self._home, self.account)
        return self._opened

    def listed(self) -> tuple[Key, ...]:
        """All keys."""
        return tuple(parse_keys(self.keyring.keys())) if self.exists else ()


class Keys(OpenedKeyring):
    """Keys that should be there, their files included.

    :param runner: starts gpg.
    """

    def __init__(self, runner: Runner) -> None:
        super().__init__(runner)
        self._gnupg = Gnupg(runner)
        self._asked: Sequence[Mapping[str, Any]] = ()
        self._made: dict[int, str] = {}
        self._recipients: dict[str, str] = {}

    def read(self, params: Mapping[str, Any], asked: Sequence[Mapping[str, Any]]) -> Ring:
        """The keyring and the files.

        :raises RootOfTrustError: if something that is asked for cannot be had, or the keyring cannot be worked with.
        """
        self._asked = asked
        home = self.open(params)
        now = int(time.time())
        wanted = tuple(self._wanted(one, now) for one in asked)
        ring = Ring(home, self.exists, self.listed(), wanted, (), now)
        for one, params_of_one in zip(wanted, asked):
            key = find(ring, one)
            if params_of_one["verify"] and one.state == PRESENT and key is not None and not key.primary.is_expired(now):
                self._prove(key, params_of_one)
        return replace(ring, files=tuple(self._files(ring, one) for one in wanted))

    def _prove(self, key: Key, params: Mapping[str, Any]) -> None:
        signs, encrypts = SIGN in key.usable, ENCRYPT in key.usable
        if signs or encrypts:
            self.keyring.prove(key.fingerprint, signs, encrypts, Secret.from_param(params["passphrase"]))

    def _wanted(self, params: Mapping[str, Any], now: int) -> WantedKey:
        wanted = wanted_key(params, now)
        armoured = params["backup_recipients"] if wanted.backup_file is not None else None
        if not armoured:
            return wanted
        for text in armoured:
            if text not in self._recipients:
                self._recipients[text] = self._gnupg.show(text)
        found = [recipient(self._recipients[text], number, f"the backup of {wanted.name}") for number, text in enumerate(armoured, 1)]
        return replace(wanted, backup_recipients=tuple(sorted({one.fingerprint for one in found})), faults=faults(found))

    def _files(self, ring: Ring, wanted: WantedKey) -> Files:
        key = find(ring, wanted)
        with self.account.acting():
            public, backup, certificate = (_content(path) for path in (wanted.public_key_file, wanted.backup_file, wanted.revocation_file))
        return Files(
            public,
            self.keyring.public(key.fingerprint) if key is not None and wanted.state == PRESENT else None,
            next(iter(comments(backup.decode("utf-8", "replace"))), "") if backup else None,
            self._revoked(certificate) if certificate else None,
        )

    def _revoked(self, data: bytes) -> str:
        """The key that the certificate in a file revokes."""
        found = list(armours(data.decode("utf-8", "replace")))
        return revoked_key(self._gnupg.packets(found[0].encode("utf-8"))) if len(found) == 1 else ""

    # ---------------------------------------------------------------------------------------------------------- applying

    def apply(self, step: Step) -> None:
        """Do one step."""
        if step.action == HOME:
            self.account.make_home(step.subject)
            return
        order: Order = step.detail
        actions = {
            MAKE: self._make,
            ADD_SUBKEY: self._add_subkey,
            ADD_USER_ID: lambda one: self.keyring.add_user_id(self._fingerprint(one), one.text, self._passphrase(one)),
            REVOKE_USER_ID: lambda one: self.keyring.revoke_user_id(self._fingerprint(one), one.text, self._passphrase(one)),
            EXTEND: self._extend,
            REVOKE_SUBKEY: self._revoke_subkey,
            REVOKE: lambda one: self.keyring.bring(self.keyring.revocation(self._fingerprint(one), self._passphrase(one))),
            DELETE: self._delete,
            TRUST: lambda one: self.keyring.set_ownertrust(ownertrust_line(self._fingerprint(one), one.text)),
            BACKUP: self._back_up,
            CERTIFICATE: self._write_certificate,
            PUBLISH: self._publish,
        }
        try:
            actions[step.action](order)
        except OSError as error:
            raise RootOfTrustError(f"{error.strerror} ({error.filename or step.subject}).", "See to its folder, and run again.") from error

    def _fingerprint(self, order: Order) -> str:
        return order.key.fingerprint if order.key is not None else self._made[order.index]

    def _passphrase(self, order: Order) -> Secret | None:
        return Secret.from_param(self._asked[order.index]["passphrase"])

    def _make(self, order: Order) -> None:
        part, passphrase = certain(order.part), self._passphrase(order)
        text = parameters(order.wanted.user_ids[0], part, _seconds(part, int(time.time())), passphrase is not None)
        self._made[order.index] = self.keyring.generate(text, passphrase)

    def _add_subkey(self, order: Order) -> None:
        part = certain(order.part)
        usage = ",".join(LIST_USAGES[one] for one in sorted(part.usage))
        expires = _expires(part, int(time.time()))
        self.keyring.add_subkey(self._fingerprint(order), _subkey_algorithm(part), usage, expires, self._passphrase(order))

    def _extend(self, order: Order) -> None:
        primary, *subkeys = order.fingerprints
        expires = _expires(certain(order.part), int(time.time()))
        self.keyring.set_expiry(primary, expires, subkeys, self._passphrase(order))

    def _revoke_subkey(self, order: Order) -> None:
        """gpg takes its number, which is that of the moment."""
        fingerprint = self._fingerprint(order)
        (key,) = (one for one in self.listed() if one.fingerprint == fingerprint)
        numbers = {part.fingerprint: number for number, part in enumerate(key.subkeys, 1)}
        self.keyring.revoke_subkey(fingerprint, numbers[order.fingerprints[0]], self._passphrase(order))

    def _delete(self, order: Order) -> None:
        key = certain(order.key)
        self.keyring.delete(key.fingerprint, any(part.secret for part in key.parts))

    def _back_up(self, order: Order) -> None:
        """The secret key as it is now goes from gpg to gpg, and its ciphertext to the file."""
        fingerprint = self._fingerprint(order)
        (key,) = (one for one in self.listed() if one.fingerprint == fingerprint)
        head = label(key, order.wanted.backup_recipients)
        secret = self.keyring.secret(fingerprint, self._passphrase(order))
        sealed = self._gnupg.encrypt(secret, self._asked[order.index]["backup_recipients"], head)
        self._write(order.wanted.backup_file, sealed, SECRET_MODE)

    def _write_certificate(self, order: Order) -> None:
        data = self.keyring.revocation(self._fingerprint(order), self._passphrase(order))
        self._write(order.wanted.revocation_file, data, SECRET_MODE)

    def _publish(self, order: Order) -> None:
        self._write(order.wanted.public_key_file, self.keyring.public(self._fingerprint(order)), PUBLIC_MODE)

    def _write(self, path: str | None, data: bytes, mode: int) -> None:
        with self.account.acting():
            atomic_write(certain(path), data, mode)


def _content(path: str | None) -> bytes | None:
    """Of a file; None where there is none."""
    if path is None:
        return None
    try:
        with open(path, "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RootOfTrustError(f"{path} cannot be read: {error.strerror}.", "Give another file, or see to its permissions.") from error


def _subkey_algorithm(part: WantedPart) -> str:
    """For --quick-add-key. On a curve that can do both it has to be said whether a key signs; gpg guesses that it encrypts."""
    if part.algorithm not in CURVES:
        return part.algorithm
    return f"{part.algorithm}/{'ecdh' if ENCRYPT in part.usage else 'ecdsa'}"


def _seconds(part: WantedPart, now: int) -> int | None:
    moment = part.expires.at(now)
    return None if moment is None else moment - now


def _expires(part: WantedPart, now: int) -> str:
    """For an argument of gpg: seconds from now."""
    seconds = _seconds(part, now)
    return "0" if seconds is None else f"seconds={seconds}"
