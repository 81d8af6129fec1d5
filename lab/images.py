# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Images that machines boot from. Nobody writes to them: a machine writes to an overlay and calls `cache.pin`.

The network of a machine is in its image, by a unit that runs ``ip`` early in the boot:

* UML: ``vec0`` (or ``eth0``) is 10.90.0.2/30 with the gateway 10.90.0.1, the same in each machine, because each
  machine has a network namespace of its own;
* QEMU: ``eth0`` is 10.0.2.15/24 with the gateway 10.0.2.2, as QEMU's user network has it.

Interfaces keep the kernel's names: boot with ``net.ifnames=0``. The root device is ``/dev/ubda`` or ``/dev/vda``,
mounted ``rw``.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from lab import apt, cache, command, docker, host, initrd, keys, progress, rootfs, uml_kernel
from lab.releases import Release

# Room for what a test installs and writes, in MiB; the files are sparse.
_FREE = 1024

UML_ADDRESS = "10.90.0.2"
UML_GATEWAY = "10.90.0.1"
UML_PREFIX = 30
QEMU_ADDRESS = "10.0.2.15"

_NEEDLESS_DRIVERS = (
    "drivers/ata",
    "drivers/gpu",
    "drivers/iio",
    "drivers/infiniband",
    "drivers/isdn",
    "drivers/media",
    "drivers/net/ethernet",
    "drivers/net/wireless",
    "drivers/staging",
    "sound",
)

_NETWORK_UNIT = """\
[Unit]
Description=Address of this machine in the lab
DefaultDependencies=no
After=systemd-remount-fs.service
Before=network.target shutdown.target
Wants=network.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'cd /sys/class/net; for i in vec0 eth0; do [ -e $$i ] && break; done; \
ip link set lo up; ip link set $$i up && ip addr add {address} dev $$i && ip route add default via {gateway}'

[Install]
WantedBy=sysinit.target
"""

# Debian's User Mode Linux kernel has CONFIG_ACORN_PARTITION_POWERTEC, for which a sum of one byte makes a partition table: it sees one in 1
# of 256 LUKS headers on a whole disk, and udev would give the links of the disk to the first of the partitions. What blkid knows no
# table for gets no links, and goes away.
_PARTITION_RULES_FILE = "usr/lib/udev/rules.d/59-lab-partitions.rules"
_PARTITION_RULES = """\
SUBSYSTEM!="block", GOTO="lab_partitions_end"
ENV{DEVTYPE}!="partition", GOTO="lab_partitions_end"
ACTION=="remove", GOTO="lab_partitions_end"
IMPORT{parent}="ID_PART_TABLE_TYPE"
ENV{ID_PART_TABLE_TYPE}=="?*", GOTO="lab_partitions_end"
ENV{UDEV_DISABLE_PERSISTENT_STORAGE_RULES_FLAG}="1", ENV{SYSTEMD_READY}="0"
RUN+="/usr/bin/partx --delete --nr $attr{partition} /dev/$parent"
LABEL="lab_partitions_end"
"""


@dataclass(frozen=True)
class UmlImage:
    """``root``: raw ext4 file system. Its time of change matters to overlays: do not touch it."""

    root: Path


@dataclass(frozen=True)
class QemuImage:
    """``disk``: qcow2 with one ext4 file system and no partitions; QEMU gets ``kernel`` and ``initrd`` directly."""

    disk: Path
    kernel: Path
    initrd: Path


def ssh_key() -> Path:
    """The private key that logs in as root; its public half is beside it with the suffix ``.pub``."""
    return keys.ensure().private


def known_host_lines(release: Release) -> list[str]:
    """The SSH host keys in the images of ``release``, as ``type base64``: put the name of the host before each."""
    return rootfs.known_hosts(release)


def uml_image(release: Release, kernel: uml_kernel.UmlKernel | None = None) -> UmlImage:
    """The image for UML machines, with the modules of ``kernel`` (default: Debian's)."""
    base = rootfs.ensure(release)
    chosen = kernel or uml_kernel.ensure()
    recipe = {"base": base.recipe, "kernel": str(chosen.modules), "code": cache.code_of(sys.modules[__name__])}
    name = f"{release.key}-{chosen.version}"
    return UmlImage(cache.entry("uml", name, recipe, lambda new: _build_uml(base, chosen, new)) / "root.img")


def _build_uml(base: rootfs.RootFs, kernel: uml_kernel.UmlKernel, directory: Path) -> None:
    with progress.step(f"{base.release.title}: UML image"), tempfile.TemporaryDirectory(dir=directory) as name:
        root = Path(name) / "root"
        rootfs.copy(base, root)
        rootfs.write(root, "etc/fstab", "/dev/ubda / ext4 rw,noatime 0 0\n")
        rootfs.write(root, _PARTITION_RULES_FILE, _PARTITION_RULES)
        _add_network(root, f"{UML_ADDRESS}/{UML_PREFIX}", UML_GATEWAY)
        modules = root / "usr/lib/modules"
        modules.mkdir(parents=True, exist_ok=True)
        command.run(["cp", "-a", "--reflink=auto", kernel.modules, modules])
        _make_ext4(root, directory / "root.img")


def qemu_image(release: Release) -> QemuImage:
    """The image for QEMU machines: the UML image's contents with the release's own kernel instead of UML's."""
    base = rootfs.ensure(release)
    recipe = {
        "base": base.recipe,
        "kernel": release.kernel_packages,
        "code": cache.code_of(sys.modules[__name__], initrd),
    }
    directory = cache.entry("qemu", release.key, recipe, lambda new: _build_qemu(base, new))
    return QemuImage(directory / "disk.qcow2", directory / "vmlinuz", directory / "initrd")


def _build_qemu(base: rootfs.RootFs, directory: Path) -> None:
    host.require("qemu-img", "cpio", "depmod", "xz", "zstd")
    with progress.step(f"{base.release.title}: QEMU image"), tempfile.TemporaryDirectory(dir=directory) as name:
        work = Path(name)
        root = work / "root"
        rootfs.copy(base, root)
        rootfs.write(root, "etc/fstab", "/dev/vda / ext4 rw,noatime 0 0\n")
        _add_network(root, f"{QEMU_ADDRESS}/24", "10.0.2.2")
        busybox = _install_kernel(base.release, root, work)
        version = next((root / "usr/lib/modules").iterdir()).name
        _slim_modules(root, version)
        initrd.make(root, version, busybox, directory / "initrd")
        (directory / "vmlinuz").write_bytes((root / "boot" / f"vmlinuz-{version}").read_bytes())
        _make_ext4(root, work / "disk.img")
        command.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", work / "disk.img", directory / "disk.qcow2"])


def _install_kernel(release: Release, root: Path, work: Path) -> Path:
    """Install the kernel's packages without making Debian's initrd, which takes longer than all the rest.

    Returns the path of a static busybox of the same release.
    """
    configuration = "etc/initramfs-tools/update-initramfs.conf"
    rootfs.write(root, configuration, "update_initramfs=no\n")
    with apt.archive(release.suites, status=root / "var/lib/dpkg/status") as archive:
        archive.download(release.kernel_packages, root / "debs")
        static = archive.download_only_these(["busybox-static"], work / "debs")[0]
    command.run(
        ["chroot", root, "sh", "-c", "apt-get -qq -y install /debs/*.deb"],
        env={"DEBIAN_FRONTEND": "noninteractive", "INITRD": "No"},
    )
    shutil.rmtree(root / "debs")
    rootfs.write(root, configuration, "update_initramfs=yes\nbackup_initramfs=no\n")
    command.run(["dpkg-deb", "--extract", static, work])
    return next(path for path in (work / "bin/busybox", work / "usr/bin/busybox") if path.exists())


def _slim_modules(root: Path, version: str) -> None:
    """Leave out the drivers of hardware no machine of the lab has, and uncompress the rest for a quicker boot."""
    kernel = root / "usr/lib/modules" / version / "kernel"
    for needless in _NEEDLESS_DRIVERS:
        shutil.rmtree(kernel / needless, ignore_errors=True)
    for suffix, uncompress in ((".xz", ["xz", "-d"]), (".zst", ["zstd", "-q", "-d", "--rm"])):
        compressed = sorted(kernel.rglob(f"*.ko{suffix}"))
        if compressed:
            command.run([*uncompress, *compressed])
    command.run(["depmod", "--basedir", root, version])


def container_image(release: Release) -> str:
    """The tag of the container image; it is imported first when the Docker daemon lacks it or has an older one."""
    base = rootfs.ensure(release)
    recipe = cache.digest({"base": base.recipe, "code": cache.code_of(sys.modules[__name__], docker)})
    docker.ensure()
    name = docker.tag(release)
    if docker.recipe_of(name) != recipe:
        step = progress.step(f"{release.title}: container image")
        with step, tempfile.TemporaryDirectory(dir=cache.root()) as work:
            root = Path(work) / "root"
            rootfs.copy(base, root)
            docker.add_image(root, release, recipe)
    return name


def _add_network(root: Path, address: str, gateway: str) -> None:
    unit = "etc/systemd/system/lab-network.service"
    rootfs.write(root, unit, _NETWORK_UNIT.format(address=address, gateway=gateway))
    wants = root / "etc/systemd/system/sysinit.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / "lab-network.service").symlink_to(f"/{unit}")


def _make_ext4(root: Path, image: Path) -> None:
    host.require("mke2fs")
    used = int(command.run(["du", "-s", "--block-size=1M", root]).split()[0])
    options = ["-q", "-F", "-t", "ext4", "-L", "root", "-E", "lazy_itable_init=1,lazy_journal_init=1"]
    # No metadata checksums: e2fsprogs of the oldest release and of the host then agree on the features.
    words: list[str | Path] = ["mke2fs", *options, "-O", "^metadata_csum", "-d", root, image, f"{used + _FREE}M"]
    # An image is older than its machines by more than the seconds in which the lab can boot one of it: so are its files.
    command.run(words, env={"E2FSPROGS_FAKE_TIME": str(int(time.time()) - rootfs.AGE)})
