# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""LUKS headers: made on devices that are free, and destroyed where they are named."""

from __future__ import annotations

import os
import uuid
from dataclasses import replace
from typing import Any, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError, certain
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.files import sync_file, sync_folder
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.block_device import claimed, forget_partitions, stays_claimed
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.cryptsetup import Cryptsetup, pbkdf_options
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.devices import Devices, encryption_claims
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.fill import RandomFill
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.lock import HeaderLocks
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import ABSENT
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_containers import (
    CHANGE,
    CLOSE,
    DESTROY,
    FILL,
    FORMAT,
    LUKS,
    UNFINISHED,
    WIPE,
    Container,
    Filled,
    WantedContainer,
    format_options,
    plan_containers,
    refuse_unless_free,
    wanted_container,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.secrets import read_secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.wipefs import Wipefs


class Containers:
    """:param runner: starts the programs."""

    def __init__(self, runner: Runner) -> None:
        self._cryptsetup = Cryptsetup(runner)
        self._devices = Devices(runner)
        self._wipefs = Wipefs(runner)
        self._fill = RandomFill(runner)
        self._filled: dict[str, Filled] = {}
        self._locks = HeaderLocks(patience=0.0)  # a device is filled for hours

    def read(self, asked: Sequence[Mapping[str, Any]]) -> list[Container]:
        """The devices, and what is asked of each. A secret is looked for only where a header is to be made."""
        found = []
        for params in asked:
            container = self._look(wanted_container(params))
            due = container.wanted.state != ABSENT and container.finished is None
            found.append(replace(container, secret=read_secret(params)) if due else container)
        return found

    def _look(self, wanted: WantedContainer) -> Container:
        device = self._devices.look(wanted.device, wanted.header)
        device = replace(device, claims=device.claims + encryption_claims(device.path))
        container = Container(wanted, device, fill=self._filled.get(device.path))
        if wanted.header is not None:
            folder = os.path.isdir(os.path.dirname(wanted.header))
            container = replace(container, header_exists=os.path.lexists(wanted.header), header_folder=folder)
        if wanted.state != ABSENT and container.finished is not None:
            return container
        # Something may be made or destroyed: each signature counts.
        parts = [f"/dev/{name}" for name in container.partitions]
        traces = [trace for path in (device.path, *parts) for trace in self._wipefs.traces(path)]
        return replace(
            container,
            traces=tuple(traces),
            claimed=stays_claimed(device.path) if not device.uses else claimed(device.path),
            filled=self._fill.done(device.path, device.size),
        )

    def apply(self, step: Step) -> None:
        """Do one step.

        :raises RootOfTrustError: if another run works on the device, or it is not what it was when the step was planned.
        """
        self._locks.hold_header(step.subject)
        if step.action == CLOSE:
            self._cryptsetup.close(step.detail)
        elif step.action == CHANGE:
            self._change(*step.detail)
        elif step.action == DESTROY:
            self._destroy(step.detail)
        else:
            now = self._look(step.detail.wanted)
            refuse_unless_free(now)
            if step.action == WIPE:
                self._wipe(now)
            elif step.action == FILL:
                self._filled[now.device.path] = self._fill.run(now.device.path, now.device.size)
            elif step.action == FORMAT:
                self._format(step.detail)

    def _wipe(self, now: Container) -> None:
        """Partitions first: without their table nobody knows what was in them."""
        traces = now.traces
        paths = list(dict.fromkeys(trace.path for trace in traces))
        for path in [*paths[1:], *paths[:1]] if len(paths) > 1 else paths:
            self._wipefs.wipe(path, [trace for trace in traces if trace.path == path])
        if now.partitions:
            forget_partitions(now.device.path)

    def _format(self, container: Container) -> None:
        """Under a UUID that says that it is not finished; a detached header also under another name.

        cryptsetup holds the lock too: it would go on, and write, should this process be killed.
        """
        wanted, path, secret = container.wanted, container.device.path, certain(container.secret)
        part = None if wanted.header is None else _part(wanted.header)
        if part is not None and os.path.lexists(part):
            os.unlink(part)
        place = [] if part is None else [f"--header={part}"]
        making = UNFINISHED + str(uuid.uuid4())[len(UNFINISHED) :]
        options = [*format_options(wanted), *pbkdf_options(wanted.pbkdf), f"--uuid={making}", *place]
        self._cryptsetup.format(path, secret, options, pass_fds=self._locks.descriptors)
        at = part or path
        if not self._cryptsetup.opens(at, secret):
            raise RootOfTrustError(f"The new LUKS header of {path} is not opened by its secret.", "Look for faults of the device.")
        sync_file(at)
        self._cryptsetup.set_uuid(at, wanted.uuid or str(uuid.uuid4()))
        sync_file(at)
        if part is not None and wanted.header is not None:
            os.rename(part, wanted.header)
            sync_folder(os.path.dirname(wanted.header))
        self._fill.forget(path)

    def _change(self, container: Container, field: str) -> None:
        wanted, at = container.wanted, container.header_path
        self._locks.hold_header(at)
        header = self._cryptsetup.header(at)
        if header is None:
            raise RootOfTrustError(f"{at} has no LUKS header any more.")
        if field == "uuid":
            self._cryptsetup.set_uuid(at, str(wanted.uuid))
        else:
            # One that is not given is emptied.
            now = {"label": header.label, "subsystem": header.subsystem, field: getattr(wanted, field)}
            self._cryptsetup.configure(at, *(f"--{name}={value}" for name, value in now.items()))
        sync_file(at)

    def _destroy(self, container: Container) -> None:
        self._locks.hold_header(container.header_path)
        now = self._look(container.wanted)
        plan_containers([now])  # refuses what is not as it was
        at, header = now.header_path, now.device.header
        if header is not None and header.keyslots:
            self._cryptsetup.erase(at)
            sync_file(at)
        if container.wanted.header is None:
            self._wipefs.wipe(at, [trace for trace in now.traces if trace.path == at and trace.type == LUKS])
        else:
            os.unlink(at)
            sync_folder(os.path.dirname(at))
        self._fill.forget(now.device.path)


def _part(header: str) -> str:
    return os.path.join(os.path.dirname(header), f".{os.path.basename(header)}.part")
