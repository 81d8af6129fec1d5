# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The PIN of a FIDO2 authenticator, tried once.

systemd tries a PIN that it was given again and again until the authenticator takes none any more: three wrong ones in a row. After eight
in all it locks itself and can only be reset, with all that it opens lost. Numbers are those of libfido2 1.6 and later, and of CTAP 2.0.
"""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from typing import Any, Iterator

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret

LIBRARY = "libfido2.so.1"
RELYING_PARTY = b"io.systemd.cryptsetup"
_MOST = 64  # authenticators to look for
_NO = 1  # FIDO_OPT_FALSE
_IDENTITY = 32  # bytes of a credential's name
_OK, _NO_CREDENTIALS = 0x00, 0x2E
_PIN_INVALID, _PIN_BLOCKED, _PIN_AUTH_BLOCKED = 0x31, 0x32, 0x34


def prove_pin(device: str, pin: Secret) -> None:
    """Have the authenticator say whether the PIN is its own.

    :param device: its path, or ``auto`` where there is one only.
    :raises RootOfTrustError: if it is not, or a wrong one would be the last, so that it is not tried.
    """
    library = _loaded()
    path = _only(library) if device in ("", "auto") else device.encode()
    with _opened(library, path) as handle:
        left = ctypes.c_int(-1)
        if library.fido_dev_get_retry_count(handle, ctypes.byref(left)) == _OK and left.value < 2:
            state = "is locked" if left.value == 0 else "takes one more wrong PIN before it locks itself, so none is tried here"
            raise RootOfTrustError(f"The FIDO2 authenticator {path.decode()} {state}.", "Prove its PIN by hand, or reset it.")
        status = _asked(library, handle, pin)
    if status == _PIN_INVALID:
        raise RootOfTrustError("The PIN of the FIDO2 authenticator is wrong; it was tried once.", "Correct it before that locks itself.")
    if status == _PIN_AUTH_BLOCKED:
        raise RootOfTrustError("The FIDO2 authenticator takes no PIN for the time being.", "Pull it out and put it in again.")
    if status == _PIN_BLOCKED:
        raise RootOfTrustError("The FIDO2 authenticator is locked.", "It can only be reset, with all that it opens lost.")
    if status not in (_OK, _NO_CREDENTIALS):
        raise RootOfTrustError(f"The FIDO2 authenticator does not prove its PIN (0x{status:x}).", "Look whether it has one.")


def _loaded() -> Any:
    try:
        library = ctypes.CDLL(LIBRARY)
    except OSError as error:
        raise RootOfTrustError(f"{LIBRARY} cannot be loaded: {error}.", "Install the package libfido2-1 or libfido2.") from None
    for name in ("fido_dev_info_new", "fido_dev_info_ptr", "fido_dev_new", "fido_assert_new"):
        getattr(library, name).restype = ctypes.c_void_p
    library.fido_dev_info_path.restype = ctypes.c_char_p
    library.fido_init(0)
    return library


def _only(library: Any) -> bytes:
    """The path of the one that there is."""
    listed, count = ctypes.c_void_p(library.fido_dev_info_new(ctypes.c_size_t(_MOST))), ctypes.c_size_t(0)
    try:
        library.fido_dev_info_manifest(listed, ctypes.c_size_t(_MOST), ctypes.byref(count))
        if count.value != 1:
            raise RootOfTrustError(
                f"There are {count.value or 'no'} FIDO2 authenticators.", "Plug in the one, or say which by fido2_device."
            )
        return bytes(library.fido_dev_info_path(ctypes.c_void_p(library.fido_dev_info_ptr(listed, ctypes.c_size_t(0)))))
    finally:
        library.fido_dev_info_free(ctypes.byref(listed), ctypes.c_size_t(_MOST))


@contextmanager
def _opened(library: Any, path: bytes) -> Iterator[ctypes.c_void_p]:
    handle = ctypes.c_void_p(library.fido_dev_new())
    try:
        status = library.fido_dev_open(handle, path)
        if status != _OK:
            raise RootOfTrustError(f"The FIDO2 authenticator {path.decode()} cannot be opened (0x{status & 0xFF:x}).", "Look what has it.")
        try:
            yield handle
        finally:
            library.fido_dev_close(handle)
    finally:
        library.fido_dev_free(ctypes.byref(handle))


def _asked(library: Any, handle: ctypes.c_void_p, pin: Secret) -> int:
    """The status of a question about a credential that there is not, for which the PIN has to be right and nobody to touch anything."""
    question = ctypes.c_void_p(library.fido_assert_new())
    try:
        library.fido_assert_set_rp(question, RELYING_PARTY)
        for give in (library.fido_assert_set_clientdata_hash, library.fido_assert_allow_cred):
            give(question, os.urandom(_IDENTITY), ctypes.c_size_t(_IDENTITY))
        library.fido_assert_set_up(question, _NO)
        return int(library.fido_dev_get_assert(handle, question, pin.reveal()))
    finally:
        library.fido_assert_free(ctypes.byref(question))
