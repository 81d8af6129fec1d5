# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ways into a machine: ssh with strict host key checking from the first connection, and Ansible's inventory of the same.

The guest's address means something in the machine's network namespace only, so ssh knows the machine by its name and a proxy
command makes the connection.
"""

from __future__ import annotations

import ast
import json
import shlex
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from lab import images, network
from lab.errors import LabError
from lab.state import Record, write_file

# ssh ends a connection that has been silent for this long (seconds): a machine without power does not answer any more.
_ALIVE_INTERVAL = 5
_ALIVE_COUNT = 6
_CONNECT_TIMEOUT = 20


_LINKS = {
    "uml": network.Link(images.UML_GATEWAY, images.UML_ADDRESS, images.UML_PREFIX),
    "qemu": network.Link("10.0.2.2", images.QEMU_ADDRESS, 24),
}


def link(record: Record) -> network.Link:
    """The addresses of the machine's network, as its image has them."""
    return _LINKS[record.spec.engine]


def options(record: Record, key: Path) -> list[str]:
    """The -o options of every connection to the machine, by whatever program."""
    proxy = f"ip netns exec {record.namespace} socat - TCP:{link(record).guest}:22,connect-timeout={_CONNECT_TIMEOUT}"
    settings = {
        "ProxyCommand": proxy,
        "UserKnownHostsFile": str(record.known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "IdentityFile": str(key),
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
        "ConnectTimeout": str(_CONNECT_TIMEOUT),
        "ServerAliveInterval": str(_ALIVE_INTERVAL),
        "ServerAliveCountMax": str(_ALIVE_COUNT),
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def command(record: Record, key: Path) -> list[str]:
    """The ssh command line of the machine; a command for the guest may follow."""
    # -F none: the user's own configuration must not change what a test means.
    return ["ssh", "-F", "none", *options(record, key), f"root@{record.name}"]


def remote(argv: Sequence[str] | str) -> str:
    """What ssh is to send: an argument list quoted for the guest's shell, or a shell text as it is."""
    return argv if isinstance(argv, str) else shlex.join(argv)


def write_known_hosts(record: Record, public_keys: Iterable[str]) -> None:
    """Let the machine's known_hosts hold these keys ("ssh-ed25519 AAAA...") and no others."""
    lines = (f"{record.name} {' '.join(key.split()[:2])}\n" for key in public_keys)
    write_file(record.known_hosts, "".join(lines))


def known_keys(known_hosts: Path) -> list[str]:
    """The keys in a machine's known_hosts, whatever names they stand under."""
    lines = known_hosts.read_text(encoding="utf-8").splitlines()
    return [line.partition(" ")[2] for line in lines if line.strip() and not line.startswith("#")]


def run(record: Record, key: Path, argv: Sequence[str] | str, timeout: float, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command in the guest as root; LabError when it takes longer than ``timeout`` seconds."""
    words = [*command(record, key), remote(argv)]
    try:
        return subprocess.run(
            words,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"machine {record.name}: {remote(argv)}: not finished after {timeout:g} s") from error


def inventory_vars(record: Record, key: Path, disks: Sequence[str]) -> dict[str, object]:
    """The variables by which Ansible reaches the machine."""
    return {
        "ansible_host": record.name,
        "ansible_user": "root",
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_ssh_common_args": shlex.join(options(record, key)),
        # Ansible keeps its shared connections here, so that they end with the machine and paths stay short.
        "ansible_control_path_dir": str(record.run_dir / "cp"),
        "ssh_host_keys_known_hosts_path": str(record.known_hosts),
        "lab_machine": record.name,
        "lab_engine": record.spec.engine,
        "lab_release": record.spec.release,
        "lab_disks": list(disks),
    }


def inventory_json(hosts: dict[str, dict[str, object]]) -> str:
    """An inventory as Ansible's YAML plugin reads it (JSON is YAML)."""
    return json.dumps({"all": {"hosts": hosts}}, indent=2) + "\n"


def inventory_ini(hosts: dict[str, dict[str, object]]) -> str:
    """An inventory in INI form, one host per line."""
    lines = []
    for name, variables in hosts.items():
        words = (shlex.quote(f"{key}={_ini_value(value)}") for key, value in variables.items())
        lines.append(" ".join([name, *words]))
    return "\n".join(lines) + "\n"


def _ini_value(value: object) -> str:
    """The text that Ansible reads back as the value: it takes every Python literal for what it stands for."""
    if not isinstance(value, str):
        return repr(value)
    try:
        ast.literal_eval(value)
    except (SyntaxError, ValueError):
        return value
    return repr(value)
