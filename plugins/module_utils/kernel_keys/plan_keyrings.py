# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which keyrings are made, linked, changed or taken away. Pure."""

from __future__ import annotations

from typing import Any, Collection, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.model import (
    ABSENT,
    FOREVER,
    PRESENT,
    FoundKeyring,
    WantedKeyring,
    described,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.parse import parse_keyring, parse_permissions

MAKE, PERMIT, EXPIRE, LINK, UNLINK = "make", "set permissions", "set the timeout", "link", "unlink"  # actions


def wanted_keyring(params: Mapping[str, Any]) -> WantedKeyring:
    """One keyring of the module's parameters.

    :raises RootOfTrustError: if it can never be.
    """
    path, state, timeout = params["path"], params["state"], params["timeout"]
    dummy, names = parse_keyring(path)
    if state == ABSENT and not names:
        raise RootOfTrustError(f"The keyring {path} cannot be absent: it is in no keyring that is named.", "Name it from where it is.")
    if timeout is not None and not 0 <= timeout < 2**31:
        raise RootOfTrustError(f"The keyring {path}: the timeout {timeout} cannot be.", "Give seconds, or 0.")
    if timeout and not names:
        raise RootOfTrustError(f"The keyring {path} is not this module's to expire.", "Give a timeout to a keyring in it.")
    for link in params["links"]:
        parse_keyring(link)
    return WantedKeyring(path, state, parse_permissions(params["permissions"]), timeout, tuple(params["links"]), params["drop_keys"])


def plan_keyrings(found: Sequence[FoundKeyring]) -> list[Step]:
    """The steps for all the keyrings, in the order of the list.

    :raises RootOfTrustError: if one cannot be done, or is there twice.
    """
    paths = [one.wanted.path for one in found]
    for path in paths:
        if paths.count(path) > 1:
            raise RootOfTrustError(f"The keyring {path} is asked for more than once.", "Leave one.")
    steps: list[Step] = []
    coming: set[str] = set()  # paths that will be there when later ones are linked
    for one in found:
        if one.wanted.state == PRESENT:
            steps += _plan_present(one, coming)
            names = one.wanted.path.split("/")
            coming.update("/".join(names[:number]) for number in range(1, len(names) + 1))
        else:
            steps += _plan_absent(one)
    return steps


def _plan_present(one: FoundKeyring, coming: Collection[str]) -> list[Step]:
    wanted, key = one.wanted, one.key
    mask = None if wanted.permissions is None else f"{wanted.permissions:08x}"
    for place in one.links:
        if place.missing and place.path not in coming:
            raise RootOfTrustError(f"{wanted.path} is to be linked into {place.path}, which is not there.", "Have that present first.")
    steps = []
    if key is None:
        after: dict[str, Any] = {"state": PRESENT}
        after.update({"permissions": mask} if mask is not None else {})
        after.update({"expires": f"{wanted.timeout} s"} if wanted.timeout else {})
        steps.append(Step(wanted.path, MAKE, f"Make the keyring {wanted.path}.", {"state": ABSENT}, after, one))
    else:
        if wanted.permissions is not None and wanted.permissions != key.permissions:
            before = {"permissions": f"{key.permissions:08x}"}
            steps.append(
                Step(wanted.path, PERMIT, f"Give {wanted.path} the permissions {mask}.", before, {"permissions": mask}, (one, None))
            )
        if wanted.timeout is not None and bool(wanted.timeout) != (key.expires not in ("", FOREVER)):
            when = f"in {wanted.timeout} s" if wanted.timeout else "no more"
            changed = {"expires": f"{wanted.timeout} s" if wanted.timeout else FOREVER}
            expires = {"expires": key.expires or FOREVER}
            steps.append(Step(wanted.path, EXPIRE, f"Let {wanted.path} expire {when}.", expires, changed, (one, None)))
    linked = list(one.linked)
    for place in one.links:
        if place.path not in linked:
            more = [*linked, place.path]
            links, then = {"links": sorted(linked)}, {"links": sorted(more)}
            steps.append(Step(wanted.path, LINK, f"Link {wanted.path} into {place.path}.", links, then, (one, place)))
            linked = more
    return steps


def _plan_absent(one: FoundKeyring) -> list[Step]:
    wanted = one.wanted
    if one.key is None:
        return []
    held = [f"{key.type}:{key.description}" for key in one.keys]
    if held and not wanted.drop_keys:
        raise RootOfTrustError(
            f"The keyring {wanted.path} has {', '.join(held)} in it.",
            "Take them away first, or set drop_keys: true to have them go with it.",
        )
    lost = f" with {', '.join(held)}" if held else ""
    before = {"state": PRESENT, "keys": held}
    return [Step(wanted.path, UNLINK, f"Take away the keyring {wanted.path}{lost}.", before, {"state": ABSENT, "keys": []}, (one, None))]


def report_keyrings(found: Sequence[FoundKeyring], to_come: Sequence[Step]) -> dict[str, Any]:
    """The result of kernel_keyring: what holds, after the steps to come."""
    told, warnings = [], []
    for one in found:
        wanted = one.wanted
        will = {name: value for step in to_come if step.subject == wanted.path for name, value in step.after.items()}
        state = will.get("state", PRESENT if one.key is not None else ABSENT)
        now = described(one.key) if one.key is not None and state == PRESENT else {}
        told.append(
            {
                "path": wanted.path,
                "state": state,
                "serial": now.get("serial"),
                "permissions": will.get("permissions", now.get("permissions")) if state == PRESENT else None,
                "expires": will.get("expires", now.get("expires")) if state == PRESENT else None,
                "links": will.get("links", sorted(one.linked)) if state == PRESENT else [],
                "keys": will.get("keys", [f"{key.type}:{key.description}" for key in one.keys]),
            }
        )
        if state == PRESENT and wanted.path.startswith("@s/"):
            warnings.append(f"{wanted.path}: the session keyring is that of Ansible's connection, and goes when that is closed.")
    return {"keyrings": told, "warnings": warnings}
