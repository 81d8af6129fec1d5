# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The User Mode Linux kernel: Debian's own package, of the newest release that the lab knows.

That kernel wants a newer C library than the host may have. It gets the one of its own release without a chroot: two
strings of the program are changed, the path of its dynamic loader and the path where libraries are searched. (Calling
the loader by hand does not do: the kernel computes its memory from the address of its heap, which is elsewhere then,
and it panics.)
"""

from __future__ import annotations

import shutil
import struct
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lab import apt, cache, command, progress
from lab.errors import LabError

_SUITE = "forky"
_LIBC = "usr/lib/x86_64-linux-gnu"
_LOADER = "ld-linux-x86-64.so.2"
_LIBRARIES = (_LOADER, "libc.so.6")

# ELF64 layout, from elf(5).
_E_PHOFF, _E_PHENTSIZE, _PT_INTERP, _P_OFFSET, _P_FILESZ = 32, 54, 3, 8, 32
_RUNPATH = b"\0/lib64:/lib\0"

# What a machine can get from this kernel, by the option that gives it.
_PROVIDES = {
    "dm-crypt": "CONFIG_DM_CRYPT",
    "encrypted-keys": "CONFIG_ENCRYPTED_KEYS",
    "hwrng": "CONFIG_HW_RANDOM",
    "tpm": "CONFIG_TCG_VTPM_PROXY",
    "trusted-keys": "CONFIG_TRUSTED_KEYS",
    "usb": "CONFIG_USBIP_VHCI_HCD",
}


@dataclass(frozen=True)
class UmlKernel:
    """A kernel that runs on this host: ``[*argv_prefix, "mem=512M", …]``.

    ``modules`` is the directory of its modules, named after ``version`` as ``uname -r`` prints it.
    """

    argv_prefix: list[str]
    version: str
    provides: frozenset[str]
    modules: Path


def ensure() -> UmlKernel:
    """Return the kernel; download it first when the cache has none."""
    # The program holds the path of its loader, so an entry is good under its own root only.
    recipe = {"code": cache.code_of(sys.modules[__name__]), "root": str(cache.root())}
    directory = cache.entry("uml-kernel", "debian", recipe, _build)
    program = directory / "linux"
    modules = next((directory / "modules").iterdir())
    config = (directory / "config").read_text(encoding="utf-8").splitlines()
    provides = {name for name, option in _PROVIDES.items() if f"{option}=y" in config or f"{option}=m" in config}
    return UmlKernel([str(program)], modules.name, frozenset(provides), modules)


def _build(directory: Path) -> None:
    with progress.step("User Mode Linux kernel"), tempfile.TemporaryDirectory(prefix="lab-uml-") as name:
        unpacked = Path(name)
        with apt.archive([_SUITE]) as archive:
            packages = archive.download_only_these(["libc6", "user-mode-linux"], unpacked / "debs")
        for package in packages:
            command.run(["dpkg-deb", "--extract", package, unpacked])
        for library in _LIBRARIES:
            target = directory / library
            target.write_bytes((unpacked / _LIBC / library).read_bytes())
            target.chmod(0o755)
        shutil.move(unpacked / "usr/lib/uml/modules", directory / "modules")
        # The build directory is renamed when the entry is whole, so the loader is named by its final path.
        loader = cache.final_path(directory) / _LOADER
        program = directory / "linux"
        program.write_bytes(with_own_libc((unpacked / "usr/bin/linux.uml").read_bytes(), str(loader)))
        program.chmod(0o755)
        original = unpacked / "usr/bin/linux.uml"
        config = command.run(["setarch", "-R", directory / _LOADER, "--library-path", directory, original, "--showconfig"], timeout=30)
        (directory / "config").write_text(config, encoding="utf-8")


def with_own_libc(elf: bytes, loader: str) -> bytes:
    """Return the program ``elf`` changed to start through ``loader`` and to find its libraries beside itself.

    The new path of the loader goes to the end of the file, where PT_INTERP may point (the kernel reads it from the
    file, not from memory); ``$ORIGIN`` is short enough to stand in place of the old library path.
    """
    image = bytearray(elf)
    if image.count(_RUNPATH) != 1:
        raise LabError(f"linux.uml: its library path is not {_RUNPATH!r} any more: adapt lab/uml_kernel.py to the new package")
    where = image.index(_RUNPATH) + 1
    image[where : where + len(_RUNPATH) - 2] = b"$ORIGIN".ljust(len(_RUNPATH) - 2, b"\0")

    (headers,) = struct.unpack_from("<Q", image, _E_PHOFF)
    size, count = struct.unpack_from("<HH", image, _E_PHENTSIZE)
    for header in range(headers, headers + size * count, size):
        if struct.unpack_from("<I", image, header)[0] == _PT_INTERP:
            path = loader.encode() + b"\0"
            struct.pack_into("<Q", image, header + _P_OFFSET, len(image))
            struct.pack_into("<QQ", image, header + _P_FILESZ, len(path), len(path))
            return bytes(image + path)
    raise LabError("linux.uml: names no dynamic loader: adapt lab/uml_kernel.py to the new package")
