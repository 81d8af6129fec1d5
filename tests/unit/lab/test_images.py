# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What images are put together of: a patched kernel program, an initrd, an ext4 file, options of containers."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path

import pytest

from lab import cache, command, docker, host, images, initrd, keys, releases, rootfs, uml_kernel
from lab.errors import LabError

RUNPATH = b"\0libc.so.6\0/lib64:/lib\0"


def elf(interpreter: bytes = b"/lib64/ld-linux-x86-64.so.2\0", rest: bytes = RUNPATH) -> bytes:
    """A program of two headers, PT_LOAD and PT_INTERP, as elf(5) lays them out."""
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    start = 64 + 2 * 56
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 4096, 4096, 4096)
    interp = struct.pack("<IIQQQQQQ", 3, 4, start, start, start, len(interpreter), len(interpreter), 1)
    return header + load + interp + interpreter + rest


def interpreter_of(program: bytes) -> bytes:
    offset, dummy, dummy, size = struct.unpack_from("<QQQQ", program, 64 + 56 + 8)
    return program[offset : offset + size]


def test_the_kernel_starts_through_its_own_loader() -> None:
    loader = "/a/cache/of/some/length/uml-kernel/debian-0123456789ab/ld-linux-x86-64.so.2"
    patched = uml_kernel.with_own_libc(elf(), loader)
    assert interpreter_of(elf()) == b"/lib64/ld-linux-x86-64.so.2\0"
    assert interpreter_of(patched) == loader.encode() + b"\0"
    assert b"\0$ORIGIN\0\0\0\0\0" in patched
    assert len(patched) == len(elf()) + len(loader) + 1


def test_a_kernel_that_is_built_otherwise_is_refused() -> None:
    with pytest.raises(LabError, match="library path"):
        uml_kernel.with_own_libc(elf(rest=b"\0libc.so.6\0"), "/loader")
    with pytest.raises(LabError, match="no dynamic loader"):
        uml_kernel.with_own_libc(elf().replace(struct.pack("<II", 3, 4), struct.pack("<II", 4, 4)), "/loader")


def test_a_real_program_runs_after_the_patch(tmp_path: Path) -> None:
    """The host's own loader under another path starts the host's own /bin/true; only the library path is made up."""
    loader = Path("/lib64/ld-linux-x86-64.so.2").resolve()
    program = tmp_path / "true"
    (tmp_path / "loader").symlink_to(loader)
    program.write_bytes(uml_kernel.with_own_libc(Path("/bin/true").read_bytes() + RUNPATH, f"{tmp_path}/loader"))
    program.chmod(0o755)
    subprocess.run([program], check=True, timeout=10)
    (tmp_path / "loader").unlink()
    with pytest.raises(FileNotFoundError):
        subprocess.run([program], check=True, timeout=10)


def test_insmod_lines() -> None:
    lines = ["builtin crc16", "insmod /r/lib/modules/6.1/kernel/fs/jbd2/jbd2.ko ", "insmod /r/lib/ext4.ko opt=1", ""]
    assert initrd.insmod_paths(lines) == [Path("/r/lib/modules/6.1/kernel/fs/jbd2/jbd2.ko"), Path("/r/lib/ext4.ko")]


def test_the_init_scripts_are_shell() -> None:
    for script in (initrd._INIT, docker._INIT):
        subprocess.run(["sh", "-n"], input=script, text=True, check=True, timeout=10)


def test_the_network_unit_names_the_address() -> None:
    unit = images._NETWORK_UNIT.format(address="10.90.0.2/30", gateway="10.90.0.1")
    assert "ip addr add 10.90.0.2/30 dev $$i && ip route add default via 10.90.0.1" in unit
    assert "{" not in unit


def test_ext4_holds_the_tree_and_room(tmp_path: Path) -> None:
    (tmp_path / "root/etc").mkdir(parents=True)
    (tmp_path / "root/etc/hostname").write_text("lab\n", encoding="utf-8")
    images._make_ext4(tmp_path / "root", tmp_path / "root.img")
    shown = command.run(["debugfs", "-R", "cat /etc/hostname", tmp_path / "root.img"])
    assert shown == "lab\n"
    assert (tmp_path / "root.img").stat().st_size > 1000 * 2**20
    assert (tmp_path / "root.img").stat().st_blocks * 512 < 100 * 2**20


def test_container_options_are_the_same_for_docker_and_molecule() -> None:
    options = docker.container_run_args(releases.get("bookworm"))
    fields = json.loads(json.dumps(options.as_dict()))
    words = options.arguments()
    assert words[-1] == fields["image"] == "rootoftrust-lab/debian:12"
    assert "--privileged" not in words
    assert [f"--cap-add={name}" for name in fields["capabilities"]] == ["--cap-add=SYS_ADMIN"]
    assert set(words) > {f"--security-opt={option}" for option in fields["security_opts"]}
    assert f"--network={fields['network_mode']}" in words and f"--cgroupns={fields['cgroupns_mode']}" in words


def test_a_missing_program_without_root_is_an_error_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "find", lambda program: None)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(LabError, match=r"run: sudo apt-get install .* qemu-utils swtpm-tools"):
        host.require("swtpm_setup", "qemu-img")


def test_a_failing_command_shows_its_last_words() -> None:
    with pytest.raises(LabError, match="status 3:\nlast words"):
        command.run(["sh", "-c", "echo last words >&2; exit 3"])
    with pytest.raises(LabError, match="not found on this host"):
        command.run(["/nonexistent/program"])
    with pytest.raises(LabError, match="not finished after 0 s"):
        command.run(["sleep", "5"], timeout=0.1)


def test_images_are_named_by_everything_they_are_made_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same base under two kernels is two images; another base is another image."""
    monkeypatch.setenv("ROOTOFTRUST_LAB_CACHE", str(tmp_path))
    release = releases.get("12")
    bases = [rootfs.RootFs(release, tmp_path, recipe) for recipe in ("12-aaa", "12-bbb")]
    kernels = [uml_kernel.UmlKernel(["linux"], "7.2", frozenset(), tmp_path / name) for name in ("one", "two")]
    monkeypatch.setattr(images, "_build_uml", lambda base, kernel, new: (new / "root.img").touch())
    made: set[Path] = set()
    for base in bases:
        monkeypatch.setattr(rootfs, "ensure", lambda release, base=base: base)
        made |= {images.uml_image(release, kernel).root for kernel in kernels}
    assert len(made) == 4
    assert {path.parent.parent for path in made} == {cache.root() / "uml"}


def test_the_key_is_the_one_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROOTOFTRUST_LAB_CACHE", str(tmp_path))
    assert images.ssh_key() == keys.ensure().private
    assert tmp_path in images.ssh_key().parents
