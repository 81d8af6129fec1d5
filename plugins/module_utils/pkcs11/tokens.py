# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The tokens of a library: looked at, initialised, given PINs."""

from __future__ import annotations

import glob
import os
from typing import Any, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError, certain
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.lock import Locks
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11 import cryptoki as c
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.cryptoki import RW, SO, USER, Cryptoki, CryptokiError, Library
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.model import (
    DEFAULT_SO_PIN,
    DEFAULT_USER_PIN,
    USER_PIN_INITIALIZED,
    Slot,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.parse import parse_slot, parse_uri, token_label
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.plan_tokens import (
    CHANGE_SO_PIN,
    INITIALIZE,
    Tokens,
    is_meant,
    labelled,
    refuse_login,
    report_slots,
    wanted_token,
)

# Where the distributions have the libraries that are known by a word.
_FOLDERS = ("/usr/lib/*-linux-gnu*", "/usr/lib64", "/usr/lib", "/usr/local/lib")
_FILES = {
    "opencryptoki": ("libopencryptoki.so.0", "opencryptoki/libopencryptoki.so", "pkcs11/libopencryptoki.so"),
    "softhsm2": ("softhsm/libsofthsm2.so", "pkcs11/libsofthsm2.so", "libsofthsm2.so"),
    "opensc": ("opensc-pkcs11.so", "pkcs11/opensc-pkcs11.so"),
    "p11-kit": ("p11-kit-proxy.so", "libp11-kit.so.0"),  # the one is a link to the other, which systemd needs
}
CHALLENGE_BYTES = 32
# Pairs for a proof, which live as long as the session: mechanisms of making and signing, and what the public key is.
_PROBES: tuple[tuple[int, int, list[tuple[int, Any]]], ...] = (
    (0x1040, 0x1041, [(c.EC_PARAMS, bytes.fromhex("06082a8648ce3d030107"))]),
    (0x0, 0x1, [(c.MODULUS_BITS, 2048), (c.PUBLIC_EXPONENT, b"\x01\x00\x01")]),
)


def library_path(text: str) -> str:
    """The file of a library, given as such or by a word.

    :raises RootOfTrustError: if there is none.
    """
    if os.path.isabs(text):
        return text
    if text not in _FILES:
        raise RootOfTrustError(f"The library {text!r} is neither a whole path nor one of {', '.join(_FILES)}.", "Give its path.")
    for folder in _FOLDERS:
        for name in _FILES[text]:
            for found in sorted(glob.glob(os.path.join(folder, name))):
                return found
    raise RootOfTrustError(f"The PKCS#11 library of {text} is not installed on this host.", "Install its package, or give a path.")


class TokenStore:
    """The tokens of a library."""

    def __init__(self) -> None:
        self._library = Library("")
        self._locks = Locks()
        self._asked: Sequence[Mapping[str, Any]] = ()

    def look(self, library: str) -> dict[str, Any]:
        """The result of pkcs11_info.

        :param library: as ``library_path`` takes it.
        :raises RootOfTrustError: if it cannot be used.
        """
        opened = Library(library_path(library))
        told = opened.use(lambda cryptoki: {"info": cryptoki.info(), "slots": cryptoki.slots(mechanisms=True)})
        info = {"real_path": os.path.realpath(opened.path), **told["info"]}
        return report_slots(opened.path, info, [parse_slot(one) for one in told["slots"]])

    def _slots(self) -> tuple[Slot, ...]:
        return tuple(parse_slot(one) for one in self._library.use(lambda cryptoki: cryptoki.slots()))

    def read(self, library: str, asked: Sequence[Mapping[str, Any]]) -> Tokens:
        """The slots, and what is asked for. A PIN is tried only where that is asked for.

        :raises RootOfTrustError: if the library cannot be used, or a PIN that is tried is wrong.
        """
        self._library = Library(library_path(library))
        self._locks.hold("pkcs11", "PKCS#11 tokens")
        self._asked = asked
        wanted = tuple(wanted_token(one) for one in asked)
        tokens = Tokens(self._library.path, self._slots(), wanted)
        for one, params in zip(wanted, asked):
            found = labelled(tokens.slots, one.label, one.slot)
            if params["verify"] and params["user_pin"] is not None and len(found) == 1:
                self._prove(found[0], one.label, Secret(params["user_pin"].encode("utf-8")))
        return tokens

    def _prove(self, slot: Slot, label: str, pin: Secret) -> None:
        refuse_login(slot, label)

        def work(cryptoki: Cryptoki) -> None:
            session = cryptoki.open_session(slot.number)
            cryptoki.login(session, USER, pin)
            known = cryptoki.mechanisms(slot.number)
            for making, signing, public in _PROBES:
                if making in known and signing in known:
                    challenge = os.urandom(CHALLENGE_BYTES)
                    one, other = cryptoki.generate_pair(session, making, [*public, (c.VERIFY, True)], [(c.SIGN, True)])
                    cryptoki.verify(session, one, signing, challenge, cryptoki.sign(session, other, signing, challenge))
                    return

        used(self._library, work, label, "user PIN")

    def apply(self, step: Step) -> None:
        """Do one step."""
        index, slot = step.detail
        params = self._asked[index]
        so_pin = Secret((params["so_pin"] or "").encode("utf-8"))
        if step.action == INITIALIZE:
            is_default = slot.token is not None and slot.token.has_default_so_pin
            first = Secret(DEFAULT_SO_PIN.encode("ascii")) if is_default else so_pin
            label = token_label(params["label"])
            used(self._library, lambda cryptoki: cryptoki.init_token(slot.number, first, label), params["label"], "SO PIN")
            return
        (now,) = labelled(self._slots(), params["label"], params["slot"] if params["slot"] == slot.number else None)
        if step.action == CHANGE_SO_PIN:
            self._as_so(now, params["label"], Secret(DEFAULT_SO_PIN.encode("ascii")), so_pin, None)
        else:
            self._give_user_pin(now, params, so_pin)

    def _give_user_pin(self, slot: Slot, params: Mapping[str, Any], so_pin: Secret) -> None:
        """As the SO; openCryptoki's token of a TPM 1.2 says yes to that and does nothing: its default PIN is changed by the user."""
        pin = Secret(params["user_pin"].encode("utf-8"))
        self._as_so(slot, params["label"], so_pin, None, pin)
        (now,) = labelled(self._slots(), params["label"], slot.number)
        if USER_PIN_INITIALIZED in certain(now.token).flags:
            return
        default = Secret(DEFAULT_USER_PIN.encode("ascii"))

        def work(cryptoki: Cryptoki) -> None:
            session = cryptoki.open_session(now.number, RW)
            cryptoki.login(session, USER, default)
            cryptoki.set_pin(session, default, pin)

        used(self._library, work, params["label"], "user PIN")

    def _as_so(self, slot: Slot, label: str, so_pin: Secret, new: Secret | None, user_pin: Secret | None) -> None:
        def work(cryptoki: Cryptoki) -> None:
            session = cryptoki.open_session(slot.number, RW)
            cryptoki.login(session, SO, so_pin)
            if new is not None:
                cryptoki.set_pin(session, so_pin, new)
            if user_pin is not None:
                cryptoki.init_pin(session, user_pin)

        used(self._library, work, label, "SO PIN")


def prove_user_pin(uri: str, pin: Secret) -> None:
    """Have a token that p11-kit knows say whether the user PIN is its own. It is tried once, and not where that might lock it.

    :param uri: of the token or of something on it. Where none or several fit nothing is tried.
    :raises RootOfTrustError: if it is not, or must not be tried.
    """
    asked = parse_uri(uri)
    library = Library(library_path("p11-kit"))
    slots = [parse_slot(one) for one in library.use(lambda cryptoki: cryptoki.slots())]
    fitting = [slot for slot in slots if slot.token is not None and is_meant(asked, slot.token)]
    if len(fitting) != 1:
        return
    number, label = fitting[0].number, certain(fitting[0].token).label
    refuse_login(fitting[0], label)
    used(library, lambda cryptoki: cryptoki.login(cryptoki.open_session(number), USER, pin), label, "user PIN")


def used(library: Library, work: Any, label: str, pin: str) -> Any:
    """As :meth:`Library.use`; a PIN that the token refuses is told as such.

    :raises RootOfTrustError: if something fails.
    """
    try:
        return library.use(work)
    except CryptokiError as error:
        wrong = {"CKR_PIN_INCORRECT", "CKR_PIN_INVALID", "CKR_PIN_LEN_RANGE"}
        if error.name in wrong and error.facts["function"] in ("C_Login", "C_InitToken"):
            raise RootOfTrustError(
                f"The {pin} given for the token {label!r} is wrong; it was tried once.", "Correct it before the token locks.", error.facts
            ) from error
        if error.name == "CKR_PIN_LOCKED":
            raise RootOfTrustError(
                f"The {pin} of the token {label!r} is locked.", "See how its maker lets it be unlocked.", error.facts
            ) from error
        if error.name == "CKR_TOKEN_NOT_PRESENT":
            raise RootOfTrustError(f"The token {label!r} is not there any more.", "Insert it.", error.facts) from error
        raise
