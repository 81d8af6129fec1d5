# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Machines: made, started, entered, cut off, and taken down, alike on every engine."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from lab import cache, guardian, host, images, network, progress, qemu, releases, ssh, state
from lab.choice import ENGINES, choose
from lab.engine import Engine
from lab.errors import LabError
from lab.process import ProcessId
from lab.spec import MachineSpec
from lab.state import Record

# Lines of the console shown when a machine does not boot: its last, or the last up to a panic.
_CONSOLE_LINES = 30
# Seconds for one login, on a machine whose sshd has already answered (2 on an emulated one, more under load).
_LOGIN_TIMEOUT = 60.0
_PANIC = "Kernel panic - not syncing"
# In the first seconds of a kernel that is emulated: no program runs yet, and no disk is mounted. Seen once in some hundred boots.
_EARLY_PANIC = re.compile(r"^\[ +[0-4]\.\d+\] Kernel panic - not syncing: Fatal exception", re.MULTILINE)
_TAG = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,39}")
# What a clone has in common with its original.
_HARDWARE = ("release", "engine", "memory", "disks", "tpm", "rng", "kernel_args", "cpus")


class EmulatorPanic(LabError):
    """The emulator has failed, not what runs in it: the same boot may be tried again."""


def is_early_panic(console: str) -> bool:
    """Whether a kernel has panicked over an exception before it had started any program."""
    return _EARLY_PANIC.search(console) is not None


class Machine:
    """A machine that exists, running or not."""

    def __init__(self, record: Record) -> None:
        self._record = record

    @property
    def name(self) -> str:
        return self._record.name

    @property
    def spec(self) -> MachineSpec:
        """What the machine is; its engine is the one that was chosen."""
        return self._record.spec

    @property
    def engine(self) -> str:
        return self._record.spec.engine

    @property
    def uuid(self) -> str:
        """Its identity, told to the guest by DMI (QEMU)."""
        return self._record.uuid

    @property
    def mac(self) -> str:
        """The address of its network card."""
        return self._record.mac

    @property
    def state_dir(self) -> Path:
        return self._record.state_dir

    @property
    def images(self) -> dict[str, str]:
        """The cached files it rests on, by their part."""
        return self._record.images

    @property
    def guarded(self) -> bool:
        """Whether a guardian watches it."""
        return guardian.status(self._record) is not None

    @property
    def owner(self) -> ProcessId | None:
        """The process the machine ends with."""
        return self._record.owner

    @property
    def seconds(self) -> float | None:
        """What the last start took until the login."""
        return self._record.seconds

    @property
    def running(self) -> bool:
        """Whether it has power."""
        seen = guardian.status(self._record)
        return seen is not None and seen.running

    @property
    def namespace(self) -> str:
        """The network namespace it lives in."""
        return self._record.namespace

    @property
    def disks(self) -> list[str]:
        """The paths of the spare disks in the guest."""
        return self._engine.disk_devices(self._record)

    @property
    def console_log(self) -> Path:
        return self._record.console_log

    def console(self) -> str:
        """What the current (or last) boot has written on the console."""
        try:
            return self._record.console_log.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def type_on_console(self, text: str, timeout: float = 60.0) -> None:
        """Type on the serial console, as a person who sits there; a newline is the return key. Works during a boot as well."""
        self._need("console-input", "has no console to type on")
        qemu.type_on_console(self._record, text, timeout)

    # ------------------------------------------------------------------------------------------------------ ways in

    def ssh_args(self) -> list[str]:
        """The -o options with which any program of OpenSSH reaches the machine by its name."""
        return ssh.options(self._record, images.ssh_key())

    def ssh_command(self) -> list[str]:
        """A whole ssh command line; a command for the guest may follow."""
        return ssh.command(self._record, images.ssh_key())

    def inventory_vars(self) -> dict[str, object]:
        """The variables by which Ansible reaches the machine."""
        return ssh.inventory_vars(self._record, images.ssh_key(), self.disks)

    def run(
        self, argv: Sequence[str] | str, check: bool = True, timeout: float = 120.0, stdin: str | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command (a list, or a text for the guest's shell) as root.

        LabError when it is not over after ``timeout`` seconds or, with ``check``, when it fails.
        """
        done = ssh.run(self._record, images.ssh_key(), argv, timeout, stdin)
        if check and done.returncode != 0:
            said = (done.stderr.strip() or done.stdout.strip())[-2000:]
            raise LabError(f"machine {self.name}: {ssh.remote(argv)}: ended with {done.returncode}: {said}")
        return done

    # ------------------------------------------------------------------------------------------------------ power

    def start(self) -> Machine:
        """Boot the same disks again; nothing happens when it runs."""
        with self.operation():
            if not self.running:
                self.boot()
        return self

    def replace_image(self, part: str, path: Path) -> None:
        """Have the machine start with a file of its own in place of the image's: its kernel or its initrd."""
        with self.operation():
            self._record = state.update(self._record, images={**self._record.images, part: str(path)})

    def kill(self) -> None:
        """Cut the power."""
        with self.operation():
            guardian.cut_power(self._record)

    def shutdown(self, timeout: float = 120.0) -> None:
        """Let the guest power itself off; LabError when it has not after ``timeout`` seconds."""
        with self.operation():
            self.run("systemctl --no-block poweroff", check=False, timeout=_LOGIN_TIMEOUT)
            if not guardian.wait_stopped(self._record, timeout):
                raise LabError(f"machine {self.name}: still on {timeout:g} s after poweroff: {self._last_words()}")

    def reboot_wait(self) -> Machine:
        """Let the guest reboot; return when it can be logged in to again."""
        with self.operation():
            before = self._boot_id()
            started = time.monotonic()
            deadline = started + self._engine.boot_timeout(self._record)
            self.run("systemctl --no-block reboot", check=False, timeout=_LOGIN_TIMEOUT)
            try:
                # Until it goes down the old boot still answers.
                self._wait_for_login(deadline)
                while self._boot_id() in (None, before):
                    time.sleep(0.2)  # between two looks, until the deadline
                    self._wait_for_login(deadline)
            except EmulatorPanic as error:
                progress.say(f"{error.args[0].splitlines()[0]} trying again")
                guardian.cut_power(self._record)
                self.boot()
            self._record = state.update(self._record, seconds=time.monotonic() - started)
        return self

    def down(self) -> None:
        """Remove the machine with all its files."""
        with state.lock(self.name):
            guardian.dismiss(self._record)
            network.delete(self._record.namespace)
            state.forget(self._record)

    # ------------------------------------------------------------------------------------------------------ snapshots

    def snapshot(self, tag: str) -> None:
        """Keep the running machine's memory, disks and TPM under ``tag``, in place of an older one of that name."""
        with self.operation():
            self._need_snapshots(tag)
            if not self.running:
                raise LabError(f"machine {self.name}: has no power: start it before you take a snapshot")
            qemu.save_snapshot(self._record, tag)
            shutil.copyfile(self._record.known_hosts, self._known_hosts_of(tag))

    def restore(self, tag: str) -> Machine:
        """Go back to a snapshot; the guest's clock is set to the present."""
        with self.operation():
            self._need_snapshots(tag)
            if tag not in qemu.snapshots(self._record):
                raise LabError(f"machine {self.name}: has no snapshot {tag}: take it with `lab snapshot`")
            guardian.cut_power(self._record)
            shutil.copyfile(self._known_hosts_of(tag), self._record.known_hosts)
            self.boot(resume=tag)
        return self

    def _need_snapshots(self, tag: str) -> None:
        self._need("snapshot", "has no snapshots")
        if _TAG.fullmatch(tag) is None:
            raise LabError(f"snapshot {tag!r}: not a usable tag: take 1 to 40 letters, digits, _ and -, a letter first")

    def _known_hosts_of(self, tag: str) -> Path:
        return self.state_dir / f"known_hosts.{tag}"

    # ------------------------------------------------------------------------------------------------------ inside

    @property
    def _engine(self) -> Engine:
        return ENGINES[self._record.spec.engine]

    def _need(self, capability: str, otherwise: str) -> None:
        if capability not in self._engine.capabilities():
            raise LabError(f"machine {self.name}: {self.engine} {otherwise}: make it with the engine qemu")

    @contextlib.contextmanager
    def operation(self) -> Iterator[None]:
        """Do one thing at a time with the machine, on its present record."""
        with state.lock(self.name):
            record = state.load(self.name)
            if record is None:
                raise LabError(f"machine {self.name}: does not exist any more: its owner ended or it was taken down")
            self._record = record
            yield

    def adopt(self, owner: ProcessId | None) -> None:
        """Give the machine, which has no power, another owner."""
        self._record = state.update(self._record, owner=owner)

    def copy_to(self, clone: Record) -> None:
        """Copy the disks and what is known of the host keys; a running machine is held still meanwhile."""
        with self.operation():
            tag = clone.spec.resume
            if tag is not None and tag not in qemu.snapshots(self._record):
                raise LabError(f"machine {self.name}: has no snapshot {tag}: take it with `lab snapshot`")
            if self.running:
                # A copy is what a power cut would leave; what was written before the copy is asked for should be in it.
                self.run(["sync"], check=False)
            with self._engine.frozen(self._record):
                self._engine.clone_disks(self._record, clone)
            keys = ssh.known_keys(self._record.known_hosts if tag is None else self._known_hosts_of(tag))
            ssh.write_known_hosts(clone, keys)

    def boot(self, resume: str | None = None) -> None:
        """Give it power and wait until it can be logged in to; only within an operation. Where the emulator fails it is tried once more."""
        try:
            self._boot(resume)
        except EmulatorPanic as error:
            progress.say(f"{error.args[0].splitlines()[0]} trying again")
            self._boot(resume)

    def _boot(self, resume: str | None) -> None:
        for part, path in self._record.images.items():
            if not Path(path).exists():
                raise LabError(f"machine {self.name}: its {part} {path} is gone from the cache: take it down and up again")
        timeout = self._engine.boot_timeout(self._record)
        started = time.monotonic()
        guardian.dismiss(self._record)
        network.create(self.namespace, ssh.link(self._record), self._record.mac)
        self._record.run_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        # The choice of a CPU counts the machines that run: one start at a time.
        with state.lock("_start"):
            guardian.start(self._record, self._engine.programs(self._record, resume))
        try:
            self._wait_for_login(started + timeout)
            if resume is not None:
                self.run(["date", "-u", "-s", f"@{time.time():.3f}"])
        except BaseException:
            guardian.cut_power(self._record)
            raise
        self._record = state.update(self._record, booted=True, seconds=time.monotonic() - started)

    def _wait_for_login(self, deadline: float) -> None:
        """Return after a login; LabError as soon as it is clear that there will be none."""
        address = ssh.link(self._record).guest
        said = "nothing answered on its port 22"
        while time.monotonic() < deadline:
            if network.speaks_ssh(self.namespace, address, timeout=0.5):
                login = self.run(["true"], check=False, timeout=_LOGIN_TIMEOUT)
                if login.returncode == 0:
                    return
                said = login.stderr.strip()
                if "Host key verification failed" in said:
                    raise LabError(f"machine {self.name}: its host key is not in {self._record.known_hosts}: {said}")
            ended = not self.running
            console = self.console()
            if self.engine == "qemu" and is_early_panic(console):
                raise EmulatorPanic(f"machine {self.name}: its kernel panicked in its first seconds: {self._last_words()}")
            if _PANIC in console:
                raise LabError(f"machine {self.name}: its kernel panicked: {self._last_words()}")
            if ended:
                raise LabError(f"machine {self.name}: ended before a login was possible: {self._last_words()}")
            time.sleep(0.05)
        raise LabError(f"machine {self.name}: no login in time ({said}): {self._last_words()}")

    def _last_words(self) -> str:
        lines = self.console().splitlines()
        # What follows a panic is a list of addresses; what led to it is before it.
        panic = next((number for number, line in enumerate(lines, start=1) if _PANIC in line), len(lines))
        lines = lines[:panic][-_CONSOLE_LINES:]
        logs = [str(path) for path in (self.console_log, self.state_dir / "qemu.log") if path.exists()]
        return "\n".join([f"the console is in {' and '.join(logs)}, its last lines are", *lines])

    def _boot_id(self) -> str | None:
        """The kernel's name for this boot; None when the guest cannot be asked now."""
        done = self.run(["cat", "/proc/sys/kernel/random/boot_id"], check=False, timeout=_LOGIN_TIMEOUT)
        return done.stdout.strip() if done.returncode == 0 else None


# -------------------------------------------------------------------------------------------------------------- making


def up(spec: MachineSpec, owner: int | None) -> Machine:
    """Return a running machine as ``spec`` says: made, or started, or as it is when it runs already.

    ``owner`` is the pid of the process that the machine ends with; None: it stays until it is taken down.
    LabError when a machine of that name exists that is not like ``spec``, when no engine can run it, or when it does not boot;
    in that last case it stays, without power, so that its console can be read.
    """
    host.require("ip", "socat", "ssh")
    sweep()
    wanted = replace(spec, release=releases.get(spec.release).key)
    with state.lock(spec.name):
        record = state.load(spec.name)
        if record is None:
            record = _make(wanted, _process(owner))
        elif not _is_like(record.spec, wanted):
            raise LabError(f"machine {spec.name}: exists, but is not as asked for: `python -m lab down {spec.name}` first")
    machine = Machine(record)
    with machine.operation():
        if machine.running:
            return machine
        machine.adopt(_process(owner))
        # The snapshot is where a clone begins; once it has begun, it boots.
        machine.boot(resume=None if record.booted else record.spec.resume)
    return machine


def get(name: str) -> Machine:
    """The machine of that name; LabError when there is none."""
    record = state.load(name)
    if record is None:
        raise LabError(f"machine {name}: does not exist: make it with `python -m lab up {name}`")
    return Machine(record)


def list_all() -> list[Machine]:
    """All machines, by name."""
    return [Machine(record) for record in state.load_all()]


def sweep() -> list[str]:
    """Take down the machines whose owner has ended and whose guardian was killed before it could; return their names."""
    swept = []
    for machine in list_all():
        if machine.owner is not None and not machine.owner.alive and not machine.guarded:
            machine.down()
            swept.append(machine.name)
    return swept


def _process(pid: int | None) -> ProcessId | None:
    if pid is None:
        return None
    process = ProcessId.of(pid)
    if process is None:
        raise LabError(f"owner {pid}: no such process: give the pid of one that lives as long as the machine should")
    return process


def _is_like(existing: MachineSpec, wanted: MachineSpec) -> bool:
    """Whether the machine is what is asked for; a clone has its original's hardware, whatever else was not said."""
    if wanted.disk_from is not None:
        return existing.disk_from == wanted.disk_from and existing.resume == wanted.resume
    engine = existing.engine if wanted.engine == "auto" else wanted.engine
    return replace(wanted, engine=engine, needs=existing.needs) == existing


def _make(spec: MachineSpec, owner: ProcessId | None) -> Record:
    """The machine's files and record, ready to boot; nothing is left when that fails."""
    original = get(spec.disk_from) if spec.disk_from is not None else None
    spec = replace(spec, engine=choose(spec).name) if original is None else _like_original(spec, original.spec)
    engine = ENGINES[spec.engine]
    files = engine.images(spec) if original is None else original.images
    identity = uuid.uuid4()
    # A card goes on with the address that it had when the snapshot was taken.
    mac = original.mac if original is not None and spec.resume is not None else _mac(identity)
    record = Record(spec=spec, uuid=str(identity), mac=mac, owner=owner, images=files)
    state.forget(record)
    record.state_dir.mkdir(parents=True, mode=0o700)
    try:
        for path in files.values():
            cache.pin(Path(path), record.state_dir)
        if original is None:
            engine.make_disks(record)
            ssh.write_known_hosts(record, images.known_host_lines(releases.get(spec.release)))
        else:
            original.copy_to(record)
        return state.save(record)
    except BaseException:
        state.forget(record)
        raise


def _mac(identity: uuid.UUID) -> str:
    """A locally administered unicast address: of the first byte the second-lowest bit is set, the lowest is clear."""
    return ":".join(f"{byte:02x}" for byte in (0x02, *identity.bytes[:5]))


def _like_original(spec: MachineSpec, original: MachineSpec) -> MachineSpec:
    """The clone's specification: its original's hardware; LabError when other hardware was asked for."""
    unset = MachineSpec(spec.name)
    for name in _HARDWARE:
        if getattr(spec, name) not in (getattr(unset, name), getattr(original, name)):
            raise LabError(f"machine {spec.name}: a clone has the {name} of {original.name}: leave it out")
    return replace(original, name=spec.name, needs=spec.needs, disk_from=spec.disk_from, resume=spec.resume)
