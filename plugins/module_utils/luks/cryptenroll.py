# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd-cryptenroll(1)."""

from __future__ import annotations

import glob
import re
from contextlib import ExitStack
from typing import Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_tokens import FIDO2, PKCS11, TPM2, TYPES, WantedToken

PROGRAM = "systemd-cryptenroll"
HANDLERS = ("/usr/lib/*/cryptsetup", "/usr/lib64/cryptsetup", "/usr/lib/cryptsetup", "/lib/*/cryptsetup")
PATIENT = 120.0  # seconds: somebody may have to touch an authenticator
# The names under which it looks for a PIN; before 256 a new one has the name of the present one.
CREDENTIALS = {
    TPM2: ("cryptenroll.new-tpm2-pin", "cryptenroll.tpm2-pin"),
    FIDO2: ("cryptenroll.fido2-pin",),
    PKCS11: ("cryptenroll.pkcs11-pin",),
}
REMARK = "Proceeding anyway"  # in what it says about PCRs that the firmware does not use


class Cryptenroll:
    """:param runner: starts it."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def version(self) -> int | None:
        """The major version of systemd; None where the program is not installed."""
        if self._runner.find(PROGRAM) is None:
            return None
        found = re.search(r"\d+", self._runner.run([PROGRAM, "--version"]).text)
        return int(found.group()) if found else 0

    @staticmethod
    def handlers() -> frozenset[str]:
        """The kinds of tokens for which systemd has given cryptsetup a handler."""
        files = [f"{folder}/libcryptsetup-token-{{}}.so" for folder in HANDLERS]
        return frozenset(kind for kind, name in TYPES.items() if any(glob.glob(pattern.format(name)) for pattern in files))

    def devices(self, kind: str) -> tuple[int, str]:
        """The exit status and the last words of a look for devices of a kind (tpm2 or fido2)."""
        done = self._runner.run([PROGRAM, f"--{kind}-device=list"], ok=None)
        said = (done.text + done.error_text).strip().splitlines()
        return done.rc, said[-1] if said else ""

    def enrol(self, path: str, wanted: WantedToken, unlock: Secret, pass_fds: Sequence[int] = ()) -> list[str]:
        """Enrol a token; what it has to say about it.

        :param path: the device, or the file of a detached header.
        :param pass_fds: file descriptors that it is to keep open.
        :raises ToolFailed: if that does not succeed; a keyslot may be left.
        """
        with ExitStack() as stack:
            environment, inherited = {}, [*pass_fds, stack.enter_context(self._runner.secret_memory(unlock))]
            key = f"--unlock-key-file=/dev/fd/{inherited[-1]}"
            if wanted.pin is not None:
                secrets = dict.fromkeys(CREDENTIALS[wanted.kind], wanted.pin)
                folder, descriptors = stack.enter_context(self._runner.secret_folder(secrets))
                environment["CREDENTIALS_DIRECTORY"] = folder
                inherited += descriptors
            argv = [PROGRAM, key, *options(wanted), "--", path]
            done = self._runner.run(argv, timeout=PATIENT, environment=environment, pass_fds=inherited)
        return [line for line in done.error_text.splitlines() if REMARK in line]


def options(wanted: WantedToken) -> list[str]:
    """The options by which it makes a token; whatever has a default that has changed over time is said."""
    if wanted.kind == TPM2:
        bank = f":{wanted.bank}" if wanted.bank else ""
        pcrs = "+".join(f"{number}{bank}" for number in wanted.pcrs or ())
        # 251 and later: the option is left out where it says nothing.
        pin = ["--tpm2-with-pin=yes"] if wanted.with_pin else []
        return [f"--tpm2-device={wanted.tpm2_device}", f"--tpm2-pcrs={pcrs}", *pin]
    if wanted.kind == FIDO2:
        flags = {"client-pin": wanted.with_pin, "user-presence": wanted.presence, "user-verification": wanted.verification}
        return [f"--fido2-device={wanted.fido2_device}", *(f"--fido2-with-{name}={'yes' if on else 'no'}" for name, on in flags.items())]
    return [f"--pkcs11-token-uri={wanted.uri}"]
