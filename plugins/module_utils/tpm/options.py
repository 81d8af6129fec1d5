# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that the modules for a TPM share."""

from __future__ import annotations

from typing import Any

OWNER_OPTIONS: dict[str, dict[str, Any]] = {
    "owner_auth": {"type": "str", "no_log": True},
    "owner_auth_encoding": {"type": "str", "choices": ["text", "base64"], "default": "text", "no_log": False},
}
