# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a TPM 1.2 is given an owner. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.model import SYSTEM_DATA

TAKE, SHARE = "take ownership", "share the storage root key"  # actions


@dataclass(frozen=True)
class Ownership:
    """How a TPM 1.2 stands. None: the kernel does not tell.

    :param given: whether an owner authorisation is given.
    :param shared: whether TrouSerS knows the storage root key; None where it does not have to.
    """

    owned: bool | None
    enabled: bool | None
    active: bool | None
    given: bool
    shared: bool | None = None


def plan_ownership(found: Ownership) -> list[Step]:
    """An owner, where there is none, and then that TrouSerS knows its storage root key.

    :raises RootOfTrustError: if the TPM cannot have one now.
    """
    if found.owned is None:
        raise RootOfTrustError("The kernel does not tell whether the TPM has an owner.", "Look at it with tpm_info.")
    steps = [] if found.owned else [_take(found)]
    if found.shared is False:
        if not found.given:
            raise RootOfTrustError("TrouSerS does not know the TPM's storage root key; that needs the owner.", "Give owner_auth.")
        sentence = f"Let TrouSerS use the storage root key: it can be read with its secret, and is registered in {SYSTEM_DATA}."
        steps.append(Step("TPM", SHARE, sentence, {"trousers": False}, {"trousers": True}))
    return steps


def _take(found: Ownership) -> Step:
    if not found.given:
        raise RootOfTrustError("The TPM has no owner, and no authorisation for one is given.", "Give owner_auth.")
    if not (found.enabled and found.active):
        state = "disabled" if not found.enabled else "deactivated"
        raise RootOfTrustError(f"The TPM is {state}, and can have no owner so.", "Enable and activate it in the firmware's settings.")
    sentence = "Take ownership of the TPM, with a storage root key that has the well-known secret."
    return Step("TPM", TAKE, sentence, {"owned": False}, {"owned": True})


def report_ownership(found: Ownership, to_come: Sequence[Step]) -> dict[str, Any]:
    """The result of tpm12_owner: what holds, after the steps to come."""
    due = {step.action for step in to_come}
    return {"owned": found.owned or TAKE in due, "trousers": bool(found.shared or SHARE in due)}
