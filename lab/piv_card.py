# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A smart card for tests, in software: PIV (NIST SP 800-73-4) with one key for authentication, in a reader of vsmartcard's vpcd.

It is copied into a machine and runs there, with Python and its library cryptography: ``python3 piv_card.py FILE [p256|rsa2048] [PIN]``. The
card's key, PIN and count of tries are in the file, which makes it the same card again when the program is started anew. To end the program
is to pull the card. Nothing protects the key: this is no security device.
"""

from __future__ import annotations

import base64
import datetime
import json
import os
import socket
import sys
import time
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.x509.oid import NameOID

READER = ("127.0.0.1", 35963)  # where vpcd of vsmartcard waits for a card
APPLICATION = bytes.fromhex("a000000308000010000100")
TRIES = 3
# Status words of ISO 7816-4.
DONE, BAD_LENGTH, NOT_VERIFIED, LOCKED, BAD_DATA, NOT_FOUND, BAD_PARAMETERS, UNKNOWN = (
    0x9000, 0x6700, 0x6982, 0x6983, 0x6A80, 0x6A82, 0x6A86, 0x6D00,
)  # fmt: skip
ALGORITHMS = {"p256": 0x11, "rsa2048": 0x07}


def tlv(tag: str, *parts: bytes) -> bytes:
    """A data object in BER-TLV, its tag in hexadecimal."""
    value = b"".join(parts)
    size = len(value)
    length = bytes([size]) if size < 0x80 else bytes([0x81, size]) if size < 0x100 else b"\x82" + size.to_bytes(2, "big")
    return bytes.fromhex(tag) + length + value


def parse_tlv(data: bytes) -> dict[int, bytes]:
    """Data objects with tags of one byte, by tag."""
    found, place = {}, 0
    while place + 1 < len(data):
        tag, size, place = data[place], data[place + 1], place + 2
        if size > 0x80:
            count = size & 0x7F
            size, place = int.from_bytes(data[place : place + count], "big"), place + count
        found[tag], place = data[place : place + size], place + size
    return found


class Answer(Exception):
    """An answer without data, that ends a command.

    :param status: its status word.
    """

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Card:
    """:param path: of the file that has the card; it is made where it is missing."""

    def __init__(self, path: str, algorithm: str = "p256", pin: str = "123456") -> None:
        self._path = path
        if not os.path.exists(path):
            self._state: dict[str, Any] = _new(algorithm, pin)
            self._save()
        with open(path, encoding="utf-8") as stream:
            self._state = json.load(stream)
        self._key = serialization.load_pem_private_key(self._state["key"].encode(), None)
        certificate = base64.b64decode(self._state["certificate"])
        identity = bytes.fromhex(self._state["identity"])
        self._objects = {
            "7e": tlv("7e", tlv("4f", APPLICATION), tlv("5f2f", b"\x40\x00")),
            # Agency code 9999, of no agency: the card is then known by its identity alone.
            "5fc102": tlv(
                "53",
                tlv("30", bytes.fromhex("d4e739da739ced39ce739d836858210842108421c84210c3eb")),
                tlv("34", identity),
                tlv("35", b"20491231"),
                tlv("3e"),
                tlv("fe"),
            ),
            "5fc105": tlv("53", tlv("70", certificate), tlv("71", b"\x00"), tlv("fe")),
        }
        self.power()

    @property
    def atr(self) -> bytes:
        """Answer to reset: T=1, with the check byte."""
        body = bytes.fromhex("878131fe45") + b"LABCARD"
        check = 0
        for byte in body:
            check ^= byte
        return b"\x3b" + body + bytes([check])

    def power(self) -> None:
        """Forget what a card forgets without power."""
        self._selected = self._verified = False
        self._waiting = self._chained = b""

    def respond(self, apdu: bytes) -> bytes:
        """The answer to a command, with what is longer than an answer kept for GET RESPONSE."""
        try:
            status, data = DONE, self._command(apdu)
        except Answer as answer:
            status, data = answer.status, b""
        room = (apdu[-1] or 256) if len(apdu) == 5 or (len(apdu) > 5 and len(apdu) > 5 + apdu[4]) else 256
        now, self._waiting = data[:room], data[room:]
        if self._waiting:
            status = 0x6100 | min(len(self._waiting), 0xFF)
        return now + status.to_bytes(2, "big")

    def _command(self, apdu: bytes) -> bytes:
        if len(apdu) < 4:
            raise Answer(BAD_LENGTH)
        chain, instruction, first, second = apdu[:4]
        data = apdu[5 : 5 + apdu[4]] if len(apdu) > 5 else b""
        if instruction == 0xC0:  # GET RESPONSE
            return self._waiting
        self._chained += data
        if chain & 0x10:
            return b""
        data, self._chained = self._chained, b""
        commands = {0xA4: self._select, 0xCB: self._get_data, 0x20: self._verify, 0x87: self._authenticate}
        if instruction not in commands or not (self._selected or instruction == 0xA4):
            raise Answer(UNKNOWN)
        return commands[instruction](first, second, data)

    def _select(self, first: int, _second: int, data: bytes) -> bytes:
        if first != 4 or len(data) < 5 or not APPLICATION.startswith(data):
            raise Answer(NOT_FOUND)
        self._selected = True
        return tlv("61", tlv("4f", APPLICATION[5:]), tlv("79", tlv("4f", APPLICATION[:5])))

    def _get_data(self, first: int, second: int, data: bytes) -> bytes:
        wanted = parse_tlv(data).get(0x5C, b"").hex()
        if (first, second) != (0x3F, 0xFF) or wanted not in self._objects:
            raise Answer(NOT_FOUND)
        return self._objects[wanted]

    def _verify(self, first: int, second: int, data: bytes) -> bytes:
        if second != 0x80:
            raise Answer(BAD_PARAMETERS)
        if first == 0xFF:
            self._verified = False
        elif not data:
            if not self._verified:
                raise Answer(0x63C0 | self._state["tries"] if self._state["tries"] else LOCKED)
        else:
            self._try(data)
        return b""

    def _try(self, data: bytes) -> None:
        """The count is on the disk before the PIN is looked at."""
        if not self._state["tries"]:
            raise Answer(LOCKED)
        self._state["tries"] -= 1
        self._save()
        self._verified = data == self._state["pin"].encode().ljust(8, b"\xff")
        if not self._verified:
            raise Answer(0x63C0 | self._state["tries"] if self._state["tries"] else LOCKED)
        self._state["tries"] = TRIES
        self._save()

    def _authenticate(self, first: int, second: int, data: bytes) -> bytes:
        """GENERAL AUTHENTICATE, of which a host uses that the card signs what it is given: padded for RSA, a digest for a curve."""
        if (first, second) != (ALGORITHMS[self._state["algorithm"]], 0x9A):
            raise Answer(BAD_PARAMETERS)
        if not self._verified:
            raise Answer(NOT_VERIFIED)
        template = parse_tlv(parse_tlv(data).get(0x7C, b""))
        given = template.get(0x81, b"")
        if template.get(0x82) != b"" or not given:
            raise Answer(BAD_DATA)
        if isinstance(self._key, rsa.RSAPrivateKey):
            numbers = self._key.private_numbers()
            signature = pow(int.from_bytes(given, "big"), numbers.d, numbers.public_numbers.n).to_bytes(256, "big")
        else:
            assert isinstance(self._key, ec.EllipticCurvePrivateKey)
            signature = self._key.sign(given.rjust(32, b"\0"), ec.ECDSA(Prehashed(hashes.SHA256())))
        return tlv("7c", tlv("82", signature))

    def _save(self) -> None:
        new = f"{self._path}.new"
        with open(new, "w", encoding="utf-8") as stream:
            json.dump(self._state, stream)
        os.replace(new, self._path)


def _new(algorithm: str, pin: str) -> dict[str, Any]:
    key = ec.generate_private_key(ec.SECP256R1()) if algorithm == "p256" else rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "A card for tests")])
    start = datetime.datetime.utcnow() - datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), start, start + datetime.timedelta(days=3650)
    )
    usage = x509.KeyUsage(True, False, False, False, False, False, False, False, False)
    certificate = builder.add_extension(usage, critical=True).sign(key, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return {
        "algorithm": algorithm,
        "pin": pin,
        "tries": TRIES,
        "key": pem.decode(),
        "certificate": base64.b64encode(certificate.public_bytes(serialization.Encoding.DER)).decode(),
        "identity": os.urandom(16).hex(),
    }


def insert(card: Card) -> None:
    """Be in the reader, as vpcd speaks: two bytes of length, then a byte of control or a command."""
    with socket.create_connection(READER) as reader:
        while True:
            # vpcd sends length and command apart: without this each waits 40 ms to be acknowledged.
            reader.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            head = reader.recv(2, socket.MSG_WAITALL)
            message = reader.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL) if len(head) == 2 else b""
            if not message:
                raise ConnectionError("the reader is gone")
            if message == b"\x04":
                answer = card.atr
            elif len(message) == 1:  # power off, power on, reset
                card.power()
                continue
            else:
                answer = card.respond(message)
            reader.sendall(len(answer).to_bytes(2, "big") + answer)


def main() -> None:
    card = Card(*sys.argv[1:])
    while True:
        try:
            insert(card)
        except OSError:
            card.power()
            time.sleep(0.2)  # until pcscd is there, which comes and goes as it is asked for


if __name__ == "__main__":
    main()
