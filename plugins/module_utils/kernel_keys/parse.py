# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel's texts about keys, the blobs it gives out, and what a user may ask for. Pure."""

from __future__ import annotations

import re
import struct

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.model import (
    ENCRYPTED,
    EXPIRED,
    LOGON,
    REVOKED,
    SEARCH,
    SETATTR,
    SHA1_SIZE,
    TRUSTED,
    USER,
    VALID,
    VIEW,
    KernelKey,
    Quota,
    Sealed,
)

FORMATS = {"default": (20, 4096), "ecryptfs": (64, 64), "enc32": (32, 32)}  # bytes of an encrypted key
TRUSTED_LENGTHS = (32, 128)
USER_LENGTHS = (1, 32767)  # user_preparse() of the kernel
LONGEST_DESCRIPTION = 4095
LEAST_MASTER = 16  # bytes; the kernel takes one
LONGEST_TRUSTED = 4096  # bytes of a blob; today's kernels stop at 512

_IV, _BLOCK, _MAC = 17, 16, 32  # encrypted.c: an initialisation vector and a zero, AES blocks, an HMAC
_SPECIAL = re.compile(r"@(?:t|p|s|us|u)")
_SERIAL = re.compile(r"[1-9][0-9]*|0x[0-9a-fA-F]+")
_PROC_KEY = re.compile(r"([0-9a-f]+) ([IRDQUNi-]+)\s+\d+\s+(\w+) ([0-9a-f]{8})\s+(-?\d+)\s+(-?\d+) (.{9}) ?(.*)")
_SIZE = re.compile(r": (?:empty|[0-9]+)(?: \[[^\]]*\])?$")
_ENCRYPTED = re.compile(rb"(default|ecryptfs|enc32) ((?:user|trusted):\S+) ([1-9][0-9]{0,3}) ([0-9a-fA-F]+)")
_OID_SEALED = bytes.fromhex("06066781050a0105")  # 2.23.133.10.1.5, in DER
_TPM12_STORED = bytes.fromhex("01010000")  # the version at the beginning of a TPM_STORED_DATA
_KEYED_HASH = bytes.fromhex("0008")  # the type of sealed data in a TPM 2.0


class Malformed(RootOfTrustError):
    """A text or blob that is not what it should be."""


# --- what the kernel tells ---------------------------------------------------------------------------------------------


def parse_description(serial: int, text: str) -> KernelKey:
    """``type;uid;gid;permissions;description`` of keyctl_describe(3); the description may have semicolons of its own."""
    parts = text.split(";", 4)
    if len(parts) != 5:
        raise Malformed(f"The kernel describes key {serial} in a way that is not known: {text!r}.")
    kind, uid, gid, permissions, description = parts
    return KernelKey(serial, kind, description, int(uid), int(gid), int(permissions, 16))


def parse_proc_keys(text: str) -> dict[int, KernelKey]:
    """The table of /proc/keys by serial number. Types are cut at nine letters there, and some descriptions have their size after them."""
    keys = {}
    for line in text.splitlines():
        match = _PROC_KEY.fullmatch(line)
        if match is None:
            continue
        serial, flags, expires, permissions, uid, gid, kind, description = match.groups()
        state = REVOKED if "R" in flags else EXPIRED if expires == "expd" else VALID
        number = int(serial, 16)
        name = _SIZE.sub("", description)
        keys[number] = KernelKey(number, kind.strip(), name, int(uid), int(gid), int(permissions, 16), state, expires)
    return keys


def parse_key_users(text: str, uid: int) -> Quota | None:
    """A user's line of /proc/key-users: ``uid: usage keys/instantiated keys/maximum bytes/maximum``."""
    match = re.search(rf"^\s*{uid}:\s+\d+\s+\d+/\d+\s+(\d+)/(\d+)\s+(\d+)/(\d+)\s*$", text, re.MULTILINE)
    return Quota(*(int(number) for number in match.groups())) if match else None


def parse_modules(text: str) -> set[str]:
    """The names of modules in modules.builtin or modules.dep, with ``_`` for ``-``."""
    names = [line.split(":")[0].rsplit("/", 1)[-1] for line in text.splitlines()]
    return {re.sub(r"\.ko(\.\w+)?$", "", name).replace("-", "_") for name in names if name}


# --- blobs -------------------------------------------------------------------------------------------------------------


def parse_sealed(kind: str, content: bytes) -> Sealed:
    """The text of a trusted or encrypted key. White space around it is taken away: the kernel refuses an end of line.

    :raises Malformed: if it is cut, or none.
    """
    text = content.strip()
    if not text:
        raise Malformed("It is empty.")
    return _parse_encrypted(text) if kind == ENCRYPTED else _parse_trusted(text)


def parse_any_sealed(content: bytes) -> Sealed:
    """The same, where it is not known of which type the key is: the text of an encrypted one has blanks in it.

    :raises Malformed: if it is cut, or none.
    """
    return parse_sealed(ENCRYPTED if b" " in content.strip() else TRUSTED, content)


def encrypted_digits(length: int) -> int:
    """How many hexadecimal digits the kernel gives for an encrypted key of so many bytes."""
    return 2 * (_IV + -(-length // _BLOCK) * _BLOCK + _MAC)


def _parse_encrypted(text: bytes) -> Sealed:
    match = _ENCRYPTED.fullmatch(text)
    if match is None:
        raise Malformed("It is not the text of an encrypted key (format, master, length, hexadecimal digits).")
    style, master, length, digits = match[1].decode(), match[2].decode("utf-8", "surrogateescape"), int(match[3]), match[4]
    fault = length_fault(ENCRYPTED, style, length)
    if fault:
        raise Malformed(f"It says that {fault}.")
    if len(digits) != encrypted_digits(length):
        raise Malformed(f"It has {len(digits)} hexadecimal digits, and a key of {length} bytes has {encrypted_digits(length)}: it is cut.")
    return Sealed(ENCRYPTED, text, style, master, length)


def _parse_trusted(text: bytes) -> Sealed:
    try:
        blob = bytes.fromhex(text.decode("ascii"))
    except ValueError:
        raise Malformed("It is not the text of a trusted key (pairs of hexadecimal digits and nothing else).") from None
    if len(blob) > LONGEST_TRUSTED or re.search(rb"\s", text):
        raise Malformed("It is not the text of a trusted key.")
    try:
        if _is_tpm_key(blob):
            parent, policy = _tpm_key(blob)
            return Sealed(TRUSTED, text, parent=parent, policy=policy)
        if blob[:4] == _TPM12_STORED:
            return Sealed(TRUSTED, text, policy=_tpm12_policy(blob))
    except (IndexError, ValueError, struct.error):
        raise Malformed("It is not a whole blob of a TPM: it is cut or changed.") from None
    return Sealed(TRUSTED, text, policy=_raw_policy(blob))


def _is_tpm_key(blob: bytes) -> bool:
    """Whether it is a TPMKey, as far as it goes; what is random may begin as DER does."""
    more = blob[1] & 0x7F if blob[1:2] >= b"\x80" else 0  # bytes of its size
    start = 2 + more
    return blob[0] == 0x30 and more <= 2 and _OID_SEALED.startswith(blob[start : start + len(_OID_SEALED)])


def _tpm_key(blob: bytes) -> tuple[int, str]:
    """Parent handle and policy digest of the kernel's TPMKey (tpm2key.asn1), which is DER."""
    tag, content, rest = _der(blob)
    if tag != 0x30 or rest or not content.startswith(_OID_SEALED):
        raise ValueError("no sealed TPMKey")
    parts, rest = [], content[len(_OID_SEALED) :]
    while rest:
        tag, inner, rest = _der(rest)
        parts.append((tag, inner))
    numbers = [inner for tag, inner in parts if tag == 0x02]
    texts = [inner for tag, inner in parts if tag == 0x04]
    if len(numbers) != 1 or len(texts) != 2:
        raise ValueError("a TPMKey has a parent, a public and a private part")
    for part in texts:
        if _sized(part)[1]:
            raise ValueError("something follows")
    return int.from_bytes(numbers[0], "big"), _public_policy(_sized(texts[0])[0])


def _public_policy(public: bytes) -> str:
    """The policy in a TPMT_PUBLIC."""
    return _sized(public[8:])[0].hex()  # after type, name algorithm, attributes


def _raw_policy(blob: bytes) -> str | None:
    """The policy of a blob of a TPM 2.0 as kernels before 5.13 have it: the private part, the public part, and what else the TPM has
    answered. None where it is none: another source's blob, which tells nothing.
    """
    try:
        public = _sized(_sized(blob)[1])[0]
        return _public_policy(public) if public[:2] == _KEYED_HASH else None
    except (ValueError, struct.error):
        return None


def _tpm12_policy(blob: bytes) -> str:
    """The PCRs and the digest at release of a TPM 1.2's TPM_STORED_DATA."""
    size = struct.unpack_from(">I", blob, 4)[0]
    info, sealed = blob[8 : 8 + size], blob[8 + size :]
    if len(info) != size or struct.unpack_from(">I", sealed)[0] != len(sealed) - 4:
        raise ValueError("a part is cut")
    return info[:-SHA1_SIZE].hex()  # the digest at creation is not what it is sealed to


def _sized(data: bytes) -> tuple[bytes, bytes]:
    """A TPM2B, and what follows it."""
    end = 2 + int(struct.unpack_from(">H", data)[0])
    if len(data) < end:
        raise ValueError("cut")
    return data[2:end], data[end:]


def _der(data: bytes) -> tuple[int, bytes, bytes]:
    """The first value of DER: its tag, its content, and what follows."""
    tag, size, start = data[0], data[1], 2
    if size & 0x80:
        count = size & 0x7F
        size, start = int.from_bytes(data[2 : 2 + count], "big"), 2 + count
    if len(data) < start + size:
        raise ValueError("cut")
    return tag, data[start : start + size], data[start + size :]


# --- what is asked for -------------------------------------------------------------------------------------------------


def length_fault(kind: str, style: str, length: int) -> str:
    """Why a key cannot have this many bytes; empty where it can."""
    if kind == ENCRYPTED and style not in FORMATS:
        return f"its format is {style}, which is none of {', '.join(FORMATS)}"
    least, most = FORMATS[style] if kind == ENCRYPTED else TRUSTED_LENGTHS if kind == TRUSTED else USER_LENGTHS
    if least <= length <= most:
        return ""
    what = f"an encrypted key of the format {style}" if kind == ENCRYPTED else f"a {kind} key"
    return f"{what} has {least} bytes, not {length}" if least == most else f"{what} has {least} to {most} bytes, not {length}"


def description_fault(kind: str, description: str, style: str = "default") -> str:
    """Why a key of this type cannot be called so; empty where it can."""
    if not description:
        return "it is empty"
    if len(description.encode("utf-8", "surrogateescape")) > LONGEST_DESCRIPTION:
        return f"it is longer than {LONGEST_DESCRIPTION} bytes"
    if re.search(r"\s", description) or not description.isprintable():
        return "it has a blank or a control character, at which blobs, dm-crypt and loaders end a name"
    if kind == LOGON and not re.fullmatch(r"[^:]+:.+", description):
        return "the name of a logon key begins with a service and a colon (cifs:server)"
    if kind == ENCRYPTED and style == "ecryptfs" and not re.fullmatch(r"[0-9a-fA-F]{16}", description):
        return "ecryptfs wants 16 hexadecimal digits as a name"
    return ""


def master_fault(master: str) -> str:
    """Why this cannot be the name of a master key; empty where it can."""
    kind, colon, description = master.partition(":")
    if not colon or kind not in (USER, TRUSTED):
        return "it does not begin with user: or trusted:"
    return description_fault(kind, description)


def parse_keyring(path: str) -> tuple[str, tuple[str, ...]]:
    """A keyring as a user names it: where it begins (``@u``, ``%:name``, a serial number) and the names from there on.

    :raises Malformed: if it is none of these.
    """
    start, *names = path.split("/")
    known = _SPECIAL.fullmatch(start) or _SERIAL.fullmatch(start) or (start.startswith("%:") and not description_fault(USER, start[2:]))
    if not known:
        raise Malformed(
            f"The keyring {path!r} begins with {start!r}, which is none.",
            "Write @u, @us or @s, %:name for a keyring by its name, or a serial number; /name after it for a keyring in it.",
        )
    if start in ("@t", "@p"):
        raise Malformed(f"The keyring {start} is the module's own and ends with it.", "Take @u, or a keyring in it.")
    for name in names:
        fault = "a dot begins the kernel's own" if name.startswith(".") else description_fault(USER, name)
        if fault:
            raise Malformed(f"The keyring {path!r} has the name {name!r}: {fault}.", "Correct it.")
    return start, tuple(names)


def parse_permissions(text: str | None) -> int | None:
    """Permissions as eight hexadecimal digits, as keyctl(1) and /proc/keys have them; None where not given.

    :raises Malformed: if it is none, or shuts out this module.
    """
    if text is None:
        return None
    if not re.fullmatch(r"(0x)?[0-9a-fA-F]{8}", text):
        raise Malformed(f"The permissions {text!r} are not eight hexadecimal digits.", "Write 3f010000 for the kernel's default.")
    mask = int(text, 16)
    if mask & ~0x3F3F3F3F:
        raise Malformed(f"The permissions {text} have bits that mean nothing.", "No byte is above 3f.")
    needed = VIEW | SEARCH | SETATTR
    if (mask >> 24 | mask >> 16) & needed != needed:
        raise Malformed(
            f"With the permissions {text} nobody could find the key again, or change its permissions.",
            "Give the possessor or the user, the first four digits, at least view, search and setattr (29).",
        )
    return mask


def evm_fault(release: str, security_modules: str) -> str:
    """Why EVM must not be started in this kernel; empty where it may.

    Before 6.6 (commit 6bcdfd2cac55) a kernel whose security module for BPF is on, and neither SELinux nor Smack, gives EVM a name that is
    not there for each new file. Seen with Debian 12's 6.1.

    :param release: as uname(2) has it.
    :param security_modules: of /sys/kernel/security/lsm.
    """
    match = re.match(r"(\d+)\.(\d+)", release)
    modules = set(security_modules.strip().split(","))
    if match is None or (int(match[1]), int(match[2])) >= (6, 6) or "bpf" not in modules or modules & {"selinux", "smack"}:
        return ""
    return (
        f"With EVM this kernel ({release}) would crash at the next file that is made: before 6.6 EVM and the security module bpf do not go"
        " together. Take a newer kernel, or leave bpf out of its parameter lsm=."
    )
