# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""/sys: the TPM, and what tells a virtual machine."""

from __future__ import annotations

import os

from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.model import Hwrng, Tpm
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.pseudofile import read_text


def tpm(hwrng: Hwrng, root: str = "/") -> Tpm:
    """The first TPM. The attribute tpm_version_major came with Linux 5.6; before, only TPM 1.2 has the attribute ``caps``."""
    folder = os.path.join(root, "sys/class/tpm/tpm0")
    if not os.path.isdir(folder):
        return Tpm()
    major = read_text(os.path.join(folder, "tpm_version_major"))
    if major is None:
        major = "1" if any(os.path.exists(os.path.join(folder, name)) for name in ("caps", "device/caps")) else "2"
    version = {"1": "1.2", "2": "2.0"}.get(major, "")
    return Tpm(present=True, version=version, hwrng=any(name.startswith("tpm-rng") for name in hwrng.available))


def hypervisor_type(root: str = "/") -> str:
    return read_text(os.path.join(root, "sys/hypervisor/type")) or ""


def dmi(root: str = "/") -> str:
    """Vendor and product, as the firmware says."""
    names = ("sys_vendor", "product_name", "bios_vendor")
    return " ".join(read_text(os.path.join(root, "sys/class/dmi/id", name)) or "" for name in names)
