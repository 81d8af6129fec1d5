# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Recovery keys: their form, and the result. What is done about their keyslots is in plan_keyslots. Pure."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.plan_recipients import faults, recipient
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import PRESENT
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_keyslots import MAKE, Asked, report_keyslots

KEY_BYTES = 32
MODHEX = "cbdefghijklnrtuv"  # letters that are at the same place on all Latin keyboards; as in the recovery keys of systemd-cryptenroll
GROUP = 8  # letters


def typed(random: bytes) -> bytes:
    """A recovery key as a person types it: groups of eight letters, joined by hyphens."""
    letters = "".join(MODHEX[byte >> 4] + MODHEX[byte & 15] for byte in random)
    return "-".join(letters[start : start + GROUP] for start in range(0, len(letters), GROUP)).encode("ascii")


def report_recipients(colons: Sequence[str], require: bool) -> dict[str, Any]:
    """The result of luks_recipient_info.

    :param colons: of each recipient what gpg tells of the key.
    :param require: refuse where something is wrong with one.
    :raises RootOfTrustError: if that is so, or one is not one key.
    """
    found = [recipient(text, number) for number, text in enumerate(colons, 1)]
    wrong = faults(found)
    if wrong and require:
        raise RootOfTrustError(f"A recovery key cannot be encrypted: {' '.join(wrong)}", "Give other recipients, or renew their keys.")
    return {"recipients": [asdict(one) for one in found], "usable": not wrong}


def report_recovery(asked: Sequence[Asked], to_come: Sequence[Step]) -> dict[str, Any]:
    """The result of luks_recovery_key: the recovery keys as they are after the steps to come, and never the keys."""
    told = report_keyslots(asked, to_come)
    due = {step.detail.index for step in to_come if step.action == MAKE}
    return {
        "recovery_keys": [
            {
                **known,
                "path": one.wanted.file if one.wanted.state == PRESENT else None,
                # That of one which is still to be made nobody knows.
                "sha256": None if index in due or one.wanted.state != PRESENT else one.facts.sha256,
                "recipients": list(one.wanted.recipients),
            }
            for index, (known, one) in enumerate(zip(told["keyslots"], asked))
        ],
        "warnings": told["warnings"],
    }
