# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes wrong, said so that an administrator knows the object, the fact and what to change."""

from __future__ import annotations

from typing import Any, Mapping, TypeVar

Value = TypeVar("Value")


class RootOfTrustError(Exception):
    """An expected failure.

    :param message: one sentence naming the object and the fact.
    :param remedy: one sentence naming what to change; empty when nothing can be.
    :param facts: what the caller may want to look at; it goes into the module's result as it is and holds no secret.
    """

    def __init__(self, message: str, remedy: str = "", facts: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.facts: dict[str, Any] = dict(facts or {})

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class ToolMissing(RootOfTrustError):
    """A program that the work needs is not installed."""


class ToolFailed(RootOfTrustError):
    """A program ended with an exit status that the caller did not expect, or did not end in time."""


def certain(value: Value | None) -> Value:
    """A value that cannot be missing here, because the plan has seen to it; a missing one is a mistake of the program."""
    if value is None:
        raise AssertionError("a step was planned without what it needs")
    return value
