# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An emulated TPM: swtpm on a UNIX socket, its state a directory that survives power cuts."""

from __future__ import annotations

from pathlib import Path

from lab import command
from lab.guardian import Program
from lab.state import Record


def state_directory(record: Record) -> Path:
    """Where the TPM's non-volatile memory is kept."""
    return record.state_dir / "tpm"


def socket_path(record: Record) -> Path:
    """The control socket that QEMU talks to."""
    return record.run_dir / "tpm.sock"


def manufacture(record: Record) -> None:
    """Make the TPM's state with an endorsement key, as a vendor does; nothing happens when it exists."""
    directory = state_directory(record)
    if directory.exists():
        return
    fresh = directory.with_name("tpm.new")
    fresh.mkdir(exist_ok=True, mode=0o700)
    version = ["--tpm2", "--pcr-banks", "sha1,sha256"] if record.spec.tpm == "2.0" else []
    # Run as whom we are: by default swtpm_setup becomes the user tss, who cannot enter the machine's directory.
    arguments = ["--tpmstate", str(fresh), "--createek", "--overwrite", "--runas", "root", "--logfile", str(fresh / "setup.log")]
    command.run(["swtpm_setup", *version, *arguments], timeout=60)
    fresh.rename(directory)


def program(record: Record) -> Program:
    """The swtpm process of one boot. It ends with its QEMU."""
    argv = ["swtpm", "socket"]
    if record.spec.tpm == "2.0":
        argv.append("--tpm2")
    argv += ["--tpmstate", f"dir={state_directory(record)},mode=0600", "--ctrl", f"type=unixio,path={socket_path(record)}"]
    argv += ["--flags", "startup-clear", "--terminate"]
    return Program(argv=argv, log=str(record.state_dir / "swtpm.log"), socket=str(socket_path(record)))
