# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import ast
import json
import shlex
import subprocess
from pathlib import Path

import pytest

from lab import ssh
from lab.spec import MachineSpec
from lab.state import Record

KEY = Path("/keys/id with space")


@pytest.fixture
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Record:
    monkeypatch.setenv("ROOTOFTRUST_LAB_STATE", str(tmp_path))
    made = Record(spec=MachineSpec("m1", engine="uml"), uuid="u", mac="02:00:00:00:00:02")
    made.state_dir.mkdir()
    return made


def _effective(words: list[str]) -> dict[str, str]:
    """What OpenSSH itself makes of the command line."""
    shown = subprocess.run([words[0], "-G", *words[1:]], check=True, capture_output=True, text=True).stdout
    return dict(line.partition(" ")[::2] for line in shown.splitlines())


def test_openssh_understands_the_options_as_meant(record: Record) -> None:
    settings = _effective(ssh.command(record, Path("/keys/id")))
    assert settings["hostname"] == "m1"
    assert settings["user"] == "root"
    assert settings["stricthostkeychecking"] in ("true", "yes")
    assert settings["userknownhostsfile"] == str(record.known_hosts)
    assert settings["globalknownhostsfile"] == "/dev/null"
    assert settings["identityfile"] == "/keys/id"
    assert settings["proxycommand"].startswith("ip netns exec rot-m1 socat - TCP:10.90.0.2:22")


def test_an_argument_list_arrives_as_it_is_and_a_text_is_the_shells() -> None:
    argv = ["printf", "%s|", "a b", "it's", '"', "$HOME", ""]
    shell = subprocess.run(["sh", "-c", ssh.remote(argv)], check=True, capture_output=True, text=True)
    assert shell.stdout == "a b|it's|\"|$HOME||"
    assert ssh.remote("echo $HOME; true") == "echo $HOME; true"


def test_known_hosts_holds_the_given_keys_under_the_machines_name(record: Record) -> None:
    ssh.write_known_hosts(record, ["ssh-ed25519 AAAA comment here", "ssh-rsa BBBB"])
    assert record.known_hosts.read_text() == "m1 ssh-ed25519 AAAA\nm1 ssh-rsa BBBB\n"
    assert ssh.known_keys(record.known_hosts) == ["ssh-ed25519 AAAA", "ssh-rsa BBBB"]
    ssh.write_known_hosts(record, ["ssh-rsa CCCC"])
    assert record.known_hosts.read_text() == "m1 ssh-rsa CCCC\n"


def test_the_ini_inventory_says_the_same_as_the_variables(record: Record) -> None:
    variables = ssh.inventory_vars(record, KEY, ["/dev/ubdb"])
    name, *words = shlex.split(ssh.inventory_ini({"m1": variables}))
    assert name == "m1"
    read: dict[str, object] = {}
    for word in words:
        key, dummy, value = word.partition("=")
        try:
            read[key] = ast.literal_eval(value)
        except (SyntaxError, ValueError):
            read[key] = value
    assert read == variables
    assert read["lab_release"] == "13"


def test_the_json_inventory_holds_the_variables(record: Record) -> None:
    variables = ssh.inventory_vars(record, KEY, [])
    assert json.loads(ssh.inventory_json({"m1": variables})) == {"all": {"hosts": {"m1": variables}}}
    assert variables["ssh_host_keys_known_hosts_path"] == str(record.known_hosts)
    assert f"IdentityFile={KEY}" in shlex.split(str(variables["ansible_ssh_common_args"]))
