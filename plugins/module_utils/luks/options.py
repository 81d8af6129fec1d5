# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that the modules for LUKS share."""

from __future__ import annotations

from typing import Any

from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import ABSENT, PRESENT

LOOK_OPTIONS: dict[str, dict[str, Any]] = {
    "device": {"type": "str"},
    "header": {"type": "path"},
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
