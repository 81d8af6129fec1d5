# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is known and what is wanted about SSH keys. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Mapping

FOLDER = "/etc/ssh"
PRESENT_TYPES = ("ed25519", "rsa", "ecdsa", "mldsa44-ed25519")
TYPES = (*PRESENT_TYPES, "dsa")  # a DSA key can be removed, not made

RSA_DEFAULT = 3072  # bits; ssh-keygen's own default since OpenSSH 8.0 (BSI TR-02102: at least 3000)
RSA_LEAST = 2048  # bits; NIST SP 800-131A rev. 2 disallows less
RSA_MOST = 16384  # bits; OpenSSH refuses more
ECDSA_SIZES = (256, 384, 521)  # the curves of RFC 5656
ECDSA_DEFAULT = 256  # bits; ssh-keygen's own default

MADE_ANEW_FOR = ("unreadable", "wrong_type", "too_small", "listed", "cloned")  # reasons that `regenerate` may name

FIXED_SIZES = {"ed25519": 256, "mldsa44-ed25519": 512}  # bits, as ssh-keygen -l prints them

ABSENT, PRESENT = "absent", "present"


@dataclass(frozen=True)
class PublicKey:
    """The public part of a key.

    :param type: one of :data:`TYPES`, or the algorithm's name where it is none of these.
    :param size: bits; 0 where the type is not known.
    :param blob: the key as it goes over the wire (RFC 4253 §6.6).
    :param algorithm: its name in files (``ssh-ed25519``).
    """

    type: str
    size: int
    blob: bytes
    algorithm: str


@dataclass(frozen=True)
class PrivateFile:
    """What a private key file tells without its passphrase.

    :param public: its public part; None where only ssh-keygen can tell (PEM, and types that are not known here).
    :param comment: the comment inside it; empty in PEM.
    """

    public: PublicKey | None
    comment: str = ""


@dataclass(frozen=True)
class WantedKey:
    """One host key as it is asked for.

    :param type: see :data:`TYPES`.
    :param path: of the private part; the public part is beside it, with ``.pub``.
    :param size: bits; None for the type's default when it is made, and for no demand beyond :data:`RSA_LEAST` when it exists.
    :param comment: of a key that is made; None for ssh-keygen's user@host.
    :param state: present or absent.
    :param force: make it anew without any other reason.
    """

    type: str
    path: str
    size: int | None = None
    comment: str | None = None
    state: str = PRESENT
    force: bool = False

    @property
    def bits(self) -> int | None:
        """The size to ask ssh-keygen for; None where the type has only one."""
        defaults = {"rsa": RSA_DEFAULT, "ecdsa": ECDSA_DEFAULT}
        return self.size or defaults.get(self.type)

    @property
    def size_made(self) -> int | None:
        """The size that a new key will have."""
        return self.bits or FIXED_SIZES.get(self.type)


@dataclass(frozen=True)
class Wanted:
    """All that one run asks for.

    :param keys: the keys; None for those that the server uses.
    :param template: gives comment and force to the keys of the server.
    :param regenerate: the reasons for which an existing key may be made anew.
    :param bad_fingerprints: keys that must not be used, as ``SHA256:…`` or ``MD5:…``.
    :param backup: keep the old pair under a dated name.
    :param server: there is an sshd, and it must accept its configuration before and after.
    """

    keys: tuple[WantedKey, ...] | None
    template: WantedKey = WantedKey(type="", path="")
    regenerate: frozenset[str] = frozenset(MADE_ANEW_FOR)
    bad_fingerprints: frozenset[str] = frozenset()
    backup: bool = False
    server: bool = True


@dataclass(frozen=True)
class Access:
    """Who may use a file: permission bits and owner. ``gid`` is None where the group does not matter."""

    mode: int
    uid: int
    gid: int | None = None

    def allows(self, other: Access) -> bool:
        """Whether a file with the other access is as this one asks."""
        return (self.mode, self.uid) == (other.mode, other.uid) and self.gid in (None, other.gid)

    def __str__(self) -> str:
        return f"{self.mode:04o} {self.uid}:{'any' if self.gid is None else self.gid}"


@dataclass(frozen=True)
class AccessRule:
    """The access that private parts may have, the one that is set first; and that of public parts."""

    private: tuple[Access, ...] = (Access(0o600, 0, 0),)
    public: Access = Access(0o644, 0)


@dataclass(frozen=True)
class Pair:
    """One host key as it is found on disk.

    :param wanted: what is asked for at this place.
    :param real: the private part's path, symbolic links followed.
    :param folder: of ``real``: ``writable``, ``read-only`` or ``missing``.
    :param private, public: access of the two files; None where there is no such file.
    :param key: the public part of the private file; None where that cannot be told.
    :param comment: found in the private file, else in the public one.
    :param fault: why ``key`` is None although there is a private file.
    :param published: the key in the public file; None where there is none or it is not a key.
    :param came: when the private file came to this disk or was last written, whichever is later; seconds since 1970.
    :param certificate: there is a certificate of it (``-cert.pub``).
    :param leftovers: temporary files of a run that was cut.
    """

    wanted: WantedKey
    real: str
    folder: str = "writable"
    private: Access | None = None
    public: Access | None = None
    key: PublicKey | None = None
    comment: str = ""
    fault: str = ""
    published: PublicKey | None = None
    came: float | None = None
    certificate: bool = False
    leftovers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Identity:
    """Which machine this is, as digests that do not give the identity away.

    :param machine: from machine-id; None where there is none that lasts.
    :param hardware: from the firmware; None where there is none, or the machine is a container.
    :param since: when machine-id was written; seconds since 1970.
    :param unknown: why ``machine`` is None, as a sentence.
    """

    machine: str | None
    hardware: str | None
    since: float | None = None
    unknown: str = ""


@dataclass(frozen=True)
class Noted:
    """What was written down when a key was made or adopted.

    :param machine, hardware: the digests of :class:`Identity` at that time.
    :param how: made or adopted.
    :param when: UTC, as in 2026-01-31T12:00:00Z.
    :param path: where the key was.
    """

    machine: str | None
    hardware: str | None
    how: str
    when: str
    path: str


@dataclass(frozen=True)
class Record:
    """The notes by SHA-256 fingerprint.

    :param keys: fingerprint → note.
    :param writable: whether notes can be added.
    :param fault: why an existing record could not be used.
    """

    keys: Mapping[str, Noted] = field(default_factory=dict)
    writable: bool = True
    fault: str = ""


@dataclass(frozen=True)
class ServerCheck:
    """What ``sshd -t`` said.

    :param valid: it accepts its configuration (a lack of host keys is not held against it).
    :param keyless: it has no host key that it could load.
    :param error: its words when it does not accept.
    :param unusable: host keys that it could not load.
    """

    valid: bool
    keyless: bool = False
    error: str = ""
    unusable: tuple[str, ...] = ()


@dataclass(frozen=True)
class ServerSettings:
    """What ``sshd -T`` prints, as far as it is asked for here.

    :param host_keys: paths, in its order.
    :param ports: TCP ports.
    :param listens: address and port of each listening socket.
    :param algorithms: host key algorithms that it offers; empty where it does not say.
    :param passwords: the ways in which it takes passwords, as SSH names them.
    """

    host_keys: tuple[str, ...]
    ports: tuple[int, ...]
    listens: tuple[tuple[str, int], ...]
    algorithms: tuple[str, ...] = ()
    passwords: tuple[str, ...] = ()


@dataclass(frozen=True)
class State:
    """All that was read for one run.

    :param pairs: the keys, in the order in which they are asked for.
    :param identity: of this machine.
    :param record: the notes.
    :param rule: access that files must have.
    :param check: of the server; None where nothing depends on it.
    :param asked: what is asked for.
    :param first: what the first reading of this run found, when this is the second one.
    """

    pairs: tuple[Pair, ...]
    identity: Identity
    record: Record = Record()
    rule: AccessRule = AccessRule()
    check: ServerCheck | None = None
    asked: Wanted = Wanted(keys=None)
    first: State | None = None


@dataclass(frozen=True)
class Reason:
    """Why a key is not as it should be: a word for programs, a sentence for people."""

    code: str
    text: str


@dataclass(frozen=True)
class Served:
    """A key that a running server presented."""

    address: str
    port: int
    key: PublicKey


@dataclass(frozen=True)
class KnownHost:
    """The lines that known_hosts should have for one host.

    :param names: names and addresses, in lower case.
    :param port: TCP port.
    :param keys: all its keys; None for one that will only be known when it is made.
    :param state: present or absent.
    :param exclusive: the names have no other keys; if not, their other keys stay.
    """

    names: tuple[str, ...]
    port: int = 22
    keys: tuple[PublicKey | None, ...] = ()
    state: str = PRESENT
    exclusive: bool = True

    @property
    def patterns(self) -> tuple[str, ...]:
        """The names as known_hosts spells them."""
        return tuple(name if self.port == 22 else f"[{name}]:{self.port}" for name in self.names)


@dataclass(frozen=True)
class Known:
    """A known_hosts file and what is asked of it.

    :param path: the file.
    :param text: all of it.
    :param hosts: the hosts that it should have right.
    """

    path: str
    text: str
    hosts: tuple[KnownHost, ...]
