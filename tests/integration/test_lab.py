# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's promises about machines, kept by real ones."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab import guardian, machine, network, state
from lab.errors import LabError
from lab.machine import Machine
from lab.spec import MachineSpec

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the lab makes network namespaces, which takes root")

MakeMachine = Callable[..., Machine]


def _name(suffix: str) -> str:
    """A machine's name that no other run of these tests uses at the same time."""
    return f"t{os.getpid()}-{suffix}"


def _down(name: str) -> None:
    if state.load(name) is not None:
        machine.get(name).down()


@pytest.fixture
def make() -> Iterator[MakeMachine]:
    """Makes machines that are gone after the test."""
    names: list[str] = []

    def up(suffix: str, **spec: object) -> Machine:
        names.append(_name(suffix))
        return machine.up(MachineSpec(name=names[-1], **spec), owner=os.getpid())  # type: ignore[arg-type]  # of several types, each checked by MachineSpec

    yield up
    for name in names:
        _down(name)


@pytest.fixture(scope="module")
def shared() -> Iterator[Machine]:
    """A UML machine for the tests that do not hurt it."""
    yield machine.up(MachineSpec(name=_name("shared"), engine="uml", disks=("64M",)), owner=os.getpid())
    _down(_name("shared"))


def _machine_id(one: Machine) -> str:
    return one.run(["cat", "/etc/machine-id"]).stdout.strip()


def _boot_id(one: Machine) -> str:
    return one.run(["cat", "/proc/sys/kernel/random/boot_id"]).stdout.strip()


def _host_key(one: Machine) -> str:
    return one.run(["cat", "/etc/ssh/ssh_host_ed25519_key.pub"]).stdout.split()[1]


def _gone(name: str, namespace: str) -> bool:
    return state.load(name) is None and not network.exists(namespace) and not (state.run_root() / name).exists()


def _wait(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def test_an_sshd_that_takes_its_time_is_waited_for_and_not_called_again() -> None:
    namespace, link = f"rot-{_name('slow')}", network.Link("10.0.2.2", "10.0.2.15", 24)
    calls: list[None] = []

    def answer(server: socket.socket) -> None:
        connection, dummy = server.accept()
        calls.append(None)
        time.sleep(2)  # the slowness that this is about
        connection.sendall(b"SSH-2.0-slow\r\n")
        connection.close()

    network.create(namespace, link, "02:00:00:00:00:02")
    try:
        assert not network.speaks_ssh(namespace, link.host, timeout=0.5), "nobody listens yet"
        with network.tcp_socket(namespace) as server:
            server.bind((link.host, 22))
            server.listen()
            sshd = threading.Thread(target=answer, args=(server,))
            sshd.start()
            assert network.speaks_ssh(namespace, link.host, timeout=0.5)
            sshd.join()
        assert len(calls) == 1
    finally:
        network.delete(namespace)


# --------------------------------------------------------------------------------------------------------------- UML


@pytest.mark.uml
def test_a_power_cut_ends_the_machine_at_once_and_its_disks_come_back(shared: Machine) -> None:
    before = _boot_id(shared)
    disk = shared.disks[0]
    shared.run(f"echo kept > /root/file && sync && echo kept too | dd of={disk} conv=fsync status=none")
    sleeper = subprocess.Popen([*shared.ssh_command(), "sleep 600"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    running = guardian.status(state.load(shared.name) or pytest.fail("no record"))
    assert running is not None

    shared.kill()

    assert not shared.running
    assert not Path(f"/proc/{running.vm}").exists()
    assert network.processes(shared.namespace) == []
    assert sleeper.wait(timeout=10) != 0, "a connection into the machine must end with it"

    shared.start()
    assert shared.run(["cat", "/root/file"]).stdout == "kept\n"
    assert shared.run(["head", "-c", "9", disk]).stdout == "kept too\n"
    assert _boot_id(shared) != before


@pytest.mark.uml
def test_a_reboot_from_inside_comes_back_with_network(shared: Machine) -> None:
    before = _boot_id(shared)
    for dummy in range(2):
        shared.reboot_wait()
    assert _boot_id(shared) != before
    assert shared.running


@pytest.mark.uml
def test_poweroff_leaves_a_machine_that_starts_again(shared: Machine) -> None:
    shared.shutdown()
    assert not shared.running
    shared.start()
    assert shared.run(["true"]).returncode == 0


@pytest.mark.uml
def test_up_again_is_the_same_machine_and_another_wish_is_refused(shared: Machine) -> None:
    before = _boot_id(shared)
    again = machine.up(MachineSpec(name=shared.name, disks=("64M",)), owner=os.getpid())
    assert _boot_id(again) == before
    with pytest.raises(LabError, match="not as asked for"):
        machine.up(MachineSpec(name=shared.name, memory="256M"), owner=os.getpid())


@pytest.mark.uml
def test_a_failing_command_and_a_slow_one_say_which(shared: Machine) -> None:
    with pytest.raises(LabError, match=rf"{shared.name}: ls /nowhere: ended with 2: .*No such file"):
        shared.run(["ls", "/nowhere"])
    with pytest.raises(LabError, match="sleep 60: not finished after 1 s"):
        shared.run(["sleep", "60"], timeout=1)


@pytest.mark.uml
def test_a_wrong_host_key_is_refused(shared: Machine) -> None:
    known_hosts = shared.state_dir / "known_hosts"
    right = known_hosts.read_text()
    public = subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(shared.state_dir / "other")], check=True, capture_output=True
    )
    assert public.returncode == 0
    try:
        known_hosts.write_text(f"{shared.name} {(shared.state_dir / 'other.pub').read_text()}")
        done = shared.run(["true"], check=False)
        assert done.returncode == 255
        assert "Host key verification failed" in done.stderr
    finally:
        known_hosts.write_text(right)
    assert shared.run(["true"]).returncode == 0


@pytest.mark.uml
def test_machines_see_neither_each_other_nor_the_world(shared: Machine, make: MakeMachine) -> None:
    other = make("other", engine="uml")

    assert shared.namespace != other.namespace
    assert set(network.processes(shared.namespace)).isdisjoint(network.processes(other.namespace))
    for one in (shared, other):
        links = json.loads(subprocess.run(["ip", "-n", one.namespace, "-j", "link"], check=True, capture_output=True).stdout)
        assert {link["ifname"] for link in links} == {"lo", network.TAP}
    shared.run("touch /root/only-here")
    assert other.run(["test", "-e", "/root/only-here"], check=False).returncode == 1
    assert _machine_id(shared) != _machine_id(other)
    # 192.0.2.1 (RFC 5737) is nobody's; the packet ends at the namespace's own end of the tap, which has no route for it.
    connect = "import socket; socket.create_connection(('192.0.2.1', 22), 3)"
    done = other.run(["python3", "-c", connect], check=False)
    assert done.returncode == 1
    assert "unreachable" in done.stderr.lower() or "timed out" in done.stderr


@pytest.mark.uml
def test_a_clone_has_its_originals_files_and_another_identity(shared: Machine, make: MakeMachine) -> None:
    shared.run("echo of the original > /root/original")

    clone = make("clone", disk_from=shared.name)

    assert shared.running, "the original goes on"
    assert clone.spec.disks == shared.spec.disks
    assert clone.run(["cat", "/root/original"]).stdout == "of the original\n"
    assert _host_key(clone) == _host_key(shared)
    assert _machine_id(clone) != _machine_id(shared)
    clone.run("echo of the clone > /root/original; sync")
    assert shared.run(["cat", "/root/original"]).stdout == "of the original\n"

    # The identity is given once: the file's time tells when, and must not move with each boot.
    identity = clone.run("cat /etc/machine-id; stat -c %Y /etc/machine-id").stdout
    clone.reboot_wait()
    assert clone.run("cat /etc/machine-id; stat -c %Y /etc/machine-id").stdout == identity
    clone.kill()
    clone.start()
    assert clone.run("cat /etc/machine-id; stat -c %Y /etc/machine-id").stdout == identity


@pytest.mark.uml
def test_a_clone_cannot_have_other_hardware(shared: Machine, make: MakeMachine) -> None:
    with pytest.raises(LabError, match="a clone has the memory of"):
        make("clone", disk_from=shared.name, memory="256M")
    assert state.load(_name("clone")) is None


@pytest.mark.uml
def test_a_machine_goes_with_its_owner(make: MakeMachine) -> None:
    with subprocess.Popen(["sleep", "600"]) as owner:
        name = _name("owned")
        try:
            one = machine.up(MachineSpec(name=name, engine="uml"), owner=owner.pid)
            inside = network.processes(one.namespace)
            assert inside

            owner.send_signal(signal.SIGKILL)
            owner.wait()

            assert _wait(lambda: _gone(name, one.namespace)), "owner dead, machine still there"
            assert _wait(lambda: not any(Path(f"/proc/{pid}").exists() for pid in inside))
        finally:
            owner.kill()
            _down(name)


@pytest.mark.uml
def test_a_stopped_machine_goes_with_its_owner_too() -> None:
    with subprocess.Popen(["sleep", "600"]) as owner:
        name = _name("owned")
        try:
            one = machine.up(MachineSpec(name=name, engine="uml"), owner=owner.pid)
            one.kill()
            owner.kill()
            owner.wait()
            assert _wait(lambda: _gone(name, one.namespace))
        finally:
            owner.kill()
            _down(name)


@pytest.mark.uml
def test_a_killed_guardian_takes_the_machine_with_it_and_the_next_command_cleans_up() -> None:
    with subprocess.Popen(["sleep", "600"]) as owner:
        name = _name("orphan")
        try:
            one = machine.up(MachineSpec(name=name, engine="uml"), owner=owner.pid)
            seen = guardian.status(state.load(name) or pytest.fail("no record"))
            assert seen is not None
            inside = network.processes(one.namespace)

            os.kill(seen.pid, signal.SIGKILL)

            assert _wait(lambda: not any(Path(f"/proc/{pid}").exists() for pid in inside)), "the machine outlived its guardian"
            assert not one.running
            # Its owner lives, so it stays and can be started; then the owner ends with no guardian to see it.
            one.start()
            seen = guardian.status(state.load(name) or pytest.fail("no record"))
            assert seen is not None
            os.kill(seen.pid, signal.SIGKILL)
            owner.kill()
            owner.wait()
            assert _wait(lambda: not one.guarded)
            subprocess.run([sys.executable, "-m", "lab", "status"], cwd=ROOT, check=True, capture_output=True)
            assert _gone(name, one.namespace)
        finally:
            owner.kill()
            _down(name)


@pytest.mark.uml
def test_a_machine_that_does_not_boot_shows_its_console(make: MakeMachine) -> None:
    started = time.monotonic()
    with pytest.raises(LabError) as raised:
        make("broken", engine="uml", kernel_args=("root=/dev/none",))
    text = str(raised.value)
    assert "Kernel panic - not syncing: VFS" in text
    log = state.state_root() / _name("broken") / "console.log"
    assert str(log) in text
    assert "Kernel panic" in log.read_text(errors="replace")
    assert not machine.get(_name("broken")).running
    assert time.monotonic() - started < 60


@pytest.mark.uml
def test_ansible_reaches_machines_with_strict_checking(shared: Machine, make: MakeMachine, tmp_path: Path) -> None:
    other = make("ansible", engine="uml")
    names = [shared.name, other.name]
    bin_dir = Path(sys.executable).parent
    lists = []
    for form in ("ini", "json"):
        shown = subprocess.run(
            [sys.executable, "-m", "lab", "inventory", "--format", form, *names], cwd=ROOT, check=True, capture_output=True
        )
        path = tmp_path / f"hosts.{form}"
        path.write_bytes(shown.stdout)
        listed = subprocess.run([bin_dir / "ansible-inventory", "-i", path, "--list"], cwd=tmp_path, check=True, capture_output=True)
        lists.append(json.loads(listed.stdout)["_meta"]["hostvars"])
    assert lists[0] == lists[1]
    environment = {**os.environ, "ANSIBLE_HOST_KEY_CHECKING": "True"}
    done = subprocess.run(
        [bin_dir / "ansible", "-i", tmp_path / "hosts.ini", "all", "-m", "command", "-a", "cat /etc/machine-id"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # Both have the same address: a shared connection to the wrong one would show here.
    for one in (shared, other):
        assert f"{one.name} | CHANGED | rc=0 >>\n{_machine_id(one)}" in done.stdout


# ------------------------------------------------------------------------------------------------------ UML with a TPM

_TPM_TOOLS = "export TPM2TOOLS_TCTI=device:/dev/tpmrm0; "
_MAKE_PARENT = "tpm2_createprimary -Q -C o -G ecc -c /run/primary; tpm2_evictcontrol -Q -C o -c /run/primary 0x81000001"
_MAKE_KEYS = (
    "keyctl link @u @s; k=$(keyctl add trusted kmk 'new 32 keyhandle=0x81000001' @u); keyctl pipe $k > /root/kmk; "
    "e=$(keyctl add encrypted evm 'new trusted:kmk 32' @u); keyctl pipe $e > /root/evm; sync"
)
_LOAD_KEYS = 'keyctl link @u @s; keyctl add trusted kmk "load $(cat /root/kmk)" @u; keyctl add encrypted evm "load $(cat /root/evm)" @u'


def _primary(one: Machine) -> str:
    """What a primary key of this TPM's owner is: the same until the TPM is cleared, and of no other TPM."""
    return one.run(
        f"{_TPM_TOOLS} tpm2_createprimary -Q -C o -G ecc -c /run/seen; tpm2_readpublic -Q -c /run/seen -o /run/key; xxd -p /run/key"
    ).stdout


@pytest.mark.uml
@pytest.mark.parametrize("release", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("11", "12", "forky")), "13"])
def test_trusted_and_encrypted_keys_come_back_after_a_power_cut(make: MakeMachine, release: str) -> None:
    one = make(f"tpm-{release}", release=release, engine="uml", tpm="2.0")
    assert one.run(["cat", "/sys/class/tpm/tpm0/tpm_version_major"]).stdout == "2\n"
    assert "tpm-rng-0" in one.run(["cat", "/sys/class/misc/hw_random/rng_available"]).stdout
    one.run(f"set -e; {_TPM_TOOLS} {_MAKE_PARENT}; {_MAKE_KEYS}")
    one.kill()

    one.start()
    one.run(f"set -e; {_LOAD_KEYS}")
    before, after = one.run("cat /root/evm; echo; keyctl pipe $(keyctl search @u encrypted evm)").stdout.split("\n")[:2]
    assert before == after and before.startswith("default trusted:kmk 32 ")


@pytest.mark.uml
def test_a_tpm_forgets_nothing_it_has_said_and_a_clone_has_another(make: MakeMachine) -> None:
    one = make("tpm", tpm="2.0", needs=("trusted-keys",))
    assert one.engine == "uml", "the quickest that has it"
    one.run(f"{_TPM_TOOLS} {_MAKE_PARENT}")
    one.kill()
    one.start()
    assert "0x81000001" in one.run(f"{_TPM_TOOLS} tpm2_getcap handles-persistent").stdout, "it was not written out by anybody but the TPM"
    key = _primary(one)
    one.reboot_wait()
    assert _primary(one) == key

    clone = make("tpmclone", disk_from=one.name)
    own = _primary(clone)
    assert own != key
    clone.reboot_wait()
    assert _primary(clone) == own
    clone.run("for module in dm-crypt vhci-hcd; do modprobe $module || exit 1; done")


@pytest.mark.uml
def test_a_tpm_of_the_old_kind(make: MakeMachine) -> None:
    one = make("tpm12", engine="uml", tpm="1.2")
    assert one.run("cat /sys/class/tpm/tpm0/tpm_version_major; ls /dev/tpm*").stdout == "1\n/dev/tpm0\n"
    assert "TCG version: 1.2" in one.run(["cat", "/sys/class/tpm/tpm0/caps"]).stdout


# -------------------------------------------------------------------------------------------------------------- QEMU


@pytest.mark.qemu
@pytest.mark.slow  # emulated boots; other QEMU machines are booted in every run
def test_qemu_snapshot_restore_and_resumed_clone_with_tpm_and_rng(make: MakeMachine) -> None:
    one = make("qemu", needs=("own-kernel", "snapshot"), tpm="2.0", disks=("64M",))
    assert one.engine == "qemu"
    assert one.run(["uname", "-r"]).stdout.endswith("-amd64\n")
    assert len(one.run(["tpm2_getrandom", "--hex", "8"]).stdout) == 16
    assert "virtio_rng.0" in one.run(["cat", "/sys/class/misc/hw_random/rng_available"]).stdout.split()
    assert one.run(["cat", "/sys/class/dmi/id/product_uuid"]).stdout.strip() == one.uuid
    assert one.run(["blockdev", "--getsize64", one.disks[0]]).stdout.strip() == str(64 * 2**20)
    boot = _boot_id(one)
    one.run("echo before > /root/file; tpm2_createprimary -Q -c /root/primary; tpm2_evictcontrol -Q -c /root/primary 0x81000001")

    one.snapshot("clean")
    one.run("echo after > /root/file; sync; tpm2_evictcontrol -Q -c 0x81000001")
    one.restore("clean")

    assert _boot_id(one) == boot, "memory came back"
    assert one.run(["cat", "/root/file"]).stdout == "before\n"
    assert "0x81000001" in one.run(["tpm2_getcap", "handles-persistent"]).stdout, "the TPM came back"
    asked = time.time()
    assert asked - 3 < float(one.run(["date", "+%s.%N"]).stdout) < time.time() + 3, "the clock is of today"
    assert "reseeded due to virtual machine fork" in one.run(["dmesg"]).stdout
    with pytest.raises(LabError, match="has no snapshot other"):
        one.restore("other")

    clone = make("resumed", disk_from=one.name, resume="clean")
    assert one.running
    assert _boot_id(clone) == boot, "resumed, not booted"
    assert clone.seconds is not None and clone.seconds < 30
    clone.kill()

    one.run("echo synced > /root/file; sync")
    one.kill()
    one.start()
    assert one.run(["cat", "/root/file"]).stdout == "synced\n"
    assert "0x81000001" in one.run(["tpm2_getcap", "handles-persistent"]).stdout, "the TPM survives a power cut"


@pytest.mark.qemu
@pytest.mark.slow
def test_qemu_without_a_random_number_generator_with_an_old_tpm_and_a_console_to_type_on(make: MakeMachine) -> None:
    one = make("old", rng=False, tpm="1.2")
    assert one.engine == "qemu"
    assert "virtio_rng.0" not in one.run(["cat", "/sys/class/misc/hw_random/rng_available"]).stdout.split()
    assert one.run(["cat", "/sys/class/tpm/tpm0/tpm_version_major"]).stdout == "1\n"
    assert _wait(lambda: "login: " in one.console(), 60), "it can be read with nobody connected"
    one.type_on_console("root\n")
    assert _wait(lambda: "login: root" in one.console() and "Password: " in one.console(), 60), "and typed on"

    one.reboot_wait()
    assert one.run(["cat", "/sys/class/tpm/tpm0/tpm_version_major"]).stdout == "1\n"


@pytest.mark.uml
def test_a_uml_machine_has_no_console_to_type_on(shared: Machine) -> None:
    with pytest.raises(LabError, match="uml has no console to type on: make it with the engine qemu"):
        shared.type_on_console("root\n")


@pytest.mark.qemu
def test_a_qemu_machine_that_does_not_boot_shows_its_console(make: MakeMachine) -> None:
    with pytest.raises(LabError) as raised:
        make("broken", engine="qemu", kernel_args=("rdinit=/nowhere",))
    assert "Kernel panic - not syncing: VFS" in str(raised.value)
    assert not machine.get(_name("broken")).running
