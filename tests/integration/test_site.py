# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/site.yml on a machine that has never seen it: the check run, the first run, the second, and a clone."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import ROOT, Ansible, Run

pytestmark = pytest.mark.uml
SITE = ROOT / "playbooks/site.yml"
TYPES = ["ecdsa", "ed25519", "rsa"]
NAME, CLONE = "it-site", "it-site-clone"


@dataclass
class Story:
    """The runs, in their order, and what was seen between them."""

    machine: Machine
    ansible: Ansible
    baked: dict[str, str]
    check: Run
    first: Run
    private: list[str]
    known_hosts: str
    second: Run
    executions: int


def fingerprints(machine: Machine) -> dict[str, str]:
    lines = machine.run("for key in /etc/ssh/ssh_host_*_key; do echo $key $(ssh-keygen -l -f $key); done").stdout.split("\n")
    return {re.sub(r".*ssh_host_(\w+)_key", r"\1", line.split()[0]): line.split()[2] for line in lines if line}


def secret_lines(machine: Machine) -> list[str]:
    """The lines of the private keys' files, but for their fixed header and those that hold nothing but the public part."""
    public = machine.run("cat /etc/ssh/ssh_host_*_key.pub").stdout
    lines = machine.run("cat /etc/ssh/ssh_host_*_key").stdout.splitlines()
    return [line for line in lines if not line.startswith(("-----", "b3BlbnNzaC1rZXktdjE")) and line not in public]


def executions(machine: Machine) -> int:
    """How many modules this boot has seen: each writes one line into the journal."""
    return machine.run("journalctl -b -o cat --no-pager").stdout.count("\nInvoked")


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    machine = up(MachineSpec(NAME, release="13", engine="uml"), owner=os.getpid())
    ansible = Ansible(tmp_path_factory.mktemp("site"), machine)
    baked = fingerprints(machine)
    check = ansible.playbook(SITE, "--check", "--diff")
    first = ansible.playbook(SITE, "--diff", "-vvvv")
    private = secret_lines(machine)
    known_hosts = (machine.state_dir / "known_hosts").read_text()
    before = executions(machine)
    second = ansible.playbook(SITE, "--diff")
    yield Story(machine, ansible, baked, check, first, private, known_hosts, second, executions(machine) - before)
    machine.down()


def test_the_first_run_makes_the_image_s_keys_anew(story: Story) -> None:
    assert story.first.rc == 0, story.first.output[-3000:]
    now = fingerprints(story.machine)
    assert sorted(now) == TYPES
    assert not set(now.values()) & set(story.baked.values())
    made = story.first.result(NAME, "Make the keys")
    assert made["changed"]
    assert {key["type"]: key["fingerprint"] for key in made["keys"]} == now
    seen = story.first.result(NAME, "See which keys are there")
    assert {reason["code"] for key in seen["keys"] for reason in key["reasons"]} == {"cloned"}


def test_the_check_run_predicts_exactly_what_the_first_run_does(story: Story) -> None:
    assert story.check.rc == 0, story.check.output[-3000:]
    assert story.check.changed(NAME) == story.first.changed(NAME)
    predicted, made = (run.result(NAME, "Make the keys") for run in (story.check, story.first))
    assert predicted["steps"] == made["steps"]
    assert predicted["diff"] == made["diff"]


def test_the_check_run_changes_nothing(story: Story) -> None:
    seen = story.first.result(NAME, "See which keys are there")
    assert {key["type"]: key["fingerprint"] for key in seen["keys"]} == story.baked


def test_the_second_run_changes_nothing(story: Story) -> None:
    assert story.second.rc == 0
    assert story.second.told["stats"][NAME] | {"ok": 0, "skipped": 0, "rescued": 0, "ignored": 0} == {
        "changed": 0, "failures": 0, "ignored": 0, "ok": 0, "rescued": 0, "skipped": 0, "unreachable": 0,
    }  # fmt: skip


def test_a_run_without_changes_executes_few_modules(story: Story) -> None:
    on_the_controller = sum("known_hosts" in name for name, dummy in story.second.tasks(NAME))
    assert story.executions >= 4, "the count counts"
    assert story.executions + on_the_controller <= 10


def test_no_private_key_is_told_by_the_most_verbose_run(story: Story) -> None:
    assert len(story.private) > 20
    journal = story.machine.run("journalctl --no-pager").stdout
    for line in story.private:
        assert line not in story.first.output
        assert line not in journal
    assert "PRIVATE KEY" not in story.first.output + journal


def test_every_connection_was_strict_and_the_old_keys_are_forgotten(story: Story) -> None:
    lines = story.known_hosts.splitlines()
    assert [line.split()[0] for line in lines] == [NAME] * len(TYPES)
    for type_ in TYPES:
        key = story.machine.run(f"cat /etc/ssh/ssh_host_{type_}_key.pub").stdout.split()[1]
        assert sum(key in line for line in lines) == 1
    assert "StrictHostKeyChecking=yes" in " ".join(story.machine.ssh_command())
    assert story.machine.run("echo in").stdout == "in\n"


def test_the_server_presents_them_to_another_client(story: Story) -> None:
    listed = story.machine.run("ssh-keyscan 127.0.0.1 2>/dev/null").stdout.splitlines()
    presented = {line.split(" ", 1)[1] for line in listed if not line.startswith("#")}
    assert presented == {line.split(" ", 1)[1] for line in story.known_hosts.splitlines()}


def evidence(story: Story) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((story.ansible.folder / "evidence").glob("site-*.json"))]


def test_each_run_left_its_evidence(story: Story) -> None:
    schema = json.loads((ROOT / "docs/evidence-1.schema.json").read_text())
    documents = evidence(story)
    assert [document["check_mode"] for document in documents[:3]] == [True, False, False]
    for document in documents:
        jsonschema.validate(document, schema)
    last = documents[2]["hosts"][NAME]
    assert last["outcome"] == "ok"
    assert last["evidence"]["entropy"]["healthy"] is True
    assert {key["type"]: key["fingerprint"] for key in last["evidence"]["ssh_host_keys"]["keys"]} == fingerprints(story.machine)
    for secret in story.private:
        assert secret not in json.dumps(documents)


def test_the_run_ends_with_a_summary_for_a_person(story: Story) -> None:
    summary = story.second.output[: story.second.output.index("\n{\n")]
    assert f"  {NAME}: ok" in summary
    assert "entropy: healthy, 256 of 256 bits" in summary
    assert summary.count("(served)") == len(TYPES)


def test_audit_only_looks(story: Story) -> None:
    before = fingerprints(story.machine)
    run = story.ansible.playbook(ROOT / "playbooks/audit.yml")
    assert (run.rc, run.changed(NAME)) == (0, [])
    assert fingerprints(story.machine) == before


def test_tags_choose_a_part(story: Story) -> None:
    run = story.ansible.playbook(SITE, "--tags", "ssh_host_keys_verify")
    names = [name for name, dummy in run.tasks(NAME)]
    assert run.rc == 0
    assert any("Compare what the server presents" in name for name in names)
    assert not any("Make the keys" in name for name in names)


def test_the_roles_do_without_the_play_s_facts(story: Story) -> None:
    """Each finds its platform itself; once is enough."""
    names = ["entropy", "gpg_key", "luks", "opencryptoki", "smartcard_ssh", "ssh_host_keys", "tpm"]
    play = {"hosts": NAME, "gather_facts": False, "roles": [f"rootoftrust.linux.{name}" for name in names]}
    run = story.ansible.playbook(json.dumps([play]), "--check")
    assert run.rc == 0, run.output[-3000:]
    assert sum("See the platform" in name for name, dummy in run.tasks(NAME)) == 1


def test_a_clone_gets_keys_of_its_own_and_the_original_keeps_its(story: Story, tmp_path: Path) -> None:
    kept = fingerprints(story.machine)
    clone = up(MachineSpec(CLONE, disk_from=NAME), owner=os.getpid())
    try:
        assert fingerprints(clone) == kept, "a clone begins with its original's keys"
        run = Ansible(tmp_path, clone).playbook(SITE)
        assert run.rc == 0, run.output[-3000:]
        seen = run.result(CLONE, "See which keys are there")
        assert {reason["code"] for key in seen["keys"] for reason in key["reasons"]} == {"cloned"}
        assert not set(fingerprints(clone).values()) & set(kept.values())
    finally:
        clone.down()
    again = story.ansible.playbook(SITE)
    assert (again.rc, again.changed(NAME)) == (0, [])
    assert fingerprints(story.machine) == kept


def test_a_run_cut_between_new_keys_and_reload_is_finished_by_the_next(story: Story) -> None:
    """The server still presents the old key, the disk has the new one; the controller knows the old one only."""
    story.machine.run(
        "cd /etc/ssh && ssh-keygen -q -t ed25519 -N '' -f new && mv new ssh_host_ed25519_key && mv new.pub ssh_host_ed25519_key.pub"
    )
    run = story.ansible.playbook(SITE)
    assert run.rc == 0, run.output[-3000:]
    assert any("read its keys again" in name for name in run.changed(NAME))
    assert story.ansible.playbook(SITE).changed(NAME) == []


def test_a_play_that_lost_its_host_says_so(story: Story, tmp_path: Path) -> None:
    inventory = json.loads(story.ansible.inventory.read_text())
    gone = {"ansible_host": "it-gone", "ansible_ssh_common_args": "-o ProxyCommand=false"}
    inventory["all"]["hosts"]["it-gone"] = {**inventory["all"]["hosts"][NAME], **gone}
    ansible = Ansible(tmp_path)
    ansible.inventory.write_text(json.dumps(inventory))
    run = ansible.playbook(SITE)
    assert run.rc == 4
    (written,) = (tmp_path / "evidence").glob("site-*.json")
    assert {name: host["outcome"] for name, host in json.loads(written.read_text())["hosts"].items()} == {
        NAME: "ok",
        "it-gone": "unreachable",
    }
