# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""/proc: the processes that may feed the pool, the processor, the kernel's release, FIPS mode, and what marks a container."""

from __future__ import annotations

import os
from typing import Iterator

from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy import parse
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.model import Process
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.pseudofile import read_text


def processes(root: str = "/") -> Iterator[Process]:
    """The running processes whose name is one of the known daemons' or of the kernel's thread."""
    wanted = {*parse.DAEMONS, parse.KERNEL_THREAD}
    folder = os.path.join(root, "proc")
    for entry in os.listdir(folder):
        name = read_text(os.path.join(folder, entry, "comm")) if entry.isdigit() else None
        if name not in wanted:
            continue
        argv = read_text(os.path.join(folder, entry, "cmdline"))
        if argv is not None:
            yield Process(pid=int(entry), name=name, argv=tuple(word for word in argv.split("\0") if word))


def cpuinfo(root: str = "/") -> str:
    return read_text(os.path.join(root, "proc/cpuinfo")) or ""


def release(root: str = "/") -> str:
    return read_text(os.path.join(root, "proc/sys/kernel/osrelease")) or ""


def fips(root: str = "/") -> bool:
    return read_text(os.path.join(root, "proc/sys/crypto/fips_enabled")) == "1"


def container(root: str = "/") -> str:
    """The name of the container manager, or empty."""
    return parse.container(
        read_text(os.path.join(root, "run/systemd/container")),
        read_text(os.path.join(root, "proc/1/environ")) or "",
        [mark for mark in parse.CONTAINER_MARKS if os.path.exists(os.path.join(root, mark.lstrip("/")))],
    )
