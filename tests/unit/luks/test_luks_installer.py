# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role luks writes for installers: read by pykickstart, by debconf's rules, and by a shell."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
PASSPHRASES = {"home": 'it\'s "home" $HOME `id` \\ #', "srv-data": "data: ünïcode %end"}
VOLUMES: list[dict[str, Any]] = [
    {
        "mount": "/home",
        "install": {"size": 1024, "grow": True, "disk": "sda"},
        "pbkdf": {"type": "argon2id", "memory": 262144, "time": 2000},
    },
    {
        "mount": "/srv/data",
        "cipher": "aes-xts-plain64",
        "filesystem": {"type": "xfs", "mount_options": ["nodev", "nosuid"]},
        "install": {"size": 2048},
        "unlock": {"key_file": {}, "tpm2": {"pcrs": [7]}},
    },
    {"name": "swap", "method": "swap", "device": "/dev/sda3", "install": {"size": 512}},
    {"mount": "/var/lib/later"},
]


def write(folder: Path, secrets: dict[str, str]) -> subprocess.CompletedProcess[str]:
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {
            "luks_volumes": VOLUMES,
            "luks_secrets": {name: {"passphrase": passphrase} for name, passphrase in secrets.items()},
            "luks_installer_folder": str(folder / "out"),
        },
        "tasks": [{"ansible.builtin.include_role": {"name": "rootoftrust.linux.luks", "tasks_from": "installer"}}],
    }
    (folder / "play.json").write_text(json.dumps([play]))
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".venv/collections"),
    }
    command = ["ansible-playbook", "-vvvv", "--diff", str(folder / "play.json")]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("installer")
    run = write(folder, PASSPHRASES)
    assert run.returncode == 0, run.stdout[-3000:]
    return folder / "out", run.stdout + run.stderr


@pytest.mark.parametrize("version", ["RHEL8", "RHEL9", "RHEL10"])
def test_ksvalidator_accepts_the_kickstart(written: tuple[Path, str], version: str) -> None:
    run = subprocess.run([BIN / "ksvalidator", "-v", version, written[0] / "luks.ks"], capture_output=True, text=True, check=False)
    assert (run.returncode, re.findall("warning|error", run.stdout + run.stderr, re.IGNORECASE)) == (0, [])


def test_ksvalidator_sees_what_is_wrong(written: tuple[Path, str], tmp_path: Path) -> None:
    (tmp_path / "luks.ks").write_text((written[0] / "luks.ks").read_text().replace("--encrypted", "--encrypted --no-such-option"))
    assert subprocess.run([BIN / "ksvalidator", "-v", "RHEL9", tmp_path / "luks.ks"], capture_output=True, check=False).returncode == 2


def test_each_volume_of_the_kickstart_has_its_own_passphrase(written: tuple[Path, str]) -> None:
    parts = [shlex.split(line) for line in (written[0] / "luks.ks").read_text().splitlines() if line.startswith("part ")]
    found = {words[1]: [word.partition("=")[2] for word in words if word.startswith("--passphrase=")] for words in parts}
    assert found == {"/home": [PASSPHRASES["home"]], "/srv/data": [PASSPHRASES["srv-data"]], "swap": []}
    assert {"--encrypted", "--luks-version=luks2", "--pbkdf-memory=262144", "--grow", "--ondisk=sda"} <= set(parts[0])


def test_the_preseed_is_one_line_for_each_question_and_tells_no_passphrase(written: tuple[Path, str]) -> None:
    text = (written[0] / "luks.cfg").read_text()
    lines = [line for line in text.replace("\\\n", "").splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"d-i \S+ (string|boolean|select|password) .*\S", line) for line in lines), lines
    recipe = next(line for line in lines if "expert_recipe" in line)
    assert re.findall(r"mountpoint\{ (\S+) \}", recipe) == ["/home", "/srv/data"]
    assert recipe.count(" .") == 3
    assert not any(passphrase in text for passphrase in PASSPHRASES.values())


def test_the_script_gives_each_volume_its_own_passphrase(written: tuple[Path, str]) -> None:
    """Run as it is, but for what it would do to disks: cryptsetup is asked on standard input what it was given."""
    script = (written[0] / "luks.sh").read_text()
    start = script.index("encrypt() {")
    end = script.index("\n}\n", start) + 3
    told = 'encrypt() { printf "%s %s " "$1" "$2"; cat; echo; }\n'
    run = subprocess.run(["sh", "-c", script[:start] + told + script[end:]], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == [f"/home home {PASSPHRASES['home']}", f"/srv/data srv-data {PASSPHRASES['srv-data']}"]


def test_the_script_is_a_sound_one(written: tuple[Path, str]) -> None:
    check = ["shellcheck", "--shell=dash", "--exclude=SC2016", str(written[0] / "luks.sh")]
    run = subprocess.run(check, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout


def test_nobody_else_reads_them_and_no_output_tells(written: tuple[Path, str]) -> None:
    folder, output = written
    assert {path.name: oct(path.stat().st_mode & 0o777) for path in folder.iterdir()} == dict.fromkeys(
        ["luks.ks", "luks.cfg", "luks.sh"], "0o600"
    )
    assert folder.stat().st_mode & 0o777 == 0o700
    for passphrase in PASSPHRASES.values():
        assert passphrase not in output
        assert json.dumps(passphrase)[1:-1] not in output


def test_one_passphrase_for_two_volumes_is_refused(tmp_path: Path) -> None:
    run = write(tmp_path, dict.fromkeys(PASSPHRASES, "the same"))
    assert run.returncode == 2
    assert not (tmp_path / "out").exists()


def test_what_is_left_out_is_what_the_argument_specs_say() -> None:
    spec = yaml.safe_load((ROOT / "roles/luks/meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    filled = yaml.safe_load((ROOT / "roles/luks/vars/main.yml").read_text())["__luks_defaults"]
    volume = spec["luks_volumes"]["options"]
    assert {name: option["default"] for name, option in volume.items() if "default" in option} == {
        name: value for name, value in filled.items() if name not in ("unlock", "filesystem")
    }
    inner = volume["filesystem"]["options"]
    assert {name: option["default"] for name, option in inner.items() if "default" in option} == filled["filesystem"]
