# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is known of keys, keyrings and blobs, and what is asked of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret

USER, LOGON, TRUSTED, ENCRYPTED = "user", "logon", "trusted", "encrypted"  # types
SEALED = (TRUSTED, ENCRYPTED)  # what leaves the kernel only as a blob
PRESENT, ABSENT, REVOKED = "present", "absent", "revoked"  # states that can be asked for
VALID, EXPIRED = "valid", "expired"  # states of a key, beside REVOKED
SHA1_SIZE = 20  # bytes
EVM_KEY = "evm-key"  # the encrypted key that EVM asks for (security/integrity/evm/evm_crypto.c)
FOREVER = "perm"  # as /proc/keys has it for a key that does not expire

# Permissions: one byte each for possessor, user, group, others (keyctl_setperm(3)).
VIEW, SEARCH, SETATTR = 0x01, 0x08, 0x20


@dataclass(frozen=True)
class KernelKey:
    """A key or keyring in the kernel.

    :param state: VALID, EXPIRED or REVOKED.
    :param expires: when, in the words of /proc/keys (``5d``, ``perm``); empty where the kernel did not tell.
    """

    serial: int
    type: str
    description: str
    uid: int
    gid: int
    permissions: int
    state: str = VALID
    expires: str = ""

    @property
    def dead(self) -> bool:
        """Whether nobody can use it any more."""
        return self.state != VALID


@dataclass(frozen=True)
class Place:
    """A keyring as it was asked for.

    :param path: as it was written.
    :param serial: of the last keyring of the path that is there.
    :param missing: the names on the path that are not there, in order.
    """

    path: str
    serial: int
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Quota:
    """What a user's keys take of the kernel's memory, and may take."""

    keys: int
    max_keys: int
    bytes: int
    max_bytes: int


@dataclass(frozen=True)
class Sealed:
    """The text by which a trusted or encrypted key leaves the kernel.

    :param text: the whole text, without white space around it; what ``load`` takes.
    :param format, master, length: of an encrypted key.
    :param parent: of a trusted key of a TPM 2.0: the handle of its parent; None where the blob does not tell.
    :param policy: of a trusted key of a TPM 2.0: the digest of its policy; of a TPM 1.2: its PCRs with the digest at release; "" for
        none, and None where the blob does not tell.
    """

    kind: str
    text: bytes
    format: str = ""
    master: str = ""
    length: int | None = None
    parent: int | None = None
    policy: str | None = None


@dataclass(frozen=True)
class SealOptions:
    """How a trusted key is sealed; what is None is left to the kernel.

    :param by_pcrs: the PCRs whose values it is sealed to, by a policy or an information that this collection works out; empty where it is
        sealed to none, or the user gives ``policydigest`` or ``pcrinfo``.
    :param pcr_bank: whose PCRs these are.
    """

    keyhandle: str | None = None
    keyauth: Secret | None = None
    blobauth: Secret | None = None
    pcrinfo: str | None = None
    pcrlock: int | None = None
    policydigest: str | None = None
    policyhandle: str | None = None
    migratable: bool | None = None
    hash: str | None = None
    by_pcrs: tuple[int, ...] = ()
    pcr_bank: str | None = None

    @property
    def policy(self) -> str | None:
        """What a blob sealed so tells, as ``Sealed.policy`` has it; None where that is not given."""
        if self.pcrinfo is not None:
            return self.pcrinfo[: -2 * SHA1_SIZE].lower()  # at its end is the digest at creation
        return None if self.policydigest is None else self.policydigest.lower()

    def words(self, action: str, lock: bool) -> bytes:
        """The options as the kernel takes them.

        :param action: ``new``, ``load`` or ``update``; a blob already says how it is sealed.
        :param lock: whether ``pcrlock`` is among them: it extends a PCR, which is done once, when the key comes to its place.
        """
        loading = {"keyhandle": self.keyhandle, "policyhandle": self.policyhandle}
        sealing = {
            "pcrinfo": self.pcrinfo,
            "migratable": None if self.migratable is None else int(self.migratable),
            "hash": self.hash,
            "policydigest": self.policydigest,
        }
        told: dict[str, Any] = {**loading, **({} if action == "load" else sealing), "pcrlock": self.pcrlock if lock else None}
        words = [f"{name}={value}".encode() for name, value in told.items() if value is not None]
        words += [b"keyauth=" + self.keyauth.reveal()] if self.keyauth is not None else []
        words += [b"blobauth=" + self.blobauth.reveal()] if self.blobauth is not None else []
        return b" ".join(words)


@dataclass(frozen=True)
class WantedBlob:
    """A blob that is to be kept.

    :param pcrs: the PCRs that its policy stands for, to be told in errors.
    """

    path: str
    seal: SealOptions = field(default_factory=SealOptions)
    pcrs: tuple[int, ...] = ()


@dataclass(frozen=True)
class WantedKey:
    """A key that should be present, absent or revoked. The names are those of the module's options."""

    description: str
    type: str
    keyring: str
    state: str
    permissions: int | None = None
    timeout: int | None = None
    payload: Secret | None = None
    payload_file: str | None = None
    random: int | None = None
    file: str | None = None
    update_payload: str = "changed"
    length: int | None = None
    format: str = "default"
    master: str | None = None
    blobs: tuple[WantedBlob, ...] = ()  # the first is the key's own, the others are alternatives
    seal: SealOptions = field(default_factory=SealOptions)
    pcrs: tuple[int, ...] = ()
    update: bool = False
    remove_files: bool = False

    @property
    def name(self) -> str:
        """As the kernel and its users have it: ``type:description``."""
        return f"{self.type}:{self.description}"

    @property
    def subject(self) -> str:
        """As it is told of."""
        return f"{self.name} in {self.keyring}"


@dataclass(frozen=True)
class Blob:
    """A blob file, and what is known of it.

    :param exists: whether there is a file.
    :param sealed: its content; None where there is none that can be used.
    :param fault: why the content cannot be used; empty where it can.
    :param loads: whether the kernel loads it now; None where that was not tried.
    :param why: why it does not load.
    :param same: whether it holds the key that is in the kernel, which is or was given out as this text; None where nobody can tell.
    :param policy_now: what a blob sealed to the same PCRs now would tell, as ``Sealed.policy`` has it; None where it is not sealed to any,
        or they are to change while the key is there (pcrlock).
    """

    wanted: WantedBlob
    exists: bool = False
    sealed: Sealed | None = None
    fault: str = ""
    loads: bool | None = None
    why: str = ""
    same: bool | None = None
    policy_now: str | None = None

    @property
    def path(self) -> str:
        return self.wanted.path

    @property
    def moved(self) -> bool:
        """Whether the PCRs have other values than it is sealed to, or it is sealed to other PCRs."""
        return self.policy_now is not None and self.sealed is not None and self.sealed.policy not in ("", None, self.policy_now)


@dataclass(frozen=True)
class Master:
    """The key under which an encrypted key is kept.

    :param fault: why the kernel does not find it; empty where it does.
    :param size: bytes of its payload, where it can be read.
    """

    name: str
    fault: str = ""
    size: int | None = None


@dataclass(frozen=True)
class FoundKey:
    """A key that was asked for, and all that is known of it.

    :param lacking: why the kernel has no such type; empty where it has, or can have it.
    :param module: the kernel's module that has to be loaded for the type; empty where the kernel has it. No such key can be there then.
    :param key: the key in its place; None where there is none.
    :param given: the payload that it should have; None where none is given or its file is not there.
    :param kept: of ``file``: whether it exists.
    :param exposed: whether others than its owner may read that file.
    :param current: the payload that it has, of a user key that can be read.
    :param export: what the kernel gives out of a trusted or encrypted key.
    :param fault: why the kernel does not give it out.
    :param burnt: whether EVM has taken the key: it overwrites what is in the kernel, which gives out something else then.
    :param dependents: the encrypted keys that have it as their master.
    """

    wanted: WantedKey
    place: Place
    lacking: str = ""
    module: str = ""
    key: KernelKey | None = None
    given: Secret | None = None
    kept: bool = False
    exposed: bool = False
    current: Secret | None = None
    export: Sealed | None = None
    fault: str = ""
    blobs: tuple[Blob, ...] = ()
    master: Master | None = None
    dependents: tuple[str, ...] = ()
    burnt: bool = False


@dataclass(frozen=True)
class WantedKeyring:
    """A keyring that should be present or absent. The names are those of the module's options."""

    path: str
    state: str
    permissions: int | None = None
    timeout: int | None = None
    links: tuple[str, ...] = ()
    drop_keys: bool = False


@dataclass(frozen=True)
class FoundKeyring:
    """A keyring that was asked for, and what is known of it.

    :param parent: where its last name hangs; None for a keyring that hangs nowhere (a special one or a serial number).
    :param keys: what it holds.
    :param linked: of the keyrings that it should also be in, those that it is in.
    """

    wanted: WantedKeyring
    place: Place
    parent: int | None = None
    key: KernelKey | None = None
    keys: tuple[KernelKey, ...] = ()
    links: tuple[Place, ...] = ()
    linked: tuple[str, ...] = ()


def described(key: KernelKey) -> Mapping[str, Any]:
    """A key as results tell of it."""
    return {
        "serial": key.serial,
        "type": key.type,
        "description": key.description,
        "uid": key.uid,
        "gid": key.gid,
        "permissions": f"{key.permissions:08x}",
        "state": key.state,
        "expires": key.expires,
    }
