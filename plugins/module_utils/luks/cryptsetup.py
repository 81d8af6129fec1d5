# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""cryptsetup(8)."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from typing import Any, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError, ToolFailed
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Finished, Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import LUKS1, REENCRYPT, ActiveMapping, Header, PbkdfChoice
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.parse import parse_dump, parse_status

# Exit statuses, the same from 2.3.7 to 2.8.8
NO, WRONG_SECRET, WRONG_DEVICE = 1, 2, 4
SLOW = 600.0  # seconds: a key derivation under emulation, with little memory, for each of 32 keyslots


class Cryptsetup:
    """:param runner: starts it."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def header(self, path: str) -> Header | None:
        """What the header says; None where there is no usable one. It derives no key.

        :param path: the device, the detached header, or a header backup.
        :raises RootOfTrustError: if the device is not there.
        :raises ToolFailed: if cryptsetup fails over a header that it knows.
        """
        text = self._ask("luksDump", path)
        if text.rc != 0:
            # Status 1 has many reasons; isLuks has it for one.
            if text.rc == NO and self._ask("isLuks", path).rc == NO:
                return None
            raise ToolFailed(f"cryptsetup cannot tell what the LUKS header of {path} says: {text.error_text}", facts={"rc": text.rc})
        header = parse_dump(text.text)
        if header.type == LUKS1:
            return header
        metadata = self._ask("luksDump", path, "--dump-json-metadata")  # 2.4 and later
        return parse_dump(text.text, metadata.text) if metadata.rc == 0 else header

    def _ask(self, action: str, path: str, *options: str) -> Finished:
        done = self._runner.run(["cryptsetup", action, *options, "--", path], ok=None)
        if done.rc == WRONG_DEVICE:
            raise RootOfTrustError(f"cryptsetup cannot use {path}: {done.error_text}", "Correct the path of the device.")
        return done

    def back_up_header(self, path: str, backup: str) -> None:
        """Write the header and its keyslots to a file of mode 0400 that must not exist yet.

        :raises ToolFailed: if that does not succeed; a part of the file may be left.
        """
        self._runner.run(["cryptsetup", "luksHeaderBackup", "--batch-mode", f"--header-backup-file={backup}", "--", path])

    def version(self) -> tuple[int, ...]:
        """As numbers: (2, 6, 1)."""
        found = re.search(r"\d+(?:\.\d+)+", self._runner.run(["cryptsetup", "--version"]).text)
        return tuple(int(part) for part in found.group().split(".")) if found else ()

    # --- the header itself ------------------------------------------------------------------------------------------------

    def format(self, device: str, secret: Secret, options: Sequence[str], pass_fds: Sequence[int] = ()) -> None:
        """Write a new header, over whatever is there. The caller has to know that nothing is lost by that.

        :param options: ``--type=``, ``--header=`` …
        :param pass_fds: what cryptsetup holds open until its end: a lock.
        """
        argv = ["cryptsetup", "luksFormat", "--batch-mode", "--key-file=-", *options, "--", device]
        self._runner.run(argv, stdin=secret, timeout=SLOW, pass_fds=pass_fds)

    def set_uuid(self, path: str, uuid: str) -> None:
        self._runner.run(["cryptsetup", "luksUUID", "--batch-mode", f"--uuid={uuid}", "--", path])

    def erase(self, path: str) -> None:
        """Destroy all keyslots: what is encrypted is lost, but for those who have a backup of the header."""
        self._runner.run(["cryptsetup", "luksErase", "--batch-mode", "--", path])

    # --- secrets and keyslots: all on a header, which is the device or the file of a detached one ----------------------

    def opens(self, path: str, secret: Secret, keyslot: int | None = None) -> bool:
        """Whether a secret opens a header's keyslot, or any of them. It derives keys, and opens nothing.

        :raises ToolFailed: if that cannot be tried, for want of memory or of a keyslot.
        """
        only = [] if keyslot is None else [f"--key-slot={keyslot}"]
        tried = ["cryptsetup", "open", "--test-passphrase", "--key-file=-", *only, "--", path]
        try:
            return self._runner.run(tried, stdin=secret, ok=(0, WRONG_SECRET), timeout=SLOW).rc == 0
        except ToolFailed as failure:
            # 2.3.7, in the middle of a reencryption: it has opened the keyslot, and does not know what to do with it. A wrong secret is
            # told even then, and of anything else it says why.
            if failure.facts != {"rc": NO, "stderr": ""} or self.version() >= (2, 4):
                raise
            return True

    def unlocked_by(self, path: str, secret: Secret) -> int | None:
        """The number of the first keyslot that a secret opens, in the order of their priority; those to be ignored are not tried.

        :raises ToolFailed: if that cannot be tried, for want of memory or of a keyslot.
        """
        tried = ["cryptsetup", "open", "--test-passphrase", "--verbose", "--key-file=-", "--", path]
        try:
            done = self._runner.run(tried, stdin=secret, ok=(0, WRONG_SECRET), timeout=SLOW)
        except ToolFailed:
            header = self.header(path)
            if header is None or header.work is None:
                raise
            slots = [slot.number for slot in header.keyslots if slot.kind != REENCRYPT]
            return next((number for number in slots if self.opens(path, secret, number)), None)
        found = re.search(r"^Key slot (\d+) unlocked\.$", done.text + "\n" + done.error_text, re.MULTILINE)
        if done.rc == 0 and found is None:
            raise ToolFailed(f"cryptsetup does not say which keyslot of {path} the secret opens.")
        return int(found.group(1)) if done.rc == 0 and found else None

    def add_keyslot(
        self, path: str, unlock: Secret, secret: Secret, keyslot: int, options: Sequence[str] = (), pass_fds: Sequence[int] = ()
    ) -> None:
        """Have the secret in a keyslot that is free.

        :param unlock: a secret that opens the header.
        :param pass_fds: descriptors that cryptsetup is to have too, such as those of locks: it works on where this process is killed.
        :raises RootOfTrustError: if ``unlock`` does not open it.
        """
        with ExitStack() as stack:
            new = stack.enter_context(self._runner.secret_fd(secret))
            argv = ["cryptsetup", "luksAddKey", "--batch-mode", "--key-file=-", f"--key-slot={keyslot}", *options]
            argv += ["--", path, f"/dev/fd/{new}"]
            self._with_secret(argv, path, unlock, (new, *pass_fds), "Give one that does in unlock.")

    def remove_keyslot(self, path: str, keyslot: int) -> None:
        """Destroy a keyslot, whoever may know its secret. Whether it is the last one the caller has to know."""
        self._runner.run(["cryptsetup", "luksKillSlot", "--batch-mode", "--", path, str(keyslot)])

    def configure(self, path: str, *options: str) -> None:
        """Change the label, the subsystem (``--label=`` …) or the priority of a keyslot of a LUKS2 header."""
        self._runner.run(["cryptsetup", "config", *options, "--", path])

    def _with_secret(
        self, argv: list[str], path: str, secret: Secret, pass_fds: Sequence[int] = (), remedy: str = "Correct passphrase or key_file."
    ) -> Finished:
        done = self._runner.run(argv, stdin=secret, ok=(0, WRONG_SECRET), pass_fds=pass_fds, timeout=SLOW)
        if done.rc == WRONG_SECRET:
            raise RootOfTrustError(f"The secret that is to unlock {path} does not open it.", remedy)
        return done

    # --- tokens ----------------------------------------------------------------------------------------------------------

    def token(self, path: str, number: int) -> dict[str, Any]:
        """A token's whole JSON."""
        found = json.loads(self._runner.run(["cryptsetup", "token", "export", f"--token-id={number}", "--", path]).text)
        return dict(found)

    def add_token(self, path: str, token: Mapping[str, Any]) -> None:
        """Write a token at the first free number."""
        text = json.dumps(token).encode("utf-8")
        self._runner.run(["cryptsetup", "token", "import", "--json-file=-", "--", path], stdin=text)

    def remove_token(self, path: str, number: int) -> None:
        self._runner.run(["cryptsetup", "token", "remove", f"--token-id={number}", "--", path])

    def opens_by_token(self, path: str, number: int, pin: Secret | None = None) -> bool:
        """Whether a token opens the header by what cryptsetup has for its type, with the PIN where it asks for one (2.4 and later).

        :raises RootOfTrustError: if it asks for a PIN that is not given, or if the TPM takes none for the time being.
        """
        tried = ["cryptsetup", "open", "--test-passphrase", "--token-only", f"--token-id={number}", "--", path]
        done = self._runner.run(tried, stdin=pin, ok=None, timeout=SLOW)
        if done.rc != 0 and pin is None and "Nothing to read on input" in done.error_text:
            raise RootOfTrustError(f"Token {number} of {path} asks for a PIN, and none is given.", "Give its PIN.")
        if done.rc != 0 and re.search(r"\bPIN\b.*\bincorrect", done.error_text):
            # A security token that is asked once more may lock itself.
            raise RootOfTrustError(f"The PIN for token {number} of {path} is wrong.", "Correct it before the security token locks itself.")
        if done.rc != 0 and "lockout" in done.error_text.lower():
            raise RootOfTrustError(f"The TPM takes no PIN for the time being: {done.error_text}", "Wait, or see tpm2_dictionarylockout(1).")
        return done.rc == 0

    # --- the open volume -------------------------------------------------------------------------------------------------

    def open(self, device: str, name: str, secret: Secret, options: Sequence[str] = ()) -> None:
        """Open a volume as /dev/mapper/name.

        :param options: ``--header=``, ``--allow-discards`` …
        :raises RootOfTrustError: if the secret does not open it.
        """
        self._with_secret(["cryptsetup", "open", "--key-file=-", *options, "--", device, name], device, secret)

    def close(self, name: str) -> None:
        self._runner.run(["cryptsetup", "close", "--", name])

    def status(self, name: str) -> ActiveMapping:
        """What is known of a mapping that is active."""
        return parse_status(self._runner.run(["cryptsetup", "status", "--", name]).text)

    def refresh(self, name: str, secret: Secret, options: Sequence[str] = ()) -> None:
        """Give an open volume other flags, while it is in use. Flags that are neither in the options nor in the header go.

        :raises RootOfTrustError: if the secret does not open it.
        """
        self._with_secret(["cryptsetup", "refresh", "--key-file=-", *options, "--", name], name, secret)

    def open_plain(self, device: str, name: str, key: Secret, sector_size: int) -> None:
        """Open a device as /dev/mapper/name without any header, by a key of 512 bits."""
        plain = ["--type=plain", "--cipher=aes-xts-plain64", "--key-size=512", f"--sector-size={sector_size}"]
        with self._runner.secret_fd(key) as descriptor:
            argv = ["cryptsetup", "open", "--batch-mode", *plain, f"--key-file=/dev/fd/{descriptor}", "--", device, name]
            self._runner.run(argv, pass_fds=(descriptor,))

    def close_with_its_last_user(self, name: str) -> None:
        """Have the kernel close a mapping as soon as nobody has it open any more."""
        self._runner.run(["cryptsetup", "close", "--deferred", "--", name])

    # --- the whole volume ------------------------------------------------------------------------------------------------

    def initialise(self, device: str, secret: Secret, options: Sequence[str], folder: str) -> None:
        """Begin an encryption in place: copy what was there, and write the header. No data is encrypted yet, nothing is opened.

        :param folder: where cryptsetup makes the header before it writes it to the device, as LUKS2-temp-UUID.new.
        """
        argv = ["cryptsetup", "reencrypt", "--encrypt", "--init-only", "--batch-mode", "--type=luks2", "--key-file=-", *options]
        self._runner.run([*argv, "--", device], stdin=secret, timeout=SLOW, folder=folder)

    def reinitialise(self, device: str, secret: Secret, options: Sequence[str]) -> None:
        """Begin an encryption with a new volume key."""
        argv = ["cryptsetup", "reencrypt", "--init-only", "--batch-mode", "--key-file=-", *options, "--", device]
        self._with_secret(argv, device, secret)

    def begin_decryption(self, device: str, secret: Secret, header: str) -> None:
        """Begin to decrypt a closed volume, in its detached header, or in a file that is made and takes the device's header."""
        argv = ["cryptsetup", "reencrypt", "--decrypt", "--init-only", "--batch-mode", "--key-file=-", f"--header={header}", "--", device]
        self._with_secret(argv, device, secret)

    def restore_header(self, path: str, backup: str) -> None:
        """Write a backup of a header to the device that it was taken from."""
        self._runner.run(["cryptsetup", "luksHeaderRestore", "--batch-mode", f"--header-backup-file={backup}", "--", path])

    def resume_command(self, device: str, secret_path: str, header: str | None) -> list[str]:
        """What goes on with a reencryption until it has ended, with the whole path of the program."""
        program = self._runner.find("cryptsetup") or "cryptsetup"
        detached = [f"--header={header}"] if header else []
        return [program, "reencrypt", "--resume-only", "--batch-mode", f"--key-file={secret_path}", *detached, "--", device]

    def resize(self, name: str, secret: Secret) -> None:
        """Let an open volume take all of its device."""
        self._with_secret(["cryptsetup", "resize", "--key-file=-", "--", name], name, secret)

    def convert(self, path: str) -> None:
        """Convert a LUKS1 header of a volume that is closed to LUKS2."""
        self._runner.run(["cryptsetup", "convert", "--batch-mode", "--type=luks2", "--", path])

    def convert_keyslot(self, path: str, keyslot: int, secret: Secret, options: Sequence[str]) -> None:
        """Give a keyslot another key derivation."""
        argv = ["cryptsetup", "luksConvertKey", "--batch-mode", "--key-file=-", f"--key-slot={keyslot}", *options, "--", path]
        self._with_secret(argv, path, secret)


def pbkdf_options(choice: PbkdfChoice) -> list[str]:
    """The options of luksFormat, luksAddKey, luksConvertKey and reencrypt for a key derivation."""
    named = {
        "pbkdf": choice.type,
        "pbkdf-memory": choice.memory,
        "iter-time": choice.time,
        "pbkdf-force-iterations": choice.iterations,
        "pbkdf-parallel": choice.threads,
    }
    return [f"--{name}={value}" for name, value in named.items() if value is not None]
