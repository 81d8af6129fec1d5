# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""/sys and /dev: which TPM there is, and what the kernel tells of one of version 1.2."""

from __future__ import annotations

import os

from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.model import TPM12, TPM20, Chip
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.parse import parse_caps, parse_pcr_list

MANAGED, PLAIN = "/dev/tpmrm0", "/dev/tpm0"  # the kernel's resource manager is there since Linux 4.12
STATES = ("enabled", "active", "owned", "temp_deactivated")  # of a TPM 1.2


class Sysfs:
    """
    :param root: of the host's file system.
    """

    def __init__(self, root: str = "/") -> None:
        self._root = root

    def chip(self) -> Chip | None:
        """The first TPM; None where there is none."""
        if not os.path.isdir(self._path("sys/class/tpm/tpm0")):
            return None
        version = self._version()
        device = next((path for path in (MANAGED, PLAIN) if os.path.exists(self._path(path.lstrip("/")))), None)
        facts = parse_caps(self._attribute("caps") or "")
        facts.update({name: value for name in STATES for value in [self._attribute(name)] if value is not None})
        return Chip(version, device, facts, parse_pcr_list(self._attribute("pcrs") or ""))

    def _version(self) -> str:
        """The attribute tpm_version_major came with Linux 5.6; before, only a TPM 1.2 has the attribute ``caps``."""
        major = self._attribute("tpm_version_major")
        if major is None:
            return TPM12 if self._attribute("caps") is not None else TPM20
        return {"1": TPM12, "2": TPM20}.get(major, "")

    def _attribute(self, name: str) -> str | None:
        """An attribute; older kernels have it in the folder of the device below."""
        for place in ("", "device"):
            try:
                with open(self._path("sys/class/tpm/tpm0", place, name), encoding="ascii", errors="replace") as stream:
                    return stream.read().strip()
            except OSError:
                continue
        return None

    def _path(self, *parts: str) -> str:
        return os.path.join(self._root, *parts)
