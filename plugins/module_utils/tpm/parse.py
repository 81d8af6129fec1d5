# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The answers of a TPM, and what /sys has of a TPM 1.2. Pure.

The structures are those of the TPM 2.0 Library, Part 2; all numbers are big-endian.
"""

from __future__ import annotations

import re
import struct
from typing import Mapping

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.model import (
    ALGORITHMS,
    ATTRIBUTES,
    CURVES,
    Authorisations,
    Lockout,
    Properties,
    PublicArea,
)

HEADER = 10  # bytes before the answer itself: tag, size, response code
SESSIONS = 0x8002  # tag of an answer that has authorisations at its end

# Properties (TPM_PT)
REVISION, MANUFACTURER, VENDOR, FIRMWARE = 0x102, 0x105, range(0x106, 0x10A), (0x10B, 0x10C)
PERMANENT, ROOM, FAILURES, LIMIT, INTERVAL, RECOVERY = 0x200, 0x209, 0x20E, 0x20F, 0x210, 0x211
OWNER_SET, ENDORSEMENT_SET, LOCKOUT_SET, CLEAR_DISABLED, IN_LOCKOUT = 1 << 0, 1 << 1, 1 << 2, 1 << 8, 1 << 9

# Response codes that an administrator can do something about
OBJECT_MEMORY, LOCKED_OUT = 0x902, 0x921
MEANINGS = {
    0x100: ("it was not started up", "Restart the host."),
    0x101: ("it is in failure mode", "Restart the host; a TPM that stays so is broken."),
    0x14B: ("its memory for persistent objects is full", "Evict an object that is not used (tpm2_evictcontrol)."),
    0x14C: ("something is at that handle already", "Look at it with tpm_info."),
    0x120: ("its hierarchy is disabled", "Enable it in the firmware's settings."),
    OBJECT_MEMORY: ("its memory for loaded objects is full", "End the program that has /dev/tpm0 open, or flush what it loaded."),
    0x903: ("its memory for sessions is full", "End the program that has /dev/tpm0 open, or flush its sessions."),
    0x920: ("it limits how often its memory is written", "Try again in a minute."),
    LOCKED_OUT: ("it is in lockout", "Wait until it is over, or end it with the lockout authorisation (tpm2_dictionarylockout -c)."),
    0x922: ("it is busy", "Try again."),
    0x923: ("its memory cannot be written now", "Try again."),
}
# Format-one codes: without the number of the parameter, handle or session they speak of
BAD_AUTH, AUTH_FAIL, NO_HANDLE, BAD_HIERARCHY = 0x0A2, 0x08E, 0x08B, 0x085
FORMAT_ONE = {
    BAD_AUTH: ("the authorisation is wrong", "Correct it."),
    AUTH_FAIL: ("the authorisation is wrong, and that was counted", "Correct it."),
    NO_HANDLE: ("there is no such object", ""),
    BAD_HIERARCHY: ("its hierarchy is disabled or the wrong one", "Enable it in the firmware's settings."),
    0x081: ("it does not have this kind of key", "Choose another algorithm."),
    0x084: ("it does not take this value", "Choose another algorithm or handle."),
    0x08D: ("the handle is out of range", "Choose another handle."),
    0x096: ("it does not have this symmetric cipher", ""),
    0x0A6: ("it does not have this curve", "Choose another algorithm."),
}


class TpmAnswer(RootOfTrustError):
    """The TPM has refused a command.

    :param code: the response code without the layer that made it and without the parameter, handle or session that it speaks of.
    """

    def __init__(self, what: str, response: int) -> None:
        self.code = base_code(response)
        meaning, remedy = FORMAT_ONE.get(self.code) or MEANINGS.get(self.code) or ("it refuses", "")
        super().__init__(f"The TPM does not {what}: {meaning} (0x{response:03x}).", remedy, {"response": f"0x{response:03x}"})


def base_code(response: int) -> int:
    """A response code as the tables here have it."""
    code = response & 0xFFF  # above are the numbers of a layer of software, such as the kernel's resource manager
    return code & 0x0BF if code & 0x080 else code


class Answer:
    """Takes an answer apart, from its front.

    :raises RootOfTrustError: if it ends too early.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next bytes."""
        if self._at + size > len(self._data):
            raise RootOfTrustError("The TPM gave an answer that ends too early.", "Look for another program that speaks to it.")
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def sized(self) -> bytes:
        """A TPM2B: two bytes of size, and what they count."""
        return self.take(self.number(2))

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._at)


def opened(what: str, response: bytes) -> bytes:
    """The body of an answer.

    :param what: in words, what the command was to do.
    :raises TpmAnswer: if the TPM has refused.
    """
    answer = Answer(response)
    _tag, size, code = struct.unpack(">HII", answer.take(HEADER))
    if code:
        raise TpmAnswer(what, code)
    return answer.take(size - HEADER)


def parse_handles(body: bytes) -> tuple[bool, list[int]]:
    """TPML_HANDLE of GetCapability: whether there are more, and the handles."""
    answer = Answer(body)
    more = bool(answer.number(1))
    answer.number(4)
    return more, [answer.number(4) for _each in range(answer.number(4))]


def parse_properties(body: bytes) -> tuple[bool, dict[int, int]]:
    """TPML_TAGGED_TPM_PROPERTY of GetCapability: whether there are more, and property → value."""
    answer = Answer(body)
    more = bool(answer.number(1))
    answer.number(4)
    return more, {answer.number(4): answer.number(4) for _each in range(answer.number(4))}


def parse_banks(body: bytes) -> dict[int, list[int]]:
    """TPML_PCR_SELECTION of GetCapability: algorithm → the registers that there are; a bank without any is not in use."""
    answer = Answer(body)
    answer.number(5)
    return _selections(answer)


def parse_pcrs(body: bytes) -> dict[int, dict[int, str]]:
    """The answer to PCR_Read: algorithm → register → value. It holds as many as the TPM gives at once."""
    answer = Answer(body)
    answer.number(4)  # how often registers have changed
    read = [(bank, number) for bank, numbers in _selections(answer).items() for number in numbers]
    values: dict[int, dict[int, str]] = {}
    count = answer.number(4)
    for bank, number in read[:count]:
        values.setdefault(bank, {})[number] = answer.sized().hex()
    return values


def _selections(answer: Answer) -> dict[int, list[int]]:
    banks: dict[int, list[int]] = {}
    for _each in range(answer.number(4)):
        algorithm = answer.number(2)
        bits = answer.take(answer.number(1))
        banks[algorithm] = [8 * place + bit for place, byte in enumerate(bits) for bit in range(8) if byte & 1 << bit]
    return banks


def parse_read_public(body: bytes) -> tuple[PublicArea, str]:
    """The answer to ReadPublic: the public area, and the name in hexadecimal."""
    answer = Answer(body)
    area = answer.sized()
    return parse_public(area), answer.sized().hex()


def parse_public(area: bytes) -> PublicArea:
    """A TPMT_PUBLIC."""
    answer = Answer(area)
    kind = _algorithm(answer.number(2))
    name_algorithm = _algorithm(answer.number(2))
    bits = answer.number(4)
    attributes = frozenset(name for bit, name in ATTRIBUTES.items() if bits & 1 << bit)
    policy = answer.sized().hex()
    symmetric = scheme = ""
    size: int | None = None
    curve: str | None = None
    if kind in ("rsa", "ecc", "symcipher"):
        symmetric = _symmetric(answer)
    if kind in ("rsa", "ecc", "keyedhash"):
        scheme = _scheme(answer, kind)
    if kind == "rsa":
        size = answer.number(2)
    elif kind == "ecc":
        number = answer.number(2)
        curve = CURVES.get(number, f"0x{number:04x}")
    return PublicArea(kind, name_algorithm, attributes, policy, symmetric, scheme, size, curve)


def _algorithm(number: int) -> str:
    return ALGORITHMS.get(number, f"0x{number:04x}")


def _symmetric(answer: Answer) -> str:
    """A TPMT_SYM_DEF_OBJECT."""
    cipher = _algorithm(answer.number(2))
    if cipher == "null":
        return ""
    bits = answer.number(2)
    return f"{cipher}{bits}{_algorithm(answer.number(2))}"


def _scheme(answer: Answer, kind: str) -> str:
    """A TPMT_RSA_SCHEME, TPMT_ECC_SCHEME or TPMT_KEYEDHASH_SCHEME."""
    scheme = _algorithm(answer.number(2))
    if scheme in ("null", "rsaes"):
        return "" if scheme == "null" else scheme
    answer.number(2)  # its hash
    if scheme == "ecdaa" or (kind == "keyedhash" and scheme != "hmac"):
        answer.number(2)  # its counter, or its key derivation
    return scheme


def parse_created(body: bytes) -> tuple[int, PublicArea]:
    """The answer to CreatePrimary, which has authorisations: the transient handle and the public area."""
    answer = Answer(body)
    handle = answer.number(4)
    answer.number(4)
    return handle, parse_public(answer.sized())


def describe_properties(values: Mapping[int, int]) -> Properties:
    """What the fixed and the variable properties say."""
    permanent = values.get(PERMANENT, 0)
    revision = values.get(REVISION, 0)
    high, low = (values.get(number, 0) for number in FIRMWARE)
    return Properties(
        manufacturer=_text([values.get(MANUFACTURER, 0)]),
        vendor=_text([values.get(number, 0) for number in VENDOR]),
        firmware=".".join(str(part) for number in (high, low) for part in (number >> 16, number & 0xFFFF)),
        revision=f"{revision // 100}.{revision % 100:02d}",
        authorisations=Authorisations(bool(permanent & OWNER_SET), bool(permanent & ENDORSEMENT_SET), bool(permanent & LOCKOUT_SET)),
        lockout=Lockout(
            active=bool(permanent & IN_LOCKOUT),
            failures=values.get(FAILURES, 0),
            limit=values.get(LIMIT, 0),
            seconds_per_failure=values.get(INTERVAL, 0),
            recovery_seconds=values.get(RECOVERY, 0),
        ),
        clear_disabled=bool(permanent & CLEAR_DISABLED),
        room=values.get(ROOM, 0),
    )


def _text(numbers: list[int]) -> str:
    """Numbers that are four letters each."""
    return b"".join(number.to_bytes(4, "big") for number in numbers).replace(b"\0", b"").decode("ascii", "replace").strip()


def parse_caps(text: str) -> dict[str, str]:
    """The attribute ``caps`` of a TPM 1.2: manufacturer, version of the specification, firmware."""
    names = {"Manufacturer": "manufacturer", "TCG version": "specification", "Firmware version": "firmware"}
    found: dict[str, str] = {}
    for line in text.splitlines():
        label, _colon, value = line.partition(":")
        if label in names:
            found[names[label]] = value.strip()
    if re.fullmatch(r"0x[0-9a-f]{1,8}", found.get("manufacturer", "")):
        found["manufacturer"] = _text([int(found["manufacturer"], 16)])
    return found


def parse_pcr_list(text: str) -> dict[int, str]:
    """The attribute ``pcrs`` of a TPM 1.2: register → value."""
    lines = re.findall(r"^PCR-(\d+):((?: [0-9A-F]{2})+)", text, re.MULTILINE)
    return {int(number): value.replace(" ", "").lower() for number, value in lines}
