# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A FIDO2 authenticator for tests, in software: CTAP 2.0 with hmac-secret and a PIN, as a HID device that the kernel makes of /dev/uhid.

It is copied into a machine and runs there, with Python and its library cryptography: ``python3 fido_key.py FILE [PIN]``. Its credentials,
PIN and count of tries are in the file, which makes it the same authenticator again when the program is started anew. To end the program
is to pull the key out. It is touched at once by whoever there is, unless the file says ``"touch": false``. Nothing protects it: this is no
security device.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import struct
import sys
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

# linux/uhid.h: the events, and the sizes of what is in them.
CREATE2, INPUT2, OUTPUT = 11, 12, 6
EVENT = 4 + 128 + 64 + 64 + 2 + 2 + 16 + 4096
BUS_USB = 3
# A HID device of the usage page FIDO: reports of 64 bytes in and out.
REPORTS = bytes.fromhex("06d0f10901a1010920150026ff007508954081020921150026ff00750895409102c0")
REPORT = 64
# CTAPHID: commands, and errors of its own.
PING, INIT, CBOR, ERROR = 0x01, 0x06, 0x10, 0x3F
BROADCAST, BAD_COMMAND = 0xFFFFFFFF, 0x01
# CTAP 2: commands, and what they answer.
MAKE, GET, INFO, PIN = 0x01, 0x02, 0x04, 0x06
OK, BAD_CBOR, MISSING, NO_ALGORITHM, NO_OPTION, NO_CREDENTIALS, TIMEOUT, NOT_ALLOWED = 0x00, 0x12, 0x14, 0x26, 0x2B, 0x2E, 0x2F, 0x30
PIN_WRONG, PIN_LOCKED, PIN_AUTH_WRONG, PIN_AUTH_BLOCKED, PIN_NOT_SET, PIN_NEEDED = 0x31, 0x32, 0x33, 0x34, 0x35, 0x36
EXCLUDED = 0x19
AAGUID = bytes(16)
PRESENT, VERIFIED, ATTESTED, EXTENDED = 0x01, 0x04, 0x40, 0x80  # flags
TRIES, IN_A_ROW = 8, 3
ES256, ECDH = -7, -25


class Refused(Exception):
    """An answer without data.

    :param status: its CTAP 2 status.
    """

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(hex(status))


# ---------------------------------------------------------------------------------------------------------------- CBOR


def encode(value: Any) -> bytes:
    """CBOR in CTAP 2's canonical form."""
    if isinstance(value, bool):
        return b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return _head(0, value) if value >= 0 else _head(1, -1 - value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        return _head(3, len(value.encode())) + value.encode()
    if isinstance(value, list):
        return _head(4, len(value)) + b"".join(encode(one) for one in value)
    pairs = sorted(((encode(key), encode(one)) for key, one in value.items()), key=lambda pair: (pair[0][0] >> 5, len(pair[0]), pair[0]))
    return _head(5, len(pairs)) + b"".join(key + one for key, one in pairs)


def _head(kind: int, number: int) -> bytes:
    for form, size, limit in ((24, 1, 2**8), (25, 2, 2**16), (26, 4, 2**32)):
        if number < 24:
            return bytes([kind << 5 | number])
        if number < limit:
            return bytes([kind << 5 | form]) + number.to_bytes(size, "big")
    raise ValueError(number)


def decode(data: bytes) -> Any:
    value, place = _item(data, 0)
    if place != len(data):
        raise Refused(BAD_CBOR)
    return value


def _item(data: bytes, place: int) -> tuple[Any, int]:
    kind, number, place = data[place] >> 5, data[place] & 31, place + 1
    if kind == 7:
        return {20: False, 21: True}.get(number), place
    if number > 23:
        size = 1 << (number - 24)
        number, place = int.from_bytes(data[place : place + size], "big"), place + size
    if kind in (0, 1):
        return (number if kind == 0 else -1 - number), place
    if kind in (2, 3):
        raw = data[place : place + number]
        return (raw if kind == 2 else raw.decode()), place + number
    values = []
    for _count in range(number * (kind - 3)):
        value, place = _item(data, place)
        values.append(value)
    return (values if kind == 4 else dict(zip(values[::2], values[1::2], strict=True))), place


# --------------------------------------------------------------------------------------------------------- the authenticator


def cose(key: ec.EllipticCurvePrivateKey, algorithm: int) -> dict[int, Any]:
    """The public key of a pair as COSE has it."""
    numbers = key.public_key().public_numbers()
    return {1: 2, 3: algorithm, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}


def aes(key: bytes, data: bytes, encrypt: bool) -> bytes:
    cipher = Cipher(algorithms.AES(key), modes.CBC(bytes(16)))
    worker = cipher.encryptor() if encrypt else cipher.decryptor()
    return worker.update(data) + worker.finalize()


def proof(key: bytes, data: bytes) -> bytes:
    return hmac.new(key, data, "sha256").digest()


class Authenticator:
    """What is behind the device.

    :param path: of the file that keeps it.
    :param pin: for one that is made anew; None for one without.
    """

    def __init__(self, path: str, pin: str | None) -> None:
        self._path = path
        self._agreement = ec.generate_private_key(ec.SECP256R1())
        self._token = os.urandom(16)
        self._wrong = 0  # in a row
        if not os.path.exists(path):
            self._keep({"pin": pin, "tries": TRIES, "touch": True, "credentials": {}})

    def _kept(self) -> dict[str, Any]:
        with open(self._path, encoding="ascii") as file:
            return dict(json.load(file))

    def _keep(self, state: dict[str, Any]) -> None:
        with open(self._path + ".new", "w", encoding="ascii") as file:
            json.dump(state, file)
        os.replace(self._path + ".new", self._path)

    def answer(self, message: bytes) -> bytes:
        """The answer to a command: its status, and data."""
        commands = {MAKE: self._make, GET: self._get, INFO: self._info, PIN: self._pin}
        try:
            if message[:1] == b"" or message[0] not in commands:
                raise Refused(BAD_COMMAND)
            told = commands[message[0]](decode(message[1:]) if message[1:] else {})
            return bytes([OK]) + (encode(told) if told else b"")
        except Refused as refused:
            return bytes([refused.status])
        except (KeyError, TypeError):
            return bytes([MISSING])

    def _info(self, _asked: dict[int, Any]) -> dict[int, Any]:
        options = {"rk": False, "up": True, "plat": False, "clientPin": self._kept()["pin"] is not None}
        return {1: ["FIDO_2_0"], 2: ["hmac-secret"], 3: AAGUID, 4: options, 5: 1200, 6: [1]}

    def _verified(self, state: dict[str, Any], digest: bytes, token: bytes | None, wanted: bool) -> bool:
        """Whether the user is known by the PIN."""
        if token is not None:
            if state["pin"] is None:
                raise Refused(PIN_NOT_SET)
            if not hmac.compare_digest(proof(self._token, digest)[:16], token):
                raise Refused(PIN_AUTH_WRONG)
            return True
        if wanted and state["pin"] is not None:
            raise Refused(PIN_NEEDED)
        return False

    @staticmethod
    def _touched(state: dict[str, Any]) -> None:
        if not state["touch"]:
            raise Refused(TIMEOUT)

    def _make(self, asked: dict[int, Any]) -> dict[int, Any]:
        state = self._kept()
        digest, party, options = asked[1], asked[2]["id"], asked.get(7, {})
        if all(one["alg"] != ES256 for one in asked[4]):
            raise Refused(NO_ALGORITHM)
        if options.get("rk") or options.get("uv"):
            raise Refused(NO_OPTION)
        if any(one["id"].hex() in state["credentials"] for one in asked.get(5, [])):
            raise Refused(EXCLUDED)
        verified = self._verified(state, digest, asked.get(8), wanted=True)
        self._touched(state)
        key, identity = ec.generate_private_key(ec.SECP256R1()), os.urandom(32)
        state["credentials"][identity.hex()] = {
            "party": party,
            "key": key.private_numbers().private_value.to_bytes(32, "big").hex(),
            # One secret for who is known, another for who is only there.
            "secrets": [os.urandom(32).hex(), os.urandom(32).hex()],
        }
        self._keep(state)
        attested = AAGUID + struct.pack(">H", len(identity)) + identity + encode(cose(key, ES256))
        extended = encode({"hmac-secret": True}) if asked.get(6, {}).get("hmac-secret") else b""
        flags = PRESENT | ATTESTED | (VERIFIED if verified else 0) | (EXTENDED if extended else 0)
        data = self._data(party, flags) + attested + extended
        signature = key.sign(data + digest, ec.ECDSA(hashes.SHA256()))
        return {1: "packed", 2: data, 3: {"alg": ES256, "sig": signature}}

    @staticmethod
    def _data(party: str, flags: int) -> bytes:
        return hashlib.sha256(party.encode()).digest() + struct.pack(">BI", flags, 0)

    def _get(self, asked: dict[int, Any]) -> dict[int, Any]:
        state = self._kept()
        party, digest, options = asked[1], asked[2], asked.get(5, {})
        if options.get("uv"):
            raise Refused(NO_OPTION)
        verified = self._verified(state, digest, asked.get(6), wanted=False)
        known = {name: one for name, one in state["credentials"].items() if one["party"] == party}
        identity = next((one["id"].hex() for one in asked.get(3, []) if one["id"].hex() in known), None)
        if identity is None:
            raise Refused(NO_CREDENTIALS)
        present = options.get("up", True)
        if present:
            self._touched(state)
        credential = known[identity]
        extended = b""
        if "hmac-secret" in asked.get(4, {}):
            secret = bytes.fromhex(credential["secrets"][not verified])
            extended = encode({"hmac-secret": self._secret(asked[4]["hmac-secret"], secret)})
        flags = (PRESENT if present else 0) | (VERIFIED if verified else 0) | (EXTENDED if extended else 0)
        data = self._data(party, flags) + extended
        key = ec.derive_private_key(int(credential["key"], 16), ec.SECP256R1())
        return {1: {"id": bytes.fromhex(identity), "type": "public-key"}, 2: data, 3: key.sign(data + digest, ec.ECDSA(hashes.SHA256()))}

    def _secret(self, asked: dict[int, Any], secret: bytes) -> bytes:
        """What hmac-secret makes of one or two salts."""
        shared = self._shared(asked[1])
        if not hmac.compare_digest(proof(shared, asked[2])[:16], asked[3]):
            raise Refused(NOT_ALLOWED)
        salts = aes(shared, asked[2], encrypt=False)
        return aes(shared, b"".join(proof(secret, salts[place : place + 32]) for place in range(0, len(salts), 32)), encrypt=True)

    def _shared(self, public: dict[int, Any]) -> bytes:
        x, y = (int.from_bytes(public[name], "big") for name in (-2, -3))
        numbers = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1())
        return hashlib.sha256(self._agreement.exchange(ec.ECDH(), numbers.public_key())).digest()

    def _pin(self, asked: dict[int, Any]) -> dict[int, Any]:
        state = self._kept()
        if asked[2] == 1:  # how many tries are left
            return {3: state["tries"]}
        if asked[2] == 2:  # the key to agree with
            return {1: cose(self._agreement, ECDH)}
        if asked[2] != 5:  # the PIN is in the file: it is not set from outside
            raise Refused(NOT_ALLOWED)
        if state["pin"] is None:
            raise Refused(PIN_NOT_SET)
        if not state["tries"]:
            raise Refused(PIN_LOCKED)
        if self._wrong >= IN_A_ROW:
            raise Refused(PIN_AUTH_BLOCKED)
        shared = self._shared(asked[3])
        right = hashlib.sha256(state["pin"].encode()).digest()[:16]
        fits = hmac.compare_digest(aes(shared, asked[6], encrypt=False), right)
        self._wrong = 0 if fits else self._wrong + 1
        state["tries"] = TRIES if fits else state["tries"] - 1
        self._keep(state)
        if not fits:
            self._agreement = ec.generate_private_key(ec.SECP256R1())
            raise Refused(PIN_LOCKED if not state["tries"] else PIN_AUTH_BLOCKED if self._wrong >= IN_A_ROW else PIN_WRONG)
        return {2: aes(shared, self._token, encrypt=True)}


# ------------------------------------------------------------------------------------------------------------- the device


class Device:
    """Reports of 64 bytes, of which messages are made."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._device = os.open("/dev/uhid", os.O_RDWR)
        self._channels = 0
        self._parts: dict[int, tuple[int, int, bytes]] = {}  # by channel: command, size, what has come of it
        fixed = b"Authenticator of tests".ljust(128, b"\0") + bytes(64 + 64)
        self._tell(CREATE2, fixed + struct.pack("<HHIIII", len(REPORTS), BUS_USB, 0x1209, 0x0001, 0, 0) + REPORTS)

    def _tell(self, kind: int, data: bytes) -> None:
        os.write(self._device, (struct.pack("<I", kind) + data).ljust(EVENT, b"\0"))

    def serve(self) -> None:
        while True:
            event = os.read(self._device, EVENT)
            if struct.unpack_from("<I", event)[0] == OUTPUT:
                (size,) = struct.unpack_from("<H", event, 4 + 4096)
                self._take(event[4 : 4 + size][-REPORT:])  # before it is the number of the report

    def _take(self, report: bytes) -> None:
        (channel,) = struct.unpack_from(">I", report)
        if report[4] & 0x80:
            command, size, data = report[4] & 0x7F, int.from_bytes(report[5:7], "big"), report[7:]
        elif channel in self._parts:
            command, size, data = self._parts[channel]
            data += report[5:]
        else:
            return
        if len(data) < size:
            self._parts[channel] = command, size, data
            return
        self._parts.pop(channel, None)
        self._give(channel, *self._done(command, data[:size]))

    def _done(self, command: int, data: bytes) -> tuple[int, bytes]:
        if command == INIT:
            self._channels += 1
            # CTAPHID 2, release 1.0.0; CBOR, and none of U2F's messages.
            return INIT, data + struct.pack(">IBBBBB", self._channels, 2, 1, 0, 0, 0x04 | 0x08)
        if command == PING:
            return PING, data
        if command == CBOR:
            return CBOR, self._authenticator.answer(data)
        return ERROR, bytes([BAD_COMMAND])

    def _give(self, channel: int, command: int, data: bytes) -> None:
        head = struct.pack(">IBH", channel, command | 0x80, len(data))
        self._report(head + data[: REPORT - len(head)])
        rest = data[REPORT - len(head) :]
        for number, place in enumerate(range(0, len(rest), REPORT - 5)):
            self._report(struct.pack(">IB", channel, number) + rest[place : place + REPORT - 5])

    def _report(self, report: bytes) -> None:
        self._tell(INPUT2, struct.pack("<H", REPORT) + report.ljust(REPORT, b"\0"))


if __name__ == "__main__":
    Device(Authenticator(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None)).serve()
