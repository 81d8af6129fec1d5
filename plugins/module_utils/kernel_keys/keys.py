# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys: what is known of them, and the steps done to them.

What is made or loaded comes to be in a keyring that only this thread has, and is linked into its place when it is known to be good: what
stands there under the same name gives way in the same moment.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import replace
from typing import Any, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError, certain
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.lock import Locks
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys import files, plan_keys
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.keyctl import USER, Keyctl, KeyctlError
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.keyrings import LOCK, Keyrings, refusal
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.model import (
    ENCRYPTED,
    EVM_KEY,
    LOGON,
    PRESENT,
    SEALED,
    TRUSTED,
    Blob,
    FoundKey,
    Master,
    Sealed,
    SealOptions,
    WantedBlob,
    WantedKey,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.model import USER as USER_TYPE
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.modprobe import Modprobe
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.parse import Malformed, parse_sealed
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.procfs import Procfs
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.sealing import Sealing


class Keys:
    """
    :param modprobe: loads what brings a type of keys.
    """

    def __init__(self, modprobe: Modprobe) -> None:
        self._modprobe = modprobe
        self._opened: Keyrings | None = None
        self._sealing = Sealing()
        self._locks = Locks()
        self._locked: frozenset[int] = frozenset()
        self._now: dict[tuple[Any, ...], str | None] = {}  # what seals to PCRs come down to, of one reading

    @property
    def _rings(self) -> Keyrings:
        if self._opened is None:
            self._opened = Keyrings(Keyctl(), Procfs())
        return self._opened

    @property
    def _keyctl(self) -> Keyctl:
        return self._rings.keyctl

    # --- reading ------------------------------------------------------------------------------------------------------

    def read(self, asked: Sequence[Mapping[str, Any]]) -> list[FoundKey]:
        """What is known of the keys asked for. Nothing is changed: a blob is tried in a keyring that only this thread has."""
        self._locks.hold(*LOCK)
        wanted = [plan_keys.wanted_key(params) for params in asked]
        plan_keys.check_list(wanted)
        self._locked, self._now = plan_keys.locked_pcrs(wanted), {}
        try:
            return [self._look(one) for one in wanted]
        except KeyctlError as error:
            raise refusal(error, "The kernel refuses to tell of its keys", self._rings.procfs) from None

    def _look(self, wanted: WantedKey) -> FoundKey:
        place = self._rings.find(wanted.keyring)
        key = None if place.missing else self._rings.key_in(place.serial, wanted.type, wanted.description)
        found = FoundKey(wanted, place, key=key)
        if not self._rings.has_type(wanted.type):
            module = self._rings.procfs.loadable(wanted.type)
            found = replace(found, module=module, lacking="" if module else self._rings.procfs.why_lacking(wanted.type))
            if found.lacking and wanted.state == PRESENT:
                return found  # what is to go may have files all the same
        found = self._look_at_blobs(found) if wanted.type in SEALED else self._look_at_payload(found)
        leaves = wanted.state != PRESENT or (found.given is not None and found.given != found.current)
        if leaves and key is not None and not key.dead and wanted.type in (USER_TYPE, TRUSTED):
            found = replace(found, dependents=tuple(self._dependents(found)))
        return found

    def _look_at_payload(self, found: FoundKey) -> FoundKey:
        wanted, current = found.wanted, None
        content = files.read_file(wanted.file) if wanted.file is not None else None
        given = wanted.payload
        if wanted.payload_file is not None and wanted.state == PRESENT:
            payload = files.read_file(wanted.payload_file)
            given = Secret(payload) if payload is not None else None
        if content is not None:
            given = Secret(content)
        if found.key is not None and not found.key.dead and wanted.type != LOGON:
            with suppress(KeyctlError):
                current = Secret(self._keyctl.read(found.key.serial))
        return replace(found, given=given, kept=content is not None, exposed=files.is_exposed(wanted.file), current=current)

    def _look_at_blobs(self, found: FoundKey) -> FoundKey:
        wanted, key = found.wanted, found.key
        if key is not None and not key.dead:
            export, fault = self._export(found, key.serial)
            burnt = wanted.type == ENCRYPTED and wanted.description == EVM_KEY and self._rings.procfs.evm_has_its_key()
            found = replace(found, export=export, fault=fault, burnt=burnt)
        if wanted.master is not None:
            found = replace(found, master=self._master(wanted.master))
        blobs = (replace(self._blob(found, blob), policy_now=self._policy_now(wanted, blob)) for blob in wanted.blobs)
        return replace(found, blobs=tuple(blobs))

    def _policy_now(self, wanted: WantedKey, blob: WantedBlob) -> str | None:
        """None, too, where the list itself changes one of the PCRs."""
        seal = blob.seal
        if wanted.state != PRESENT or self._locked.intersection(seal.by_pcrs):
            return None
        kind = (seal.by_pcrs, seal.pcr_bank, seal.hash, seal.blobauth is None)
        if kind not in self._now:
            self._now[kind] = self._sealing.policy_now(seal)
        return self._now[kind]

    def _export(self, found: FoundKey, serial: int) -> tuple[Sealed | None, str]:
        """What the kernel gives out, or why it does not."""
        try:
            return parse_sealed(found.wanted.type, self._keyctl.read(serial)), ""
        except KeyctlError as error:
            if error.errno == errno.ENOKEY:
                return None, "the master under which it is kept is not in the kernel"
            return None, f"{error.strerror} (permissions {found.key.permissions:08x})" if found.key is not None else str(error.strerror)
        except Malformed as fault:
            return None, fault.message

    def _master(self, name: str) -> Master:
        """A master as the kernel will find it, or not."""
        kind, dummy, description = name.partition(":")
        try:
            serial = self._keyctl.request(kind, description)
        except KeyctlError as error:
            return Master(name, self._why_not_found(kind, description, error))
        size = None
        if kind == USER_TYPE:
            with suppress(KeyctlError):
                size = len(self._keyctl.read(serial))
        return Master(name, "", size)

    def _why_not_found(self, kind: str, description: str, error: KeyctlError) -> str:
        known = [key for key in self._rings.procfs.keys().values() if (key.type, key.description) == (kind, description)]
        alive = [key for key in known if not key.dead]
        if alive:
            return f"is in the kernel ({alive[0].serial:#x}), but in no keyring that is searched (@u, and what is in it)"
        if known:
            return f"has {'expired' if known[0].state == 'expired' else 'been revoked'}"
        return "is not in the kernel" if error.errno == errno.ENOKEY else f"cannot be used: {error.strerror}"

    def _blob(self, found: FoundKey, wanted: WantedBlob) -> Blob:
        content = files.read_file(wanted.path)
        if content is None:
            return Blob(wanted)
        kind, export = found.wanted.type, found.export
        try:
            sealed = parse_sealed(kind, content)
        except Malformed as fault:
            return Blob(wanted, True, fault=fault.message)
        blob = Blob(wanted, True, sealed)
        if export is not None and export.text == sealed.text:
            return replace(blob, loads=True, same=True)
        alive = found.key is not None and not found.key.dead
        if kind == TRUSTED and found.key is not None and alive and files.is_remembered(found.key.serial, sealed.text):
            return replace(blob, same=True)
        if found.wanted.state != PRESENT or found.module or (kind == TRUSTED and alive):
            return blob  # a trusted key's blobs differ by nature, and to try one costs a call of the TPM
        if kind == ENCRYPTED:
            master = self._master(sealed.master)
            if master.fault:
                return replace(blob, why=f"its master {master.name} {master.fault}")
        why, same = self._try(found.wanted, wanted.seal, sealed, export)
        return replace(blob, loads=not why, why=why, same=same)

    def _try(self, wanted: WantedKey, seal: SealOptions, sealed: Sealed, export: Sealed | None) -> tuple[str, bool | None]:
        """Why a blob does not load, and whether it holds the key whose export is given.

        An encrypted key keeps its initialisation vector: under one master there is one text of it.
        """
        with self._rings.private() as private:
            try:
                copy = self._load(wanted, seal, sealed, private)
            except KeyctlError as error:
                return self._why(error, sealed), None
            if sealed.kind != ENCRYPTED or export is None:
                return "", None
            try:
                self._keyctl.update(copy, b"update " + os.fsencode(export.master))
                return "", self._keyctl.read(copy).strip() == export.text
            except KeyctlError:
                return "", None

    def _why(self, error: KeyctlError, sealed: Sealed) -> str:
        """Why the kernel did not load a blob; what has nothing to do with the blob is raised."""
        if error.errno == errno.EDQUOT:
            raise refusal(error, "A blob cannot be tried", self._rings.procfs) from None
        if sealed.kind == ENCRYPTED:
            told = {
                errno.ENOKEY: f"its master {sealed.master} is not in the kernel",
                errno.EINVAL: f"the key {sealed.master} is not the one that it was made under, or the blob is changed",
            }
        else:
            if error.errno == errno.EPERM and self._sealing.in_lockout():
                return "the TPM is in lockout: after too many wrong authorisations it refuses for a time (tpm_info)"
            told = {
                errno.EPERM: "the TPM refuses: the PCRs, an authorisation or the parent are not those of the blob, or the TPM is not",
                errno.EINVAL: "the kernel takes neither the blob nor its options (a blob of a kernel before 5.13 needs keyhandle)",
            }
        return told.get(error.errno or 0, str(error.strerror))

    def _dependents(self, found: FoundKey) -> list[str]:
        """The encrypted keys in the user's keyring, and where the key is, that have it as their master."""
        keyctl = self._keyctl
        names: dict[str, None] = {}
        for start in dict.fromkeys((keyctl.resolve(USER, create=True), found.place.serial)):
            for dummy, key in self._rings.all_in(start):
                if key.type == ENCRYPTED and not key.dead:
                    with suppress(KeyctlError, Malformed):
                        if parse_sealed(ENCRYPTED, keyctl.read(key.serial)).master == found.wanted.name:
                            names[f"{ENCRYPTED}:{key.description}"] = None
        return list(names)

    # --- steps --------------------------------------------------------------------------------------------------------

    def apply(self, step: Step) -> None:
        """Do one step.

        :raises RootOfTrustError: if the kernel refuses, saying why.
        """
        try:
            if isinstance(step.detail, tuple):
                one, blob = step.detail
                self._apply_sealed(step.action, one, blob)
            else:
                self._apply_plain(step.action, step.detail)
        except KeyctlError as error:
            raise refusal(error, "The kernel refuses", self._rings.procfs) from None

    def _apply_plain(self, action: str, one: FoundKey) -> None:
        if action == plan_keys.LOAD_MODULE:
            self._load_module(one)
        elif action == plan_keys.MAKE_KEYRINGS:
            self._rings.make(self._rings.find(one.wanted.keyring))
        elif action == plan_keys.ADD:
            self._add(one)
        elif action in (plan_keys.WRITE_FILE, plan_keys.SAVE_FILE, plan_keys.REMOVE_FILES):
            self._apply_to_files(action, one)
        else:
            self._apply_to_key(action, one, certain(one.key).serial)

    def _load_module(self, one: FoundKey) -> None:
        self._modprobe.load(one.module)
        if not self._rings.has_type(one.wanted.type):
            raise RootOfTrustError(f"{one.wanted.name}: {self._rings.procfs.why_lacking(one.wanted.type)}")

    def _apply_to_files(self, action: str, one: FoundKey) -> None:
        wanted = one.wanted
        if action == plan_keys.WRITE_FILE:
            files.write_new(certain(wanted.file), os.urandom(certain(wanted.random)))
        elif action == plan_keys.SAVE_FILE:
            files.write_new(certain(wanted.file), certain(one.current).reveal())
        else:
            for path in [wanted.file, *(blob.path for blob in wanted.blobs)]:
                if path is not None and os.path.lexists(path):
                    files.remove(path)

    def _apply_to_key(self, action: str, one: FoundKey, serial: int) -> None:
        wanted, keyctl = one.wanted, self._keyctl
        if action == plan_keys.CHANGE:
            keyctl.update(serial, certain(one.given).reveal())
            if wanted.timeout is not None:
                keyctl.set_timeout(serial, wanted.timeout)
        elif action == plan_keys.PERMIT:
            keyctl.set_permissions(serial, certain(wanted.permissions))
        elif action == plan_keys.EXPIRE:
            keyctl.set_timeout(serial, certain(wanted.timeout))
        elif action == plan_keys.UNLINK:
            keyctl.unlink(serial, one.place.serial)
        elif action == plan_keys.REVOKE:
            keyctl.revoke(serial)

    def _add(self, one: FoundKey) -> None:
        wanted = one.wanted
        if one.given is not None:
            payload = one.given.reveal()
        elif wanted.file is not None:
            payload = certain(files.read_file(wanted.file))
        else:
            payload = os.urandom(certain(wanted.random))
        with self._rings.private() as private:
            self._put(one, self._keyctl.add(wanted.type, wanted.description, payload, private))

    def _put(self, one: FoundKey, serial: int) -> None:
        """Link a key that is ready into its place, with its end; its permissions come last, for they may forbid the link."""
        wanted, replaced = one.wanted, one.key
        if wanted.timeout is not None:
            self._keyctl.set_timeout(serial, wanted.timeout)
        self._keyctl.link(serial, self._rings.find(wanted.keyring).serial)
        permissions = wanted.permissions
        if permissions is None and replaced is not None and not replaced.dead:
            permissions = replaced.permissions
        if permissions is not None:
            self._keyctl.set_permissions(serial, permissions)

    def _apply_sealed(self, action: str, one: FoundKey, blob: Blob | None) -> None:
        wanted = one.wanted
        if action == plan_keys.NEW:
            with self._rings.private() as private:
                self._put(one, self._new(wanted, private))
        elif action == plan_keys.REWRAP:
            self._check_master(wanted)
            self._keyctl.update(certain(one.key).serial, b"update " + os.fsencode(certain(wanted.master)))
        elif action == plan_keys.NEW_BLOB:
            with self._rings.private() as private:
                text = self._text(self._new(wanted, private), wanted)
                self._prove(wanted, certain(blob).wanted.seal, text)
                files.write_new(certain(blob).path, text)
        elif action == plan_keys.LOAD:
            at = certain(blob).wanted
            sealed = self._content(wanted, at.path)
            with self._rings.private() as private:
                try:
                    copy = self._load(wanted, at.seal, sealed, private, lock=True)
                except KeyctlError as error:
                    told = plan_keys.blob_fault(replace(certain(blob), sealed=sealed, fault="", why=self._why(error, sealed)))
                    raise RootOfTrustError(f"{told}.", "Put back a copy of the blob, or what it needs.") from None
                self._put(one, copy)
        else:
            self._write_blob(action, one, certain(blob))

    def _write_blob(self, action: str, one: FoundKey, blob: Blob) -> None:
        """Have a key that is there in a blob: from the kernel as it is, under another master, or sealed differently."""
        wanted, keyctl = one.wanted, self._keyctl
        seal, main = blob.wanted.seal, blob.path == wanted.blobs[0].path
        if action == plan_keys.EXPORT:
            text = self._text(self._serial(wanted), wanted)
        elif action == plan_keys.SEAL:
            text = self._seal(self._serial(wanted), wanted, seal)
        else:
            self._check_master(wanted)
            with self._rings.private() as private:
                copy = self._load(wanted, seal, self._content(wanted, blob.path), private)
                keyctl.update(copy, b"update " + os.fsencode(certain(wanted.master)))
                text = self._text(copy, wanted)
        if not blob.exists:
            # Sealed by the user's own policy, an alternative is for PCRs that need not hold now; and they do not after pcrlock.
            if (main or seal.by_pcrs) and not (action == plan_keys.EXPORT and seal.pcrlock is not None):
                self._prove(wanted, seal, text)
            files.write_new(blob.path, text)
            return
        self._prove(wanted, seal, files.write_pending(blob.path, text))
        files.put_pending(blob.path)

    def _seal(self, serial: int, wanted: WantedKey, seal: SealOptions) -> bytes:
        """Seal a key anew where it is, and its text then. The kernel has it in clear: nothing has to hold of what it was sealed to.

        From here on it is given out as another text. Both are noted: where this process ends before the file is written, nothing else tells
        that the files hold this key.
        """
        files.remember(serial, self._text(serial, wanted))
        try:
            self._keyctl.update(serial, b"update " + self._sealing.resolved(seal).words("update", lock=False))
        except KeyctlError as error:
            if error.errno != errno.EPERM:
                raise
            raise RootOfTrustError(
                f"{wanted.name} cannot be sealed anew: it was made with migratable: false, or the TPM refuses keyhandle or keyauth.",
                "Correct these, or make a new key under another name.",
            ) from None
        text = self._text(serial, wanted)
        files.remember(serial, text)
        return text

    def _serial(self, wanted: WantedKey) -> int:
        """The key in its place, which an earlier step may have put there."""
        key = self._rings.key_in(self._rings.find(wanted.keyring).serial, wanted.type, wanted.description)
        return certain(key).serial

    def _check_master(self, wanted: WantedKey) -> None:
        """Once more, in the moment before the kernel would wrap a key under what is not there."""
        master = self._master(wanted.master) if wanted.master is not None else None
        if master is not None and master.fault:
            raise RootOfTrustError(f"The master {master.name} {master.fault}.", "Have it present first.")

    def _new(self, wanted: WantedKey, keyring: int) -> int:
        self._check_master(wanted)
        words = [b"new"]
        if wanted.type == ENCRYPTED:
            words += [wanted.format.encode(), os.fsencode(certain(wanted.master))]
        words.append(str(certain(wanted.length)).encode())
        words.append(self._sealing.resolved(wanted.seal).words("new", lock=False))
        try:
            return self._keyctl.add(wanted.type, wanted.description, b" ".join(word for word in words if word), keyring)
        except KeyctlError as error:
            told = self._why_not_sealed(wanted, error) if wanted.type == TRUSTED else ""
            if told:
                raise RootOfTrustError(f"{wanted.name} cannot be sealed: {told}.", "Correct keyhandle or keyauth (tpm_info).") from None
            raise

    def _why_not_sealed(self, wanted: WantedKey, error: KeyctlError) -> str:
        handle = wanted.seal.keyhandle
        if error.errno == errno.EPERM and self._sealing.in_lockout():
            return "the TPM is in lockout"
        if error.errno == errno.EPERM:
            return f"the TPM has no storage key at {handle or '0x40000000'}, or keyauth is not its authorisation"
        return (
            "the kernel does not take its options" + ("" if handle else "; a TPM 2.0 needs keyhandle")
            if error.errno == errno.EINVAL
            else ""
        )

    def _load(self, wanted: WantedKey, seal: SealOptions, sealed: Sealed, keyring: int, lock: bool = False) -> int:
        with self._sealing.session(seal) as told:
            words = [b"load", sealed.text, told.words("load", lock)]
            return self._keyctl.add(wanted.type, wanted.description, b" ".join(word for word in words if word), keyring)

    def _text(self, serial: int, wanted: WantedKey) -> bytes:
        """What the kernel gives out of a key, if it is whole."""
        return parse_sealed(wanted.type, self._keyctl.read(serial)).text

    def _prove(self, wanted: WantedKey, seal: SealOptions, text: bytes) -> None:
        """See that the kernel takes the text back."""
        sealed = parse_sealed(wanted.type, text)
        why, dummy = self._try(wanted, seal, sealed, None)
        if why:
            raise RootOfTrustError(f"What the kernel has given of {wanted.name} does not load: {why}. No file was changed.")

    def _content(self, wanted: WantedKey, path: str) -> Sealed:
        content = files.read_file(path)
        if content is None:
            raise RootOfTrustError(f"{path} has gone in the meantime.", "See who else works with it.")
        return parse_sealed(wanted.type, content)
