# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a Cryptoki library says, openCryptoki's configuration, and keys in OpenSSH's form. Pure."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Any, Mapping
from urllib.parse import unquote

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.model import LABEL_BYTES, TOKEN_FLAGS, KeyObject, Slot, Token

# Names of return values that can be met here (CKR_), and of mechanisms that are told by name (CKM_).
RETURN_VALUES = {
    0x02: "HOST_MEMORY",
    0x03: "SLOT_ID_INVALID",
    0x05: "GENERAL_ERROR",
    0x06: "FUNCTION_FAILED",
    0x07: "ARGUMENTS_BAD",
    0x10: "ATTRIBUTE_READ_ONLY",
    0x12: "ATTRIBUTE_TYPE_INVALID",
    0x13: "ATTRIBUTE_VALUE_INVALID",
    0x1B: "ACTION_PROHIBITED",
    0x30: "DEVICE_ERROR",
    0x31: "DEVICE_MEMORY",
    0x32: "DEVICE_REMOVED",
    0x54: "FUNCTION_NOT_SUPPORTED",
    0x68: "KEY_FUNCTION_NOT_PERMITTED",
    0x70: "MECHANISM_INVALID",
    0x71: "MECHANISM_PARAM_INVALID",
    0xA0: "PIN_INCORRECT",
    0xA1: "PIN_INVALID",
    0xA2: "PIN_LEN_RANGE",
    0xA3: "PIN_EXPIRED",
    0xA4: "PIN_LOCKED",
    0xB1: "SESSION_COUNT",
    0xB3: "SESSION_HANDLE_INVALID",
    0xB5: "SESSION_READ_ONLY",
    0xB6: "SESSION_EXISTS",
    0xC0: "SIGNATURE_INVALID",
    0xD0: "TEMPLATE_INCOMPLETE",
    0xD1: "TEMPLATE_INCONSISTENT",
    0xE0: "TOKEN_NOT_PRESENT",
    0xE1: "TOKEN_NOT_RECOGNIZED",
    0xE2: "TOKEN_WRITE_PROTECTED",
    0x100: "USER_ALREADY_LOGGED_IN",
    0x101: "USER_NOT_LOGGED_IN",
    0x102: "USER_PIN_NOT_INITIALIZED",
    0x103: "USER_TYPE_INVALID",
    0x130: "DOMAIN_PARAMS_INVALID",
    0x140: "CURVE_NOT_SUPPORTED",
    0x190: "CRYPTOKI_NOT_INITIALIZED",
}
MECHANISMS = {
    0x0: "RSA_PKCS_KEY_PAIR_GEN",
    0x1: "RSA_PKCS",
    0x9: "RSA_PKCS_OAEP",
    0xD: "RSA_PKCS_PSS",
    0x40: "SHA256_RSA_PKCS",
    0x250: "SHA256",
    0x1040: "EC_KEY_PAIR_GEN",
    0x1041: "ECDSA",
    0x1044: "ECDSA_SHA256",
    0x1050: "ECDH1_DERIVE",
    0x1055: "EC_EDWARDS_KEY_PAIR_GEN",
    0x1057: "EDDSA",
    0x1080: "AES_KEY_GEN",
    0x1082: "AES_CBC",
    0x1087: "AES_GCM",
}
# Curves by their parameters in DER: the object identifier, or for Edwards curves also the name (PKCS#11 3.0, 2.3.7).
CURVES = {
    bytes.fromhex("06082a8648ce3d030107"): "nistp256",
    bytes.fromhex("06052b81040022"): "nistp384",
    bytes.fromhex("06052b81040023"): "nistp521",
    bytes.fromhex("06032b6570"): "ed25519",
    bytes.fromhex("06092b06010401da470f01"): "ed25519",
    b"\x13\x0cedwards25519": "ed25519",
}
_POINT_BYTES = {"nistp256": 65, "nistp384": 97, "nistp521": 133, "ed25519": 32}
KEY_TYPES = {0x0: "rsa", 0x3: "ec", 0x40: "edwards"}


def return_value(number: int) -> str:
    """The name of a return value."""
    return f"CKR_{RETURN_VALUES[number]}" if number in RETURN_VALUES else f"CKR {number:#x}"


def padded(raw: bytes) -> str:
    """A field that is padded with blanks, or with zeros by some libraries."""
    return raw.split(b"\0")[0].decode("utf-8", "replace").rstrip(" ")


def token_flags(number: int) -> frozenset[str]:
    """The flags of a token."""
    return frozenset(name for bit, name in TOKEN_FLAGS.items() if number & bit)


def parse_uri(text: str) -> dict[str, str]:
    """The attributes in the path of a PKCS#11 URI (RFC 7512), such as ``token``, decoded.

    :raises RootOfTrustError: if it is none.
    """
    scheme, _colon, rest = text.partition(":")
    if scheme.lower() != "pkcs11":
        raise RootOfTrustError(f"{text!r} is no PKCS#11 URI.", "See RFC 7512; p11tool --list-tokens prints some.")
    pairs = (part.partition("=") for part in rest.partition("?")[0].split(";") if part)
    return {name: unquote(value) for name, _equals, value in pairs}


def parse_slot(told: Mapping[str, Any]) -> Slot:
    """A slot as the process that spoke to the library tells it."""
    token = told["token"]
    return Slot(
        told["number"],
        told["description"],
        told["manufacturer"],
        None if token is None else Token(**{**token, "flags": token_flags(token["flags"])}),
        tuple(MECHANISMS.get(number, f"{number:#x}") for number in told["mechanisms"]),
    )


def parse_key(told: Mapping[str, Any]) -> KeyObject | None:
    """A key as the process that spoke to the library tells it; None for one of a kind that is not known here."""
    kind, raw = KEY_TYPES.get(told["type"]), {name: bytes.fromhex(value) for name, value in told["attributes"].items()}
    identity = bytes.fromhex(told["id"])
    if kind == "rsa":
        bits = int.from_bytes(raw.get("modulus", b""), "big").bit_length()
        return KeyObject(told["handle"], told["private"], told["label"], identity, f"rsa{bits}" if bits else "rsa", raw)
    if kind in ("ec", "edwards"):
        curve = CURVES.get(raw.get("params", b""), "another curve")
        return KeyObject(told["handle"], told["private"], told["label"], identity, curve, raw)
    return None


def token_label(text: str) -> bytes:
    """A label for a token, padded.

    :raises RootOfTrustError: if it is blank or too long.
    """
    raw = text.encode("utf-8")
    if not text.strip():
        raise RootOfTrustError("A token's label is blank.", "Give it a name.")
    if len(raw) > LABEL_BYTES:
        raise RootOfTrustError(f"The label {text!r} has {len(raw)} bytes; a token's has at most {LABEL_BYTES}.", "Shorten it.")
    if text != text.strip() or any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        raise RootOfTrustError(f"The label {text!r} has blanks around it or control characters in it.", "Leave them out.")
    return raw.ljust(LABEL_BYTES)


# ------------------------------------------------------------------------------------------------------- OpenSSH's form


def _text(raw: bytes) -> bytes:
    """A string of RFC 4251."""
    return len(raw).to_bytes(4, "big") + raw


def _mpint(raw: bytes) -> bytes:
    """A number of RFC 4251, from its bytes."""
    raw = raw.lstrip(b"\0")
    return _text(b"\0" + raw if raw and raw[0] & 0x80 else raw)


def octets(raw: bytes, size: int) -> bytes:
    """A point, out of the OCTET STRING that it should be in, or bare as some tokens have it.

    :raises RootOfTrustError: if it is of another size.
    """
    if len(raw) == size:
        return raw
    head = 3 if raw[1:2] == b"\x81" else 2
    if raw[:1] == b"\x04" and len(raw) == head + size and raw[head - 1] == size:
        return raw[head:]
    raise RootOfTrustError(f"A public key on the token has a point of {len(raw)} bytes, which fits no curve known here.")


def ssh_public_key(key: KeyObject) -> tuple[str, bytes]:
    """Type and blob of a public key as OpenSSH has it (RFC 4253, RFC 5656, RFC 8709).

    :raises RootOfTrustError: if OpenSSH has no such keys, or parts of it are missing.
    """
    raw = key.attributes
    if key.algorithm.startswith("rsa") and raw.get("modulus") and raw.get("exponent"):
        return "ssh-rsa", _text(b"ssh-rsa") + _mpint(raw["exponent"]) + _mpint(raw["modulus"])
    if key.algorithm in _POINT_BYTES and raw.get("point"):
        point = octets(raw["point"], _POINT_BYTES[key.algorithm])
        if key.algorithm == "ed25519":
            return "ssh-ed25519", _text(b"ssh-ed25519") + _text(point)
        if point[:1] != b"\x04":
            raise RootOfTrustError(f"The public key {key.label!r} has a compressed point, which OpenSSH does not take.")
        kind = f"ecdsa-sha2-{key.algorithm}"
        return kind, _text(kind.encode("ascii")) + _text(key.algorithm.encode("ascii")) + _text(point)
    raise RootOfTrustError(f"OpenSSH has no keys like {key.label!r} ({key.algorithm}).")


def ssh_line(key: KeyObject) -> str:
    """A line for authorized_keys; the label is the comment, on one line."""
    kind, blob = ssh_public_key(key)
    comment = " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", key.label).split())
    return f"{kind} {base64.b64encode(blob).decode('ascii')} {comment}".rstrip()


# ---------------------------------------------------------------------------------------------------- opencryptoki.conf


@dataclass(frozen=True)
class SlotConfig:
    """A slot in opencryptoki.conf: its number, and its settings in order, values in quotes where they are so in the file.

    The releases differ in which they take: ``hwversion = 2.32`` until 3.8, ``hwversion = "2.32"`` later.
    """

    number: int
    settings: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str | None:
        """The value of a setting, without quotes."""
        value = dict(self.settings).get(name)
        return None if value is None else value.strip('"')


@dataclass(frozen=True)
class Configuration:
    """opencryptoki.conf: its version as its first line has it, lines outside of slots, and the slots.

    :param lines: ``disable-event-support``, ``statistics (…)`` and what else there may be, without comments.
    """

    version: str
    lines: tuple[str, ...]
    slots: tuple[SlotConfig, ...]


_SLOT = re.compile(r"^[ \t]*slot[ \t]+(\d+)\s*\{([^{}]*)\}[ \t]*$", re.MULTILINE)
_SETTING = re.compile(r'^[ \t]*([A-Za-z0-9_-]+)[ \t]*=[ \t]*("[^"\n]*"|[^"\s]+)[ \t]*$')


def parse_configuration(text: str) -> Configuration:
    """Read opencryptoki.conf, of 3.1 to 3.27.

    :raises RootOfTrustError: if it is not of its form.
    """
    plain = re.sub(r"^[ \t]*#.*\n?", "", text if text.endswith("\n") or not text else text + "\n", flags=re.MULTILINE)
    slots = []
    for match in _SLOT.finditer(plain):
        settings = []
        for line in match[2].splitlines():
            line = re.sub(r"#[^\"]*$", "", line)
            if not line.strip():
                continue
            found = _SETTING.match(line)
            if found is None:
                raise RootOfTrustError(f"opencryptoki.conf, slot {match[1]}: {line.strip()!r} is not name = value.", "Correct the file.")
            settings.append((found[1], found[2]))
        slots.append(SlotConfig(int(match[1]), tuple(settings)))
    rest = [line.strip() for line in _SLOT.sub("", plain).splitlines() if line.strip()]
    version = next((line for line in rest if re.match(r"version\s", line)), "")
    if any(re.match(r"slot\b|[{}]", line) for line in rest):
        raise RootOfTrustError("opencryptoki.conf has a slot that is not of the form in its manual page.", "Correct the file.")
    numbers = [slot.number for slot in slots]
    if len(set(numbers)) != len(numbers):
        raise RootOfTrustError("opencryptoki.conf has a slot twice.", "Correct the file.")
    return Configuration(version, tuple(line for line in rest if line != version), tuple(slots))


def write_configuration(configuration: Configuration) -> str:
    """The text of opencryptoki.conf. No comment is inside a slot: 3.8 does not take one there."""
    lines = [configuration.version] if configuration.version else []
    lines += configuration.lines
    for slot in sorted(configuration.slots, key=lambda slot: slot.number):
        lines += ["", f"slot {slot.number}", "{", *(f"{name} = {value}" for name, value in slot.settings), "}"]
    return "\n".join(lines) + "\n"
