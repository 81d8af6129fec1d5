# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is tortured: each job as a user asks for it, what a cut must leave, and what there must be in the end."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from tests.integration.ansible_run import Run
from tests.torture.rig import CHEAP, CHEAP_OPTIONS, KEY, MOUNT, SECRET, Rig

_COLLECTION = "rootoftrust.linux"
_LUKS_UUID = "11111111-2222-4333-8444-555555555555"
_PLAIN_UUID = "66666666-7777-4888-8999-aaaaaaaaaaaa"
NAME = "torture"
_ATTEMPTS = 4
_SMALL = {"uml": "96M", "qemu": "96M"}
# What is slow where the processor is emulated: many small files, and a look at the work, which takes the machine's one processor.
_COPIED = {"uml": "/etc /usr/lib/python3", "qemu": "/etc"}
_POLL = {"uml": 1, "qemu": 15}  # seconds


class Broken(Exception):
    """What must hold does not."""


class Job(ABC):
    """One job on one machine.

    :cvar disk: the size of the disk that it is done to, by the machine's engine: emulated, a MiB takes a second.
    :cvar files: how many files of about 1 MiB are on it.
    :cvar tears: whether it writes over the first bytes of the disk, so that a cut may tear what was there.
    """

    name: str
    disk: ClassVar[Mapping[str, str]] = {"uml": "256M", "qemu": "144M"}
    files = 30
    tears = False

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.digest = ""
        self._poll = _POLL[rig.machine.engine]

    @abstractmethod
    def prepare(self) -> None:
        """Bring the machine to where the job begins."""

    @abstractmethod
    def tasks(self) -> tuple[dict[str, Any], ...]:
        """What the user runs, at first and again."""

    @abstractmethod
    def ways_in(self) -> list[str]:
        """How somebody gets at the data now; called on a machine that was cut and has booted."""

    @abstractmethod
    def check_end(self) -> None:
        """Broken unless the job has done what it is for."""

    def finish(self) -> int:
        """Run the job again until it is finished, and then once more, which must change nothing; how many runs it took."""
        for attempt in range(1, _ATTEMPTS + 1):
            run = self.rig.play(*self.tasks(), *self.tasks())
            if run.rc == 0:
                last = [result for dummy, result in run.tasks(self.rig.machine.name)][len(self.tasks()) :]
                if any(result.get("changed") for result in last):
                    raise Broken(f"a run after the last one changes something: {failure_of(run)}")
                return attempt
        raise Broken(f"the job does not end well after {_ATTEMPTS} runs: {failure_of(run)}")

    def check(self) -> None:
        """Broken unless the data are whole and the job is done."""
        self.check_data()
        self.check_end()

    # ------------------------------------------------------------------------------------------------------- the data

    def fill(self, device: str) -> None:
        """A file system on the device, full of files that are known, and a line for it in fstab."""
        self.rig.run(
            f"mkfs.ext4 -q -b 4096 -U {_PLAIN_UUID} {device} && mkdir -p {MOUNT} && mount {device} {MOUNT}"
            f" && cp -a {_COPIED[self.rig.machine.engine]} {MOUNT}"
            f" && for n in $(seq {self.files}); do head -c $((1048576 + n * 777)) /dev/urandom > {MOUNT}/file-$n; done; sync"
            f" && echo UUID={_PLAIN_UUID} {MOUNT} ext4 nofail 0 2 >> /etc/fstab"
        )
        self.digest = self.digest_now()

    def digest_now(self) -> str:
        listed = f"cd {MOUNT} && find . -path ./lost+found -prune -o -type f -print0 | sort -z | xargs -0 -r sha256sum | sha256sum"
        return self.rig.run(listed).stdout.split()[0]

    def check_data(self) -> None:
        self.rig.run(
            f"mountpoint -q {MOUNT} || {{ [ -e /dev/mapper/{NAME} ] || cryptsetup open --key-file {KEY} {self.rig.disk} {NAME};"
            f" mount /dev/mapper/{NAME} {MOUNT}; }}"
        )
        self.is_data_whole()

    def is_data_whole(self) -> None:
        if self.digest_now() != self.digest:
            raise Broken("the files are not what they were")

    # ----------------------------------------------------------------------------------------------------- the volume

    def make_volume(self) -> None:
        """A volume that the key file opens, with the data in it, open and mounted at boot."""
        self.key()
        disk = self.rig.disk
        self.rig.run(
            f"cryptsetup luksFormat -q --type luks2 {CHEAP_OPTIONS} --uuid {_LUKS_UUID} --key-file {KEY} {disk}"
            f" && cryptsetup open --key-file {KEY} {disk} {NAME} && echo {NAME} UUID={_LUKS_UUID} {KEY} luks,nofail >> /etc/crypttab"
        )
        self.fill(f"/dev/mapper/{NAME}")

    def key(self) -> None:
        self.rig.run(f"umask 077; cat > {KEY}", stdin=SECRET)

    def opens(self, secret: str, path: str | None = None) -> bool:
        done = self.rig.run(f"cryptsetup open --test-passphrase --key-file - {path or self.rig.disk}", stdin=secret, check=False)
        return done.returncode == 0


def failure_of(run: Run) -> str:
    """What a run of Ansible said, shortened to what is of use."""
    try:
        results = [result for play in run.told["plays"] for task in play["tasks"] for result in task["hosts"].values()]
    except (AssertionError, ValueError):
        return run.output[-600:]
    return "; ".join(str(result.get("msg") or result.get("steps")) for result in results if result.get("failed") or result.get("changed"))[
        -900:
    ]


class HeaderBackup(Job):
    """A backup of a header that has changed; the older backup is to go."""

    name = "backup"
    disk = _SMALL
    _folder = "/var/backups/luks"

    def prepare(self) -> None:
        self.make_volume()
        assert self.rig.play(*self.tasks()).rc == 0
        self.rig.run(f"printf other > /run/other && cryptsetup luksAddKey -q {CHEAP_OPTIONS} --key-file {KEY} {self.rig.disk} /run/other")

    def tasks(self) -> tuple[dict[str, Any], ...]:
        return ({f"{_COLLECTION}.luks_header_backup": {"device": self.rig.disk, "folder": self._folder, "keep": 0}},)

    def _backups(self) -> list[str]:
        return self.rig.run(f"ls -A {self._folder}").stdout.split()

    def ways_in(self) -> list[str]:
        ways = ["secret"] if self.opens(SECRET) else []
        whole = [name for name in self._backups() if name.endswith(".luks-header") and self.opens(SECRET, f"{self._folder}/{name}")]
        if not whole:
            raise Broken(f"no backup is whole: {self._backups()}")
        return [*ways, "backup"]

    def check_end(self) -> None:
        left = self._backups()
        if len(left) != 1 or not re.fullmatch(r"\S+\.luks-header", left[0]):
            raise Broken(f"one backup and nothing else should be there: {left}")
        if not self.opens("other", f"{self._folder}/{left[0]}"):
            raise Broken("the backup is not that of the header as it is")


class KeyslotRotation(Job):
    """Another passphrase in place of the one that the keyslot of that name has."""

    name = "keyslot"
    disk = _SMALL
    _old, _new = "the passphrase of yesterday", "the passphrase of today"

    def prepare(self) -> None:
        self.make_volume()
        assert self.rig.play(self._task("1", self._old)).rc == 0

    def _task(self, version: str, passphrase: str) -> dict[str, Any]:
        options = {
            "device": self.rig.disk, "name": "daily", "version": version, "passphrase": passphrase, "unlock": {"key_file": KEY},
            "pbkdf": CHEAP,
        }  # fmt: skip
        return {f"{_COLLECTION}.luks_keyslot": options}

    def tasks(self) -> tuple[dict[str, Any], ...]:
        return (self._task("2", self._new),)

    def ways_in(self) -> list[str]:
        secrets = {"key file": SECRET, "old passphrase": self._old, "new passphrase": self._new}
        ways = [name for name, secret in secrets.items() if self.opens(secret)]
        if "key file" not in ways or len(ways) < 2:
            raise Broken(f"the key file and one of the passphrases should open it, not only: {', '.join(ways)}")
        return ways

    def check_end(self) -> None:
        opens = {secret: self.opens(secret) for secret in (SECRET, self._old, self._new)}
        if opens != {SECRET: True, self._old: False, self._new: True}:
            raise Broken("the key file and the new passphrase should open it, the old one not")
        keyslots = len(re.findall(r"^  \d+: luks2", self.rig.run(f"cryptsetup luksDump {self.rig.disk}").stdout, re.MULTILINE))
        if keyslots != 2:
            raise Broken(f"{keyslots} keyslots, not 2")


class Encryption(Job):
    """A plain file system, encrypted in place."""

    name = "encrypt"
    tears = True

    def prepare(self) -> None:
        self.key()
        if self._chooses_uuid:
            self.rig.run(f"echo {NAME} UUID={_LUKS_UUID} {KEY} luks,nofail >> /etc/crypttab")
        self.fill(self.rig.disk)

    @property
    def _chooses_uuid(self) -> bool:
        """Else its UUID is not known before, so there is no crypttab and nothing is opened at boot."""
        return self.rig.release != "11"

    def tasks(self, wait: bool = True) -> tuple[dict[str, Any], ...]:
        options = {
            "device": self.rig.disk, "name": NAME, "key_file": KEY, "mount": MOUNT, "pbkdf": CHEAP, "wait": wait, "poll": self._poll,
            **({"uuid": _LUKS_UUID} if self._chooses_uuid else {}),
        }  # fmt: skip
        return ({f"{_COLLECTION}.luks_encryption": options},)

    def ways_in(self) -> list[str]:
        """The secret, or the plain file system, or what the module has kept for itself: that one has to be proven by its next run."""
        if self.opens(SECRET):
            return ["secret"]
        look = f"mountpoint -q {MOUNT} || mount -o ro -t ext4 {self.rig.disk} {MOUNT}"
        if self.rig.run(look, check=False).returncode == 0:
            self.is_data_whole()
            self.rig.run(f"umount {MOUNT}")
            self.rig.run(f"mount {MOUNT}", check=False)  # as at boot
            return ["plain"]
        if self.rig.run("ls /var/lib/rootoftrust/luks_encryption", check=False).stdout.strip():
            return ["the module's own copy"]
        return []

    def check_end(self) -> None:
        found = self.rig.run(f"cryptsetup luksDump {self.rig.disk}").stdout
        if not self.opens(SECRET) or "Requirements" in found:
            raise Broken("the volume is not encrypted to its end")
        raw = self.rig.run(f"blkid -p -o value -s TYPE {self.rig.disk}").stdout.strip()
        kept = self.rig.run("ls -A /var/lib/rootoftrust/luks_encryption", check=False).stdout.split()
        if raw != "crypto_LUKS" or kept:
            raise Broken(f"left over: {raw}, {kept}")


class Reencryption(Job):
    """Another volume key for a volume in use."""

    name = "reencrypt"
    tears = False

    def prepare(self) -> None:
        self.make_volume()

    def tasks(self) -> tuple[dict[str, Any], ...]:
        options = {
            "device": self.rig.disk, "name": NAME, "key_file": KEY, "volume_key": "2", "pbkdf": CHEAP, "wait": True, "poll": self._poll
        }  # fmt: skip
        return ({f"{_COLLECTION}.luks_encryption": options},)

    def ways_in(self) -> list[str]:
        # cryptsetup 2.3.7 cannot test a secret while a reencryption is under way, but boot has opened the volume with it.
        # With nofail the boot does not wait for it.
        opened = self.rig.run(f"systemctl start systemd-cryptsetup@{NAME} && [ -e /dev/mapper/{NAME} ]", check=False).returncode == 0
        ways = [way for way, found in {"secret": self.opens(SECRET), "opened at boot": opened}.items() if found]
        dump = self.rig.run(f"cryptsetup luksDump {self.rig.disk}").stdout
        if not ways and self.rig.release == "11" and "Requirements" in dump and not re.search(r"^  0: luks2", dump, re.MULTILINE):
            # Between its last two writes, when the old key is gone, cryptsetup 2.3.7 opens nothing. The module writes the second.
            ways = ["the next run"]
        return ways

    def check_end(self) -> None:
        found = self.rig.run(f"cryptsetup luksDump {self.rig.disk}").stdout
        if not self.opens(SECRET) or "Requirements" in found:
            raise Broken("the volume has not got its new key to its end")


class Decryption(Job):
    """A volume that is to be the plain file system again that is in it."""

    name = "decrypt"
    _notes = "/var/lib/rootoftrust/luks_encryption"

    def prepare(self) -> None:
        self.make_volume()

    def tasks(self) -> tuple[dict[str, Any], ...]:
        options = {
            "device": self.rig.disk, "name": NAME, "key_file": KEY, "mount": MOUNT, "state": "plain", "wait": True, "poll": self._poll
        }  # fmt: skip
        return ({f"{_COLLECTION}.luks_encryption": options},)

    def ways_in(self) -> list[str]:
        shown = self.rig.run(f"blkid -p -o value -s UUID {self.rig.disk}", check=False).stdout.strip()
        if shown == _PLAIN_UUID:
            self.is_data_whole()  # the boot has mounted it
            return ["plain"]
        # The beginning may have been cut between the header on the device and the one in the file; its next run has to prove that one.
        headers = {"secret": self.rig.disk, "header in its file": f"{self._notes}/{NAME}.luks-header"}
        ways = [way for way, path in headers.items() if self.opens(SECRET, path)]
        backups = self.rig.run("ls /var/lib/rootoftrust/luks_headers/*.luks-header", check=False).stdout.split()
        return ways or [way for way in ["header's backup"] if any(self.opens(SECRET, path) for path in backups)]

    def check_data(self) -> None:
        self.is_data_whole()

    def check_end(self) -> None:
        source = self.rig.run(f"findmnt -no SOURCE {MOUNT}", check=False).stdout.strip()
        kept = self.rig.run(f"ls -A {self._notes}", check=False).stdout.split()
        if source != self.rig.disk or kept or self.opens(SECRET):
            raise Broken(f"it is not plain, or something is left over: {source}, {kept}")


JOBS: dict[str, type[Job]] = {job.name: job for job in (HeaderBackup, KeyslotRotation, Encryption, Reencryption, Decryption)}
