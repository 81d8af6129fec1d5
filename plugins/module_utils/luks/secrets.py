# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The secrets that a module is given, from its parameters or from files of the managed host."""

from __future__ import annotations

from typing import Any, Mapping

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret

LONGEST = 8 * 1024 * 1024  # bytes of a key file, cryptsetup(8)


def read_secret(params: Mapping[str, Any] | None) -> Secret | None:
    """The secret that SECRET_OPTIONS describe; None where none is given.

    A key file counts as it is, with its end of line where it has one, as cryptsetup and crypttab take it.

    :raises RootOfTrustError: if the passphrase is empty or no valid base64, or the file cannot be read, is empty or too large.
    """
    if params is None:
        return None
    if params.get("key_file") is not None:
        return _from_file(params["key_file"])
    secret = Secret.from_param(params.get("passphrase"), params.get("passphrase_encoding") or "text")
    if secret is not None and not len(secret):
        raise RootOfTrustError("A passphrase is empty.", "Give one, or leave it out.")
    return secret


def _from_file(path: str) -> Secret:
    try:
        with open(path, "rb") as stream:
            content = stream.read(LONGEST + 1)
    except OSError as error:
        raise RootOfTrustError(f"The key file {path} cannot be read: {error.strerror}.", "Make it, or correct the path.") from None
    if not content or len(content) > LONGEST:
        raise RootOfTrustError(f"The key file {path} is {'too large' if content else 'empty'}.", "Give a file of 1 byte to 8 MiB.")
    return Secret(content)
