# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module's arguments as a value that can be merged and turned into a module."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Mapping, Sequence

from ansible.module_utils.basic import AnsibleModule

Options = Mapping[str, Mapping[str, Any]]
Names = Sequence[str]


@dataclass(frozen=True)
class Spec:
    """An argument specification.

    :param options: name → the fields that AnsibleModule knows (type, choices, no_log …).
    :param mutually_exclusive, required_together, required_one_of, required_if, required_by: as AnsibleModule has them.
    """

    options: Options
    mutually_exclusive: tuple[Names, ...] = ()
    required_together: tuple[Names, ...] = ()
    required_one_of: tuple[Names, ...] = ()
    required_if: tuple[Sequence[Any], ...] = ()
    required_by: Mapping[str, Names] = field(default_factory=dict)

    def merge(self, other: Spec) -> Spec:
        """Both together. An option that both have is a mistake of the programmer: ValueError."""
        twice = sorted(set(self.options) & set(other.options))
        if twice:
            raise ValueError(f"options given by both specifications: {', '.join(twice)}")
        return Spec(
            options={**self.options, **other.options},
            mutually_exclusive=self.mutually_exclusive + other.mutually_exclusive,
            required_together=self.required_together + other.required_together,
            required_one_of=self.required_one_of + other.required_one_of,
            required_if=self.required_if + other.required_if,
            required_by={**self.required_by, **other.required_by},
        )

    def create_module(self) -> AnsibleModule:
        """The module of this process. Check mode is supported by all: ``converge`` is where it is kept."""
        return AnsibleModule(
            argument_spec={name: dict(fields) for name, fields in self.options.items()},
            mutually_exclusive=[list(names) for names in self.mutually_exclusive],
            required_together=[list(names) for names in self.required_together],
            required_one_of=[list(names) for names in self.required_one_of],
            required_if=[list(rule) for rule in self.required_if],
            required_by={name: list(names) for name, names in self.required_by.items()},
            supports_check_mode=True,
        )


def one_or_many(listed_as: str, identity: str, options: Options) -> Spec:
    """A module's arguments for one object, given by its options, or for several, given as a list of such.

    :param listed_as: the option that takes the list (``keys``).
    :param identity: the option without which there is no object (``path``).
    :param options: one object's options. None of them may be ``required``: ``identity`` is, and this function says so.
    """
    item = {name: dict(fields) for name, fields in options.items()}
    listed = {**item, identity: {**item[identity], "required": True}}
    return Spec(
        options={**item, listed_as: {"type": "list", "elements": "dict", "no_log": False, "options": listed}},  # secrets in it say so
        mutually_exclusive=((listed_as, identity),),
        required_one_of=((listed_as, identity),),
    )


def objects(params: Mapping[str, Any], listed_as: str, options: Options) -> list[dict[str, Any]]:
    """The objects that the parameters of a :func:`one_or_many` module describe, one or several, as dictionaries."""
    listed = params.get(listed_as)
    if listed is not None:
        return [dict(item) for item in listed]
    return [{name: params[name] for name in options}]
