# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One root file system per release, which containers, UML and QEMU machines are all derived from.

It has what every machine needs and, in ``/opt/repo``, a package repository so that ``apt install`` of the daemons that
roles manage works without a network. Two things are on purpose: the SSH host keys are part of the image (its machines
are clones, and their first connection can be strict), and ``/etc/machine-id`` is empty (each machine gets its own at
first boot).
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import apt, cache, command, host, keys, progress
from lab.releases import Release

# Seconds by which what is in an image is made older than it is. A machine's first boot may follow the making of its image
# within seconds; that the host keys are the image's is told by their age.
AGE = 3600

_EXCLUDED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")

# Installed systems have /bin, /lib … as links into /usr; the packages of the oldest release alone do not make them.
_MERGE_USR = 'for d in bin sbin lib lib64; do mkdir -p "$1/usr/$d" && ln -s "usr/$d" "$1/$d"; done'

# Not needed in a machine that lives for minutes; each costs boot time, which is ten times longer under emulation.
_MASKED = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty@tty1.service",
    "kmod-static-nodes.service",
    "ldconfig.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "modprobe@fuse.service",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-binfmt.service",
    "systemd-firstboot.service",
    "systemd-growfs-root.service",
    "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service",
    "systemd-logind.service",
    "systemd-logind-varlink.socket",
    "systemd-machine-id-commit.service",
    "systemd-networkd-wait-online.service",
    "systemd-pcrmachine.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-pcrphase.service",
    "systemd-pstore.service",
    "systemd-sysusers.service",
    "systemd-timesyncd.service",
    "systemd-tpm2-setup-early.service",
    "systemd-tpm2-setup.service",
    "systemd-udev-load-credentials.service",
    "systemd-update-utmp.service",
)

_FILES = {
    "etc/fstab": "",
    "etc/machine-id": "",
    "etc/resolv.conf": "",
    "etc/hostname": "lab\n",
    "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 lab\n::1 localhost ip6-localhost\n",
    # Releases from 13 on make the second a link to the first at boot.
    "etc/locale.conf": "LANG=C.UTF-8\n",
    "etc/default/locale": "LANG=C.UTF-8\n",
    "etc/apt/sources.list": "deb [trusted=yes] file:/opt/repo ./\n",
    "etc/ssh/sshd_config.d/00-lab.conf": (
        "PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUseDNS no\n"
    ),
}

# Made while packages were installed, and the same in every machine: a machine must make its own.
_REMOVED = ("var/lib/systemd/random-seed", "usr/sbin/policy-rc.d", "var/lib/dbus/machine-id", "var/log/bootstrap.log")


@dataclass(frozen=True)
class RootFs:
    """A root file system as a directory tree, owned by the cache: copy it, never write to it."""

    release: Release
    path: Path
    recipe: str


def ensure(release: Release) -> RootFs:
    """Return the root file system of ``release``; build it first when the cache has none (about a minute)."""
    recipe: dict[str, object] = {
        "release": dataclasses.asdict(release) | {"kernel_packages": (), "quirks": {}},
        "keys": [keys.ensure().public, *known_hosts(release)],
        "code": cache.code_of(sys.modules[__name__], apt),
    }
    directory = cache.entry("rootfs", release.key, recipe, lambda new: _build(release, new / "root"))
    return RootFs(release, directory / "root", directory.name)


def known_hosts(release: Release) -> list[str]:
    """The public SSH host keys in everything made of ``release``, as ``type base64``."""
    files = sorted(keys.host_keys(release.key).glob("*.pub"))
    return [" ".join(file.read_text(encoding="utf-8").split()[:2]) for file in files]


def _build(release: Release, root: Path) -> None:
    host.require("mmdebstrap", "apt-ftparchive")
    with progress.step(f"{release.title}: root file system"):
        _install(release, root)
        _add_repository(release, root)
        _configure(release, root)


def _install(release: Release, root: Path) -> None:
    command.run(
        [
            "mmdebstrap",
            "--quiet",
            "--mode=root",
            "--variant=minbase",
            "--skip=check/qemu",
            f"--setup-hook={_MERGE_USR}",
            f"--include={','.join(release.packages)}",
            *(f'--aptopt={key} "{value}"' for key, value in apt.OPTIONS.items() if not key.startswith("APT::Sandbox")),
            "--dpkgopt=force-unsafe-io",
            "--dpkgopt=force-confold",
            *(f"--dpkgopt=path-exclude={path}" for path in _EXCLUDED),
            release.suite,
            root,
            "-",
        ],
        stdin="\n".join([*apt.mirror().lines(release.suites), ""]),
    )


def _add_repository(release: Release, root: Path) -> None:
    """Fill ``/opt/repo``. Packages are fetched one by one, because some of them exclude each other."""
    repository = root / "opt/repo"
    with apt.archive(release.suites, status=root / "var/lib/dpkg/status") as archive:
        for package in release.offline_packages:
            archive.download([package], repository)
    for name, what in (("Packages", "packages"), ("Release", "release")):
        index = command.run(["sh", "-c", 'cd "$0" && exec apt-ftparchive "$1" .', repository, what])
        (repository / name).write_text(index, encoding="utf-8")


def _configure(release: Release, root: Path) -> None:
    for old in (root / "etc/apt/sources.list.d").glob("*"):
        old.unlink()
    for removed in _REMOVED:
        (root / removed).unlink(missing_ok=True)
    for path, content in _FILES.items():
        write(root, path, content)
    (root / "var/lib/dbus").mkdir(parents=True, exist_ok=True)
    (root / "var/lib/dbus/machine-id").symlink_to("/etc/machine-id")
    mask(root, _MASKED)
    (root / "root/.ssh").mkdir(mode=0o700, exist_ok=True)
    write(root, "root/.ssh/authorized_keys", f"{keys.ensure().public}\n", mode=0o600)
    for old in (root / "etc/ssh").glob("ssh_host_*"):
        old.unlink()
    for key in keys.host_keys(release.key).iterdir():
        mode = 0o644 if key.suffix == ".pub" else 0o600
        write(root, f"etc/ssh/{key.name}", key.read_text(encoding="utf-8"), mode)
        os.utime(root / "etc/ssh" / key.name, (time.time() - AGE,) * 2)
    command.run(["chroot", root, "apt-get", "-qq", "update"])


def write(root: Path, path: str, content: str, mode: int = 0o644) -> None:
    """Write one file of a root file system, in place of whatever was there."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    target.write_text(content, encoding="utf-8")
    target.chmod(mode)


def mask(root: Path, units: Sequence[str]) -> None:
    """Mask systemd units: they neither start by themselves nor for others."""
    for unit in units:
        link = root / "etc/systemd/system" / unit
        link.unlink(missing_ok=True)
        link.symlink_to("/dev/null")


def copy(rootfs: RootFs, target: Path) -> None:
    """Copy the tree to ``target``, and keep the original for as long as the directory of ``target`` exists."""
    cache.pin(rootfs.path, target.parent)
    command.run(["cp", "-a", "--reflink=auto", rootfs.path, target])
