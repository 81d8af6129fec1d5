# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""clevis(1): secrets that open again where a Tang server or a TPM helps."""

from __future__ import annotations

import re

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import ToolFailed
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_tokens import PINS

PATIENT = 120.0  # seconds, for a server that does not answer
COMPACT = re.compile(r"[\w-]+\.[\w-]*\.[\w-]+\.[\w-]+\.[\w-]+")


class Clevis:
    """:param runner: starts it."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def pins(self) -> frozenset[str] | None:
        """The pins that are installed; None where clevis is not."""
        if self._runner.find("clevis") is None:
            return None
        return frozenset(pin for pin in PINS if self._runner.find(f"clevis-encrypt-{pin}") is not None)

    def encrypt(self, pin: str, config: str, secret: Secret) -> str:
        """The secret as a JWE in its compact form.

        :param config: as JSON; clevis must not have to ask for anything.
        :raises ToolFailed: if that does not succeed; some pins of some versions tell so by an exit status of 0.
        """
        done = self._runner.run(["clevis", "encrypt", pin, config], stdin=secret, timeout=PATIENT)
        jwe = done.text.strip()
        if not COMPACT.fullmatch(jwe):
            said = done.error_text.splitlines() or ["it said nothing"]
            raise ToolFailed(f"clevis does not encrypt by the pin {pin}: {said[0]}", facts={"stderr": done.error_text})
        return jwe

    def decrypt(self, jwe: str) -> Secret | None:
        """The secret of a JWE; None where it cannot be had, because the server or the TPM does not help."""
        done = self._runner.run(["clevis", "decrypt"], stdin=jwe.encode("ascii"), ok=None, timeout=PATIENT)
        return Secret(done.stdout) if done.rc == 0 and done.stdout else None
