# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""luks_keyslot and luks_recovery_key: on regular files with this host's own cryptsetup and gpg, and on machines of other releases."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import Ansible
from tests.integration.test_luks_files import CHILD, CUT, PATH, SECRET, Host, real_after_check

PBKDF = {"type": "argon2id", "memory": 32, "iterations": 4, "threads": 1}
UNLOCK = {"passphrase": SECRET}
NO_DERIVATION = """
from ansible.module_utils.basic import AnsibleModule
run = AnsibleModule.run_command
def watched(self, args, **options):
    if {"--test-passphrase", "luksAddKey"} & set(args):
        raise AssertionError("a key was derived")
    return run(self, args, **options)
AnsibleModule.run_command = watched
"""
COUNT = """
import atexit, sys
atexit.register(lambda: sys.stderr.write(f"calls={calls}"))
"""
IMPATIENT = """
from ansible_collections.rootoftrust.linux.plugins.module_utils.core import lock
lock.Locks.__init__.__defaults__ = (None, 0.3)
"""

on_files = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: cryptsetup keeps its locks in /run/cryptsetup"),
    pytest.mark.skipif(shutil.which("cryptsetup", path=PATH) is None, reason="cryptsetup is not installed (Debian: cryptsetup-bin)"),
]


def marked(*marks: pytest.MarkDecorator) -> Callable[[Any], Any]:
    def mark(test: Any) -> Any:
        for one in marks:
            test = one(test)
        return test

    return mark


here = marked(*on_files)
with_gpg = marked(*on_files, pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed (Debian: gnupg)"))


class Volume:
    """A volume in a file, whose first secret is SECRET in keyslot 0."""

    def __init__(self, folder: Path, kind: str = "luks2") -> None:
        self.host = Host(folder)
        self.kind = kind
        self.path = self.host.volume(kind)
        self.key_file = folder / "keys/boot.key"
        self.escrow = folder / "escrow"

    def asked(self, module: str = "luks_keyslot", **options: Any) -> dict[str, Any]:
        pbkdf = (
            {}
            if module == "luks_recovery_key" or options.get("state") == "absent"
            else {"pbkdf": PBKDF if self.kind == "luks2" else {"iterations": 1000}}
        )
        more = {"folder": str(self.escrow)} if module == "luks_recovery_key" else {}
        return {"device": str(self.path), **pbkdf, **more, **options}

    def do(self, module: str = "luks_keyslot", **options: Any) -> dict[str, Any]:
        return self.host.good(module, **self.asked(module, **options))

    def refused(self, told: str, module: str = "luks_keyslot", **options: Any) -> None:
        """Refused with a reason, in check mode too, and nothing has changed."""
        before = self.host.look()
        for check in (True, False):
            result = self.host.bad(module, check, **self.asked(module, **options))
            assert re.search(told, result["msg"]), result["msg"]
        assert self.host.look() == before

    def boot(self, version: str = "1", **options: Any) -> dict[str, Any]:
        return {"name": "boot", "version": version, "key_file": str(self.key_file), "create_key_file": True, "unlock": UNLOCK, **options}

    def opens(self, secret: str | bytes | Path) -> bool:
        data = secret.read_bytes() if isinstance(secret, Path) else secret.encode() if isinstance(secret, str) else secret
        done = subprocess.run(
            ["cryptsetup", "open", "--test-passphrase", "--key-file=-", str(self.path)],
            input=data, env={**os.environ, "PATH": PATH}, capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode in (0, 2), done.stderr
        return done.returncode == 0

    def metadata(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.host.cryptsetup("luksDump", "--dump-json-metadata", self.path))
        return told

    @property
    def slots(self) -> set[str]:
        return set(self.metadata()["keyslots"])

    @property
    def tokens(self) -> list[dict[str, Any]]:
        return list(self.metadata()["tokens"].values())

    def cuts(self, module: str, restore: Callable[[], None], **options: Any) -> Iterator[int]:
        """Runs that are killed before each of the calls that change something, or in the last case after all of them.

        :param restore: brings back what was there before the first.
        """
        calls = []
        for check in (True, False):
            restore()
            told = self.host.raw(module, check, CUT.format(at=0) + COUNT, **self.asked(module, **options)).stderr
            calls.append(int(told.rpartition("calls=")[2]))
        reads, total = calls
        assert total - 2 * reads > 8
        for at in range(reads + 1, total - reads + 2):
            restore()
            done = self.host.raw(module, first=CUT.format(at=at), **self.asked(module, **options))
            assert done.returncode == -signal.SIGKILL, done.stdout + done.stderr
            yield at

    def whole(self) -> None:
        """No keyslot but the first that no token names, and no note of one that is to be."""
        assert not [token for token in self.tokens if "pending" in token]
        assert self.slots - {"0"} <= {slot for token in self.tokens for slot in token["keyslots"]}


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(tmp_path)


# --------------------------------------------------------------------------------------------------------- luks_keyslot


@here
def test_a_passphrase_opens_it_and_later_does_not(volume: Volume) -> None:
    made = real_after_check(volume.host, "luks_keyslot", **volume.asked(name="admin", passphrase="another", unlock=UNLOCK))
    assert made["keyslots"][0]["keyslot"] == 31
    assert volume.opens("another")
    assert volume.tokens == [{"type": "rootoftrust-keyslot", "keyslots": ["31"], "name": "admin", "version": "1", "kind": "passphrase"}]
    real_after_check(volume.host, "luks_keyslot", **volume.asked(state="absent", name="admin"))
    assert (volume.slots, volume.tokens, volume.opens("another")) == ({"0"}, [], False)


@here
def test_a_run_without_changes_derives_no_key_and_needs_no_secret(volume: Volume) -> None:
    volume.do(**volume.boot())
    for options in (volume.boot(), {"name": "boot"}):
        result = volume.host.call("luks_keyslot", first=NO_DERIVATION, **volume.asked(**options))
        assert result.get("changed") is False, result
    tried = volume.host.raw("luks_keyslot", first=NO_DERIVATION, **volume.asked(**volume.boot(), verify=True))
    assert "a key was derived" in tried.stderr, "the watcher sees what it should"


@here
def test_a_key_file_is_made_and_rotated(volume: Volume) -> None:
    real_after_check(volume.host, "luks_keyslot", **volume.asked(**volume.boot(priority="prefer")))
    first = volume.key_file.read_bytes()
    assert (len(first), volume.key_file.stat().st_mode & 0o7777, volume.key_file.parent.stat().st_mode & 0o7777) == (64, 0o400, 0o700)
    real_after_check(volume.host, "luks_keyslot", **volume.asked(**volume.boot("2", unlock={"key_file": str(volume.key_file)})))
    assert volume.key_file.read_bytes() != first
    assert (volume.opens(volume.key_file), volume.opens(first), volume.slots) == (True, False, {"0", "30"})
    assert volume.metadata()["keyslots"]["30"]["priority"] == 2
    assert [path.name for path in volume.key_file.parent.iterdir()] == ["boot.key"]
    volume.whole()


@here
def test_what_opens_already_is_given_the_name(volume: Volume) -> None:
    made = real_after_check(volume.host, "luks_keyslot", **volume.asked(name="first", passphrase=SECRET))
    assert [step.startswith("Name keyslot 0") for step in made["steps"]] == [True]
    volume.do(name="first", version="2", passphrase="rotated", unlock=UNLOCK)
    assert (volume.opens("rotated"), volume.opens(SECRET), volume.slots) == (True, False, {"31"})


@here
def test_one_key_file_is_not_made_for_two(volume: Volume) -> None:
    """The second would take the place of the first, whose keyslot nobody could open any more."""
    before = volume.host.look()
    asked = [volume.asked(**volume.boot()), volume.asked(**{**volume.boot(), "name": "other"})]
    assert "is to be made for 2 keyslots" in volume.host.bad("luks_keyslot", False, keyslots=asked)["msg"]
    assert volume.host.look() == before


@here
def test_several_in_one_run(volume: Volume) -> None:
    asked = [
        volume.asked(**volume.boot()),
        volume.asked(name="admin", passphrase="another", unlock=UNLOCK),
        volume.asked(state="absent", keyslot=0),
    ]
    real_after_check(volume.host, "luks_keyslot", keyslots=asked)
    assert (volume.slots, volume.opens(SECRET)) == ({"30", "31"}, False)


@here
def test_absent_by_the_secret_itself(volume: Volume) -> None:
    volume.do(name="admin", passphrase="another", unlock=UNLOCK)
    real_after_check(volume.host, "luks_keyslot", **volume.asked(state="absent", passphrase=SECRET, unlock={"passphrase": "another"}))
    assert (volume.slots, volume.opens("another")) == ({"31"}, True)


@here
def test_a_dead_one_is_told_and_added_anew(volume: Volume) -> None:
    volume.do(**volume.boot())
    area = volume.metadata()["keyslots"]["31"]["area"]
    with volume.path.open("r+b") as stream:
        stream.seek(int(area["offset"]))
        stream.write(bytes(4096))
    assert not volume.opens(volume.key_file)
    assert volume.do(**volume.boot())["changed"] is False
    told = volume.do(**volume.boot(), verify=True)
    assert "keyslot 31 does not open by it" in str(told["steps"])
    assert (volume.opens(volume.key_file), volume.slots) == (True, {"0", "30"})
    assert volume.do(**volume.boot(), verify=True)["changed"] is False


@here
def test_luks1_has_no_names_but_is_tried(tmp_path: Path) -> None:
    volume = Volume(tmp_path, "luks1")
    real_after_check(volume.host, "luks_keyslot", **volume.asked(passphrase="another", unlock=UNLOCK))
    assert volume.opens("another")
    volume.refused("has no tokens and no priorities: name, version cannot", name="a", version="2", passphrase="x", unlock=UNLOCK)
    volume.refused("LUKS1 has 0 to 7", state="absent", keyslot=8)
    real_after_check(volume.host, "luks_keyslot", **volume.asked(state="absent", passphrase=SECRET))
    volume.refused("the last way in", state="absent", passphrase="another")
    volume.refused("cannot keep what a recovery key needs", "luks_recovery_key", state="absent")


@here
def test_a_detached_header(tmp_path: Path) -> None:
    host = Host(tmp_path)
    data, header = tmp_path / "data", tmp_path / "header"
    with data.open("wb") as stream:
        stream.truncate(1024 * 1024)
    with header.open("wb") as stream:
        stream.truncate(16 * 1024 * 1024)
    host.cryptsetup(
        "luksFormat", *["--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000"], "--header", header, "--key-file", host.key, data
    )
    asked = {"device": str(data), "header": str(header), "name": "a", "passphrase": "another", "unlock": UNLOCK, "pbkdf": PBKDF}
    before = data.read_bytes()
    real_after_check(host, "luks_keyslot", **asked)
    assert data.read_bytes() == before


def _key_file_gone(volume: Volume) -> None:
    volume.do(**volume.boot())
    volume.key_file.unlink()


def _full(volume: Volume) -> None:
    for dummy in range(31):
        volume.host.cryptsetup(
            "luksAddKey",
            "--pbkdf",
            "pbkdf2",
            "--pbkdf-force-iterations",
            "1000",
            "--key-file",
            volume.host.key,
            volume.path,
            volume.host.key,
        )


def _reencrypting(volume: Volume) -> None:
    volume.host.cryptsetup("reencrypt", "--init-only", "--pbkdf-memory", "32", "--key-file", volume.host.key, volume.path)


def _tpm(volume: Volume) -> None:
    token = json.dumps({"type": "clevis", "keyslots": ["0"], "jwe": {}})
    volume.host.run("cryptsetup", "token", "import", "--json-file=-", volume.path, input=token)


REFUSED: dict[str, tuple[Callable[[Volume], object], Callable[[Volume], dict[str, Any]], str]] = {
    "wrong unlock": (lambda _v: 0, lambda v: v.boot(unlock={"passphrase": "wrong"}), "is to unlock .* does not open it"),
    "no unlock": (lambda _v: 0, lambda v: v.boot(unlock=None), "Give one as unlock"),
    "33rd keyslot": (_full, lambda v: v.boot(), "All 32 keyslots"),
    "last way in by number": (lambda _v: 0, lambda _v: {"state": "absent", "keyslot": 0}, "the last way into"),
    "last way in by its secret": (lambda _v: 0, lambda _v: {"state": "absent", "passphrase": SECRET}, "the last way into"),
    "unknown keyslot": (lambda _v: 0, lambda _v: {"state": "absent", "keyslot": 32}, "LUKS2 has 0 to 31"),
    "keyslot of a token": (_tpm, lambda _v: {"state": "absent", "keyslot": 0}, "luks_token"),
    "reencryption under way": (_reencrypting, lambda v: v.boot(), "A reencryption of .* is under way"),
    "key file gone": (_key_file_gone, lambda v: v.boot(), "boot.key is gone"),
    "key file never there": (lambda _v: 0, lambda v: v.boot(create_key_file=False), "cannot be read"),
    "no secret": (lambda _v: 0, lambda _v: {"name": "x", "unlock": UNLOCK}, "no secret for it is given"),
    "two secrets": (lambda _v: 0, lambda v: v.boot(passphrase="x"), "Both a passphrase and a key file"),
    "no LUKS": (lambda v: v.path.write_bytes(bytes(2**20)), lambda v: v.boot(), "no LUKS header"),
}


@here
@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_nothing_changed(volume: Volume, case: str) -> None:
    spoil, options, told = REFUSED[case]
    spoil(volume)
    volume.refused(told, **options(volume))


@here
def test_cut_before_any_call_the_next_run_goes_on(volume: Volume) -> None:
    """A key file is rotated; the process is killed before each call that changes a name or starts a program."""
    volume.do(**volume.boot())
    kept = volume.path.read_bytes(), volume.key_file.read_bytes()

    def restore() -> None:
        shutil.rmtree(volume.key_file.parent)
        volume.key_file.parent.mkdir(mode=0o700)
        volume.path.write_bytes(kept[0])
        volume.key_file.write_bytes(kept[1])

    for at in volume.cuts("luks_keyslot", restore, **volume.boot("2")):
        assert volume.opens(volume.key_file), f"cut {at}"
        assert volume.do(**volume.boot("2"))["keyslots"][0]["version"] == "2"
        assert volume.opens(volume.key_file)
        assert not volume.opens(kept[1])
        volume.whole()


@here
def test_killed_while_cryptsetup_works_on_the_next_run_waits_for_it(volume: Volume) -> None:
    """The program that a killed module has started does not stop; what it adds is found by the next run."""
    slow = {**PBKDF, "memory": 64 * 1024, "iterations": 8}
    asked = {**volume.asked(**volume.boot()), "pbkdf": slow}
    ask = {"module": "luks_keyslot", "arguments": asked, "check": False, "first": ""}
    process = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "PATH": PATH, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert process.stdin is not None
    process.stdin.write(json.dumps(ask))
    process.stdin.close()
    deadline = time.monotonic() + 60
    while not any("pending" in token for token in volume.tokens):
        assert time.monotonic() < deadline
    time.sleep(0.2)
    process.kill()
    process.wait()
    volume.do(**volume.boot())
    assert (volume.opens(volume.key_file), volume.slots) == (True, {"0", "31"})
    volume.whole()


@here
def test_a_second_run_at_the_same_time_waits_or_is_refused(volume: Volume) -> None:
    results: list[dict[str, Any]] = []

    def run(name: str) -> None:
        results.append(volume.do(name=name, passphrase=f"pass of {name}", unlock=UNLOCK))

    threads = [threading.Thread(target=run, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result["changed"] for result in results] == [True, True]
    volume.whole()
    found = volume.path.stat()
    (lock,) = [
        path for folder in ("/run", "/dev/shm") for path in Path(folder).glob(f"rootoftrust-luks-{found.st_dev:x}-{found.st_ino:x}.lock")
    ]
    with lock.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        refused = volume.host.call("luks_keyslot", first=IMPATIENT, **volume.asked(name="a"))
    lock.unlink()
    assert "Another run is at work" in refused["msg"]


# ---------------------------------------------------------------------------------------------------- luks_recovery_key


def homes() -> set[Path]:
    """The folders in memory that are gpg's while it works."""
    return {path for folder in ("/run", "/dev/shm") for path in Path(folder).glob(".rootoftrust-gnupg-*")}


class People:
    """OpenPGP keys of their own, with the private ones."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(mode=0o700)

    def gpg(self, *words: str, check: bool = True) -> str:
        done = subprocess.run(
            ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--passphrase", "", *words],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def make(self, name: str, *words: str, usage: str = "default", expires: str = "never") -> str:
        self.gpg(*words, "--quick-gen-key", name, "ed25519" if usage == "sign" else "future-default", usage, expires)
        return self.public(name)

    def public(self, name: str) -> str:
        return self.gpg("--armor", "--export", name)

    def fingerprint(self, name: str) -> str:
        return re.findall(r"^fpr:+([0-9A-F]+):$", self.gpg("--with-colons", "--list-keys", name), re.MULTILINE)[0]

    def revoke(self, name: str) -> str:
        certificate = (self.home / f"openpgp-revocs.d/{self.fingerprint(name)}.rev").read_text().replace("\n:---", "\n---")
        path = self.home / "revocation"
        path.write_text(certificate)
        self.gpg("--import", str(path))
        return self.public(name)

    def decrypt(self, path: Path | str) -> str:
        return self.gpg("--decrypt", str(path))


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[People]:
    people = People(tmp_path_factory.mktemp("gnupg") / "home")
    for name in ("alice", "bob", "carol"):
        people.make(name)
    yield people
    subprocess.run(["gpgconf", "--homedir", str(people.home), "--kill", "all"], check=False)


@with_gpg
def test_a_recovery_key_is_read_by_each_recipient_alone_and_opens(volume: Volume, people: People) -> None:
    recipients = [people.public("alice"), people.public("bob")]
    before = homes()
    made = real_after_check(volume.host, "luks_recovery_key", **volume.asked("luks_recovery_key", recipients=recipients, unlock=UNLOCK))
    (told,) = volume.do("luks_recovery_key", recipients=recipients)["recovery_keys"]
    assert told["recipients"] == sorted([people.fingerprint("alice"), people.fingerprint("bob")])
    path = Path(told["path"])
    assert (path.stat().st_mode & 0o7777, path.parent.stat().st_mode & 0o7777) == (0o400, 0o700)
    key = people.decrypt(path)
    assert re.fullmatch(r"([cbdefghijklnrtuv]{8}-){7}[cbdefghijklnrtuv]{8}", key)
    assert volume.opens(key)
    assert key not in str(made)
    assert key.encode() not in b"".join(file.read_bytes() for file in volume.host.folder.rglob("*") if file.is_file())
    (token,) = volume.tokens
    assert (token["kind"], token["sha256"], token["recipients"]) == ("recovery", told["sha256"], told["recipients"])
    assert homes() <= before
    quiet = volume.host.call("luks_recovery_key", first=NO_DERIVATION, **volume.asked("luks_recovery_key", recipients=recipients))
    assert quiet["changed"] is False
    volume.do("luks_recovery_key", state="absent")
    assert (volume.opens(key), volume.slots) == (False, {"0"})


@with_gpg
@pytest.mark.parametrize("why", ["gone", "another", "recipients", "version"])
def test_a_recovery_key_is_made_anew_where_it_must(volume: Volume, people: People, why: str) -> None:
    asked = {"recipients": [people.public("alice")], "unlock": UNLOCK}
    path = Path(volume.do("luks_recovery_key", **asked)["recovery_keys"][0]["path"])
    old = people.decrypt(path)
    if why == "gone":
        path.unlink()
    elif why == "another":
        path.write_text("something else")
    elif why == "recipients":
        asked["recipients"] = [people.public("alice"), people.public("carol")]
    else:
        asked["version"] = "2"
    real_after_check(volume.host, "luks_recovery_key", **volume.asked("luks_recovery_key", **asked))
    now = volume.do("luks_recovery_key", **asked)["recovery_keys"][0]["path"]
    assert (volume.opens(old), volume.opens(people.decrypt(now))) == (False, True)
    assert len(volume.slots) == 2
    volume.whole()


RECIPIENTS: dict[str, tuple[Callable[[People], list[str]], str]] = {
    "missing": (lambda _people: [], "Nobody is named"),
    "no key": (lambda _people: ["hello"], "holds no OpenPGP public key"),
    "two keys in one": (lambda people: [people.gpg("--armor", "--export", "alice", "bob")], "holds 2 OpenPGP public keys"),
    "a private key": (lambda people: [people.gpg("--armor", "--export-secret-keys", "alice")], "private key"),
    "expired": (lambda people: [people.make("old", "--faked-system-time=20200101T000000", expires="1y")], "has expired"),
    "revoked": (lambda people: [people.make("gone"), people.revoke("gone")][1:], "is revoked"),
    "no encryption subkey": (lambda people: [people.make("signer", usage="sign")], "has no encryption subkey"),
    "one of two": (lambda people: [people.public("alice"), people.make("signer2", usage="sign")], "has no encryption subkey"),
}


@with_gpg
@pytest.mark.parametrize("case", RECIPIENTS)
def test_recipients_that_cannot_be_are_refused_before_anything_changes(volume: Volume, people: People, case: str) -> None:
    keys, told = RECIPIENTS[case][0](people), RECIPIENTS[case][1]
    volume.refused(told, "luks_recovery_key", recipients=keys, unlock=UNLOCK)
    if keys:  # and without any volume, before there is one
        assert re.search(told, volume.host.bad("luks_recipient_info", False, recipients=keys, require=True)["msg"])


@with_gpg
def test_recipients_are_told_with_what_is_wrong(volume: Volume, people: People) -> None:
    told = volume.host.good("luks_recipient_info", recipients=[people.public("alice"), people.make("signer3", usage="sign")])
    assert (told["changed"], told["usable"]) == (False, False)
    assert [bool(one["fault"]) for one in told["recipients"]] == [False, True]
    assert told["recipients"][0]["fingerprint"] == people.fingerprint("alice")


@with_gpg
def test_a_recovery_key_of_the_last_way_in_counts(volume: Volume, people: People) -> None:
    volume.do("luks_recovery_key", recipients=[people.public("alice")], unlock=UNLOCK)
    volume.do(state="absent", passphrase=SECRET)
    volume.refused("the last way into", "luks_recovery_key", state="absent")
    volume.refused("use luks_recovery_key", state="absent", name="recovery")


@with_gpg
def test_cut_before_any_call_a_recovery_key_is_always_at_hand(volume: Volume, people: People) -> None:
    asked: dict[str, Any] = {"recipients": [people.public("alice")], "unlock": UNLOCK}
    volume.do("luks_recovery_key", **asked)
    asked["recipients"].append(people.public("bob"))  # the same file for another key
    (path,) = volume.escrow.iterdir()
    kept, before = (volume.path.read_bytes(), path.read_bytes()), homes()

    def restore() -> None:
        volume.path.write_bytes(kept[0])
        shutil.rmtree(volume.escrow)
        volume.escrow.mkdir(mode=0o700)
        path.write_bytes(kept[1])

    for at in volume.cuts("luks_recovery_key", restore, **asked):
        assert volume.opens(people.decrypt(path)), f"cut {at}"
        volume.do("luks_recovery_key", **asked)
        assert volume.opens(people.decrypt(path))
        assert len(volume.slots) == 2
        volume.whole()
    for path in homes() - before:  # of the runs that were killed: public keys
        shutil.rmtree(path)


# ------------------------------------------------------------------------------------------------------------- machines

NAME = "it-keyslot"


@pytest.fixture(scope="module", params=["11", pytest.param("13", marks=pytest.mark.slow)])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    machine = up(MachineSpec(f"{NAME}-{request.param}", release=request.param, engine="uml", disks=("64M", "64M")), owner=os.getpid())
    cheap = "--pbkdf argon2id --pbkdf-memory 32 --pbkdf-parallel 1 --pbkdf-force-iterations 4"
    machine.run(
        f"printf first > /run/key && cryptsetup luksFormat -q --type luks2 {cheap} --key-file /run/key {machine.disks[0]}"
        f" && cryptsetup open --key-file /run/key {machine.disks[0]} data && mkfs.ext4 -q /dev/mapper/data"
        f" && cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 --key-file /run/key {machine.disks[1]}"
    )
    yield machine
    machine.down()


@pytest.mark.uml
@with_gpg
def test_on_a_machine(machine: Machine, people: People, tmp_path: Path) -> None:
    """A volume that is open: a key file, a recovery key that its recipient decrypts here and that opens there; LUKS1; a reencryption."""
    ansible = Ansible(tmp_path, machine)
    disk, old = machine.disks
    key = "/etc/cryptsetup-keys.d/data.key"
    boot = {"device": disk, "name": "boot", "key_file": key, "create_key_file": True, "unlock": {"key_file": "/run/key"}, "pbkdf": PBKDF}
    for version in ("1", "2"):
        result = ansible.module(machine.name, "luks_keyslot", {**boot, "version": version})
        assert result["changed"] is True, result
        assert ansible.module(machine.name, "luks_keyslot", {**boot, "version": version})["changed"] is False
    machine.run(f"cryptsetup open --test-passphrase --key-file {key} {disk}")
    asked = {"device": disk, "recipients": [people.public("alice")], "unlock": {"passphrase": "first"}}
    (made,) = ansible.module(machine.name, "luks_recovery_key", asked)["recovery_keys"]
    sealed = tmp_path / "sealed.asc"
    sealed.write_text(machine.run(f"cat {made['path']}").stdout)
    recovered = people.decrypt(sealed)
    machine.run(f"printf %s {recovered} | cryptsetup open --test-passphrase --key-file - {disk}")
    assert ansible.module(machine.name, "luks_recovery_key", asked)["changed"] is False
    assert ansible.module(machine.name, "luks_keyslot", {"device": disk, "state": "absent", "passphrase": "first"})["changed"] is True
    one = {"device": old, "passphrase": "second", "unlock": {"passphrase": "first"}, "pbkdf": {"iterations": 1000}}
    assert [ansible.module(machine.name, "luks_keyslot", one)["changed"] for dummy in range(2)] == [True, False]
    number = result["keyslots"][0]["keyslot"]
    init = "reencrypt -q --init-only --pbkdf-memory 32 --pbkdf-parallel 1 --pbkdf-force-iterations 4"
    machine.run(f"cryptsetup close data && cryptsetup {init} --key-slot {number} --key-file {key} {disk}")
    before = machine.run(f"head -c 16M {disk} | sha256sum").stdout
    refused = ansible.module(machine.name, "luks_keyslot", {**boot, "version": "3", "unlock": {"key_file": key}})
    assert "is under way" in refused["msg"]
    assert machine.run(f"head -c 16M {disk} | sha256sum").stdout == before
