# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The SSH key that logs in to the lab's machines: made once per cache, without a passphrase, good for nothing else."""

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


def _build(directory: Path) -> None:
    host.require("ssh-keygen")
    command.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "rootoftrust-lab", "-f", directory / "id_ed25519"]
    )
