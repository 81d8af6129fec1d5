# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The text of /proc, /sys, systemctl and configuration files, understood."""

from __future__ import annotations

import re
import shlex
from typing import Callable, Iterable, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.model import (
    NO_HWRNG,
    Cpu,
    Feeder,
    Hwrng,
    Process,
    SeedFile,
    Setting,
    Unit,
)

DAEMONS = {  # the kernel's name of the process (its first 15 characters) → the feeder's name
    "rngd": "rngd",
    "haveged": "haveged",
    "jitterentropy-r": "jitterentropy",
    "infnoise": "infnoise",
    "clrngd": "clrngd",
}
KERNEL_THREAD = "hwrng"
UNITS = {  # unit → feeder
    "rngd.service": "rngd",
    "rng-tools.service": "rngd",
    "rng-tools-debian.service": "rngd",
    "haveged.service": "haveged",
    "jitterentropy.service": "jitterentropy",
}
SEED_UNIT = "systemd-random-seed.service"
POOL_DEVICES = ("/dev/random", "/dev/urandom")
OBSOLETE_SYSCTLS = ("read_wakeup_threshold", "write_wakeup_threshold", "urandom_min_reseed_secs")
CONTAINER_MARKS = {"/.dockerenv": "docker", "/run/.containerenv": "podman"}

# rngd's options that take a value, by flavour: the same letter means another thing in each (from the programs' --help).
VALUED_OPTIONS = {
    "rng-tools5": "rocpsW",
    "rng-tools-debian": "rocpsWtHRTBSQ",
    "rng-tools-6": "rocpsWxneORD",
}


def words(text: str | None) -> tuple[str, ...]:
    return tuple((text or "").split())


def hwrng(attributes: Mapping[str, str | None], *, device: bool, fed: bool) -> Hwrng:
    """The framework's state.

    :param attributes: the files of /sys/class/misc/hw_random by name, and ``current_quality``, the module parameter that stood for
        ``rng_quality`` before that file existed; None for what is not there.
    :param device: whether /dev/hwrng is there.
    :param fed: whether the kernel's thread runs.
    """
    current = (attributes.get("rng_current") or "").strip()
    selected = attributes.get("rng_selected")
    quality = attributes.get("rng_quality")
    value = quality if quality is not None else attributes.get("current_quality")
    current = "" if current == NO_HWRNG else current
    return Hwrng(
        present=attributes.get("rng_current") is not None,
        available=tuple(name for name in words(attributes.get("rng_available")) if name != NO_HWRNG),
        current=current,
        selected=None if selected is None else selected.strip() == "1",
        quality=int(value) if current and value and value.strip().isdigit() else None,
        quality_settable=quality is not None,
        device=device,
        fed=fed,
    )


def cpu(cpuinfo: str) -> Cpu:
    """From /proc/cpuinfo: the line ``flags`` (x86), ``Features`` (Arm) or ``cpu`` (POWER; darn came with POWER9)."""
    found: set[str] = set()
    power = 0
    for line in cpuinfo.splitlines():
        name, dummy, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            found.update(value.split())
            break
        match = re.match(r"\s*POWER(\d+)", value) if name.strip() == "cpu" else None
        if match:
            power = int(match.group(1))
            break
    return Cpu(rdrand="rdrand" in found, rdseed="rdseed" in found, rndr="rng" in found, darn=power >= 9)


def virtualization(cpuinfo: str, hypervisor_type: str, dmi: str) -> str:
    """The hypervisor, by the names of systemd-detect-virt, for hosts without that program.

    :param cpuinfo: /proc/cpuinfo.
    :param hypervisor_type: /sys/hypervisor/type.
    :param dmi: vendor and product of /sys/class/dmi/id.
    """
    if "User Mode Linux" in cpuinfo:
        return "uml"
    if hypervisor_type == "xen":
        return "xen"
    for mark, name in (
        ("KVM", "kvm"),
        ("QEMU", "qemu"),
        ("VMware", "vmware"),
        ("VirtualBox", "oracle"),
        ("Microsoft", "microsoft"),
        ("Amazon EC2", "amazon"),
    ):
        if mark in dmi:
            return name
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    return "vm-other" if flags and "hypervisor" in flags.group(1).split() else ""


def container(manager: str | None, environ: str, marks: Iterable[str]) -> str:
    """The container manager, or empty.

    :param manager: /run/systemd/container.
    :param environ: /proc/1/environ.
    :param marks: those of CONTAINER_MARKS that exist.
    """
    if manager:
        return manager.strip()
    for variable in environ.split("\0"):
        name, dummy, value = variable.partition("=")
        if name == "container" and value:
            return value
    return next((CONTAINER_MARKS[mark] for mark in marks), "")


def flavour(lists: Mapping[str, str]) -> str:
    """Which rngd is installed.

    :param lists: dpkg's lists of files by package; empty on systems without dpkg, which all have upstream's rng-tools 6.
    """
    owners = [package for package, text in lists.items() if re.search(r"/sbin/rngd$", text, re.MULTILINE)]
    if "rng-tools-debian" in owners:
        return "rng-tools-debian"
    if "rng-tools5" in owners:
        return "rng-tools5"
    return "rng-tools-6"


def units(show: str) -> tuple[Unit, ...]:
    """The blocks that ``systemctl show`` prints, without units that do not exist; an alias counts once."""
    found: dict[str, Unit] = {}
    for block in re.split(r"\n\s*\n", show):
        fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        name = fields.get("Id", "")
        if not name or fields.get("LoadState") in ("not-found", "masked"):
            continue
        argv = re.search(r"argv\[\]=(.*?) ;", fields.get("ExecStart", ""))
        tried = fields.get("ConditionTimestampMonotonic", "0") not in ("", "0")
        result = fields.get("Result", "")
        found[name] = Unit(
            name=name,
            active=fields.get("ActiveState", ""),
            enabled=fields.get("UnitFileState", ""),
            result=result,
            skipped=result == "exec-condition" or (tried and fields.get("ConditionResult") == "no"),
            main_pid=int(fields.get("MainPID") or 0),
            argv=words(argv.group(1)) if argv else (),
            environment=tuple(shell_words(fields.get("Environment", ""))),
        )
    return tuple(found.values())


def shell_words(text: str) -> list[str]:
    """The words of a line of shell; where its quotes are broken, what blanks separate."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def option_values(argv: Sequence[str], letter: str, long: str, valued: str) -> list[str]:
    """The values given to an option in any of getopt's forms: ``-r X``, ``-rX``, ``-fr X``, ``--long X``, ``--long=X``.

    :param valued: the letters that take a value, so that ``-or`` is not taken for ``-o -r``.
    """
    values: list[str] = []
    following = iter(argv)
    for word in following:
        if word == "--" + long:
            values.append(next(following, ""))
        elif word.startswith(f"--{long}="):
            values.append(word.partition("=")[2])
        elif re.match(r"-[^-]", word):
            for place, character in enumerate(word[1:], 1):
                if character in valued or character == letter:
                    value = word[place + 1 :] or next(following, "")
                    values += [value] if character == letter else []
                    break
    return values


def rngd_sources(argv: Sequence[str], flavour_name: str) -> tuple[str, ...]:
    """The devices that an rngd was told to read (``-r``); those of a source that it was told to leave out do not count."""
    valued = VALUED_OPTIONS.get(flavour_name, "r")
    devices = option_values(argv, "r", "rng-device", valued)
    if flavour_name == "rng-tools-6":
        excluded = option_values(argv, "x", "exclude", valued)
        included = option_values(argv, "n", "include", valued)
        hardware = {"hwrng", "0"}
        if hardware & set(excluded) or (included and not hardware & set(included)):
            return ()
    return tuple(devices)


def rngd_discards(argv: Sequence[str], flavour_name: str) -> bool:
    """Whether an rngd only tests (``-t`` of rng-tools 6; the other programs take that letter for an interval)."""
    short = any(re.match(r"-[^-xneORDrocpsW]*t", word) for word in argv)
    return flavour_name == "rng-tools-6" and (short or "--test" in argv)


def feeders(
    processes: Iterable[Process], known: Iterable[Unit], state: Hwrng, rngd_flavour: str, is_pool: Callable[[str], bool]
) -> tuple[Feeder, ...]:
    """Who feeds the pool or is set up to: the kernel's thread, then daemons that run, then units whose daemon does not.

    :param processes: running processes of the names in DAEMONS and KERNEL_THREAD.
    :param known: systemd units.
    :param is_pool: tells whether a path leads to the kernel's own pool.
    """
    unit_list = [unit for unit in known if unit.name in UNITS]
    found = (
        [Feeder(name="kernel-hwrng", active=True, credited=state.credited, sources=(state.current,))] if state.fed and state.current else []
    )
    for process in processes:
        name = DAEMONS.get(process.name)
        if name is None or process.is_kernel_thread:
            continue
        own = next((unit for unit in unit_list if unit.main_pid == process.pid), None)
        own = own or next(
            (unit for unit in unit_list if UNITS[unit.name] == name and unit.active == "active" and not unit.main_pid),
            None,
        )
        found.append(_daemon(name, process.argv, own, rngd_flavour, is_pool, running=True))
    running = {feeder.name for feeder in found}
    found += [
        _daemon(UNITS[unit.name], unit.argv, unit, rngd_flavour, is_pool, running=False)
        for unit in unit_list
        if UNITS[unit.name] not in running
    ]
    return tuple(found)


def _daemon(
    name: str,
    argv: Sequence[str],
    unit: Unit | None,
    rngd_flavour: str,
    is_pool: Callable[[str], bool],
    *,
    running: bool,
) -> Feeder:
    is_rngd = name == "rngd"
    sources = rngd_sources(argv[1:], rngd_flavour) if is_rngd else ()
    test_mode = is_rngd and rngd_discards(argv[1:], rngd_flavour)
    state = ""
    if unit is not None and not running:
        state = "skipped" if unit.skipped else unit.active
    return Feeder(
        name=name,
        active=running,
        credited=running and not test_mode,
        flavour=rngd_flavour if is_rngd else "",
        unit=unit.name if unit else "",
        enabled=bool(unit and unit.enabled == "enabled"),
        sources=sources,
        options=tuple(argv[1:]),
        fake=any(is_pool(source) for source in sources),
        state=state,
        test_mode=test_mode,
    )


def settings(path: str, text: str) -> list[Setting]:
    """The lines ``NAME=value`` of a file; comments and what is no such line are left out."""
    found = []
    for line in text.splitlines():
        match = re.match(r"\s*(?:export\s+|-)?([A-Za-z_][\w./]*)\s*=\s*(.*?)\s*$", line)
        if match:
            found.append(Setting(path, match.group(1), match.group(2)))
    return found


def obsolete_sysctls(lines: Iterable[Setting]) -> tuple[Setting, ...]:
    """Settings of the pool's thresholds, which the 256-bit pool ignores or does not have."""
    names = {f"kernel.random.{name}" for name in OBSOLETE_SYSCTLS}
    return tuple(line for line in lines if line.name.replace("/", ".") in names)


def configured_sources(lines: Iterable[Setting], rngd_flavour: str) -> list[Setting]:
    """The devices that rngd's configuration file names, one setting for each: HRNGDEVICE, or ``-r`` among the options."""
    found = []
    for line in lines:
        value = shell_words(line.value)
        if line.name == "HRNGDEVICE":
            devices = tuple(value[:1])
        else:
            devices = rngd_sources([word for part in value for word in part.split()], rngd_flavour)
        found += [Setting(line.path, line.name, device) for device in devices]
    return found


def seed_file(path: str, present: bool, known: Iterable[Unit]) -> SeedFile:
    """systemd's seed file; what is credited stands in the environment of its unit (SYSTEMD_RANDOM_SEED_CREDIT, by default nothing)."""
    environment = dict(
        variable.split("=", 1) for unit in known if unit.name == SEED_UNIT for variable in unit.environment if "=" in variable
    )
    value = environment.get("SYSTEMD_RANDOM_SEED_CREDIT", "0").lower()
    credit = "force" if value == "force" else "yes" if value in ("1", "yes", "y", "true", "t", "on") else "no"
    return SeedFile(path=path, kind="systemd", present=present, credit=credit)
