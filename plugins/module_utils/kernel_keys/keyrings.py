# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keyrings by the names users give them, and the keys in them.

A key can be read and used by who *possesses* it: who reaches it from a keyring of his own process. The session of a service or of a
job need not have the user's keyring in it. So this process links what it works with into its process keyring, which ends with it.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from typing import Iterator, Mapping

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.keyctl import (
    PROCESS,
    SESSION,
    THREAD,
    USER,
    USER_SESSION,
    Keyctl,
    KeyctlError,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.model import EXPIRED, REVOKED, KernelKey, Place
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.parse import parse_description, parse_keyring
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.procfs import Procfs

KEYRING = "keyring"  # the type
SPECIAL = {"@s": SESSION, "@u": USER, "@us": USER_SESSION}
DEEPEST = 6  # nested keyrings that the kernel searches (KEYRING_SEARCH_MAX_DEPTH)
UNKNOWN_TYPE = (errno.ENODEV, errno.ENOKEY)
LOCK = (f"kernel-keys-{os.getuid()}", "the kernel's keys of this user")  # held by who changes any


class Keyrings:
    def __init__(self, keyctl: Keyctl, procfs: Procfs) -> None:
        self.keyctl, self.procfs = keyctl, procfs
        self._private = count(1)
        self._possess(USER)

    def _possess(self, serial: int) -> None:
        with suppress(KeyctlError):  # a keyring that may not be linked is used as far as its permissions go
            self.keyctl.link(serial, PROCESS)

    def find(self, path: str) -> Place:
        """The keyring of this name, as far down as it is there.

        :raises RootOfTrustError: if what it begins with is not there.
        """
        start, names = parse_keyring(path)
        serial = self._start(start, path)
        self._possess(serial)
        for number, name in enumerate(names):
            key = self.key_in(serial, KEYRING, name)
            if key is None or key.dead:
                return Place(path, serial, names[number:])
            serial = key.serial
        return Place(path, serial)

    def _start(self, start: str, path: str) -> int:
        if start in SPECIAL:
            return self.keyctl.resolve(SPECIAL[start], create=True)
        if start.startswith("%:"):
            named = [key for key in self.procfs.keys().values() if (key.type, key.description) == (KEYRING, start[2:]) and not key.dead]
            if len(named) != 1:
                fact = f"{len(named)} keyrings have" if named else "no keyring that this process may see has"
                raise RootOfTrustError(f"The keyring {path!r}: {fact} the name {start[2:]}.", "Give its serial number, or @u and the way.")
            return named[0].serial
        serial = int(start, 0)
        try:
            key = self.look(serial)
        except KeyctlError as error:
            raise RootOfTrustError(f"The keyring {path!r}: {error.strerror}.", "See /proc/keys for those that are there.") from None
        if key.type != KEYRING or key.dead:
            raise RootOfTrustError(f"{path!r} is a key of the type {key.type} ({key.state}), and no keyring.", "Correct the number.")
        return serial

    def look(self, serial: int, table: Mapping[int, KernelKey] | None = None) -> KernelKey:
        """A key as it is, alive or not.

        :param table: that of /proc/keys, where it is read already.
        """
        known = (self.procfs.keys() if table is None else table).get(serial)
        try:
            key = parse_description(serial, self.keyctl.describe(serial))
        except KeyctlError as error:
            if error.errno not in (errno.EKEYEXPIRED, errno.EKEYREVOKED):
                raise
            state = EXPIRED if error.errno == errno.EKEYEXPIRED else REVOKED
            return replace(known, state=state) if known is not None else KernelKey(serial, "", "", 0, 0, 0, state)
        return replace(key, expires=known.expires if known is not None else "")

    def keys_in(self, keyring: int) -> list[KernelKey]:
        """What a keyring holds; what may not be seen is left out."""
        table, found = self.procfs.keys(), []
        for serial in self.keyctl.links(keyring):
            with suppress(KeyctlError):
                found.append(self.look(serial, table))
        return found

    def key_in(self, keyring: int, kind: str, description: str) -> KernelKey | None:
        """The key of this type and name that hangs in the keyring itself."""
        try:
            held = self.keys_in(keyring)
        except KeyctlError as error:
            raise RootOfTrustError(f"The keyring {keyring} cannot be read: {error.strerror}.", "Look at its permissions.") from None
        return next((key for key in held if (key.type, key.description) == (kind, description)), None)

    def all_in(self, keyring: int, depth: int = DEEPEST) -> Iterator[tuple[int, KernelKey]]:
        """All that is in a keyring and in the keyrings in it, each with the keyring that it hangs in."""
        for key in self.keys_in(keyring):
            yield keyring, key
            if key.type == KEYRING and not key.dead and depth:
                with suppress(KeyctlError):
                    yield from self.all_in(key.serial, depth - 1)

    def make(self, place: Place) -> int:
        """Make what is missing of a path; the serial number of its end."""
        serial = place.serial
        for name in place.missing:
            serial = self.keyctl.add(KEYRING, name, None, serial)
        return serial

    @contextmanager
    def private(self) -> Iterator[int]:
        """A keyring that only this thread has: what is in it is gone with it, however this process ends."""
        serial = self.keyctl.add(KEYRING, f"rootoftrust-{next(self._private)}", None, THREAD)
        try:
            yield serial
        finally:
            self.keyctl.unlink(serial, THREAD)

    def has_type(self, kind: str) -> bool:
        """Whether the kernel knows the type: one that does complains of the payload. No key is made."""
        try:
            self.keyctl.add(kind, "rootoftrust:probe", b"" if kind in ("user", "logon") else b"probe", THREAD)
        except KeyctlError as error:
            return error.errno not in UNKNOWN_TYPE
        return True


def refusal(error: KeyctlError, what: str, procfs: Procfs) -> RootOfTrustError:
    """What the kernel's refusal means."""
    if error.errno == errno.EDQUOT:
        quota, root = procfs.quota(), os.geteuid() == 0
        told = f": {quota.keys} of {quota.max_keys} keys, {quota.bytes} of {quota.max_bytes} bytes are taken" if quota is not None else ""
        limits = "kernel.keys.root_maxkeys and kernel.keys.root_maxbytes" if root else "kernel.keys.maxkeys and kernel.keys.maxbytes"
        return RootOfTrustError(f"{what}: the quota of keys is full{told}.", f"Take away keys, or raise {limits} (ansible.posix.sysctl).")
    told_of = {
        errno.EACCES: ("the permissions of the key or keyring do not allow it", "Look at them in /proc/keys."),
        errno.ENOKEY: ("a key that it needs is not there any more", "See who else works with it."),
        errno.EKEYEXPIRED: ("the key has expired", "Run it again: it is made or loaded anew."),
        errno.EKEYREVOKED: ("the key has been revoked", "Run it again: it is made or loaded anew."),
        errno.EPERM: ("the TPM said no, or the name is the kernel's own", "See PCRs, keyauth and blobauth."),
        errno.EINVAL: ("it does not take the options", "A TPM 2.0 wants keyhandle, the handle of a storage key that is there."),
        errno.ENODEV: ("the type of key, or what seals it, is not there", "See whether its module and the TPM are there."),
        errno.ENOMEM: ("it has no memory for it", "Free some."),
    }
    fact, remedy = told_of.get(error.errno or 0, (str(error.strerror), ""))
    return RootOfTrustError(f"{what}: {fact} ({error.strerror}).", remedy)
