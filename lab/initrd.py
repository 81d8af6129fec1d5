# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A small initial RAM file system for QEMU machines: static busybox and the modules that the root disk needs.

It is not compressed, because inflating is what takes time under emulation. Debian's own initrd can be made inside the
machine.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from lab import command
from lab.errors import LabError

# virtio_net is loaded here so that the interface is there before the unit that gives it an address runs.
_MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "crc32c_generic", "ext4")
# Built in, under another name, in the newest kernels.
_OPTIONAL = frozenset({"crc32c_generic"})

_INIT = """\
#!/bin/busybox sh
b=/bin/busybox
$b mount -t devtmpfs devtmpfs /dev
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
# A variant of a module for another processor refuses to load; if one that is needed does, there is no disk below.
while read -r module; do $b insmod "/modules/$module" 2> /dev/null; done < /modules/order
disk=/dev/vda
for word in $($b cat /proc/cmdline); do case $word in root=/dev/*) disk=${word#root=} ;; esac; done
tries=0
until [ -b "$disk" ] || [ $tries -ge 500 ]; do $b usleep 20000; tries=$((tries + 1)); done
$b mount -t ext4 -o rw,noatime "$disk" /root || { echo "lab initrd: cannot mount $disk"; exec $b poweroff -f; }
for d in dev proc sys; do $b mount -o move /$d /root/$d; done
exec $b switch_root /root /sbin/init
"""


def make(root: Path, version: str, busybox: Path, initrd: Path) -> None:
    """Write ``initrd`` (cpio, newc) for the kernel ``version``, whose uncompressed modules are in the tree ``root``."""
    with tempfile.TemporaryDirectory(prefix="lab-initrd-") as name:
        tree = Path(name)
        for directory in ("bin", "modules", "dev", "proc", "sys", "root"):
            (tree / directory).mkdir()
        (tree / "bin/busybox").write_bytes(busybox.read_bytes())
        (tree / "init").write_text(_INIT, encoding="utf-8")
        for program in ("bin/busybox", "init"):
            (tree / program).chmod(0o755)
        modules = _in_order(root, version)
        for module in modules:
            (tree / "modules" / module.name).write_bytes(module.read_bytes())
        (tree / "modules/order").write_text("".join(f"{module.name}\n" for module in modules), encoding="utf-8")
        pack = 'cd "$0" && find . | sort | cpio --quiet --create --format=newc --owner=0:0 > "$1"'
        command.run(["sh", "-c", pack, tree, initrd])


def _in_order(root: Path, version: str) -> list[Path]:
    """The module files to load, each after those it needs."""
    order: list[Path] = []
    for module in _MODULES:
        try:
            listed = command.run(["modprobe", "--dirname", root, "--set-version", version, "--show-depends", module])
        except LabError:
            if module in _OPTIONAL:
                continue
            raise
        for path in insmod_paths(listed.splitlines()):
            if path not in order:
                order.append(path)
    return order


def insmod_paths(lines: Sequence[str]) -> list[Path]:
    """The files named by ``modprobe --show-depends``; built-in modules have none."""
    return [Path(words[1]) for words in map(str.split, lines) if words[:1] == ["insmod"]]
