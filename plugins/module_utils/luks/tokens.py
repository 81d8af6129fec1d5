# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The tokens in LUKS2 headers by which a TPM, an authenticator, a security token or clevis opens a volume."""

from __future__ import annotations

import base64
import os
from dataclasses import replace
from typing import Any, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError, certain
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.clevis import Clevis
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.cryptenroll import Cryptenroll
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.cryptsetup import Cryptsetup
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.devices import Devices
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.fido2 import prove_pin
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.lock import HeaderLocks
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import LUKS2, PRESENT, Header
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_tokens import (
    CHEAP,
    CLEAR,
    CLEVIS,
    ENROL,
    FIDO2,
    KILL,
    KINDS,
    NOTE,
    PKCS11,
    SLOTS,
    TPM2,
    Change,
    FoundToken,
    Means,
    TokenVolume,
    WantedToken,
    clevis_argument,
    clevis_token,
    compact_jwe,
    found_note,
    found_token,
    note,
    wanted_token,
    ways_left,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.secrets import read_secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.sysfs import Sysfs
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.tokens import prove_user_pin

LOCK_PATIENCE = 60.0  # seconds to wait for another run
RANDOM = 40  # bytes of the passphrase that clevis keeps


class Tokens:
    """
    :param runner: starts the programs.
    :param verify: try each token that is asked for.
    """

    def __init__(self, runner: Runner, verify: bool) -> None:
        self._runner = runner
        self._verify = verify
        self._cryptsetup = Cryptsetup(runner)
        self._cryptenroll = Cryptenroll(runner)
        self._clevis = Clevis(runner)
        self._devices = Devices(runner)
        self._sysfs = Sysfs()
        self._locks = HeaderLocks(patience=LOCK_PATIENCE)
        self._remarks: dict[str, list[str]] = {}

    def read(self, asked: Sequence[Mapping[str, Any]]) -> list[TokenVolume]:
        """The volumes, each once, with their tokens and what is asked of them.

        It derives a key only where something is to be enrolled, where a token has not been proven, and to verify.

        :raises RootOfTrustError: if what is asked for is not complete, or a device is not there.
        """
        wanted = [wanted_token(one, read_secret(one.get("unlock"))) for one in asked]
        places = list(dict.fromkeys((one.device, one.header) for one in wanted))
        return [self._volume(*place, tuple(one for one in wanted if (one.device, one.header) == place)) for place in places]

    def _volume(self, named: str, header: str | None, wanted: tuple[WantedToken, ...]) -> TokenVolume:
        at = header or self._devices.path(named)
        if os.path.exists(at):
            self._locks.hold_header(at)
        device = self._devices.look(named, header)
        volume = TokenVolume(named, at, device, wanted, remarks=tuple(self._remarks.get(named, ())))
        if device.header is None or device.header.type != LUKS2:
            return volume
        volume = self._with_tokens(volume, device.header)
        if self._verify or volume.unproven:
            volume = replace(volume, found=tuple(self._tried(volume, token) for token in volume.found))
        if volume.due and device.header.work is None:
            secrets = [one.unlock for one in volume.due if one.unlock is not None]
            volume = replace(volume, means=self._means(volume.due), opens=all(self._cryptsetup.opens(at, secret) for secret in secrets))
        return volume

    def _with_tokens(self, volume: TokenVolume, header: Header) -> TokenVolume:
        texts = {token.number: self._cryptsetup.token(volume.at, token.number) for token in header.tokens if token.type in (*KINDS, NOTE)}
        found = (found_token(number, text) for number, text in texts.items())
        notes = (found_note(number, text) for number, text in texts.items())
        return replace(
            volume,
            found=tuple(token for token in found if token is not None),
            taken=tuple(slot for token in header.tokens for slot in token.keyslots),
            note=next((one for one in notes if one is not None), None),
        )

    def _tried(self, volume: TokenVolume, token: FoundToken) -> FoundToken:
        asker = next((one for one in volume.wanted if one.state == PRESENT and one.matches(token)), None)
        if not token.keyslots or (token not in volume.unproven and not (self._verify and asker)):
            return token
        if token.with_pin and (asker is None or asker.pin is None):
            if token not in volume.unproven:
                raise RootOfTrustError(
                    f"Token {token.number} of {volume.named} asks for a PIN, without which it cannot be tried.", "Give it."
                )
            return token
        return replace(token, alive=self._opens(volume.at, token, asker))

    def _opens(self, path: str, token: FoundToken, asker: WantedToken | None) -> bool:
        """Whether a token opens each of its keyslots.

        :param asker: for what is asked of it, such as its PIN.
        """
        if asker is not None:
            self._prove_pin(asker)
        if token.kind != CLEVIS:
            return self._cryptsetup.opens_by_token(path, token.number, asker.pin if asker is not None else None)
        secret = self._clevis.decrypt(compact_jwe(self._cryptsetup.token(path, token.number)))
        return secret is not None and all(self._cryptsetup.opens(path, secret, slot) for slot in token.keyslots)

    @staticmethod
    def _prove_pin(wanted: WantedToken) -> None:
        """Hardware that counts wrong PINs is asked once whether this is its own: systemd tries it until that takes none any more."""
        if wanted.pin is not None and wanted.kind == FIDO2:
            prove_pin(wanted.fido2_device, wanted.pin)
        if wanted.pin is not None and wanted.kind == PKCS11:
            prove_user_pin(certain(wanted.uri), wanted.pin)

    def _means(self, due: Sequence[WantedToken]) -> Means:
        kinds = {one.kind for one in due}
        systemd = self._cryptenroll.version() if kinds - {CLEVIS} else None
        tpms = self._sysfs.tpms()
        ask = [kind for kind in (TPM2, FIDO2) if kind in kinds and systemd is not None and (kind == FIDO2 or tpms)]
        return Means(
            systemd=systemd,
            handlers=self._cryptenroll.handlers(),
            tpms=tpms,
            answers={kind: self._cryptenroll.devices(kind) for kind in ask},
            clevis=self._clevis.pins() if CLEVIS in kinds else None,
        )

    def apply(self, step: Step) -> None:
        """Do one step.

        :raises RootOfTrustError: if a token does not open the volume, or nothing would be left that does.
        """
        change: Change = step.detail
        path = change.volume.at
        if step.action == ENROL and change.wanted is not None:
            self._enrol(change.volume, change.wanted)
        elif step.action == CLEAR:
            self._clear(path)
        elif step.action == KILL:
            for slot in change.keyslots:
                self._cryptsetup.remove_keyslot(path, slot)
        elif change.token is not None:
            self._remove(change.volume, change.token)

    def _enrol(self, volume: TokenVolume, wanted: WantedToken) -> None:
        """Make the token and prove it; a note in the header tells a later run where a cut left this one."""
        self._prove_pin(wanted)
        header = self._header(volume)
        numbers = [token.number for token in header.tokens]
        self._cryptsetup.add_token(volume.at, note((slot.number for slot in header.keyslots), numbers))
        try:
            make = self._make_clevis if wanted.kind == CLEVIS else self._make_systemd
            make(volume, wanted)
            made = self._with_tokens(volume, self._header(volume)).unproven
            if not made:
                raise RootOfTrustError(f"No token was enrolled for {volume.named}, though that was said to have succeeded.")
            if not all(self._opens(volume.at, token, wanted) for token in made):
                raise RootOfTrustError(
                    f"The token that was enrolled for {volume.named} does not open it; it has been removed again.",
                    "Look whether the hardware or the server is what unlocks at boot, too.",
                )
        except BaseException:
            self._undo(volume)
            raise
        self._clear(volume.at)

    def _make_systemd(self, volume: TokenVolume, wanted: WantedToken) -> None:
        remarks = self._cryptenroll.enrol(volume.at, wanted, certain(wanted.unlock), list(self._locks.descriptors))
        self._remarks.setdefault(volume.named, []).extend(f"{volume.named}: {remark}" for remark in remarks)

    def _make_clevis(self, volume: TokenVolume, wanted: WantedToken) -> None:
        """As clevis luks bind does, but with nothing written before the server or the TPM has given the passphrase back."""
        unlock, pin = certain(wanted.unlock), certain(wanted.clevis_pin)
        secret = Secret(base64.urlsafe_b64encode(os.urandom(RANDOM)).rstrip(b"="))
        jwe = self._clevis.encrypt(pin, clevis_argument(pin, wanted.clevis_config), secret)
        if self._clevis.decrypt(jwe) != secret:
            raise RootOfTrustError(f"What clevis has encrypted for {volume.named} it does not decrypt.", "Look at the server or the TPM.")
        used = {slot.number for slot in self._header(volume).keyslots}
        keyslot = min(set(range(SLOTS)) - used)
        cheap = [f"--pbkdf={CHEAP[0]}", f"--pbkdf-force-iterations={CHEAP[1]}"]  # the passphrase is random
        self._cryptsetup.add_keyslot(volume.at, unlock, secret, keyslot, cheap)
        self._cryptsetup.add_token(volume.at, clevis_token(keyslot, jwe))

    def _undo(self, volume: TokenVolume) -> None:
        """Take back what an enrolment has written."""
        now = self._now(volume)
        for token in now.unproven:
            self._remove(now, token)
        for slot in self._now(volume).rest:
            self._cryptsetup.remove_keyslot(volume.at, slot)
        self._clear(volume.at)

    def _remove(self, volume: TokenVolume, token: FoundToken) -> None:
        """The keyslots first: a token without one is seen and removed by the next run, a keyslot without a token is not."""
        now = self._now(volume)
        same = next((one for one in now.found if one.number == token.number), None)
        if same is None or replace(same, alive=token.alive) != token:
            raise RootOfTrustError(f"Token {token.number} of {volume.named} is not what it was a moment ago.", "Run again.")
        shared = [slot for slot in token.keyslots if now.taken.count(slot) > 1]
        own = [slot for slot in token.keyslots if slot not in shared]
        if own and not ways_left(now, own):
            raise RootOfTrustError(f"Nothing would be left that opens {volume.named}.", "Add another way first.")
        for slot in own:
            self._cryptsetup.remove_keyslot(volume.at, slot)
        self._cryptsetup.remove_token(volume.at, token.number)

    def _clear(self, path: str) -> None:
        header = self._cryptsetup.header(path)
        for token in header.tokens if header else ():
            if token.type == NOTE:
                self._cryptsetup.remove_token(path, token.number)

    def _header(self, volume: TokenVolume) -> Header:
        header = self._cryptsetup.header(volume.at)
        if header is None:
            raise RootOfTrustError(f"{volume.at} has no LUKS header any more.")
        return header

    def _now(self, volume: TokenVolume) -> TokenVolume:
        header = self._header(volume)
        return self._with_tokens(replace(volume, device=replace(volume.device, header=header)), header)
