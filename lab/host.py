# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs the lab needs from this host, and the Debian packages they are in."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence

from lab import command, progress, state
from lab.errors import LabError

_PACKAGE_OF = {
    "apt-ftparchive": "apt-utils",
    "apt-get": "apt",
    "bc": "bc",
    "bison": "bison",
    "cpio": "cpio",
    "depmod": "kmod",
    "docker": "docker.io",
    "dockerd": "docker.io",
    "dpkg-deb": "dpkg",
    "flex": "flex",
    "gcc": "gcc",
    "ip": "iproute2",
    "make": "make",
    "mke2fs": "e2fsprogs",
    "mmdebstrap": "mmdebstrap",
    "qemu-img": "qemu-utils",
    "qemu-system-x86_64": "qemu-system-x86",
    "setarch": "util-linux",
    "socat": "socat",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "swtpm": "swtpm",
    "swtpm_setup": "swtpm-tools",
    "taskset": "util-linux",
    "xz": "xz-utils",
    "zstd": "zstd",
}
_SYSTEM_PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"


def find(program: str) -> str | None:
    """The path of ``program``, looked for in the system directories too, as root's PATH may lack them."""
    return shutil.which(program, path=_SYSTEM_PATH)


def missing(*programs: str) -> list[str]:
    """The packages of those ``programs`` that this host lacks, sorted."""
    return sorted({_PACKAGE_OF[program] for program in programs if find(program) is None})


def require(*programs: str) -> None:
    """Make sure that ``programs`` are installed: install them when root, else say how to."""
    if not missing(*programs):
        return
    # Two releases are made at once, and want the same programs on a host that is new.
    with state.lock("_install"):
        packages = missing(*programs)
        if packages:
            _install(packages)
    still = missing(*programs)
    if still:
        raise LabError(f"{', '.join(still)}: installed, yet their programs are not found: look at the PATH of this host")


def install(packages: Sequence[str]) -> None:
    """Install Debian packages when root, else say how to."""
    with state.lock("_install"):
        _install(packages)


def _install(packages: Sequence[str]) -> None:
    words = ["install", "-y", "-qq", "--no-install-recommends", *packages]
    if os.geteuid() != 0 or find("apt-get") is None:
        raise LabError(f"{', '.join(packages)}: not installed on this host: run: sudo apt-get {' '.join(words)}")
    with progress.step(f"installing {', '.join(packages)}"):
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        # It waits (seconds) for an apt of somebody else's.
        apt = ["apt-get", "-o", "DPkg::Lock::Timeout=300"]
        try:
            command.run([*apt, *words], env=quiet)
        except LabError:
            # The usual reason is package lists that are old or were never fetched.
            command.run(["apt-get", "-qq", "update"], env=quiet)
            command.run([*apt, *words], env=quiet)
