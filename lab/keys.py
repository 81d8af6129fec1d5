# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""SSH keys of the lab, made once per cache: the one that logs in to machines, and the host keys in their images.

Neither has a passphrase; both are good for nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab import cache, command, host


@dataclass(frozen=True)
class LabKey:
    """An Ed25519 key pair; ``public`` is the line of an ``authorized_keys`` file."""

    private: Path
    public: str


def ensure() -> LabKey:
    """Return the key of this cache; make it first when there is none."""
    private = cache.entry("ssh", "lab", "ed25519", _build) / "id_ed25519"
    return LabKey(private, private.with_suffix(".pub").read_text(encoding="utf-8").strip())


def host_keys(name: str) -> Path:
    """The directory of the host keys for the images called ``name``: ``ssh_host_*_key`` and their ``.pub``.

    They outlive the images, so that an image made anew is known to whoever knew the old one.
    """
    return cache.entry("ssh", f"host-{name}", "ssh-keygen -A", _build_host_keys) / "etc/ssh"


def _build_host_keys(directory: Path) -> None:
    host.require("ssh-keygen")
    (directory / "etc/ssh").mkdir(parents=True)
    command.run(["ssh-keygen", "-A", "-f", directory])


def _build(directory: Path) -> None:
    host.require("ssh-keygen")
    command.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "rootoftrust-lab", "-f", directory / "id_ed25519"])
