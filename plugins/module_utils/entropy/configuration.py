# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files under /etc, /var and /boot that say how the pool is fed."""

from __future__ import annotations

import glob
import os
from typing import Iterable

from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy import parse
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.model import SeedFile, Setting, Unit
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.pseudofile import read_text

RNGD_FILES = ("/etc/default/rng-tools-debian", "/etc/default/rng-tools", "/etc/sysconfig/rngd", "/etc/conf.d/rngd")
SYSCTL_FILES = ("/etc/sysctl.conf", "/etc/sysctl.d/*.conf", "/usr/local/lib/sysctl.d/*.conf")
DPKG_LISTS = "var/lib/dpkg/info"
RNGD_PACKAGES = ("rng-tools5", "rng-tools-debian", "rng-tools")
SYSTEMD_SEED = "/var/lib/systemd/random-seed"
BOOT_SEEDS = ("/boot/efi/loader/random-seed", "/efi/loader/random-seed", "/boot/loader/random-seed")


def rngd_flavour(root: str = "/") -> str:
    """Which of the programs called rngd the package manager knows; rng-tools-6 where it is not dpkg."""
    paths = {package: os.path.join(root, DPKG_LISTS, f"{package}.list") for package in RNGD_PACKAGES}
    return parse.flavour({package: read_text(path) or "" for package, path in paths.items()})


def rngd_devices(flavour: str, root: str = "/") -> list[Setting]:
    """The devices that rngd's configuration files tell it to read."""
    return parse.configured_sources(_settings(RNGD_FILES, root), flavour)


def obsolete_sysctls(root: str = "/") -> tuple[Setting, ...]:
    return parse.obsolete_sysctls(_settings(SYSCTL_FILES, root))


def seed_files(units: Iterable[Unit], root: str = "/") -> tuple[SeedFile, ...]:
    """systemd's, present or not, and the boot loader's where there is one."""
    found = [parse.seed_file(SYSTEMD_SEED, _exists(root, SYSTEMD_SEED), units)]
    found += [SeedFile(path=path, kind="bootloader", present=True, credit="kernel") for path in BOOT_SEEDS if _exists(root, path)]
    return tuple(found)


def _exists(root: str, path: str) -> bool:
    return os.path.exists(os.path.join(root, path.lstrip("/")))


def _settings(patterns: Iterable[str], root: str) -> list[Setting]:
    found: list[Setting] = []
    for pattern in patterns:
        for path in sorted(glob.glob(os.path.join(root, pattern.lstrip("/")))):
            shown = "/" + os.path.relpath(path, root)
            found += parse.settings(shown, read_text(path) or "")
    return found
