# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""cryptsetup killed before each of the last times that it makes its header last, in each mode: the data is whole when our end is written.

With this host's own cryptsetup, on regular files. Without our end ``reencrypt --resume-only`` would do all of the data a second time.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.block_device import metadata
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.luks2_header import write_end
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_metadata import is_over

PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
CHEAP = ["--type", "luks2", "--pbkdf", "argon2id", "--pbkdf-memory", "32", "--pbkdf-parallel", "1", "--pbkdf-force-iterations", "4"]
MIB = 1024 * 1024
DATA, OFFSET = 4 * MIB, 16 * MIB
LAST = 11  # calls: what is before them is cryptsetup's own business

# cryptsetup and strace are brought by bootstrap.py and the session integration: without them this fails. Root nobody can bring.
pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: cryptsetup keeps its locks in /run/cryptsetup"),
]


class Volume:
    """A volume whose reencryption has begun, the data that it has to give in the end, and the two files as they are then."""

    def __init__(self, folder: Path, mode: str) -> None:
        self.mode, self.folder = mode, folder
        self.key, self.image, self.header = folder / "key", folder / "image", folder / "header"
        self.key.write_text("secret")
        detached = [f"--header={self.header}"] if mode.endswith("detached") else []
        if mode.startswith("encrypt"):
            self.data = os.urandom(DATA)
            self.image.write_bytes(self.data + bytes(0 if detached else 32 * MIB))
            self.reencrypt("--encrypt", "--init-only", *CHEAP, *(detached or ["--reduce-device-size=32M"]))
        else:
            self.image.write_bytes(bytes((0 if detached else OFFSET) + DATA + (0 if detached else OFFSET)))
            self.run("luksFormat", "-q", *CHEAP, f"--key-file={self.key}", *detached, self.image)
            with self.image.open("r+b") as stream:
                stream.seek(0 if detached else OFFSET)
                stream.write(os.urandom(DATA))
            self.at = self.header if detached else self.image
            self.data = self.plain()
            new = ["--decrypt", f"--header={self.header}"] if mode.startswith("decrypt") else [*CHEAP[2:], *detached]
            self.reencrypt("--init-only", *new)
        self.at = self.header if self.header.exists() else self.image
        self.detached = [f"--header={self.header}"] if self.header.exists() else []
        self.files = [path for path in (self.image, self.header) if path.exists()]
        for path in self.files:
            shutil.copy(path, f"{path}.begun")

    def run(self, *words: str | Path, check: bool = True, under: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        command = [*under, "cryptsetup", *(str(word) for word in words)]
        return subprocess.run(command, env={**os.environ, "PATH": PATH}, capture_output=True, text=True, check=check, timeout=120)

    def reencrypt(self, *options: str, check: bool = True, under: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        common = ("--force-offline-reencrypt", "-q", f"--key-file={self.key}")
        return self.run("reencrypt", *common, *options, self.image, check=check, under=under)

    def put_back(self) -> None:
        for path in self.files:
            shutil.copy(f"{path}.begun", path)

    def syncs(self) -> int:
        """How often a whole run calls fsync(2)."""
        log = self.folder / "log"
        self.reencrypt("--resume-only", *self.detached, under=("strace", "-f", "-o", str(log), "-e", "trace=fsync"))
        return log.read_text().count("fsync(")

    def kill_at(self, sync: int) -> None:
        under = ("strace", "-f", "-o", "/dev/null", "-e", f"inject=fsync:signal=KILL:when={sync}")
        assert self.reencrypt("--resume-only", *self.detached, check=False, under=under).returncode != 0

    def go_on(self) -> None:
        """As the next run does."""
        if is_over(metadata(str(self.at))):
            write_end(str(self.at))
            return
        if "requirements" not in metadata(str(self.at))["config"]:
            return
        if self.reencrypt("--resume-only", *self.detached, check=False).returncode:
            self.run("repair", "-q", f"--key-file={self.key}", *self.detached, self.image)
            self.go_on()

    def plain(self) -> bytes:
        segment = metadata(str(self.at))["segments"]["0"]
        with self.image.open("rb") as stream:
            stream.seek(int(segment["offset"]))
            data = stream.read(DATA)
        if segment["type"] == "linear":
            return data
        path = self.folder / "volume-key"
        path.unlink(missing_ok=True)
        self.run("luksDump", "-q", "--dump-volume-key", f"--key-file={self.key}", f"--volume-key-file={path}", self.at)
        algorithm, size = algorithms.AES(path.read_bytes()), segment["sector_size"]
        parts = []
        for start in range(0, len(data), size):
            number = modes.XTS((start // 512).to_bytes(16, "little"))
            parts.append(Cipher(algorithm, number).decryptor().update(data[start : start + size]))
        return b"".join(parts)


@pytest.mark.parametrize("mode", ["reencrypt", "reencrypt detached", "encrypt", "encrypt detached", "decrypt", "decrypt detached"])
def test_a_reencryption_that_is_killed_near_its_end(mode: str, tmp_path: Path) -> None:
    volume = Volume(tmp_path, mode)
    syncs = volume.syncs()
    assert volume.plain() == volume.data
    over = 0
    for sync in range(syncs, max(syncs - LAST, 0), -1):
        volume.put_back()
        volume.kill_at(sync)
        over += is_over(metadata(str(volume.at)))
        volume.go_on()
        found = metadata(str(volume.at))
        assert volume.plain() == volume.data, f"killed before fsync {sync} of {syncs}"
        assert "requirements" not in found["config"], json.dumps(found)
        if not mode.startswith("decrypt"):
            volume.run("open", "--test-passphrase", f"--key-file={volume.key}", volume.at)
    assert over >= 3, "the window that all this is about"
