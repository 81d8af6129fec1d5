# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many calls of the collection's modules inside a machine, for a fraction of what a play takes.

The modules and Ansible's own module code are brought there once. One process of Python then has all of it loaded, and each call is a
fork of that: a module sees its arguments, check mode and the machine as it does under Ansible. What belongs to Ansible's side of a call
(its log, its temporary files) is for tests that run a play.
"""

from __future__ import annotations

import base64
import io
import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import ansible

from lab.machine import Machine
from tests.integration.ansible_run import ROOT

FOLDER = "/root/bench"
_INSIDE = r"""
import importlib, io, json, os, subprocess, sys
from ansible.module_utils.testing import patch_module_args
modules = "ansible_collections.rootoftrust.linux.plugins.modules."


def bare_session():
    "A session keyring that does not have the user's keyring in it."
    from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.keyctl import Keyctl
    keyctl = Keyctl()
    keyctl._call(keyctl._keyctl, 1, None)  # KEYCTL_JOIN_SESSION_KEYRING


def kill_before(number):
    "End this process, as kill -9 would, before the call of that number that changes a key or the name of a file."
    import signal
    from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.keyctl import Keyctl
    calls = [0]

    def cut(function):
        def wrapped(*args, **kwargs):
            calls[0] += 1
            if calls[0] == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)
        return wrapped

    for name in ("add", "update", "revoke", "set_permissions", "set_timeout", "link", "unlink"):
        setattr(Keyctl, name, cut(getattr(Keyctl, name)))
    for name in ("rename", "unlink", "fsync"):
        setattr(os, name, cut(getattr(os, name)))


def call(one):
    if one["module"] == "shell":
        done = subprocess.run(one["arguments"]["cmd"], shell=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL)
        return {"rc": done.returncode, "stdout": done.stdout.decode().strip(), "stderr": done.stderr.decode()}
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writer, 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        if one["bare"]:
            bare_session()
        if one["cut"]:
            kill_before(one["cut"])
        try:
            with patch_module_args(dict(one["arguments"], _ansible_check_mode=one["check"], _ansible_diff=True)):
                sys.modules[modules + one["module"]].main()
        except SystemExit:
            sys.stdout.flush()
            os._exit(0)
        except BaseException:
            import traceback
            os.write(2, traceback.format_exc().encode())
        os._exit(1)
    os.close(writer)
    with os.fdopen(reader) as stream:
        told = stream.read()
    status = os.waitpid(child, 0)[1]
    return {"killed": True} if os.WIFSIGNALED(status) else json.loads(told.strip().splitlines()[-1])


for line in sys.stdin:
    asked = json.loads(line)
    for name in {one["module"] for one in asked} - {"shell"}:
        importlib.import_module(modules + name)
    print(json.dumps([call(one) for one in asked]), flush=True)
"""


class Bench:
    """A machine with the modules in it."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._process: subprocess.Popen[str] | None = None
        packed = io.BytesIO()
        top = Path(ansible.__file__).parent
        collection = "ansible_collections/rootoftrust/linux/plugins"
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for name, text in {"ansible/__init__.py": "", "inside.py": _INSIDE}.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(text)
                tar.addfile(entry, io.BytesIO(text.encode()))
            for name in ("release.py", "module_utils"):
                tar.add(top / name, f"ansible/{name}", filter=_sources)
            for name in ("modules", "module_utils"):
                tar.add(ROOT / "plugins" / name, f"{collection}/{name}", filter=_sources)
        packed_text = base64.b64encode(packed.getvalue()).decode()
        machine.run(f"rm -rf {FOLDER} && mkdir -p {FOLDER} && base64 -d | tar -xz -C {FOLDER} && sync", stdin=packed_text)

    def calls(self, *asked: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """The results of modules, or of shell commands. ``check``, ``bare`` and ``cut`` among the arguments are for the call."""
        told = [
            {
                "module": module,
                "arguments": {name: value for name, value in arguments.items() if name not in ("check", "bare", "cut")},
                "check": arguments.get("check", False),
                "bare": arguments.get("bare", False),
                "cut": arguments.get("cut", 0),
            }
            for module, arguments in asked
        ]
        if self._process is None:
            command = [*self._machine.ssh_command(), f"PYTHONPATH={FOLDER} exec python3 {FOLDER}/inside.py"]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the process in the machine has ended; what it said last is above"
        results: list[dict[str, Any]] = json.loads(line)
        return results

    def close(self) -> None:
        """End the process in the machine, before that is killed or removed; the next call starts another."""
        process, self._process = self._process, None
        if process is not None:
            process.communicate(timeout=30)


def _sources(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in entry.name or "powershell" in entry.name or "csharp" in entry.name else entry
