# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A TPM for User Mode Linux machines: a program inside the guest that its kernel takes for a chip.

It is there before systemd is, as a chip would be: the first process of the machine is a script that starts it and then
gives its place to systemd. It comes with its own libraries, the same in all releases, so the guest's packages are
untouched. What it remembers is in the guest, in a directory where each write is on the disk when it returns: a chip has
no cache that a power cut could empty either.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from lab import apt, cache, command, progress, rootfs
from lab.state import Record
from lab.uml_kernel import UmlKernel

_SUITE = "forky"
_LIBRARIES = ("usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/swtpm", "lib/x86_64-linux-gnu")

#: on the kernel command line of a machine's first boot: a clone has a TPM of its own
FRESH = "LAB_TPM_FRESH="

# Words of the kernel command line that the kernel does not know are the environment of the first process.
INIT = """\
#!/bin/sh
here=${0%/*} state=/var/lib/lab-tpm version=$LAB_TPM
[ -z "$LAB_TPM_FRESH" ] || rm -rf $state
unset LAB_TPM LAB_TPM_FRESH
mkdir -p -m 700 $state
chattr +S +D $state
case $version in 2.0) kind=--tpm2 device=/dev/tpmrm0 ;; *) kind= device=/dev/tpm0 ;; esac
$here/lib/ld-linux-x86-64.so.2 --library-path $here/lib $here/swtpm chardev $kind --vtpm-proxy --daemon --flags startup-clear \\
    --tpmstate dir=$state,mode=0600 --key file=$here/key,format=hex,mode=aes-256-cbc --seccomp action=none --log file=$state/log
tries=0
while [ ! -e $device ] && [ $tries -lt 600 ]; do tries=$((tries + 1)); sleep 0.05; done
[ -e $device ] || echo "lab: no $device after 30 s: see $state/log" >/dev/console
# Loaded now, trusted keys find the TPM.
mount -t proc proc /proc && mount -t sysfs sysfs /sys
modprobe -a trusted encrypted-keys
umount /sys /proc
exec /sbin/init "$@"
"""


def with_tpm(kernel: UmlKernel) -> UmlKernel:
    """The kernel with a TPM among its modules, from where an image takes both."""
    recipe = {"kernel": str(kernel.modules), "code": cache.code_of(sys.modules[__name__])}

    def build(directory: Path) -> None:
        target = directory / kernel.version
        command.run(["cp", "-a", "--reflink=auto", kernel.modules, target])
        _add(target / "lab")

    return replace(kernel, modules=cache.entry("guest-tpm", "swtpm", recipe, build) / kernel.version)


def kernel_args(record: Record, version: str) -> list[str]:
    """What starts the TPM of a machine whose kernel has this version."""
    fresh = [f"{FRESH}1"] if record.spec.disk_from is not None and not record.booted else []
    return [f"init=/usr/lib/modules/{version}/lab/init", f"LAB_TPM={record.spec.tpm}", *fresh]


def _add(target: Path) -> None:
    """Put swtpm of the newest release, with the libraries of that release, into ``target``."""
    with progress.step("TPM for User Mode Linux machines"), tempfile.TemporaryDirectory(prefix="lab-tpm-") as name:
        unpacked = Path(name)
        with apt.archive([_SUITE]) as archive:
            archive.download(["swtpm"], unpacked / "debs")
        for package in (unpacked / "debs").glob("*.deb"):
            command.run(["dpkg-deb", "--extract", package, unpacked])
        places = [unpacked / place for place in _LIBRARIES]
        program = unpacked / "usr/bin/swtpm"
        loader = next(path for place in places for path in place.glob("ld-linux-x86-64.so.2"))
        listed = command.run([loader, "--library-path", ":".join(map(str, places)), "--list", program])
        (target / "lib").mkdir(parents=True)
        for line in listed.splitlines():
            dummy, arrow, found = line.partition(" => ")
            library = Path(found.split(" (")[0])
            if arrow and unpacked in library.parents:
                shutil.copy(library, target / "lib")
        shutil.copy(loader, target / "lib")
        shutil.copy(program, target)
        rootfs.write(target, "init", INIT, mode=0o755)
        # Nobody sees what a chip remembers. Here it is on a disk that tests search for secrets.
        rootfs.write(target, "key", hashlib.sha256(b"what a chip remembers").hexdigest())
