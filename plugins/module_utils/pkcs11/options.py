# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that the modules for PKCS#11 tokens share."""

from __future__ import annotations

from typing import Any

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.model import ABSENT, ALGORITHMS, PRESENT
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.plan_pairs import DECRYPT, DERIVE, SIGN
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.plan_slots import TOKENS

LIBRARY = Spec(options={"library": {"type": "str", "required": True}})
PLACE = LIBRARY.merge(
    Spec(
        options={
            "token": {"type": "str", "no_log": False},
            "slot": {"type": "int"},
            "serial": {"type": "str"},
            "pin": {"type": "str", "no_log": True},
        }
    )
)
TOKEN_OPTIONS: dict[str, dict[str, Any]] = {
    "label": {"type": "str"},
    "slot": {"type": "int"},
    "so_pin": {"type": "str", "no_log": True},
    "user_pin": {"type": "str", "no_log": True},
    "verify": {"type": "bool", "default": False},
    "wipe": {"type": "str"},
}
PAIR_OPTIONS: dict[str, dict[str, Any]] = {
    "label": {"type": "str"},
    "id": {"type": "str"},
    "algorithm": {"type": "str", "choices": list(ALGORITHMS), "default": "nistp256"},
    "usage": {"type": "list", "elements": "str", "choices": [SIGN, DECRYPT, DERIVE], "default": [SIGN]},
    "extractable": {"type": "bool", "default": False},
    "verify": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": [PRESENT, ABSENT], "default": PRESENT},
}
SLOT_OPTIONS: dict[str, dict[str, Any]] = {
    "token": {"type": "str", "choices": list(TOKENS), "required": True, "no_log": False},
    "number": {"type": "int"},
    "name": {"type": "str"},
    "description": {"type": "str"},
}
