# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What /proc, /sys and the folder of modules tell about the kernel's keys."""

from __future__ import annotations

import os

from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.model import ENCRYPTED, TRUSTED, KernelKey, Quota
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.parse import parse_key_users, parse_modules, parse_proc_keys

MODULES = {TRUSTED: ("trusted", "CONFIG_TRUSTED_KEYS"), ENCRYPTED: ("encrypted_keys", "CONFIG_ENCRYPTED_KEYS")}
LIMITS = "/proc/sys/kernel/keys"


class Procfs:
    def keys(self) -> dict[int, KernelKey]:
        """All keys that this process may see, by serial number."""
        return parse_proc_keys(_read("/proc/keys"))

    def quota(self) -> Quota | None:
        """What this user's keys take."""
        return parse_key_users(_read("/proc/key-users"), os.geteuid())

    def limits(self) -> dict[str, int]:
        """The limits that an administrator can set, in /proc/sys/kernel/keys."""
        found = {}
        for name in sorted(os.listdir(LIMITS)) if os.path.isdir(LIMITS) else []:
            text = _read(os.path.join(LIMITS, name)).strip()
            if text.isdigit():
                found[name] = int(text)
        return found

    def module(self, kind: str) -> str | None:
        """The name of the module that brings the type; None where it is built in or not there."""
        module = MODULES.get(kind, ("", ""))[0]
        known = parse_modules(_read(f"/lib/modules/{os.uname().release}/modules.dep"))
        return module.replace("_", "-") if module in known else None

    def loadable(self, kind: str) -> str:
        """The name of the module that would bring the type, if it is not loaded; empty where there is none."""
        name = self.module(kind) or ""
        return "" if os.path.isdir(f"/sys/module/{name.replace('-', '_')}") else name

    def evm_has_its_key(self) -> bool:
        """Whether EVM was started with its HMAC key (EVM_INIT_HMAC)."""
        text = _read("/sys/kernel/security/evm").strip()
        return text.isdigit() and bool(int(text) & 1)

    def why_lacking(self, kind: str) -> str:
        """Why the kernel has no such type of key, and what to do."""
        if kind not in MODULES:
            return f"this kernel has no keys of the type {kind} (CONFIG_KEYS)."
        module, option = MODULES[kind]
        folder = f"/lib/modules/{os.uname().release}"
        if os.path.isdir(f"/sys/module/{module}") or module in parse_modules(_read(f"{folder}/modules.builtin")):
            if kind == TRUSTED:
                return (
                    "this kernel knows trusted keys, but found nothing to seal them with when it looked: no TPM, TEE, CAAM or DCP."
                    " Enable the TPM in the firmware and load its driver first, or take a master of the type user."
                )
            return f"this kernel has {option}, yet not the type. Look into its messages (dmesg)."
        if self.module(kind):
            return f"the kernel's module {self.module(kind)} is not loaded."
        other = " Take encrypted keys under a user: master instead." if kind == TRUSTED else " Take a kernel that has them."
        return f"this kernel was built without {option}: it has no {kind} keys.{other}"


def _read(path: str) -> str:
    """A file's text; empty where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return stream.read().decode("utf-8", "surrogateescape")
    except OSError:
        return ""
