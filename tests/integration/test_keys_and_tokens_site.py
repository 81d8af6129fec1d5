# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""site.yml for a host whose inventory asks for OpenPGP keys and a token: predicted, done once, proven by audit.yml, and no secret told."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import ROOT, Ansible, Run
from tests.integration.secret_watch import told

pytestmark = pytest.mark.uml
PASSPHRASE, SO_PIN, PIN = "a passphrase that must not be told", "58239057", "90472815"
WANTED = {
    "ssh_host_keys_regenerate": ["unreadable"],  # the image has given the machine its keys, by which it is known
    "gpg_key_keyrings": [
        {
            "name": "releases",
            "user": "games",
            "home": "/var/tmp/releases",
            "keys": [
                {"user_ids": ["Releases <release@example.org>"], "passphrase": PASSPHRASE, "revocation_file": "/var/tmp/releases.rev"}
            ],
        },
        {"name": "log", "home": "/var/tmp/log", "keys": [{"user_ids": ["Log <log@example.org>"], "subkeys": []}]},
    ],
    "opencryptoki_tokens": [{"label": "Server", "so_pin": SO_PIN, "user_pin": PIN}],
    "opencryptoki_keys": [{"token": "Server", "pin": PIN, "keys": [{"label": "sign", "id": "01", "algorithm": "rsa2048"}]}],
    "opencryptoki_users": ["games"],
}


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    machine = up(MachineSpec("it-keys-tokens", release="13", engine="uml"), owner=os.getpid())
    yield machine
    machine.down()


@pytest.fixture(scope="module")
def ansible(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Ansible:
    return Ansible(tmp_path_factory.mktemp("site"), machine)


def play(ansible: Ansible, name: str, *options: str) -> Run:
    return ansible.playbook(ROOT / f"playbooks/{name}.yml", "-e", json.dumps(WANTED), *options)


def test_done_once_as_predicted_and_no_secret_is_told(machine: Machine, ansible: Ansible) -> None:
    machine.run(
        "apt-get install -qq -y --no-install-recommends opencryptoki > /dev/null", timeout=300
    )  # a check run cannot see beyond that
    predicted = play(ansible, "site", "--check", "--diff")
    assert predicted.rc == 0, predicted.output[-3000:]
    machine.run("chown root:root /etc/opencryptoki/strength.conf; chmod 600 /etc/opencryptoki/strength.conf; ! pkcsconf -i")
    done = play(ansible, "site", "-vvvv", "--diff")
    assert done.rc == 0, done.output[-3000:]
    assert told(done.output, PASSPHRASE, SO_PIN, PIN) == []
    mended = "rootoftrust.linux.opencryptoki : Have it be the group's, and no one else's"
    assert predicted.changed(machine.name) == [name for name in done.changed(machine.name) if name != mended]
    assert mended in done.changed(machine.name), "no program could open the library"
    assert "rootoftrust.linux.opencryptoki : Have the keys on the token" in done.changed(machine.name)
    again = play(ansible, "site")
    assert (again.rc, again.changed(machine.name)) == (0, []), again.output[-3000:]


def test_the_audit_proves_it_and_sees_what_is_wrong(machine: Machine, ansible: Ansible) -> None:
    audit = play(ansible, "audit")
    assert audit.rc == 0, audit.output[-3000:]
    assert "OpenPGP key: " in audit.output and "token Server: healthy" in audit.output
    for name in ("releases", "log"):
        machine.run(f"mv /var/tmp/{name} /var/tmp/elsewhere")
        missing = play(ansible, "audit")
        assert missing.rc != 0 and "See that nothing is due, and that each key can be used" in missing.output, name
        machine.run(f"mv /var/tmp/elsewhere /var/tmp/{name}")
    machine.run("rm -rf /var/lib/opencryptoki/swtok/TOK_OBJ/*")
    lost = play(ansible, "audit")
    assert lost.rc != 0 and "See the token's keys sign" in lost.output


def test_a_member_of_the_group_cannot_lead_the_role_to_another_folder(machine: Machine, ansible: Ansible) -> None:
    """The run that is cut by it had changed the slots: the next one has the daemon know that."""
    objects, other = "/var/lib/opencryptoki/swtok/TOK_OBJ", "/etc/of-root-alone"
    member = "setpriv --reuid=games --regid=games --init-groups"
    machine.run(f"install -d -m 700 {other}; {member} mv {objects} {objects}.kept; {member} ln -s {other} {objects}")
    more = "printf 'slot 9\\n{\\nstdll = libpkcs11_sw.so\\ntokname = more\\n}\\n' >> /etc/opencryptoki/opencryptoki.conf"
    slots = "pkcsconf -s | grep -c '^Slot #'"
    machine.run(f"{more}; systemctl restart pkcsslotd; test $({slots}) = 2")
    refused = play(ansible, "site", "--tags", "opencryptoki_configure")
    owner = machine.run(f"stat -c '%U:%G %a' {other}").stdout
    machine.run(f"rm {objects}; mv {objects}.kept {objects}")
    assert owner == "root:root 700\n"
    assert refused.rc != 0 and f"{objects} already exists as a link" in refused.output, refused.output[-3000:]
    assert machine.run("grep -c '^slot' /etc/opencryptoki/opencryptoki.conf").stdout == "1\n"
    ended = play(ansible, "site", "--tags", "opencryptoki_configure")
    assert ended.rc == 0, ended.output[-3000:]
    assert machine.run(slots).stdout == "1\n"
