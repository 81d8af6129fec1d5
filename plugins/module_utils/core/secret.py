# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A secret as a type, so that it cannot be printed, compared carelessly or put on a command line by accident."""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import NoReturn

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError

MASK = "***"


class Secret:
    """Some bytes that only :meth:`reveal` gives away. Text, repr, format and diff all show ``***``."""

    __slots__ = ("_value",)

    def __init__(self, value: bytes) -> None:
        self._value = bytes(value)

    @classmethod
    def from_param(cls, value: str | None, encoding: str = "text") -> Secret | None:
        """Make one from a module parameter.

        :param value: the parameter, or None where it was not given.
        :param encoding: ``text`` (its UTF-8 bytes) or ``base64`` (for bytes that are no text).
        :raises RootOfTrustError: if it is not valid base64; the text does not say which character, for it might be a secret's.
        """
        if value is None:
            return None
        if encoding == "text":
            return cls(value.encode("utf-8"))
        try:
            return cls(base64.b64decode(value, validate=True))
        except binascii.Error:
            raise RootOfTrustError("A secret given as base64 is not valid base64.", "Encode its bytes with base64.") from None

    def reveal(self) -> bytes:
        """The bytes themselves."""
        return self._value

    def __len__(self) -> int:
        return len(self._value)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value, other._value)

    def __hash__(self) -> int:
        return hash(Secret)

    def __repr__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not to be pickled")
