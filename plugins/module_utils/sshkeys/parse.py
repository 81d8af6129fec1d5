# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading what OpenSSH writes: keys, fingerprints, known_hosts, the output of sshd and ssh-keyscan. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.model import (
    FIXED_SIZES,
    PrivateFile,
    PublicKey,
    Served,
    ServerSettings,
)

CURVES = {"nistp256": 256, "nistp384": 384, "nistp521": 521}
FIXED_BLOBS = {  # RFC 8709; ML-DSA-44 of FIPS 204 with Ed25519
    "ssh-ed25519": ("ed25519", 32),
    "ssh-mldsa44-ed25519": ("mldsa44-ed25519", 1312 + 32),
}
SSHFP_ALGORITHMS = {"rsa": 1, "dsa": 2, "ecdsa": 3, "ed25519": 4}  # RFC 4255, 6594, 7479
OPENSSH_MAGIC = b"openssh-key-v1\0"  # PROTOCOL.key of OpenSSH
PEM = (b"RSA PRIVATE KEY", b"EC PRIVATE KEY", b"DSA PRIVATE KEY", b"PRIVATE KEY")  # PKCS#1, SEC 1, OpenSSL's own, PKCS#8
ARMOUR = re.compile(rb"\A\s*-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----\r?\n(.*?)-----END \1-----", re.DOTALL)

# The ways in which a server can take passwords, as SSH names them (RFC 4252, 4256) → the option of sshd.
PASSWORD_WAYS = {"password": "passwordauthentication", "keyboard-interactive": "kbdinteractiveauthentication"}


class Malformed(RootOfTrustError):
    """Text or bytes that are not what they should be. The message says what is wrong and holds none of the content."""


# --- keys as they go over the wire -----------------------------------------------------------------------------------


class _Fields:
    """Reads the length-prefixed fields of RFC 4251 §5 one after the other."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def raw(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise Malformed("it is cut short")
        part = self._data[self._at : end]
        self._at = end
        return part

    def number(self) -> int:
        return int.from_bytes(self.raw(4), "big")

    def string(self) -> bytes:
        return self.raw(self.number())

    def integer(self) -> int:
        return int.from_bytes(self.string(), "big")

    def text(self) -> str:
        return _ascii(self.string())

    def rest(self) -> bytes:
        return self.raw(len(self._data) - self._at)

    def end(self) -> None:
        if self.rest():
            raise Malformed("there is something after its end")


def _ascii(data: bytes) -> str:
    try:
        return data.decode("ascii")
    except UnicodeDecodeError:
        raise Malformed("a name in it is not ASCII") from None


def _pack(*fields: bytes) -> bytes:
    return b"".join(len(item).to_bytes(4, "big") + item for item in fields)


def _pack_integer(number: int) -> bytes:
    """An mpint of RFC 4251: big endian, a zero byte before a set top bit."""
    return number.to_bytes(number.bit_length() // 8 + 1, "big") if number else b""


def parse_blob(blob: bytes) -> PublicKey:
    """Read a public key in wire format. A type that is not known keeps its algorithm's name and has size 0.

    :raises Malformed: if it is none.
    """
    fields = _Fields(blob)
    algorithm = fields.text()
    if algorithm in FIXED_BLOBS:
        kind, length = FIXED_BLOBS[algorithm]
        if len(fields.string()) != length:
            raise Malformed(f"a key of type {kind} has {length} bytes")
        size = FIXED_SIZES[kind]
    elif algorithm == "ssh-rsa":
        fields.integer()
        kind, size = "rsa", fields.integer().bit_length()
    elif algorithm.startswith("ecdsa-sha2-nistp"):
        kind, size = "ecdsa", _size_of_curve(algorithm, fields)
    elif algorithm == "ssh-dss":
        kind, size = "dsa", fields.integer().bit_length()
        for _unused in range(3):  # q, g, y
            fields.integer()
    elif re.fullmatch(r"[!-+\--~]+", algorithm):  # printable ASCII without comma, RFC 4251 §6
        return PublicKey(type=algorithm, size=0, blob=blob, algorithm=algorithm)
    else:
        raise Malformed("it has no algorithm's name")
    fields.end()
    return PublicKey(type=kind, size=size, blob=blob, algorithm=algorithm)


def _size_of_curve(algorithm: str, fields: _Fields) -> int:
    """RFC 5656: the name of the curve, once more, and the point."""
    curve = fields.text()
    if algorithm != f"ecdsa-sha2-{curve}" or curve not in CURVES:
        raise Malformed("its curve is not one of nistp256, nistp384, nistp521")
    fields.string()
    return CURVES[curve]


def _unbase64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("it is not valid base64") from None


def parse_public(text: str) -> tuple[PublicKey, str]:
    """Read one line ``algorithm base64 [comment]``; return the key and its comment.

    :raises Malformed: if it is none, or the algorithm before the key is not the one inside it.
    """
    words = text.strip().split(None, 2)
    if len(words) < 2 or "\n" in text.strip():
        raise Malformed("it is not one line of algorithm and base64")
    key = parse_blob(_unbase64(words[1].encode("utf-8", "surrogateescape")))
    if key.algorithm != words[0]:
        raise Malformed("its algorithm's name is not the one inside the key")
    return key, words[2] if len(words) == 3 else ""


def public_text(key: PublicKey) -> str:
    """A key as files hold it, without comment."""
    return f"{key.algorithm} {base64.b64encode(key.blob).decode('ascii')}"


# --- fingerprints ----------------------------------------------------------------------------------------------------


def sha256_fingerprint(key: PublicKey) -> str:
    """``SHA256:`` and base64 without padding, as ssh-keygen -l prints."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.blob).digest()).decode("ascii").rstrip("=")


def md5_fingerprint(key: PublicKey) -> str | None:
    """``MD5:`` and hexadecimal pairs, as ssh-keygen -l -E md5 prints; None where the host's policy (FIPS) forbids MD5."""
    try:
        digest = hashlib.md5(key.blob).digest()
    except ValueError:
        return None
    return "MD5:" + ":".join(f"{byte:02x}" for byte in digest)


def sshfp(key: PublicKey) -> str | None:
    """The data of a DNS SSHFP record with a SHA-256 fingerprint: ``4 2 hex`` (RFC 6594); None for a type without a number."""
    number = SSHFP_ALGORITHMS.get(key.type)
    return None if number is None else f"{number} 2 {hashlib.sha256(key.blob).hexdigest()}"


def parse_fingerprint(text: str) -> str:
    """A fingerprint as this module spells it: ``SHA256:`` without padding, or ``MD5:`` with colons, in lower case.

    :param text: ``SHA256:…``, ``MD5:aa:bb:…`` or ``aa:bb:…``.
    :raises Malformed: if it is none of these.
    """
    word = text.strip()
    if word.startswith("SHA256:"):
        body = word[len("SHA256:") :].rstrip("=")
        if re.fullmatch(r"[A-Za-z0-9+/]{43}", body):
            return f"SHA256:{body}"
    else:
        body = (word[4:] if word[:4].upper() == "MD5:" else word).lower()
        if re.fullmatch(r"[0-9a-f]{2}(:[0-9a-f]{2}){15}", body):
            return f"MD5:{body}"
    raise Malformed(f"{text!r} is not a fingerprint.", "Give it as ssh-keygen -l prints it: SHA256:… or, with -E md5, MD5:aa:bb:…")


# --- private key files -----------------------------------------------------------------------------------------------


def parse_private(data: bytes) -> PrivateFile:
    """Read the public part out of a private key file, where it stands in the clear: in OpenSSH's own container.

    The older containers (PEM) are only looked at for a passphrase. The private part is compared with the public one as far as that needs no
    arithmetic on curves.

    :raises Malformed: if it is no private key, cut short, damaged, or encrypted with a passphrase.
    """
    if not data.strip():
        raise Malformed("it is empty")
    armour = ARMOUR.match(data)
    if armour is None:
        raise Malformed("it is not a private key, or cut short")
    name, body = armour.group(1), armour.group(2)
    if b"ENCRYPTED" in name or b"Proc-Type: 4,ENCRYPTED" in body:
        raise Malformed("it is encrypted with a passphrase, which sshd cannot ask for")
    content = _unbase64(b"".join(body.split()))
    if name == b"OPENSSH PRIVATE KEY":
        return _parse_openssh(content)
    if name in PEM:
        return PrivateFile(None)
    raise Malformed(f"its kind is not known: {_ascii(name)}")


def _parse_openssh(content: bytes) -> PrivateFile:
    """PROTOCOL.key: magic, cipher, KDF, its options, number of keys, public part, private part."""
    if not content.startswith(OPENSSH_MAGIC):
        raise Malformed("it does not begin as OpenSSH's keys do")
    fields = _Fields(content[len(OPENSSH_MAGIC) :])
    cipher, _kdf, _options, count = fields.text(), fields.string(), fields.string(), fields.number()
    if count != 1:
        raise Malformed("it does not hold exactly one key")
    public = parse_blob(fields.string())
    if cipher != "none":
        raise Malformed("it is encrypted with a passphrase, which sshd cannot ask for")
    private = _Fields(fields.string())
    fields.end()
    if private.number() != private.number() or private.text() != public.algorithm:
        raise Malformed("its private part is damaged")
    if public.type not in SSHFP_ALGORITHMS:
        return PrivateFile(None)
    if _public_of_private(public, private) != public.blob:
        raise Malformed("its private part does not belong to its public part")
    comment = private.string().decode("utf-8", "replace")
    padding = private.rest()
    if padding != bytes(range(1, len(padding) + 1)):
        raise Malformed("its private part is damaged")
    return PrivateFile(public, comment)


def _public_of_private(public: PublicKey, private: _Fields) -> bytes:
    """The public part as the private section repeats it (PROTOCOL.key lists the fields of each type)."""
    name = public.algorithm.encode("ascii")
    if public.type == "ed25519":
        point, seed_and_point = private.string(), private.string()
        return _pack(name, point) if seed_and_point[32:] == point else b""
    if public.type == "rsa":
        modulus, exponent = private.integer(), private.integer()
        private.string()  # d
        private.string()  # iqmp
        p, q = private.integer(), private.integer()
        return _pack(name, _pack_integer(exponent), _pack_integer(modulus)) if p * q == modulus else b""
    if public.type == "ecdsa":
        curve, point = private.string(), private.string()
        private.string()  # the scalar
        return _pack(name, curve, point)
    numbers = [private.string() for _number in range(4)]  # p, q, g, y of DSA
    private.string()  # x
    return _pack(name, *numbers)


# --- what sshd and ssh-keyscan print ---------------------------------------------------------------------------------


def parse_settings(text: str) -> ServerSettings:
    """Read the output of ``sshd -T``.

    :raises Malformed: if a port is no number.
    """
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        name, _blank, value = line.strip().partition(" ")
        values.setdefault(name.lower(), []).append(value)
    return ServerSettings(
        host_keys=tuple(value for value in values.get("hostkey", []) if value.lower() != "none"),
        ports=tuple(_port(value) for value in values.get("port", [])),
        listens=tuple(_listen(value) for value in values.get("listenaddress", [])),
        algorithms=tuple(",".join(values.get("hostkeyalgorithms", [])).replace(",", " ").split()),
        passwords=tuple(way for way, option in PASSWORD_WAYS.items() if values.get(option) != ["no"]),
    )


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or int(text) > 65535:
        raise Malformed(f"sshd -T prints the port {text!r}, which is no number of a port.")
    return int(text)


def _listen(text: str) -> tuple[str, int]:
    """``192.0.2.1:22``, ``[::]:22``, both perhaps followed by ``rdomain NAME``."""
    address, _colon, port = (text.split() or [""])[0].rpartition(":")
    return address.strip("[]"), _port(port)


def unusable_keys(errors: str) -> tuple[str, ...]:
    """The host keys that sshd says it could not load."""
    found = re.findall(r'^(?:Unable to|Could not) load host key:? "?([^"\n]+?)"?(?::[^/\n]*)?\r?$', errors, re.MULTILINE)
    return tuple(sorted(set(found)))


def privilege_separation_folder(errors: str) -> str | None:
    """The folder that sshd says is missing; the service makes it, and it need not be there while the service is stopped."""
    found = re.search(r"^Missing privilege separation directory: (/\S+)", errors, re.MULTILINE)
    return None if found is None else found.group(1)


def lacks_keys(errors: str) -> bool:
    """Whether sshd says that it has no host key at all."""
    return "no hostkeys available" in errors


def parse_keyscan(text: str, address: str, port: int) -> tuple[Served, ...]:
    """Read the output of ``ssh-keyscan`` for one server. Comments and lines that hold no key are passed over."""
    served: dict[bytes, Served] = {}
    for line in text.splitlines():
        entry = parse_known_line(line)
        if entry is not None and not entry.marker:
            served[entry.key.blob] = Served(address, port, entry.key)
    return tuple(served.values())


# --- known_hosts -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class KnownLine:
    """A line of known_hosts that holds a key.

    :param marker: ``@cert-authority``, ``@revoked`` or empty.
    :param patterns: its names, in the spelling of the file; a hashed one is alone.
    :param key: the key.
    :param rest: the line after the names, with the blank before it and its end.
    """

    marker: str
    patterns: tuple[str, ...]
    key: PublicKey
    rest: str

    def names(self, pattern: str) -> bool:
        """Whether the line gives exactly this name (``host`` or ``[host]:port``, lower case), plain or hashed; wildcards do not count."""
        return any(_matches(own, pattern) for own in self.patterns)

    def without(self, patterns: Sequence[str]) -> str:
        """The line after these names are taken off it; empty when none is left."""
        left = [own for own in self.patterns if not any(_matches(own, pattern) for pattern in patterns)]
        return ",".join(left) + self.rest if left else ""


def _matches(own: str, pattern: str) -> bool:
    if not own.startswith("|1|"):
        return own.lower() == pattern
    parts = own.split("|")
    if len(parts) != 4:
        return False
    try:
        salt, digest = _unbase64(parts[2].encode("utf-8", "replace")), _unbase64(parts[3].encode("utf-8", "replace"))
    except Malformed:
        return False
    return hmac.compare_digest(digest, hmac.new(salt, pattern.encode("utf-8", "surrogateescape"), hashlib.sha1).digest())


def hash_pattern(pattern: str, salt: bytes) -> str:
    """A name as HashKnownHosts writes it: HMAC-SHA1 under a salt of 20 bytes."""
    digest = hmac.new(salt, pattern.encode("utf-8"), hashlib.sha1).digest()
    return "|1|" + "|".join(base64.b64encode(part).decode("ascii") for part in (salt, digest))


KNOWN = re.compile(r"[ \t]*(?:(@\S+)[ \t]+)?([^ \t\r\n#]\S*)([ \t]+(\S+)[ \t]+(\S+).*)", re.DOTALL)


def parse_known_line(line: str) -> KnownLine | None:
    """Read a line of known_hosts; None for a comment, an empty line and anything else that holds no key."""
    found = KNOWN.fullmatch(line)
    if found is None:
        return None
    marker, names, rest, algorithm, body = found.groups()
    try:
        key, _comment = parse_public(f"{algorithm} {body}")
    except Malformed:
        return None
    return KnownLine(marker=marker or "", patterns=tuple(names.split(",")), key=key, rest=rest)


def known_lines(text: str) -> list[str]:
    """The lines of a file, each with its end, so that they make up the file again byte for byte."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)
