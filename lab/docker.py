# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Containers with systemd as PID 1: the options they run with, and a Docker daemon where the host runs none.

The options do without ``--privileged``, which fails on hosts that lack a capability. What systemd needs instead is
CAP_SYS_ADMIN and a writable cgroup2 tree of its own; the init of the image makes that tree, on cgroup v1 hosts too,
where systemd from 258 on would refuse to start. A container has no network: ``apt install`` takes packages from the
repository in the image.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from lab import cache, command, host, progress, rootfs
from lab.errors import LabError
from lab.releases import Release

_SOCKET = "unix:///var/run/docker.sock"
_RUN = Path("/run/rootoftrust-lab")
_PID_FILE = _RUN / "dockerd.pid"
_LABEL = "rootoftrust-lab.recipe"
_SECONDS_TO_START = 30.0
_SECONDS_TO_STOP = 30.0

# The container has a cgroup namespace. On a cgroup v1 host the root of its cgroup2 tree may be the host's: it then
# moves to a group of its own and makes that the root of another namespace, or the systemds of two containers would end
# each other's services.
_INIT = """\
#!/bin/sh
set -e
tree=/sys/fs/cgroup
before=$(stat -f -c %T $tree)
umount -R $tree
mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 $tree
if [ "$before" = cgroup2fs ]; then
    exec /sbin/init
fi
own=$tree/rootoftrust-lab-$(cat /proc/sys/kernel/random/uuid)
mkdir "$own"
echo $$ > "$own/cgroup.procs"
umount $tree
exec unshare --cgroup sh -c "mount -t cgroup2 -o nosuid,nodev,noexec cgroup2 $tree && exec /sbin/init"
"""

_INIT_PATH = "usr/sbin/lab-init"
_BASE_REPOSITORY = "rootoftrust-lab/debian-base"
_SETTINGS = """\
FROM {base}
ENV container=docker
LABEL {label}={recipe}
STOPSIGNAL SIGRTMIN+3
CMD ["/{init}"]
"""

# There are no devices to manage, and no network to set up.
_MASKED = (
    "console-getty.service",
    "systemd-modules-load.service",
    "systemd-networkd.service",
    "systemd-networkd.socket",
    "systemd-udev-trigger.service",
    "systemd-udevd-control.socket",
    "systemd-udevd-kernel.socket",
    "systemd-udevd.service",
)


@dataclass(frozen=True)
class ContainerOptions:
    """How to run a container of an image; field names and values are those of a platform in ``molecule.yml``."""

    image: str
    capabilities: tuple[str, ...] = ("SYS_ADMIN",)
    security_opts: tuple[str, ...] = ("seccomp=unconfined", "apparmor=unconfined")
    cgroupns_mode: str = "private"
    tmpfs: tuple[str, ...] = ("/run", "/run/lock", "/tmp:exec")
    network_mode: str = "none"
    override_command: bool = False
    pre_build_image: bool = True

    def arguments(self) -> list[str]:
        """The same as words of ``docker run``, the image last."""
        return [
            *(f"--cap-add={capability}" for capability in self.capabilities),
            *(f"--security-opt={option}" for option in self.security_opts),
            f"--cgroupns={self.cgroupns_mode}",
            *(f"--tmpfs={path}" for path in self.tmpfs),
            f"--network={self.network_mode}",
            self.image,
        ]

    def as_dict(self) -> dict[str, object]:
        """The same as JSON can hold it."""
        return asdict(self)


def tag(release: Release) -> str:
    """The name of the image, the same in every version of the recipe, so that ``molecule.yml`` can name it."""
    return f"rootoftrust-lab/debian:{release.key}"


def container_run_args(release: Release) -> ContainerOptions:
    """How to run a container of ``release``."""
    return ContainerOptions(image=tag(release))


def recipe_of(name: str) -> str | None:
    """The digest of the recipe the image ``name`` was made by; None when the daemon has no such image."""
    try:
        return _docker("image", "inspect", "--format", f'{{{{index .Config.Labels "{_LABEL}"}}}}', name).strip()
    except LabError:
        return None


def add_image(root: Path, release: Release, recipe: str) -> None:
    """Make the image of ``release`` of the tree ``root``, which gets the init that systemd needs in a container."""
    rootfs.mask(root, _MASKED)
    rootfs.write(root, _INIT_PATH, _INIT, mode=0o755)
    base = f"{_BASE_REPOSITORY}:{release.key}"
    pack = 'tar --create --numeric-owner --directory "$1" . | docker import - "$2"'
    command.run(["bash", "-o", "pipefail", "-c", pack, "bash", root, base], env=_environment())
    # `docker import` cannot set the stop signal, so the settings are a layer of their own.
    settings = _SETTINGS.format(base=base, label=_LABEL, recipe=recipe, init=_INIT_PATH)
    command.run(["docker", "build", "--quiet", "--tag", tag(release), "-"], stdin=settings, env=_environment())


def ensure() -> None:
    """Make sure that a Docker daemon answers: the host's own, else one that the lab starts and `stop` ends."""
    host.require("docker")
    if running():
        return
    host.require("dockerd")
    if os.geteuid() != 0:
        raise LabError("docker: no daemon answers: start it, or run this as root, then the lab starts one of its own")
    _RUN.mkdir(exist_ok=True)
    log = _RUN / "dockerd.log"
    data = cache.root() / "docker"
    progress.say(f"No Docker daemon answers: the lab runs one until 'python3 -m lab docker stop'; log: {log}")
    with progress.step("Docker daemon"):
        with open(log, "wb") as output:
            daemon = subprocess.Popen(
                [
                    "dockerd",
                    "--pidfile",
                    _PID_FILE,
                    "--host",
                    _SOCKET,
                    "--data-root",
                    data,
                    "--exec-root",
                    _RUN / "exec",
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        end = time.monotonic() + _SECONDS_TO_START
        while not running():
            if daemon.poll() is not None or time.monotonic() > end:
                daemon.kill()
                last = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-5:])
                raise LabError(f"dockerd: does not answer: read {log}:\n{last}")
            time.sleep(0.2)


def running() -> bool:
    """Whether a Docker daemon answers."""
    try:
        _docker("version", "--format", "{{.Server.Version}}")
    except LabError:
        return False
    return True


def stop() -> bool:
    """End the daemon that `ensure` started, with its containers; return False when it does not run."""
    pid = _own_pid()
    if pid is None:
        return False
    containers = _docker("ps", "--all", "--quiet").split()
    if containers:
        _docker("rm", "--force", *containers)
    os.kill(pid, signal.SIGTERM)
    end = time.monotonic() + _SECONDS_TO_STOP
    while _own_pid() is not None:
        if time.monotonic() > end:
            raise LabError(f"dockerd: process {pid} did not end within {_SECONDS_TO_STOP:.0f} s: read {_RUN}/dockerd.log")
        time.sleep(0.1)
    return True


def _own_pid() -> int | None:
    """The process of our own daemon, recognised by its arguments."""
    try:
        pid = int(_PID_FILE.read_text(encoding="utf-8"))
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (FileNotFoundError, ValueError):
        return None
    return pid if os.fsencode(_PID_FILE) in words else None


def _docker(*words: str) -> str:
    return command.run(["docker", *words], env=_environment())


def _environment() -> dict[str, str]:
    return {} if os.environ.get("DOCKER_HOST") or os.environ.get("DOCKER_CONTEXT") else {"DOCKER_HOST": _SOCKET}
