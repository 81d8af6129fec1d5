# Copyright (c) 2026, rootoftrust.linux contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The evidence document: what goes in, what a person reads of it, and that it keeps to its schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.evidence import VERSION, HostEvidence, document, summary

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = json.loads((ROOT / "docs/evidence-1.schema.json").read_text(encoding="utf-8"))
KEY = {
    "path": "/etc/ssh/ssh_host_ed25519_key",
    "type": "ed25519",
    "fingerprint": "SHA256:K3oBJ5n4",
    "public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",
}
GOOD = {
    "entropy_evidence": {
        "healthy": True,
        "reasons": [],
        "pool": {"entropy_avail": 256, "poolsize": 256, "crng_ready": True},
        "feeders": [{"name": "kernel", "active": True}, {"name": "rngd", "active": False}],
        "hwrng": {"current": "virtio_rng.0"},
    },
    "ssh_host_keys_evidence": {"keys": [KEY], "served": [{"fingerprint": "SHA256:K3oBJ5n4"}], "due": False},
    "tpm_evidence": {
        "present": True,
        "version": "2.0",
        "manufacturer": "IBM",
        "lockout": {"active": True, "failures": 4},
        "persistent": [{"handle": "0x81000001", "algorithm": "ecc256"}],
    },
    "kernel_keys_evidence": {
        "keys": [
            {"type": "keyring", "description": "app", "permissions": "3f010000", "state": "valid"},
            {"type": "trusted", "description": "kmk", "permissions": "3f010000", "state": "valid"},
            {"type": "encrypted", "description": "evm-key", "permissions": "3f010000", "state": "expired"},
        ],
        "blobs": [],
        "types": {},
        "quota": {},
    },
    "luks_evidence": {
        "volumes": [
            {
                "name": "home",
                "mount": "/home",
                "device": "/dev/sda3",
                "state": "encrypted",
                "uuid": "11111111-2222-4333-8444-555555555555",
                "ways": ["passphrase", "tpm2"],
                "recovery": {"version": "1", "sha256": "0123"},
            }
        ],
        "proven": False,
        "tried": True,
        "faults": ["home: it is not open."],
    },
    "ansible_host": "192.0.2.1",
    "__private_evidence": {"no": "part of it"},
}
BAD = {
    "rootoftrust_failure": {"task": "Wait for a healthy pool", "message": "The pool is not ready."},
    "entropy_evidence": "not a dictionary",
}


def told(**hosts: HostEvidence) -> dict[str, Any]:
    return document(hosts.values(), playbook="site", version=VERSION, written="2026-11-21T23:59:59Z", check_mode=False)


@pytest.fixture
def fleet() -> dict[str, Any]:
    return told(
        a=HostEvidence.from_variables("b-good", GOOD, reached=True),
        b=HostEvidence.from_variables("a-bad", BAD, reached=True),
        c=HostEvidence.from_variables("c-gone", {}, reached=False),
    )


def test_the_version_is_the_collections() -> None:
    assert yaml.safe_load((ROOT / "galaxy.yml").read_text(encoding="utf-8"))["version"] == VERSION


def test_only_what_roles_left_goes_in(fleet: dict[str, Any]) -> None:
    assert list(fleet["hosts"]) == ["a-bad", "b-good", "c-gone"]
    assert sorted(fleet["hosts"]["b-good"]["evidence"]) == ["entropy", "kernel_keys", "luks", "ssh_host_keys", "tpm"]
    assert fleet["hosts"]["a-bad"]["evidence"] == {}
    assert {name: host["outcome"] for name, host in fleet["hosts"].items()} == {"a-bad": "failed", "b-good": "ok", "c-gone": "unreachable"}


def test_the_document_keeps_to_its_schema(fleet: dict[str, Any]) -> None:
    jsonschema.validate(fleet, SCHEMA)
    fleet["hosts"]["b-good"]["evidence"]["ssh_host_keys"]["keys"] = [{**KEY, "private_key": "x"}]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(fleet, SCHEMA)


def test_the_summary_says_what_a_person_wants_to_know(fleet: dict[str, Any]) -> None:
    assert summary(fleet) == [
        "Evidence of site, 2026-11-21T23:59:59Z",
        "  a-bad: failed",
        "    Wait for a healthy pool: The pool is not ready.",
        "  b-good: ok",
        "    entropy: healthy, 256 of 256 bits, fed by kernel from virtio_rng.0",
        "    ssh host key: ed25519 SHA256:K3oBJ5n4 (served)",
        "    TPM 2.0 of IBM, in LOCKOUT: 0x81000001 (ecc256)",
        "    kernel keys: kmk (trusted), evm-key (encrypted, EXPIRED)",
        "    volume home: encrypted, opened by passphrase, tpm2, recovery key 1",
        "    home: it is not open.",
        "  c-gone: unreachable",
    ]


def test_keys_to_be_made_are_told_in_a_check_run() -> None:
    variables = {"ssh_host_keys_evidence": {"keys": [{**KEY, "fingerprint": None, "public_key": None}], "due": True}}
    fleet = told(a=HostEvidence.from_variables("a", variables, reached=True))
    jsonschema.validate(fleet, SCHEMA)
    assert summary(fleet)[-1] == "    ssh host key: ed25519 to be made"


def test_many_keys_are_counted_and_a_host_may_have_no_tpm() -> None:
    keys = [{"type": "user", "description": f"key-{number}", "permissions": "3f010000", "state": "valid"} for number in range(200)]
    variables = {
        "kernel_keys_evidence": {"keys": [*keys, {**keys[0], "type": "logon"}], "blobs": [], "types": {}, "quota": {}},
        "tpm_evidence": {"present": False, "version": "", "lockout": None, "persistent": []},
    }
    fleet = told(a=HostEvidence.from_variables("a", variables, reached=True))
    jsonschema.validate(fleet, SCHEMA)
    assert summary(fleet)[-2:] == ["    TPM: none", "    kernel keys: 1 logon, 200 user"]
