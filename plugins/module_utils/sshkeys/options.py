# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options that the host key modules share, and what they ask for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Mapping

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec, objects, one_or_many
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.model import ABSENT, MADE_ANEW_FOR, PRESENT, TYPES, Wanted
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.plan import wanted

LOOK_OPTIONS: dict[str, dict[str, Any]] = {
    "type": {"type": "str", "choices": list(TYPES)},
    "path": {"type": "path"},
    "size": {"type": "int"},
    "comment": {"type": "str"},
}
KEY_OPTIONS: dict[str, dict[str, Any]] = {
    **LOOK_OPTIONS,
    "state": {"type": "str", "choices": [PRESENT, ABSENT], "default": PRESENT},
    "force": {"type": "bool", "default": False},
}
KNOWN_HOST_OPTIONS: dict[str, dict[str, Any]] = {
    "names": {"type": "list", "elements": "str"},
    "port": {"type": "int", "default": 22},
    "keys": {"type": "list", "elements": "raw", "no_log": False},
    "exclusive": {"type": "bool", "default": True},
    "state": {"type": "str", "choices": [PRESENT, ABSENT], "default": PRESENT},
}
COMMON = Spec(
    options={
        "regenerate": {"type": "list", "elements": "str", "choices": list(MADE_ANEW_FOR), "default": list(MADE_ANEW_FOR)},
        "bad_fingerprints": {"type": "list", "elements": "str", "default": []},
        "server": {"type": "str", "choices": ["sshd", "none"], "default": "sshd"},
    }
)


def host_key_spec(options: Mapping[str, Mapping[str, Any]], other: Spec) -> Spec:
    """One key, several, or neither: then those that the server uses."""
    several = one_or_many("keys", "type", options)
    keys = replace(
        several,
        options={**several.options, "keys": {**several.options["keys"], "no_log": False}},  # they describe keys, they are none
        required_one_of=(),
        mutually_exclusive=(("keys", "type"), ("keys", "path"), ("keys", "size")),
        required_by={"path": ("type",), "size": ("type",)},
    )
    return keys.merge(COMMON).merge(other)


def asked(params: Mapping[str, Any], options: Mapping[str, Mapping[str, Any]]) -> Wanted:
    """What a module's parameters ask for. ``force`` beside a list holds for all of it.

    :raises RootOfTrustError: if they contradict each other.
    """
    if params.get("state") == ABSENT and params["type"] is None:
        raise RootOfTrustError("Keys are only removed when they are named.", "Give type, or state in each item of keys.")
    if params["keys"] is None and params["type"] is None:
        return wanted(None, params)
    keys = objects(params, "keys", options)
    return wanted([{**key, "force": key.get("force") or params.get("force")} for key in keys], params)
