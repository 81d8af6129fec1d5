# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""gpg_key, gpg_public_key, gpg_ownertrust and gpg_key_info with the releases' own gpg, which looks on too.

Most tests call the modules without a play, for that is much quicker.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from lab.machine import Machine, up
from lab.spec import MachineSpec
from lab.ssh import inventory_json
from tests.integration.ansible_run import Ansible, Run
from tests.integration.key_calls import SECRET, Call, calls, shell, stories
from tests.integration.module_bench import Bench
from tests.integration.secret_watch import SecretWatch, told

pytestmark = pytest.mark.uml
RELEASES = [*(pytest.param(release, marks=pytest.mark.slow) for release in ("11", "12", "forky")), "13"]
HOME = "/root/ring"
GPG = f"gpg --homedir {HOME} --batch"
DAY = 86400
PASSPHRASE = SECRET


@pytest.fixture(scope="module", params=RELEASES)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    machine = up(MachineSpec(f"it-gpg-{request.param}", release=request.param, engine="uml"), owner=os.getpid())
    yield machine
    machine.down()


@pytest.fixture(scope="module")
def bench(machine: Machine) -> Iterator[Bench]:
    bench = Bench(machine)
    yield bench
    bench.close()


@pytest.fixture
def clean(machine: Machine) -> None:
    machine.run(f"rm -rf {HOME} /root/other /root/files /home/alice/.gnupg; mkdir -m 700 /root/files")


def gpg_key(*keys: dict[str, Any], home: str = HOME, **options: Any) -> Call:
    return "gpg_key", {"home": home, "keys": list(keys), **options}


def listing(machine: Machine, home: str = HOME) -> list[dict[str, Any]]:
    """The keys of a home as gpg itself tells them: fingerprint, algorithm, capabilities, seconds until the end."""
    text = machine.run(
        f"date +%s; gpg --homedir {home} --batch --with-colons --list-secret-keys; gpgconf --homedir {home} --kill all"
    ).stdout.splitlines()
    now, found = int(text[0]), []
    for line in text[1:]:
        fields = line.split(":")
        if fields[0] in ("sec", "ssb"):
            left = int(fields[6]) - now if fields[6] else None
            found.append(
                {"type": fields[0], "algorithm": fields[3], "curve": fields[16], "can": fields[11], "left": left, "bits": fields[2]}
            )
        elif fields[0] == "fpr" and found and "fpr" not in found[-1]:
            found[-1]["fpr"] = fields[9]
    return found


def no_agent(machine: Machine, home: str = HOME) -> None:
    """No agent is left behind, by process or by socket."""
    left = machine.run(f"pgrep -a 'gpg-agent|keyboxd|scdaemon'; ls {home}/S.* /run/.rootoftrust-* 2>/dev/null", check=False).stdout
    assert left == ""


ONE = {"user_ids": ["Backup of the database (for tests) <backup@db.example.org>"], "expires": "1y"}


@pytest.mark.usefixtures("clean")
def test_made_found_again_and_deleted(machine: Machine, bench: Bench) -> None:
    (made,) = stories(bench, gpg_key(ONE))
    assert [step.split(" for ")[0].split(" to ")[0] for step in made["steps"]] == [
        f"Make the folder {HOME}.",
        "Make a key ed25519",
        "Add a subkey cv25519",
    ]
    primary, subkey = listing(machine)
    assert (primary["algorithm"], primary["curve"], subkey["algorithm"], subkey["curve"]) == ("22", "ed25519", "18", "cv25519")
    assert abs(primary["left"] - 365 * DAY) < 600 and abs(subkey["left"] - 365 * DAY) < 600
    (told_key,) = made["keys"]
    assert told_key["fingerprint"] == primary["fpr"] and told_key["key"]["secret"] == "disk"
    assert told_key["public_key"].startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----")
    assert machine.run(f"stat -c %a {HOME}").stdout == "700\n"
    assert "(for tests)" in machine.run(f"{GPG} --list-keys").stdout
    no_agent(machine)
    gone, after = stories(
        bench, gpg_key({"fingerprint": primary["fpr"], "state": "absent"}), shell(f"{GPG} --list-keys; ls {HOME}/private-keys-v1.d")
    )
    assert len(gone["steps"]) == 1 and after["stdout"] == ""
    no_agent(machine)


ALGORITHMS = ["rsa2048", "rsa3072", "rsa4096", "ed25519", "nistp256", "nistp384", "nistp521"]
ALGORITHMS += ["brainpoolP256r1", "brainpoolP384r1", "brainpoolP512r1", "secp256k1"]


@pytest.mark.usefixtures("clean")
def test_every_algorithm_signs_and_encrypts(machine: Machine, bench: Bench) -> None:
    keys = [
        {
            "user_ids": [f"{name} <{name}@example.org>"],
            "algorithm": name,
            "subkeys": [{"usage": ["encrypt"]}, {"usage": ["sign"]}, {"usage": ["auth"]}],
        }
        for name in ALGORITHMS
    ]
    first = bench.calls(gpg_key(*keys))[0]
    assert not first.get("failed"), (first["msg"], first.get("stderr"))
    again = bench.calls(gpg_key(*keys))[0]
    assert (again["changed"], again["steps"]) == (False, [])
    for one in first["keys"]:
        fingerprint = one["fingerprint"]
        assert {tuple(part["usage"]) for part in one["key"]["subkeys"]} == {("encrypt",), ("sign",), ("auth",)}
        done = machine.run(f"echo text | {GPG} --trust-model always -r {fingerprint} -u {fingerprint} -se | {GPG} -d", check=False)
        assert done.returncode == 0 and done.stdout == "text\n", (one["key"]["algorithm"], done.stderr)
    machine.run(f"gpgconf --homedir {HOME} --kill all")


@pytest.mark.usefixtures("clean")
def test_usages_of_the_primary_key_and_a_key_without_subkeys(machine: Machine, bench: Bench) -> None:
    certify = {"user_ids": ["<ca@example.org>"], "usage": ["cert"], "subkeys": []}
    both = {
        "user_ids": ["<both@example.org>"],
        "algorithm": "rsa2048",
        "usage": ["cert", "sign", "encrypt", "auth"],
        "expires": "never",
        "subkeys": [],
    }
    stories(bench, gpg_key(certify, both))
    assert [(key["can"], key["left"] is None) for key in listing(machine)] == [("cC", False), ("escaESCA", True)]


@pytest.mark.usefixtures("clean")
def test_renewed_once_and_then_left_alone(machine: Machine, bench: Bench) -> None:
    """Also where renew_before is longer than the time for which a key is renewed."""
    short = {**ONE, "expires": "30d", "renew_before": "40d"}
    calls(bench, gpg_key({**ONE, "expires": "20d"}))
    (renewed,) = stories(bench, gpg_key(short))
    assert len(renewed["steps"]) == 2 and all(" expire on " in step for step in renewed["steps"])
    assert all(abs(key["left"] - 30 * DAY) < 600 for key in listing(machine))
    (warned,) = calls(bench, gpg_key(short))
    assert "each day" in str(warned["warnings"])
    (by_day, never) = stories(bench, gpg_key({**ONE, "expires": "2039-01-31"}), gpg_key({**ONE, "expires": "never"}))
    assert "2039-01-31" in by_day["steps"][0] and "never" in never["steps"][0]
    (back,) = stories(bench, gpg_key(ONE))
    assert "instead of never" in back["steps"][0]
    (kept,) = calls(bench, gpg_key({**ONE, "expires": "90d"}))
    assert kept["changed"] is False, "one that lasts longer is not cut short"


@pytest.mark.usefixtures("clean")
def test_one_that_has_expired_is_renewed(machine: Machine, bench: Bench) -> None:
    machine.run(
        f"mkdir -m 700 {HOME}; {GPG} --faked-system-time 20240101T000000 --passphrase ''"
        " --quick-generate-key 'Old <old@example.org>' ed25519 cert,sign 30d"
    )
    (renewed,) = stories(bench, gpg_key({"user_ids": ["Old <old@example.org>"], "subkeys": []}))
    assert "instead of on 2024-01-31" in renewed["steps"][0]
    assert [abs(key["left"] - 730 * DAY) < 600 for key in listing(machine)] == [True]


@pytest.mark.usefixtures("clean")
def test_what_is_missing_is_added_and_what_is_more_stays(machine: Machine, bench: Bench) -> None:
    second, third = "Zweite Adresse für Tests <zwei@example.org>", "Drei: mit Doppelpunkt <drei@example.org>"
    subkeys = [{"usage": ["sign"]}, {"usage": ["encrypt"], "algorithm": "rsa2048"}]
    made, more, revoked = stories(
        bench, gpg_key({**ONE, "subkeys": []}),
        gpg_key({**ONE, "user_ids": [*ONE["user_ids"], second, third], "subkeys": subkeys}),
        gpg_key({**ONE, "revoked_user_ids": [second]}),
    )  # fmt: skip
    assert len(more["steps"]) == 4
    assert more["keys"][0]["key"]["user_ids"][0] in (ONE["user_ids"][0], second, third)
    assert sorted(more["keys"][0]["key"]["user_ids"]) == sorted([ONE["user_ids"][0], second, third])
    assert revoked["keys"][0]["key"]["revoked_user_ids"] == [second]
    assert len(revoked["keys"][0]["key"]["subkeys"]) == 3, "and the one that encrypts, which is asked for by default"
    (old,) = [part["fingerprint"] for part in revoked["keys"][0]["key"]["subkeys"] if part["algorithm"] == "cv25519"]
    (rotated,) = stories(bench, gpg_key({**ONE, "revoked_subkeys": [old]}))
    assert [step.split()[0] for step in rotated["steps"]] == ["Add", "Revoke"]
    ours = [part for part in rotated["keys"][0]["key"]["subkeys"] if part["algorithm"] == "cv25519"]
    assert [(part["fingerprint"] == old, part["revoked"]) for part in ours] == [(True, True), (False, False)]
    (last,) = calls(bench, gpg_key({"fingerprint": made["keys"][0]["fingerprint"], "revoked_user_ids": [ONE["user_ids"][0], third]}))
    assert "last user ID" in last["msg"]


@pytest.mark.usefixtures("clean")
def test_backup_certificate_and_public_key(machine: Machine, bench: Bench) -> None:
    """The backup is restored into an empty home and used; the certificate revokes."""
    files = {"public_key_file": "/root/files/key.asc", "revocation_file": "/root/files/key.rev"}
    escrow = {"user_ids": ["Escrow <escrow@example.org>"]}
    (made,) = stories(bench, gpg_key(escrow, home="/root/other"))
    backup = {"backup_file": "/root/files/backup.asc", "backup_recipients": [made["keys"][0]["public_key"]]}
    whole = {**ONE, **files, **backup, "passphrase": PASSPHRASE}
    (done, modes) = stories(bench, gpg_key(whole), shell("stat -c '%n %a' /root/files/*; cat /root/files/key.asc"))
    assert [step.split()[0] for step in done["steps"]] == ["Make", "Make", "Add", "Back", "Write", "Write"]
    assert [line.split()[1] for line in modes["stdout"].splitlines()[:3]] == ["600", "644", "600"]
    assert done["keys"][0]["public_key"].strip() in modes["stdout"]
    fingerprint = done["keys"][0]["fingerprint"]
    # no passphrase is needed where nothing is to be done
    (idle,) = calls(bench, gpg_key({name: value for name, value in whole.items() if name != "passphrase"}))
    assert (idle["changed"], idle["steps"]) == (False, [])
    machine.run(f"echo hidden | gpg --homedir {HOME} --batch --trust-model always -r {fingerprint} -o /root/files/message -e")
    restored = machine.run(
        f"mkdir -m 700 /root/new; gpg --homedir /root/other --batch -d /root/files/backup.asc | gpg --homedir /root/new --batch --import;"
        f" gpg --homedir /root/new --batch --pinentry-mode loopback --passphrase '{PASSPHRASE}' -d /root/files/message;"
        " gpg --homedir /root/new --batch --import /root/files/key.rev; gpg --homedir /root/new --batch --with-colons --list-keys |"
        " grep ^pub;"
        " gpgconf --homedir /root/new --kill all; gpgconf --homedir /root/other --kill all; rm -rf /root/new"
    ).stdout.splitlines()
    assert restored[0] == "hidden" and restored[1].startswith("pub:r:")
    # a subkey is added: all three are of the key as it was
    (again,) = stories(bench, gpg_key({**whole, "subkeys": [{"usage": ["encrypt"]}, {"usage": ["auth"]}]}))
    assert [step.split()[0] for step in again["steps"]] == ["Add", "Back", "Write"]
    (lost, other) = stories(bench, shell("rm /root/files/key.rev; echo x > /root/files/key.asc"), gpg_key({**whole, "subkeys": []}))
    assert [step.split()[:3] for step in other["steps"]] == [["Write", "the", "revocation"], ["Write", "the", "public"]]
    assert lost["rc"] == 0
    (revoked,) = stories(bench, gpg_key({"fingerprint": fingerprint, "state": "revoked", "passphrase": PASSPHRASE}))
    assert len(revoked["steps"]) == 1
    before = machine.run("cd /root/files && sha256sum backup.asc key.rev").stdout
    (kept,) = calls(bench, gpg_key({**whole, "subkeys": []}))
    assert "/root/files/backup.asc has the backup of another key" in kept["msg"] and fingerprint in kept["msg"]
    assert machine.run("cd /root/files && sha256sum backup.asc key.rev").stdout == before
    (new,) = stories(bench, gpg_key({**ONE, "subkeys": []}))
    assert new["keys"][0]["fingerprint"] != fingerprint, "a revoked key is over, and the next one is made beside it"
    no_agent(machine)


@pytest.mark.usefixtures("clean")
def test_a_key_that_is_lost_is_restored_and_not_replaced(machine: Machine, bench: Bench) -> None:
    (escrow,) = calls(bench, gpg_key({"user_ids": ["Escrow <escrow@example.org>"]}, home="/root/other"))
    files = {"backup_file": "/root/files/backup.asc", "revocation_file": "/root/files/key.rev"}
    whole = {**ONE, **files, "backup_recipients": [escrow["keys"][0]["public_key"]]}
    (made,) = stories(bench, gpg_key(whole))
    fingerprint = made["keys"][0]["fingerprint"]
    before = machine.run("cd /root/files && sha256sum *").stdout
    machine.run(f"rm -rf {HOME}")
    (refused, without) = calls(bench, gpg_key(whole), gpg_key({**whole, "backup_file": None, "backup_recipients": []}))
    assert "Restore that key" in refused["msg"] and fingerprint in refused["msg"]
    assert "the certificate of another key" in without["msg"] and fingerprint in without["msg"]
    assert machine.run(f"cd /root/files && sha256sum *; ls -d {HOME}", check=False).stdout == before, "and no key was made"
    machine.run(f"mkdir -m 700 {HOME}; gpg --homedir /root/other --batch -d /root/files/backup.asc | {GPG} --import")
    (restored,) = calls(bench, gpg_key({**whole, "verify": True}))
    assert restored["changed"] is False and restored["keys"][0]["fingerprint"] == fingerprint
    machine.run(f"gpgconf --homedir {HOME} --kill all; gpgconf --homedir /root/other --kill all")


@pytest.mark.usefixtures("clean")
def test_a_stub_is_not_taken_for_a_backup(machine: Machine, bench: Bench) -> None:
    """Of a key whose primary key is offline gpg exports what looks like a secret key."""
    (made,) = calls(bench, gpg_key(ONE, home="/root/other"))
    fingerprint = made["keys"][0]["fingerprint"]
    export = "gpg --homedir /root/other --batch"
    machine.run(f"mkdir -m 700 {HOME}; {export} --export-secret-subkeys | {GPG} --import; gpgconf --homedir /root/other --kill all")
    backup = {"backup_file": "/root/files/b.asc", "backup_recipients": [made["keys"][0]["public_key"]]}
    (refused, without) = calls(bench, gpg_key({**ONE, **backup}), gpg_key(ONE))
    assert f"the secret half of the primary key {fingerprint}, which is not here" in refused["msg"]
    assert without["changed"] is False
    assert machine.run("ls /root/files").stdout == ""
    machine.run(f"gpgconf --homedir {HOME} --kill all")


@pytest.mark.usefixtures("clean")
def test_a_keyring_that_cannot_be_read_is_not_taken_for_an_empty_one(machine: Machine, bench: Bench) -> None:
    machine.run("id alice 2>/dev/null || useradd -m alice; rm -rf /home/alice/.gnupg")
    calls(bench, ("gpg_key", {"user": "alice", **ONE}))
    ring, count = "/home/alice/.gnupg/pubring.kbx", "ls /home/alice/.gnupg/private-keys-v1.d | wc -l"
    before = machine.run(f"chown root:root {ring}; chmod 600 {ring}; {count}").stdout
    foreign = calls(
        bench,
        ("gpg_key_info", {"user": "alice"}),
        ("gpg_key", {"user": "alice", **ONE, "check": True}),
        ("gpg_key", {"user": "alice", **ONE}),
    )
    assert all("keyring in /home/alice/.gnupg cannot be read" in told["msg"] and "Permission denied" in told["msg"] for told in foreign)
    assert machine.run(count).stdout == before, "no secret key without a public one"
    machine.run(f"chown alice {ring}; cp -p {ring} {ring}.kept; head -c 3000 /dev/zero | tr '\\0' x > {ring}")
    (corrupt,) = calls(bench, ("gpg_key", {"user": "alice", **ONE}))
    assert "cannot be read" in corrupt["msg"] and machine.run(count).stdout == before
    machine.run(f"mv {ring}.kept {ring}")
    (whole,) = calls(bench, ("gpg_key", {"user": "alice", **ONE}))
    assert whole["changed"] is False


@pytest.mark.usefixtures("clean")
def test_user_ids_that_gpg_writes_otherwise_are_found_again(bench: Bench) -> None:
    for text in ("A  <blanks@example.org>", "A  B ( c  d ) <more@example.org>"):
        stories(bench, gpg_key({"user_ids": [text], "subkeys": []}))


@pytest.mark.usefixtures("clean")
def test_a_user_id_that_is_no_utf_8_can_be_told(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Under Ansible itself, which refuses a result with a surrogate in it."""
    machine.run(
        f"mkdir -m 700 {HOME}; {GPG} --passphrase '' --charset utf-8 --quick-generate-key \"$(printf 'J\\366rg <j@example.org>')\" ed25519"
    )
    fingerprint = listing(machine)[0]["fpr"]
    ansible = Ansible(tmp_path_factory.mktemp("latin"), machine)
    told = ansible.module(machine.name, "gpg_key_info", {"home": HOME})
    assert told["keys"][0]["user_ids"] == ["J\ufffdrg <j@example.org>"], told
    gone = ansible.module(machine.name, "gpg_key", {"home": HOME, "fingerprint": fingerprint, "state": "absent"}, "--diff")
    assert gone["changed"] is True and "J\ufffdrg" in gone["steps"][0], gone


@pytest.mark.usefixtures("clean")
def test_two_machines_exchange_and_sign(machine: Machine, bench: Bench) -> None:
    """An encrypted file goes both ways, without asking whether the key is trusted."""
    homes = {HOME: "One <one@example.org>", "/root/other": "Other <other@example.org>"}
    keys = {home: stories(bench, gpg_key({"user_ids": [name]}, home=home))[0]["keys"][0] for home, name in homes.items()}
    for home, peer in ((HOME, "/root/other"), ("/root/other", HOME)):
        wanted = {"public_key": keys[peer]["public_key"], "fingerprint": keys[peer]["fingerprint"], "signed_by": keys[home]["fingerprint"]}
        (done,) = stories(bench, ("gpg_public_key", {"home": home, "public_keys": [wanted]}))
        assert [step.split()[0] for step in done["steps"]] == ["Import", "Sign"]
        (refused,) = calls(bench, ("gpg_public_key", {"home": home, "public_keys": [{**wanted, "fingerprint": keys[home]["fingerprint"]}]}))
        assert "not " + keys[home]["fingerprint"] in refused["msg"]
    for home, peer in ((HOME, "/root/other"), ("/root/other", HOME)):
        sent = machine.run(f"echo over | gpg --homedir {home} --batch -r {keys[peer]['fingerprint']} -se | gpg --homedir {peer} --batch -d")
        assert sent.stdout == "over\n" and "Good signature" in sent.stderr
    # renewed at home: the peer learns what is new
    (renewed,) = stories(bench, gpg_key({"user_ids": ["One <one@example.org>"], "expires": "never"}))
    fresh = {"public_key": renewed["keys"][0]["public_key"], "signed_by": keys["/root/other"]["fingerprint"]}
    (learnt,) = stories(bench, ("gpg_public_key", {"home": "/root/other", "public_keys": [fresh]}))
    assert learnt["steps"][0].startswith("Import what is new")
    exportable = {**fresh, "signature": "exportable", "ownertrust": "full"}
    (signed,) = stories(bench, ("gpg_public_key", {"home": "/root/other", "public_keys": [exportable]}))
    assert [step.split()[0] for step in signed["steps"]] == ["Sign", "Give"]
    trusts = [{"fingerprint": keys[HOME]["fingerprint"], "trust": "marginal"}, {"fingerprint": "0" * 39 + "1", "trust": "never"}]
    (trusted,) = stories(bench, ("gpg_ownertrust", {"home": "/root/other", "owners": trusts}))
    assert len(trusted["steps"]) == 2
    (info,) = calls(bench, ("gpg_key_info", {"home": "/root/other", "user_ids": ["one@"]}))
    assert [(key["ownertrust"], key["secret"]) for key in info["keys"]] == [("marginal", None)]
    (gone,) = stories(bench, ("gpg_public_key", {"home": "/root/other", "fingerprint": keys[HOME]["fingerprint"], "state": "absent"}))
    assert gone["steps"][0].startswith("Delete the public key")
    (own,) = calls(bench, ("gpg_public_key", {"home": HOME, "fingerprint": keys[HOME]["fingerprint"], "state": "absent"}))
    assert "secret half" in own["msg"]
    machine.run(f"gpgconf --homedir {HOME} --kill all; gpgconf --homedir /root/other --kill all")


REFUSALS = {
    "a user ID without an address": ({"user_ids": ["Nobody"]}, "has no e-mail address"),
    "a comment without a name": ({"user_ids": ["(c) <a@b>"]}, "a comment and no name"),
    "an empty user ID": ({"user_ids": [""]}, "has no e-mail address"),
    "no selector": ({"user_ids": []}, "neither its fingerprint nor a user ID"),
    "an empty fingerprint": ({"fingerprint": ""}, "is no fingerprint"),
    "a key ID": ({"fingerprint": "0123456789ABCDEF", "state": "absent"}, "only a key ID"),
    "a day that is over": ({**ONE, "expires": "2020-01-01"}, "is over"),
    "a day that there is not": ({**ONE, "expires": "2030-02-31"}, "no day"),
    "no duration": ({**ONE, "expires": "2 years"}, "no duration"),
    "an unknown curve": ({**ONE, "algorithm": "ed448"}, "value of algorithm must be one of"),
    "a curve that cannot sign": ({**ONE, "subkeys": [{"usage": ["sign"], "algorithm": "cv25519"}]}, "can only encrypt"),
    "a curve that cannot encrypt": ({**ONE, "subkeys": [{"usage": ["encrypt"], "algorithm": "ed25519"}]}, "cannot encrypt"),
    "a primary key that does not certify": ({**ONE, "usage": ["sign"]}, "have cert"),
    "a key that is not there": ({"fingerprint": "0" * 40}, "not in the keyring"),
    "absent by user ID": ({**ONE, "state": "absent"}, "not named by its fingerprint"),
    "a backup for nobody": ({**ONE, "backup_file": "/root/files/b"}, "both a file and recipients"),
    "a recipient that is no key": ({**ONE, "backup_file": "/root/files/b", "backup_recipients": ["x"]}, "holds no OpenPGP public key"),
}  # fmt: skip


@pytest.mark.usefixtures("clean")
def test_bad_input_is_refused_and_nothing_is_made(machine: Machine, bench: Bench) -> None:
    results = calls(bench, *(gpg_key(key) for key, dummy in REFUSALS.values()))
    for (name, (dummy, words)), result in zip(REFUSALS.items(), results, strict=True):
        assert words.lower() in result.get("msg", "").lower(), (name, result)
    assert machine.run(f"ls {HOME} /root/files", check=False).stdout.strip() == "/root/files:"


@pytest.mark.usefixtures("clean")
def test_an_ambiguous_user_id_is_refused_and_others_are_told(machine: Machine, bench: Bench) -> None:
    made = [f"{GPG} --passphrase '' --yes --quick-generate-key '{ONE['user_ids'][0]}' ed25519 cert,sign 1y"] * 2
    machine.run(f"mkdir -m 700 {HOME}; {'; '.join(made)}")
    fingerprints = [key["fpr"] for key in listing(machine)]
    assert len(fingerprints) == 2
    refused, by_name, other = calls(
        bench,
        gpg_key(ONE),
        gpg_key({**ONE, "fingerprint": fingerprints[0], "subkeys": []}),
        gpg_key({**ONE, "algorithm": "nistp256", "subkeys": []}),
    )
    assert all(fingerprint in refused["msg"] for fingerprint in fingerprints)
    assert by_name["changed"] is False
    assert other["changed"] is True and "has other keys too" in str(other["warnings"])
    machine.run(f"gpgconf --homedir {HOME} --kill all")


@pytest.mark.usefixtures("clean")
def test_passphrases_wrong_missing_and_right(machine: Machine, bench: Bench) -> None:
    calls(bench, gpg_key({**ONE, "passphrase": PASSPHRASE, "subkeys": []}))
    wanted = {**ONE, "subkeys": [{"usage": ["auth"]}]}
    before = machine.run(f"{GPG} --list-keys | sha256sum").stdout
    wrong, missing = calls(bench, gpg_key({**wanted, "passphrase": "another one"}), gpg_key(wanted))
    assert "does not open the secret key" in wrong["msg"] and "none was given" in missing["msg"], (wrong, missing)
    assert machine.run(f"{GPG} --list-keys | sha256sum").stdout == before
    stories(bench, gpg_key({**wanted, "passphrase": PASSPHRASE}))
    no_agent(machine)


@pytest.mark.usefixtures("clean")
def test_homes_long_dead_full_foreign_and_not_writable(machine: Machine, bench: Bench) -> None:
    long = "/root/other/" + "x" * 150
    stories(bench, gpg_key(ONE, home=long))
    no_agent(machine, long)
    # a socket of an agent that is dead
    machine.run(f"mkdir -m 700 {HOME}; python3 -c \"import socket; socket.socket(socket.AF_UNIX).bind('{HOME}/S.gpg-agent')\"")
    stories(bench, gpg_key(ONE))
    # one that is alive is used, and stays
    machine.run(f"gpg-connect-agent --homedir {HOME} /bye")
    running = machine.run("pgrep gpg-agent").stdout
    stories(bench, gpg_key({**ONE, "user_ids": ["Second <second@example.org>"]}))
    assert machine.run("pgrep gpg-agent").stdout == running
    machine.run(f"gpgconf --homedir {HOME} --kill all; id alice 2>/dev/null || useradd -m alice; chown -R alice /root/other")
    foreign, relative, nobody = calls(bench, gpg_key(ONE, home=long), gpg_key(ONE, home="ring"), gpg_key(ONE, user="nobody-of-that-name"))
    assert "belongs to user number" in foreign["msg"] and "no user" in nobody["msg"]
    assert "not absolute" in relative["msg"]
    no_write = calls(bench, shell("chown -R root /root/other; mount -t tmpfs -o size=16k,mode=0700 none /mnt"), gpg_key(ONE, home="/mnt"))[
        1
    ]
    assert no_write.get("failed") and "space" in no_write["msg"], no_write
    (whole,) = stories(bench, shell("mount -o remount,size=8M /mnt"), gpg_key(ONE, home="/mnt"))[1:]
    assert len(listing(machine, "/mnt")) == 2 and whole["changed"]
    read_only = calls(bench, shell("mount -o remount,ro /mnt"), gpg_key({**ONE, "subkeys": [{"usage": ["auth"]}]}, home="/mnt"))[1]
    machine.run("umount /mnt", check=False)
    assert "cannot be written to" in read_only["msg"]


@pytest.mark.usefixtures("clean")
def test_a_user_s_own_keyring_is_worked_on_as_that_user(machine: Machine, bench: Bench) -> None:
    machine.run("id alice 2>/dev/null || useradd -m alice; rm -rf /home/alice/.gnupg")
    as_alice: Call = ("gpg_key", {"user": "alice", **ONE, "public_key_file": "/home/alice/key.asc"})
    made, owners, traps = stories(
        bench, as_alice, shell("find /home/alice/.gnupg /home/alice/key.asc ! -user alice; stat -c '%U %a' /home/alice/.gnupg"),
        shell("rm /home/alice/key.asc; ln -s /etc/trap /home/alice/key.asc"),
    )  # fmt: skip
    assert owners["stdout"] == "alice 700" and made["keys"][0]["key"]["secret"] == "disk" and traps["rc"] == 0
    (trapped,) = calls(bench, as_alice)
    assert trapped.get("failed") and machine.run("ls /etc/trap", check=False).returncode != 0, "alice cannot lead root to write there"
    machine.run("rm /home/alice/key.asc")
    assert "S.gpg-agent" not in machine.run("ls /home/alice/.gnupg").stdout


@pytest.mark.usefixtures("clean")
def test_killed_at_any_moment_leaves_no_half_key(machine: Machine, bench: Bench) -> None:
    wanted = {**ONE, "user_ids": [*ONE["user_ids"], "Second <second@example.org>"], "public_key_file": "/root/files/key.asc"}
    start = time.monotonic()
    calls(bench, gpg_key(wanted))
    whole = time.monotonic() - start
    bench.close()
    for part in range(1, 9):
        machine.run(f"rm -rf {HOME} /root/files; mkdir -m 700 /root/files")
        code = _KILLED.format(arguments=json.dumps({"home": HOME, **wanted}), after=whole * part / 9)
        machine.run(f"PYTHONPATH=/root/bench python3 - <<'E'\n{code}\nE")
        left = machine.run(
            f"for what in keys secret-keys; do {GPG} --with-colons --list-$what 2>/dev/null | grep -c -e ^pub -e ^sec; done",
            check=False,
        )
        public, secret = left.stdout.split()
        assert public == secret and int(public) <= 1, f"after {part}/9: {left.stdout}"
        finished, again = calls(bench, gpg_key(wanted), gpg_key(wanted))
        assert not finished.get("failed"), finished
        assert (again["changed"], len(listing(machine))) == (False, 2)
        bench.close()
    machine.run(f"gpgconf --homedir {HOME} --kill all")


_KILLED = r"""
import os, signal, subprocess, sys, time
code = '''
import json, sys
from ansible.module_utils.testing import patch_module_args
from ansible_collections.rootoftrust.linux.plugins.modules import gpg_key
with patch_module_args(json.loads(sys.argv[1])):
    gpg_key.main()
'''
words = [sys.executable, "-c", code, '''{arguments}''']
child = subprocess.Popen(words, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
time.sleep({after})
os.killpg(child.pid, signal.SIGKILL)  # with the gpg that it has started; the agent is a daemon, and lives on as after a kill of the module
child.wait()
"""


@pytest.mark.usefixtures("clean")
def test_no_passphrase_is_told_anywhere(machine: Machine, bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Under Ansible itself, at -vvvv, with a backup and a certificate."""
    (escrow,) = calls(bench, gpg_key({"user_ids": ["Escrow <escrow@example.org>"]}, home="/root/other"))
    arguments = {
        **ONE, "home": HOME, "passphrase": PASSPHRASE, "backup_file": "/root/files/b.asc", "revocation_file": "/root/files/b.rev",
        "backup_recipients": [escrow["keys"][0]["public_key"]],
    }  # fmt: skip
    ansible = Ansible(tmp_path_factory.mktemp("gpg"), machine)
    play = json.dumps([{"hosts": machine.name, "gather_facts": False, "tasks": [{"name": "it", "rootoftrust.linux.gpg_key": arguments}]}])
    with SecretWatch(machine, PASSPHRASE):
        run = ansible.playbook(play, "-vvvv", "--diff")
    assert run.rc == 0, run.output[-2000:]
    assert told(run.output, PASSPHRASE) == []
    assert ansible.playbook(play).changed(machine.name) == []
    as_user = {"user": "alice", **ONE}
    machine.run("id alice 2>/dev/null || useradd -m alice")
    task = {"name": "it", "rootoftrust.linux.gpg_key": as_user}
    run = ansible.playbook(json.dumps([{"hosts": machine.name, "gather_facts": False, "tasks": [task]}]))
    assert run.rc == 0, run.output[-2000:]


@pytest.mark.usefixtures("clean")
def test_the_role_proves_the_exchange_too(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Two hosts, which are two homes on one machine."""
    ansible = Ansible(tmp_path_factory.mktemp("exchange"), machine)
    homes = {"one": HOME, "two": "/root/other"}
    hosts = {name: {**machine.inventory_vars(), "ring": home} for name, home in homes.items()}
    ansible.inventory.write_text(inventory_json(hosts))
    key = {"user_ids": ["Host {{ inventory_hostname }} <{{ inventory_hostname }}@example.org>"]}
    wanted = {"gpg_key_keyrings": [{"name": "host", "home": "{{ ring }}", "keys": [key]}], "gpg_key_exchange": [{"keyring": "host"}]}

    def role(entry: str) -> Run:
        task = {"name": entry, "ansible.builtin.include_role": {"name": "rootoftrust.linux.gpg_key", "tasks_from": entry}}
        return ansible.playbook(json.dumps([{"hosts": "all", "vars": wanted, "tasks": [task]}]), "--forks=1")

    made, proven = role("main"), role("verify")
    assert made.rc == 0, made.output[-3000:]
    assert proven.rc == 0, proven.output[-3000:]
    other = proven.result("two", "Keep the fingerprints")["ansible_facts"]["gpg_key_public"]["host"][0]["fingerprint"]
    machine.run(f"{GPG} --yes --delete-keys {other}")
    missed = role("verify")
    assert missed.rc != 0 and missed.result("one", "Have the others' public keys, signed").get("failed"), missed.output[-3000:]
    machine.run(f"gpgconf --homedir {HOME} --kill all")


def test_nothing_is_matched_by_chance(bench: Bench) -> None:
    """A user ID with the signs that gpg's own selectors know means that text alone."""
    odd = {"user_ids": ["= * & @ <odd@example.org>"], "subkeys": []}
    (made,) = stories(bench, gpg_key(odd, home="/root/odd"))
    assert re.fullmatch("[0-9A-F]{40}", made["keys"][0]["fingerprint"])
