# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""OpenPGP keys as gpg tells of them, and as they are wanted. Pure."""

from __future__ import annotations

from dataclasses import dataclass

PRESENT, ABSENT, REVOKED = "present", "absent", "revoked"  # states
CERT, SIGN, ENCRYPT, AUTH = "cert", "sign", "encrypt", "auth"  # usages, in the words of a parameter file of gpg
USAGES = (CERT, SIGN, ENCRYPT, AUTH)
DAY = 86400  # seconds
UNITS = {"d": DAY, "w": 7 * DAY, "m": 30 * DAY, "y": 365 * DAY}  # of a duration, as gpg(1) counts them

RSA = tuple(f"rsa{bits}" for bits in (2048, 3072, 4096))  # gpg makes none larger unless it was built so
# Curves that each release of gpg from 2.2.20 to 2.4.9 can make keys on. Ed448 fails in all of them.
CURVES = ("nistp256", "nistp384", "nistp521", "brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1", "secp256k1")
ED25519, CV25519 = "ed25519", "cv25519"
PRIMARY_ALGORITHMS = (ED25519, *RSA, *CURVES)
SUBKEY_ALGORITHMS = (ED25519, CV25519, *RSA, *CURVES)

ON_DISK, ON_CARD, ELSEWHERE = "disk", "card", "elsewhere"  # where a secret key is; empty: there is none
TRUSTS = ("undefined", "never", "marginal", "full", "ultimate")


@dataclass(frozen=True)
class Part:
    """A primary key or a subkey.

    :param algorithm: as gpg names it: ``ed25519``, ``rsa3072``, ``nistp256`` …
    :param created, expires: seconds since 1970; ``expires`` is None for one that never does.
    :param secret: where its secret half is: ``disk``, ``card``, ``elsewhere`` (only a stub is here), or empty where there is none.
    """

    fingerprint: str
    algorithm: str
    usage: frozenset[str]
    created: int
    expires: int | None = None
    revoked: bool = False
    secret: str = ""
    keygrip: str = ""

    def is_expired(self, now: int) -> bool:
        """Whether its time was over at a moment."""
        return self.expires is not None and self.expires <= now


@dataclass(frozen=True)
class UserId:
    """A user ID of a key.

    :param signers: those whose signatures on it were listed, by long key ID (16 digits) or fingerprint, each with ``local`` or
        ``exportable``.
    """

    text: str
    revoked: bool = False
    signers: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True)
class Key:
    """An OpenPGP key: its primary key, subkeys and user IDs.

    :param trust: the ownertrust, one of ``TRUSTS``; None where none is set.
    :param usable: what can be done with the whole key now, as gpg has reckoned.
    """

    primary: Part
    subkeys: tuple[Part, ...] = ()
    user_ids: tuple[UserId, ...] = ()
    trust: str | None = None
    disabled: bool = False
    usable: frozenset[str] = frozenset()

    @property
    def fingerprint(self) -> str:
        """Of the primary key."""
        return self.primary.fingerprint

    @property
    def name(self) -> str:
        """The first user ID that is not revoked, else the fingerprint."""
        return next((one.text for one in self.user_ids if not one.revoked), self.fingerprint)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The primary key and the subkeys."""
        return (self.primary, *self.subkeys)


@dataclass(frozen=True)
class Expiry:
    """When a key should end: never, a time from now, or on a day.

    :param seconds: from when it is made or renewed; None where that is not how it is given.
    :param moment: seconds since 1970; None where that is not how it is given.
    """

    seconds: int | None = None
    moment: int | None = None

    @property
    def never(self) -> bool:
        """Whether it never ends."""
        return self.seconds is None and self.moment is None

    def at(self, now: int) -> int | None:
        """The moment at which one that is made or renewed now would end."""
        return now + self.seconds if self.seconds is not None else self.moment
