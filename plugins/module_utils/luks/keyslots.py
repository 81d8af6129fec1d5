# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keyslots of LUKS headers, the tokens that name them, and the key files that open them."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, Callable, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.files import atomic_write, sync_folder
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.blkid import Blkid
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.block_device import size
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.cryptsetup import Cryptsetup, pbkdf_options
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.lock import HeaderLocks
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.memory import bounded
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import PRESENT, Header, PbkdfChoice
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_keyslots import (
    ADD,
    DEFAULT_VERSION,
    DISCARD,
    FORGET,
    KEY_FILE,
    MAKE,
    MISSING,
    NO_FILE,
    NOTE,
    PASSPHRASE,
    PLACE,
    PRIORITY,
    PROVE,
    REMOVE,
    STAGED,
    TELL,
    THERE,
    TOKEN,
    UNLOCK,
    WAITING,
    Asked,
    Facts,
    Known,
    Order,
    Volume,
    Wanted,
    check_wanted,
    known_from_token,
    learn,
    same_token,
    standing,
    token_of,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.secrets import read_secret

KEY_BYTES = 64  # of a key file that is made
KEY_MODE = 0o400
LONGEST = 65536  # bytes of a secret that goes through a pipe


class Tries:
    """Secrets tried on a header; each is read when it is first needed.

    :param params: of one keyslot that is asked for.
    """

    def __init__(self, cryptsetup: Cryptsetup, path: str, params: Mapping[str, Any]) -> None:
        self._cryptsetup = cryptsetup
        self._path = path
        self._params = params

    def _secret(self, which: str) -> Secret | None:
        if which == UNLOCK:
            return read_secret(self._params.get("unlock"))
        return read_secret({"key_file": staged(self._params["key_file"])} if which == STAGED else self._params)

    def opens(self, which: str, keyslot: int) -> bool:
        secret = self._secret(which)
        return secret is not None and self._cryptsetup.opens(self._path, secret, keyslot)

    def finds(self, which: str) -> int | None:
        secret = self._secret(which)
        return None if secret is None else self._cryptsetup.unlocked_by(self._path, secret)


def staged(path: str) -> str:
    """Where a new key, or a new ciphertext, waits until its keyslot is proven."""
    folder, name = os.path.split(os.path.realpath(path))
    return os.path.join(folder, f".{name}.next")


class Keyslots:
    """
    :param runner: starts the programs.
    :param verify: whether a keyslot that is there is tried.
    """

    def __init__(self, runner: Runner, verify: bool = False) -> None:
        self._cryptsetup = Cryptsetup(runner)
        self._blkid = Blkid(runner)
        self._locks = HeaderLocks()
        self._verify = verify
        self._params: list[Mapping[str, Any]] = []
        self._asked: list[Asked] = []
        self._do: dict[str, Callable[[Order], None]] = {
            MAKE: self._make,
            NOTE: self._tell,
            ADD: self._add,
            PROVE: self._prove,
            PLACE: self._place,
            TELL: self._tell,
            FORGET: self._forget,
            REMOVE: self._remove,
            PRIORITY: self._prioritise,
            DISCARD: self._discard,
        }

    # --- read

    def read(self, params: Sequence[Mapping[str, Any]]) -> list[Asked]:
        """The headers, and what has to be known of the secrets. From here to its end this process is the only one at work on them.

        :param params: the options of each keyslot.
        :raises RootOfTrustError: if one has no header, or something is asked for that cannot be.
        """
        made = [one["key_file"] for one in params if one.get("create_key_file") and one.get("key_file")]
        for file in made:
            if made.count(file) > 1:
                raise RootOfTrustError(f"{file} is to be made for {made.count(file)} keyslots.", "Give each a file of its own.")
        volumes: dict[str, Volume] = {}
        asked = []
        for one in params:
            path = self._blkid.device(one["device"])
            at = os.path.realpath(one.get("header") or path)
            size(at)
            if at not in volumes:
                volumes[at] = self._volume(one["device"], at)
            asked.append(self._learn(volumes[at], one))
        self._params, self._asked = list(params), asked
        return asked

    def _volume(self, device: str, at: str) -> Volume:
        self._locks.hold_header(at)
        header = self._cryptsetup.header(at)
        if header is None:
            found = self._blkid.signature(at)
            raise RootOfTrustError(
                f"{at} has no LUKS header that can be used, but {found or 'nothing that is known'}.", "Correct the device."
            )
        return Volume(device, at, header, self._known(at, header))

    def _known(self, at: str, header: Header) -> tuple[Known, ...]:
        ours = [token.number for token in header.tokens if token.type == TOKEN]
        read = [known_from_token(number, self._cryptsetup.token(at, number)) for number in ours]
        return tuple(known for known in read if known is not None)

    def _learn(self, volume: Volume, params: Mapping[str, Any]) -> Asked:
        wanted = self._wanted(params, volume)
        check_wanted(wanted, volume)
        facts = self._files(wanted, params, Facts(unlock=_is_given(params.get("unlock"))))
        missing = facts.file == MISSING and not params.get("create_key_file")
        if missing and standing(volume.known, volume.numbers, wanted, facts) is None:
            read_secret(params)  # says that it is not there
        return Asked(volume, wanted, learn(volume, wanted, facts, Tries(self._cryptsetup, volume.path, params)))

    def _wanted(self, params: Mapping[str, Any], volume: Volume) -> Wanted:
        device, file = volume.device, params.get("key_file")
        if file is not None and params.get("passphrase") is not None:
            raise RootOfTrustError(f"Both a passphrase and a key file are given for a keyslot of {device}.", "Give one of them.")
        if file is not None and not os.path.isabs(file):
            raise RootOfTrustError(f"The path of the key file {file} is not absolute.", "Give its whole path.")
        if params.get("create_key_file") and file is None:
            raise RootOfTrustError(f"A key file for {device} is to be made, and it is not said where.", "Give key_file.")
        return Wanted(
            state=params["state"],
            name=params.get("name"),
            version=DEFAULT_VERSION if params.get("version") is None else params["version"],
            kind=KEY_FILE if file is not None else PASSPHRASE if params.get("passphrase") is not None else None,
            keyslot=params.get("keyslot"),
            priority=params.get("priority"),
            verify=self._verify,
            count_tokens=bool(params.get("count_tokens")),
            file=file,
        )

    def _files(self, wanted: Wanted, params: Mapping[str, Any], facts: Facts) -> Facts:
        if wanted.file is None or wanted.state != PRESENT:
            return facts
        create = params.get("create_key_file")
        if create and os.path.exists(staged(wanted.file)):
            return replace(facts, file=WAITING)
        if not os.path.exists(wanted.file):
            return replace(facts, file=MISSING)
        return replace(facts, file=THERE if create else NO_FILE)

    # --- apply

    def apply(self, step: Step) -> None:
        """Do one step.

        :raises RootOfTrustError: if it fails; what has been done so far is found by the next run.
        """
        self._do[step.action](step.detail)

    def _add(self, order: Order) -> None:
        """Have the secret in the keyslot."""
        asked, params = self._asked[order.index], self._params[order.index]
        secret, unlock = self._own(order.index), read_secret(params["unlock"])
        if len(secret) > LONGEST:
            raise RootOfTrustError(f"The secret for {asked.volume.device} has {len(secret)} bytes.", f"Give one of at most {LONGEST}.")
        if unlock is None:
            raise RootOfTrustError(f"No secret that opens {asked.volume.device} is given.", "Give one as unlock.")
        choice = bounded(self._choice(params), asked.volume.header.type)
        self._cryptsetup.add_keyslot(asked.volume.path, unlock, secret, order.number, pbkdf_options(choice), self._locks.descriptors)

    def _prove(self, order: Order) -> None:
        path = self._path(order)
        if not self._cryptsetup.opens(path, self._own(order.index), order.number):
            raise RootOfTrustError(
                f"The secret does not open keyslot {order.number} of {path}.", "See the kernel's log for faults of the disk."
            )

    def _tell(self, order: Order) -> None:
        """Write a token."""
        self._cryptsetup.add_token(self._path(order), token_of(self._complete(order.index, order.token)))

    def _forget(self, order: Order) -> None:
        """Remove a token."""
        path = self._path(order)
        header = self._cryptsetup.header(path)
        for one in self._known(path, header) if header is not None else ():
            if same_token(order.token, one):
                self._cryptsetup.remove_token(path, one.number)

    def _remove(self, order: Order) -> None:
        self._cryptsetup.remove_keyslot(self._path(order), order.number)

    def _prioritise(self, order: Order) -> None:
        self._cryptsetup.configure(self._path(order), f"--key-slot={order.number}", f"--priority={order.priority}")

    def _place(self, order: Order) -> None:
        target = os.path.realpath(str(self._asked[order.index].wanted.file))
        os.rename(staged(target), target)
        sync_folder(os.path.dirname(target))

    def _discard(self, order: Order) -> None:
        rest = staged(str(self._asked[order.index].wanted.file))
        os.unlink(rest)
        sync_folder(os.path.dirname(rest))

    def _path(self, order: Order) -> str:
        return self._asked[order.index].volume.path

    # --- what differs by the kind of the secret

    def _own(self, index: int) -> Secret:
        """The secret that the keyslot is to have."""
        params = self._params[index]
        file = params.get("key_file")
        if file is not None and params.get("create_key_file") and os.path.exists(staged(file)):
            params = {"key_file": staged(file)}
        secret = read_secret(params)
        if secret is None:
            raise RootOfTrustError(f"No secret for a keyslot of {self._params[index]['device']} is given.", "Give passphrase or key_file.")
        return secret

    def _make(self, order: Order) -> None:
        """A new key file in its place where there is none, else beside it."""
        index = order.index
        path = os.path.realpath(str(self._asked[index].wanted.file))
        make_folder(os.path.dirname(path))
        atomic_write(path if self._asked[index].facts.file == MISSING else staged(path), os.urandom(KEY_BYTES), KEY_MODE)

    def _choice(self, params: Mapping[str, Any]) -> PbkdfChoice:
        return PbkdfChoice(**(params.get("pbkdf") or {}))

    def _complete(self, index: int, known: Known) -> Known:  # pylint: disable=unused-argument
        """The token with what only this run knows."""
        return known


def _is_given(secret: Mapping[str, Any] | None) -> bool:
    return secret is not None and any(secret.get(way) is not None for way in (PASSPHRASE, KEY_FILE))


def make_folder(folder: str) -> None:
    """Have a folder, which nobody else may look into if it is made."""
    if not os.path.isdir(folder):
        os.makedirs(folder, mode=0o700)
        sync_folder(os.path.dirname(folder))
