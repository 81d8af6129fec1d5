# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One step of a plan: what is to be done to which object, in words, and what it changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Iterable, Mapping

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import MASK, Secret


@dataclass(frozen=True)
class Step:
    """A step of a plan.

    :param subject: the object it is done to, as a person would name it (a path, a keyslot, a device).
    :param action: the word by which the domain's ``apply`` knows what to do.
    :param sentence: what is done and why, for the person who reads the result.
    :param before: the fields this step changes, as they are.
    :param after: the same fields, as they will be. With ``before`` it is the subject's part of the diff.
    :param detail: whatever ``apply`` needs beside the subject: usually the desired model.
    :param once: True for a step that was ordered for its own sake ("make it anew"): it is due each time it is asked for.
    """

    subject: str
    action: str
    sentence: str
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    detail: Any = None
    once: bool = False


def plain(value: Any) -> Any:
    """A value as JSON can carry it and a person may see it: secrets masked, sets sorted, tuples as lists, text in UTF-8.

    Bytes that were none are kept by surrogates as long as text is compared; Ansible would refuse a result with one in it.
    """
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if isinstance(value, Mapping):
        return {plain(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(plain(item) for item in value)
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return plain(str(value))


def diff(steps: Iterable[Step]) -> dict[str, Any]:
    """The difference that the steps make, by subject: ``{"before": {...}, "after": {...}}``.

    Where several steps change a field of one subject, the first one's ``before`` and the last one's ``after`` count.
    """
    before: dict[str, dict[str, Any]] = {}
    after: dict[str, dict[str, Any]] = {}
    for step in steps:
        for name, value in step.before.items():
            before.setdefault(step.subject, {}).setdefault(name, value)
        for name, value in step.after.items():
            after.setdefault(step.subject, {})[name] = value
    return {"before": plain(before), "after": plain(after)}
