# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the loader of the role says to the TPM and to the kernel, by the shells that a host has as sh."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
from pathlib import Path

import pytest

LOADER = Path(__file__).parents[3] / "roles/kernel_keys/files/kernel-keys-load.sh"
SESSION = bytes.fromhex("03000000")
ANSWERS = [SESSION + b"\0\x10" + b"nonce of the TPM", b""]  # of StartAuthSession and PolicyPCR


@pytest.fixture(params=["dash", "bash"])
def shell(request: pytest.FixtureRequest) -> str:
    path = shutil.which(request.param)
    if path is None:
        pytest.skip(f"no {request.param} on this machine")
    return path


def called(shell: str, command: str, stdin: socket.socket) -> subprocess.Popen[str]:
    """A function of the loader, without what it does by itself."""
    functions = LOADER.read_text().partition("\nkeyctl link ")[0]
    script = f"{functions}\nexec 3<&0\n{command}"
    return subprocess.Popen(["sh", "-c", script], executable=shell, stdin=stdin, stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize(("pcrs", "bits"), [("1+3", "0a0000"), ("9+11", "000a00"), ("17+19", "00000a"), ("0+7+23", "810080")])
def test_the_tpm_gets_each_command_by_one_write(shell: str, pcrs: str, bits: str) -> None:
    """The kernel refuses a command that comes in parts. Here each write is a message."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.settimeout(30)
    with ours, theirs, called(shell, f"start_session sha256:sha256:{pcrs} && echo $session", theirs) as process:
        theirs.close()
        commands = []
        for body in ANSWERS:
            commands.append(ours.recv(4096))
            ours.send(struct.pack(">HII", 0x8001, 10 + len(body), 0) + body)
        said, dummy = process.communicate(timeout=30)
    assert [len(command) for command in commands] == [struct.unpack_from(">I", command, 2)[0] for command in commands]
    assert commands[1][10:].hex() == SESSION.hex() + "0000" + "00000001000b03" + bits
    assert said == SESSION.hex() + "\n"
