# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The whole state of a host, put together from its interfaces; takes some milliseconds and changes nothing."""

from __future__ import annotations

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy import (
    configuration,
    parse,
    proc,
    random,
    sysfs,
    systemd,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.hw_random import HwRandom
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.model import Host, Unit


class HostReader:
    """Reads the host.

    :param runner: starts systemctl and systemd-detect-virt; they are asked once and their answer is kept.
    :param root: where the host's file tree begins.
    """

    def __init__(self, runner: Runner, root: str = "/") -> None:
        self._runner = runner
        self._root = root
        self._units: tuple[Unit, ...] | None = None
        self._hypervisor: str | None = None

    def read(self) -> Host:
        """The host as it is now.

        :raises RootOfTrustError: if /proc does not show the pool.
        """
        root = self._root
        pool = random.pool(root)
        running = list(proc.processes(root))
        hwrng = HwRandom(root).state(fed=any(process.name == parse.KERNEL_THREAD and process.is_kernel_thread for process in running))
        units = self._known_units()
        flavour = configuration.rngd_flavour(root)
        return Host(
            kernel=proc.release(root),
            pool=pool,
            hwrng=hwrng,
            feeders=parse.feeders(running, units, hwrng, flavour, random.is_pool_device),
            cpu=parse.cpu(proc.cpuinfo(root)),
            tpm=sysfs.tpm(hwrng, root),
            virtualization=self._virtualization(),
            container=proc.container(root),
            fips=proc.fips(root),
            seed_files=configuration.seed_files(units, root),
            sysctls=configuration.obsolete_sysctls(root),
            fake_settings=tuple(line for line in configuration.rngd_devices(flavour, root) if random.is_pool_device(line.value)),
        )

    def _known_units(self) -> tuple[Unit, ...]:
        if self._units is None:
            self._units = systemd.units(self._runner, self._root)
        return self._units

    def _virtualization(self) -> str:
        if self._hypervisor is None:
            self._hypervisor = systemd.hypervisor(self._runner)
        if self._hypervisor is None:
            self._hypervisor = parse.virtualization(proc.cpuinfo(self._root), sysfs.hypervisor_type(self._root), sysfs.dmi(self._root))
        return self._hypervisor
