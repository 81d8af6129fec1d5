# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Debian releases the lab makes machines of: their packages, and what does not work in them and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lab.errors import LabError

# Installed everywhere. Daemons that a role is to install are not here: they are in `_OFFLINE`.
_BASE = (
    "ca-certificates",
    "cryptsetup",
    "dbus",
    "e2fsprogs",
    "fdisk",
    "gnupg",
    "iproute2",
    "keyutils",
    "kmod",
    "less",
    "openssh-client",
    "openssh-server",
    "procps",
    "python3",
    "python3-apt",
    "sudo",
    "systemd",
    "systemd-sysv",
    "tpm2-tools",
    "udev",
    "usbutils",
    "xxd",
)

# Installable without a network, from the repository in the image.
_OFFLINE = (
    "btrfs-progs",
    "busybox",
    "clevis",
    "clevis-luks",
    "clevis-systemd",
    "cryptsetup-initramfs",
    "gnutls-bin",
    "haveged",
    "initramfs-tools",
    "jitterentropy-rngd",
    "libfido2-1",
    "lvm2",
    "mdadm",
    "opencryptoki",
    "opensc",
    "opensc-pkcs11",
    "p11-kit",
    "parted",
    "pcscd",
    "pollinate",
    "python3-cryptography",
    "rng-tools-debian",
    "scdaemon",
    "softhsm2",
    "strace",
    "tang",
    "tpm-tools",
    "vsmartcard-vpcd",
    "xfsprogs",
)

_REFUSES_CONTAINER = "its unit has ConditionVirtualization=!container in this release: systemd skips it in a container"


@dataclass(frozen=True)
class Release:
    """One Debian release.

    ``quirks`` maps what does not work, as ``where:package``, to the reason, which a test prints when it skips.
    ``kernel_packages`` come on top in the QEMU image only.
    """

    key: str
    suite: str
    aliases: tuple[str, ...]
    security: bool
    packages: tuple[str, ...]
    offline_packages: tuple[str, ...]
    kernel_packages: tuple[str, ...] = ("linux-image-amd64", "initramfs-tools", "busybox", "zstd")
    quirks: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The name for people: ``Debian 12``."""
        return f"Debian {self.key}"

    @property
    def suites(self) -> tuple[str, ...]:
        """The suites of the archive that packages come from: the release, then its security updates if any."""
        return (self.suite, f"{self.suite}-security") if self.security else (self.suite,)


RELEASES: dict[str, Release] = {
    release.key: release
    for release in (
        Release(
            key="11",
            suite="bullseye",
            aliases=(),
            # Its support has ended: mirrors list packages of its security suite that they do not have any more.
            security=False,
            packages=(*_BASE, "libtss2-tcti-device0"),
            offline_packages=(*_OFFLINE, "rng-tools5"),
        ),
        Release(
            key="12",
            suite="bookworm",
            aliases=(),
            security=True,
            packages=(*_BASE, "libtss2-rc0", "libtss2-tcti-device0"),
            offline_packages=(*_OFFLINE, "rng-tools5", "swtpm", "swtpm-tools", "usbip"),
        ),
        Release(
            key="13",
            suite="trixie",
            aliases=(),
            security=True,
            packages=(*_BASE, "libtss2-rc0t64", "libtss2-tcti-device0t64", "systemd-cryptsetup"),
            offline_packages=(*_OFFLINE, "dracut", "rng-tools5", "swtpm", "swtpm-tools", "usbip"),
            quirks={
                "container:haveged": _REFUSES_CONTAINER,
                "container:rng-tools-debian": _REFUSES_CONTAINER,
            },
        ),
        Release(
            key="forky",
            suite="forky",
            aliases=("14",),
            security=False,
            packages=(*_BASE, "libtss2-rc0t64", "libtss2-tcti-device0t64", "systemd-cryptsetup"),
            offline_packages=(*_OFFLINE, "rng-tools", "swtpm", "swtpm-tools", "usbip"),
            quirks={
                "container:haveged": _REFUSES_CONTAINER,
                "container:rng-tools": _REFUSES_CONTAINER,
                "container:rng-tools-debian": _REFUSES_CONTAINER,
            },
        ),
    )
}


def get(name: str) -> Release:
    """Return the release called ``name``: 12, bookworm, debian-12, debian12, debian/bookworm …"""
    wanted = name.strip().lower().removeprefix("debian").lstrip("-/:_ ")
    for release in RELEASES.values():
        if wanted in (release.key, release.suite, *release.aliases):
            return release
    raise LabError(f"release {name!r}: unknown to the lab: use one of {', '.join(RELEASES)}")
