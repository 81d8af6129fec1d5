# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the role luks have in common: its playbooks on a machine, recipients, a Tang server, a security token."""

from __future__ import annotations

import json
import re
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.machine import Machine
from tests.integration.ansible_run import ROOT, Ansible, Run

PLAYBOOKS = ROOT / "playbooks"
CHEAP = {"type": "argon2id", "memory": 32, "iterations": 4, "threads": 1}  # for tests only
TANG_URL = "http://127.0.0.1"
TOKEN_PIN, TOKEN_URI = "73451-of-the-disk", "pkcs11:token=disk;object=disk"

# Stands before cryptsetup and notes how it was called; what it is given by standard input goes past it.
_NOTING = """#!/bin/sh
echo "$*" >> /run/cryptsetup.calls
exec {program}.real "$@"
"""
_CRYPTSETUP = "/usr/sbin/cryptsetup"
# What it does only by deriving a key.
_DERIVING = re.compile(r"\b(open|luksOpen|luksAddKey|luksConvertKey|luksChangeKey|luksFormat|reencrypt|--test-passphrase)\b")


@dataclass
class Story:
    """One machine, and the variables that its inventory has now."""

    machine: Machine
    ansible: Ansible
    gnupg: Path
    variables: dict[str, Any] = field(default_factory=dict)

    def play(self, playbook: str, *arguments: str, **more: Any) -> Run:
        """Run a playbook of the collection, by its name, or the text of another."""
        path = self.ansible.folder / "variables.json"
        path.write_text(json.dumps({**self.variables, **more}))
        named = playbook if "\n" in playbook else PLAYBOOKS / f"{playbook}.yml"
        return self.ansible.playbook(named, "-e", f"@{path}", *arguments, timeout=1800)

    def opens(self, disk: int, passphrase: str) -> bool:
        return opens(self.machine, self.machine.disks[disk], passphrase)

    def appears(self, *places: str, seconds: float = 90) -> None:
        """Wait until all of them are mounted from open volumes."""
        deadline = time.monotonic() + seconds
        while True:
            mounted = self.machine.run("findmnt -rno TARGET,SOURCE").stdout
            if all(f"{place} /dev/mapper/" in mounted for place in places):
                return
            assert time.monotonic() < deadline, self.machine.run("systemctl list-jobs; journalctl -b --no-pager | tail -40").stdout
            time.sleep(0.5)  # between two looks, until the deadline, which fails above

    def gpg(self, *arguments: str) -> str:
        command = ["gpg", "--homedir", str(self.gnupg), "--batch", "--quiet", "--passphrase", "", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def recipient(self) -> str:
        """The public key of somebody who may read recovery keys, made anew."""
        self.gpg("--quick-gen-key", "Escrow", "future-default", "default", "never")
        return self.gpg("--armor", "--export")

    @property
    def escrow(self) -> Path:
        (found,) = (self.ansible.folder / "escrow").glob(
            f"{self.machine.name}-home-*-recovery-{self.variables.get('luks_version', '1')}.asc"
        )
        return found


def opens(machine: Machine, at: str, passphrase: str) -> bool:
    """Whether a passphrase opens what has its header at a path, as cryptsetup says."""
    command = ["cryptsetup", "open", "--test-passphrase", "--key-file=-", at]
    return machine.run(command, stdin=passphrase, check=False).returncode == 0


def state(machine: Machine) -> dict[str, str]:
    """What a check run must leave as it is."""
    commands = {
        "fstab": "cat /etc/fstab",
        "crypttab": "cat /etc/crypttab",
        "blkid": "blkid -c /dev/null -p /dev/ubd[b-z]; true",
        "headers": "for disk in /dev/ubd[b-z]; do cryptsetup luksDump $disk; done 2>/dev/null; true",
        "mounts": "findmnt -rno SOURCE,TARGET /home; cat /proc/swaps; ls /dev/mapper",
        "ours": "ls -R /var/lib/rootoftrust /etc/cryptsetup-keys.d 2>&1; true",
    }
    return {name: machine.run(command, check=False).stdout for name, command in commands.items()}


def note_calls(machine: Machine) -> None:
    """From now on each call of cryptsetup in the machine is noted."""
    machine.run(
        f"mv {_CRYPTSETUP} {_CRYPTSETUP}.real; cat > {_CRYPTSETUP}; chmod 755 {_CRYPTSETUP}", stdin=_NOTING.format(program=_CRYPTSETUP)
    )


def derived(machine: Machine) -> list[str]:
    """The calls of cryptsetup since the last time this was asked that derived a key."""
    calls = machine.run("touch /run/cryptsetup.calls; cat /run/cryptsetup.calls; rm /run/cryptsetup.calls").stdout.splitlines()
    assert calls, "nobody has called it: what is noted says nothing"
    return [call for call in calls if _DERIVING.search(call)]


# --- helpers of the machine --------------------------------------------------------------------------------------------


def have_tang(machine: Machine) -> dict[str, Any]:
    """A Tang server in the machine, and the configuration by which clevis knows it."""
    machine.run("apt-get install -y -q tang clevis clevis-luks && systemctl enable --now tangd.socket", timeout=240)
    return {"url": TANG_URL, "thp": machine.run("tang-show-keys").stdout.strip()}


def have_security_token(machine: Machine) -> None:
    """A security token of SoftHSM, with a certificate on it and the PIN ``TOKEN_PIN``."""
    machine.run(
        f"command -v softhsm2-util || {{ apt-get install -y -q softhsm2 opensc p11-kit openssl"
        f" && softhsm2-util --init-token --free --label disk --pin {TOKEN_PIN} --so-pin 5678"
        " && openssl req -x509 -newkey rsa:2048 -nodes -keyout /run/k.pem -out /run/c.pem -subj /CN=disk -days 30"
        " && openssl pkcs8 -topk8 -nocrypt -in /run/k.pem -out /run/k8.pem && openssl x509 -in /run/c.pem -outform DER -out /run/c.der"
        f" && softhsm2-util --import /run/k8.pem --token disk --label disk --id 01 --pin {TOKEN_PIN}"
        f" && pkcs11-tool --module /usr/lib/softhsm/libsofthsm2.so --login --pin {TOKEN_PIN} --token-label disk"
        " --write-object /run/c.der --type cert --id 01 --label disk; }",
        timeout=240,
    )


def tokens(machine: Machine) -> list[dict[str, Any]]:
    """The tokens of the first disk, by their numbers."""
    metadata = json.loads(machine.run(f"cryptsetup luksDump --dump-json-metadata {machine.disks[0]}").stdout)
    used = [slot for token in metadata["tokens"].values() for slot in token["keyslots"]]
    assert sorted(metadata["keyslots"]) == sorted(["0", *used]), "each keyslot but that of the passphrase has its token"
    return [token for dummy, token in sorted(metadata["tokens"].items())]


def verbs(result: dict[str, Any]) -> list[str]:
    """What the steps of a result begin with."""
    return [step.split()[0] for step in result["steps"]]
