# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The keys on a token: looked at, made, proven, destroyed."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError, certain
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.lock import Locks
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11 import cryptoki as c
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.cryptoki import Cryptoki, Library
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.model import PRESENT, KeyObject, Slot
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.parse import CURVES, parse_key, parse_slot
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.plan_pairs import (
    DECRYPT,
    DERIVE,
    DESTROY,
    SIGN,
    Pairs,
    WantedPair,
    pair_of,
    report_ssh_keys,
    wanted_pair,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.plan_tokens import refuse_login, the_token, the_token_to_come
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.tokens import library_path, used

ID_BYTES = 8
CHALLENGE_BYTES = 32
# Mechanisms by which a pair is made and signs. ECDSA signs a digest, the others what they are given.
_MAKING = {"rsa": 0x0, "nistp": 0x1040, "ed25519": 0x1055}
# A token that does not digest by itself (openCryptoki 3.8) signs with RSA what is no longer than a digest.
_SIGNING = {"rsa": (0x40, 0x1), "nistp": (0x1041,), "ed25519": (0x1057,)}


class KeyPairs:
    """The key pairs of one token."""

    def __init__(self) -> None:
        self._library = Library("")
        self._params: Mapping[str, Any] = {}
        self._pin: Secret | None = None
        self._locks = Locks()
        self._pairs: Pairs | None = None

    def _open(self, params: Mapping[str, Any]) -> None:
        self._library, self._params, self._pin = Library(library_path(params["library"])), params, Secret.from_param(params["pin"])

    def read(self, params: Mapping[str, Any], asked: Sequence[Mapping[str, Any]]) -> Pairs:
        """The token and its keys. Those that should prove themselves sign something.

        :param params: library, token, slot, serial number and PIN, as the modules have them.
        :raises RootOfTrustError: if the token is not there, the PIN is wrong, or a signature does not hold.
        """
        self._open(params)
        self._locks.hold("pkcs11", "PKCS#11 tokens")
        slot, keys = self._look()
        pairs = Pairs(slot, keys, tuple(wanted_pair(one) for one in asked), self._pin is not None)
        for wanted, one in zip(pairs.wanted, asked):
            if one["verify"] and wanted.state == PRESENT:
                self._prove(pairs, wanted)
        self._pairs = pairs
        return pairs

    def foresee(self, params: Mapping[str, Any], asked: Sequence[Mapping[str, Any]]) -> Pairs:
        """As :meth:`read`, where the token may be yet to be initialised or given its user PIN: that is not tried, and nothing is proven.

        :raises RootOfTrustError: if the library cannot be used.
        """
        self._open(params)
        slots = [parse_slot(one) for one in self._library.use(lambda cryptoki: cryptoki.slots())]
        slot = the_token_to_come(slots, params["token"], params["slot"])
        keys = self._keys(slot, None) if slot in slots else ()
        self._pairs = Pairs(slot, keys, tuple(wanted_pair(one) for one in asked), logged_in=False, token_due=True)
        return self._pairs

    def ssh_keys(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """The result of pkcs11_ssh_keys."""
        self._open(params)
        slot, keys = self._look()
        return report_ssh_keys(slot, keys, params["labels"], params["ids"])

    def _look(self) -> tuple[Slot, tuple[KeyObject, ...]]:
        slots = [parse_slot(one) for one in self._library.use(lambda cryptoki: cryptoki.slots())]
        slot = self._chosen(slots)
        if self._pin is not None:
            refuse_login(slot, self._name(slot))
        return slot, self._keys(slot, self._pin)

    def _keys(self, slot: Slot, pin: Secret | None) -> tuple[KeyObject, ...]:
        def work(cryptoki: Cryptoki) -> list[dict[str, Any]]:
            return cryptoki.keys(self._session(cryptoki, slot, c.RO, pin))

        found = [parse_key(one) for one in used(self._library, work, self._name(slot), "user PIN")]
        return tuple(key for key in found if key is not None)

    def _chosen(self, slots: Sequence[Slot]) -> Slot:
        token, number, serial = (self._params[name] for name in ("token", "slot", "serial"))
        if token is not None:
            return the_token(slots, token, number, serial)
        fitting = [
            slot
            for slot in slots
            if slot.token is not None
            and slot.token.is_initialized
            and number in (None, slot.number)
            and serial in (None, slot.token.serial)
        ]
        if len(fitting) != 1:
            there = ", ".join(f"{slot.token.label!r} (slot {slot.number})" for slot in slots if slot.token is not None)
            count = len(fitting) or "no"
            raise RootOfTrustError(
                f"{self._library.path} has {count} tokens that could be meant: {there or 'none'}.", "Give the token's label."
            )
        return fitting[0]

    @staticmethod
    def _name(slot: Slot) -> str:
        return slot.token.label if slot.token is not None else f"in slot {slot.number}"

    @staticmethod
    def _session(cryptoki: Cryptoki, slot: Slot, flags: int, pin: Secret | None) -> int:
        session = cryptoki.open_session(slot.number, flags)
        if pin is not None:
            cryptoki.login(session, c.USER, pin)
        return session

    # ---------------------------------------------------------------------------------------------------------- applying

    def apply(self, step: Step) -> None:
        """Do one step."""
        pairs = certain(self._pairs)
        if pairs.token_due:
            pairs = replace(pairs, slot=self._look()[0])
        wanted = pairs.wanted[step.detail]

        def work(cryptoki: Cryptoki) -> None:
            session = self._session(cryptoki, pairs.slot, c.RW, self._pin)
            if step.action == DESTROY:
                now = [parse_key(one) for one in cryptoki.keys(session)]
                found = pair_of(Pairs(pairs.slot, tuple(key for key in now if key is not None), (), True), wanted)
                # The private key first: a cut between the two leaves a public key, which tells nothing.
                for key in reversed(found):
                    if key is not None:
                        cryptoki.destroy(session, key.handle)
            else:
                cryptoki.generate_pair(session, *_templates(wanted))

        used(self._library, work, self._name(pairs.slot), "user PIN")

    def _prove(self, pairs: Pairs, wanted: WantedPair) -> None:
        """A signature of something at random, by the private key, that the public key confirms."""
        public, private = pair_of(pairs, wanted)
        if public is None or (private is None and not pairs.logged_in):
            return
        if private is None:
            raise RootOfTrustError(f"The private key {wanted.label!r} is not on the token.", "See pkcs11_ssh_keys for what is.")
        challenge, ways = os.urandom(CHALLENGE_BYTES), _SIGNING[_kind(wanted.algorithm)]

        def work(cryptoki: Cryptoki) -> None:
            session = self._session(cryptoki, pairs.slot, c.RW, self._pin)
            now = [parse_key(one) for one in cryptoki.keys(session)]
            one, other = pair_of(Pairs(pairs.slot, tuple(key for key in now if key is not None), (), True), wanted)
            if one is None or other is None:
                raise RootOfTrustError(f"The key pair {wanted.label!r} is not on the token any more.")
            known = cryptoki.mechanisms(pairs.slot.number)
            mechanism = next((way for way in ways if way in known), ways[-1])
            cryptoki.verify(session, one.handle, mechanism, challenge, cryptoki.sign(session, other.handle, mechanism, challenge))

        used(self._library, work, self._name(pairs.slot), "user PIN")


def _kind(algorithm: str) -> str:
    return next(kind for kind in _MAKING if algorithm.startswith(kind))


def _templates(wanted: WantedPair) -> tuple[int, list[tuple[int, Any]], list[tuple[int, Any]]]:
    """The mechanism, and what the public and the private key should be."""
    kind = _kind(wanted.algorithm)
    identity = wanted.identity or os.urandom(ID_BYTES)
    named: list[tuple[int, Any]] = [(c.TOKEN, True), (c.LABEL, wanted.label.encode("utf-8")), (c.ID, identity)]
    public, private = [*named, (c.PRIVATE, False)], [*named, (c.PRIVATE, True), (c.SENSITIVE, True), (c.EXTRACTABLE, wanted.extractable)]
    public += [(c.VERIFY, SIGN in wanted.usage)]
    private += [(c.SIGN, SIGN in wanted.usage)]
    if kind == "rsa":
        public += [(c.MODULUS_BITS, int(wanted.algorithm[3:])), (c.PUBLIC_EXPONENT, b"\x01\x00\x01"), (c.ENCRYPT, DECRYPT in wanted.usage)]
        private += [(c.DECRYPT, DECRYPT in wanted.usage)]
    else:
        public += [(c.EC_PARAMS, next(raw for raw, name in CURVES.items() if name == wanted.algorithm))]
        private += [(c.DERIVE, True)] if DERIVE in wanted.usage else []
    return _MAKING[kind], public, private
