# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the loader of the role says to the TPM and to the kernel, by the shells that a host has as sh."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

LOADER = Path(__file__).parents[3] / "roles/kernel_keys/files/kernel-keys-load.sh"
SESSION = bytes.fromhex("03000000")
ANSWERS = [SESSION + b"\0\x10" + b"nonce of the TPM", b""]  # of StartAuthSession and PolicyPCR


@pytest.fixture(params=["dash", "bash"])
def shell(request: pytest.FixtureRequest) -> str:
    path = shutil.which(request.param)
    if path is None:
        pytest.skip(f"no {request.param} on this machine")  # told and counted: Debian has both, another host may not
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


# keyctl(1) on keyrings that are a file: what each key is called, and what each keyring holds. A search looks into one, and then below.
KEYCTL = r"""
import json, sys
from pathlib import Path

store = Path(sys.argv[1])
command, *words = sys.argv[2:]
world = json.loads(store.read_text())
names, held, set_to = world["names"], world["held"], world["set"]


def search(ring, name):
    direct = [each for each in held[ring] if names[each] == name]
    below = (search(each, name) for each in held[ring] if each in held)
    return direct[0] if direct else next((each for each in below if each), None)


def add(name, ring):
    number = str(max(map(int, names), default=10) + 1)
    names[number] = name
    held[ring] = [each for each in held[ring] if names[each] != name] + [number]
    return number


if command == "search":
    found = search(words[0], ":".join(words[1:3]))
    if not found:
        sys.exit("Required key not available")
    print(found)
elif command == "rlist":
    print(*held[words[0]])
elif command == "newring":
    made = add("keyring:" + words[0], words[1])
    held[made] = []
    print(made)
elif command == "padd":
    print(add(words[0] + ":" + words[1], words[2]))
    set_to.append(["payload", words[1], sys.stdin.read()])
elif command == "link":
    held[words[1]].append(words[0])
else:
    set_to.append([command, names.get(words[0], words[0]), words[1]])
store.write_text(json.dumps(world))
"""
EMPTY: dict[str, Any] = {"names": {}, "held": {"@u": [], "@s": []}, "set": []}


def loaded(shell: str, folder: Path, table: str, before: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """What the loader makes of keyrings, and how it ends. The first ``/`` of a file is the folder's."""
    store, keyctl, lines = folder / "keys.json", folder / "keyctl", folder / "table"
    store.write_text(json.dumps(before))
    (folder / "keyctl.py").write_text(KEYCTL)
    keyctl.write_text(f'#!/bin/sh\nexec {sys.executable} -I -S {folder}/keyctl.py {store} "$@"\n')
    keyctl.chmod(0o755)
    lines.write_text(table.replace("FOLDER", str(folder)))
    (folder / "secret").write_text("worth")
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["sh", LOADER, lines], executable=shell, env={**os.environ, "PATH": path}, timeout=60, check=False)
    return done.returncode, json.loads(store.read_text())


def line(kind: str, path: str, description: str = "-", *more: str) -> str:
    return "\t".join([kind, path, description, *(more or ("-", "-", "-", "FOLDER/secret", "-"))]) + "\n"


def test_a_key_of_the_same_name_further_down_is_another_one(shell: str, tmp_path: Path) -> None:
    names = {"11": "keyring:app", "12": "user:kmk", "13": "keyring:cache"}
    before = {"names": names, "held": {"@u": ["11"], "@s": [], "11": ["12", "13"], "13": []}, "set": []}
    table = line("user", "@u", "kmk") + line("user", "@u/cache", "deep") + line("user", "@u/app", "kmk")
    rc, after = loaded(shell, tmp_path, table, before)
    assert rc == 0
    told = {ring: [after["names"][number] for number in held] for ring, held in after["held"].items() if ring not in ("@s", "13")}
    assert told == {"@u": ["keyring:app", "user:kmk", "keyring:cache"], "11": ["user:kmk", "keyring:cache"], "15": ["user:deep"]}
    assert after["set"] == [["payload", "kmk", "worth"], ["payload", "deep", "worth"]], "what is there is left alone"


def test_keyrings_come_back_with_what_was_asked_of_them(shell: str, tmp_path: Path) -> None:
    table = line("keyring", "@u/app", "-", "3f1b0000", "60", "-", "-", "-")
    table += line("keyring", "@u/app/in", "-", "-", "-", "@u @u/app", "-", "-")
    rc, after = loaded(shell, tmp_path, table + line("user", "@u/app", "token"), EMPTY)
    assert rc == 0
    app, inner, dummy = after["names"]
    assert after["set"] == [["timeout", "keyring:app", "60"], ["setperm", "keyring:app", "0x3f1b0000"], ["payload", "token", "worth"]]
    assert inner in after["held"]["@u"] and inner in after["held"][app]
    rc, again = loaded(shell, tmp_path, table, {**after, "set": []})
    assert (rc, again["names"]) == (0, after["names"])
    assert again["set"] == [["setperm", "keyring:app", "0x3f1b0000"]], "its time runs already"
