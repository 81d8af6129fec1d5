# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine that is tortured: made once per job, put back before each cut, and cut at a moment that is found again.

In the machine stand wrappers for the programs that write to disks, and for the Python that Ansible starts. In a dry run they have strace
write down what each process does to disks and files; every such call is a seam. For a cut at a seam the same call of the same process is
held before it is carried out, the host is told so, and takes the power away.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from lab import guardian, state
from lab.choice import ENGINES
from lab.machine import up
from lab.spec import MachineSpec
from tests.integration.ansible_run import Ansible, Run

MOUNT = "/srv/torture"
KEY = "/etc/torture.key"
SECRET = "a passphrase for the torture"
CHEAP = {"type": "argon2id", "memory": 32, "iterations": 4, "threads": 1}  # nothing secret is guarded
CHEAP_OPTIONS = "--pbkdf argon2id --pbkdf-memory 32 --pbkdf-parallel 1 --pbkdf-force-iterations 4"
_FILES = "/usr/local/lib/torture"
_RUN = "/run/torture"
_WRAPPED = {
    "cryptsetup": "/usr/sbin/cryptsetup",
    "e2fsck": "/usr/sbin/e2fsck",
    "resize2fs": "/usr/sbin/resize2fs",
    "python3": f"{_FILES}/python3",
}
# A run under strace takes more than twice as long as one without.
_SLOWED = 2.2
_CALLS = (
    "write,pwrite64,writev,pwritev,fsync,fdatasync,rename,renameat,renameat2,link,linkat,unlink,unlinkat,symlink,symlinkat,ftruncate,ioctl"
)
_LONGEST_RUN = {"uml": 300.0, "qemu": 3600.0}  # seconds that a job may take; QEMU may have to emulate the processor
_KEPT = "kept"
_LAST = 8  # seams of a process that are its end

_WRAPPER = """\
#!/bin/sh
# Without {run}/mode this is {name} itself.
[ -e {run}/mode ] || exec {real} "$@"
who={name}
if [ {name} = cryptsetup ]; then
    for word; do
        case $word in *[!A-Za-z]*) ;; *) who={name}-$word; break ;; esac
    done
fi
number=$(($(cat {run}/$who.count 2> /dev/null || echo 0) + 1))
echo $number > {run}/$who.count
read -r mode whose at call nth < {run}/mode
if [ "$mode" = dry ]; then
    exec strace -qq -y -ttt -s 0 -e trace={calls} -o {run}/$who.$number {real} "$@"
fi
[ "$whose $at" = "$who $number" ] || exec {real} "$@"
exec strace -qq -s 0 -e trace=$call -e inject=$call:delay_enter=60000000:when=$nth -o "|{files}/hold $call $nth" {real} "$@"
"""
# strace writes the name of a call when it begins, and the end of its line when it is over: a call that is held has no end.
_HOLD = f"""\
#!/usr/bin/python3 -I
import os, sys
begin, nth, seen = b"\\n" + sys.argv[1].encode() + b"(", int(sys.argv[2]), b"\\n"
while True:
    data = os.read(0, 65536)
    if not data:
        break
    seen += data
    if nth and seen.count(begin) >= nth:
        nth = 0
        with open("{_RUN}/now", "w") as fifo:
            fifo.write("now\\n")
"""


@dataclass(frozen=True)
class Seam:
    """One call of one process: the nth ``call`` of the process that was the ``at``-th to be started as ``who``."""

    who: str
    at: int
    call: str
    nth: int
    what: str

    def __str__(self) -> str:
        return f"{self.who} {self.at}, {self.call} {self.nth} ({self.what})"


@dataclass(frozen=True)
class Profile:
    """What a run that is not cut does: its seams, and when it begins and ends in seconds after its start."""

    seams: tuple[Seam, ...]
    begins: float
    ends: float


@dataclass(frozen=True)
class Moment:
    """When the power goes: ``seconds`` after the start of the run, or at a seam, or ``seconds`` after the disk's first bytes changed."""

    kind: str
    seconds: float = 0.0
    seam: Seam | None = None

    def __str__(self) -> str:
        if self.seam is not None:
            return f"before {self.seam}"
        if self.kind == "torn":
            return f"{self.seconds * 1000:.1f} ms after the disk's first bytes changed"
        return f"after {self.seconds:.2f} s"


def draw(random: Random, profile: Profile, tears: bool) -> Moment:
    """A moment: half of them at seams, the others in time or, where a job writes to the start of the disk, in the middle of that."""
    kind = random.choice(["seam", "seam", "time", "torn" if tears else "time"])
    if kind == "seam" and profile.seams and random.random() < 0.25:
        return Moment("seam", seam=random.choice(last_seams(profile.seams)))
    if kind == "seam" and profile.seams:
        # Each kind of call at each kind of place is as likely as the others, however often it comes.
        place = random.choice(sorted({(seam.who, seam.call, seam.what) for seam in profile.seams}))
        return Moment("seam", seam=random.choice([seam for seam in profile.seams if (seam.who, seam.call, seam.what) == place]))
    if kind == "torn":
        return Moment("torn", seconds=random.choice([0.0, 0.0, 0.001, 0.005, random.uniform(0, 0.05)]))
    return Moment("time", seconds=random.uniform(profile.begins, profile.ends))


def last_seams(seams: tuple[Seam, ...]) -> list[Seam]:
    """What each process does last: that ends its work, and its number would have it drawn once in thousands of cuts."""
    found: dict[tuple[str, int], list[Seam]] = {}
    for seam in seams:
        found.setdefault((seam.who, seam.at), []).append(seam)
    return [seam for of_one in found.values() for seam in of_one[-_LAST:]]


class Rig:
    """A machine with spare disks, of which the first is worked on, and Ansible for it."""

    def __init__(self, name: str, release: str, engine: str, *disks: str) -> None:
        self.release = release
        self.longest = _LONGEST_RUN[engine]
        self.machine = up(MachineSpec(name, release=release, engine=engine, disks=disks), owner=os.getpid())
        self.disk = self.machine.disks[0]
        self._folder = Path(tempfile.mkdtemp(prefix="torture-"))
        self.ansible = Ansible(self._folder, self.machine)
        inventory = json.loads(self.ansible.inventory.read_text())
        inventory["all"]["hosts"][name]["ansible_python_interpreter"] = _WRAPPED["python3"]
        self.ansible.inventory.write_text(json.dumps(inventory))
        self._install()

    def close(self) -> None:
        self.machine.down()
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, command: str, stdin: str | None = None, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.machine.run(command, stdin=stdin, check=check, timeout=self.longest)

    def play(self, *tasks: dict[str, Any]) -> Run:
        """Run tasks as a user does."""
        return self.ansible.playbook(self._play(tasks), timeout=self.longest)

    def _play(self, tasks: tuple[dict[str, Any], ...]) -> str:
        named = [{"name": f"task {number}", **task} for number, task in enumerate(tasks)]
        return json.dumps([{"hosts": self.machine.name, "gather_facts": False, "tasks": named}])

    def _install(self) -> None:
        self.machine.run("apt-get install -y -qq strace dmsetup > /dev/null 2>&1; strace -V > /dev/null", timeout=self.longest)
        self.run(f"mkdir -p {_FILES}/real && ln -s /usr/bin/python3 {_FILES}/real/python3")
        for name, path in _WRAPPED.items():
            self.run(f"[ ! -e {path} ] || cp {path} {_FILES}/real/")
            text = _WRAPPER.format(run=_RUN, name=name, real=f"{_FILES}/real/{name}", calls=_CALLS, files=_FILES)
            self.run(f"cat > {path}.new && chmod 755 {path}.new && mv {path}.new {path}", stdin=text)
        self.run(f"cat > {_FILES}/hold && chmod 755 {_FILES}/hold", stdin=_HOLD)

    # ---------------------------------------------------------------------------------------------------- the machine

    def files(self) -> list[Path]:
        record = state.load(self.machine.name)
        assert record is not None
        return ENGINES[self.machine.engine].disk_files(record)

    def keep(self) -> None:
        """Keep the machine as it is now; where a boot is emulated, with all that runs in it."""
        if self.machine.engine == "qemu":
            self.run("sync")
            self.machine.snapshot(_KEPT)
            return
        self.machine.shutdown()
        self._copy(self.files(), [Path(f"{path}.kept") for path in self.files()])
        self.machine.start()

    def put_back(self) -> None:
        """Go back to what was kept."""
        if self.machine.engine == "qemu":
            self.machine.restore(_KEPT)
            return
        self.machine.kill()
        self._copy([Path(f"{path}.kept") for path in self.files()], self.files())
        self.machine.start()

    @staticmethod
    def _copy(sources: list[Path], targets: list[Path]) -> None:
        for source, target in zip(sources, targets, strict=True):
            subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(source), str(target)], check=True)

    # -------------------------------------------------------------------------------------------------- runs and cuts

    def dry(self, tasks: tuple[dict[str, Any], ...]) -> Profile:
        """Let the job run to its end and see what there is to be cut."""
        self.run(f"mkdir -p {_RUN} && echo dry > {_RUN}/mode")
        started = time.time()
        run = self.play(*tasks)
        ended = time.time()
        assert run.rc == 0, run.output[-2000:]
        logs = json.loads(self.run(f"cd {_RUN} && python3 -I -c '{_DUMP}'").stdout)
        first = min(float(text.split(" ", 1)[0]) for text in logs.values() if text)
        seams = [seam for name, text in sorted(logs.items(), key=_by_number) for seam in seams_of(name, text)]
        begins = max(first - started, 0.0)
        return Profile(tuple(seams), begins, begins + (ended - started - begins) / _SLOWED)

    def cut(self, tasks: tuple[dict[str, Any], ...], moment: Moment) -> str:
        """Start the job and cut the power at the moment; what was going on, in a word."""
        seam = moment.seam
        mode = f"cut {seam.who} {seam.at} {seam.call} {seam.nth}" if seam is not None else "none"
        self.run(f"mkdir -p {_RUN} && mkfifo {_RUN}/now && echo {mode} > {_RUN}/mode; sync")
        reached = threading.Event()
        watcher = subprocess.Popen(
            [*self.machine.ssh_command(), f"cat {_RUN}/now"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )

        def listen() -> None:
            if watcher.stdout is not None and watcher.stdout.readline():
                reached.set()

        threading.Thread(target=listen, daemon=True).start()
        play = self._folder / "cut.yml"
        play.write_text(self._play(tasks))
        started = time.monotonic()
        job = subprocess.Popen(
            ["ansible-playbook", "-i", str(self.ansible.inventory), str(play)],
            cwd=self._folder, env=self.ansible.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            said = self._wait(moment, job, reached, started)
            self._power_off()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(job.pid, signal.SIGKILL)
            job.wait()
            watcher.kill()
            watcher.wait()
        return said

    def _wait(self, moment: Moment, job: subprocess.Popen[bytes], reached: threading.Event, started: float) -> str:
        """Until the moment has come, or the job is over before it."""
        conditions: dict[str, Callable[[], bool]] = {
            "time": lambda: time.monotonic() - started >= moment.seconds,
            "seam": reached.is_set,
        }
        if moment.kind == "torn":
            path = self.files()[1]
            with path.open("rb", buffering=0) as stream:
                before = stream.read(8)

                def changed() -> bool:
                    stream.seek(0)
                    return stream.read(8) != before

                return self._until(changed, job, started, 0.0) if not moment.seconds else self._later(changed, job, started, moment.seconds)
        return self._until(conditions[moment.kind], job, started, 0.005)

    def _later(self, condition: Callable[[], bool], job: subprocess.Popen[bytes], started: float, seconds: float) -> str:
        said = self._until(condition, job, started, 0.0)
        time.sleep(seconds)
        return said

    def _until(self, condition: Callable[[], bool], job: subprocess.Popen[bytes], started: float, pause: float) -> str:
        asked = time.monotonic()
        while not condition():
            now = time.monotonic()
            if now - asked > 0.05:
                asked = now
                if job.poll() is not None:
                    return f"the job was over before ({job.returncode})"
                if now - started > self.longest:
                    return "the job hung"
            if pause:
                time.sleep(pause)
        return "cut"

    def _power_off(self) -> None:
        """As kill, but without a word to anybody first: a write of 16 MiB takes few milliseconds."""
        record = state.load(self.machine.name)
        running = guardian.status(record) if record is not None else None
        if self.machine.engine == "uml" and running is not None and running.running:
            with suppress(ProcessLookupError):
                os.killpg(running.vm, signal.SIGKILL)
        self.machine.kill()


_DUMP = (
    'import glob, json; print(json.dumps({name: open(name, errors="replace").read() for name in glob.glob("*.*") if name[-1].isdigit()}))'
)
_LINE = re.compile(r"^\S+ (\w+)\((.*)$", re.MULTILINE)
_DEVICE_MAPPER = re.compile(r"DM_(DEV_CREATE|TABLE_LOAD|DEV_SUSPEND|DEV_REMOVE)\w*")


def _by_number(entry: tuple[str, str]) -> tuple[str, int]:
    name, _dot, number = entry[0].rpartition(".")
    return name, int(number)


def seams_of(log: str, text: str) -> list[Seam]:
    """The seams in what strace wrote of one process, in their order."""
    who, at = _by_number((log, ""))
    counted: dict[str, int] = {}
    found = []
    for match in _LINE.finditer(text):
        call, arguments = match.groups()
        counted[call] = counted.get(call, 0) + 1
        what = _what(call, arguments)
        if what:
            found.append(Seam(who, at, call, counted[call], what))
    return found


def _what(call: str, arguments: str) -> str:
    """What the call is about, in a few words; empty if nothing on a disk comes of it."""
    if call == "ioctl":
        match = _DEVICE_MAPPER.search(arguments)
        return match.group() if match else ""
    if call.startswith(("rename", "link", "unlink", "symlink")):
        return "" if "/proc/" in arguments else "a name"
    match = re.match(r"\d+<([^>]*)>", arguments)
    path = match.group(1) if match else ""
    if not path.startswith("/") or path.startswith(("/proc", "/sys", "/run", "/dev/null", "/dev/pts", "/tmp")):
        return ""
    if path.startswith("/dev/"):
        return "the disk"
    return "a header that is being made" if "LUKS2-temp" in path else "a file"
