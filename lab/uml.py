# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""User Mode Linux: a kernel of its own as a process of the host. Quick, one CPU, no firmware, no snapshots; for trusted guests."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from lab import guardian, guest_tpm, host, images, network, releases, state, uml_build, uml_kernel
from lab.engine import Engine, Trial, trial_once
from lab.guardian import Program
from lab.spec import MachineSpec, parse_size
from lab.state import Record

# Seconds until the panic of a kernel without a root file system (0.5 on a quiet host).
_TRIAL_TIMEOUT = 30
# Seconds until the login: 3 to 9 on a quiet host of two cores.
_BOOT_TIMEOUT = 120.0

_CONSOLE = ("con=null", "con0=null,fd:1", "ssl=null", "console=tty0", "pty.legacy_count=0")

# systemd writes the file at each boot that has this argument, and its time would no longer tell when the identity was given.
_IDENTITY = "systemd.machine_id="
_ONCE = (_IDENTITY, guest_tpm.FRESH)
# Set in the environment of a kernel that was started by us: it passes it on at a reboot.
_STARTED = "ROOTOFTRUST_LAB_KERNEL_STARTED"


class Uml(Engine):
    """Machines of the lab's User Mode Linux kernel."""

    name = "uml"
    default_cpus = 1

    def capabilities(self) -> frozenset[str]:
        return uml_kernel.ensure().provides | uml_build.PROVIDES

    def trial(self) -> Trial:
        kernel = uml_kernel.ensure()
        return trial_once(f"uml-{kernel.version}", lambda: _trial(kernel))

    def boot_timeout(self, record: Record) -> float:
        return _BOOT_TIMEOUT

    def images(self, spec: MachineSpec) -> dict[str, str]:
        kernel = uml_kernel.ensure()
        if not spec.capabilities() <= kernel.provides:
            kernel = guest_tpm.with_tpm(uml_build.ensure())
        root = images.uml_image(releases.get(spec.release), kernel).root
        return {"kernel": kernel.argv_prefix[0], "modules": str(kernel.modules), "root": str(root)}

    def make_disks(self, record: Record) -> None:
        # The copy-on-write file of the root disk is made by the kernel at its first start.
        for number, size in enumerate(record.spec.disks, start=1):
            with open(record.state_dir / f"disk{number}.img", "wb") as file:
                file.truncate(parse_size(size))

    def disk_files(self, record: Record) -> list[Path]:
        spare = (record.state_dir / f"disk{number}.img" for number in range(1, len(record.spec.disks) + 1))
        return [record.state_dir / "root.cow", *spare]

    def disk_devices(self, record: Record) -> list[str]:
        return [f"/dev/ubd{'abcdefghijklmnop'[number]}" for number in range(1, len(record.spec.disks) + 1)]

    def programs(self, record: Record, resume: str | None) -> list[Program]:
        host.require("ip", "taskset")
        sockets = record.run_dir / "uml"
        shutil.rmtree(sockets, ignore_errors=True)
        sockets.mkdir(parents=True, mode=0o700)
        cpu = _take_cpu(record)
        root, *spare = self.disk_files(record)
        argv = ["ip", "netns", "exec", record.namespace, "taskset", "-c", str(cpu), str(_starter(record))]
        argv += [f"mem={record.spec.memory}", f"umid={record.name}", f"uml_dir={sockets}"]
        argv += [f"ubd0={root},{record.images['root']}", *(f"ubd{n}={path}" for n, path in enumerate(spare, start=1))]
        argv += [f"vec0:transport=tap,ifname={network.TAP},depth=128,gro=1,mac={record.mac}"]
        argv += ["root=/dev/ubda", "rw", "net.ifnames=0", "quiet", "seccomp=on", *_CONSOLE]
        if record.spec.disk_from is not None and not record.booted:
            # The clone's disk carries its original's machine-id; this replaces it, and only at the first boot.
            argv.append(f"{_IDENTITY}{uuid.UUID(record.uuid).hex}")
        if record.spec.tpm is not None:
            argv += guest_tpm.kernel_args(record, Path(record.images["modules"]).name)
        argv += record.spec.kernel_args
        return [Program(argv=argv, log=str(record.console_log))]

    @contextlib.contextmanager
    def frozen(self, record: Record) -> Iterator[None]:
        running = guardian.status(record)
        if running is None or not running.running:
            yield
            return
        os.killpg(running.vm, signal.SIGSTOP)
        try:
            yield
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.vm, signal.SIGCONT)


def _starter(record: Record) -> Path:
    """A program that starts the kernel under its own name.

    At a reboot the kernel executes the program that its first argument names, with the same arguments, and leaves to it what it
    had open: its tap, which cannot be opened twice, and its old memory. So that argument has to name a program that closes them
    first. It also leaves out what is for the first boot alone.
    """
    path = record.state_dir / "start-kernel"
    lines = [
        f"#!{sys.executable} -I",
        "import os, sys",
        "os.closerange(3, os.sysconf('SC_OPEN_MAX'))",
        "arguments = sys.argv",
        f"if {_STARTED!r} in os.environ:",
        f"    arguments = [word for word in arguments if not word.startswith({_ONCE!r})]",
        f"os.environ[{_STARTED!r}] = '1'",
        f"os.execv({record.images['kernel']!r}, arguments)",
    ]
    state.write_file(path, "\n".join(lines) + "\n")
    path.chmod(0o700)
    return path


def _trial(kernel: uml_kernel.UmlKernel) -> Trial:
    """Start the kernel with no root file system: one that gets as far as missing it runs on this host."""
    state.run_root().mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix=".trial-", dir=state.run_root()) as directory:
        argv = [*kernel.argv_prefix, "mem=64M", f"uml_dir={directory}", "umid=trial", "panic=-1", *_CONSOLE]
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=_TRIAL_TIMEOUT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return Trial(False, f"kernel {kernel.version} does not start: {error}")
    output = done.stdout + done.stderr
    if "Unable to mount root fs" in output:
        return Trial(True, f"kernel {kernel.version}")
    last = (output.strip().splitlines() or ["no output"])[-1]
    return Trial(False, f"kernel {kernel.version} ended before it looked for a root file system: {last}")


def _take_cpu(record: Record) -> int:
    """The CPU with the fewest running machines on it; unpinned, a machine is two to three times slower."""
    busy = Counter[int]()
    for other in state.load_all():
        running = guardian.status(other)
        if running is not None and running.running:
            with contextlib.suppress(FileNotFoundError, ValueError):
                busy[int((other.run_dir / "cpu").read_text(encoding="ascii"))] += 1
    chosen = min(sorted(os.sched_getaffinity(0)), key=lambda cpu: busy[cpu])
    state.write_file(record.run_dir / "cpu", f"{chosen}\n")
    return chosen
