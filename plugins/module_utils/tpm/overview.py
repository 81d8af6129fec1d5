# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The whole of what tpm_info tells."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.model import TPM12, TPM20, Chip
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.plan_primaries import describe_object
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.proc import holders
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.sysfs import Sysfs
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.tpm2 import Tpm2, opened_device


def overview(root: str = "/") -> dict[str, Any]:
    """What TPM there is, how it stands and what it holds."""
    chip = Sysfs(root).chip()
    told: dict[str, Any] = {
        "present": chip is not None,
        "version": chip.version if chip is not None else "",
        "device": chip.device if chip is not None else None,
        "holders": [asdict(holder) for holder in holders(root)],
        "manufacturer": "",
        "vendor": "",
        "firmware": "",
        "revision": "",
        "authorisations": None,
        "lockout": None,
        "clear_disabled": None,
        "banks": {},
        "persistent": [],
        "room": None,
        "states": None,
    }
    if chip is not None and chip.version == TPM12:
        return {**told, **_tpm12(chip)}
    if chip is not None and chip.version == TPM20:
        return {**told, **_tpm20(chip)}
    return told


def _tpm12(chip: Chip) -> dict[str, Any]:
    facts = dict(chip.facts)
    return {
        "manufacturer": facts.pop("manufacturer", ""),
        "firmware": facts.pop("firmware", ""),
        "revision": facts.pop("specification", ""),
        "authorisations": {"owner": facts["owned"] == "1", "endorsement": None, "lockout": None} if "owned" in facts else None,
        "banks": {"sha1": _registers(dict(chip.pcrs))} if chip.pcrs else {},
        "states": {name: value == "1" for name, value in facts.items()},
    }


def _tpm20(chip: Chip) -> dict[str, Any]:
    if chip.device is None:
        raise RootOfTrustError("This host has a TPM, but neither /dev/tpmrm0 nor /dev/tpm0.", "Make the devices known to this container.")
    with opened_device(chip.device) as exchange:
        tpm = Tpm2(exchange)
        return {
            **asdict(tpm.properties()),
            "banks": {bank: _registers(values) for bank, values in tpm.pcrs().items()},
            "persistent": [describe_object(found) for found in tpm.objects()],
        }


def _registers(values: dict[int, str]) -> dict[str, str]:
    return {str(number): values[number] for number in sorted(values)}
