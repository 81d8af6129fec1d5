# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""LUKS2 tokens of TPM2, FIDO2, PKCS#11 and clevis: what is asked for, what there is, and what is to be done. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass, field, replace
from typing import Any, Iterable, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import ABSENT, LUKS2, PRESENT, REENCRYPT, Device

TPM2, FIDO2, PKCS11, CLEVIS = "tpm2", "fido2", "pkcs11", "clevis"
TYPES = {TPM2: "systemd-tpm2", FIDO2: "systemd-fido2", PKCS11: "systemd-pkcs11", CLEVIS: "clevis"}
KINDS = {name: kind for kind, name in TYPES.items()}
# Our note in the header that an enrolment is under way: the keyslots and tokens that were there before it.
NOTE = "rootoftrust-pending"
# The cost of the key derivation of a keyslot whose passphrase is random: systemd's, clevis's (18 and later) and our own.
CHEAP = ("pbkdf2", 1000)
PINS = ("tang", "tpm2", "sss")
SLOTS = 32
REGISTERS = 24
# systemd's version with: --unlock-key-file; PINs as credentials; "7:sha256".
UNLOCK_FILE, CREDENTIALS, BANKS = 252, 256, 255
ENROL, REMOVE, KILL, CLEAR = "enrol", "remove", "kill", "clear"

Config = Mapping[str, Any]


@dataclass(frozen=True)
class FoundToken:
    """A token of one of the kinds, as the header has it.

    :param pcrs, bank: of tpm2.
    :param with_pin: whether unlocking asks for a PIN; None where that is not known (pkcs11).
    :param uri: of pkcs11.
    :param presence, verification: of fido2, whether the user has to touch it, and to be recognised by it.
    :param policy: of clevis: its pin, and the configuration as far as the token keeps it.
    :param alive: whether it was seen to open the volume; None where that was not tried.
    """

    number: int
    kind: str
    keyslots: tuple[int, ...]
    pcrs: tuple[int, ...] = ()
    bank: str | None = None
    with_pin: bool | None = None
    uri: str = ""
    presence: bool = False
    verification: bool = False
    policy: tuple[str, Config] = ("", {})
    alive: bool | None = None

    def __str__(self) -> str:
        words = {
            TPM2: _registers(self.pcrs, self.bank) + (", PIN" if self.with_pin else ""),
            FIDO2: _flags(bool(self.with_pin), self.presence, self.verification),
            PKCS11: self.uri,
            CLEVIS: _policy(*self.policy),
        }
        return f"{self.kind}: {words[self.kind]}"


@dataclass(frozen=True)
class WantedToken:
    """A token that should be there, or not.

    :param unlock: a secret that opens the volume; None where none was given.
    :param pin: what the TPM, the authenticator or the security token asks for.
    :param exclusive: others of its kind go.
    """

    device: str
    kind: str
    state: str = PRESENT
    header: str | None = None
    exclusive: bool = False
    unlock: Secret | None = None
    pin: Secret | None = None
    tpm2_device: str = "auto"
    pcrs: tuple[int, ...] | None = None
    bank: str | None = None
    with_pin: bool | None = None
    fido2_device: str = "auto"
    presence: bool = True
    verification: bool = False
    uri: str | None = None
    clevis_pin: str | None = None
    clevis_config: Config = field(default_factory=dict)

    def __str__(self) -> str:
        words = {
            TPM2: _registers(self.pcrs or (), self.bank) + (", PIN" if self.with_pin else ""),
            FIDO2: _flags(bool(self.with_pin), self.presence, self.verification),
            PKCS11: self.uri or "any URI",
            CLEVIS: _policy(self.clevis_pin or "any pin", self.clevis_config),
        }
        return f"{self.kind}: {words[self.kind]}"

    def matches(self, found: FoundToken) -> bool:
        """Whether a token is this one. What is not said of one that is to be absent may be anything."""
        if found.kind != self.kind:
            return False
        if self.kind == TPM2:
            fits = (self.pcrs is None or set(self.pcrs) == set(found.pcrs)) and (self.bank is None or self.bank == found.bank)
            return fits and self._same_pin(found)
        if self.kind == FIDO2:
            flags = (self.presence, self.verification) == (found.presence, found.verification)
            return self.state == ABSENT or (flags and self._same_pin(found))
        if self.kind == PKCS11:
            return self.uri is None or _uri(self.uri) == _uri(found.uri)
        return self.clevis_pin is None or _same_policy((self.clevis_pin, self.clevis_config), found.policy)

    def _same_pin(self, found: FoundToken) -> bool:
        return (self.state == ABSENT and self.with_pin is None) or bool(self.with_pin) == bool(found.with_pin)


@dataclass(frozen=True)
class Note:
    """What the note of an enrolment says: the keyslots and tokens that were there before it began."""

    number: int
    keyslots: tuple[int, ...]
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Means:
    """What the host has to enrol with; all is empty where nothing is to be enrolled.

    :param systemd: version of systemd-cryptenroll; None where it is not installed.
    :param handlers: kinds that cryptsetup can unlock by itself.
    :param tpms: major versions of the host's TPMs.
    :param answers: kind → exit status of, and what was said by, ``systemd-cryptenroll --<kind>-device=list``.
    :param clevis: the pins that clevis has; None where it is not installed.
    """

    systemd: int | None = None
    handlers: frozenset[str] = frozenset()
    tpms: tuple[int, ...] = ()
    answers: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    clevis: frozenset[str] | None = None


@dataclass(frozen=True)
class TokenVolume:
    """One volume, its tokens, and what is asked of them.

    :param named: as it was asked for.
    :param at: where the header is.
    :param taken: keyslot numbers that tokens of any type name.
    :param opens: whether ``unlock`` opens the volume; None where that was not tried.
    :param remarks: what the programs had to say about an enrolment.
    """

    named: str
    at: str
    device: Device
    wanted: tuple[WantedToken, ...]
    found: tuple[FoundToken, ...] = ()
    taken: tuple[int, ...] = ()
    note: Note | None = None
    means: Means = Means()
    opens: bool | None = None
    remarks: tuple[str, ...] = ()

    def matching(self, wanted: WantedToken) -> list[FoundToken]:
        """The tokens that are the one asked for and have a keyslot; those known to be dead included."""
        return [token for token in self.found if token.keyslots and wanted.matches(token)]

    @property
    def due(self) -> tuple[WantedToken, ...]:
        """What has to be enrolled, as far as it is known which tokens are alive."""
        asked = [wanted for wanted in self.wanted if wanted.state == PRESENT]
        return tuple(wanted for wanted in asked if all(token.alive is False for token in self.matching(wanted)))

    @property
    def unproven(self) -> tuple[FoundToken, ...]:
        """The tokens of an enrolment that was cut before they were proven."""
        if self.note is None:
            return ()
        return tuple(token for token in self.found if token.number not in self.note.tokens)

    @property
    def rest(self) -> tuple[int, ...]:
        """The keyslots of an enrolment that was cut before its token was written."""
        if self.note is None or self.device.header is None:
            return ()
        return tuple(
            slot.number
            for slot in self.device.header.keyslots
            if slot.number not in self.note.keyslots
            and slot.number not in self.taken
            # A keyslot that somebody has added since would cost more.
            and slot.pbkdf is not None
            and (slot.pbkdf.type, slot.pbkdf.cost) == CHEAP
        )


# --- in words ----------------------------------------------------------------------------------------------------------


def _registers(pcrs: Iterable[int], bank: str | None) -> str:
    listed = ", ".join(str(number) for number in sorted(set(pcrs)))
    return (f"PCRs {listed}" if listed else "no PCRs") + (f" of {bank}" if bank and listed else "")


def _flags(with_pin: bool, presence: bool, verification: bool) -> str:
    flags = {"PIN": with_pin, "user presence": presence, "user verification": verification}
    return ", ".join(name for name, is_set in flags.items() if is_set) or "no PIN, no user presence"


def _policy(pin: str, config: Config) -> str:
    if pin == "tang":
        return f"tang {config.get('url', '')}"
    if pin == "tpm2":
        return f"tpm2 {_registers(map(int, _pcr_ids(config)), config.get('pcr_bank'))}"
    if pin == "sss":
        return f"sss {config.get('t')} of ({'; '.join(_policy(*part) for part in _parts(config))})"
    return pin


# --- what is asked for -------------------------------------------------------------------------------------------------


def wanted_token(params: Mapping[str, Any], unlock: Secret | None) -> WantedToken:
    """One token as the module's parameters ask for it.

    :raises RootOfTrustError: if they are not complete, or what they ask for is not safe.
    """
    kind, device, present = params["kind"], params["device"], params["state"] == PRESENT
    if kind is None:
        raise RootOfTrustError(f"It is not said what is to open {device}.", f"Give kind: {', '.join(TYPES)}.")
    pin = Secret.from_param(params.get(f"{kind}_pin")) if kind != CLEVIS else None
    if pin is not None and (not len(pin) or b"\n" in pin.reveal() or b"\0" in pin.reveal()):
        raise RootOfTrustError(f"The PIN of the {kind} token for {device} is empty or has more than one line.", "Correct it.")
    pcrs = params.get("tpm2_pcrs")
    if kind == TPM2 and present and pcrs is None:
        raise RootOfTrustError(
            f"It is not said to which PCRs the tpm2 token for {device} is to be bound.",
            "Give tpm2_pcrs; an empty list binds it to none. Programs have different defaults.",
        )
    wrong = [number for number in pcrs or () if not 0 <= number < REGISTERS]
    if wrong:
        raise RootOfTrustError(f"A TPM has no PCR {wrong[0]}.", f"Give numbers of 0 to {REGISTERS - 1}.")
    if kind == PKCS11 and present and not str(params.get("pkcs11_uri") or "").startswith("pkcs11:"):
        raise RootOfTrustError(
            f"It is not said by a pkcs11: URI which certificate the token for {device} is to use.",
            "Give pkcs11_uri; systemd-cryptenroll --pkcs11-token-uri=list shows those there are.",
        )
    config = params.get("clevis_config") or {}
    if kind == CLEVIS and present:
        if params.get("clevis_pin") is None:
            raise RootOfTrustError(f"It is not said which pin the clevis token for {device} is to use.", "Give clevis_pin.")
        _check_policy(params["clevis_pin"], config)
    with_pin = params.get("fido2_with_pin") if kind == FIDO2 else params.get("tpm2_with_pin")
    return WantedToken(
        device=device,
        kind=kind,
        state=params["state"],
        header=params.get("header"),
        exclusive=bool(params.get("exclusive")),
        unlock=unlock,
        pin=pin,
        tpm2_device=params.get("tpm2_device") or "auto",
        pcrs=None if pcrs is None else tuple(sorted(set(pcrs))),
        bank=params.get("tpm2_pcr_bank") if pcrs else None,
        with_pin=(pin is not None or kind == FIDO2) if with_pin is None and present else with_pin,
        fido2_device=params.get("fido2_device") or "auto",
        presence=params.get("fido2_with_user_presence") is not False,
        verification=bool(params.get("fido2_with_user_verification")),
        uri=params.get("pkcs11_uri"),
        clevis_pin=params.get("clevis_pin"),
        clevis_config=config,
    )


def _check_policy(pin: str, config: Config) -> None:
    """Refuse a policy of clevis that is not complete or trusts what it sees first."""
    if pin == "tang":
        url = config.get("url")
        if not url or not isinstance(url, str):
            raise RootOfTrustError("A policy for the pin tang has no url.", "Give the address of the Tang server.")
        if not config.get("thp") and not config.get("adv"):
            raise RootOfTrustError(
                f"The Tang server {url} is to be trusted on first use: whoever answers gets the key.",
                "Give its thumbprint as thp; tang-show-keys prints it on the server.",
            )
    elif pin == "tpm2":
        if "pcr_ids" not in config:
            raise RootOfTrustError(
                "It is not said to which PCRs the pin tpm2 is to be bound.", "Give pcr_ids; an empty text binds it to none."
            )
    elif pin == "sss":
        parts = _parts(config)
        if not isinstance(config.get("t"), int) or not 1 <= config["t"] <= len(parts):
            raise RootOfTrustError(
                f"A policy for the pin sss has {len(parts)} parts and the threshold {config.get('t')!r}.", "Give t and pins."
            )
        for part in parts:
            _check_policy(*part)
    else:
        raise RootOfTrustError(f"The pin {pin} of clevis is not one of {', '.join(PINS)}.", "Use one of them.")


def _parts(config: Config) -> list[tuple[str, Config]]:
    """The policies inside one for the pin sss: each pin has one configuration or a list of them."""
    pins = config.get("pins")
    if not isinstance(pins, Mapping):
        return list(config.get("parts", ()))  # as read from a token
    listed = [(str(pin), one) for pin, several in pins.items() for one in (several if isinstance(several, list) else [several])]
    return [(pin, one if isinstance(one, Mapping) else {}) for pin, one in listed]


def clevis_argument(pin: str, config: Config) -> str:
    """A policy as ``clevis encrypt`` takes it."""
    return json.dumps(_given(pin, config), sort_keys=True)


def _given(pin: str, config: Config) -> dict[str, Any]:
    given = dict(config)
    if pin == "tpm2" and not _pcr_ids(config):
        given.pop("pcr_ids", None)
    elif pin == "tpm2":
        given["pcr_ids"] = ",".join(_pcr_ids(config))
    elif pin == "sss":
        pins: dict[str, list[Any]] = {}
        for name, part in _parts(config):
            pins.setdefault(name, []).append(_given(name, part))
        given["pins"] = pins
    return given


def _pcr_ids(config: Config) -> list[str]:
    """clevis takes a number, a text with commas, or a list."""
    ids = config.get("pcr_ids")
    listed = ids if isinstance(ids, list) else str("" if ids is None else ids).split(",")
    return sorted({str(number).strip() for number in listed if str(number).strip()}, key=lambda text: (len(text), text))


def _same_policy(wanted: tuple[str, Config], found: tuple[str, Config]) -> bool:
    pin, config = wanted
    if pin != found[0]:
        return False
    has = found[1]
    if not config:
        return True  # the pin alone was given
    if pin == "tang":
        fits = not config.get("thp") or config["thp"] in has["thumbprints"]
        return fits and str(config["url"]).rstrip("/") == str(has["url"]).rstrip("/")
    if pin == "tpm2":
        same = all(str(config[name]) == str(has.get(name)) for name in ("hash", "key", "pcr_bank") if config.get(name))
        return same and _pcr_ids(config) == _pcr_ids(has)
    left = _parts(has)
    for part in _parts(config):
        match = next((other for other in left if _same_policy(part, other)), None)
        if match is None:
            return False
        left.remove(match)
    return not left and config.get("t") == has.get("t")


def _uri(text: str) -> tuple[str, ...]:
    """A PKCS#11 URI without what says how to reach the token; the order of its attributes has no meaning (RFC 7512)."""
    return tuple(sorted(text.partition("?")[0][len("pkcs11:") :].split(";")))


# --- what there is -----------------------------------------------------------------------------------------------------


def found_token(number: int, token: Mapping[str, Any]) -> FoundToken | None:
    """A token from its JSON; None for one of another type, and for one of clevis that cannot be read."""
    kind = KINDS.get(str(token.get("type")))
    if kind is None:
        return None
    plain = FoundToken(number, kind, tuple(sorted(int(slot) for slot in token.get("keyslots", ()))))
    if kind == TPM2:
        registers = token.get("tpm2-pcrs")
        pcrs = tuple(sorted(int(register) for register in registers)) if isinstance(registers, list) else ()
        return replace(plain, pcrs=pcrs, bank=token.get("tpm2-pcr-bank"), with_pin=bool(token.get("tpm2-pin", False)))
    if kind == FIDO2:
        flags = [bool(token.get(f"fido2-{name}-required", default)) for name, default in (("clientPin", True), ("up", True), ("uv", False))]
        return replace(plain, with_pin=flags[0], presence=flags[1], verification=flags[2])
    if kind == PKCS11:
        return replace(plain, uri=str(token.get("pkcs11-uri", "")))
    try:
        return replace(plain, policy=_found_policy(token["jwe"]["protected"]))
    except (KeyError, ValueError, TypeError, AttributeError):
        return replace(plain, policy=("unreadable", {}))


def _found_policy(protected: str) -> tuple[str, Config]:
    """The policy in the protected header of a JWE (RFC 7516), as clevis keeps it there."""
    clevis = json.loads(_decoded(protected))["clevis"]
    pin = str(clevis["pin"])
    kept = clevis.get(pin) or {}
    if pin == "tang":
        keys = kept["adv"]["keys"]
        prints = {print_ for key in keys if "verify" in key.get("key_ops", ()) for print_ in thumbprints(key)}
        return pin, {"url": kept["url"], "thumbprints": sorted(prints)}
    if pin == "tpm2":
        return pin, {name: kept[name] for name in ("hash", "key", "pcr_bank", "pcr_ids") if name in kept}
    if pin == "sss":
        return pin, {"t": kept["t"], "parts": [_found_policy(jwe.split(".")[0]) for jwe in kept["jwe"]]}
    return pin, dict(kept)


def _decoded(text: str) -> bytes:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def thumbprints(key: Mapping[str, Any]) -> tuple[str, str]:
    """A key's thumbprints by SHA-256 and by SHA-1 (RFC 7638), which older programs print."""
    names = {"EC": ("crv", "kty", "x", "y"), "RSA": ("e", "kty", "n")}[key["kty"]]
    text = json.dumps({name: key[name] for name in names}, sort_keys=True, separators=(",", ":")).encode("ascii")
    sha1 = hashlib.sha1(text)  # nosec: a name, not a signature
    told = [base64.urlsafe_b64encode(digest.digest()).rstrip(b"=").decode() for digest in (hashlib.sha256(text), sha1)]
    return told[0], told[1]


def found_note(number: int, token: Mapping[str, Any]) -> Note | None:
    """The note that an enrolment is under way; None for any other token."""
    if token.get("type") != NOTE:
        return None
    before = token.get("before") or {}
    return Note(number, tuple(int(one) for one in before.get("keyslots", ())), tuple(int(one) for one in before.get("tokens", ())))


def note(keyslots: Iterable[int], tokens: Iterable[int]) -> dict[str, Any]:
    """The note, as the header takes it."""
    return {"type": NOTE, "keyslots": [], "before": {"keyslots": sorted(keyslots), "tokens": sorted(tokens)}}


def clevis_token(keyslot: int, jwe: str) -> dict[str, Any]:
    """A token of clevis.

    :param jwe: in its compact form.
    """
    names = ("protected", "encrypted_key", "iv", "ciphertext", "tag")
    return {"type": "clevis", "keyslots": [str(keyslot)], "jwe": dict(zip(names, jwe.split(".")))}


def compact_jwe(token: Mapping[str, Any]) -> str:
    """The compact form of a clevis token's JWE."""
    return ".".join(str(token["jwe"].get(name, "")) for name in ("protected", "encrypted_key", "iv", "ciphertext", "tag"))


# --- what cannot be ----------------------------------------------------------------------------------------------------


def check_volume(volume: TokenVolume, changes: bool) -> None:
    """Refuse what has no room for tokens; and, where there is something to change, what must not be written now.

    :raises RootOfTrustError: if so.
    """
    header = volume.device.header
    if header is None:
        found = f"but {volume.device.signature}" if volume.device.signature else "and nothing else that is known"
        raise RootOfTrustError(f"{volume.at} has no LUKS header that can be used, {found}.", "Correct the device.")
    if header.type != LUKS2:
        raise RootOfTrustError(
            f"{volume.at} has a LUKS1 header, which has no place for tokens.",
            "Convert it to LUKS2 (rootoftrust.linux.luks_encryption), or unlock it by a passphrase or key file.",
        )
    if not changes:
        return
    if header.work is not None or any("reencrypt" in name for name in header.requirements):
        raise RootOfTrustError(
            f"A reencryption of {volume.at} is under way: until its end cryptsetup takes no new keyslot and no new token.",
            "Wait for its end; rootoftrust.linux.luks_info tells how far it is.",
        )
    if volume.device.read_only and volume.at == volume.device.path:
        raise RootOfTrustError(f"{volume.at} is read-only.", "Make it writable.")


def check_enrolment(volume: TokenVolume, wanted: WantedToken) -> None:
    """Refuse an enrolment that cannot succeed.

    :raises RootOfTrustError: if the secret, the program, the hardware or a free keyslot is missing.
    """
    header = volume.device.header
    dead = [str(token.number) for token in volume.matching(wanted) if token.alive is False]
    why = f"Token {', '.join(dead)} of {volume.named} does not open the volume. " if dead else ""
    if wanted.unlock is None:
        raise RootOfTrustError(f"{why}A token is to be enrolled for {volume.named}, which needs a secret that opens it.", "Give unlock.")
    check = _check_clevis if wanted.kind == CLEVIS else _check_systemd
    check(volume.means, wanted)
    if wanted.kind in (TPM2, FIDO2) and wanted.with_pin and wanted.pin is None:
        raise RootOfTrustError(f"The {wanted.kind} token for {volume.named} is to ask for a PIN, but none is given.", "Give its PIN.")
    if volume.opens is False:
        raise RootOfTrustError(f"{why}The secret that is to unlock {volume.at} does not open it.", "Give one that does in unlock.")
    if header is not None and len(header.keyslots) >= SLOTS:
        raise RootOfTrustError(f"All {SLOTS} keyslots of {volume.at} are in use.", "Remove one that nobody needs.")


def _check_clevis(means: Means, wanted: WantedToken) -> None:
    if means.clevis is None:
        raise RootOfTrustError("clevis is not installed on this host.", "Install the packages clevis, and clevis-systemd for the boot.")
    for pin in sorted(_pins(wanted.clevis_pin or "", wanted.clevis_config)):
        if pin not in means.clevis:
            raise RootOfTrustError(f"clevis has no pin {pin} on this host.", f"Install the package clevis-{pin}, where there is one.")
        if pin == "tpm2" and 2 not in means.tpms:
            raise _no_tpm(means)


def _pins(pin: str, config: Config) -> set[str]:
    return {pin}.union(*(_pins(*part) for part in _parts(config)) if pin == "sss" else ())


def _no_tpm(means: Means) -> RootOfTrustError:
    if means.tpms:
        return RootOfTrustError(
            "This host's TPM is of version 1.2; TPM 2.0 is needed.", "Switch it to 2.0 in the firmware, where that can be done."
        )
    return RootOfTrustError("This host has no TPM.", "Switch it on in the firmware, or give the machine one.")


def _check_systemd(means: Means, wanted: WantedToken) -> None:
    if means.systemd is None:
        raise RootOfTrustError(
            "systemd-cryptenroll is not installed on this host.",
            "Install the package systemd-cryptsetup (Debian 12: systemd; Debian 11 has none: use clevis there).",
        )
    if means.systemd < UNLOCK_FILE:
        raise RootOfTrustError(
            f"systemd {means.systemd} takes the secret that unlocks a volume by the environment only, where others can see it.",
            f"Use systemd {UNLOCK_FILE} or later, or clevis.",
        )
    if wanted.kind == TPM2:
        if wanted.bank is not None and means.systemd < BANKS:
            raise RootOfTrustError(f"systemd {means.systemd} chooses the bank of PCRs itself.", f"Leave tpm2_pcr_bank out; {BANKS} has it.")
        if wanted.tpm2_device in ("", "auto") or wanted.tpm2_device.startswith("/"):
            _check_tpm(means)
    elif wanted.pin is not None and means.systemd < CREDENTIALS:
        raise RootOfTrustError(
            f"systemd {means.systemd} takes the PIN of a {wanted.kind} token by the environment or a terminal only.",
            f"Use systemd {CREDENTIALS} or later, or a token that asks for its PIN itself.",
        )
    status, answer = means.answers.get(FIDO2, (0, "")) if wanted.kind == FIDO2 else (0, "")
    if status != 0 or "No FIDO2 devices" in answer:
        raise RootOfTrustError(f"There is no FIDO2 authenticator that can be used: {answer or 'none was found.'}", "Plug it in.")
    if wanted.kind not in means.handlers:
        raise RootOfTrustError(
            f"cryptsetup has no handler for {TYPES[wanted.kind]} tokens on this host: an enrolment could not be proven.",
            f"Install what has libcryptsetup-token-{TYPES[wanted.kind]}.so (systemd, systemd-cryptsetup or systemd-udev).",
        )


def _check_tpm(means: Means) -> None:
    status, answer = means.answers.get(TPM2, (0, ""))
    if 2 not in means.tpms:
        raise _no_tpm(means)
    if status != 0 or "No suitable" in answer:
        raise RootOfTrustError(
            f"systemd cannot use the TPM: {answer}",
            "Install the libraries that it loads: libtss2-esys, libtss2-rc0 and libtss2-tcti-device0.",
        )


# --- the plan ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """What a step is to do to a volume.

    :param token: to be removed.
    :param keyslots: of it, or the rest of a cut enrolment.
    """

    volume: TokenVolume
    wanted: WantedToken | None = None
    token: FoundToken | None = None
    keyslots: tuple[int, ...] = ()


def plan_tokens(volumes: Sequence[TokenVolume]) -> list[Step]:
    """Of each volume first what a cut run has left, then what is dead or rubble, then what is new, then what is to go.

    :raises RootOfTrustError: if something cannot be, or if nothing would be left that opens a volume.
    """
    steps = []
    for volume in volumes:
        check_volume(volume, changes=False)
        planned = _plan_volume(volume)
        check_volume(volume, changes=bool(planned))
        for wanted in volume.due:
            check_enrolment(volume, wanted)
        _check_ways(volume, planned)
        steps += planned
    return steps


def _plan_volume(volume: TokenVolume) -> list[Step]:
    asked = [wanted for wanted in volume.wanted if wanted.state == PRESENT]
    leave = [wanted for wanted in volume.wanted if wanted.state == ABSENT]
    kinds = {wanted.kind for wanted in volume.wanted}
    first, last = [], []
    for slot in volume.rest:
        sentence = f"Remove keyslot {slot} of {volume.named}, the rest of an enrolment that was cut."
        first.append(
            Step(
                volume.named, KILL, sentence, {f"keyslot {slot}": "present"}, {f"keyslot {slot}": None}, Change(volume, None, None, (slot,))
            )
        )
    for token in volume.found:
        if any(wanted.matches(token) for wanted in leave) and token.keyslots:
            last.append(_removal(volume, token, ""))
        elif not token.keyslots and token.kind in kinds:
            first.append(_removal(volume, token, "it has no keyslot any more"))
        elif token.alive is False:
            # systemd takes no second tpm2 token of the same policy, dead or not. Elsewhere the new one comes first.
            early = token.kind == TPM2 or token in volume.unproven
            (first if early else last).append(_removal(volume, token, "it does not open the volume"))
        elif any(wanted.exclusive and wanted.kind == token.kind for wanted in asked) and token in _others(volume, asked):
            last.append(_removal(volume, token, "only what is asked for is to be there"))
    if volume.note is not None:
        first.append(Step(volume.named, CLEAR, f"Remove the note of an enrolment of {volume.named} that was cut.", {}, {}, Change(volume)))
    enrolments = [
        Step(
            subject=volume.named,
            action=ENROL,
            sentence=f"Enrol a token for {volume.named} and prove that it opens the volume ({wanted}).",
            before={str(wanted): None},
            after={str(wanted): "present"},
            detail=Change(volume, wanted),
        )
        for wanted in volume.due
    ]
    return first + enrolments + last


def _others(volume: TokenVolume, asked: Sequence[WantedToken]) -> list[FoundToken]:
    """The tokens that nobody asked for: those that match nothing, and second ones of those that do."""
    kept = []
    for wanted in asked:
        kept += [token for token in volume.matching(wanted) if token.alive is not False][:1]
    return [token for token in volume.found if token not in kept]


def _removal(volume: TokenVolume, token: FoundToken, why: str) -> Step:
    name = f"token {token.number} ({token})"
    slots = f" with its keyslot {', '.join(map(str, token.keyslots))}" if token.keyslots else ""
    return Step(
        subject=volume.named,
        action=REMOVE,
        sentence=f"Remove {name} of {volume.named}{slots}{f': {why}' if why else ''}.",
        before={name: "dead" if token.alive is False else "present"},
        after={name: None},
        detail=Change(volume, None, token, token.keyslots),
    )


def ways_left(volume: TokenVolume, gone: Iterable[int]) -> list[int]:
    """The keyslots that hold a key to the data when some are gone, those of tokens that are known to be dead not counted."""
    header = volume.device.header
    dead = {slot for token in volume.found if token.alive is False for slot in token.keyslots}
    without = dead | set(gone)
    slots = header.keyslots if header else ()
    return [slot.number for slot in slots if slot.kind != REENCRYPT and not slot.unbound and slot.number not in without]


def _check_ways(volume: TokenVolume, steps: Sequence[Step]) -> None:
    gone = [slot for step in steps if step.action in (REMOVE, KILL) for slot in step.detail.keyslots]
    if gone and not ways_left(volume, gone):
        raise RootOfTrustError(
            f"Nothing would be left that opens {volume.named}: keyslot {', '.join(map(str, gone))} is the last.",
            "Add a passphrase, a key file or a recovery key first (rootoftrust.linux.luks_keyslot).",
        )


def report_tokens(volumes: Sequence[TokenVolume], to_come: Sequence[Step]) -> dict[str, Any]:
    """The result of luks_token: the tokens that hold, after the steps to come."""
    gone = {(step.subject, step.detail.token.number) for step in to_come if step.action == REMOVE}
    coming = {(step.subject, str(step.detail.wanted)) for step in to_come if step.action == ENROL}
    told: list[dict[str, Any]] = []
    warnings: list[str] = []
    for volume in volumes:
        warnings += volume.remarks
        kept = [token for token in volume.found if (volume.named, token.number) not in gone]
        for wanted in volume.wanted:
            match = next((token for token in kept if token.keyslots and wanted.matches(token)), None)
            if wanted.state == ABSENT or (volume.named, str(wanted)) in coming:
                match = None
            told.append(
                {
                    "device": volume.named,
                    "kind": wanted.kind,
                    "state": wanted.state,
                    "description": str(wanted),
                    # That of a token which is still to be enrolled is not known.
                    "token": match.number if match else None,
                    "keyslots": match.keyslots if match else (),
                    "proven": match.alive if match else None,
                }
            )
        warnings += _stray(volume, kept)
    return {"tokens": told, "warnings": warnings}


def _stray(volume: TokenVolume, kept: Sequence[FoundToken]) -> list[str]:
    asked = [wanted for wanted in volume.wanted if wanted.state == PRESENT]
    kinds = {wanted.kind for wanted in asked if not wanted.exclusive}
    return [
        f"{volume.named} has token {token.number} ({token}) too, which was not asked for and opens the volume as well: "
        "name it with state absent, or set exclusive."
        for token in kept
        if token.kind in kinds and token.keyslots and not any(wanted.matches(token) for wanted in volume.wanted)
    ]
