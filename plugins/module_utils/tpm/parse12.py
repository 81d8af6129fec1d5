# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The answers of a TPM 1.2 (TPM Main Specification 1.2, Part 2). Pure."""

from __future__ import annotations

import hashlib
import struct

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.commands12 import DIGEST, RsaKey, Session
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.parse import HEADER, Answer

_RSA, _DEFAULT_EXPONENT = 1, 0x10001
_MEANINGS = {
    0x01: ("the authorisation of the owner is wrong; it was tried once", "Correct it before the TPM defends itself against guessing."),
    0x06: ("it is deactivated", "Activate it in the firmware's settings."),
    0x07: ("it is disabled", "Enable it in the firmware's settings."),
    0x0A: ("its firmware does not let an owner be made", "Allow it in the firmware's settings."),
    0x14: ("it has an owner", "Look at it with tpm_info."),
    0x23: ("it has no endorsement key", "Have its manufacturer's tool make one."),
    0x2D: ("it has been deactivated until the next start", "Restart the host."),
    0x803: ("it is defending itself against guessing", "Wait, or restart the host."),
}


def opened12(what: str, response: bytes) -> bytes:
    """The body of an answer.

    :param what: in words, what the command was to do.
    :raises RootOfTrustError: if the TPM has refused.
    """
    answer = Answer(response)
    _tag, size, code = struct.unpack(">HII", answer.take(HEADER))
    if code:
        meaning, remedy = _MEANINGS.get(code & 0xFFF, ("it refuses", "Look at it with tpm_info."))
        raise RootOfTrustError(f"The TPM does not {what}: {meaning} (0x{code:x}).", remedy, {"response": f"0x{code:x}"})
    return answer.take(size - HEADER)


def parse_session(body: bytes) -> Session:
    """The answer to OIAP."""
    answer = Answer(body)
    return Session(answer.number(4), answer.take(DIGEST))


def parse_endorsement_key(body: bytes, nonce: bytes) -> RsaKey:
    """The answer to ReadPubek: a TPM_PUBKEY and a checksum.

    :raises RootOfTrustError: if it is none, or was not meant for this question.
    """
    if hashlib.new("sha1", body[:-DIGEST] + nonce).digest() != body[-DIGEST:]:
        raise RootOfTrustError("The answer of the TPM is not that to the question.", "Look for another program that speaks to it.")
    answer = Answer(body[:-DIGEST])
    kind, _encryption, _signature = answer.number(4), answer.number(2), answer.number(2)
    parameters = Answer(answer.take(answer.number(4)))
    if kind != _RSA:
        raise RootOfTrustError(f"The endorsement key of the TPM is of the kind {kind}, and not RSA.", "This TPM is not supported.")
    _bits, _primes = parameters.number(4), parameters.number(4)
    exponent = parameters.number(parameters.number(4)) or _DEFAULT_EXPONENT
    return RsaKey(answer.number(answer.number(4)), exponent)
