# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The modules for SSH keys with the real OpenSSH of this host, in a mount namespace where /etc, /run and /var/lib are the test's own.

Nothing of this host's own is seen or touched. Where the host has no sshd, nox puts an unpacked one on the PATH.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SBIN = ["/usr/local/sbin", "/usr/sbin", "/sbin"]
PATH = os.pathsep.join([*os.environ["PATH"].split(os.pathsep), *SBIN])
SSHD = shutil.which("sshd", path=PATH)


def _no_namespace() -> str:
    if os.geteuid() != 0:
        return "needs root for a mount namespace"
    tried = subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"this host gives no mount namespace: {tried.stderr.strip()}"


pytestmark = [
    pytest.mark.skipif(bool(_no_namespace()), reason=_no_namespace() or "-"),
    pytest.mark.skipif(SSHD is None, reason="sshd is not installed (Debian: openssh-server)"),
    pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="ssh-keygen is not installed (Debian: openssh-client)"),
]

# Runs a module as Ansible would, with its arguments on standard input; a test may have it do something first.
CHILD = """
import json, sys
from ansible.module_utils.testing import patch_module_args
import importlib
ask = json.load(sys.stdin)
exec(ask["first"])
main = importlib.import_module("ansible_collections.rootoftrust.linux.plugins.modules." + ask["module"]).main
with patch_module_args({**ask["arguments"], "_ansible_check_mode": ask["check"], "_ansible_diff": True}):
    main()
"""

# Ends the process, as kill -9 would, before the n-th call that changes a name or makes it last.
CUT = """
import os, signal
calls = 0
def cut(function):
    def wrapped(*args, **kwargs):
        global calls
        calls += 1
        if calls == {at}:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return wrapped
for name in ("rename", "unlink", "link", "fsync", "chmod", "chown", "mkdir"):
    setattr(os, name, cut(getattr(os, name)))
"""

MACHINE_ID = "0123456789abcdef0123456789abcdef"
OTHER_ID = "fedcba9876543210fedcba9876543210"
KEY = "/etc/ssh/ssh_host_ed25519_key"


class Host:
    """A little host: this one, with folders of its own in place of /etc, /run and /var/lib."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.etc = folder / "etc"
        for name in ("run", "lib"):
            (folder / name).mkdir()
        shutil.copytree("/etc", self.etc, symlinks=True, ignore=lambda _folder, names: [name for name in names if name == "ssh"])
        (self.etc / "ssh").mkdir(mode=0o755)
        (self.etc / "passwd").open("a").write("sshd:x:65530:65534::/run/sshd:/usr/sbin/nologin\n")
        self.port = _free_port()
        self.configure(f"Port {self.port}\nListenAddress 127.0.0.1\nUsePAM no\nPidFile none\n")
        self.identify(MACHINE_ID)
        self.mounts: list[str] = []
        beside = Path(str(SSHD)).parents[1] / "lib/openssh"
        if beside != Path("/usr/lib/openssh") and (beside / "sshd-session").exists():  # OpenSSH 9.8 and later, unpacked
            self.mounts.append(f"mount --bind {beside} /usr/lib/openssh")
        self.path = PATH

    def configure(self, text: str) -> None:
        (self.etc / "ssh/sshd_config").write_text(text)

    def identify(self, machine_id: str, age: float = 3600.0) -> None:
        path = self.etc / "machine-id"
        path.unlink(missing_ok=True)
        path.write_text(machine_id + "\n")
        os.utime(path, (time.time() - age, time.time() - age))

    def inside(self, *command: str) -> list[str]:
        script = "\n".join(
            [
                "set -e",
                f"mount --bind {self.etc} /etc",
                f"mount --bind {self.folder}/lib /var/lib",
                f"mount --bind {self.folder}/run /run",
                *self.mounts,
                'exec "$@"',
            ]
        )
        return ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", *command]

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": self.path, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": "/var/lib/home"}

    def run(self, *command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.inside(*command), env=self.environment, capture_output=True, text=True, check=False, timeout=300, **options
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def raw(self, module: str, check: bool = False, first: str = "", **arguments: Any) -> subprocess.CompletedProcess[str]:
        ask = {"module": module, "arguments": arguments, "check": check, "first": first}
        return self.run(sys.executable, "-c", CHILD, input=json.dumps(ask), check=False)

    def call(self, module: str, check: bool = False, first: str = "", **arguments: Any) -> dict[str, Any]:
        done = self.raw(module, check, first, **arguments)
        assert done.stdout.strip(), done.stderr[-3000:]
        result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        assert "PRIVATE KEY" not in done.stdout
        return result

    def good(self, module: str = "ssh_host_key", check: bool = False, **arguments: Any) -> dict[str, Any]:
        result = self.call(module, check, **arguments)
        assert not result.get("failed"), result
        return result

    def bad(self, module: str = "ssh_host_key", check: bool = False, **arguments: Any) -> dict[str, Any]:
        result = self.call(module, check, **arguments)
        assert result.get("failed"), result
        assert "Traceback" not in str(result)
        return result

    def at(self, path: str) -> Path:
        """Where a path inside lies outside."""
        for inside, outside in (("/etc", self.etc), ("/var/lib", self.folder / "lib"), ("/run", self.folder / "run")):
            if path == inside or path.startswith(inside + "/"):
                return outside / path[len(inside) + 1 :]
        raise ValueError(path)

    def look(self, folder: str = "/etc/ssh") -> dict[str, tuple[int, bytes]]:
        """All files of a folder: mode and content."""
        return {
            path.name: (path.stat().st_mode & 0o7777, path.read_bytes()) for path in sorted(self.at(folder).iterdir()) if path.is_file()
        }

    def keygen(self, kind: str, *options: str, path: str = "") -> str:
        path = path or f"/etc/ssh/ssh_host_{kind}_key"
        for part in (path, path + ".pub"):
            self.at(part).unlink(missing_ok=True)
        self.run("ssh-keygen", "-q", "-t", kind, "-N", "", "-f", path, *options)
        return path

    def pair_matches(self, path: str = KEY) -> bool | None:
        """None where there is no public part."""
        if not self.at(path + ".pub").exists():
            return None
        public = self.run("ssh-keygen", "-y", "-P", "", "-f", path).stdout.split()[:2]
        return public == self.at(path + ".pub").read_text().split()[:2]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def codes(result: dict[str, Any]) -> list[list[str]]:
    return [[reason["code"] for reason in key["reasons"]] for key in result["keys"]]


# --------------------------------------------------------------------------------------------------------- ssh_host_key


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


def test_a_key_is_made_modified_and_deleted(host: Host) -> None:
    made = real_after_check(host, "ssh_host_key", type="rsa", size=2048, comment="c d")
    assert made["changed"]
    (key,) = made["keys"]
    told = host.run("ssh-keygen", "-l", "-f", key["path"]).stdout.split()
    assert (key["size"], key["fingerprint"], key["comment"]) == (int(told[0]), told[1], "c d") == (2048, told[1], "c d")
    assert host.run("ssh-keygen", "-l", "-E", "md5", "-f", key["path"]).stdout.split()[1] == key["fingerprint_md5"]
    assert [f"h IN SSHFP {key['sshfp'][0]}"] == [
        line for line in host.run("ssh-keygen", "-r", "h", "-f", key["path"]).stdout.splitlines() if " 1 2 " in line
    ]
    assert key["public_key"] == " ".join(host.at(key["path"] + ".pub").read_text().split()[:2])
    assert (key["mode"], key["made"], codes(made), key["identity"]) == ("0600", True, [["missing"]], "made")
    assert sorted(host.look()) == ["ssh_host_rsa_key", "ssh_host_rsa_key.pub", "sshd_config"]

    bigger = real_after_check(host, "ssh_host_key", type="rsa", size=3072)
    assert (bigger["changed"], codes(bigger)) == (True, [["too_small"]])
    assert bigger["keys"][0]["previous_fingerprint"] == key["fingerprint"] != bigger["keys"][0]["fingerprint"]

    host.keygen("ed25519")  # a server keeps one key
    gone = real_after_check(host, "ssh_host_key", type="rsa", state="absent")
    assert (gone["changed"], gone["keys"][0]["fingerprint"]) == (True, None)
    assert gone["keys"][0]["previous_fingerprint"] == bigger["keys"][0]["fingerprint"]
    absent = real_after_check(host, "ssh_host_key", type="rsa", state="absent")
    assert absent["changed"] is False
    assert sorted(host.look()) == ["ssh_host_ed25519_key", "ssh_host_ed25519_key.pub", "sshd_config"]


def test_without_any_key_named_those_of_the_server_are_managed(host: Host) -> None:
    made = real_after_check(host, "ssh_host_key")
    assert [key["type"] for key in made["keys"]] == ["rsa", "ecdsa", "ed25519"]
    assert len(host.look()) == 7


def test_the_keys_that_the_configuration_names_are_managed(host: Host) -> None:
    host.configure((host.etc / "ssh/sshd_config").read_text() + "HostKey /etc/ssh/ssh_host_ecdsa_key\nHostKey /etc/ssh/special\n")
    host.keygen("ed25519", path="/etc/ssh/special")
    made = real_after_check(host, "ssh_host_key")
    assert [(key["path"], key["type"], key["made"]) for key in made["keys"]] == [
        ("/etc/ssh/ssh_host_ecdsa_key", "ecdsa", True),
        ("/etc/ssh/special", "ed25519", False),
    ]


def test_an_existing_key_is_adopted_and_kept(host: Host) -> None:
    host.keygen("ed25519")
    before = host.look()
    adopted = host.good(type="ed25519")
    assert (adopted["changed"], len(adopted["steps"]), codes(adopted)) == (True, 1, [[]])
    assert adopted["keys"][0]["identity"] == "adopted"
    assert host.look() == before
    assert host.good(type="ed25519")["changed"] is False
    record = host.at("/var/lib/rootoftrust/ssh_host_keys.json")
    assert record.stat().st_mode & 0o777 == 0o600
    assert MACHINE_ID not in record.read_text()


def test_a_key_that_came_with_the_image_is_replaced(host: Host) -> None:
    host.keygen("ed25519")
    host.identify(MACHINE_ID, age=-60)  # written after the key
    result = real_after_check(host, "ssh_host_key", type="ed25519")
    assert codes(result) == [["cloned"]]


def test_a_copied_disk_gets_keys_of_its_own_and_the_original_keeps_its(host: Host, tmp_path: Path) -> None:
    made = host.good(type="ed25519")["keys"][0]["fingerprint"]
    host.identify(OTHER_ID, age=0)
    copy = real_after_check(host, "ssh_host_key", type="ed25519")
    assert codes(copy) == [["cloned"]]
    assert copy["keys"][0]["fingerprint"] != made
    host.identify(OTHER_ID, age=-3600)  # the same identity, the file touched
    assert host.good(type="ed25519")["changed"] is False


@pytest.mark.parametrize("content", ["uninitialized", "", None])
def test_without_a_machine_id_nothing_is_concluded_and_a_warning_says_so(host: Host, content: str | None) -> None:
    host.keygen("ed25519")
    (host.etc / "machine-id").unlink()
    if content is not None:
        host.identify(content)
    result = host.good(type="ed25519")
    assert (result["changed"], codes(result)) == (False, [[]])
    assert any("machine-id" in str(warning) for warning in result["warnings"])


def test_a_machine_id_for_one_boot_is_not_trusted(host: Host) -> None:
    host.keygen("ed25519")
    (host.folder / "run/machine-id").write_text(OTHER_ID + "\n")
    host.mounts = ["mount --bind /run/machine-id /etc/machine-id"]
    result = host.good(type="ed25519")
    assert (result["changed"], codes(result)) == (False, [[]])
    assert any("mounted over" in str(warning) for warning in result["warnings"])


DAMAGE = {
    "empty": lambda path: path.write_bytes(b""),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:200]),
    "no key": lambda path: path.write_text("hello\n"),
    "binary": lambda path: path.write_bytes(os.urandom(400)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_an_unreadable_key_is_made_anew(host: Host, damage: str) -> None:
    host.good(type="ed25519")
    DAMAGE[damage](host.at(KEY))
    result = real_after_check(host, "ssh_host_key", type="ed25519")
    assert "unreadable" in codes(result)[0]
    assert host.pair_matches()


def test_a_key_with_a_passphrase_is_of_no_use_to_a_server(host: Host) -> None:
    host.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", KEY)
    left = host.good(type="ed25519", regenerate=[])
    assert (left["changed"], codes(left)) == (False, [["unreadable"]])
    assert any("passphrase" in str(warning) for warning in left["warnings"])
    assert codes(real_after_check(host, "ssh_host_key", type="ed25519")) == [["unreadable"]]


def test_a_key_of_another_type_is_replaced(host: Host) -> None:
    host.keygen("rsa", "-b", "2048", path=KEY)
    assert codes(real_after_check(host, "ssh_host_key", type="ed25519")) == [["wrong_type"]]


@pytest.mark.parametrize("form", ["PEM", "PKCS8"])
@pytest.mark.parametrize(("kind", "bits"), [("rsa", "2048"), ("ecdsa", "384")])
def test_keys_in_older_containers_are_kept(host: Host, form: str, kind: str, bits: str) -> None:
    path = host.keygen(kind, "-b", bits, "-m", form)
    before = host.look()
    result = host.good(type=kind)
    assert codes(result) == [[]]
    assert result["keys"][0]["fingerprint"] == host.run("ssh-keygen", "-l", "-f", path + ".pub").stdout.split()[1]
    assert host.look() == before


def test_a_listed_key_is_replaced_and_the_list_takes_both_kinds(host: Host) -> None:
    for field in ("fingerprint", "fingerprint_md5"):
        bad = host.good(type="ed25519")["keys"][0][field]
        result = real_after_check(host, "ssh_host_key", type="ed25519", bad_fingerprints=[bad])
        assert codes(result) == [["listed"]]


def test_a_wrong_mode_is_corrected_without_a_new_key(host: Host) -> None:
    print_ = host.good(type="ed25519")["keys"][0]["fingerprint"]
    host.at(KEY).chmod(0o644)
    os.chown(host.at(KEY + ".pub"), 65534, 65534)
    result = real_after_check(host, "ssh_host_key", type="ed25519")
    assert (codes(result), result["keys"][0]["fingerprint"], result["keys"][0]["made"]) == ([["wrong_mode"]], print_, False)
    assert [host.at(path).stat().st_mode & 0o7777 for path in (KEY, KEY + ".pub")] == [0o600, 0o644]
    assert host.at(KEY + ".pub").stat().st_uid == 0


def test_the_group_of_red_hat_s_older_releases_is_respected(host: Host) -> None:
    (host.etc / "group").open("a").write("ssh_keys:x:65531:\n")
    host.good(type="ed25519")
    assert (host.at(KEY).stat().st_mode & 0o7777, host.at(KEY).stat().st_gid) == (0o640, 65531)
    os.chown(host.at(KEY), 0, 0)
    host.at(KEY).chmod(0o600)
    assert host.good(type="ed25519")["changed"] is False


@pytest.mark.parametrize("damage", ["missing", "foreign", "garbage"])
def test_the_public_part_is_mended_without_a_new_key(host: Host, damage: str) -> None:
    print_ = host.good(type="ed25519", comment="mine")["keys"][0]["fingerprint"]
    if damage == "missing":
        host.at(KEY + ".pub").unlink()
    elif damage == "foreign":
        other = host.keygen("ed25519", path="/etc/ssh/other")
        os.replace(host.at(other + ".pub"), host.at(KEY + ".pub"))
    else:
        host.at(KEY + ".pub").write_text("hello\n")
    result = real_after_check(host, "ssh_host_key", type="ed25519")
    assert codes(result) == [["public_missing" if damage == "missing" else "public_mismatch"]]
    assert result["keys"][0]["fingerprint"] == print_
    assert host.pair_matches()
    assert host.at(KEY + ".pub").read_text().endswith(" mine\n")


def test_force_makes_a_key_each_time_and_backups_are_never_overwritten(host: Host) -> None:
    prints = [host.good(type="ed25519", force=True, backup=True)["keys"][0]["fingerprint"] for dummy in range(4)]
    assert len(set(prints)) == 4
    backups = sorted(name for name in host.look() if name.endswith("~"))
    assert len(backups) == 6
    kept = [name for name in backups if ".pub." not in name]
    assert {host.look()[name][0] for name in kept} == {0o600}
    assert {host.run("ssh-keygen", "-l", "-f", f"/etc/ssh/{name}").stdout.split()[1] for name in kept} == set(prints[:3])


def test_force_beside_a_list_holds_for_all_of_it(host: Host) -> None:
    keys = [{"type": "ed25519"}, {"type": "ecdsa"}]
    first = host.good(keys=keys)
    second = host.good(keys=keys, force=True)
    assert codes(second) == [["forced"], ["forced"]]
    assert not {key["fingerprint"] for key in first["keys"]} & {key["fingerprint"] for key in second["keys"]}


def test_a_symbolic_link_is_followed_and_stays(host: Host) -> None:
    host.at("/var/lib/keys").mkdir()
    host.at(KEY).symlink_to("/var/lib/keys/host")
    result = host.good(type="ed25519")
    assert host.at(KEY).is_symlink()
    assert host.at("/var/lib/keys/host").exists()
    assert result["keys"][0]["path"] == KEY


def test_a_certificate_of_the_old_key_is_named(host: Host) -> None:
    host.good(type="ed25519")
    host.at(KEY + "-cert.pub").write_text("x")
    result = host.good(type="ed25519", force=True)
    assert any("-cert.pub" in str(warning) for warning in result["warnings"])


# --- the server


BROKEN = "NoSuchOption yes\n"


@pytest.mark.parametrize("check", [False, True])
def test_nothing_is_replaced_when_the_configuration_is_broken(host: Host, check: bool) -> None:
    host.good(type="ed25519")
    host.configure(BROKEN)
    before = host.look()
    result = host.bad(check=check, type="ed25519", force=True)
    assert "NoSuchOption" in result["msg"].replace("nosuchoption", "NoSuchOption")
    assert (host.look(), result["changed"]) == (before, False)
    assert host.good(type="ed25519")["changed"] is False, "without anything to do, the server is not asked"


@pytest.mark.parametrize("check", [False, True])
def test_without_a_server_it_fails_unless_told(host: Host, check: bool) -> None:
    assert SSHD is not None
    host.mounts = [f"mount --bind /dev/null {SSHD}"]
    result = host.bad(check=check, type="ed25519")
    assert "not installed" in result["msg"]
    assert host.good(check=check, type="ed25519", server="none")["changed"]
    looked = host.good("ssh_host_key_info", type="ed25519")
    assert looked["server"]["installed"] is False


def test_a_server_that_refuses_the_new_key_gets_the_old_one_back(host: Host) -> None:
    host.good(type="ed25519")
    before = host.look()
    wrapper = host.folder / "bin"
    wrapper.mkdir()
    good = host.at(KEY + ".pub").read_text().split()[1]
    script = f'#!/bin/sh\ngrep -q {good} {KEY}.pub && exec {SSHD} "$@"\necho "no such luck" >&2\nexit 255\n'
    (wrapper / "sshd").write_text(script)
    (wrapper / "sshd").chmod(0o755)
    host.path = f"{wrapper}{os.pathsep}{PATH}"
    for backup in (False, True):
        result = host.bad(type="ed25519", force=True, backup=backup)
        assert "no such luck" in result["msg"]
        assert "put back" in result["msg"]
        assert host.look() == before


def test_the_last_key_of_the_server_is_not_removed(host: Host) -> None:
    host.good(type="ed25519")
    before = host.look()
    assert "no host key left" in host.bad(type="ed25519", state="absent")["msg"]
    assert host.look() == before


def test_the_folder_of_a_stopped_service_is_only_lent(host: Host) -> None:
    host.good(type="ed25519")
    assert list(host.at("/run").iterdir()) == []
    host.at("/run/sshd").mkdir()
    host.good(type="ed25519", force=True)
    assert host.at("/run/sshd").is_dir()


def test_without_ssh_keygen_it_fails(host: Host) -> None:
    host.mounts = [f"mount --bind /dev/null {shutil.which('ssh-keygen')}"]
    for check in (True, False):
        assert "ssh-keygen is not installed" in host.bad(check=check, type="ed25519")["msg"]


# --- bad places


WRONG = {
    "an unknown type": ({"type": "ed448"}, "ed448"),
    "dsa": ({"type": "dsa"}, "dsa"),
    "rsa of 512 bits": ({"type": "rsa", "size": 512}, "512"),
    "rsa of 20000 bits": ({"type": "rsa", "size": 20000}, "20000"),
    "no curve": ({"type": "ecdsa", "size": 255}, "255"),
    "ed25519 with a size": ({"type": "ed25519", "size": 256}, "256"),
    "a missing folder": ({"type": "ed25519", "path": "/etc/ssh/none/key"}, "/etc/ssh/none"),
    "a folder": ({"type": "ed25519", "path": "/etc/ssh"}, "/etc/ssh"),
    "a relative path": ({"type": "ed25519", "path": "key"}, "key"),
    "a path without type": ({"path": "/etc/ssh/key"}, "type"),
    "type and keys": ({"type": "ed25519", "keys": [{"type": "rsa"}]}, "mutually exclusive"),
    "one path twice": ({"keys": [{"type": "rsa", "path": KEY}, {"type": "ed25519"}]}, KEY),
    "absent for all": ({"state": "absent"}, "named"),
    "no fingerprint": ({"type": "ed25519", "bad_fingerprints": ["hello"]}, "hello"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_refused(host: Host, case: str) -> None:
    host.good(type="ed25519")
    before = host.look()
    arguments, named = WRONG[case]
    for check in (True, False):
        result = host.bad(check=check, **arguments)
        assert named in result["msg"]
        assert not result.get("changed")
    assert host.look() == before


@pytest.mark.parametrize("check", [False, True])
def test_a_read_only_file_system(host: Host, check: bool) -> None:
    host.good(type="ed25519")
    before = host.look()
    host.mounts = ["mount --bind /etc/ssh /etc/ssh", "mount -o remount,bind,ro /etc/ssh"]
    result = host.bad(check=check, type="ed25519", force=True)
    assert "read-only file system" in result["msg"]
    assert (host.look(), result["changed"]) == (before, False)
    assert host.good(check=check, type="ed25519")["changed"] is False


def test_a_record_that_cannot_be_written_is_a_warning(host: Host) -> None:
    host.keygen("ed25519")
    host.mounts = ["mount -o remount,bind,ro /var/lib"]
    result = host.good(type="ed25519")
    assert result["changed"] is False
    assert any("cannot be noted" in str(warning) for warning in result["warnings"])


def test_a_record_that_is_no_record_is_begun_anew(host: Host) -> None:
    host.good(type="ed25519")
    host.at("/var/lib/rootoftrust/ssh_host_keys.json").write_text('{"keys": [1]}')
    result = host.good(type="ed25519")
    assert (result["changed"], result["keys"][0]["identity"]) == (True, "adopted")
    assert any("cannot be used" in str(warning) for warning in result["warnings"])
    assert host.good(type="ed25519")["changed"] is False


@pytest.mark.parametrize("free", [0, 4, 8, 12])
def test_a_full_disk(host: Host, free: int) -> None:
    """The folder of the key is a tmpfs of 64 KiB with this many KiB left; outside is a copy of what is in it afterwards."""
    host.keygen("rsa", "-b", "2048", path="/var/lib/old")
    (host.folder / "lib/after").mkdir()
    host.mounts = [
        "mkdir -p /run/full",
        "mount -t tmpfs -o size=64k full /run/full",
        "cp -p /var/lib/old /run/full/key",
        "cp -p /var/lib/old.pub /run/full/key.pub",
        "dd if=/dev/zero of=/run/full/filler bs=1k 2>/dev/null || true",  # it is to fail: it writes until nothing is left
        f"truncate -s -{free}k /run/full/filler",
    ]
    program = [sys.executable, "-c", CHILD]
    ask = {"module": "ssh_host_key", "check": False, "first": ""}
    ask["arguments"] = {"type": "rsa", "size": 4096, "path": "/run/full/key", "backup": True}
    done = host.run(
        "sh",
        "-c",
        '"$@"; rm /run/full/filler; cp -p /run/full/* /run/full/.[!.]* /var/lib/after 2>/dev/null; true',
        "sh",
        *program,
        input=json.dumps(ask),
    )
    result = json.loads(done.stdout.strip().splitlines()[-1])
    left = sorted(path.name for path in (host.folder / "lib/after").iterdir())
    if result.get("failed"):
        assert "o space left on device" in result["msg"]
        assert left == ["key", "key.pub"], "nothing is left"
        for name in left:
            assert (host.folder / "lib/after" / name).read_bytes() == (host.at("/var/lib/old" + name[3:])).read_bytes()
    else:
        assert free >= 8
        assert len(left) == 4
        assert host.pair_matches("/var/lib/after/key")


# --- cut at any moment


def settled(host: Host, **arguments: Any) -> None:
    """After a cut: a public part that is there matches; one more run ends the work, and leaves nothing behind."""
    assert host.pair_matches() in (True, None)
    host.good(**arguments)
    assert host.pair_matches() is True
    assert host.good(**arguments)["changed"] is False
    assert sorted(name for name in host.look() if not name.endswith("~")) == [
        "ssh_host_ed25519_key",
        "ssh_host_ed25519_key.pub",
        "sshd_config",
    ]


SEAMS = {"missing": 15, "replaced": 15, "backup": 15, "published": 3, "protected": 5, "tidied": 2}


@pytest.mark.parametrize("story", SEAMS)
def test_a_run_may_be_cut_at_every_seam(host: Host, story: str) -> None:
    """The process is killed before the n-th call that changes or syncs a name, for every n there is."""
    host.keygen("rsa", "-b", "1024", path="/var/lib/small")
    host.keygen("ed25519", path="/var/lib/right")
    cuts = 0
    while True:
        for path in host.at("/etc/ssh").glob("*ssh_host*"):
            path.unlink()
        arguments: dict[str, Any] = {"type": "ed25519", "backup": story == "backup"}
        if story != "missing":
            source = "/var/lib/right" if story in ("published", "protected", "tidied") else "/var/lib/small"
            shutil.copy(host.at(source), host.at(KEY))
            shutil.copy(host.at("/var/lib/small.pub" if story == "published" else source + ".pub"), host.at(KEY + ".pub"))
            host.at(KEY).chmod(0o666 if story == "protected" else 0o600)
        if story == "tidied":
            host.at("/etc/ssh/.ssh_host_ed25519_key.rootoftrust-12345678").write_text("x")
        done = host.raw("ssh_host_key", first=CUT.format(at=cuts + 1), **arguments)
        if story != "published" or host.at(KEY + ".pub").read_text() != host.at("/var/lib/small.pub").read_text():
            if story == "protected":
                host.at(KEY).chmod(0o600)  # ssh-keygen, which compares, would refuse the file
            settled(host, **arguments)
        if done.stdout.strip():
            break
        cuts += 1
    assert cuts >= SEAMS[story]


@pytest.mark.slow
def test_a_run_may_be_killed_at_any_moment(host: Host) -> None:
    """Random moments over the whole run, from its start to its end."""
    host.good(type="ed25519")
    ask = json.dumps({"module": "ssh_host_key", "check": False, "first": "", "arguments": {"type": "ed25519", "force": True}})
    began = time.monotonic()
    host.raw("ssh_host_key", type="ed25519", force=True)
    whole = time.monotonic() - began
    cut = 0
    for number in range(40):
        process = subprocess.Popen(
            host.inside(sys.executable, "-c", CHILD), env=host.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, start_new_session=True,
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(ask)
        process.stdin.close()
        time.sleep(whole * (0.4 + 0.6 * number / 40))
        os.killpg(process.pid, signal.SIGKILL)
        cut += process.wait() == -signal.SIGKILL
        settled_now = host.pair_matches()
        assert settled_now in (True, None)
    assert cut > 10
    settled(host, type="ed25519")


def test_two_runs_at_once_wait_for_each_other(host: Host) -> None:
    results: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda: results.append(host.call("ssh_host_key", type="ed25519", force=True))) for dummy in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.get("failed", False) for result in results] == [False] * 4
    assert host.pair_matches()
    assert sorted(host.look()) == ["ssh_host_ed25519_key", "ssh_host_ed25519_key.pub", "sshd_config"]


# ---------------------------------------------------------------------------------------------------- ssh_host_key_info


@contextmanager
def served(host: Host, *options: str) -> Iterator[Host]:
    """Its sshd runs, on a port of its own at 127.0.0.1."""
    assert SSHD is not None
    host.at("/run/sshd").mkdir(exist_ok=True)
    process = subprocess.Popen(host.inside(SSHD, "-D", "-e", *options), env=host.environment, stderr=subprocess.DEVNULL)
    try:
        for dummy in range(100):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", host.port)) == 0:
                    break
            time.sleep(0.05)
        yield host
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def server(host: Host) -> Iterator[Host]:
    host.good(keys=[{"type": "ed25519"}, {"type": "ecdsa"}])
    with served(host):
        yield host


def test_a_look_changes_nothing_and_says_what_is_due(host: Host) -> None:
    host.keygen("ed25519")
    before = host.look()
    result = host.good("ssh_host_key_info", keys=[{"type": "ed25519", "comment": "x"}, {"type": "rsa", "size": 4096}])
    assert host.look() == before
    assert not host.at("/var/lib/rootoftrust").exists()
    assert (result["due"], result["note_due"], result["stale"], result["changed"]) == (True, True, False, False)
    assert [(key["due"], key["note_due"]) for key in result["keys"]] == [(False, True), (True, False)]
    assert (result["served"], result["server"]["running"]) == (None, None)


def test_the_running_server_presents_what_is_on_disk(server: Host) -> None:
    good = server.good("ssh_host_key_info", handshake=True, prove=True)
    assert {item["fingerprint"] for item in good["served"]} == {key["fingerprint"] for key in good["keys"]}
    assert all(item["matches"] for item in good["served"])
    assert (good["due"], good["stale"], good["faults"]) == (False, False, [])
    assert good["server"]["running"] is True
    assert good["server"]["ports"] == [server.port]


def test_a_server_that_presents_other_keys_than_those_on_disk_is_stale(host: Host) -> None:
    host.good(keys=[{"type": "ed25519"}, {"type": "ecdsa"}])
    old = host.keygen("ed25519", path="/run/old")
    with served(host, "-h", old):
        assert host.good("ssh_host_key_info", handshake=True)["stale"] is True
        stale = host.bad("ssh_host_key_info", handshake=True, prove=True)
        one = host.bad("ssh_host_key_info", type="ed25519", handshake=True, prove=True)
    assert stale["stale"] is True
    assert [(item["type"], item["matches"], item["path"]) for item in stale["served"]] == [("ed25519", False, KEY)]
    assert len(stale["faults"]) == 2
    assert "which is not the one in " + KEY in one["msg"]
    assert one["msg"].count("reloaded") == 1


def test_a_look_is_quick(server: Host) -> None:
    """The part of a run that is ours: less than half a second beside starting Python and Ansible's own parts."""
    script = (
        "import time; began = time.monotonic(); import atexit; atexit.register(lambda: print(time.monotonic() - began, file=sys.stderr))"
    )
    times = []
    for dummy in range(3):
        done = server.raw("ssh_host_key_info", first=script, handshake=True)
        times.append(float(done.stderr.strip().splitlines()[-1]))
    assert min(times) < 0.8, times


def test_a_server_that_does_not_run_proves_nothing(host: Host) -> None:
    host.good(type="ed25519")
    result = host.bad("ssh_host_key_info", type="ed25519", handshake=True, prove=True)
    assert "presented no host key" in result["msg"]
    assert (result["server"]["running"], result["stale"]) == (False, False)


def test_a_broken_configuration_is_told(host: Host) -> None:
    host.good(type="ed25519")
    host.configure(BROKEN)
    result = host.good("ssh_host_key_info", handshake=True)
    assert (result["server"]["config_valid"], result["served"]) == (False, None)
    assert "nosuchoption" in result["server"]["error"].lower()
    assert [key["type"] for key in result["keys"]] == ["ed25519"]
    assert host.bad("ssh_host_key_info", prove=True)["server"]["config_valid"] is False


# ------------------------------------------------------------------------------------------------------ ssh_known_hosts


FILE = "/var/lib/home/.ssh/known_hosts"


@pytest.fixture
def keys(host: Host) -> list[str]:
    result = []
    for number, kind in enumerate(["ed25519", "ecdsa", "ed25519"]):
        path = host.keygen(kind, path=f"/run/key{number}")
        result.append(" ".join(host.at(path + ".pub").read_text().split()[:2]))
    host.at("/var/lib/home").mkdir()
    return result


def known(host: Host) -> str:
    return host.at(FILE).read_text()


def find(host: Host, name: str) -> set[str]:
    """What OpenSSH itself finds for a name."""
    done = host.run("ssh-keygen", "-F", name, "-f", FILE, check=False)
    return {" ".join(line.split()[1:3]) for line in done.stdout.splitlines() if not line.startswith("#")}


def known_after_check(host: Host, **arguments: Any) -> dict[str, Any]:
    before = host.at(FILE).read_bytes() if host.at(FILE).exists() else None
    predicted = host.good("ssh_known_hosts", check=True, **arguments)
    assert (host.at(FILE).read_bytes() if host.at(FILE).exists() else None) == before
    made = host.good("ssh_known_hosts", **arguments)
    for field in ("changed", "steps", "diff", "hosts"):
        assert predicted[field] == made[field]
    for check in (True, False):
        assert host.good("ssh_known_hosts", check=check, **arguments)["changed"] is False
    return made


@pytest.mark.parametrize("hashed", [False, True])
def test_a_host_is_known_by_its_keys_and_forgotten(host: Host, keys: list[str], hashed: bool) -> None:
    common = {"hash": hashed, "names": ["Web1", "192.0.2.1"], "port": 2222}
    assert known_after_check(host, keys=keys[:2], **common)["changed"]
    assert [host.at(path).stat().st_mode & 0o777 for path in (FILE, os.path.dirname(FILE))] == [0o600, 0o700]
    for name in ("[web1]:2222", "[192.0.2.1]:2222"):
        assert find(host, name) == set(keys[:2])
    assert find(host, "web1") == set()
    assert ("web1" in known(host)) is not hashed
    assert known_after_check(host, keys=keys[1:], **common)["changed"]
    assert find(host, "[web1]:2222") == set(keys[1:])
    assert known_after_check(host, keys=keys, exclusive=False, **common)["changed"]
    assert find(host, "[web1]:2222") == set(keys)
    assert known_after_check(host, state="absent", **common)["changed"]
    assert known(host) == ""
    assert known_after_check(host, state="absent", **common)["changed"] is False


def test_foreign_lines_stay_byte_for_byte(host: Host, keys: list[str]) -> None:
    foreign = (
        (
            f"# web1 is a fine host\r\n\n  # indented\nother,*.example.com {keys[0]} c  c\n@cert-authority web1 {keys[0]}\n"
            f"@revoked web1 {keys[2]}\nweb1 no key at all\nweb1 1024 35 123456789\n!web1,web* {keys[0]}\n"
        ).encode()
        + b"caf\xe9 "
        + keys[0].encode()
        + b"\n"
    )
    shared = f"web1,web2\t{keys[2]}  a comment\n".encode()
    host.at(FILE).parent.mkdir()
    host.at(FILE).write_bytes(foreign + shared + f"last {keys[0]}".encode())
    host.at(FILE).chmod(0o640)
    os.chown(host.at(FILE), 0, 65534)
    known_after_check(host, names=["web1"], keys=keys[:1])
    expected = foreign + f"web2\t{keys[2]}  a comment\nlast {keys[0]}\nweb1 {keys[0]}\n".encode()
    assert host.at(FILE).read_bytes() == expected
    assert (host.at(FILE).stat().st_mode & 0o777, host.at(FILE).stat().st_gid) == (0o640, 65534)


def test_names_that_openssh_hashed_are_found(host: Host, keys: list[str]) -> None:
    host.at(FILE).parent.mkdir()
    host.at(FILE).write_text(f"web1 {keys[0]}\nweb2 {keys[0]}\n")
    host.run("ssh-keygen", "-q", "-H", "-f", FILE)
    assert "web" not in known(host)
    known_after_check(host, names=["web1"], keys=[keys[1]])
    assert (find(host, "web1"), find(host, "web2")) == ({keys[1]}, {keys[0]})


@pytest.mark.parametrize("unknown", [None, ""])
def test_a_key_that_is_not_known_yet_is_a_predicted_change(host: Host, keys: list[str], unknown: str | None) -> None:
    host.good("ssh_known_hosts", names=["web1"], keys=[keys[0]])
    before = known(host)
    predicted = host.good("ssh_known_hosts", check=True, names=["web1"], keys=[keys[0], unknown])
    assert predicted["changed"]
    assert "known when it is made" in str(predicted["diff"])
    assert "known" in host.bad("ssh_known_hosts", names=["web1"], keys=[keys[0], unknown])["msg"]
    assert known(host) == before


KNOWN_WRONG = {
    "a wildcard": ({"names": ["*.example.com"]}, "*.example.com"),
    "no name": ({"names": []}, "name"),
    "no key": ({"names": ["web1"], "keys": []}, "web1"),
    "not a key": ({"names": ["web1"], "keys": ["ssh-ed25519 AAAA"]}, "web1"),
    "a port that is none": ({"names": ["web1"], "port": 70000}, "70000"),
    "a folder": ({"names": ["web1"], "path": "/etc"}, "/etc"),
    "nothing": ({}, "names"),
}


@pytest.mark.parametrize("case", KNOWN_WRONG)
def test_a_wrong_argument_of_known_hosts_is_refused(host: Host, keys: list[str], case: str) -> None:
    arguments, named = KNOWN_WRONG[case]
    for check in (True, False):
        assert named in host.bad("ssh_known_hosts", check=check, **{"keys": [keys[0]], **arguments})["msg"]
    assert not host.at(FILE).exists()


def test_forks_that_write_at_once_lose_nothing(host: Host, keys: list[str]) -> None:
    names = [f"web{number}" for number in range(24)]

    def write(some: list[str]) -> None:
        for name in some:
            host.good("ssh_known_hosts", names=[name], keys=keys[:2])

    threads = [threading.Thread(target=write, args=(names[number::4],)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(line.split()[0] for line in known(host).splitlines()) == sorted(names * 2)


def test_known_hosts_may_be_cut_at_every_seam(host: Host, keys: list[str]) -> None:
    host.good("ssh_known_hosts", names=["web1", "web2"], keys=[keys[0]])
    old = known(host)
    cuts = 0
    while True:
        done = host.raw("ssh_known_hosts", first=CUT.format(at=cuts + 1), names=["web2"], keys=[keys[1]])
        if done.stdout.strip():
            break
        assert known(host) == old or (find(host, "web1"), find(host, "web2")) == ({keys[0]}, {keys[1]})
        host.at(FILE).write_text(old)
        cuts += 1
    assert cuts >= 3
    assert (find(host, "web1"), find(host, "web2")) == ({keys[0]}, {keys[1]})


# --------------------------------------------------------------------------------------------------------- with Ansible


def test_the_three_together_under_ansible(server: Host) -> None:
    """As a user runs them; then OpenSSH's own client connects with strict checking as far as the key."""
    play = textwrap.dedent(f"""
        - hosts: localhost
          gather_facts: false
          connection: local
          tasks:
            - rootoftrust.linux.ssh_host_key_info: {{handshake: true, prove: true}}
              register: seen
            - rootoftrust.linux.ssh_known_hosts:
                path: {FILE}
                hosts:
                  - names: [127.0.0.1]
                    port: {server.port}
                    keys: "{{{{ seen['keys'] | map(attribute='public_key') }}}}"
            - rootoftrust.linux.ssh_host_key: {{force: true}}
              check_mode: true
              register: predicted
            - rootoftrust.linux.ssh_known_hosts:
                path: {FILE}
                names: [127.0.0.1]
                port: {server.port}
                keys: "{{{{ predicted['keys'] | map(attribute='public_key') }}}}"
              check_mode: true
              register: unknown
            - ansible.builtin.assert:
                that: [unknown is changed, predicted is changed, "predicted['keys'][0].public_key is none"]
        """)
    (server.folder / "play.yml").write_text(play)
    server.at("/var/lib/home").mkdir()
    program = str(Path(sys.executable).parent / "ansible-playbook")
    done = server.run(
        program, "-vvvv", "-i", "localhost,", "-e", f"ansible_python_interpreter={sys.executable}", str(server.folder / "play.yml")
    )
    assert "failed=0" in done.stdout
    for path in server.at("/etc/ssh").glob("ssh_host_*_key"):
        inner = base64.b64decode("".join(path.read_text().splitlines()[1:-1]))
        assert path.read_text().splitlines()[-2] not in done.stdout
        assert base64.b64encode(inner[-64:]).decode() not in done.stdout
    client = ["ssh", "-v", "-F", "none", "-p", str(server.port), "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
    spoken = server.run(
        *client, "-o", f"UserKnownHostsFile={FILE}", "-o", "GlobalKnownHostsFile=/dev/null", "127.0.0.1", "true", check=False
    )
    assert "is known and matches" in spoken.stderr
