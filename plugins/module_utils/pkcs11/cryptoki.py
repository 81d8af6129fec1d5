# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The C interface of a PKCS#11 library (Cryptoki), and the process of its own in which it is used.

A library may crash, hang, print, or close what it does not own. So it is loaded in a child of this process, which tells over a pipe
what it is about to call and in the end what it has found; nothing that it breaks is ours.
"""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import select
import signal
import sys
import time
from typing import Any, Callable, NoReturn, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.parse import padded, return_value

TIMEOUT = 120.0  # seconds; a card makes an RSA key in up to a minute
USER, SO = 1, 0  # kinds of users
RO, RW = 0x4, 0x6  # sessions: CKF_SERIAL_SESSION, and CKF_RW_SESSION
CLASS_PUBLIC, CLASS_PRIVATE = 2, 3
# Attributes (CKA_).
CLASS, TOKEN, PRIVATE, LABEL, KEY_TYPE, ID = 0x0, 0x1, 0x2, 0x3, 0x100, 0x102
SENSITIVE, ENCRYPT, DECRYPT, SIGN, VERIFY, DERIVE, EXTRACTABLE = 0x103, 0x104, 0x105, 0x108, 0x10A, 0x10C, 0x162
MODULUS, MODULUS_BITS, PUBLIC_EXPONENT, EC_PARAMS, EC_POINT = 0x120, 0x121, 0x122, 0x180, 0x181
MOST_OBJECTS = 64  # asked for at a time
LONGEST_SIGNATURE = 1024  # bytes

_ULONG = ctypes.c_ulong
# The functions of CK_FUNCTION_LIST, in its order, as far as one that is used here.
_FUNCTIONS = [
    "C_Initialize",
    "C_Finalize",
    "C_GetInfo",
    "C_GetFunctionList",
    "C_GetSlotList",
    "C_GetSlotInfo",
    "C_GetTokenInfo",
    "C_GetMechanismList",
    "C_GetMechanismInfo",
    "C_InitToken",
    "C_InitPIN",
    "C_SetPIN",
    "C_OpenSession",
    "C_CloseSession",
    "C_CloseAllSessions",
    "C_GetSessionInfo",
    "C_GetOperationState",
    "C_SetOperationState",
    "C_Login",
    "C_Logout",
    "C_CreateObject",
    "C_CopyObject",
    "C_DestroyObject",
    "C_GetObjectSize",
    "C_GetAttributeValue",
    "C_SetAttributeValue",
    "C_FindObjectsInit",
    "C_FindObjects",
    "C_FindObjectsFinal",
    "C_EncryptInit",
    "C_Encrypt",
    "C_EncryptUpdate",
    "C_EncryptFinal",
    "C_DecryptInit",
    "C_Decrypt",
    "C_DecryptUpdate",
    "C_DecryptFinal",
    "C_DigestInit",
    "C_Digest",
    "C_DigestUpdate",
    "C_DigestKey",
    "C_DigestFinal",
    "C_SignInit",
    "C_Sign",
    "C_SignUpdate",
    "C_SignFinal",
    "C_SignRecoverInit",
    "C_SignRecover",
    "C_VerifyInit",
    "C_Verify",
    "C_VerifyUpdate",
    "C_VerifyFinal",
    "C_VerifyRecoverInit",
    "C_VerifyRecover",
    "C_DigestEncryptUpdate",
    "C_DecryptDigestUpdate",
    "C_SignEncryptUpdate",
    "C_DecryptVerifyUpdate",
    "C_GenerateKey",
    "C_GenerateKeyPair",
]


class _Version(ctypes.Structure):
    _fields_ = [("major", ctypes.c_ubyte), ("minor", ctypes.c_ubyte)]


class _FunctionList(ctypes.Structure):
    _fields_ = [("version", _Version), *((name, ctypes.c_void_p) for name in _FUNCTIONS)]


class _Info(ctypes.Structure):
    _fields_ = [
        ("cryptoki", _Version),
        ("manufacturer", ctypes.c_char * 32),
        ("flags", _ULONG),
        ("description", ctypes.c_char * 32),
        ("version", _Version),
    ]


class _SlotInfo(ctypes.Structure):
    _fields_ = [
        ("description", ctypes.c_char * 64),
        ("manufacturer", ctypes.c_char * 32),
        ("flags", _ULONG),
        ("hardware", _Version),
        ("firmware", _Version),
    ]


class _TokenInfo(ctypes.Structure):
    _fields_ = [
        ("label", ctypes.c_char * 32),
        ("manufacturer", ctypes.c_char * 32),
        ("model", ctypes.c_char * 16),
        ("serial", ctypes.c_char * 16),
        ("flags", _ULONG),
        ("counts", _ULONG * 4),
        ("longest_pin", _ULONG),
        ("least_pin", _ULONG),
        ("memory", _ULONG * 4),
        ("hardware", _Version),
        ("firmware", _Version),
        ("time", ctypes.c_char * 16),
    ]


class _Attribute(ctypes.Structure):
    _fields_ = [("type", _ULONG), ("value", ctypes.c_void_p), ("length", _ULONG)]


class _Mechanism(ctypes.Structure):
    _fields_ = [("mechanism", _ULONG), ("parameter", ctypes.c_void_p), ("length", _ULONG)]


class CryptokiError(RootOfTrustError):
    """A function of the library failed.

    :ivar name: of the return value, such as ``CKR_PIN_INCORRECT``.
    """

    def __init__(self, function: str, name: str) -> None:
        super().__init__(f"{function} failed: {name}.", "", {"function": function, "return_value": name})
        self.name = name


def _raw(structure: ctypes.Structure, name: str) -> bytes:
    """A field with all its bytes: ctypes would end it at a zero."""
    field = getattr(type(structure), name)
    return ctypes.string_at(ctypes.addressof(structure) + field.offset, field.size)


class Cryptoki:
    """A library, in the process that has loaded it. Results are plain values, for they leave that process.

    :param path: of the library.
    :param about_to: told of each call before it is made.
    """

    def __init__(self, path: str, about_to: Callable[[str], None]) -> None:
        self._about_to = about_to
        about_to("load")
        library = ctypes.CDLL(path)
        listed = ctypes.POINTER(_FunctionList)()
        self._check("C_GetFunctionList", library.C_GetFunctionList(ctypes.byref(listed)))
        self._list = listed.contents

    @staticmethod
    def _check(name: str, result: int) -> None:
        if result != 0:
            raise CryptokiError(name, return_value(result & 0xFFFFFFFF))

    def _call(self, name: str, *arguments: Any) -> None:
        self._about_to(name)
        address = getattr(self._list, name)
        if not address:
            raise CryptokiError(name, "CKR_FUNCTION_NOT_SUPPORTED")
        function = ctypes.CFUNCTYPE(_ULONG, *(_ULONG if isinstance(one, int) else ctypes.c_void_p for one in arguments))(address)
        self._check(
            name, function(*(one if isinstance(one, (int, type(None))) else ctypes.cast(one, ctypes.c_void_p) for one in arguments))
        )

    def initialize(self) -> None:
        self._call("C_Initialize", None)

    def finalize(self) -> None:
        self._call("C_Finalize", None)

    # ----------------------------------------------------------------------------------------------------------- looking

    def info(self) -> dict[str, Any]:
        """The library's own description."""
        info = _Info()
        self._call("C_GetInfo", ctypes.pointer(info))
        return {
            "manufacturer": padded(_raw(info, "manufacturer")),
            "description": padded(_raw(info, "description")),
            "version": f"{info.version.major}.{info.version.minor}",
            "cryptoki_version": f"{info.cryptoki.major}.{info.cryptoki.minor}",
        }

    def slots(self, mechanisms: bool = False) -> list[dict[str, Any]]:
        """All slots, with the tokens in them."""
        count = _ULONG()
        self._call("C_GetSlotList", 0, None, ctypes.pointer(count))
        numbers = (_ULONG * max(count.value, 1))()
        self._call("C_GetSlotList", 0, numbers, ctypes.pointer(count))
        return [self._slot(number, mechanisms) for number in numbers[: count.value]]

    def _slot(self, number: int, mechanisms: bool) -> dict[str, Any]:
        info = _SlotInfo()
        self._call("C_GetSlotInfo", number, ctypes.pointer(info))
        token = self._token(number)
        return {
            "number": number,
            "description": padded(_raw(info, "description")),
            "manufacturer": padded(_raw(info, "manufacturer")),
            "token": token,
            "mechanisms": self.mechanisms(number) if mechanisms and token is not None else [],
        }

    def _token(self, number: int) -> dict[str, Any] | None:
        info = _TokenInfo()
        try:
            self._call("C_GetTokenInfo", number, ctypes.pointer(info))
        except CryptokiError as error:
            if error.name in ("CKR_TOKEN_NOT_PRESENT", "CKR_TOKEN_NOT_RECOGNIZED", "CKR_DEVICE_REMOVED"):
                return None
            raise
        names = ("label", "manufacturer", "model", "serial")
        told: dict[str, Any] = {name: padded(_raw(info, name)) for name in names}
        return {**told, "flags": info.flags, "least_pin": info.least_pin, "longest_pin": info.longest_pin}

    def mechanisms(self, number: int) -> list[int]:
        """Of the token in a slot, by their numbers."""
        count = _ULONG()
        self._call("C_GetMechanismList", number, None, ctypes.pointer(count))
        found = (_ULONG * max(count.value, 1))()
        self._call("C_GetMechanismList", number, found, ctypes.pointer(count))
        return sorted(found[: count.value])

    # ---------------------------------------------------------------------------------------------------------- changing

    def init_token(self, slot: int, so_pin: Secret, label: bytes) -> None:
        """:param label: padded."""
        pin = so_pin.reveal()
        self._call(
            "C_InitToken", slot, ctypes.create_string_buffer(pin, max(len(pin), 1)), len(pin), ctypes.create_string_buffer(label, 32)
        )

    def open_session(self, slot: int, flags: int = RO) -> int:
        session = _ULONG()
        self._call("C_OpenSession", slot, flags, None, None, ctypes.pointer(session))
        return session.value

    def login(self, session: int, kind: int, pin: Secret) -> None:
        """Once. A wrong PIN is never tried again."""
        raw = pin.reveal()
        self._call("C_Login", session, kind, ctypes.create_string_buffer(raw, max(len(raw), 1)), len(raw))

    def init_pin(self, session: int, pin: Secret) -> None:
        """By the SO, who is logged in: the user PIN."""
        raw = pin.reveal()
        self._call("C_InitPIN", session, ctypes.create_string_buffer(raw, max(len(raw), 1)), len(raw))

    def set_pin(self, session: int, old: Secret, new: Secret) -> None:
        """Of whoever is logged in."""
        before, after = old.reveal(), new.reveal()
        first, second = (ctypes.create_string_buffer(raw, max(len(raw), 1)) for raw in (before, after))
        self._call("C_SetPIN", session, first, len(before), second, len(after))

    # -------------------------------------------------------------------------------------------------------------- keys

    def keys(self, session: int) -> list[dict[str, Any]]:
        """The public keys, and the private ones that can be seen."""
        found = []
        for kind in (CLASS_PUBLIC, CLASS_PRIVATE):
            for handle in self._find(session, [(CLASS, kind)]):
                numbers = self._attribute(session, handle, KEY_TYPE)
                names = {"modulus": MODULUS, "exponent": PUBLIC_EXPONENT, "params": EC_PARAMS, "point": EC_POINT}
                values = {name: self._attribute(session, handle, number) for name, number in names.items()}
                found.append(
                    {
                        "handle": handle,
                        "private": kind == CLASS_PRIVATE,
                        "type": int.from_bytes(numbers, sys.byteorder),  # it is a number of this machine's own
                        "label": padded(self._attribute(session, handle, LABEL)),
                        "id": self._attribute(session, handle, ID).hex(),
                        "attributes": {name: value.hex() for name, value in values.items() if value},
                    }
                )
        return found

    def count_objects(self, session: int) -> int:
        """Of all kinds that can be seen."""
        return len(self._find(session, []))

    def _find(self, session: int, template: Sequence[tuple[int, Any]]) -> list[int]:
        attributes, _buffers = _template(template)
        self._call("C_FindObjectsInit", session, attributes, len(template))
        found: list[int] = []
        try:
            while True:
                handles, count = (_ULONG * MOST_OBJECTS)(), _ULONG()
                self._call("C_FindObjects", session, handles, MOST_OBJECTS, ctypes.pointer(count))
                if not count.value:
                    return found
                found += handles[: count.value]
        finally:
            self._call("C_FindObjectsFinal", session)

    def _attribute(self, session: int, handle: int, number: int) -> bytes:
        """Its value; empty where the object has none or does not tell it."""
        attribute = _Attribute(number, None, 0)
        try:
            self._call("C_GetAttributeValue", session, handle, ctypes.pointer(attribute), 1)
            if attribute.length in (0, ctypes.c_ulong(-1).value):
                return b""
            buffer = ctypes.create_string_buffer(attribute.length)
            attribute.value = ctypes.cast(buffer, ctypes.c_void_p)
            self._call("C_GetAttributeValue", session, handle, ctypes.pointer(attribute), 1)
        except CryptokiError as error:
            if error.name in ("CKR_ATTRIBUTE_TYPE_INVALID", "CKR 0x11", "CKR_FUNCTION_FAILED"):  # 0x11: it is sensitive
                return b""
            raise
        return buffer.raw[: attribute.length]

    def generate_pair(
        self, session: int, mechanism: int, public: Sequence[tuple[int, Any]], private: Sequence[tuple[int, Any]]
    ) -> tuple[int, int]:
        """Make a key pair, on the token where both are to be there, else for this session; the handles of both."""
        one, other = _ULONG(), _ULONG()
        public_attributes, _public = _template(public)
        private_attributes, _private = _template(private)
        self._call(
            "C_GenerateKeyPair",
            session,
            ctypes.pointer(_Mechanism(mechanism, None, 0)),
            public_attributes,
            len(public),
            private_attributes,
            len(private),
            ctypes.pointer(one),
            ctypes.pointer(other),
        )
        return one.value, other.value

    def destroy(self, session: int, handle: int) -> None:
        self._call("C_DestroyObject", session, handle)

    def sign(self, session: int, handle: int, mechanism: int, data: bytes) -> bytes:
        self._call("C_SignInit", session, ctypes.pointer(_Mechanism(mechanism, None, 0)), handle)
        signature, length = ctypes.create_string_buffer(LONGEST_SIGNATURE), _ULONG(LONGEST_SIGNATURE)
        self._call("C_Sign", session, ctypes.create_string_buffer(data, len(data)), len(data), signature, ctypes.pointer(length))
        return signature.raw[: length.value]

    def verify(self, session: int, handle: int, mechanism: int, data: bytes, signature: bytes) -> None:
        """:raises CryptokiError: if the signature is not that of the data by the key."""
        self._call("C_VerifyInit", session, ctypes.pointer(_Mechanism(mechanism, None, 0)), handle)
        buffers = [ctypes.create_string_buffer(raw, len(raw)) for raw in (data, signature)]
        self._call("C_Verify", session, buffers[0], len(data), buffers[1], len(signature))


def _template(wanted: Sequence[tuple[int, Any]]) -> tuple[Any, list[Any]]:
    """Attributes for a call, and the buffers that have to live as long as they do. Numbers are CK_ULONG, booleans CK_BBOOL."""
    buffers: list[Any] = []
    attributes = (_Attribute * max(len(wanted), 1))()
    for place, (number, value) in enumerate(wanted):
        raw = bytes([value]) if isinstance(value, bool) else bytes(_ULONG(value)) if isinstance(value, int) else value
        buffers.append(ctypes.create_string_buffer(raw, max(len(raw), 1)))
        attributes[place] = _Attribute(number, ctypes.cast(buffers[-1], ctypes.c_void_p), len(raw))
    return attributes, buffers


# ---------------------------------------------------------------------------------------------------- a process of its own


# openCryptoki's token of a TPM 1.2 takes its storage root key to have an empty secret, unless it is told of the one that everybody knows,
# which the kernel and this collection want.
_STORAGE_ROOT = {"OCK_SRK_MODE": "TSS_SECRET_MODE_SHA1", "OCK_SRK_SECRET": 40 * "0"}


class Library:
    """A Cryptoki library.

    :param path: of its file.
    :param timeout: seconds after which its process is ended.
    """

    def __init__(self, path: str, timeout: float = TIMEOUT) -> None:
        self.path = path
        self._timeout = timeout

    def use(self, work: Callable[[Cryptoki], Any]) -> Any:
        """What ``work`` returns, as JSON can carry it, done in a process that has the library.

        :raises CryptokiError: if one of its functions failed.
        :raises RootOfTrustError: if it cannot be loaded, crashes, or does not come to an end.
        """
        if not os.path.isfile(self.path):
            raise RootOfTrustError(f"There is no library {self.path}.", "Install the package that has it, or give the right path.")
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            self._inside(writer, work)
        os.close(writer)
        try:
            told = self._listen(reader, child)
        finally:
            os.close(reader)
            status = os.waitpid(child, 0)[1]
        return self._understood(told, status)

    def _inside(self, writer: int, work: Callable[[Cryptoki], Any]) -> NoReturn:
        """The child. It leaves without any of what Python does at an end, which belongs to its parent."""
        try:
            for descriptor in (0, 1, 2):
                os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
            _take_groups()
            for name, value in _STORAGE_ROOT.items():
                os.environ.setdefault(name, value)
            self._tell_result(writer, work)
        except BaseException as error:  # pylint: disable=broad-except
            _tell(writer, {"failed": f"{type(error).__name__}: {error}"})
        os._exit(0)

    def _tell_result(self, writer: int, work: Callable[[Cryptoki], Any]) -> None:
        """What comes of the work is told before the library is left, which may go wrong too."""
        try:
            cryptoki = Cryptoki(self.path, lambda name: _tell(writer, {"call": name}))
        except (OSError, AttributeError) as error:
            _tell(writer, {"not_loaded": str(error)})
            return
        except CryptokiError as error:
            _tell(writer, error.facts)
            return
        try:
            cryptoki.initialize()
            _tell(writer, {"result": work(cryptoki)})
        except CryptokiError as error:
            _tell(writer, error.facts)
        except RootOfTrustError as error:
            _tell(writer, {"message": error.message, "remedy": error.remedy})
        cryptoki.finalize()

    def _listen(self, reader: int, child: int) -> list[dict[str, Any]]:
        """Each thing that the child tells, until it ends or its time is over."""
        deadline, text = time.monotonic() + self._timeout, b""
        while True:
            ready = select.select([reader], [], [], max(deadline - time.monotonic(), 0))[0]
            part = os.read(reader, 65536) if ready else b""
            text += part
            if not ready:
                os.kill(child, signal.SIGKILL)
                text += json.dumps({"late": True}).encode() + b"\n"
            if not part:
                return [json.loads(line) for line in text.splitlines()]

    def _understood(self, told: list[dict[str, Any]], status: int) -> Any:
        last = next((one["call"] for one in reversed(told) if "call" in one), "load")
        end = next((one for one in told if "call" not in one), {})
        where = "while it was loaded" if last == "load" else f"in {last}"
        if "result" in end:
            return end["result"]
        if "return_value" in end:
            raise CryptokiError(end["function"], end["return_value"])
        if "message" in end:
            raise RootOfTrustError(end["message"], end["remedy"])
        if "not_loaded" in end:
            raise RootOfTrustError(f"{self.path} is no usable PKCS#11 library: {end['not_loaded']}.", "Give the path of one.")
        if "late" in end:
            raise RootOfTrustError(
                f"The library {self.path} did not come back {where} within {self._timeout:g} s.", "See what it waits for."
            )
        if os.WIFSIGNALED(status):
            name = signal.Signals(os.WTERMSIG(status)).name
            raise RootOfTrustError(
                f"The library {self.path} crashed {where} ({name}).", "Look for another release of it, or at its set-up."
            )
        raise RootOfTrustError(f"The library {self.path} ended its process {where}. {end.get('failed', '')}".strip())


def _take_groups() -> None:
    """Be in the groups that root is in by now: openCryptoki's package makes it a member of the one that may use its tokens."""
    if os.geteuid() == 0:
        user = pwd.getpwuid(0)
        os.initgroups(user.pw_name, user.pw_gid)


def _tell(writer: int, what: dict[str, Any]) -> None:
    os.write(writer, json.dumps(what).encode("utf-8") + b"\n")
