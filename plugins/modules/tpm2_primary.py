#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Have a persistent parent in the TPM."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tpm2_primary
short_description: Have a persistent storage key of the owner hierarchy in a TPM 2.0
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Makes a primary storage key of the owner hierarchy and keeps it at a persistent handle, where the kernel's trusted keys (C(keyhandle=)),
    systemd and others find the parent for what they seal.
  - The TPM is spoken to directly by its device. No program has to be installed, and the owner authorisation is seen by no other program.
  - A key that is there already is known by its public area. Where it is another than described, or something else lies at the handle, that
    is refused and left as it is, for what is sealed under it would be lost.
  - Made again on the same TPM, with the same options and before the TPM is cleared, it is the same key.
options:
  handle:
    description:
      - The persistent handle, in hexadecimal. The owner can have V(0x81000000) to V(0x817fffff).
      - V(0x81000001) is where systemd looks for the storage root key, and makes one itself (since release 256).
    type: str
  state:
    description:
      - Whether the key should be there.
      - With V(absent) it is evicted, if it is as described. What is sealed under it cannot be had until it is made again.
    type: str
    choices: [present, absent]
    default: present
  algorithm:
    description:
      - The kind of key. If left out, one that is there may be of either kind, and a new one is V(ecc256), which a TPM makes in less time.
    type: str
    choices: [rsa2048, ecc256]
  da_protection:
    description:
      - Whether the key is under the TPM's defence against guessing (dictionary attacks). It has no authorisation that could be guessed, and
        with V(true) it cannot be used while the TPM is in lockout.
    type: bool
    default: false
  primaries:
    description: Several keys; for each the options above. No handle may be there twice.
    type: list
    elements: dict
    suboptions:
      handle:
        description: As O(handle).
        type: str
        required: true
      state:
        description: As O(state).
        type: str
        choices: [present, absent]
        default: present
      algorithm:
        description: As O(algorithm).
        type: str
        choices: [rsa2048, ecc256]
      da_protection:
        description: As O(da_protection).
        type: bool
        default: false
  owner_auth:
    description:
      - The owner authorisation, needed only when it is set and something is to be done.
      - It goes to the TPM as it is. Whoever taps the wires between the processor and a TPM that is a chip of its own can read it.
    type: str
  owner_auth_encoding:
    description: V(base64) for bytes that are no text.
    type: str
    choices: [text, base64]
    default: text
extends_documentation_fragment:
  - rootoftrust.linux.attributes
  - rootoftrust.linux.attributes.actiongroup_tpm
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
  platform:
    platforms: linux
    support: full
seealso:
  - module: rootoftrust.linux.tpm_info
"""

EXAMPLES = r"""
- name: Have a parent for trusted keys
  rootoftrust.linux.tpm2_primary:
    handle: "0x81000001"

- name: Have a trusted key under it that loads as long as PCR 7 is what it is now
  rootoftrust.linux.kernel_key:
    description: kmk
    type: trusted
    length: 32
    keyhandle: "0x81000001"
    pcrs: [7]
    blob: /etc/keys/kmk-trusted.blob

- name: Have an RSA key beside it
  rootoftrust.linux.tpm2_primary:
    handle: "0x81000002"
    algorithm: rsa2048

- name: Have it no more
  rootoftrust.linux.tpm2_primary:
    handle: "0x81000002"
    algorithm: rsa2048
    state: absent
"""

RETURN = r"""
primaries:
  description: The keys, in the order in which they were asked for, as they are after the steps, or would be.
  type: list
  elements: dict
  returned: success
  contains:
    handle:
      description: Its handle.
      type: str
    state:
      description: V(present) or V(absent).
      type: str
    algorithm:
      description: V(rsa2048) or V(ecc256); null where it is absent.
      type: str
    attributes:
      description: Its attributes; empty where it is absent.
      type: list
      elements: str
    name:
      description: Its name; null where it is absent, and in check mode where it is yet to be made.
      type: str
steps:
  description: What was done, or would be, in sentences.
  type: list
  elements: str
  returned: always
"""

from typing import Any

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import converge
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec, objects, one_or_many
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.options import OWNER_OPTIONS
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.plan_primaries import (
    ABSENT,
    ECC,
    PRESENT,
    RSA,
    plan_primaries,
    report_primaries,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.primary_keys import PrimaryKeys

PRIMARY_OPTIONS: dict[str, dict[str, Any]] = {
    "handle": {"type": "str"},
    "state": {"type": "str", "choices": [PRESENT, ABSENT], "default": PRESENT},
    "algorithm": {"type": "str", "choices": [RSA, ECC]},
    "da_protection": {"type": "bool", "default": False},
}
SPEC = one_or_many("primaries", "handle", PRIMARY_OPTIONS).merge(Spec(options=OWNER_OPTIONS))


def main() -> None:
    module = SPEC.create_module()
    keys = PrimaryKeys(module.params)
    converge(
        module,
        desired=objects(module.params, "primaries", PRIMARY_OPTIONS),
        read=keys.read,
        plan=lambda found, _asked: plan_primaries(found),
        apply=keys.apply,
        report=report_primaries,
    )


if __name__ == "__main__":
    main()
