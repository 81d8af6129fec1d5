# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What /proc, /sys, systemctl and configuration files say, read from records of real systems."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy import configuration, parse, random
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.host import HostReader
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.hw_random import HwRandom
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.model import Choice, Host, Hwrng, Process, Setting, Unit
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.plan import plan_hwrng

FIXTURES = Path(__file__).parents[1] / "fixtures/entropy"


class NoPrograms:
    """A host without systemctl and systemd-detect-virt."""

    def get_bin_path(self, arg: str, required: bool = False, opt_dirs: list[str] | None = None) -> None:
        return None


def text(name: str) -> str:
    return (FIXTURES / name).read_text(encoding="utf-8")


def tree(folder: Path, name: str, **changes: str | None) -> str:
    """Lay out a recorded file tree; changes are by the file's base name, None takes it away."""
    for path, content in json.loads(text(f"{name}.json")).items():
        target = folder / path.lstrip("/")
        content = changes.get(target.name, content)
        if content is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(content, encoding="utf-8")
    (folder / "proc/sys/kernel/random").mkdir(parents=True, exist_ok=True)
    return str(folder)


def read(root: str) -> Host:
    return HostReader(Runner(NoPrograms()), root).read()


# --------------------------------------------------------------------------------------------------- recorded systems
def test_debian_11_with_the_backported_pool_and_a_quality_that_only_the_module_parameter_tells(tmp_path: Path) -> None:
    host = read(tree(tmp_path, "linux-5.10-qemu-virtio-rng-tools-debian"))
    assert (host.pool.kind, host.pool.ready_bits, host.pool.blocking) == ("bits256", 256, False)
    assert host.hwrng == Hwrng(True, ("virtio_rng.0",), "virtio_rng.0", False, 1000, False, True, True)
    assert host.hwrng.credited
    assert [(feeder.name, feeder.active, feeder.sources) for feeder in host.feeders] == [
        ("kernel-hwrng", True, ("virtio_rng.0",)),
        ("rngd", True, ("/dev/hwrng",)),
    ]
    assert (host.virtualization, host.container, host.fips) == ("qemu", "", False)


def test_a_machine_whose_rngd_reads_urandom(tmp_path: Path) -> None:
    host = read(tree(tmp_path, "linux-7.2-uml-rngd-urandom"))
    assert host.virtualization == "uml"
    assert host.hwrng.available == ("hw_random",)  # not "none", which this kernel lists as well
    by_name = {feeder.name: feeder for feeder in host.feeders}
    assert set(by_name) == {"kernel-hwrng", "rngd", "haveged", "jitterentropy"}
    assert (by_name["rngd"].fake, by_name["rngd"].sources) == (True, ("/dev/urandom",))


def test_a_container(tmp_path: Path) -> None:
    host = read(tree(tmp_path, "linux-6.18-kvm-docker"))
    assert host.container == "docker"
    assert host.cpu.rdrand and host.cpu.rdseed and not host.cpu.rndr and not host.cpu.darn


def test_no_hw_random_at_all(tmp_path: Path) -> None:
    gone = dict.fromkeys(("rng_available", "rng_current", "rng_selected", "rng_quality", "hwrng", "current_quality"))
    host = read(tree(tmp_path, "linux-6.18-kvm-docker", **gone))
    assert host.hwrng == Hwrng(fed=True)
    assert not host.feeders


def test_no_generator_is_selected(tmp_path: Path) -> None:
    host = read(tree(tmp_path, "linux-6.18-kvm-docker", rng_current="none\n"))
    assert (host.hwrng.current, host.hwrng.quality, host.hwrng.credited) == ("", None, False)


def test_a_pool_of_4096_bits_that_blocks(tmp_path: Path) -> None:
    root = tree(tmp_path, "linux-6.18-kvm-docker", poolsize="4096\n", entropy_avail="907\n")
    (tmp_path / random.FOLDER / "read_wakeup_threshold").write_text("64\n", encoding="utf-8")
    pool = read(root).pool
    assert (pool.kind, pool.ready_bits, pool.entropy_avail, pool.blocking) == ("legacy4096", 128, 907, True)


@pytest.mark.parametrize("content", [None, "", "no number"])
def test_a_pool_that_proc_does_not_show(tmp_path: Path, content: str | None) -> None:
    with pytest.raises(RootOfTrustError, match="pool's size"):
        read(tree(tmp_path, "linux-6.18-kvm-docker", poolsize=content))


@pytest.mark.parametrize(("files", "version"), [({"tpm_version_major": "2\n"}, "2.0"), ({"caps": "x"}, "1.2"), ({}, "2.0")])
def test_tpm(tmp_path: Path, files: dict[str, str], version: str) -> None:
    root = tree(tmp_path, "linux-6.18-kvm-docker", rng_available="tpm-rng-0 virtio_rng.0 \n")
    folder = tmp_path / "sys/class/tpm/tpm0"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    tpm = read(root).tpm
    assert (tpm.present, tpm.version, tpm.hwrng) == (True, version, True)


# ------------------------------------------------------------------------------------------------------- the pool's devices
def test_ways_to_the_pool(tmp_path: Path) -> None:
    link = tmp_path / "hwrng"
    link.symlink_to("/dev/urandom")
    assert all(map(random.is_pool_device, ["/dev/random", "/dev/urandom", str(link)]))
    assert not any(map(random.is_pool_device, ["/dev/zero", "/dev/hwrng", str(tmp_path), str(tmp_path / "none")]))


# ------------------------------------------------------------------------------------------------------------------ systemctl
def units(name: str) -> dict[str, Unit]:
    return {unit.name: unit for unit in parse.units(text(f"systemctl-{name}.txt"))}


def test_units_that_are_not_there_and_aliases_do_not_count() -> None:
    assert set(units("257-none-installed")) == {"systemd-random-seed.service"}
    assert set(units("257-rng-tools-debian-skipped")) == {
        "rng-tools-debian.service",
        "haveged.service",
        "jitterentropy.service",
        "systemd-random-seed.service",
    }


def test_a_unit_that_systemd_left_out() -> None:
    unit = units("257-rng-tools-debian-skipped")["rng-tools-debian.service"]
    assert (unit.active, unit.enabled, unit.skipped) == ("inactive", "enabled", True)


def test_a_unit_that_was_never_started_was_not_left_out() -> None:
    show = text("systemctl-257-rng-tools-debian-skipped.txt").replace("Result=exec-condition", "Result=success")
    unit = next(unit for unit in parse.units(show) if unit.name == "rng-tools-debian.service")
    assert unit.skipped
    show = show.replace("ConditionTimestampMonotonic=33341348", "ConditionTimestampMonotonic=0")
    assert not next(unit for unit in parse.units(show) if unit.name == "rng-tools-debian.service").skipped


def test_a_unit_made_from_an_init_script() -> None:
    unit = units("247-rng-tools-debian-sysv")["rng-tools-debian.service"]
    assert (unit.active, unit.enabled, unit.main_pid) == ("active", "generated", 0)


@pytest.mark.parametrize("show", ["", "\n\n", "Id=\n", "Failed to connect to bus: Host is down\n"])
def test_no_answer_of_systemctl(show: str) -> None:
    assert parse.units(show) == ()


@pytest.mark.parametrize(
    ("value", "credit"), [("", "no"), ("X=1", "no"), ("0", "no"), ("1", "yes"), ("yes", "yes"), ("force", "force"), ("nonsense", "no")]
)
def test_credit_of_the_seed_file(value: str, credit: str) -> None:
    line = f'Environment="SYSTEMD_RANDOM_SEED_CREDIT={value}"' if "=" not in value else f"Environment={value}"
    show = text("systemctl-257-none-installed.txt")
    assert "Environment=\nId=systemd-random-seed" in show
    known = parse.units(show.replace("Environment=\nId=systemd-random-seed", f"{line}\nId=systemd-random-seed"))
    assert parse.seed_file("/s", True, known).credit == credit


# ------------------------------------------------------------------------------------------------------------------- daemons
STATE = Hwrng(present=True, available=("virtio_rng.0",), current="virtio_rng.0", quality=1024, fed=True)


def daemons(known: tuple[Unit, ...], *processes: Process, flavour: str = "rng-tools5") -> dict[str, object]:
    found = parse.feeders(processes, known, STATE, flavour, random.is_pool_device)
    return {feeder.name: feeder for feeder in found if feeder.name != "kernel-hwrng"}


def test_a_daemon_belongs_to_its_unit_by_its_number_or_its_name() -> None:
    known = parse.units(text("systemctl-257-rng-tools-debian-skipped.txt"))
    found = daemons(
        known,
        Process(794, "haveged", ("/usr/sbin/haveged", "--Foreground")),
        Process(5, "jitterentropy-r", ("/usr/sbin/jitterentropy-rngd",)),
    )
    assert {name: (feeder.unit, feeder.active, feeder.state) for name, feeder in found.items()} == {
        "haveged": ("haveged.service", True, ""),
        "jitterentropy": ("jitterentropy.service", True, ""),
        "rngd": ("rng-tools-debian.service", False, "skipped"),
    }


def test_a_kernel_thread_named_like_a_daemon_is_none() -> None:
    assert daemons((), Process(7, "rngd", ())) == {}


@pytest.mark.parametrize(
    ("flavour", "argv", "sources"),
    [
        ("rng-tools5", ["-f"], ()),
        ("rng-tools5", ["-f", "-r", "/dev/urandom"], ("/dev/urandom",)),
        ("rng-tools5", ["-fr/dev/urandom"], ("/dev/urandom",)),
        ("rng-tools5", ["--rng-device=/dev/urandom"], ("/dev/urandom",)),
        ("rng-tools5", ["--rng-device", "/dev/urandom"], ("/dev/urandom",)),
        ("rng-tools5", ["-o", "-r"], ()),  # -r is the value of -o
        ("rng-tools5", ["-r"], ("",)),
        ("rng-tools-debian", ["-H", "0.5", "-r", "/dev/hwrng"], ("/dev/hwrng",)),
        ("rng-tools-6", ["-f", "-x", "hwrng", "-r", "/dev/urandom"], ()),
        ("rng-tools-6", ["-x0", "-r", "/dev/urandom"], ()),
        ("rng-tools-6", ["-n", "jitter", "-r", "/dev/urandom"], ()),
        ("rng-tools-6", ["-n", "hwrng", "-r", "/dev/urandom"], ("/dev/urandom",)),
        ("rng-tools-6", ["--fill-watermark=0", "-x", "pkcs11", "-D", "daemon:daemon", "-r", "/dev/random"], ("/dev/random",)),
    ],
)
def test_the_devices_that_rngd_reads(flavour: str, argv: list[str], sources: tuple[str, ...]) -> None:
    assert parse.rngd_sources(argv, flavour) == sources


@pytest.mark.parametrize(
    ("flavour", "argv", "discards"),
    [
        ("rng-tools-6", ["-f", "-t"], True),
        ("rng-tools-6", ["-ft"], True),
        ("rng-tools-6", ["--test"], True),
        ("rng-tools-6", ["-x", "jitter"], False),
        ("rng-tools-6", ["-xjitter"], False),
        ("rng-tools-debian", ["-t", "60"], False),  # an interval there
        ("rng-tools5", ["-f"], False),
    ],
)
def test_rngd_that_only_tests(flavour: str, argv: list[str], discards: bool) -> None:
    assert parse.rngd_discards(argv, flavour) is discards


@pytest.mark.parametrize(
    ("lists", "flavour"),
    [
        ({}, "rng-tools-6"),
        ({"rng-tools5": "/.\n/usr/sbin/rngd\n"}, "rng-tools5"),
        ({"rng-tools-debian": "/usr/sbin/rngd\n", "rng-tools5": "/usr/share/doc\n"}, "rng-tools-debian"),
        ({"rng-tools": "/usr/sbin/rngd\n", "rng-tools5": "/usr/share/doc/rng-tools5\n"}, "rng-tools-6"),
    ],
)
def test_which_rngd_is_installed(lists: dict[str, str], flavour: str) -> None:
    assert parse.flavour(lists) == flavour


# ----------------------------------------------------------------------------------------------------------- configuration files
def write(root: Path, path: str, content: str) -> None:
    target = root / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(content, encoding="utf-8")


def test_fake_sources_in_configuration_files(tmp_path: Path) -> None:
    write(tmp_path, "/etc/default/rng-tools-debian", '# HRNGDEVICE=/dev/null\nHRNGDEVICE=/dev/urandom\n#RNGDOPTIONS="-r /dev/x"\n')
    write(tmp_path, "/etc/sysconfig/rngd", 'RNGD_ARGS="--fill-watermark=0 -r /dev/random -D daemon:daemon"\n')
    found = configuration.rngd_devices("rng-tools-6", str(tmp_path))
    assert found == [
        Setting("/etc/default/rng-tools-debian", "HRNGDEVICE", "/dev/urandom"),
        Setting("/etc/sysconfig/rngd", "RNGD_ARGS", "/dev/random"),
    ]


def test_a_broken_quote_in_a_configuration_file_is_no_error(tmp_path: Path) -> None:
    write(tmp_path, "/etc/sysconfig/rngd", 'RNGD_ARGS=-r /dev/urandom "\n')
    assert [line.value for line in configuration.rngd_devices("rng-tools-6", str(tmp_path))] == ["/dev/urandom"]


def test_obsolete_sysctls(tmp_path: Path) -> None:
    write(tmp_path, "/etc/sysctl.d/10-entropy.conf", "# kernel.random.x\nkernel.random.write_wakeup_threshold = 1024\nvm.swappiness=1\n")
    write(tmp_path, "/etc/sysctl.conf", "kernel/random/read_wakeup_threshold=64\n-kernel.random.urandom_min_reseed_secs=60\n")
    found = configuration.obsolete_sysctls(str(tmp_path))
    assert [(line.path, line.name) for line in found] == [
        ("/etc/sysctl.conf", "kernel/random/read_wakeup_threshold"),
        ("/etc/sysctl.conf", "kernel.random.urandom_min_reseed_secs"),
        ("/etc/sysctl.d/10-entropy.conf", "kernel.random.write_wakeup_threshold"),
    ]


# -------------------------------------------------------------------------------------------------------- processor, machine, container
@pytest.mark.parametrize(
    ("cpuinfo", "flags"),
    [
        ("flags\t\t: fpu rdrand\n", (True, False, False, False)),
        ("Features\t: fp asimd rng bti\n", (False, False, False, True)),
        ("cpu\t\t: POWER9, altivec supported\n", (False, False, True, False)),
        ("cpu\t\t: POWER8 (raw), altivec supported\n", (False, False, False, False)),
        ("", (False, False, False, False)),
    ],
)
def test_instructions(cpuinfo: str, flags: tuple[bool, ...]) -> None:
    cpu = parse.cpu(cpuinfo)
    assert (cpu.rdrand, cpu.rdseed, cpu.darn, cpu.rndr) == flags
    assert cpu.any is any(flags)


@pytest.mark.parametrize(
    ("cpuinfo", "hypervisor", "dmi", "name"),
    [
        ("flags : hypervisor\n", "", "QEMU Standard PC SeaBIOS", "qemu"),
        ("flags : hypervisor\n", "xen", "", "xen"),
        ("flags : hypervisor\n", "", "", "vm-other"),
        ("flags : fpu\n", "", "LENOVO", ""),
        ("vendor_id\t: User Mode Linux\n", "", "", "uml"),
        ("", "", "Microsoft Corporation Virtual Machine", "microsoft"),
    ],
)
def test_virtualization(cpuinfo: str, hypervisor: str, dmi: str, name: str) -> None:
    assert parse.virtualization(cpuinfo, hypervisor, dmi) == name


@pytest.mark.parametrize(
    ("manager", "environ", "marks", "name"),
    [
        (None, "", [], ""),
        ("lxc\n", "container=x\0", ["/.dockerenv"], "lxc"),
        (None, "HOME=/\0container=systemd-nspawn\0", [], "systemd-nspawn"),
        (None, "container=\0", ["/.dockerenv"], "docker"),
        (None, "", ["/run/.containerenv"], "podman"),
    ],
)
def test_container_manager(manager: str | None, environ: str, marks: list[str], name: str) -> None:
    assert parse.container(manager, environ, marks) == name


# ------------------------------------------------------------------------------------------------------------ choosing a generator
def choose(root: str, name: str, quality: int | None = None) -> list[str]:
    """Plan and apply in a file tree; what was written."""
    framework, desired = HwRandom(root), Choice(name, quality)
    steps = plan_hwrng(framework.read(desired), desired)
    for step in steps:
        framework.apply(step)
    return [step.action for step in steps]


def test_choosing_writes_and_is_settled_then(tmp_path: Path) -> None:
    root = tree(tmp_path, "linux-6.18-kvm-docker", rng_available="virtio_rng.0 tpm-rng-0 none\n")
    assert choose(root, "tpm-rng-0", 500) == ["name", "quality"]
    assert (tmp_path / "sys/class/misc/hw_random/rng_current").read_text(encoding="utf-8") == "tpm-rng-0\n"
    assert choose(root, "tpm-rng-0", 500) == []


def test_a_kernel_that_says_yes_and_changes_nothing(tmp_path: Path) -> None:
    root = tree(tmp_path, "linux-6.18-kvm-docker", rng_available="virtio_rng.0 tpm-rng-0 none\n")
    current = tmp_path / "sys/class/misc/hw_random/rng_current"
    current.unlink()
    current.symlink_to("/dev/null")
    with pytest.raises(RootOfTrustError, match="accepted the change to tpm-rng-0 but still uses none"):
        choose(root, "tpm-rng-0")


def test_a_kernel_that_refuses(tmp_path: Path) -> None:
    step = Step(subject="s", action="name", sentence="", detail=Choice("tpm-rng-0"))
    with pytest.raises(RootOfTrustError, match=r"tpm-rng-0 could not be written .*No such file"):
        HwRandom(str(tmp_path)).apply(step)


def test_no_framework_in_a_container_is_the_hosts_business(tmp_path: Path) -> None:
    root = tree(tmp_path, "linux-6.18-kvm-docker", rng_current=None)
    with pytest.raises(RootOfTrustError, match=r"This is a container \(docker\)"):
        choose(root, "best")
    (tmp_path / ".dockerenv").unlink()
    with pytest.raises(RootOfTrustError, match="modprobe virtio_rng"):
        choose(root, "best")
