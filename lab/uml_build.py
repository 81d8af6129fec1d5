# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A User Mode Linux kernel built from Debian's source, for what Debian's own lacks: a TPM, trusted keys, USB.

What is in it is in ``uml-tpm.config``. It is linked with the libraries of this host, and small: the build is most of what
a machine with a TPM costs, and is done once.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lab import apt, cache, command, host, progress
from lab.errors import LabError
from lab.uml_kernel import UmlKernel

CONFIG = Path(__file__).with_name("uml-tpm.config")
#: what a machine gets from this kernel, in the words of MachineSpec.capabilities
PROVIDES = frozenset({"dm-crypt", "encrypted-keys", "hwrng", "tpm", "trusted-keys", "uhid", "usb"})

_SUITE = "forky"
_PROGRAMS = ("gcc", "make", "flex", "bison", "bc", "depmod", "xz")
# The build reads the Kconfig files of everything, but compiles nothing of these.
_NOT_UNPACKED = (
    "*/Documentation/*/*",
    "*/drivers/gpu/*.[ch]",
    "*/drivers/media/*.[ch]",
    "*/drivers/net/ethernet/*.[ch]",
    "*/drivers/net/wireless/*.[ch]",
    "*/drivers/staging/*.[ch]",
    "*/sound/*.[ch]",
    "*/tools/perf",
    "*/tools/testing",
)
# Seconds; a quiet host of two cores takes four minutes.
_TIMEOUT = 3600.0
_LINE = re.compile(r"(?P<option>CONFIG_\w+)=(?P<value>.+)")


def ensure() -> UmlKernel:
    """Return the kernel; build it first when the cache has none."""
    recipe = {"config": CONFIG.read_text(encoding="utf-8"), "code": cache.code_of(sys.modules[__name__])}
    directory = cache.entry("uml-kernel", "tpm", recipe, _build)
    modules = next((directory / "modules").iterdir())
    return UmlKernel([str(directory / "linux")], modules.name, PROVIDES, modules)


def _build(directory: Path) -> None:
    host.require(*_PROGRAMS)
    if not Path("/usr/include/stdio.h").exists():
        host.install(["libc6-dev"])
    with progress.step("User Mode Linux kernel with a TPM"), tempfile.TemporaryDirectory(prefix="source-", dir=directory) as name:
        tree = _unpack_source(Path(name))
        make = ["make", f"--directory={tree}", f"--jobs={len(os.sched_getaffinity(0))}", "ARCH=um"]
        command.run([*make, "allnoconfig"], env={"KCONFIG_ALLCONFIG": str(CONFIG)})
        refused = sorted(set(options(CONFIG.read_text(encoding="utf-8"))) - set(options((tree / ".config").read_text(encoding="utf-8"))))
        if refused:
            raise LabError(f"{CONFIG.name}: this kernel does not take {', '.join(refused)}: adapt the file to linux {tree.name}")
        command.run([*make, "linux", "modules"], timeout=_TIMEOUT)
        installed = directory / "installed"
        command.run([*make, "modules_install", f"INSTALL_MOD_PATH={installed}", "INSTALL_MOD_STRIP=1"])
        shutil.move(installed / "lib/modules", directory / "modules")
        shutil.rmtree(installed)
        for link in ("build", "source"):
            (next((directory / "modules").iterdir()) / link).unlink(missing_ok=True)
        shutil.copy2(tree / "linux", directory / "linux")
        shutil.copy2(tree / ".config", directory / "config")


def options(config: str) -> Iterator[str]:
    """The options that a kernel configuration sets, as ``CONFIG_X=y``; one that it leaves out is not among them."""
    for line in config.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match is not None and match["value"] != "n":
            yield match[0]


def _unpack_source(into: Path) -> Path:
    with apt.archive([_SUITE]) as archive:
        # The package without a version depends on the one of the release's present kernel.
        depends = command.run(["apt-cache", "depends", "linux-source"], env=archive.env)
        found = re.search(r"Depends: (linux-source-[\d.]+)", depends)
        if found is None:
            raise LabError(f"linux-source of {_SUITE}: names no source package: adapt lab/uml_build.py to it")
        (package,) = archive.download_only_these([found[1]], into / "debs")
    command.run(["dpkg-deb", "--extract", package, into / "package"])
    (tarball,) = (into / "package/usr/src").glob("linux-source-*.tar.xz")
    skipped = [f"--exclude={pattern}" for pattern in _NOT_UNPACKED]
    command.run(["tar", "--extract", f"--directory={into}", *skipped, f"--file={tarball}"])
    shutil.rmtree(into / "package")
    return into / found[1]
