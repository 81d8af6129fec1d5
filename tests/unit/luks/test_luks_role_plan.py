# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role luks makes of what luks_info has seen: whom it asks, what it says follows, and by which secret it opens a volume."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
ASKED = (
    "__luks_due",
    "__luks_lacking",
    "__luks_encryptions",
    "__luks_mappings",
    "__luks_keyslots",
    "__luks_volumes",
    "__luks_tried_tokens",
    "__luks_other_tokens",
    "__luks_recoveries",
    "__luks_superseding",
    "__luks_waiting",
    "__luks_unlocks",
    "__luks_stopping",
    "__luks_removals",
    "__luks_provable_tokens",
    "__luks_crypttab",
    "__luks_mounts",
)
HOME: dict[str, Any] = {"mount": "/home", "unlock": {"key_file": {}}}
RECOVERY = {"recipients": ["BEGIN PGP PUBLIC KEY BLOCK"], "tasks": "/keep.yml"}
GIVEN = {"home": {"passphrase": "new", "unlock": "old"}}


def record(name: str, number: int) -> dict[str, Any]:
    return {"type": "rootoftrust-keyslot", "name": name, "version": "1", "keyslots": [str(number)], "sha256": "0" * 64}


KEY_FILE, PASSPHRASE, KEPT = record("key_file", 31), record("passphrase", 0), record("recovery", 30)


def seen(*records: dict[str, Any], working: bool | None = None, tokens: Sequence[dict[str, Any]] = (), **changes: Any) -> dict[str, Any]:
    """A volume, encrypted and open.

    :param working: whether the unit of an encryption is at work; None where none is going on.
    """
    numbers = [int(slot) for one in records for slot in one["keyslots"]]
    return {
        "path": "/dev/sda3",
        "lasting_path": "/dev/disk/by-id/ata-x-part3",
        "luks": True,
        "header": {"uuid": "0123", "tokens": list(tokens), "keyslots": [{"number": number} for number in numbers]},
        "reencryption": None if working is None else {"percent": 12.5, "running": working},
        "signature": None,
        "data_signature": None,
        "mapping": {"name": "home"},
        "inside": {"uuid": "abcd", "type": "ext4"},
        "records": list(records),
        "mounts": [{"target": "/home"}],
        "fstab": [{"target": "/home", "source": "UUID=abcd", "options": ["nodev", "nofail", "x-systemd.device-timeout=90s"]}],
        **changes,
    }


def plain(*options: str) -> dict[str, Any]:
    fstab = [{"target": "/home", "source": "LABEL=home", "options": list(options)}]
    found = {"type": "ext4", "uuid": "abcd", "label": "home"}
    return seen(luks=False, header=None, signature=found, inside=None, mapping=None, fstab=fstab)


def elsewhere(source: str) -> dict[str, Any]:
    """A plain file system that is not mounted, where fstab has a line for its place."""
    return {**plain("nodev"), "mounts": [], "fstab": [{"target": "/home", "source": source, "options": ["nodev"]}]}


TPM = {"type": "systemd-tpm2", "tpm2_pcrs": [7], "tpm2_pin": False, "keyslots": [2]}
TOKEN = {"pkcs11": {"uri": "pkcs11:token=a"}}
GOING: dict[str, Any] = {"passphrase": {"keep": False}, "key_file": {}}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "all is there": (HOME, seen(KEY_FILE, PASSPHRASE), {}),
    "a TPM": ({**HOME, "unlock": {"tpm2": {"pcrs": [7]}}}, seen(PASSPHRASE), {}),
    "a detached header": ({**HOME, "header": "/etc/home.header"}, seen(PASSPHRASE), {}),
    "a detached header, by PARTUUID": ({**HOME, "header": "/etc/home.header", "device": "PARTUUID=1"}, seen(PASSPHRASE), {}),
    "a security token": ({**HOME, "unlock": TOKEN, "crypttab_options": ["tries=2"]}, seen(PASSPHRASE), {}),
    "plain": (HOME, plain("nodev"), {}),
    "plain, no boot waits for it": (HOME, plain("nodev", "nofail"), {}),
    "to be formatted": ({**HOME, "device": "/dev/sda3", "method": "format", "wipe": ["ext4"]}, elsewhere("LABEL=home"), {}),
    "to be formatted, for another": ({**HOME, "device": "/dev/sda3", "method": "format", "wipe": ["ext4"]}, elsewhere("UUID=1"), {}),
    "closed": (HOME, seen(KEY_FILE, PASSPHRASE, mounts=[]), {}),
    "a PIN is needed": ({**HOME, "unlock": {"key_file": {}, **TOKEN}}, seen(KEY_FILE, PASSPHRASE), {}),
    "a PIN is at hand": ({**HOME, "unlock": {"key_file": {}, **TOKEN}}, seen(KEY_FILE), {"luks_secrets": {"home": {"pkcs11_pin": "1"}}}),
    "at work, left alone": (HOME, seen(working=True), {"luks_wait": False}),
    "at work, waited for": (HOME, seen(working=True), {}),
    "cut": (HOME, seen(working=False), {"luks_wait": False}),
    "new volume key": ({**HOME, "recovery": RECOVERY, "volume_key": "2"}, seen(KEY_FILE, PASSPHRASE, KEPT), {}),
    "new volume key by a key file": ({**HOME, "unlock": GOING, "recovery": RECOVERY, "volume_key": "2"}, seen(KEY_FILE, KEPT), {}),
    "new passphrase": (HOME, seen(KEY_FILE, PASSPHRASE), {"luks_secrets": GIVEN}),
    "passphrase removed": ({**HOME, "unlock": GOING, "recovery": RECOVERY}, seen(KEY_FILE, KEPT), {"luks_secrets": GIVEN}),
    "passphrase removed, and still told": (
        {**HOME, "unlock": {"tpm2": {"pcrs": [7]}, "passphrase": {"keep": False}}, "recovery": RECOVERY},
        seen(KEPT, tokens=[TPM]),
        {"luks_secrets": {"home": {"passphrase": "removed"}}},
    ),
    "passphrase to be removed": ({**HOME, "unlock": GOING, "recovery": RECOVERY}, seen(KEY_FILE, PASSPHRASE), {}),
    "numbers for words": (
        {**HOME, "unlock": {"key_file": {"version": 1}, "passphrase": {"version": 1}}, "recovery": {**RECOVERY, "version": 1}},
        seen(KEY_FILE, PASSPHRASE, KEPT),
        {"luks_version": 1},
    ),
    "a number as text": (
        {**HOME, "unlock": {"tpm2": {"pcrs": ["7"]}}},
        seen(PASSPHRASE, tokens=[TPM]),
        {},
    ),
    "a TPM that is in": ({**HOME, "unlock": {"tpm2": {"pcrs": [7]}}}, seen(PASSPHRASE, tokens=[TPM]), {}),
    "a TPM that is in, to be tried": (
        {**HOME, "unlock": {"tpm2": {"pcrs": [7]}}},
        seen(PASSPHRASE, tokens=[TPM]),
        {"luks_try_tokens": True},
    ),
    "passphrase beside a TPM": (
        {**HOME, "unlock": {"tpm2": {"pcrs": [7]}, "passphrase": {"keep": False}}, "recovery": RECOVERY},
        seen(PASSPHRASE, KEPT, tokens=[TPM]),
        {},
    ),
    "another recovery key": ({**HOME, "recovery": {**RECOVERY, "version": "2"}}, seen(KEY_FILE, PASSPHRASE, KEPT), {}),
    "a second recovery key": (
        {**HOME, "recovery": {**RECOVERY, "version": "2"}},
        seen(KEY_FILE, PASSPHRASE, {**KEPT, "version": "2", "keyslots": ["29"]}, KEPT),
        {},
    ),
    "a TPM that does not fit": (
        {**HOME, "unlock": {"tpm2": {"pcrs": [7]}}},
        seen(PASSPHRASE, tokens=[TPM]),
        {"__luks_token_wish": {"failed": False, "msg": "A token is to be enrolled for /dev/sda3, which needs a secret that opens it."}},
    ),
    "a TPM that does not fit another": (
        {**HOME, "unlock": {"tpm2": {"pcrs": [7]}}},
        seen(PASSPHRASE, tokens=[TPM]),
        {"__luks_token_wish": {"failed": False, "msg": "A token is to be enrolled for /dev/sda33, which needs a secret that opens it."}},
    ),
    "only a PIN, plain": (HOME, plain("nodev"), {"luks_secrets": {"home": {"tpm2_pin": "1"}}}),
    "only a PIN, no key file": ({**HOME, "unlock": TOKEN}, seen(PASSPHRASE), {"luks_secrets": {"home": {"pkcs11_pin": "1"}}}),
    "an old secret is still told": (
        {**HOME, "unlock": {}},
        seen(PASSPHRASE, mapping=None),
        {"luks_secrets": GIVEN},
    ),
    "rotated by its key file": (HOME, seen(KEY_FILE, PASSPHRASE), {"luks_secrets": {"home": {"passphrase": "new"}}, "luks_version": "2"}),
    "rotated, without its key file": (HOME, seen(KEY_FILE, PASSPHRASE), {"luks_secrets": GIVEN, "luks_version": "2"}),
    "rotated by a passphrase": (
        {**HOME, "unlock": {"tpm2": {"pcrs": []}}, "recovery": RECOVERY},
        seen(PASSPHRASE, KEPT),
        {"luks_secrets": GIVEN, "luks_version": "2"},
    ),
    "passphrase can be removed": ({**HOME, "unlock": GOING, "recovery": RECOVERY}, seen(KEY_FILE, PASSPHRASE, KEPT), {}),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("plan")
    made = {name: "{{ " + name + " }}" for name in ASKED}
    tasks = [
        {
            "name": name,
            "ansible.builtin.debug": {"msg": made},
            "vars": {"luks_volumes": [asked], "__luks_seen": {"devices": [found]}, **more},
        }
        for name, (asked, found, more) in CASES.items()
    ]
    files = [str(ROOT / f"roles/luks/{part}/main.yml") for part in ("defaults", "vars")]
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars_files": files, "tasks": tasks}
    (folder / "play.json").write_text(json.dumps([play]))
    environment = {**os.environ, "ANSIBLE_STDOUT_CALLBACK": "ansible.posix.json", "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    environment.setdefault("ANSIBLE_COLLECTIONS_PATH", str(ROOT / ".venv/collections"))
    command = [str(BIN / "ansible-playbook"), "--check", str(folder / "play.json")]
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-3000:]
    told = json.loads(run.stdout[run.stdout.index("{\n") :])["plays"][0]["tasks"]
    return {task["task"]["name"]: task["hosts"]["localhost"]["msg"] for task in told}


@pytest.mark.parametrize(
    ("case", "due"),
    [
        ("all is there", []),
        ("plain", ["home"]),
        ("a PIN is needed", ["home"]),
        ("at work, left alone", []),
        ("at work, waited for", ["home"]),
        ("cut", ["home"]),
        ("a TPM that is in", []),
        ("a TPM that does not fit", ["home"]),
        ("a TPM that does not fit another", []),
        ("new volume key", ["home"]),
        ("new volume key by a key file", []),
        ("passphrase can be removed", []),
    ],
)
def test_secrets_are_asked_for_where_a_change_needs_one(made: dict[str, dict[str, Any]], case: str, due: list[str]) -> None:
    assert made[case]["__luks_due"] == due


@pytest.mark.parametrize(
    ("case", "lacking"),
    [
        ("plain", ["home"]),
        ("new passphrase", []),
        ("a PIN is needed", []),  # the key file opens it
        ("new volume key", ["home"]),
        ("only a PIN, plain", ["home"]),
        ("only a PIN, no key file", ["home"]),
    ],
)
def test_a_pin_is_no_passphrase(made: dict[str, dict[str, Any]], case: str, lacking: list[str]) -> None:
    assert made[case]["__luks_lacking"] == lacking


def test_with_a_pin_alone_a_volume_is_still_on_the_list(made: dict[str, dict[str, Any]]) -> None:
    (plain_one,) = made["only a PIN, plain"]["__luks_encryptions"]
    assert (plain_one["name"], "passphrase" in plain_one) == ("home", False)
    assert [token["kind"] for token in made["only a PIN, no key file"]["__luks_provable_tokens"]] == ["pkcs11"]


@pytest.mark.parametrize("case", ["numbers for words", "a number as text"])
def test_what_yaml_makes_of_a_word_is_the_same_word(made: dict[str, dict[str, Any]], case: str) -> None:
    assert (made[case]["__luks_due"], made[case]["__luks_waiting"]) == ([], [])
    assert made[case]["__luks_volumes"][0]["missing"] == []


def test_the_secret_that_opened_it_once_is_not_tried_for_ever(made: dict[str, dict[str, Any]]) -> None:
    told = made["an old secret is still told"]
    assert told["__luks_mappings"][0]["passphrase"] == "new"
    assert [one["unlock"] for one in told["__luks_keyslots"]] == [{"passphrase": "new"}]


def test_a_check_run_of_a_rotation_opens_with_what_is_in(made: dict[str, dict[str, Any]]) -> None:
    for case, keyslots in (("rotated by a passphrase", 1), ("rotated, without its key file", 2)):
        told = made[case]
        assert told["__luks_unlocks"]["home"]["unlock"] == {"passphrase": "old"}
        assert [one["unlock"] for one in told["__luks_keyslots"]] == [{"passphrase": "old"}] * keyslots
    assert made["rotated by its key file"]["__luks_unlocks"]["home"]["unlock"] == {"key_file": "/etc/cryptsetup-keys.d/home.key"}


@pytest.mark.parametrize(
    ("case", "key_file", "options", "awaited"),
    [
        ("a TPM", "none", ["tpm2-device=auto", "tries=5"], True),
        ("a security token", "none", ["pkcs11-uri=auto", "tries=2"], False),
        # Beside a token's option systemd takes it for that token's encrypted key, and opens nothing.
        ("a PIN is needed", "/etc/cryptsetup-keys.d/home.key", ["tries=5"], True),
    ],
)
def test_a_boot_tries_the_key_file_or_the_token(
    made: dict[str, dict[str, Any]], case: str, key_file: str, options: list[str], awaited: bool
) -> None:
    (entry,) = made[case]["__luks_crypttab"]
    assert (entry["key_file"], entry["options"]) == (key_file, ["luks", "nofail", "x-systemd.device-timeout=90s", *options])
    (mount,) = made[case]["__luks_mounts"]
    assert ("x-systemd.before=local-fs.target" in mount["options"]) is awaited


@pytest.mark.parametrize(
    ("case", "device"),
    [
        ("a TPM", "UUID=0123"),
        ("a detached header", "/dev/disk/by-id/ata-x-part3"),
        ("a detached header, by PARTUUID", "PARTUUID=1"),
    ],
)
def test_a_boot_finds_the_device_whatever_it_is_called_by_then(made: dict[str, dict[str, Any]], case: str, device: str) -> None:
    assert [entry["device"] for entry in made[case]["__luks_crypttab"]] == [device]


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("plain", "these follow: its lines in crypttab and fstab, its mount, its ways in (key_file, passphrase), the backup of its header"),
        ("at work, waited for", "home is encrypted up to 12.5 %"),
        ("new volume key", "when it has the new one, these follow: its ways in (key_file, passphrase, recovery) made anew"),
        ("new volume key by a key file", "these follow: its ways in (key_file, recovery) made anew"),
        ("passphrase to be removed", "gets a recovery key; then this follows: the removal of the passphrase, once the recovery key"),
    ],
)  # fmt: skip
def test_a_check_run_says_what_follows(made: dict[str, dict[str, Any]], case: str, words: str) -> None:
    (said,) = made[case]["__luks_waiting"]
    assert words in said


def test_a_check_run_says_no_more_than_that(made: dict[str, dict[str, Any]]) -> None:
    assert [made[case]["__luks_waiting"] for case in ("all is there", "passphrase can be removed", "new passphrase")] == [[], [], []]


@pytest.mark.parametrize(
    ("case", "secret"),
    [
        ("all is there", {"key_file": "/etc/cryptsetup-keys.d/home.key"}),
        ("new passphrase", {"passphrase": "new"}),
        ("passphrase removed", {"key_file": "/etc/cryptsetup-keys.d/home.key"}),
        ("passphrase removed, and still told", {}),
    ],
)
def test_a_passphrase_that_was_removed_opens_nothing(made: dict[str, dict[str, Any]], case: str, secret: dict[str, str]) -> None:
    assert made[case]["__luks_unlocks"] == {"home": {"unlock": secret} if secret else {}}


def test_a_boot_goes_on_without_what_is_about_to_be_encrypted(made: dict[str, dict[str, Any]]) -> None:
    line = {"mount": "/home", "uuid": "abcd", "type": "ext4", "options": ["nodev", "nofail", "x-systemd.device-timeout=90s"]}
    assert made["plain"]["__luks_stopping"] == [line]
    assert made["to be formatted"]["__luks_stopping"] == [line]
    assert [made[case]["__luks_stopping"] for case in ("plain, no boot waits for it", "all is there", "to be formatted, for another")] == [
        [],
        [],
        [],
    ]


def test_what_is_not_mounted_keeps_the_options_of_its_line(made: dict[str, dict[str, Any]]) -> None:
    (place,) = made["closed"]["__luks_mounts"]
    assert (place["mounted"], place["options"][0]) == (False, "nodev")


def test_the_passphrase_goes_when_the_recovery_key_is_there(made: dict[str, dict[str, Any]]) -> None:
    assert made["passphrase to be removed"]["__luks_removals"] == []
    (gone,) = made["passphrase can be removed"]["__luks_removals"]
    assert (gone["name"], gone["state"], gone["count_tokens"]) == ("passphrase", "absent", True)


def test_a_security_token_is_tried_where_its_pin_is_at_hand(made: dict[str, dict[str, Any]]) -> None:
    assert [token["kind"] for token in made["a PIN is at hand"]["__luks_provable_tokens"]] == ["pkcs11"]
    assert made["a PIN is needed"]["__luks_provable_tokens"] == []


def test_tokens_are_tried_where_something_is_due_or_that_is_asked_for(made: dict[str, dict[str, Any]]) -> None:
    told = {case: made[case] for case in ("a TPM that is in", "a TPM that is in, to be tried", "passphrase beside a TPM")}
    assert [[token["kind"] for token in one["__luks_tried_tokens"]] for one in told.values()] == [[], ["tpm2"], ["tpm2"]]
    assert [len(one["__luks_other_tokens"]) for one in told.values()] == [1, 0, 0]
    assert told["a TPM that is in, to be tried"]["__luks_due"] == ["home"], "a dead one is enrolled by a secret"


def test_a_recovery_key_goes_when_the_one_in_its_place_is_in_escrow(made: dict[str, dict[str, Any]]) -> None:
    assert [one["version"] for one in made["a second recovery key"]["__luks_superseding"]] == ["2"]
    assert [one["keep_older"] for one in made["a second recovery key"]["__luks_superseding"]] == [False]
    assert [one["keep_older"] for one in made["a second recovery key"]["__luks_recoveries"]] == [True]
    assert made["passphrase can be removed"]["__luks_superseding"] == []
    (said,) = made["another recovery key"]["__luks_waiting"]
    assert "the removal of recovery key 1, once the recovery key is in escrow" in said
