# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run all stages of the tests, add up what they counted and say so: ``python tools/check.py [--all]``.

A stage is one call of nox; its output goes to ``.lab/logs/<stage>.log``. The last line is ``N passed, N failed,
N skipped``, the exit status 1 when anything failed. A linter counts as one test, a stage that ends badly without a
failed test (a crash, the time limit) as one failed test.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
LOGS = ROOT / ".lab" / "logs"
REPORTS = ROOT / ".lab" / "reports"
BIN = Path(sys.executable).parent
STARTED = time.monotonic()
TAIL_LINES = 60
HEARTBEAT = 60  # seconds between two signs of life of a stage
GRACE = 20  # seconds that a stage has to clean up after its time limit
# What CI runs of the roles' scenarios, and on which releases (none: all). A container has no device-mapper and the keyrings of its host.
# The others, and what is emulated, take too long: tests/integration/ has something of each role for CI, `make test-all` has the whole.
MOLECULE: dict[str, tuple[list[str], list[str]]] = {
    "containers": (["entropy", "gpg_key", "ssh_host_keys"], []),
    "uml": (["entropy", "kernel_keys"], ["11", "13"]),
    "qemu": ([], []),
}


@dataclass(frozen=True)
class Stage:
    """A command with a log, a time limit in seconds and, for a nox call, a report. ``needs``: stages gone well."""

    name: str
    command: tuple[str, ...]
    limit: int
    counts: bool = True
    needs: tuple[str, ...] = ()


@dataclass
class Tally:
    """What was counted: a number and two lists of ``test: reason``."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def __str__(self) -> str:
        return f"{self.passed} passed, {len(self.failed)} failed, {len(self.skipped)} skipped"


def main() -> int:
    everything = "--all" in sys.argv[1:]
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs start with it ignored
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    for directory in (LOGS, REPORTS):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
    # The images take minutes of the network and the disk, the checks of the code take the processor: side by side.
    total = run_lanes(images(everything), kernel(), code(everything))
    broken = frozenset(line.split(":")[0] for line in total.failed)
    total.add(run_lanes(machines(everything), failed=broken))
    say(f"all stages done; logs in {LOGS.relative_to(ROOT)}")
    show("Skipped", total.skipped)
    show("Failed", total.failed)
    print(total, flush=True)
    return 1 if total.failed else 0


def images(everything: bool) -> list[Stage]:
    """Return the stages that make what the machines start from."""
    wanted: dict[str, list[str]] = {"container": [], "uml": [], "qemu": [] if everything else ["13"]}
    command = (str(BIN / "python"), "-m", "lab", "image", "--engine")
    return [Stage(f"image-{engine}", (*command, engine, *releases), 2400, counts=False) for engine, releases in wanted.items()]


def kernel() -> list[Stage]:
    """Return the stage that builds what machines with a TPM start: eight minutes of a processor, which the cache spares."""
    return [Stage("kernel-uml", (str(BIN / "python"), "-m", "lab", "kernel"), 2400, counts=False)]


def code(everything: bool) -> list[Stage]:
    """Return the stages that need no machine."""
    return [nox("lint", 600), nox("unit", 900, "-s", "unit", *quick(everything)), nox("sanity", 900, "-s", "sanity")]


def machines(everything: bool) -> list[Stage]:
    """Return the stages that run on containers and machines, one after the other: each wants the whole host."""
    made = tuple(stage.name for stage in images(everything))
    needs = (*made, *(stage.name for stage in kernel()))
    stages = [nox("integration", 10800 if everything else 3600, "-s", "integration", *quick(everything), needs=needs)]
    for (platform, (scenarios, releases)), image in zip(MOLECULE.items(), made, strict=True):
        if not scenarios and not everything:
            continue
        chosen = ["--", *(word for name in scenarios for word in ("--scenario", name)), *releases] if not everything else []
        limit = 10800 if everything else 1800
        stages.append(nox(f"molecule-{platform}", limit, "-s", f"molecule({platform})", *chosen, needs=(image,)))
    if not everything:
        return stages
    torture = nox("torture", 10800, "-s", "torture", "--", "--release", "11,12,13", needs=needs)
    return [*stages, torture, nox("bench", 7200, "-s", "bench", needs=needs)]


def quick(everything: bool) -> list[str]:
    return [] if everything else ["--", "-m", "not slow"]


def nox(name: str, limit: int, *arguments: str, needs: tuple[str, ...] = ()) -> Stage:
    report = REPORTS / f"{name}.json"
    command = (str(BIN / "nox"), "--non-interactive", "--nocolor", "--report", str(report), *arguments)
    return Stage(name, command, limit, needs=needs)


def run_lanes(*lanes: list[Stage], failed: frozenset[str] = frozenset()) -> Tally:
    """Run the lanes side by side and each lane's stages one after the other. ``failed`` names stages of before."""
    total = Tally()
    waiting = [list(lane) for lane in lanes]
    running: dict[int, Running] = {}
    try:
        while running or any(waiting):
            for number, stages in enumerate(waiting):
                if number not in running and stages:
                    stage = stages.pop(0)
                    if missing := sorted(failed.intersection(stage.needs)):
                        total.failed.append(f"{stage.name}: not run, for {' and '.join(missing)} failed")
                    else:
                        running[number] = Running(stage)
            for number, process in list(running.items()):
                if process.over():
                    total.add(process.finish())
                    del running[number]
            time.sleep(0.2)
    finally:
        for process in running.values():
            process.end()
    return total


class Running:
    """A stage on its way: its process, in a session of its own, and its clock."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.log = LOGS / f"{stage.name}.log"
        self.started = self.last_sign = time.monotonic()
        self.out_of_time = False
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                stage.command,
                cwd=ROOT,
                env={**os.environ, "NO_COLOR": "1", "ANSIBLE_NOCOLOR": "1", "PY_COLORS": "0"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        say(f"{stage.name}: started")

    def over(self) -> bool:
        """Say whether the process has ended, end it at its time limit, and now and then show a sign of life."""
        if self.process.poll() is not None:
            return True
        now = time.monotonic()
        if now - self.started > self.stage.limit:
            self.out_of_time = True
            self.end()
        elif now - self.last_sign > HEARTBEAT:
            self.last_sign = now
            say(f"{self.stage.name}: running for {now - self.started:.0f} s: {self._last_line()}")
        return False

    def end(self) -> None:
        """End the whole process group: asked first, so that fixtures remove their machines, then without mercy."""
        for number in (signal.SIGINT, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(GRACE)
            except ProcessLookupError:
                return
            except subprocess.TimeoutExpired:
                continue

    def finish(self) -> Tally:
        """Count what the stage did and show how it ended."""
        status = self.process.returncode
        tally = count_reports(self.stage) if self.stage.counts else Tally()
        if status and not tally.failed:
            reason = f"over its time limit of {self.stage.limit} s" if self.out_of_time else f"exit status {status}"
            tally.failed.append(f"{self.stage.name}: {reason}")
        elif self.stage.counts and not (tally.passed or tally.failed or tally.skipped):
            tally.failed.append(f"{self.stage.name}: ran no test")
        verdict = str(tally) if self.stage.counts or tally.failed else "done"
        say(f"{self.stage.name}: {verdict} in {time.monotonic() - self.started:.0f} s")
        if tally.failed:
            tail = self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
            print(f"--- the end of {self.log.relative_to(ROOT)}", *tail, f"--- {self.stage.name}", sep="\n", flush=True)
        return tally

    def _last_line(self) -> str:
        with self.log.open("rb") as file:
            file.seek(max(0, self.log.stat().st_size - 2000))
            lines = file.read().decode(errors="replace").split("\n")
        return next((line.strip()[-100:] for line in reversed(lines) if line.strip()), "no output yet")


def count_reports(stage: Stage) -> Tally:
    """Count a nox call's sessions: by their JUnit files, and those that have none as one test each."""
    total = Tally()
    report = REPORTS / f"{stage.name}.json"
    if report.is_file():
        for session in json.loads(report.read_text())["sessions"]:
            total.add(count_session(session, stage.name))
    return total


def count_session(session: dict[str, Any], stage: str) -> Tally:
    name = session["signatures"][0] if session["signatures"] else session["name"]
    files = list((REPORTS / name).glob("**/*.xml"))
    tally = Tally()
    for file in files:
        tally.add(count_junit(name, file))
    if session["result"] == "skipped":
        tally.skipped.append(f"{name}: {session['reason']}")
    elif session["result"] != "success" and not tally.failed:
        tally.failed.append(f"{name}: {session['reason'] or f'see .lab/logs/{stage}.log'}")
    elif not files:
        tally.passed += session["result"] == "success"
    return tally


def count_junit(session: str, file: Path) -> Tally:
    tally = Tally()
    for case in ElementTree.parse(file).iter("testcase"):
        name = f"{session} {case.get('classname', '')}::{case.get('name', '')}"
        trouble = case.find("failure") if case.find("failure") is not None else case.find("error")
        skipped = case.find("skipped")
        if trouble is not None:
            tally.failed.append(f"{name}: {first_line(trouble)}")
        elif skipped is not None:
            tally.skipped.append(f"{name}: {first_line(skipped)}")
        else:
            tally.passed += 1
    return tally


def first_line(element: ElementTree.Element) -> str:
    text = element.get("message") or element.text or ""
    return text.strip().split("\n")[0]


def show(title: str, lines: list[str]) -> None:
    if lines:
        print(f"{title}:", *(f"  {line}" for line in lines), sep="\n", flush=True)


def say(message: str) -> None:
    minutes, seconds = divmod(int(time.monotonic() - STARTED), 60)
    print(f"[{minutes:3d}:{seconds:02d}] {message}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
