# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One network namespace per machine: a tap and nothing else, so no packet of a guest leaves it.

As every machine has a network to itself, they may all have the same addresses; the machines' names are what tells them apart.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError

TAP = "tap0"
# Always the same: a guest that goes back to a snapshot still knows this address, and would send to an older one for half a minute.
_HOST_MAC = "02:00:00:00:00:01"

_BANNER_TIMEOUT = 8.0  # seconds; a guest that goes down meanwhile sends nothing any more, and is noticed after them

_CLONE_NEWNET = 0x40000000  # <linux/sched.h>
_libc = ctypes.CDLL(None, use_errno=True)


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"ip {' '.join(arguments)}: {done.stderr.strip()}: the lab needs root and /dev/net/tun")


@dataclass(frozen=True)
class Link:
    """The addresses (IPv4) of the two ends of a machine's tap, and the length of their network's prefix."""

    host: str
    guest: str
    prefix: int


def exists(namespace: str) -> bool:
    """Whether there is a namespace of that name."""
    return Path("/run/netns", namespace).exists()


def create(namespace: str, link: Link, guest_mac: str) -> None:
    """Make the namespace with its tap, anew when there is one already."""
    delete(namespace)
    _ip("netns", "add", namespace)
    _ip("-n", namespace, "link", "set", "lo", "up")
    _ip("-n", namespace, "tuntap", "add", TAP, "mode", "tap")
    _ip("-n", namespace, "link", "set", TAP, "address", _HOST_MAC)
    _ip("-n", namespace, "address", "add", f"{link.host}/{link.prefix}", "dev", TAP)
    _ip("-n", namespace, "link", "set", TAP, "up")
    # Without a fixed neighbour the kernel asks for the guest once a second only, and the first login comes that much later.
    _ip("-n", namespace, "neigh", "replace", link.guest, "lladdr", guest_mac, "dev", TAP, "nud", "permanent")


def processes(namespace: str) -> list[int]:
    """The processes inside the namespace."""
    done = subprocess.run(["ip", "netns", "pids", namespace], capture_output=True, text=True, check=False)
    return [int(word) for word in done.stdout.split()]


def clear(namespace: str) -> None:
    """Kill what is left inside the namespace: connections that would otherwise wait for a machine that is gone."""
    if not exists(namespace):
        return
    for pid in processes(namespace):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def delete(namespace: str) -> None:
    """End what runs in the namespace and remove it; nothing happens when there is none."""
    if exists(namespace):
        clear(namespace)
        _ip("netns", "delete", namespace)


def tcp_socket(namespace: str) -> socket.socket:
    """A new TCP socket that belongs to the namespace, whoever uses it."""
    made: list[socket.socket] = []
    failed: list[OSError] = []

    def make() -> None:
        try:
            with open(Path("/run/netns", namespace), "rb") as file:
                # setns(2) moves only the calling thread, and this thread ends with the function.
                if _libc.setns(file.fileno(), _CLONE_NEWNET) != 0:
                    raise OSError(ctypes.get_errno(), f"setns to {namespace}")
            made.append(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
        except OSError as error:
            failed.append(error)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if failed:
        raise LabError(f"network namespace {namespace}: {failed[0]}: take the machine down and up again")
    return made[0]


def speaks_ssh(namespace: str, address: str, timeout: float) -> bool:
    """Whether port 22 of the guest can be connected to within ``timeout`` seconds, and then answers with an SSH banner.

    For the banner there is more time: on a busy host sshd may need seconds for it, and a guest that is called again and again
    meanwhile comes to nothing else.
    """
    with tcp_socket(namespace) as connection:
        try:
            connection.settimeout(timeout)
            connection.connect((address, 22))
            connection.settimeout(_BANNER_TIMEOUT)
            return connection.recv(4) == b"SSH-"
        except OSError:
            return False
