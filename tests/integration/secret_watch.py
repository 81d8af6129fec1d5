# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A watcher for secrets: no command line, no environment, no journal, no log and no disk of a machine may tell one.

    with SecretWatch(machine, PASSPHRASE, allowed=["/etc/keys/mine"]):    # fails at its end, naming what it found
        run = ansible.playbook(play, "-vvvv")                             # pipelining, so that Ansible leaves no file of the module
    assert told(run.output, PASSPHRASE) == []                             # and the same for json.dumps(result)

A process inside the machine reads all command lines and environments over and over; it is given the secrets by its standard input. At
the end the journal, ``/var/log`` and every tmpfs are searched, and the machine's disks as the host sees them, deleted files and open
volumes included. A secret counts in every form: as it is, in base64, in hexadecimal, quoted for JSON or a URL. What was on a disk
before the watch began does not count, nor do the files in ``allowed``: the user's own.
"""

from __future__ import annotations

import base64
import json
import os
import re
import struct
import subprocess
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from lab import ssh
from lab.machine import Machine

# A shorter secret may stand somewhere by chance, above all in base64.
SHORTEST = 8
_CHUNK = 16 * 1024 * 1024

_START = ["python3", "-I", "-c", "import json, sys; ask = json.loads(sys.stdin.readline()); exec(ask['code'])"]
_INSIDE = r"""
import base64, bz2, gzip, lzma, os, select, subprocess, sys, time

patterns = [base64.b64decode(form) for form in ask["forms"]]
allowed = set(ask["allowed"])
findings = []
buffer = bytearray(256 * 1024)
me = str(os.getpid())


def found_in(data, end):
    return any(data.find(pattern, 0, end) >= 0 for pattern in patterns)


def tell(kind, where):
    if [kind, where] not in findings:
        findings.append([kind, where])


def name_of(pid):
    try:
        with open("/proc/%s/comm" % pid) as stream:
            return stream.read().strip()
    except OSError:
        return "gone since"


def look_at(pid):
    "Whether the process has a command line or an environment at all: a thread of the kernel has none."
    size = 0
    for what in ("cmdline", "environ"):
        try:
            handle = os.open("/proc/%s/%s" % (pid, what), os.O_RDONLY)
        except OSError:
            return size
        try:
            got = os.readv(handle, [buffer])
        except OSError:
            got = 0
        finally:
            os.close(handle)
        size += got
        if got and found_in(buffer, got):
            tell(what, "process " + name_of(pid))
    return size


def processes():
    return {entry for entry in os.listdir("/proc") if entry.isdigit() and entry != me}


def is_of_kernel(pid):
    "Whether it is a thread of the kernel (PF_KTHREAD in its flags, which are the 7th field after its name)."
    try:
        with open("/proc/%s/stat" % pid) as stream:
            return bool(int(stream.read().rpartition(")")[2].split()[6]) & 0x00200000)
    except OSError:
        return False


def watch():
    "Threads of the kernel are looked at seldom. No command line is not enough to be one: on one CPU an execve may take 100 ms."
    idle, rounds, longest, before, begin = set(), 0, 0.0, None, time.monotonic()
    while True:  # one look at least, also where the block is over at once
        pids = processes()
        if rounds % 50 == 0:
            idle = {pid for pid in pids if not look_at(pid) and is_of_kernel(pid)}
        else:
            idle &= pids
            for pid in pids - idle:
                look_at(pid)
        rounds += 1
        end = time.monotonic()
        # A process that began just after a look at the list is seen in the next round, whenever in it its turn comes.
        longest = max(longest, end - (begin if before is None else before))
        before, begin = begin, end
        if select.select([sys.stdin], [], [], 0)[0]:
            return rounds, longest


def stream_has(stream):
    "Whether a stream has one; read in pieces that overlap."
    keep = max(map(len, patterns))
    tail = b""
    while True:
        data = stream.read(1 << 20)
        if not data:
            return False
        data = tail + data
        if found_in(data, len(data)):
            return True
        tail = data[-keep:]


def files(top):
    device = os.stat(top).st_dev
    for folder, below, names in os.walk(top):
        below[:] = [name for name in below if os.lstat(os.path.join(folder, name)).st_dev == device]
        if folder == "/var/log" and "journal" in below:
            below.remove("journal")  # compressed: journalctl has read it
        for name in names:
            path = os.path.join(folder, name)
            if os.path.isfile(path) and not os.path.islink(path) and path not in allowed:
                yield path


def search_files(kind, top):
    for path in files(top):
        opened = {".gz": gzip.open, ".xz": lzma.open, ".bz2": bz2.open}.get(os.path.splitext(path)[1], open)
        try:
            with opened(path, "rb") as stream:
                if stream_has(stream):
                    tell(kind, path)
        except (OSError, EOFError, lzma.LZMAError):
            pass


def search():
    journal = subprocess.Popen(["journalctl", "--no-pager", "-o", "export"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    if stream_has(journal.stdout):
        tell("journal", "journalctl")
    journal.kill()
    search_files("log", "/var/log")
    for line in open("/proc/self/mounts"):
        source, target, kind = line.split()[:3]
        if kind in ("tmpfs", "ramfs", "devtmpfs") and os.path.isdir(target):
            search_files("tmpfs", target)
        elif source.startswith("/dev/mapper/"):  # an open volume: its disk shows it encrypted
            with open(source, "rb") as stream:
                if stream_has(stream):
                    tell("volume", source + " on " + target)


os.nice(-10)  # the machine may have one CPU only, and what lives short must be seen
print("ready", flush=True)
rounds, longest = watch()
os.sync()
search()
print(json.dumps({"rounds": rounds, "longest": longest, "findings": findings}), flush=True)
"""


def forms(secret: str | bytes) -> list[bytes]:
    """The ways in which a text may tell the secret; base64 is that of any longer text with the secret in it."""
    plain = secret.encode() if isinstance(secret, str) else secret
    if len(plain) < SHORTEST:
        raise ValueError(f"a secret of {len(plain)} bytes may stand somewhere by chance: take one of at least {SHORTEST}")
    made = [plain, plain.hex().encode(), plain.hex().upper().encode(), urllib.parse.quote_from_bytes(plain).encode()]
    made.append(json.dumps(plain.decode("utf-8", "surrogateescape"))[1:-1].encode())
    for before in range(3):
        # The characters that depend on the secret alone: not those that share bits with what stands before and after it.
        text = base64.b64encode(bytes(before) + plain)
        made.append(text[(before * 8 + 5) // 6 : (before + len(plain)) * 8 // 6])
    return list(dict.fromkeys(made))


def told(text: str | bytes, *secrets: str | bytes) -> list[str]:
    """The places of a text (output of -vvvv, a result as JSON) that tell a secret, each without the secret itself."""
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    return [
        f"at byte {match.start()}, after {data[max(0, match.start() - 60) : match.start()]!r}"
        for secret in secrets
        for form in forms(secret)
        for match in re.finditer(re.escape(form), data)
    ]


@dataclass(frozen=True)
class Finding:
    """A secret where none may be: ``kind`` is cmdline, environ, journal, log, tmpfs, volume or disk."""

    kind: str
    where: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}"


class SecretWatch:
    """Watches a machine as long as the block runs; AssertionError at its end if a secret was seen, unless ``strict`` is false.

    :ivar findings: what was found, once the block has ended.
    :ivar longest: the longest that two rounds of looks at all processes took, in seconds: a process that lived longer was seen.
    """

    def __init__(self, machine: Machine, *secrets: str | bytes, allowed: Sequence[str] = (), strict: bool = True) -> None:
        self.machine = machine
        self.forms = [form for secret in secrets for form in forms(secret)]
        self.allowed = tuple(allowed)
        self.strict = strict
        self.findings: list[Finding] = []
        self.rounds = 0
        self.longest = 0.0

    def __enter__(self) -> SecretWatch:
        self.machine.run(["sync"])
        self._before = set(self._on_disks())
        self._process = subprocess.Popen(
            [*self.machine.ssh_command(), ssh.remote(_START)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        ask = {"code": _INSIDE, "forms": [base64.b64encode(form).decode() for form in self.forms], "allowed": self.allowed}
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(ask) + "\n")
        self._process.stdin.flush()
        if self._process.stdout.readline() != "ready\n":
            raise AssertionError(f"the watcher did not start: {self._process.communicate()[1][-2000:]}")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            output, said = self._process.communicate("stop\n", timeout=300)
        finally:
            self._process.kill()
        if kind is not None:
            return
        assert output, f"the watcher has ended before its time (a machine that is started anew needs a new one): {said[-2000:]}"
        seen: dict[str, Any] = json.loads(output)
        self.rounds, self.longest = seen["rounds"], seen["longest"]
        self.findings = [Finding(*found) for found in seen["findings"]]
        for disk, place in sorted(set(self._on_disks()) - self._before):
            name = self._file_at(disk, place)
            if name not in self.allowed:
                self.findings.append(Finding("disk", f"{disk}, byte {place}, {name or 'in no file, or in one that is deleted'}"))
        assert self.rounds > 0, "the watcher has not looked once"
        if self.strict:
            assert not self.findings, f"machine {self.machine.name}: a secret is told: {'; '.join(map(str, self.findings))}"

    # --------------------------------------------------------------------------------------------------------- disks

    def _disks(self) -> dict[str, Path]:
        """The disks' names in the machine, with their files."""
        folder = self.machine.state_dir
        if self.machine.engine == "uml":
            files = [folder / "root.cow", *(folder / f"disk{number}.img" for number in range(1, len(self.machine.disks) + 1))]
            return dict(zip(["/dev/ubda", *self.machine.disks], files, strict=True))
        files = [folder / "root.qcow2", *(folder / f"disk{number}.qcow2" for number in range(1, len(self.machine.disks) + 1))]
        return dict(zip(["/dev/vda", *self.machine.disks], files, strict=True))

    def _on_disks(self) -> Iterator[tuple[str, int]]:
        """Each disk and byte at which a secret begins; only what the machine itself has written is read."""
        keep = max(map(len, self.forms)) - 1
        for disk, path in self._disks().items():
            with path.open("rb") as stream:
                for start, place, length in _written(path):
                    tail = b""
                    for offset in range(0, length, _CHUNK):
                        stream.seek(place + offset)
                        data = tail + stream.read(min(_CHUNK, length - offset))
                        for form in self.forms:
                            for match in re.finditer(re.escape(form), data):
                                yield disk, start + offset - len(tail) + match.start()
                        tail = data[-keep:]

    def _file_at(self, disk: str, place: int) -> str:
        """The file of an ext file system that has this byte; empty if there is none."""
        owner = self.machine.run(
            f"inode=$(debugfs -R 'icheck {place // 4096}' {disk} 2>/dev/null | awk 'NR == 2 {{print $2}}');"
            f" debugfs -R \"ncheck $inode\" {disk} 2>/dev/null | awk 'NR == 2 {{print $2}}'",
            check=False,
        )
        return owner.stdout.strip().replace("//", "/")


def _written(path: Path) -> Iterator[tuple[int, int, int]]:
    """The parts of a disk that its machine has written: byte on the disk, byte in the file, length."""
    if path.suffix == ".qcow2":
        seen = subprocess.run(["qemu-img", "map", "--force-share", "--output=json", str(path)], check=True, capture_output=True, text=True)
        for part in json.loads(seen.stdout):
            if part["data"] and part["depth"] == 0:
                yield part["start"], part["offset"], part["length"]
        return
    with path.open("rb") as stream:
        begin = _cow_data(stream.read(32)) if path.suffix == ".cow" else 0
        for start, end in _extents(stream.fileno(), begin):
            yield start - begin, start, end - start


def _cow_data(header: bytes) -> int:
    """Where the data begin in a copy-on-write file of User Mode Linux: after its header and one bit for each sector."""
    magic, version, _time, size, sector, alignment, _format = struct.unpack(">4sIIQIII", header)
    assert (magic, version) == (b"OOOM", 3), "another kind of copy-on-write file than this reads"
    after_header = -(-(len(header) + 4096) // alignment) * alignment
    return int(-(-(after_header + size // sector // 8) // alignment) * alignment)


def _extents(handle: int, begin: int) -> Iterator[tuple[int, int]]:
    """The parts of a sparse file that are not holes."""
    end = begin
    while True:
        try:
            start = os.lseek(handle, end, os.SEEK_DATA)
        except OSError:
            return
        end = os.lseek(handle, start, os.SEEK_HOLE)
        yield start, end
