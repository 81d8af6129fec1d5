# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a seal to the values of PCRs comes down to on the TPM of this host.

A TPM 1.2 is told the PCRs and a digest of their values, and looks at them by itself. A TPM 2.0 is told a policy, and to load what is sealed
the kernel has to be given a session that fulfils it. The kernel meets a session only where it was started on /dev/tpm0 and that is still
open: the resource manager puts those of /dev/tpmrm0 away after each command.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import Iterator

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.model import SealOptions
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.model import TPM12, Chip
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.pcr_policy import pcr_info, pcr_policy
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.sysfs import PLAIN, Sysfs
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.tpm2 import Tpm2, opened_device

BANK, HASH = "sha256", "sha256"  # where none is asked for


class Sealing:
    def resolved(self, seal: SealOptions) -> SealOptions:
        """What the kernel is told to seal to the values that the PCRs have now."""
        if not seal.by_pcrs:
            return seal
        chip = _chip()
        if chip.version == TPM12:
            return replace(seal, pcrinfo=pcr_info(_registers12(chip, seal)))
        values = _registers20(chip, seal)
        policy = pcr_policy(seal.pcr_bank or BANK, values, seal.hash or HASH, seal.blobauth is not None)
        return replace(seal, policydigest=policy, hash=seal.hash or HASH)

    def policy_now(self, seal: SealOptions) -> str | None:
        """What a blob tells that is sealed so now; None where it is not sealed to PCRs."""
        return self.resolved(seal).policy if seal.by_pcrs else None

    @contextmanager
    def session(self, seal: SealOptions) -> Iterator[SealOptions]:
        """What the kernel is told to load a blob. It holds within the block.

        A process that is killed here leaves its session in the TPM until that is reset, as any program does that uses /dev/tpm0.
        """
        if not seal.by_pcrs or _chip().version == TPM12:
            yield seal
            return
        with opened_device(PLAIN) as exchange:
            asked = (seal.pcr_bank or BANK, seal.by_pcrs, seal.hash or HASH, seal.blobauth is not None)
            with Tpm2(exchange).pcr_session(*asked) as handle:
                yield replace(seal, policyhandle=f"{handle:#x}")

    def in_lockout(self) -> bool:
        """Whether the TPM refuses because of wrong authorisations in the past."""
        chip = Sysfs().chip()
        if chip is None or chip.version == TPM12 or chip.device is None:
            return False
        with opened_device(chip.device) as exchange:
            return Tpm2(exchange).properties().lockout.active


def _chip() -> Chip:
    chip = Sysfs().chip()
    if chip is None:
        raise RootOfTrustError("There is no TPM with PCRs that a key could be sealed to.", "Leave pcrs out, or enable the TPM.")
    return chip


def _registers12(chip: Chip, seal: SealOptions) -> dict[int, str]:
    if seal.pcr_bank not in (None, "sha1"):
        raise RootOfTrustError(f"A TPM 1.2 has no PCRs in the bank {seal.pcr_bank}.", "Leave pcr_bank out.")
    lacking = [str(pcr) for pcr in seal.by_pcrs if pcr not in chip.pcrs]
    if lacking:
        raise RootOfTrustError(f"The kernel does not tell the PCR {' or '.join(lacking)} of the TPM.", "Choose others.")
    return {pcr: chip.pcrs[pcr] for pcr in seal.by_pcrs}


def _registers20(chip: Chip, seal: SealOptions) -> dict[int, str]:
    if chip.device is None:
        raise RootOfTrustError("This host has a TPM, but neither /dev/tpmrm0 nor /dev/tpm0.", "Make the devices known to this container.")
    with opened_device(chip.device) as exchange:
        return Tpm2(exchange).registers(seal.pcr_bank or BANK, seal.by_pcrs)
