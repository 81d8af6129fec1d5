# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""kernel_key, kernel_keyring and kernel_key_info on a machine's own kernel, with keyctl(1) looking on.

The kernel has encrypted keys as a module and no trusted keys. Most tests call the modules without a play, for that is much quicker.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

from lab.machine import Machine, up
from lab.spec import MachineSpec
from tests.integration.ansible_run import Ansible, Run
from tests.integration.key_calls import SECRET, Call, calls, key, shell, stories
from tests.integration.module_bench import Bench
from tests.integration.secret_watch import SecretWatch

pytestmark = pytest.mark.uml
NAME = "it-kernel-keys"
FILES = "/etc/keys"
LASTING = 5400  # seconds, which the kernel calls "1h" for half an hour: a look and the one after it say the same


@pytest.fixture(scope="module", params=[pytest.param("12", marks=pytest.mark.slow), "13"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    machine = up(MachineSpec(f"{NAME}-{request.param}", release=request.param, engine="uml"), owner=os.getpid())
    yield machine
    machine.down()


@pytest.fixture(scope="module")
def ansible(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Ansible:
    return Ansible(tmp_path_factory.mktemp("keys"), machine)


@pytest.fixture(scope="module")
def bench(machine: Machine) -> Iterator[Bench]:
    bench = Bench(machine)
    yield bench
    bench.close()


@pytest.fixture
def clean(machine: Machine) -> None:
    """No key of the user and no file of an earlier test."""
    machine.run(f"modprobe encrypted-keys; keyctl clear @u; rm -rf {FILES}")


def kernel(machine: Machine) -> str:
    """What the kernel and the disk have, without what changes by itself."""
    return machine.run(
        f"keyctl list @u | sort -k 7; for id in $(keyctl rlist @u); do keyctl pipe $id | sha256sum; done 2>/dev/null;"
        f" find {FILES} -type f -printf '%p %m %T@\\n' 2>/dev/null | sort; cat {FILES}/* 2>/dev/null | sha256sum; true"
    ).stdout


KMK = {"description": "kmk", "random": 32, "file": f"{FILES}/kmk"}
EVM = {"description": "evm-key", "type": "encrypted", "master": "user:kmk", "length": 32, "blob": f"{FILES}/evm.blob"}


def test_types_that_the_kernel_lacks_are_told_with_what_to_do(machine: Machine, bench: Bench) -> None:
    machine.run("rmmod encrypted-keys 2>/dev/null; true")
    trusted = {"description": "t", "type": "trusted", "length": 32, "keyhandle": "0x81000001", "blob": f"{FILES}/t.blob"}
    not_built, info, user = calls(bench, key(KMK, trusted), ("kernel_key_info", {}), key({"description": "u", "random": 16}))
    assert not_built["steps"] == [], "nothing was done, not even the master"
    assert "built without CONFIG_TRUSTED_KEYS" in not_built["msg"]
    assert "user: master" in not_built["msg"]
    assert {kind: told["available"] for kind, told in info["types"].items()} == {
        "user": True,
        "logon": True,
        "trusted": False,
        "encrypted": False,
    }
    assert user["changed"] is True
    assert machine.run("ls /etc/keys", check=False).returncode != 0
    unload = shell("keyctl clear @u; for n in $(seq 100); do rmmod encrypted-keys && exit; sleep 0.1; done")  # keys go a little later
    made, dummy, loaded = stories(bench, key(KMK, EVM), unload, key(KMK, EVM))
    for result, last in ((made, "Load encrypted:evm-key"), (loaded, "Load encrypted:evm-key")):
        assert "Load the kernel's module encrypted-keys, which brings encrypted keys." in result["steps"]
        assert result["steps"][-1].startswith(last)


@pytest.mark.usefixtures("clean")
def test_a_master_and_a_key_are_made_changed_and_taken_away(machine: Machine, bench: Bench) -> None:
    limited = {"permissions": "3f0b0000", "timeout": LASTING}
    other = {**KMK, "description": "kmk2", "file": f"{FILES}/kmk2"}
    moved = {**EVM, "master": "user:kmk2", "update": True}
    gone = {"state": "absent", "remove_files": True}
    pipe = shell("keyctl pipe $(keyctl search @u encrypted evm-key)")
    made, before, limits, seen, rewrap, text, away, masters, empty = stories(
        bench, key(KMK, EVM), pipe, key({**KMK, **limited}, EVM), shell("keyctl describe $(keyctl search @u user kmk); cat /proc/keys"),
        key(other, moved), shell(f"keyctl pipe $(keyctl search @u encrypted evm-key); echo; cat {FILES}/evm.blob; stat -c ' %a' {FILES}/*"),
        key({**EVM, **gone}), key({**KMK, **gone}, {**other, **gone}), shell(f"keyctl list @u; ls {FILES}"),
    )  # fmt: skip
    assert [step.split()[0] for step in made["steps"]] == ["Write", "Make", "Make", "Load"]
    assert before["stdout"].startswith("default user:kmk 32 ")
    assert len(limits["steps"]) == 2
    assert "alswrv" in seen["stdout"] and "3f0b0000" in seen["stdout"] and " 1h " in seen["stdout"]
    assert rewrap["steps"][-1] == "Re-wrap encrypted:evm-key in @u under user:kmk2."
    live, kept, *modes = text["stdout"].split("\n")
    assert live.startswith("default user:kmk2 32 ") and kept.startswith(live), "the file has what the kernel has"
    assert before["stdout"].split()[3][:34] == live.split()[3][:34], "the same initialisation vector: it is the same key"
    assert set(" ".join(modes).split()) - {kept.split()[-1]} == {"400"} or "400" in kept
    assert away["steps"] == ["Take encrypted:evm-key out of @u.", f"Remove {FILES}/evm.blob: the key cannot come back."]
    assert len(masters["steps"]) == 4
    assert empty["stdout"].splitlines() == ["keyring is empty"]
    (nothing,) = calls(bench, key({**EVM, **gone}, {**KMK, **gone}))
    assert (nothing["changed"], nothing["steps"]) == (False, [])


@pytest.mark.usefixtures("clean")
def test_keys_come_back_after_a_power_cut(machine: Machine, bench: Bench) -> None:
    calls(bench, key(KMK, EVM))
    before = machine.run(f"keyctl pipe $(keyctl search @u encrypted evm-key); sha256sum {FILES}/*").stdout
    bench.close()
    machine.kill()
    machine.start()
    machine.run("modprobe encrypted-keys")
    assert "empty" in machine.run("keyctl list @u").stdout
    (loaded,) = stories(bench, key(KMK, EVM))
    assert loaded["steps"] == [f"Make user:kmk in @u from {FILES}/kmk.", f"Load encrypted:evm-key in @u from {FILES}/evm.blob."]
    assert machine.run(f"keyctl pipe $(keyctl search @u encrypted evm-key); sha256sum {FILES}/*").stdout == before


@pytest.mark.usefixtures("clean")
def test_payloads_are_compared_where_they_can_be(machine: Machine, bench: Bench) -> None:
    user = {"description": "app", "payload": SECRET}
    logon = {"description": "cifs:server", "type": "logon", "payload": SECRET}
    file = {"description": "filed", "payload_file": "/root/payload"}
    machine.run("printf 'a payload with its end of line\\n' > /root/payload")
    made, seen, changed, revoked = stories(
        bench, key(user, logon, file), shell("keyctl pipe $(keyctl search @u user app) | wc -c; keyctl list @u"),
        key({**user, "payload": "another", "timeout": 60}), key({"description": "app", "state": "revoked"}),
    )  # fmt: skip
    assert len(made["steps"]) == 3
    assert seen["stdout"].split()[0] == str(len(SECRET))
    assert changed["diff"]["before"]["user:app in @u"]["payload"] == "***"
    assert "Revoke user:app in @u." in revoked["steps"]
    healed, left, written, again, unread = calls(
        bench, key(user), key(logon), key({**logon, "update_payload": "always"}), key({**logon, "update_payload": "always"}),
        key({**user, "update_payload": "on_create", "payload": "x"}),
    )  # fmt: skip
    assert "the one that is there has been revoked" in healed["steps"][0]
    assert left["changed"] is False and "nobody can tell" in str(left["warnings"])
    assert written["changed"] is again["changed"] is True
    assert unread["changed"] is False
    tight = {"description": "tight", "random": 16, "permissions": "29000000"}
    shut, still = calls(bench, key(tight), key(tight))
    assert (shut["changed"], still["changed"]) == (True, False), "a key that may not even be linked has its permissions last"
    kept = {"description": "kept", "random": 16, "file": f"{FILES}/kept"}
    warned, dummy, dummy, exposed = calls(bench, key(file), key(kept), shell(f"chmod 444 {FILES}/kept"), key(kept))
    assert "ends in an end of line" in str(warned["warnings"])
    assert "can be read by others than its owner" in str(exposed["warnings"])


@pytest.mark.usefixtures("clean")
def test_a_payload_is_told_nowhere(machine: Machine, ansible: Ansible) -> None:
    keys = [{"description": "app", "payload": SECRET}, {"description": "svc:app", "type": "logon", "payload": SECRET}, KMK, EVM]
    tasks = [{"name": "it", "rootoftrust.linux.kernel_key": {"keys": keys}, "diff": True}]
    with SecretWatch(machine, SECRET):
        run = ansible.playbook(json.dumps([{"hosts": machine.name, "gather_facts": False, "tasks": tasks}]), "-vvvv")
    assert run.result(machine.name, "it")["changed"] is True
    assert SECRET not in run.output
    assert machine.run("keyctl pipe $(keyctl search @u user app)").stdout == SECRET


def test_what_the_kernel_does_by_itself(machine: Machine, clean: None) -> None:
    """The traps that the next test is about, on this very kernel."""
    script = """
    keyctl add encrypted lost "new user:missing 32" @u > /dev/null; echo made $?
    keyctl pipe $(keyctl search @u encrypted lost) > /dev/null 2>&1; echo readable $?
    keyctl add user kmk 0123456789abcdef0123456789abcdef @u > /dev/null
    id=$(keyctl add encrypted e "new user:kmk 32" @u)
    keyctl add encrypted e "new user:kmk 32" @u > /dev/null 2>&1; echo twice $?
    keyctl update $id "update user:missing"; echo updated $?
    keyctl pipe $id > /dev/null 2>&1; echo then $?
    keyctl update $id "update user:kmk"; keyctl pipe $id > /dev/null; echo rescued $?
    keyctl session - sh -c "keyctl pipe $id" > /dev/null 2>&1; echo unpossessed $?
    """
    told = dict(line.split() for line in machine.run(script).stdout.splitlines() if len(line.split()) == 2)
    assert told == {"made": "0", "readable": "1", "twice": "1", "updated": "0", "then": "1", "rescued": "0", "unpossessed": "1"}


@pytest.mark.usefixtures("clean")
def test_the_kernel_s_traps_are_refused(machine: Machine, bench: Bench) -> None:
    calls(
        bench,
        key(KMK, EVM),
        key({"description": "weak", "payload": "x"}),
        key({"description": "dead", "random": 32, "timeout": 1}),
        shell("sleep 2"),
    )
    before = kernel(machine)
    weak = {**EVM, "description": "w", "blob": f"{FILES}/w.blob"}
    refused: dict[str, Call] = {
        "its master user:missing is not in the kernel. The kernel would do it": key({**weak, "master": "user:missing"}),
        "its master user:weak has no more than 1 bytes": key({**weak, "master": "user:weak"}),
        "its master user:dead has expired": key({**weak, "master": "user:dead"}),
        "is kept under user:kmk, and not user:other. Set update: true": key({**EVM, "master": "user:other"}),
        "cannot be re-wrapped: its master user:missing": key({**EVM, "master": "user:missing", "update": True}),
        "no key can go from a user master to another type": key({**EVM, "master": "trusted:kmk", "update": True}),
        "has 32 bytes, and not 64": key({**EVM, "length": 64}),
        "has the format default, and not enc32": key({**EVM, "format": "enc32"}),
        "it is the master of encrypted:evm-key": key({**KMK, "state": "absent"}),
        "The master user:late comes after": key({**weak, "master": "user:late"}, {"description": "late", "random": 32}),
        "is asked for more than once": key(KMK, KMK),
    }
    for text, result in zip(refused, calls(bench, *refused.values()), strict=True):
        assert result.get("failed") and text in result["msg"], (text, result)
        assert not result["steps"]
    assert kernel(machine) == before
    machine.run(f"keyctl add encrypted lost 'new user:missing 32' @u; printf x > {FILES}/no.blob")
    lost = {**EVM, "description": "lost", "blob": f"{FILES}/lost.blob"}
    info, unreadable, rescued = calls(bench, ("kernel_key_info", {}), key(lost), key({**lost, "update": True}))
    assert [one["exportable"] for one in info["keys"] if one["description"] == "lost"] == [False]
    assert "which does not give it out: the master under which it is kept is not in the kernel" in unreadable["msg"]
    assert rescued["changed"] is True
    assert machine.run(f"cat {FILES}/lost.blob").stdout.startswith("default user:kmk 32 ")


BAD: dict[str, dict[str, Any]] = {
    "not 16": {**EVM, "length": 16},
    "not 19": {**EVM, "length": 19},
    "not 4097": {**EVM, "length": 4097},
    "has 64 bytes, not 32": {**EVM, "format": "ecryptfs", "description": "00112233445566aa"},
    "16 hexadecimal digits": {**EVM, "format": "ecryptfs", "length": 64},
    "a trusted key has 32 to 128 bytes, not 31": {"description": "t", "type": "trusted", "length": 31},
    "a trusted key has 32 to 128 bytes, not 129": {"description": "t", "type": "trusted", "length": 129},
    "it has a blank": {"description": "a b", "random": 32},
    "begins with a service and a colon": {"description": "name", "type": "logon", "payload": "x"},
    "a blank or an end of line at its end": {"description": "u", "payload": "text "},
    "not valid base64": {"description": "u", "payload": "%%%", "payload_encoding": "base64"},
    "does not fit: a user key has 1 to 32767": {"description": "u", "payload": ""},
    "'kmk' is no master": {**EVM, "master": "kmk"},
    "under which master": {**EVM, "master": None},
    "length is not given": {**EVM, "length": None, "description": "n", "blob": f"{FILES}/n.blob"},
    "no payload is given": {"description": "n"},
    "/root/none is not there": {"description": "n", "payload_file": "/root/none"},
    "comes from payload and random": {"description": "n", "payload": "x", "random": 32},
    "blob is for keys of the type trusted or encrypted": {**KMK, "blob": f"{FILES}/kmk.blob"},
    "does not begin with /": {**EVM, "blob": "evm.blob"},
    "cannot be read: Is a directory": {**EVM, "blob": "/etc"},
    "begins with '@x'": {**KMK, "keyring": "@x"},
    "is the module's own": {**KMK, "keyring": "@p"},
    "no keyring that this process may see has the name none": {**KMK, "keyring": "%:none"},
    "nobody could find the key again": {**KMK, "permissions": "00000000"},
}


@pytest.mark.usefixtures("clean")
def test_bad_input_harms_nothing(machine: Machine, bench: Bench) -> None:
    calls(bench, key(KMK, EVM))
    before = kernel(machine)
    for text, result in zip(BAD, calls(bench, *(key(one) for one in BAD.values())), strict=True):
        assert result.get("failed") and text in result["msg"], (text, result)
        assert "Traceback" not in str(result)
    assert kernel(machine) == before


@pytest.mark.usefixtures("clean")
def test_a_blob_that_is_cut_or_another_s_is_never_overwritten(machine: Machine, bench: Bench) -> None:
    other = {**EVM, "description": "other", "blob": f"{FILES}/other.blob"}
    calls(bench, key(KMK, EVM, other))
    machine.run(f"cp {FILES}/evm.blob /root/evm.blob; cp {FILES}/other.blob /root/other.blob")
    spoilt = [f"head -c {size} /root/evm.blob" for size in (0, 1, 20, 100, 180)]
    spoilt += [
        "sed 's/.$/x/' /root/evm.blob",
        "tr 0-9 1-90 < /root/evm.blob | sed 's/^.*default.* //; s/^/default user:kmk 32 /'",
        "cat /root/other.blob",
    ]
    asked: list[Call] = []
    for command in spoilt:
        asked += [shell(f"{command} > /root/spoilt; install -m 400 /root/spoilt {FILES}/evm.blob; sha256sum < {FILES}/evm.blob")]
        asked += [key(KMK, EVM), shell("keyctl unlink $(keyctl search @u encrypted evm-key) @u"), key(KMK, EVM)]
        asked += [
            shell(f"sha256sum < {FILES}/evm.blob; keyctl purge -s encrypted evm-key; rm -f {FILES}/evm.blob; cp /root/evm.blob {FILES}"),
            key(KMK, EVM),
        ]
    results = calls(bench, *asked)
    for number, command in enumerate(spoilt):
        digest, alive, dummy, dead, after, healed = results[6 * number : 6 * number + 6]
        assert alive.get("failed") and f"{FILES}/evm.blob" in alive["msg"], (command, alive)
        if "other" not in command:
            assert dead.get("failed") and "no blob of it can be loaded" in dead["msg"], (command, dead)
        assert after["stdout"].split()[0] == digest["stdout"].split()[0]
        assert healed["steps"] == [f"Load encrypted:evm-key in @u from {FILES}/evm.blob."], (command, healed)
    machine.run(f"head -c 50 /root/evm.blob > /root/spoilt; install -m 400 /root/spoilt {FILES}/evm.blob")
    (written,) = stories(bench, key(KMK, {**EVM, "update": True}))
    assert written["steps"] == [f"Write encrypted:evm-key in @u to {FILES}/evm.blob."]
    assert machine.run(f"cmp {FILES}/evm.blob /root/evm.blob; stat -c %a {FILES}/evm.blob").stdout == "400\n"


@pytest.mark.usefixtures("clean")
def test_a_session_without_the_user_s_keyring_is_none_the_worse(machine: Machine, bench: Bench) -> None:
    bare, other = {"bare": True}, {**KMK, "description": "k2", "file": f"{FILES}/k2"}
    made, again, info, moved = calls(
        bench, ("kernel_key", {"keys": [KMK, EVM], **bare}), ("kernel_key", {"keys": [KMK, EVM], **bare}),
        ("kernel_key_info", {"blobs": [EVM["blob"]], **bare}),
        ("kernel_key", {"keys": [other, {**EVM, "master": "user:k2", "update": True}], **bare}),
    )  # fmt: skip
    assert (made["changed"], again["changed"], moved["changed"]) == (True, False, True), (made, again, moved)
    assert info["session"]["has_user_keyring"] is False
    assert info["blobs"][0]["in_kernel"] is True
    assert machine.run("keyctl pipe $(keyctl search @u encrypted evm-key)").stdout.startswith("default user:k2 ")


def role(machine: Machine, ansible: Ansible, *options: str, entry: str = "main", **variables: Any) -> Run:
    include = {"name": "it", "ansible.builtin.include_role": {"name": "rootoftrust.linux.kernel_keys", "tasks_from": entry}}
    play = {"hosts": machine.name, "gather_facts": False, "tasks": [include]}
    return ansible.playbook(json.dumps([{**play, "vars": {"kernel_keys_keys": [KMK], **variables}}]), *options)


UNIT, LOADER = "rootoftrust-kernel-keys.service", "/usr/local/lib/rootoftrust"
HOOK, IMAGE = "/etc/initramfs-tools/scripts/init-bottom/rootoftrust-kernel-keys", "/boot/initrd.img-lab"
NOTE = f"{LOADER}/kernel-keys-initramfs"
LEFT = f"ls -d {HOOK} {LOADER}/* /etc/systemd/system/{UNIT} /etc/systemd/system/*/{UNIT} 2>/dev/null; true"


@pytest.fixture
def loader(machine: Machine, clean: None) -> Iterator[None]:
    """What the role sets up goes with the test."""
    yield
    machine.run(f"systemctl disable --now {UNIT}; rm -rf {HOOK} {LOADER} /etc/systemd/system/{UNIT}; systemctl daemon-reload", check=False)


@pytest.fixture
def image(machine: Machine) -> Iterator[str]:
    """The image of an initramfs that has the hook in it, and nothing else."""
    program = "/usr/local/sbin/update-initramfs"
    machine.run(
        f"mkdir -p /lib/modules/lab {os.path.dirname(HOOK)}; touch /lib/modules/lab/modules.dep {IMAGE};"
        f" printf '%s\\n' '#!/bin/sh' 'cat {HOOK} > {IMAGE} 2>/dev/null; true' > {program}; chmod 755 {program}"
    )
    yield f"cat {IMAGE}"
    machine.run(f"rm -rf /lib/modules/lab {IMAGE} {program}")


@pytest.mark.usefixtures("loader")
def test_what_the_role_has_set_up_for_boots_goes_when_it_is_not_asked_for(machine: Machine, ansible: Ansible, image: str) -> None:
    nothing = role(machine, ansible, kernel_keys_keys=[])
    assert (nothing.rc, nothing.changed(machine.name)) == (0, []), nothing.output[-3000:]
    refused = role(machine, ansible, kernel_keys_initramfs=True, kernel_keys_at_boot=False)
    assert refused.rc != 0 and "need kernel_keys_at_boot" in refused.output
    early = {"kernel_keys_initramfs": True}
    made, settled = role(machine, ansible, **early), role(machine, ansible, **early)
    assert made.rc == 0 and "kernel-keys-load" in machine.run(image).stdout, made.output[-3000:]
    assert (settled.rc, settled.changed(machine.name)) == (0, [])
    proof = role(machine, ansible, entry="verify")
    assert proof.rc != 0 and f"{HOOK} is there, and is not asked for" in proof.output
    predicted, done, again = role(machine, ansible, "--check"), role(machine, ansible), role(machine, ansible)
    assert predicted.changed(machine.name) == done.changed(machine.name) != []
    assert (again.rc, again.changed(machine.name)) == (0, [])
    assert machine.run(image).stdout == "" and HOOK not in machine.run(LEFT).stdout
    machine.run(f"touch {NOTE}; echo kernel-keys-load > {IMAGE}")  # as a cut leaves them
    finished = role(machine, ansible)
    assert finished.rc == 0 and machine.run(image).stdout == "" and NOTE not in machine.run(LEFT).stdout
    proof = role(machine, ansible, entry="verify", **early)
    assert proof.rc != 0 and "Make the images of the initramfs anew" in proof.output, "the hook is not there"


@pytest.mark.usefixtures("loader")
@pytest.mark.parametrize("variables", [{"kernel_keys_at_boot": False}, {"kernel_keys_keys": []}])
def test_the_unit_goes_when_nothing_is_to_be_loaded(machine: Machine, ansible: Ansible, variables: dict[str, Any]) -> None:
    assert role(machine, ansible).rc == 0
    proof = role(machine, ansible, entry="verify", kernel_keys_at_boot=False)
    assert proof.rc != 0 and f"{UNIT}, {LOADER}/kernel-keys, {LOADER}/kernel-keys-load is there, and is not asked for" in proof.output
    predicted, done, again = (role(machine, ansible, *how, **variables) for how in (["--check"], [], []))
    assert predicted.changed(machine.name) == done.changed(machine.name) != []
    assert (done.rc, again.rc, again.changed(machine.name)) == (0, 0, []), again.output[-3000:]
    assert machine.run(LEFT).stdout == ""
    assert machine.run(f"systemctl is-active {UNIT}", check=False).stdout.strip() == "inactive"
    assert "kmk" in machine.run("keyctl list @u").stdout, "the keys themselves stay"


@pytest.mark.usefixtures("loader")
def test_the_unit_runs_again_when_what_it_loads_is_changed(machine: Machine, ansible: Ansible) -> None:
    started = f"systemctl show -P ExecMainStartTimestampMonotonic {UNIT}"
    assert role(machine, ansible).rc == 0
    first = machine.run(started).stdout
    assert role(machine, ansible).rc == 0 and machine.run(started).stdout == first
    assert role(machine, ansible, kernel_keys_keys=[KMK, {"description": "more", "random": 16, "file": f"{FILES}/more"}]).rc == 0
    assert int(machine.run(started).stdout) > int(first)


@pytest.mark.usefixtures("loader")
def test_keyrings_and_keys_in_them_come_back_at_boot_as_they_were(machine: Machine, bench: Bench, ansible: Ansible) -> None:
    rings = [{"path": "@u/app", "permissions": "3f1b0000"}, {"path": "@u/in", "links": ["@u/app"], "timeout": 36000}]
    inner = {**KMK, "keyring": "@u/app", "file": f"{FILES}/inner"}
    asked: dict[str, Any] = {"kernel_keys_keyrings": rings, "kernel_keys_keys": [inner, KMK]}
    first = role(machine, ansible, **asked)
    assert first.rc == 0, first.output[-3000:]
    machine.run("sync")
    bench.close()
    machine.kill()
    machine.start()
    machine.run(f"systemctl is-active {UNIT} || {{ journalctl -u {UNIT}; exit 1; }}")
    lines = machine.run(
        "keyctl rdescribe %:app; for id in $(keyctl rlist %:app) $(keyctl rlist @u); do keyctl rdescribe $id; done"
    ).stdout.splitlines()
    assert lines[0] == "keyring;0;0;3f1b0000;app"
    names = [line.rpartition(";")[2] for line in lines]
    assert sorted(names) == ["app", "app", "in", "in", "kmk", "kmk"], "each of the two keys is in its own keyring"
    last = role(machine, ansible, **asked)
    assert (last.rc, last.changed(machine.name)) == (0, []), last.output[-3000:]
    proof = role(machine, ansible, entry="verify", **{**asked, "kernel_keys_keyrings": [*rings, {"path": "@u/none"}]})
    assert proof.rc != 0 and "Make the keyring @u/none." in proof.output


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.usefixtures("clean")
def test_a_run_that_is_killed_anywhere_is_finished_by_the_next(machine: Machine, bench: Bench, every: int) -> None:
    """Made and re-wrapped: killed before each call that changes something, with a boot (all keys gone) after every other cut."""
    other = {**KMK, "description": "k2", "file": f"{FILES}/k2"}
    restore = f"keyctl clear @u; cp /root/evm.blob {FILES}/evm.blob; rm -f {FILES}/k2"
    jobs: dict[str, tuple[list[dict[str, Any]], list[Call]]] = {
        "made": ([KMK, EVM], [shell(f"keyctl clear @u; rm -rf {FILES}")]),
        "re-wrapped": ([KMK, other, {**EVM, "master": "user:k2", "update": True}], [shell(restore), key(KMK, EVM)]),
    }
    look = shell(f"keyctl pipe $(keyctl search @u encrypted evm-key) | cmp - {FILES}/evm.blob && keyctl list @u | grep -c ': '")
    for job, (keys, before) in jobs.items():
        killed, cut = True, 1
        while killed:
            boot = shell("keyctl clear @u" if cut // every % 2 else "true")
            results = calls(bench, *before, ("kernel_key", {"keys": keys, "cut": cut}), boot, key(*keys), look, key(*keys))
            short, dummy, finished, seen, again = results[-5:]
            killed = short.get("killed", False)
            assert not finished.get("failed"), (job, cut, finished)
            assert (seen["rc"], seen["stdout"].splitlines()[-1]) == (0, str(len(keys))), (job, cut, seen)
            assert (again["changed"], again["steps"]) == (False, []), (job, cut, again)
            cut += every
        assert cut > 15, f"{job}: there is more to cut"
        machine.run(f"cp {FILES}/evm.blob /root/evm.blob")


@pytest.mark.usefixtures("clean")
def test_a_full_quota_is_told_in_figures(machine: Machine, bench: Bench) -> None:
    limit = "/proc/sys/kernel/keys/root_maxbytes"
    machine.run(f"cat {limit} > /root/limit; echo 3000 > {limit}")
    try:
        (result,) = calls(bench, key({"description": "big", "random": 4000}))
    finally:
        machine.run(f"cat /root/limit > {limit}")
    assert "the quota of keys is full" in result["msg"] and "of 3000 bytes are taken" in result["msg"], result
    assert "kernel.keys.root_maxbytes" in result["msg"]


@pytest.mark.usefixtures("clean")
def test_keyrings(machine: Machine, bench: Bench) -> None:
    app = {"path": "@u/app", "permissions": "3f1b0000"}
    cache = {"path": "@u/app/cache", "timeout": LASTING, "links": ["@u"]}
    ring: Call = ("kernel_keyring", {"keyrings": [app, cache]})
    made, seen, changed, filled, listed, gone = stories(
        bench, ring, shell("keyctl show @u; keyctl rdescribe %:app"),
        ("kernel_keyring", {"keyrings": [{**app, "permissions": "3f030000"}, {"path": "@u/app/cache", "timeout": 0}]}),
        key({"description": "deep", "keyring": "@u/app/more/inner", "random": 16}), shell("keyctl show @u"),
        ("kernel_keyring", {"path": "@u/app", "state": "absent", "drop_keys": True}),
    )  # fmt: skip
    assert made["steps"] == ["Make the keyring @u/app.", "Make the keyring @u/app/cache.", "Link @u/app/cache into @u."]
    assert seen["stdout"].splitlines()[-1] == "keyring;0;0;3f1b0000;app"
    assert seen["stdout"].count("keyring: cache") == 2
    assert len(changed["steps"]) == 2
    assert filled["steps"] == [
        "Make the keyring more/inner of @u/app/more/inner.",
        "Make user:deep in @u/app/more/inner of 16 random bytes.",
    ]
    assert "deep" in listed["stdout"]
    assert "with keyring:cache, keyring:more" in gone["steps"][0]
    absent: Call = ("kernel_keyring", {"path": "@u/app", "state": "absent"})
    nothing, dummy, held, special, number = calls(
        bench, absent, ring, absent, ("kernel_keyring", {"path": "@u", "state": "absent"}), ("kernel_keyring", {"path": "4"})
    )
    assert (nothing["changed"], nothing["steps"]) == (False, [])
    assert "has keyring:cache in it" in held["msg"] and "it is in no keyring that is named" in special["msg"]
    assert "The keyring '4'" in number["msg"]
    assert "app" in machine.run("keyctl show @u").stdout
