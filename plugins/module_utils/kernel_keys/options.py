# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that the modules for the kernel's keys have."""

from __future__ import annotations

from typing import Any

from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.model import (
    ABSENT,
    ENCRYPTED,
    LOGON,
    PRESENT,
    REVOKED,
    TRUSTED,
    USER,
)

HASHES = ["sha1", "sha256", "sha384", "sha512", "sm3-256"]
# What a blob of a trusted key is sealed to.
SEALED_TO: dict[str, dict[str, Any]] = {
    "pcrs": {"type": "list", "elements": "int"},
    "pcr_bank": {"type": "str", "choices": ["sha1", "sha256", "sha384", "sha512"]},
    "pcrinfo": {"type": "str"},
    "policydigest": {"type": "str"},
    "policyhandle": {"type": "str"},
    "hash": {"type": "str", "choices": HASHES},
}
KEY_OPTIONS: dict[str, dict[str, Any]] = {
    "description": {"type": "str"},
    "type": {"type": "str", "choices": [USER, LOGON, TRUSTED, ENCRYPTED], "default": USER},
    "keyring": {"type": "str", "default": "@u", "no_log": False},  # a name
    "state": {"type": "str", "choices": [PRESENT, ABSENT, REVOKED], "default": PRESENT},
    "permissions": {"type": "str"},
    "timeout": {"type": "int"},
    "payload": {"type": "str", "no_log": True},
    "payload_encoding": {"type": "str", "choices": ["text", "base64"], "default": "text"},
    "payload_file": {"type": "path"},
    "random": {"type": "int"},
    "file": {"type": "path"},
    "update_payload": {"type": "str", "choices": ["on_create", "changed", "always"], "default": "changed"},
    "length": {"type": "int"},
    "format": {"type": "str", "choices": ["default", "ecryptfs", "enc32"]},
    "master": {"type": "str"},
    "blob": {"type": "path"},
    "update": {"type": "bool", "default": False},
    "remove_files": {"type": "bool", "default": False},
    "keyhandle": {"type": "str", "no_log": False},  # a number
    "keyauth": {"type": "str", "no_log": True},
    "blobauth": {"type": "str", "no_log": True},
    "pcrlock": {"type": "int"},
    "migratable": {"type": "bool"},
    **SEALED_TO,
    "alternatives": {"type": "list", "elements": "dict", "options": {"blob": {"type": "path", "required": True}, **SEALED_TO}},
}
KEYRING_OPTIONS: dict[str, dict[str, Any]] = {
    "path": {"type": "str"},
    "state": {"type": "str", "choices": [PRESENT, ABSENT], "default": PRESENT},
    "permissions": {"type": "str"},
    "timeout": {"type": "int"},
    "links": {"type": "list", "elements": "str", "default": []},
    "drop_keys": {"type": "bool", "default": False, "no_log": False},
}
