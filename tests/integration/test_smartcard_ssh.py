# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Log-in by smart card: the role and the playbook set it up, and ssh logs in by a card, in a reader of pcscd, through OpenSC.

Client, reader and server are one machine, so that no packet leaves it.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import ROOT, Ansible, Run
from tests.integration.key_calls import calls
from tests.integration.module_bench import Bench

pytestmark = pytest.mark.uml
RELEASES = [*(pytest.param(release, marks=pytest.mark.slow) for release in ("11", "12", "forky")), "13"]
PIN = "123456"
MODULE = "$(ls /usr/lib/*/opensc-pkcs11.so)"
INSTALL = "DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends vsmartcard-vpcd python3-cryptography > /dev/null"
ASK = '#!/bin/sh\necho "$CARD_PIN"\n'
ASKED = "DISPLAY=:0 SSH_ASKPASS=/usr/local/bin/ask SSH_ASKPASS_REQUIRE=force setsid"
SERVER = "sshd -T -C user=bob,host=localhost,addr=127.0.0.1 | grep -i ^passwordauthentication"


@pytest.fixture(scope="module", params=RELEASES)
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    machine = up(MachineSpec(f"it-card-{request.param}", release=request.param, engine="uml"), owner=os.getpid())
    machine.run(f"{INSTALL} && ssh-keygen -q -t ed25519 -N '' -f /root/.ssh/own", timeout=300)
    # The lab's machines do without it. Where polkit is, it comes with what gives who comes in over SSH a session.
    machine.run("systemctl unmask -q systemd-logind")
    for user in ("alice", "bob"):
        machine.run(f"useradd -m -s /bin/sh {user}; install -d -o {user} -m 700 /home/{user}/.ssh")
        machine.run(f"install -o {user} -m 600 /root/.ssh/own.pub /home/{user}/.ssh/authorized_keys")
    machine.run("base64 -d > /root/piv_card.py", stdin=base64.b64encode((ROOT / "lab/piv_card.py").read_bytes()).decode())
    machine.run("cat > /usr/local/bin/ask && chmod 755 /usr/local/bin/ask", stdin=ASK)
    machine.run("sed -i '/^PasswordAuthentication/d' /etc/ssh/sshd_config.d/00-lab.conf")  # on, as Debian has it
    # Releases from 9.8 on shut out who fails; earlier ones do not know the option.
    machine.run("echo 'PerSourcePenalties no' >> /etc/ssh/sshd_config; sshd -t 2>/dev/null || sed -i '$d' /etc/ssh/sshd_config")
    machine.run(
        "systemctl reload ssh; for i in $(seq 50); do ssh-keyscan -T 1 localhost 2>/dev/null | grep -q . && exit 0; sleep 0.2; done; exit 1"
    )
    insert(machine)
    yield machine
    machine.down()


def insert(machine: Machine) -> None:
    """Put the card in, and wait until the reader's daemon, once that is there, has seen it."""
    machine.run("systemd-run -q --unit=card python3 /root/piv_card.py /root/card p256")
    seen = f"for i in $(seq 50); do pkcs11-tool --module {MODULE} -L | grep -q 'token label' && exit 0; sleep 0.2; done; exit 1"
    machine.run(f"command -v pkcs11-tool > /dev/null || exit 0; {seen}")


@pytest.fixture(scope="module")
def ansible(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Ansible:
    return Ansible(tmp_path_factory.mktemp("card"), machine)


def playbook(machine: Machine, ansible: Ansible, *options: str, **variables: Any) -> Run:
    """The playbook, for which the one machine is the card's host, the server and the client."""
    wanted = {
        "smartcard_ssh_account": "bob",
        "smartcard_ssh_card_host": machine.name,
        "smartcard_ssh_clients": "all",
        "smartcard_ssh_hosts": ["localhost"],
        "smartcard_ssh_card_users": ["alice"],
        "smartcard_ssh_agent": True,
        **variables,
    }
    return ansible.playbook(ROOT / "playbooks/smartcard_ssh.yml", "-e", json.dumps(wanted), *options)


def ways_in(machine: Machine) -> list[str]:
    """In which ways the running server would let bob in, as it tells a client that has tried none."""
    asked = (
        "ssh -o PreferredAuthentications=none -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR bob@localhost"
    )
    told = machine.run(f"{asked} < /dev/null", check=False, timeout=60).stderr
    return sorted(re.search(r"Permission denied \((.*)\)", told)[1].split(","))


def as_user(machine: Machine, user: str, line: str) -> subprocess.CompletedProcess[str]:
    """A command of a user who has come in over SSH, by a key of her own."""
    options = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o PKCS11Provider=none"
    return machine.run(f"ssh -i /root/.ssh/own {options} {user}@localhost {shlex.quote(line)} < /dev/null", check=False, timeout=60)


def as_alice(machine: Machine, line: str) -> subprocess.CompletedProcess[str]:
    return as_user(machine, "alice", line)


def ssh(machine: Machine, pin: str, options: str = "") -> tuple[str, str]:
    """Whom the server takes alice for, who gives a command by ssh to bob@localhost, and the complaints; a program types the PIN."""
    strict = (
        "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o NumberOfPasswordPrompts=1 -o PreferredAuthentications=publickey"
    )
    done = as_alice(machine, f"CARD_PIN={pin} {ASKED} ssh {strict} -o PreferredAuthentications=publickey {options} bob@localhost id -un")
    return done.stdout.strip(), done.stderr


def tries(machine: Machine) -> int:
    return int(json.loads(machine.run("cat /root/card").stdout)["tries"])


def test_the_reader_is_set_up_and_the_card_is_read(machine: Machine, ansible: Ansible) -> None:
    role = {"name": "rootoftrust.linux.smartcard_ssh", "tasks_from": "client"}
    play = {"hosts": machine.name, "tasks": [{"name": "client", "ansible.builtin.include_role": role}]}
    first = ansible.playbook(json.dumps([{**play, "vars": {"smartcard_ssh_card_users": ["alice"]}}]))
    assert first.rc == 0, first.output[-3000:]
    bench = Bench(machine)
    (seen,) = calls(bench, ("pkcs11_ssh_keys", {"library": "opensc"}))
    bench.close()
    (key,) = seen["ssh_keys"]
    assert (key["type"], key["id"]) == ("ecdsa-sha2-nistp256", "01")
    assert key["key"] in machine.run(f"ssh-keygen -D {MODULE}").stdout


def test_one_play_reads_the_card_and_lets_its_owner_in(machine: Machine, ansible: Ansible) -> None:
    predicted = playbook(machine, ansible, "--check", "--diff")
    done = playbook(machine, ansible)
    assert done.rc == 0, done.output[-3000:]
    assert predicted.changed(machine.name) == done.changed(machine.name) != []
    again = playbook(machine, ansible)
    assert (again.rc, again.changed(machine.name)) == (0, []), again.output[-3000:]


def test_ssh_logs_in_by_the_card_and_its_pin(machine: Machine) -> None:
    assert ssh(machine, "000000")[0] == "", "the wrong PIN"
    assert tries(machine) == 2
    assert ssh(machine, PIN)[0] == "bob", ssh(machine, PIN)
    assert tries(machine) == 3
    assert machine.run("ls /home/alice/.ssh/id_* 2>/dev/null", check=False).stdout == "", "no key but that on the card"


def test_by_the_agent_too(machine: Machine) -> None:
    """The agent is started as the unit says, and takes the card's library and no other."""
    module, number = (machine.run(line).stdout.strip() for line in (f"echo {MODULE}", "id -u alice"))
    text = machine.run("cat /etc/systemd/user/default.target.wants/rootoftrust-ssh-agent.service").stdout
    command = next(line.partition("=")[2] for line in text.splitlines() if line.startswith("ExecStart="))
    # The lab's machines have no sessions of users: this is what one would start.
    socket = f"/run/user/{number}/rootoftrust-ssh-agent.socket"
    machine.run(f"mkdir -p -m 700 /run/user/{number} && chown alice /run/user/{number}")
    machine.run(f"systemd-run -q --unit=agent --uid=alice -- {command.replace('%t', f'/run/user/{number}')}")
    machine.run(f"for i in $(seq 50); do test -S {socket} && exit 0; sleep 0.1; done; exit 1")
    added = as_alice(machine, f"SSH_AUTH_SOCK={socket} CARD_PIN={PIN} {ASKED} ssh-add -s {module}")
    assert "ecdsa-sha2-nistp256" in as_alice(machine, f"SSH_AUTH_SOCK={socket} ssh-add -L").stdout, added.stderr
    # What is not the card's is not asked: the agent has the PIN.
    assert ssh(machine, "none", "-o PKCS11Provider=none")[0] == "bob"
    machine.run(f"cp {module} /home/alice/other.so")
    assert as_alice(machine, f"SSH_AUTH_SOCK={socket} CARD_PIN={PIN} {ASKED} ssh-add -s /home/alice/other.so").returncode != 0
    machine.run("systemctl stop agent")
    assert tries(machine) == 3


def test_only_who_may_is_let_at_the_card_from_afar(machine: Machine) -> None:
    """Where pcscd asks polkit: alice, who sits at no machine, and not bob. Elsewhere no one is asked."""
    asks = machine.run("ldd $(command -v pcscd) | grep -q polkit", check=False).returncode == 0
    seen = {}
    for user in ("alice", "bob"):
        remote = "Remote=yes" in as_user(machine, user, "loginctl show-session $XDG_SESSION_ID -p Remote").stdout
        assert remote or not asks, "polkit sees that she has come over the network"
        seen[user] = as_user(machine, user, f"ssh-keygen -D {MODULE}").returncode == 0
    assert seen == {"alice": True, "bob": not asks}


def test_a_wrong_pin_is_tried_once_and_never_until_the_card_locks(machine: Machine) -> None:
    bench = Bench(machine)
    look, wrong = ("pkcs11_ssh_keys", {"library": "opensc"}), ("pkcs11_ssh_keys", {"library": "opensc", "pin": "000000"})
    first, second, third, info = calls(bench, wrong, wrong, wrong, ("pkcs11_info", {"library": "opensc"}))
    assert all("is wrong; it was tried once" in told["msg"] for told in (first, second))
    assert "so it is not tried here" in third["msg"] and tries(machine) == 1
    assert info["healthy"] is False and "one more wrong user PIN locks it" in info["unhealthy"][0]
    (right,) = calls(bench, look)
    assert right["ssh_keys"] and tries(machine) == 1
    machine.run('systemctl stop card; sed -i \'s/"tries": 1/"tries": 0/\' /root/card')
    insert(machine)
    (locked,) = calls(bench, wrong)
    assert "is locked" in locked["msg"], locked
    machine.run('systemctl stop card; sed -i \'s/"tries": 0/"tries": 3/\' /root/card')
    insert(machine)
    bench.close()


def test_a_run_that_is_limited_to_the_servers_does_not_pass_over_the_card(machine: Machine, ansible: Ansible) -> None:
    limited = playbook(machine, ansible, "--limit", machine.name, smartcard_ssh_card_host="localhost")
    assert limited.rc != 0 and "have that host in --limit too" in limited.output, limited.output[-2000:]


NEVER_SEEN = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl never@seen"
TWICE = {"smartcard_ssh_more_users": [{"user": "bob", "keys": [NEVER_SEEN], "options": "restrict,pty"}], "smartcard_ssh_exclusive": True}


def test_passwords_go_only_when_the_card_was_seen_to_work(machine: Machine, ansible: Ansible) -> None:
    other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f other@way"
    machine.run(f"for u in alice bob; do echo '{other}' >> /home/$u/.ssh/authorized_keys; done")
    stranger = {"smartcard_ssh_more_users": [{"user": "alice", "keys": [NEVER_SEEN]}], "smartcard_ssh_exclusive": True}
    early = playbook(machine, ansible, smartcard_ssh_password_login=False, **stranger)
    kept = [machine.run(f"grep -c other@way /home/{user}/.ssh/authorized_keys", check=False).stdout.strip() for user in ("alice", "bob")]
    assert kept == ["1", "0"], "another way in goes only when the card was seen to work"
    assert early.rc == 0 and "Passwords stay on: alice" in early.output, early.output[-2000:]
    assert machine.run(SERVER).stdout.split()[1] == "yes" and "password" in ways_in(machine)
    closed = playbook(machine, ansible, smartcard_ssh_password_login=False, **TWICE)
    assert closed.rc == 0, closed.output[-3000:]
    assert machine.run(SERVER).stdout.split()[1] == "no" and ways_in(machine) == ["publickey"]
    assert playbook(machine, ansible, smartcard_ssh_password_login=False, **TWICE).changed(machine.name) == []


def test_a_user_who_is_named_twice_keeps_the_keys_of_both(machine: Machine) -> None:
    """Each with its options; the one that was never seen does not take the place of the one that was."""
    seen, never = sorted(machine.run("cat /home/bob/.ssh/authorized_keys").stdout.splitlines())
    assert seen.startswith("ecdsa-sha2-nistp256 ") and never == f"restrict,pty {NEVER_SEEN}"
    assert ssh(machine, PIN)[0] == "bob"


def test_passwords_that_are_taken_all_the_same_are_seen(machine: Machine, ansible: Ansible) -> None:
    """What comes first in sshd's configuration counts."""
    role = {"name": "rootoftrust.linux.smartcard_ssh", "tasks_from": "verify"}
    users = [{"user": "bob", "keys": [NEVER_SEEN]}]
    play = {
        "hosts": machine.name,
        "vars": {"smartcard_ssh_password_login": False, "smartcard_ssh_users": users},
        "tasks": [
            {"name": "verify", "ansible.builtin.include_role": role},
            {"name": "evidence", "ansible.builtin.debug": {"var": "smartcard_ssh_evidence.passwords"}},
        ],
    }
    proven = ansible.playbook(json.dumps([play]))
    assert proven.rc == 0 and proven.result(machine.name, "evidence")["smartcard_ssh_evidence.passwords"] == [], proven.output[-2000:]
    machine.run("echo 'PasswordAuthentication yes' > /etc/ssh/sshd_config.d/00-first.conf")
    again, missed = playbook(machine, ansible, smartcard_ssh_password_login=False), ansible.playbook(json.dumps([play]))
    machine.run("rm /etc/ssh/sshd_config.d/00-first.conf")
    for run in (again, missed):
        assert run.rc != 0 and "the server's configuration takes them all the same" in run.output, run.output[-2000:]


def test_a_run_that_was_cut_before_the_reload_is_ended_by_the_next(machine: Machine, ansible: Ansible) -> None:
    opened = playbook(machine, ansible)
    assert opened.rc == 0 and machine.run(SERVER).stdout.split()[1] == "yes" and "password" in ways_in(machine)
    unit = "/etc/systemd/system/ssh.service.d"
    machine.run(f"mkdir -p {unit}; printf '[Service]\\nExecReload=\\nExecReload=/bin/false\\n' > {unit}/cut.conf; systemctl daemon-reload")
    cut = playbook(machine, ansible, smartcard_ssh_password_login=False)
    machine.run(f"rm {unit}/cut.conf; systemctl daemon-reload")
    assert cut.rc != 0 and machine.run(SERVER).stdout.split()[1] == "no" and "password" in ways_in(machine)
    ended = playbook(machine, ansible, smartcard_ssh_password_login=False)
    assert ended.changed(machine.name) == ["rootoftrust.linux.smartcard_ssh : Have the server read its configuration again"], ended.output[
        -2000:
    ]
    assert ways_in(machine) == ["publickey"]
    assert playbook(machine, ansible, smartcard_ssh_password_login=False).changed(machine.name) == []
    opened = playbook(machine, ansible)
    assert opened.rc == 0 and "password" in ways_in(machine)


def test_the_pin_cache_and_a_card_that_is_pulled(machine: Machine, ansible: Ansible) -> None:
    cache = {"enabled": True, "counter": 3, "ignore_user_consent": False}
    done = playbook(machine, ansible, smartcard_ssh_pin_cache=cache)
    assert done.rc == 0 and playbook(machine, ansible, smartcard_ssh_pin_cache=cache).changed(machine.name) == []
    told = machine.run("OPENSC_DEBUG=3 pkcs15-tool --list-pins 2>&1 | grep -o 'PKCS#15 options.*'").stdout
    assert "pin_cache_counter=3" in told, "as OpenSC itself reads it"
    assert ssh(machine, PIN)[0] == "bob"
    machine.run("systemctl stop card")
    bench = Bench(machine)
    pulled, info = calls(bench, ("pkcs11_ssh_keys", {"library": "opensc"}), ("pkcs11_info", {"library": "opensc"}))
    bench.close()
    assert "no tokens that could be meant" in pulled["msg"] and info["healthy"] is True
    insert(machine)
