# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Commands about images, the cache, programs and Docker. Each is ``verb(arguments) -> exit status``."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lab import cache, docker, guest_tpm, images, programs, releases, rootfs, uml_build
from lab.releases import Release

_ENGINES: dict[str, Callable[[Release], object]] = {
    "uml": lambda release: images.uml_image(release).root,
    "uml-tpm": lambda release: images.uml_image(release, guest_tpm.with_tpm(uml_build.ensure())).root,
    "qemu": lambda release: images.qemu_image(release).disk,
    "container": images.container_image,
}
# Making a root file system waits for the network half of its time: two at once keep two cores busy.
_AT_ONCE = 2


def add_parsers(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add the verbs ``image``, ``kernel``, ``cache``, ``program`` and ``docker``."""
    image = subparsers.add_parser("image", help="make the images of releases, where the cache has none")
    image.add_argument("--engine", choices=[*_ENGINES, "all"], action="append", help="default: uml; may be repeated")
    image.add_argument("release", nargs="*", help=f"default: all ({', '.join(releases.RELEASES)})")
    image.set_defaults(verb=_image)

    kernel = subparsers.add_parser("kernel", help="build the User Mode Linux kernel of machines with a TPM, where the cache has none")
    kernel.set_defaults(verb=_kernel)

    cached = subparsers.add_parser("cache", help="show what the cache holds")
    cached.add_argument("--prune", action="store_true", help="remove every entry that no machine uses")
    cached.set_defaults(verb=_cache)

    program = subparsers.add_parser("program", help="print the folders that have these programs, unpacked where the host lacks them")
    program.add_argument("name", nargs="+")
    program.set_defaults(verb=_program)

    containers = subparsers.add_parser("docker", help="start or stop a Docker daemon, show how containers are run")
    verbs = containers.add_subparsers(dest="verb", required=True)
    verbs.add_parser("start", help="start a daemon where none answers").set_defaults(verb=_docker_start)
    verbs.add_parser("stop", help="end the daemon the lab started, and its containers").set_defaults(verb=_docker_stop)
    options = verbs.add_parser("options", help="show the options of 'docker run' for a release")
    options.add_argument("release")
    options.add_argument("--json", action="store_true", help="as fields of a molecule platform")
    options.set_defaults(verb=_docker_options)


def _image(arguments: argparse.Namespace) -> int:
    wanted = [releases.get(name) for name in arguments.release] or list(releases.RELEASES.values())
    engines = list(_ENGINES) if "all" in (arguments.engine or []) else arguments.engine or ["uml"]
    # First all root file systems, because every image of a release waits for the same one.
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        list(pool.map(rootfs.ensure, wanted))
        if "container" in engines:
            docker.ensure()
        made = [(engine, release, pool.submit(_ENGINES[engine], release)) for release in wanted for engine in engines]
    for engine, release, result in made:
        print(f"{engine}\t{release.key}\t{result.result()}")
    return 0


def _kernel(dummy: argparse.Namespace) -> int:
    print(guest_tpm.with_tpm(uml_build.ensure()).argv_prefix[0])
    return 0


def _cache(arguments: argparse.Namespace) -> int:
    if arguments.prune:
        for path in cache.prune():
            print(f"removed {path}")
        return 0
    entries = cache.entries()
    for entry in entries:
        users = ", ".join(str(user) for user in entry.users) or "-"
        print(f"{entry.kind:12} {entry.name:28} {entry.size / 2**20:7.0f} MiB  used by {users}")
    print(f"{cache.root()}: {sum(entry.size for entry in entries) / 2**20:.0f} MiB")
    return 0


def _program(arguments: argparse.Namespace) -> int:
    for name in arguments.name:
        print(programs.folder(name))
    return 0


def _docker_start(dummy: argparse.Namespace) -> int:
    docker.ensure()
    return 0


def _docker_stop(dummy: argparse.Namespace) -> int:
    print("stopped" if docker.stop() else "the lab runs no Docker daemon")
    return 0


def _docker_options(arguments: argparse.Namespace) -> int:
    options = docker.container_run_args(releases.get(arguments.release))
    print(json.dumps(options.as_dict(), indent=2) if arguments.json else shlex.join(options.arguments()))
    return 0
