# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that the modules for OpenPGP keys share."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec, one_or_many
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.model import (
    ABSENT,
    AUTH,
    CERT,
    ED25519,
    ENCRYPT,
    PRESENT,
    PRIMARY_ALGORITHMS,
    REVOKED,
    SIGN,
    SUBKEY_ALGORITHMS,
    TRUSTS,
    USAGES,
)

PLACE = Spec(options={"home": {"type": "path"}, "user": {"type": "str"}})
SUBKEY_OPTIONS: dict[str, dict[str, Any]] = {
    "usage": {"type": "list", "elements": "str", "choices": [SIGN, ENCRYPT, AUTH], "required": True},
    "algorithm": {"type": "str", "choices": list(SUBKEY_ALGORITHMS)},
    "expires": {"type": "str"},
    "renew_before": {"type": "str"},
}
KEY_OPTIONS: dict[str, dict[str, Any]] = {
    "user_ids": {"type": "list", "elements": "str"},
    "fingerprint": {"type": "str"},
    "state": {"type": "str", "choices": [PRESENT, REVOKED, ABSENT], "default": PRESENT},
    "algorithm": {"type": "str", "choices": list(PRIMARY_ALGORITHMS), "default": ED25519},
    "usage": {"type": "list", "elements": "str", "choices": list(USAGES), "default": [CERT, SIGN]},
    "expires": {"type": "str", "default": "2y"},
    "renew_before": {"type": "str"},
    "subkeys": {"type": "list", "elements": "dict", "no_log": False, "options": SUBKEY_OPTIONS},
    "revoked_user_ids": {"type": "list", "elements": "str", "default": []},
    "revoked_subkeys": {"type": "list", "elements": "str", "default": [], "no_log": False},
    "ownertrust": {"type": "str", "choices": list(TRUSTS)},
    "passphrase": {"type": "str", "no_log": True},
    "verify": {"type": "bool", "default": False},
    "public_key_file": {"type": "path"},
    "backup_file": {"type": "path"},
    "backup_recipients": {"type": "list", "elements": "str", "default": []},
    "revocation_file": {"type": "path"},
}
PUBLIC_KEY_OPTIONS: dict[str, dict[str, Any]] = {
    "public_key": {"type": "str", "no_log": False},
    "fingerprint": {"type": "str"},
    "state": {"type": "str", "choices": [PRESENT, ABSENT], "default": PRESENT},
    "signed_by": {"type": "str"},
    "signature": {"type": "str", "choices": ["local", "exportable"], "default": "local"},
    "passphrase": {"type": "str", "no_log": True},
    "ownertrust": {"type": "str", "choices": list(TRUSTS)},
}
TRUST_OPTIONS: dict[str, dict[str, Any]] = {
    "fingerprint": {"type": "str"},
    "trust": {"type": "str", "choices": list(TRUSTS)},
}


def several(listed_as: str, identities: tuple[str, ...], options: dict[str, dict[str, Any]]) -> Spec:
    """As :func:`one_or_many`, where any of several options says which object is meant."""
    one = one_or_many(listed_as, identities[0], options)
    listed = {**one.options[listed_as], "options": options, "required_one_of": [list(identities)]}
    return replace(
        one,
        options={**one.options, listed_as: listed},
        mutually_exclusive=tuple((listed_as, name) for name in identities),
        required_one_of=((listed_as, *identities),),
    )
