# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which volumes are opened, closed, or given other flags. Pure."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import Any, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError, certain
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import LUKS1, ActiveMapping, Device, Header, Holder, Mount
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_encryption import refuse_twin

OPEN, CLOSED = "open", "closed"  # states
OPEN_IT, CLOSE_IT, REFRESH, REOPEN = "open", "close", "refresh", "reopen"  # actions

# A flag as `cryptsetup status` has it, and the option that sets it
FLAGS = {
    "discards": "--allow-discards",
    "same_cpu_crypt": "--perf-same_cpu_crypt",
    "submit_from_crypt_cpus": "--perf-submit_from_crypt_cpus",
    "no_read_workqueue": "--perf-no_read_workqueue",
    "no_write_workqueue": "--perf-no_write_workqueue",
    # Not asked for by this module, but kept
    "high_priority": "--perf-high_priority",
    "no_journal": "--integrity-no-journal",
}
OPTIONS = {"discard": "discards", **{name: name for name in list(FLAGS)[1:5]}}  # the module's option → flag


@dataclass(frozen=True)
class WantedMapping:
    """A volume that should be open or closed.

    :param device: as it was asked for; None where only the name of what is to be closed is known.
    :param read_only: None is no opinion.
    :param flags: flag → whether it should be set; one that is not there is no opinion.
    :param persistent: the flags are kept in the header.
    """

    name: str
    device: str | None
    header: str | None
    state: str
    read_only: bool | None = None
    flags: tuple[tuple[str, bool], ...] = ()
    persistent: bool = False


@dataclass(frozen=True)
class MappedVolume:
    """A name under /dev/mapper, the volume that should be behind it, and what is.

    :param device: None where none was asked for.
    :param holder: the device mapper's device of this name.
    :param active: what cryptsetup tells of it; None where it is not open, or none of cryptsetup's.
    :param over: what lies on it.
    :param secret: looked for only where something is to be done, or to be verified.
    :param proven: whether the secret opens the header; None where that was not tried.
    """

    wanted: WantedMapping
    device: Device | None = None
    holder: Holder | None = None
    active: ActiveMapping | None = None
    over: tuple[Holder, ...] = ()
    mounts: tuple[Mount, ...] = ()
    swaps: tuple[str, ...] = ()
    secret: Secret | None = None
    proven: bool | None = None

    @property
    def uses(self) -> tuple[str, ...]:
        """In words, what the open volume is in use for."""
        known = (
            *(f"mounted at {mount.target}" for mount in self.mounts),
            *("in use as swap" for _swap in self.swaps),
            *(f"held by {holder.mapper or holder.name}" for holder in self.over),
        )
        if not known and self.active is not None and self.active.in_use:
            return ("open in a program, or mounted in another mount namespace",)
        return known


def wanted_mapping(params: Mapping[str, Any]) -> WantedMapping:
    """What luks_mapping is asked for.

    :raises RootOfTrustError: if the parameters do not go together.
    """
    name, device = params["name"], params["device"]
    if not name or "/" in name or name in (".", ".."):
        raise RootOfTrustError(f"{name!r} is no name under /dev/mapper.", "Correct name.")
    if params["state"] == OPEN and not device:
        raise RootOfTrustError(f"{name} is to be open, and no device is given.", "Give device.")
    if params["header"] is not None and not posixpath.isabs(params["header"]):
        raise RootOfTrustError(f"The header {params['header']} is not an absolute path.", "Give its whole path.")
    if params["passphrase"] is not None and params["key_file"] is not None:
        raise RootOfTrustError(f"{name}: both passphrase and key_file are given.", "Leave one.")
    return WantedMapping(
        name=name,
        device=device,
        header=params["header"],
        state=params["state"],
        read_only=params["read_only"],
        flags=tuple((flag, params[option]) for option, flag in OPTIONS.items() if params[option] is not None),
        persistent=params["persistent"],
    )


def header_flags(header: Header) -> set[str]:
    """The flags kept in a header, by the names that ``cryptsetup status`` has for them."""
    return {"discards" if flag == "allow-discards" else flag.replace("-", "_") for flag in header.flags}


def final_flags(volume: MappedVolume) -> set[str]:
    """The flags that the open volume should have: those it has, or gets from the header, but for those asked for."""
    header = volume.device.header if volume.device is not None else None
    flags = (set(volume.active.flags) if volume.active else set()) | (header_flags(header) if header else set())
    for flag, on in volume.wanted.flags:
        flags = flags | {flag} if on else flags - {flag}
    return flags


def is_due(volume: MappedVolume) -> bool:
    """Whether something is to be done that needs the secret."""
    return volume.wanted.state == OPEN and (volume.active is None or _differs(volume) or _turned(volume))


def _differs(volume: MappedVolume) -> bool:
    """Whether the flags are not as they are asked for."""
    active = certain(volume.active)
    header = volume.device.header if volume.device is not None else None
    if any((flag in active.flags) != on for flag, on in volume.wanted.flags):
        return True
    return volume.wanted.persistent and header is not None and header_flags(header) != final_flags(volume)


def _turned(volume: MappedVolume) -> bool:
    """Whether it can be written to, and should not, or the other way round."""
    asked = volume.wanted.read_only
    return asked is not None and volume.active is not None and volume.active.read_only != asked


def plan_mappings(volumes: Sequence[MappedVolume]) -> list[Step]:
    """The steps that are missing.

    :raises RootOfTrustError: if a name is asked for twice or belongs to something else, or what is to be closed is in use.
    """
    names = [volume.wanted.name for volume in volumes]
    for name in names:
        if names.count(name) > 1:
            raise RootOfTrustError(f"The mapping {name} is asked for more than once.", "Leave one.")
    return [step for volume in volumes for step in (_plan_open(volume) if volume.wanted.state == OPEN else _plan_closed(volume))]


def _plan_closed(volume: MappedVolume) -> list[Step]:
    name, holder = volume.wanted.name, volume.holder
    if holder is None:
        return []
    _refuse_strange(volume, holder)
    if volume.uses:
        raise RootOfTrustError(f"/dev/mapper/{name} is {', '.join(volume.uses)}.", "End that before it is closed.")
    return [Step(name, CLOSE_IT, f"Close {name}.", {"state": OPEN}, {"state": CLOSED}, volume)]


def _refuse_strange(volume: MappedVolume, holder: Holder) -> None:
    """A name that belongs to something else is left alone."""
    name, device = volume.wanted.name, volume.device
    if not holder.uuid.startswith("CRYPT-LUKS") or volume.active is None:
        raise RootOfTrustError(f"/dev/mapper/{name} is no LUKS volume ({holder.uuid or 'of an unknown kind'}).", "Choose another name.")
    if device is None:
        return
    ours = holder.name in [other.name for other in device.holders]
    if not ours or (device.header is not None and not holder.maps(device.header.uuid)):
        raise RootOfTrustError(
            f"/dev/mapper/{name} belongs to {volume.active.device}, and not to the LUKS volume of {device.path}.", "Correct name or device."
        )


def _plan_open(volume: MappedVolume) -> list[Step]:
    wanted, device = volume.wanted, certain(volume.device)
    header = device.header
    if header is None:
        what = f"but {device.signature}" if device.signature else "nor anything else that is known"
        raise RootOfTrustError(f"{wanted.header or device.path} has no LUKS header that can be used, {what}.", "Correct device or header.")
    _refuse_wrong(volume, device, header)
    if volume.proven is False:
        raise RootOfTrustError(f"The secret given does not open {device.path}.", "Correct passphrase or key_file.")
    if not is_due(volume):
        return []
    if volume.secret is None:
        raise RootOfTrustError(f"{wanted.name} is to be opened or changed, and no secret is given.", "Give passphrase or key_file.")
    if volume.active is None:
        return [_open_step(volume, device, header)]
    return _change_steps(volume, volume.active, header)


def _refuse_wrong(volume: MappedVolume, device: Device, header: Header) -> None:
    wanted = volume.wanted
    if volume.holder is not None:
        _refuse_strange(volume, volume.holder)
    elif device.twins:
        refuse_twin(device)
    elif device.mapping is not None:
        raise RootOfTrustError(f"{device.path} is open as {device.mapping}, not as {wanted.name}.", f"Close {device.mapping} first.")
    elif device.uses:
        raise RootOfTrustError(f"{device.path} is {', '.join(device.uses)}.", "Correct device.")
    if wanted.persistent and header.type == LUKS1:
        raise RootOfTrustError(f"{device.path} is LUKS1, whose header keeps no flags.", "Leave persistent out, or convert it.")
    kept = sorted(flag for flag, on in wanted.flags if not on and flag in header_flags(header))
    if kept and not wanted.persistent:
        raise RootOfTrustError(
            f"The header of {device.path} sets {', '.join(kept)} at each opening.", "Set persistent: true to change that."
        )


def _open_step(volume: MappedVolume, device: Device, header: Header) -> Step:
    wanted = volume.wanted
    if device.read_only and not wanted.read_only:
        raise RootOfTrustError(f"{device.path} is read-only.", "Set read_only: true.")
    sentence = f"Open {device.path} as {wanted.name}{', read-only' if wanted.read_only else ''}."
    if header.work is not None:
        sentence += f" It is in the middle of its {header.work.mode}: cryptsetup first repairs what a cut has left."
    flags = final_flags(volume)
    after = {"state": OPEN, "flags": sorted(flags), "read_only": bool(wanted.read_only)}
    before: dict[str, Any] = {"state": CLOSED, "flags": [], "read_only": None}
    if wanted.persistent and header_flags(header) != flags:
        before["persistent_flags"], after["persistent_flags"] = sorted(header_flags(header)), sorted(flags)
    return Step(wanted.name, OPEN_IT, sentence, before, after, volume)


def _change_steps(volume: MappedVolume, active: ActiveMapping, header: Header) -> list[Step]:
    wanted, flags = volume.wanted, final_flags(volume)
    if header.work is not None:
        raise RootOfTrustError(
            f"{wanted.name} is in the middle of its {header.work.mode}: cryptsetup changes nothing of it while that lasts.",
            "Wait for its end; luks_info tells how far it is.",
        )
    unknown = sorted(flags - set(FLAGS))
    if unknown:
        raise RootOfTrustError(f"{wanted.name} has flags that this module does not know: {', '.join(unknown)}.", "Change it by hand.")
    before: dict[str, Any] = {"flags": sorted(active.flags)}
    after: dict[str, Any] = {"flags": sorted(flags)}
    if wanted.persistent and header_flags(header) != flags:
        before["persistent_flags"], after["persistent_flags"] = sorted(header_flags(header)), sorted(flags)
    words = f"the flags {', '.join(sorted(flags))}" if flags else "no flags"
    if not _turned(volume):
        kept = ", and keep that in its header" if wanted.persistent else ""
        return [Step(wanted.name, REFRESH, f"Give {wanted.name} {words}{kept}, while it stays open.", before, after, volume)]
    way = "read-only" if wanted.read_only else "for writing"
    if volume.uses:
        raise RootOfTrustError(
            f"{wanted.name} can be opened {way} only after it is closed, and it is {', '.join(volume.uses)}.",
            "End that, or leave read_only out.",
        )
    before["read_only"], after["read_only"] = active.read_only, wanted.read_only
    return [Step(wanted.name, REOPEN, f"Close {wanted.name}, and open it {way}, with {words}.", before, after, volume)]


def mapping_options(volume: MappedVolume) -> list[str]:
    """Options of cryptsetup for the flags, the header's place, and keeping the flags; not for being read-only."""
    options = [FLAGS[flag] for flag in FLAGS if flag in final_flags(volume)]
    if volume.wanted.header is not None:
        options.append(f"--header={volume.wanted.header}")
    header = volume.device.header if volume.device is not None else None
    if volume.wanted.persistent and header is not None and header_flags(header) != final_flags(volume):
        options.append("--persistent")
    return options


def report_mappings(volumes: Sequence[MappedVolume], to_come: Sequence[Step]) -> dict[str, Any]:
    """The result of luks_mapping: what holds, after the steps to come."""
    told, warnings = [], []
    for volume in volumes:
        name, active, device = volume.wanted.name, volume.active, volume.device
        will = {field: value for step in to_come if step.subject == name for field, value in step.after.items()}
        is_open = will.get("state", OPEN if active is not None else CLOSED) == OPEN
        header = device.header if device is not None else None
        told.append(
            {
                "name": name,
                "state": OPEN if is_open else CLOSED,
                "path": f"/dev/mapper/{name}" if is_open else None,
                "device": device.path if device is not None else active.device if is_open and active is not None else None,
                "read_only": will.get("read_only", active.read_only if active else None) if is_open else None,
                "flags": will.get("flags", sorted(active.flags) if active else []) if is_open else [],
                "persistent_flags": will.get("persistent_flags", sorted(header_flags(header)) if header else []),
                "reencryption": header is not None and header.work is not None,
                "proven": volume.proven,
            }
        )
        if volume.wanted.state == CLOSED and device is not None and device.mapping not in (None, name):
            warnings.append(f"{device.path} is still open, as {device.mapping}.")
    return {"mappings": told, "warnings": warnings}
