# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A model of the kernel, of a TPM and of a disk, for plans to be carried out on, step by step, and cut after each.

It wraps as the kernel does: an encrypted key remembers its master's name, and each export uses whatever has that name then. What is
made or loaded privately is not seen here; a step is what others see of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys import plan_keys as plan
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.model import (
    ENCRYPTED,
    PRESENT,
    TRUSTED,
    Blob,
    FoundKey,
    KernelKey,
    Master,
    Place,
    Sealed,
    SealOptions,
    WantedBlob,
    WantedKey,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.options import KEY_OPTIONS

KINDS = (ENCRYPTED, TRUSTED)
PLACE = Place("@u", 1)


@dataclass(frozen=True)
class Key:
    """A key in the kernel: ``material`` is what it is worth; ``text`` is what a trusted key is given out as, ``before`` what it was."""

    serial: int
    material: str
    master: str = ""
    text: str = ""
    before: tuple[str, ...] = ()
    state: str = "valid"
    permissions: int = 0x3F010000
    expires: str = "perm"


def params(description: str, **given: Any) -> dict[str, Any]:
    """The parameters of one key as the module has them."""
    defaults = {name: option.get("default") for name, option in KEY_OPTIONS.items()}
    return {**defaults, "description": description, **given}


@dataclass
class World:
    keys: dict[str, Key] = field(default_factory=dict)  # "type:description"
    files: dict[str, str] = field(default_factory=dict)
    pcrs: str = "p1"  # the policy that the PCRs fulfil now, where none is locked
    numbers: Any = field(default_factory=lambda: count(1))
    locked: list[int] = field(default_factory=list)  # the PCRs that keys have extended since the boot
    sealed_by: dict[str, SealOptions] = field(default_factory=dict)  # by the numbers of blobs

    # --- what the kernel can do ---

    def alive(self, name: str) -> Key | None:
        key = self.keys.get(name)
        return key if key is not None and key.state == "valid" else None

    def wrap(self, material: str, master: str) -> str | None:
        key = self.alive(master)
        return None if key is None else f"encrypted|{material}|{master}|{key.material}"

    def fulfilled(self, pcrs: tuple[int, ...]) -> str:
        """The policy that these PCRs fulfil now: another one as soon as one of them is locked, and never before the next boot that."""
        return self.pcrs + "".join(f"+{pcr}" for pcr in self.locked if pcr in pcrs)

    def seal(self, material: str, seal: SealOptions) -> str:
        policy, number = seal.policydigest or (self.fulfilled(seal.by_pcrs) if seal.by_pcrs else ""), str(next(self.numbers))
        self.sealed_by[number] = seal
        return f"trusted|{material}|{policy}|{number}"

    def export(self, name: str) -> str | None:
        key = self.keys[name]
        return self.wrap(key.material, key.master) if name.startswith(ENCRYPTED) else key.text

    def why_not(self, text: str) -> str:
        """Why a blob does not load; empty where it does."""
        kind, dummy, at, more = text.split("|")
        if kind == TRUSTED:
            return "" if at in ("", self.fulfilled(self.sealed_by[more].by_pcrs)) else "the TPM refuses"
        master = self.alive(at)
        return "no master" if master is None else "" if master.material == more else "another master"

    def parsed(self, text: str) -> Sealed | None:
        parts = text.split("|")
        if len(parts) != 4 or parts[0] not in KINDS or not parts[3]:
            return None
        if parts[0] == TRUSTED:
            return Sealed(TRUSTED, text.encode(), parent=int(self.sealed_by[parts[3]].keyhandle or "1", 16), policy=parts[2])
        return Sealed(ENCRYPTED, text.encode(), "default", parts[2], 32)

    # --- what is read ---

    def read(self, asked: list[dict[str, Any]]) -> list[FoundKey]:
        wanted = [plan.wanted_key(one) for one in asked]
        plan.check_list(wanted)
        changing = plan.locked_pcrs(wanted)
        return [self._look(one, changing) for one in wanted]

    def _look(self, wanted: WantedKey, changing: frozenset[int]) -> FoundKey:
        key = self.keys.get(wanted.name)
        found = FoundKey(wanted, PLACE)
        if key is not None:
            told = KernelKey(key.serial, wanted.type, wanted.description, 0, 0, key.permissions, key.state, key.expires)
            found = replace(found, key=told)
        dependents = [name for name, other in self.keys.items() if other.master == wanted.name and other.state == "valid"]
        found = replace(found, dependents=tuple(dependents))
        if wanted.type in KINDS:
            return self._look_at_blobs(found, changing)
        given = wanted.payload
        if wanted.file in self.files:
            given = Secret(self.files[wanted.file].encode())
        alive = self.alive(wanted.name)
        current = Secret(alive.material.encode()) if alive is not None and wanted.type == "user" else None
        return replace(found, given=given, kept=wanted.file in self.files, current=current)

    def _look_at_blobs(self, found: FoundKey, changing: frozenset[int]) -> FoundKey:
        wanted = found.wanted
        if self.alive(wanted.name):
            text = self.export(wanted.name)
            found = replace(found, export=self.parsed(text)) if text is not None else replace(found, fault="its master is gone")
        if wanted.master is not None:
            master = self.alive(wanted.master)
            fault = "is not in the kernel" if master is None else ""
            found = replace(found, master=Master(wanted.master, fault, None if master is None else len(master.material)))
        blobs = [(blob, bool(blob.seal.by_pcrs) and not changing.intersection(blob.seal.by_pcrs)) for blob in wanted.blobs]
        looked = (replace(self._blob(found, blob), policy_now=self.fulfilled(blob.seal.by_pcrs) if told else None) for blob, told in blobs)
        return replace(found, blobs=tuple(looked))

    def _blob(self, found: FoundKey, at: WantedBlob) -> Blob:
        if at.path not in self.files:
            return Blob(at)
        text = self.files[at.path]
        sealed = self.parsed(text)
        if sealed is None:
            return Blob(at, True, fault="It is cut.")
        blob = Blob(at, True, sealed)
        if found.export is not None and found.export.text == sealed.text:
            return replace(blob, loads=True, same=True)
        alive = self.alive(found.wanted.name)
        if alive is not None and text in alive.before:
            return replace(blob, same=True)
        if found.wanted.state != PRESENT or (sealed.kind == TRUSTED and alive):
            return blob
        why = self.why_not(text)
        if why == "no master":
            return replace(blob, why=why)
        same = None
        if not why and sealed.kind == ENCRYPTED and found.export is not None:
            same = text.split("|")[1] == found.export.text.decode().split("|")[1]
        return replace(blob, loads=not why, why=why, same=same)

    # --- what is done ---

    def apply(self, step: Step) -> None:
        one, blob = step.detail if isinstance(step.detail, tuple) else (step.detail, None)
        wanted: WantedKey = one.wanted
        name, action = wanted.name, step.action
        if action == plan.WRITE_FILE:
            self.write_new(wanted.file, f"{next(self.numbers):0{wanted.random}d}")
        elif action == plan.SAVE_FILE:
            self.write_new(wanted.file, self.keys[name].material)
        elif action == plan.ADD:
            text = one.given.reveal().decode() if one.given else self.files.get(wanted.file or "")
            self.put(name, text or f"{next(self.numbers):0{wanted.random}d}", one)
        elif action == plan.CHANGE:
            self.keys[name] = replace(self.keys[name], material=one.given.reveal().decode())
        elif action == plan.NEW:
            assert wanted.master is None or self.alive(wanted.master)
            self.put(name, f"m{next(self.numbers)}", one)
        elif action in (plan.UNLINK, plan.REVOKE, plan.REMOVE_FILES, plan.PERMIT, plan.EXPIRE):
            self._small(action, wanted)
        else:
            self._sealed(action, wanted, one, blob)

    def _small(self, action: str, wanted: WantedKey) -> None:
        if action == plan.UNLINK:
            del self.keys[wanted.name]
        elif action == plan.REVOKE:
            self.keys[wanted.name] = replace(self.keys[wanted.name], state="revoked")
        elif action == plan.PERMIT:
            assert wanted.permissions is not None
            self.keys[wanted.name] = replace(self.keys[wanted.name], permissions=wanted.permissions)
        elif action == plan.EXPIRE:
            self.keys[wanted.name] = replace(self.keys[wanted.name], expires="1h" if wanted.timeout else "perm")
        else:
            for path in [wanted.file, *(blob.path for blob in wanted.blobs)]:
                self.files.pop(path or "", None)

    def _sealed(self, action: str, wanted: WantedKey, one: FoundKey, blob: Any) -> None:
        name = wanted.name
        seal = blob.wanted.seal if blob is not None else wanted.seal
        if action == plan.NEW_BLOB:
            material = f"m{next(self.numbers)}"
            text = self.wrap(material, wanted.master) if wanted.master else self.seal(material, seal)
            assert text is not None, "made under a master that is not there"
            self.refuse(text)
            self.write_new(blob.path, text)
        elif action == plan.LOAD:
            text = self.files[blob.path]
            self.refuse(text, promised=blob.loads is not None)  # some cannot be tried before their master is there
            kind, material, at, dummy = text.split("|")
            self.locked += [] if wanted.seal.pcrlock is None else [wanted.seal.pcrlock]
            self.put(name, material, one, master=at if kind == ENCRYPTED else "", text="" if kind == ENCRYPTED else text)
        elif action == plan.REWRAP:
            assert self.alive(wanted.master or "")
            self.keys[name] = replace(self.keys[name], master=wanted.master or "")
        elif action == plan.REWRAP_BLOB:
            assert not self.why_not(self.files[blob.path])
            self.overwrite(blob.path, self.wrap(self.files[blob.path].split("|")[1], wanted.master or ""))
        elif action == plan.EXPORT:
            self.overwrite(blob.path, self.export(name))
        elif action == plan.SEAL:
            text = self.seal_anew(name, seal)
            if blob.exists or blob.path == wanted.blobs[0].path:
                self.overwrite(blob.path, text)
            else:
                self.write_new(blob.path, text)
        else:
            raise AssertionError(action)

    def seal_anew(self, name: str, seal: SealOptions) -> str:
        """The part of it that the kernel does; the file is written afterwards."""
        key = self.keys[name]
        self.keys[name] = replace(key, text=self.seal(key.material, seal), before=(*key.before, key.text))
        return self.keys[name].text

    def by_hand(self, name: str) -> str:
        """Somebody makes a trusted key without the module: what it is worth."""
        number = next(self.numbers)
        self.keys[name] = Key(number, f"m{number}", text=self.seal(f"m{number}", SealOptions()))
        return self.keys[name].material

    def put(self, name: str, material: str, one: FoundKey, **more: str) -> None:
        wanted = one.wanted
        key = Key(next(self.numbers), material, more.get("master", wanted.master or ""), more.get("text", ""))
        key = replace(key, permissions=wanted.permissions or key.permissions, expires="1h" if wanted.timeout else "perm")
        self.keys[name] = key

    def write_new(self, path: str | None, text: str) -> None:
        assert path is not None
        assert path not in self.files, "a file was overwritten"
        self.files[path] = text

    def overwrite(self, path: str, text: str | None) -> None:
        """Only by what loads: the I/O refuses otherwise, and then nothing has changed."""
        assert text is not None
        self.refuse(text)
        self.files[path] = text

    def refuse(self, text: str, promised: bool = False) -> None:
        """Load a blob, or not."""
        why = self.why_not(text)
        assert not (why and promised), "the plan has promised that it loads"
        if why:
            raise Refused(why)

    def boot(self) -> None:
        self.keys.clear()
        self.locked.clear()

    def run(self, asked: list[dict[str, Any]], cut: int | None = None, watch: Any = None, within: bool = False) -> list[str]:
        """Carry out the plan, as far as a cut allows, which may come within a step; its actions."""
        steps = plan.plan_keys(self.read(asked))
        plan.report_keys(self.read(asked), steps)
        for step in steps[:cut]:
            self.apply(step)
            if watch is not None:
                watch(step)
        if within and cut is not None and cut < len(steps) and steps[cut].action == plan.SEAL:
            one, blob = steps[cut].detail
            self.seal_anew(one.wanted.name, blob.wanted.seal)
        return [step.action for step in steps]


class Refused(Exception):
    """The kernel has said no in the middle of a step, which then changed nothing."""
