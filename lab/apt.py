# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The Debian archive this host already uses, read without touching the host's own apt state.

The address of the archive is never written down here: it is the one in the host's apt sources, or in
``ROOTOFTRUST_LAB_MIRROR`` and ``ROOTOFTRUST_LAB_SECURITY_MIRROR`` on hosts whose apt knows no Debian archive.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import command
from lab.errors import LabError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

_SUITES = frozenset({"bullseye", "bookworm", "trixie", "forky", "sid", "oldoldstable", "oldstable", "stable", "testing", "unstable"})
_ONE_LINE = re.compile(r"^deb\s+(?:\[[^\]]*\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)$")
_USABLE_URI = re.compile(r"^(https?|file)://?")

# An archive copied once has a Release file past its date; its signature is checked all the same.
OPTIONS = {
    "Acquire::Check-Valid-Until": "false",
    "Acquire::Languages": "none",
    "Acquire::Retries": "3",
    "APT::Install-Recommends": "false",
    "APT::Sandbox::User": "root",
}


@dataclass(frozen=True)
class Source:
    """One ``deb`` line."""

    uri: str
    suite: str
    components: tuple[str, ...]


@dataclass(frozen=True)
class Mirror:
    """Addresses of the Debian archive and, where the host has it, of its security archive."""

    main: str
    security: str | None

    def lines(self, suites: Sequence[str]) -> list[str]:
        """The ``deb`` lines of ``suites``; security suites are left out when the host has no security archive."""
        found: list[str] = []
        for suite in suites:
            address = self.security if suite.endswith("-security") else self.main
            if address:
                found.append(f"deb [signed-by={KEYRING}] {address} {suite} main")
        return found


def parse_one_line(text: str) -> list[Source]:
    """The binary sources of a ``sources.list``."""
    matches = (_ONE_LINE.match(line.partition("#")[0].strip()) for line in text.splitlines())
    return [Source(m["uri"], m["suite"], tuple(m["components"].split())) for m in matches if m]


def parse_deb822(text: str) -> list[Source]:
    """The enabled binary sources of a ``.sources`` file."""
    found: list[Source] = []
    for stanza in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields[name] = f"{fields.get(name, '')} {line.strip()}"
            elif ":" in line:
                name, dummy, value = line.partition(":")
                name = name.lower()
                fields[name] = value.strip()
        if fields.get("enabled", "yes").lower() in ("no", "false", "0") or "deb" not in fields.get("types", "").split():
            continue
        components = tuple(fields.get("components", "").split())
        found += [Source(uri, suite, components) for uri in fields.get("uris", "").split() for suite in fields.get("suites", "").split()]
    return found


def host_sources(etc: Path = Path("/etc/apt")) -> list[Source]:
    """All binary sources of this host's apt, in the order apt reads them."""
    found: list[Source] = []
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]:
        if path.suffix == ".sources" and path.is_file():
            found += parse_deb822(path.read_text(encoding="utf-8"))
        elif path.suffix == ".list" and path.is_file():
            found += parse_one_line(path.read_text(encoding="utf-8"))
    return found


def choose(sources: Sequence[Source]) -> Mirror:
    """Pick the Debian archive among ``sources`` by its suites and its component ``main``."""
    usable = [source for source in sources if "main" in source.components and _USABLE_URI.match(source.uri)]
    main = next((source.uri for source in usable if source.suite in _SUITES), None)
    if main is None:
        raise LabError(
            "apt sources of this host: no Debian archive among them: "
            "set ROOTOFTRUST_LAB_MIRROR to the address of one that has pool/ and dists/"
        )
    security = next((source.uri for source in usable if source.suite.partition("-")[2] == "security"), None)
    return Mirror(main, security)


def mirror() -> Mirror:
    """The Debian archive that this host uses."""
    own = os.environ.get("ROOTOFTRUST_LAB_MIRROR")
    if own:
        return Mirror(own, os.environ.get("ROOTOFTRUST_LAB_SECURITY_MIRROR"))
    return choose(host_sources())


@dataclass(frozen=True)
class Archive:
    """apt with sources and state of its own, in a directory that vanishes with it."""

    directory: Path

    @property
    def env(self) -> dict[str, str]:
        """The environment that makes apt use this archive only."""
        return {"APT_CONFIG": str(self.directory / "apt.conf"), "DEBIAN_FRONTEND": "noninteractive"}

    def download(self, packages: Sequence[str], into: Path) -> None:
        """Put ``packages`` and what they need beyond the installed ones into ``into``."""
        (into / "partial").mkdir(parents=True, exist_ok=True)
        archives = f"Dir::Cache::archives={into}"
        command.run(["apt-get", "-qq", "-y", "--download-only", "-o", archives, "install", *packages], env=self.env)
        shutil.rmtree(into / "partial")
        (into / "lock").unlink(missing_ok=True)

    def download_only_these(self, packages: Sequence[str], into: Path) -> list[Path]:
        """Put ``packages`` without their dependencies into ``into``, and return the files in their order."""
        into.mkdir(parents=True, exist_ok=True)
        command.run(["sh", "-c", 'cd "$0" && exec apt-get -qq download "$@"', into, *packages], env=self.env)
        return [next(into.glob(f"{package}_*.deb")) for package in packages]


@contextlib.contextmanager
def archive(suites: Sequence[str], status: Path | None = None) -> Iterator[Archive]:
    """Open the archive for ``suites``; ``status`` is a dpkg status file, of what is installed (default: nothing)."""
    with tempfile.TemporaryDirectory(prefix="lab-apt-") as name:
        directory = Path(name)
        for sub in ("state/lists/partial", "cache/archives/partial", "etc/preferences.d", "etc/apt.conf.d"):
            (directory / sub).mkdir(parents=True)
        (directory / "status").touch()
        (directory / "sources.list").write_text("\n".join([*mirror().lines(suites), ""]), encoding="utf-8")
        options = {
            "Dir::Etc": f"{directory}/etc",
            "Dir::Etc::sourcelist": f"{directory}/sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State": f"{directory}/state",
            "Dir::State::status": str(status or directory / "status"),
            "Dir::Cache": f"{directory}/cache",
            **OPTIONS,
        }
        text = "".join(f'{key} "{value}";\n' for key, value in options.items())
        (directory / "apt.conf").write_text(text, encoding="utf-8")
        opened = Archive(directory)
        command.run(["apt-get", "-qq", "update"], env=opened.env)
        yield opened
