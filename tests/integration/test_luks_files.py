# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules for LUKS headers and crypttab with this host's own cryptsetup, on regular files in a folder of the test."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

SBIN = ["/usr/local/sbin", "/usr/sbin", "/sbin"]
PATH = os.pathsep.join([*os.environ["PATH"].split(os.pathsep), *SBIN])
UUID = "11111111-2222-4333-8444-555555555555"
CHEAP = {
    "luks2": ["--pbkdf", "argon2id", "--pbkdf-memory", "32", "--pbkdf-parallel", "1", "--pbkdf-force-iterations", "4"],
    "luks1": ["--pbkdf-force-iterations", "1000"],
}
SECRET = "a passphrase that must not be told"

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: cryptsetup keeps its locks in /run/cryptsetup"),
    pytest.mark.skipif(shutil.which("cryptsetup", path=PATH) is None, reason="cryptsetup is not installed (Debian: cryptsetup-bin)"),
    pytest.mark.skipif(shutil.which("blkid", path=PATH) is None, reason="blkid is not installed (Debian: util-linux)"),
]

# Runs a module as Ansible would, with its arguments on standard input; a test may have it do something first.
CHILD = """
import importlib, json, sys
from ansible.module_utils.testing import patch_module_args
ask = json.load(sys.stdin)
exec(ask["first"])
main = importlib.import_module("ansible_collections.rootoftrust.linux.plugins.modules." + ask["module"]).main
with patch_module_args({**ask["arguments"], "_ansible_check_mode": ask["check"], "_ansible_diff": True}):
    main()
"""

# Ends the process, as kill -9 would, before the n-th call that changes a name, makes it last, or starts a program.
CUT = """
import os, signal, subprocess
calls = 0
def cut(function):
    def wrapped(*args, **kwargs):
        global calls
        calls += 1
        if calls == {at}:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return wrapped
for name in ("rename", "unlink", "link", "fsync", "chmod", "fchmod", "chown", "mkdir", "rmdir"):
    setattr(os, name, cut(getattr(os, name)))
from ansible.module_utils.basic import AnsibleModule
AnsibleModule.run_command = cut(AnsibleModule.run_command)
"""


class Host:
    """A folder with volumes in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder / "key"
        self.key.write_text(SECRET)
        self.crypttab = folder / "crypttab"

    def run(self, *command: str | Path, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(word) for word in command], env={**os.environ, "PATH": PATH, "LC_ALL": "C"},
            capture_output=True, text=True, check=False, timeout=120, **options,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def cryptsetup(self, *words: str | Path) -> str:
        return self.run("cryptsetup", "-q", *words).stdout

    def volume(self, kind: str = "luks2", name: str = "volume") -> Path:
        path = self.folder / name
        with path.open("wb") as stream:
            stream.truncate(32 * 1024 * 1024)
        self.cryptsetup("luksFormat", "--type", kind, *CHEAP[kind], "--uuid", UUID, "--key-file", self.key, path)
        return path

    def change(self, path: Path, kind: str = "luks2") -> None:
        """Change the header: one more keyslot."""
        self.cryptsetup("luksAddKey", *CHEAP[kind], "--key-file", self.key, path, self.key)

    def raw(self, module: str, check: bool = False, first: str = "", **arguments: Any) -> subprocess.CompletedProcess[str]:
        plain = {name: str(value) if isinstance(value, Path) else value for name, value in arguments.items()}
        ask = {"module": module, "arguments": plain, "check": check, "first": first}
        done = subprocess.run(
            [sys.executable, "-c", CHILD], input=json.dumps(ask), capture_output=True, text=True, check=False, timeout=120,
            env={**os.environ, "PATH": PATH, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert SECRET not in done.stdout + done.stderr
        return done

    def call(self, module: str, check: bool = False, first: str = "", **arguments: Any) -> dict[str, Any]:
        done = self.raw(module, check, first, **arguments)
        assert done.stdout.strip(), done.stderr[-3000:]
        result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return result

    def good(self, module: str, check: bool = False, **arguments: Any) -> dict[str, Any]:
        result = self.call(module, check, **arguments)
        assert not result.get("failed"), result
        return result

    def bad(self, module: str, check: bool = False, **arguments: Any) -> dict[str, Any]:
        result = self.call(module, check, **arguments)
        assert result.get("failed"), result
        assert "Traceback" not in str(result)
        return result

    def look(self) -> dict[str, tuple[int, str]]:
        """All files: mode and digest of the content."""
        return {
            str(path.relative_to(self.folder)): (path.stat().st_mode & 0o7777, hashlib.sha256(path.read_bytes()).hexdigest())
            for path in sorted(self.folder.rglob("*"))
            if path.is_file()
        }


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def real_after_check(host: Host, module: str, **arguments: Any) -> dict[str, Any]:
    """A check run predicts the real one and changes nothing; afterwards both find nothing to do."""
    before = host.look()
    predicted = host.good(module, check=True, **arguments)
    assert host.look() == before
    made = host.good(module, **arguments)
    for field in ("changed", "steps", "diff"):
        assert predicted[field] == made[field]
    for check in (True, False):
        again = host.good(module, check=check, **arguments)
        assert (again["changed"], again["steps"]) == (False, [])
    return made


# ------------------------------------------------------------------------------------------------------------ luks_info


@pytest.mark.parametrize("kind", ["luks1", "luks2"])
def test_a_volume_is_told_as_cryptsetup_tells_it(host: Host, kind: str) -> None:
    path = host.volume(kind)
    host.change(path, kind)
    backup = host.folder / "backup"
    host.cryptsetup("luksHeaderBackup", path, "--header-backup-file", backup)
    host.crypttab.write_text(f"# mine\na UUID={UUID.upper()} none luks\nb {path} none\nc /dev/null none\n")
    before = host.look()
    (told,) = host.good("luks_info", device=path, backups=[str(backup), str(host.key), "/no"], crypttab=host.crypttab)["devices"]
    assert host.look() == before
    header = told["header"]
    assert (told["luks"], header["type"], header["uuid"]) == (True, kind, host.cryptsetup("luksUUID", path).strip())
    dumped = host.cryptsetup("luksDump", path)
    assert [slot["number"] for slot in header["keyslots"]] == [0, 1]
    assert header["cipher"].split("-")[0] in dumped
    assert [(entry["line"], entry["name"]) for entry in told["crypttab"]] == [(2, "a"), (3, "b")]
    assert [(item["usable"], item["matches"]) for item in told["backups"]] == [(True, True), (False, False), (False, False)]
    assert [item["data_offset"] for item in told["backups"]] == [header["data_offset"], None, None]
    if kind == "luks2":
        assert told["digest"] == hashlib.sha256(backup.read_bytes()).hexdigest()
    assert (told["mapping"], told["mounts"], told["holders"], told["signature"], told["reencryption"]) == (None, [], [], None, None)
    host.change(path, kind)
    (changed,) = host.good("luks_info", device=path, backups=[str(backup)])["devices"]
    assert changed["digest"] != told["digest"]
    assert (changed["backups"][0]["usable"], changed["backups"][0]["matches"]) == (True, False)


def test_a_detached_header(host: Host) -> None:
    data, header = host.folder / "data", host.folder / "header"
    for path in (data, header):
        path.write_bytes(b"")
        os.truncate(path, 17 * 1024 * 1024)
    host.cryptsetup("luksFormat", *CHEAP["luks2"], "--header", header, "--key-file", host.key, data)
    backup = host.folder / "backup"
    host.cryptsetup("luksHeaderBackup", header, "--header-backup-file", backup)
    (told,) = host.good("luks_info", device=data, header=header, backups=[str(backup)])["devices"]
    assert (told["luks"], told["header"]["data_offset"], told["header_path"], told["path"]) == (True, 0, str(header), str(data))
    assert (told["backups"][0]["data_offset"], told["backups"][0]["matches"]) == (0, True)
    assert host.good("luks_info", device=data)["devices"][0]["luks"] is False
    # One that is still to be made is none; or it is lost, and that is told.
    header.unlink()
    missing = host.good("luks_info", device=data, header=header)
    assert (missing["devices"][0]["luks"], missing["devices"][0]["header_path"]) == (False, str(header))
    assert f"There is no {header}" in str(missing["warnings"])
    subprocess.run(["mkfs.ext4", "-q", "-F", data], check=True, env={**os.environ, "PATH": PATH})
    assert host.good("luks_info", device=data, header=header).get("warnings", []) == []


def test_an_encryption_in_place_and_how_far_it_is(host: Host) -> None:
    path = host.folder / "plain"
    path.write_bytes(b"")
    os.truncate(path, 96 * 1024 * 1024)
    host.cryptsetup(
        "reencrypt",
        "--encrypt",
        "--type",
        "luks2",
        *CHEAP["luks2"],
        "--init-only",
        "--reduce-device-size",
        "32M",
        "--key-file",
        host.key,
        path,
    )
    (told,) = host.good("luks_info", device=path)["devices"]
    assert told["header"]["requirements"] == ["online-reencrypt-v2"]
    assert (told["reencryption"]["mode"], told["reencryption"]["percent"], told["reencryption"]["done"]) == ("encrypt", 0.0, 0)
    assert (told["reencryption"]["total"], told["reencryption"]["running"]) == (64 * 1024 * 1024, False)


def test_what_is_no_volume(host: Host) -> None:
    path = host.folder / "disk"
    path.write_bytes(b"")
    os.truncate(path, 8 * 1024 * 1024)
    assert host.good("luks_info", device=path)["devices"][0]["signature"] is None
    host.run("mkswap", "-q", "-U", UUID, path)
    (told,) = host.good("luks_info", device=path)["devices"]
    assert (told["luks"], told["header"], told["digest"]) == (False, None, None)
    assert told["signature"]["sentence"] == f"{path} has swap with UUID {UUID}."
    for device, message in (
        (str(host.folder), "nothing is mounted there"),
        (f"{path}x", "There is no"),
        ("disk", "neither an absolute path"),
    ):
        assert message in host.bad("luks_info", device=device)["msg"]


def test_a_header_of_which_nothing_can_be_used_is_not_passed_over(host: Host) -> None:
    path = host.volume()
    data = bytearray(path.read_bytes())
    for start in (200, 16384 + 200):  # in the salts of both copies
        data[start] ^= 0xFF
    path.write_bytes(data)
    result = host.good("luks_info", device=path)
    assert result["devices"][0]["luks"] is False
    assert result["devices"][0]["signature"]["type"] == "crypto_LUKS"
    assert any("restore a backup" in str(warning) for warning in result["warnings"])


def test_looking_derives_no_key(host: Host) -> None:
    path = host.folder / "slow"
    path.write_bytes(b"")
    os.truncate(path, 32 * 1024 * 1024)
    slow = ["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "2000000"]
    host.cryptsetup("luksFormat", "--type", "luks2", *slow, "--key-file", host.key, path)
    used = "import resource; used = resource.getrusage(resource.RUSAGE_CHILDREN); print(used.ru_utime + used.ru_stime, file=sys.stderr)"
    opening = "import subprocess; subprocess.run(sys.argv[1:], check=True)"
    derived = host.run(
        sys.executable, "-c", f"import sys; {opening}; {used}", "cryptsetup", "open", "--test-passphrase", "--key-file", host.key, path
    )
    looked = host.raw("luks_info", first=f"import atexit\ndef told():\n    {used}\natexit.register(told)", device=path)
    assert json.loads(looked.stdout)["devices"][0]["luks"] is True
    assert float(looked.stderr.split()[-1]) < float(derived.stderr.split()[-1]) / 4


# ------------------------------------------------------------------------------------------------------- crypttab_entry

OTHERS = "# <name> <device>\nroot\tUUID=aa-bb  none  luks # x\n\n"
HOME = {"name": "home", "device": f"UUID={UUID}", "options": ["luks", "nofail"]}


def test_an_entry_is_added_changed_and_removed(host: Host) -> None:
    host.crypttab.write_text(OTHERS)
    host.crypttab.chmod(0o640)
    added = real_after_check(host, "crypttab_entry", path=host.crypttab, **HOME)
    assert (added["changed"], added["daemon_reload"], added["steps"]) == (True, True, [f"Add the entry home in {host.crypttab}."])
    assert host.crypttab.read_text() == OTHERS + f"home UUID={UUID} none luks,nofail\n"

    changed = real_after_check(host, "crypttab_entry", path=host.crypttab, **{**HOME, "options": ["luks", "discard"]})
    assert changed["diff"]["after"] == {str(host.crypttab): {"home": [f"home UUID={UUID} none luks,discard"]}}
    assert host.crypttab.read_text() == OTHERS + f"home UUID={UUID} none luks,discard\n"

    removed = real_after_check(host, "crypttab_entry", path=host.crypttab, name="home", state="absent")
    assert (removed["changed"], removed["entries"][0]["line"]) == (True, None)
    assert host.crypttab.read_text() == OTHERS
    absent = real_after_check(host, "crypttab_entry", path=host.crypttab, name="home", state="absent")
    assert (absent["changed"], absent["daemon_reload"]) == (False, False)
    assert host.crypttab.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in host.folder.iterdir()) == ["crypttab", "key"]


def test_a_missing_file_is_made_and_only_for_an_entry(host: Host) -> None:
    assert real_after_check(host, "crypttab_entry", path=host.crypttab, name="home", state="absent")["changed"] is False
    assert not host.crypttab.exists()
    real_after_check(host, "crypttab_entry", path=host.crypttab, backup=True, **HOME)
    assert host.crypttab.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in host.folder.iterdir()) == ["crypttab", "key"]


def test_several_at_once_with_a_copy_of_the_old_file(host: Host) -> None:
    host.crypttab.write_bytes(OTHERS.encode() + b"old /dev/\xff none\n")
    before = host.crypttab.read_bytes()
    entries = [
        HOME,
        {"name": "swap", "device": "/dev/x", "key_file": "/dev/urandom", "options": ["swap"]},
        {"name": "root", "state": "absent"},
    ]
    result = real_after_check(host, "crypttab_entry", path=host.crypttab, backup=True, entries=entries)
    assert len(result["steps"]) == 4
    assert Path(result["backup_file"]).read_bytes() == before
    assert b"old /dev/\xff none\n" in host.crypttab.read_bytes()
    assert len(list(host.folder.glob("crypttab.*"))) == 1


def test_what_is_wrong_harms_nothing(host: Host) -> None:
    host.crypttab.write_text(OTHERS + "home /dev/a\nhome /dev/b\n")
    before = host.look()
    for check in (True, False):
        for change, message in (
            ({}, "2 lines of the name home"),
            ({"options": ["luks", "diskard"]}, "is discard meant"),
            ({"device": "sda"}, "'sda'"),
        ):
            result = host.bad("crypttab_entry", check=check, path=host.crypttab, **{**HOME, **change})
            assert message in result["msg"]
            assert result["remedy"]
    assert host.look() == before


def test_crypttab_may_be_cut_at_every_seam(host: Host) -> None:
    cuts = 0
    new = OTHERS + f"home UUID={UUID} none luks,nofail\n"
    while True:
        for path in host.folder.glob("crypttab.*"):
            path.unlink()
        host.crypttab.write_text(OTHERS)
        done = host.raw("crypttab_entry", first=CUT.format(at=cuts + 1), path=host.crypttab, backup=True, **HOME)
        assert host.crypttab.read_text() in (OTHERS, new)
        for path in host.folder.glob("crypttab.*"):
            assert path.read_text() == OTHERS
        if done.stdout.strip():
            break
        assert done.returncode == -signal.SIGKILL
        host.good("crypttab_entry", path=host.crypttab, **HOME)
        assert host.crypttab.read_text() == new
        cuts += 1
    assert cuts >= 6


def test_systemd_reads_what_is_written(host: Host) -> None:
    generator = Path("/usr/lib/systemd/system-generators/systemd-cryptsetup-generator")
    if not generator.exists():
        pytest.skip("systemd-cryptsetup-generator is not installed (Debian 13: systemd-cryptsetup)")
    real_after_check(host, "crypttab_entry", path=host.crypttab, **HOME)
    for name in ("a", "b", "c"):
        (host.folder / name).mkdir()
    host.run(
        "env",
        f"SYSTEMD_CRYPTTAB={host.crypttab}",
        "SYSTEMD_PROC_CMDLINE=quiet",
        generator,
        *(host.folder / name for name in ("a", "b", "c")),
    )
    unit = (host.folder / "a/systemd-cryptsetup@home.service").read_text()
    assert f"/dev/disk/by-uuid/{UUID}" in unit and "luks,nofail" in unit


# --------------------------------------------------------------------------------------------------- luks_header_backup


def files(host: Host) -> list[Path]:
    folder = host.folder / "backups"
    return sorted(folder.iterdir()) if folder.exists() else []


def is_whole(host: Host, backup: Path, volume: Path) -> None:
    """The backup opens the volume, as cryptsetup sees it."""
    host.cryptsetup("open", "--test-passphrase", "--key-file", host.key, "--header", backup, volume)
    assert backup.stat().st_mode & 0o777 == 0o400
    assert re.fullmatch(rf"{UUID}-\d{{8}}T\d{{6}}Z\.luks-header", backup.name)


@pytest.mark.parametrize("kind", ["luks1", "luks2"])
def test_a_backup_is_made_renewed_and_old_ones_go(host: Host, kind: str) -> None:
    volume = host.volume(kind)
    arguments: dict[str, Any] = {"device": volume, "folder": host.folder / "backups"}
    made = real_after_check(host, "luks_header_backup", **arguments)
    (first,) = files(host)
    is_whole(host, first, volume)
    assert (made["changed"], made["devices"][0]["path"], made["devices"][0]["older"]) == (True, str(first), [])
    assert (host.folder / "backups").stat().st_mode & 0o777 == 0o700
    host.cryptsetup("luksHeaderBackup", volume, "--header-backup-file", host.folder / "own")
    assert first.read_bytes() == (host.folder / "own").read_bytes()
    (seen,) = host.good("luks_info", device=volume, backups=[str(first)])["devices"]
    assert (seen["digest"], seen["backups"][0]["matches"]) == (made["devices"][0]["digest"], True)

    host.change(volume, kind)
    renewed = real_after_check(host, "luks_header_backup", **arguments)
    assert len(renewed["steps"]) == 1
    assert renewed["devices"][0]["older"] == [str(first)]
    second = files(host)[1]
    is_whole(host, second, volume)

    host.change(volume, kind)
    kept = real_after_check(host, "luks_header_backup", keep=1, **arguments)
    assert len(kept["steps"]) == 2
    assert [path for path in files(host) if path in (first, second)] == [second]

    second.chmod(0o644)
    protected = real_after_check(host, "luks_header_backup", **arguments)
    assert (len(protected["steps"]), second.stat().st_mode & 0o777) == (1, 0o400)

    alone = real_after_check(host, "luks_header_backup", keep=0, **arguments)
    assert (len(alone["steps"]), len(files(host))) == (1, 1)
    assert real_after_check(host, "luks_header_backup", keep=0, **arguments)["changed"] is False


def test_a_lost_header_comes_back_from_the_backup(host: Host) -> None:
    volume = host.volume()
    before = volume.read_bytes()
    (told,) = host.good("luks_header_backup", device=volume, folder=host.folder / "backups")["devices"]
    host.cryptsetup("luksErase", volume)
    assert host.run("cryptsetup", "open", "--test-passphrase", "--key-file", host.key, volume, check=False).returncode != 0
    host.cryptsetup("luksHeaderRestore", volume, "--header-backup-file", told["path"])
    assert volume.read_bytes() == before


def test_a_damaged_backup_does_not_count(host: Host) -> None:
    volume = host.volume()
    arguments: dict[str, Any] = {"device": volume, "folder": host.folder / "backups"}
    host.good("luks_header_backup", **arguments)
    (first,) = files(host)
    first.write_bytes(first.read_bytes()[:5000])
    again = real_after_check(host, "luks_header_backup", **arguments)
    assert again["changed"] is True
    is_whole(host, files(host)[1], volume)


def test_a_detached_header_is_backed_up(host: Host) -> None:
    header = host.volume()
    data = host.folder / "data"
    data.write_bytes(bytes(1024 * 1024))
    real_after_check(host, "luks_header_backup", devices=[{"device": str(data), "header": str(header)}], folder=host.folder / "backups")
    assert files(host)[0].read_bytes() == header.read_bytes()[: 16 * 1024 * 1024]


def test_what_cannot_be_backed_up_harms_nothing(host: Host) -> None:
    volume = host.volume()
    swap = host.folder / "swap"
    swap.write_bytes(b"")
    os.truncate(swap, 1024 * 1024)
    host.run("mkswap", "-q", swap)
    before = host.look()
    folder = host.folder / "backups"
    cases: list[tuple[dict[str, Any], str]] = [
        ({"device": swap}, "no LUKS header that can be used, but swap"),
        ({"device": host.folder / "none"}, "There is no"),
        ({"device": volume, "mode": "0644"}, "refused"),
        ({"devices": [{"device": str(volume)}, {"device": f"{host.folder}/./volume"}]}, "have one UUID"),
    ]
    for check in (True, False):
        for arguments, message in cases:
            result = host.bad("luks_header_backup", check=check, **{"folder": folder, **arguments})
            assert message in result["msg"]
            assert result["remedy"]
    assert host.look() == before
    assert not folder.exists()


def test_a_full_disk_leaves_the_old_ones_and_nothing_else(host: Host) -> None:
    volume = host.volume()
    folder = host.folder / "backups"
    folder.mkdir()
    script = f"""
        mount -t tmpfs -o size=20m none {folder} || exit 77
        cat > {host.folder}/ask
        "$0" -c "$1" < {host.folder}/ask; echo
        cryptsetup -q luksAddKey {" ".join(CHEAP["luks2"])} --key-file {host.key} {volume} {host.key}
        "$0" -c "$1" < {host.folder}/ask; echo
        ls -A {folder}
    """
    ask = {"module": "luks_header_backup", "check": False, "first": "", "arguments": {"device": str(volume), "folder": str(folder)}}
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", script, sys.executable, CHILD], input=json.dumps(ask),
        env={**os.environ, "PATH": PATH, "PYTHONPATH": os.pathsep.join(sys.path)}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    if done.returncode == 77:
        pytest.skip(f"this host gives no mount namespace: {done.stderr.strip()}")
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    first, second = json.loads(lines[0]), json.loads(lines[1])
    assert first["changed"] is True
    assert (second["failed"], second["changed"]) == (True, False)
    assert "luksHeaderBackup" in second["msg"] or "Cannot write header backup" in second["msg"]
    assert lines[2:] == [Path(first["devices"][0]["path"]).name]


@pytest.mark.parametrize("story", ["first", "renewed"])
def test_a_header_backup_may_be_cut_at_every_seam(host: Host, story: str) -> None:
    volume = host.volume()
    folder = host.folder / "backups"
    arguments: dict[str, Any] = {"device": volume, "folder": folder, "keep": 0}
    old: dict[str, bytes] = {}
    if story == "renewed":
        host.good("luks_header_backup", **arguments)
        old = {path.name: path.read_bytes() for path in files(host)}
        host.change(volume)
    header = volume.read_bytes()[: 16 * 1024 * 1024]
    cuts = 0
    while True:
        shutil.rmtree(folder, ignore_errors=True)
        if old:
            folder.mkdir(mode=0o700)
        for name, content in old.items():
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o400)
        done = host.raw("luks_header_backup", first=CUT.format(at=cuts + 1), **arguments)
        named = {path.name: path.read_bytes() for path in files(host) if not path.name.startswith(".")}
        for name, content in named.items():
            assert content in (header, old.get(name)), "a file under a final name is whole"
        assert named or not old, "there is a backup at every moment"
        if done.stdout.strip():
            break
        assert done.returncode == -signal.SIGKILL
        host.good("luks_header_backup", **arguments)
        (left,) = files(host)
        assert left.read_bytes() == header
        cuts += 1
    assert cuts >= (12 if story == "first" else 14)


def test_two_runs_at_once_make_one_backup(host: Host) -> None:
    volume = host.volume()
    results: list[dict[str, Any]] = []
    threads = [
        threading.Thread(target=lambda: results.append(host.call("luks_header_backup", device=volume, folder=host.folder / "backups")))
        for _number in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.get("msg") for result in results] == [None] * 3
    assert len(files(host)) == 1
