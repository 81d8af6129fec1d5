# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""QEMU: a whole PC with the distribution's own kernel, a TPM and snapshots; by KVM where that boots a kernel, else emulated."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from lab import command, guardian, host, images, network, releases, state, tpm
from lab.engine import Engine, Trial, trial_once
from lab.errors import LabError
from lab.guardian import Program
from lab.qmp import Qmp
from lab.spec import MachineSpec
from lab.state import Record

_CAPABILITIES = frozenset({"tpm", "snapshot", "virtio-rng", "no-rng", "own-kernel", "usb", "hwrng", "dm-crypt", "smp", "console-input"})
_EMULATED = "tcg,thread=multi"
# A kernel under KVM panics for want of a root file system in about a second; one that cannot run stays silent.
_KVM_TRIAL_TIMEOUT = 15
# Seconds until the login. Emulated: 27 to 46 on a quiet host of two cores, and figures double under load.
_BOOT_TIMEOUT = {"kvm": 90.0, _EMULATED: 300.0}
_PROGRAM = "qemu-system-x86_64"


class Qemu(Engine):
    """Machines of QEMU's type "pc", started directly with kernel and initrd."""

    name = "qemu"
    default_cpus = 2

    def capabilities(self) -> frozenset[str]:
        return _CAPABILITIES

    def trial(self) -> Trial:
        absent = host.missing(_PROGRAM, "qemu-img")
        if absent:
            return Trial(True, f"{', '.join(absent)}: not installed yet, which happens with the first machine")
        version = command.run([_PROGRAM, "--version"]).splitlines()[0]
        return Trial(True, f"{version}; by KVM where that boots the machine's kernel, else emulated")

    def boot_timeout(self, record: Record) -> float:
        return _BOOT_TIMEOUT[_accelerator(Path(record.images["kernel"]))]

    def images(self, spec: MachineSpec) -> dict[str, str]:
        image = images.qemu_image(releases.get(spec.release))
        return {"root": str(image.disk), "kernel": str(image.kernel), "initrd": str(image.initrd)}

    def make_disks(self, record: Record) -> None:
        host.require("qemu-img")
        root, *spare = self.disk_files(record)
        create = ["qemu-img", "create", "-q", "-f", "qcow2"]
        command.run([*create, "-F", "qcow2", "-b", record.images["root"], root])
        for path, size in zip(spare, record.spec.disks, strict=True):
            command.run([*create, path, size])

    def disk_files(self, record: Record) -> list[Path]:
        spare = (record.state_dir / f"disk{number}.qcow2" for number in range(1, len(record.spec.disks) + 1))
        return [record.state_dir / "root.qcow2", *spare]

    def disk_devices(self, record: Record) -> list[str]:
        return [f"/dev/vd{'abcdefghijklmnop'[number]}" for number in range(1, len(record.spec.disks) + 1)]

    def programs(self, record: Record, resume: str | None) -> list[Program]:
        host.require(_PROGRAM, "ip")
        programs = []
        if record.spec.tpm is not None:
            host.require("swtpm", "swtpm_setup")
            tpm.manufacture(record)
            programs.append(tpm.program(record))
        argv = ["ip", "netns", "exec", record.namespace, *self._command(record)]
        if resume is not None:
            argv += ["-loadvm", resume]
        return [*programs, Program(argv=argv, log=str(record.state_dir / "qemu.log"), socket=str(qmp_socket(record)))]

    def _command(self, record: Record) -> list[str]:
        spec = record.spec
        accelerator = _accelerator(Path(record.images["kernel"]))
        kernel_args = ["root=/dev/vda", "rw", "console=ttyS0", "net.ifnames=0", "quiet", "mitigations=off", *spec.kernel_args]
        argv = [_PROGRAM, "-name", spec.name, "-uuid", record.uuid, *_machine(accelerator)]
        argv += ["-smp", str(spec.cpus or self.default_cpus), "-m", spec.memory]
        argv += ["-kernel", record.images["kernel"], "-initrd", record.images["initrd"], "-append", " ".join(kernel_args)]
        # A new generation id at each start: this is how a guest learns that it went back to a snapshot.
        argv += ["-device", "vmgenid,guid=auto"]
        # What the guest says goes to the file whether somebody is connected or not.
        console = f"socket,id=console,path={console_socket(record)},server=on,wait=off,logfile={record.console_log}"
        argv += ["-chardev", console, "-serial", "chardev:console"]
        argv += ["-qmp", f"unix:{qmp_socket(record)},server=on,wait=off"]
        argv += ["-netdev", f"tap,id=net,ifname={network.TAP},script=no,downscript=no"]
        argv += ["-device", f"virtio-net-pci,netdev=net,mac={record.mac},romfile="]
        for number, path in enumerate(self.disk_files(record)):
            # What the guest has flushed is in the host's page cache even so, and survives the end of QEMU (not of the host).
            argv += ["-drive", f"file={path},if=none,id=disk{number},format=qcow2,cache=unsafe,discard=unmap"]
            argv += ["-device", f"virtio-blk-pci,drive=disk{number},serial=disk{number}"]
        if spec.rng:
            argv += ["-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng"]
        if spec.tpm is not None:
            # Not tpm-crb: with it, Linux 6.12 turns the TPM's random number generator off.
            argv += ["-chardev", f"socket,id=tpm,path={tpm.socket_path(record)}", "-tpmdev", "emulator,id=tpm,chardev=tpm"]
            argv += ["-device", "tpm-tis,tpmdev=tpm"]
        return argv

    @contextlib.contextmanager
    def frozen(self, record: Record) -> Iterator[None]:
        running = guardian.status(record)
        if running is None or not running.running:
            yield
            return
        with Qmp(qmp_socket(record)) as qemu:
            # This also writes QEMU's own caches of the disk files out.
            qemu.execute("stop")
            try:
                yield
            finally:
                qemu.execute("cont")


def qmp_socket(record: Record) -> Path:
    """Where the machine's QEMU is spoken to."""
    return record.run_dir / "qmp.sock"


def console_socket(record: Record) -> Path:
    """Where the machine's serial console can be typed on."""
    return record.run_dir / "console.sock"


def type_on_console(record: Record, text: str, timeout: float) -> None:
    """Type on the serial console; LabError when the guest has not taken all of it after ``timeout`` seconds."""
    path = console_socket(record)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(timeout)
            line.connect(str(path))
            line.sendall(text.encode())
            # QEMU hangs up when it has given the guest everything; what the guest says meanwhile has to be taken from it.
            line.shutdown(socket.SHUT_WR)
            while line.recv(4096):
                pass
    except OSError as error:
        raise LabError(f"{path}: the console did not take what was typed ({error}): does the guest listen there?") from error


def save_snapshot(record: Record, tag: str) -> None:
    """Keep memory, devices, TPM and disks of the running machine in its root disk under ``tag``."""
    with Qmp(qmp_socket(record), timeout=120) as qemu:
        qemu.human(f"savevm {tag}")


def snapshots(record: Record) -> list[str]:
    """The tags of the machine's snapshots."""
    root = record.state_dir / "root.qcow2"
    seen = json.loads(command.run(["qemu-img", "info", "--force-share", "--output=json", root]))
    return [snapshot["name"] for snapshot in seen.get("snapshots", ())]


def _machine(accelerator: str) -> list[str]:
    cpu = "host" if accelerator == "kvm" else "qemu64,+rdrand"
    return ["-machine", "pc", "-accel", accelerator, "-cpu", cpu, "-nodefaults", "-display", "none"]


def _accelerator(kernel: Path) -> str:
    """KVM when this kernel is seen to boot with it on this host, else emulation."""
    if not Path("/dev/kvm").exists():
        return _EMULATED
    trial = trial_once(f"kvm-{kernel.parent.name}-{kernel.name}", lambda: _kvm_trial(kernel))
    return "kvm" if trial.runs else _EMULATED


def _kvm_trial(kernel: Path) -> Trial:
    """Start the kernel under KVM with nothing to boot from: it must get as far as its panic, and end there."""
    host.require(_PROGRAM)
    state.run_root().mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix=".trial-", dir=state.run_root()) as directory:
        serial = Path(directory, "serial")
        argv = [_PROGRAM, *_machine("kvm"), "-m", "256M", "-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"]
        argv += ["-no-reboot", "-serial", f"file:{serial}"]
        try:
            done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_KVM_TRIAL_TIMEOUT, check=False)
        except subprocess.TimeoutExpired:
            return Trial(False, f"KVM: {kernel.name} gave no sign of life in {_KVM_TRIAL_TIMEOUT} s")
        console = serial.read_text(encoding="utf-8", errors="replace") if serial.exists() else ""
    if "Kernel panic" in console:
        return Trial(True, "KVM boots this kernel")
    return Trial(False, f"KVM: {done.stderr.strip() or 'the kernel ended without a word'}")
