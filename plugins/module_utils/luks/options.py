# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that the modules for LUKS share."""

from __future__ import annotations

from typing import Any

from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import ABSENT, LUKS1, LUKS2, PRESENT

# A secret: text, or bytes as base64, or a file on the managed host that holds nothing else.
SECRET_OPTIONS: dict[str, dict[str, Any]] = {
    "passphrase": {"type": "str", "no_log": True},
    "passphrase_encoding": {"type": "str", "choices": ["text", "base64"], "default": "text", "no_log": False},
    "key_file": {"type": "path", "no_log": False},  # a path
}
# One that opens the volume already.
UNLOCK_OPTION: dict[str, dict[str, Any]] = {
    "unlock": {"type": "dict", "options": SECRET_OPTIONS, "mutually_exclusive": [("passphrase", "key_file")], "no_log": False},
}
# How a keyslot turns its passphrase into a key; what is left out is cryptsetup's own choice.
PBKDF_OPTION: dict[str, dict[str, Any]] = {
    "pbkdf": {
        "type": "dict",
        "options": {
            "type": {"type": "str", "choices": ["argon2id", "argon2i", "pbkdf2"]},
            "memory": {"type": "int"},
            "time": {"type": "int"},
            "iterations": {"type": "int"},
            "threads": {"type": "int"},
        },
        "mutually_exclusive": [("time", "iterations")],
    }
}
LOOK_OPTIONS: dict[str, dict[str, Any]] = {
    "device": {"type": "str"},
    "name": {"type": "str"},
    "header": {"type": "path"},
    "mount": {"type": "path"},
    "backups": {"type": "list", "elements": "path", "default": []},
}
BACKUP_OPTIONS: dict[str, dict[str, Any]] = {"device": {"type": "str"}, "header": {"type": "path"}}
ENTRY_OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str"},
    "device": {"type": "str"},
    "key_file": {"type": "str", "default": "none", "no_log": False},  # a path
    "options": {"type": "list", "elements": "str", "default": []},
    "state": {"type": "str", "choices": [PRESENT, ABSENT], "default": PRESENT},
}
KEYSLOT_OPTIONS: dict[str, dict[str, Any]] = {
    "device": {"type": "str"},
    "header": {"type": "path"},
    "state": {"type": "str", "choices": [PRESENT, ABSENT], "default": PRESENT},
    "name": {"type": "str"},
    "version": {"type": "str"},
    **SECRET_OPTIONS,
    "create_key_file": {"type": "bool", "default": False, "no_log": False},
    **UNLOCK_OPTION,
    "keyslot": {"type": "int", "no_log": False},  # a number
    "priority": {"type": "str", "choices": ["prefer", "normal", "ignore"]},
    **PBKDF_OPTION,
    "count_tokens": {"type": "bool", "default": False, "no_log": False},
}
CONTAINER_OPTIONS: dict[str, dict[str, Any]] = {
    "device": {"type": "str"},
    "header": {"type": "path"},
    "state": {"type": "str", "choices": [PRESENT, ABSENT], "default": PRESENT},
    "type": {"type": "str", "choices": [LUKS2, LUKS1], "default": LUKS2},
    "cipher": {"type": "str"},
    "key_bits": {"type": "int", "no_log": False},  # a number
    "hash": {"type": "str"},
    "sector_size": {"type": "int", "choices": [512, 1024, 2048, 4096]},
    "label": {"type": "str"},
    "subsystem": {"type": "str"},
    "uuid": {"type": "str"},
    **PBKDF_OPTION,
    **SECRET_OPTIONS,
    "wipe": {"type": "list", "elements": "str", "default": []},
    "fill": {"type": "str", "choices": ["none", "random"], "default": "none"},
    "change": {"type": "list", "elements": "str", "choices": ["label", "subsystem", "uuid"], "default": []},
}
MAPPING_OPTIONS: dict[str, dict[str, Any]] = {
    "name": {"type": "str"},
    "device": {"type": "str"},
    "header": {"type": "path"},
    "state": {"type": "str", "choices": ["open", "closed"], "default": "open"},
    **SECRET_OPTIONS,
    "read_only": {"type": "bool"},
    "discard": {"type": "bool"},
    "same_cpu_crypt": {"type": "bool"},
    "submit_from_crypt_cpus": {"type": "bool"},
    "no_read_workqueue": {"type": "bool"},
    "no_write_workqueue": {"type": "bool"},
    "persistent": {"type": "bool", "default": False},
}
ENCRYPTION_OPTIONS: dict[str, dict[str, Any]] = {
    "device": {"type": "str"},
    "header": {"type": "path"},
    "name": {"type": "str"},
    **SECRET_OPTIONS,
    "state": {"type": "str", "choices": ["encrypted", "plain"], "default": "encrypted"},
    "uuid": {"type": "str"},
    "type": {"type": "str", "choices": ["luks2"]},
    "cipher": {"type": "str"},
    "key_bits": {"type": "int", "no_log": False},
    "sector_size": {"type": "int", "choices": [512, 1024, 2048, 4096]},
    **PBKDF_OPTION,
    "room": {"type": "str", "choices": ["auto", "shrink", "grow", "header"], "default": "auto"},
    "mount": {"type": "path"},
    "busy": {"type": "str", "choices": ["refuse", "terminate"], "default": "refuse"},
    "stop_units": {"type": "list", "elements": "str", "default": []},
    "volume_key": {"type": "str", "no_log": False},
    "other_keyslots": {"type": "str", "choices": ["refuse", "drop"], "default": "refuse", "no_log": False},
}
TOKEN_OPTIONS: dict[str, dict[str, Any]] = {
    "device": {"type": "str"},
    "header": {"type": "path"},
    "kind": {"type": "str", "choices": ["tpm2", "fido2", "pkcs11", "clevis"]},
    "state": {"type": "str", "choices": [PRESENT, ABSENT], "default": PRESENT},
    "exclusive": {"type": "bool", "default": False},
    "tpm2_device": {"type": "str", "default": "auto"},
    "tpm2_pcrs": {"type": "list", "elements": "int"},
    "tpm2_pcr_bank": {"type": "str", "choices": ["sha1", "sha256", "sha384", "sha512"]},
    "tpm2_with_pin": {"type": "bool"},
    "tpm2_pin": {"type": "str", "no_log": True},
    "fido2_device": {"type": "str", "default": "auto"},
    "fido2_with_pin": {"type": "bool"},
    "fido2_with_user_presence": {"type": "bool", "default": True},
    "fido2_with_user_verification": {"type": "bool", "default": False},
    "fido2_pin": {"type": "str", "no_log": True},
    "pkcs11_uri": {"type": "str"},
    "pkcs11_pin": {"type": "str", "no_log": True},
    "clevis_pin": {"type": "str", "choices": ["tang", "tpm2", "sss"], "no_log": False},  # clevis's word for a method
    "clevis_config": {"type": "dict"},
    **UNLOCK_OPTION,
}
RECOVERY_OPTIONS: dict[str, dict[str, Any]] = {
    "device": {"type": "str"},
    "header": {"type": "path"},
    "state": {"type": "str", "choices": [PRESENT, ABSENT], "default": PRESENT},
    "name": {"type": "str", "default": "recovery"},
    "version": {"type": "str"},
    "keep_older": {"type": "bool", "default": False, "no_log": False},
    "recipients": {"type": "list", "elements": "str"},
    "folder": {"type": "path", "default": "/var/lib/rootoftrust/luks_recovery"},
    **UNLOCK_OPTION,
    "keyslot": {"type": "int", "no_log": False},  # a number
    "priority": {"type": "str", "choices": ["prefer", "normal", "ignore"]},
    **PBKDF_OPTION,
    "count_tokens": {"type": "bool", "default": False, "no_log": False},
}
