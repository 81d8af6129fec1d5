#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Look at the host's TPM."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tpm_info
short_description: Tell which TPM the host has, how it stands, and what it holds
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Tells the version, manufacturer and firmware of the host's first TPM, the values of its PCRs, the persistent objects in it, whether it
    is in lockout, whether its owner authorisation is set, and which programs have its devices open.
  - A TPM 2.0 is asked directly by its device, C(/dev/tpmrm0) where the kernel has it. Nothing has to be installed, and nothing is changed.
  - Of a TPM 1.2 it tells what the kernel shows below C(/sys/class/tpm/tpm0).
notes:
  - The device can be opened by root and by members of the group C(tss). Only root sees the programs of other users in RV(holders).
extends_documentation_fragment:
  - rootoftrust.linux.attributes
  - rootoftrust.linux.attributes.info_module
  - rootoftrust.linux.attributes.actiongroup_tpm
attributes:
  platform:
    platforms: linux
    support: full
seealso:
  - module: rootoftrust.linux.tpm2_primary
"""

EXAMPLES = r"""
- name: Look at the TPM
  rootoftrust.linux.tpm_info:
  register: tpm

- name: Stop where it refuses to unseal
  ansible.builtin.assert:
    that: not (tpm.lockout.active | default(false))
    fail_msg: The TPM is in lockout after {{ tpm.lockout.failures | default(0) }} wrong authorisations.

- name: Show what it holds
  ansible.builtin.debug:
    msg: "{{ item.algorithm }} at {{ item.handle }}"
  loop: "{{ tpm.persistent }}"
"""

RETURN = r"""
present:
  description: Whether the kernel has a TPM.
  type: bool
  returned: success
version:
  description: V(1.2) or V(2.0); empty where there is none.
  type: str
  returned: success
device:
  description: The device by which it is spoken to; null where there is none.
  type: str
  returned: success
  sample: /dev/tpmrm0
holders:
  description: The programs that have C(/dev/tpm0) or C(/dev/tpmrm0) open. While one has C(/dev/tpm0), no other can open that.
  type: list
  elements: dict
  returned: success
  contains:
    pid: {description: Its process., type: int}
    program: {description: Its name., type: str}
    device: {description: The device., type: str}
manufacturer:
  description: The manufacturer's letters.
  type: str
  returned: success
  sample: INTC
vendor:
  description: The manufacturer's name for it; empty for a TPM 1.2.
  type: str
  returned: success
firmware:
  description: The version of its firmware.
  type: str
  returned: success
  sample: 500.16.0.0
revision:
  description: The revision of the TPM 2.0 specification, or the version of that of TPM 1.2.
  type: str
  returned: success
  sample: '1.38'
authorisations:
  description: Whether each authorisation is set; null where that cannot be told. Without, everyone who can open the device has it.
  type: dict
  returned: success
  contains:
    owner: {description: 'That of the owner; for a TPM 1.2, whether it is owned.', type: bool}
    endorsement: {description: That of the endorsement hierarchy; null for a TPM 1.2., type: bool}
    lockout: {description: The one that ends a lockout; null for a TPM 1.2., type: bool}
lockout:
  description: The defence against guessing (dictionary attacks) of a TPM 2.0; else null.
  type: dict
  returned: success
  contains:
    active: {description: 'Whether it is in lockout, and refuses all that is under this defence.', type: bool}
    failures: {description: The wrong authorisations that are counted now., type: int}
    limit: {description: As many lead to the lockout., type: int}
    seconds_per_failure: {description: After as many seconds one failure is forgotten., type: int}
    recovery_seconds: {description: 'For as long the lockout authorisation is refused after a wrong one; 0 is until a restart.', type: int}
clear_disabled:
  description: Whether only the firmware can clear a TPM 2.0; else null.
  type: bool
  returned: success
banks:
  description: The PCR banks in use, by hash; in each, the registers by their number, with their values in hexadecimal.
  type: dict
  returned: success
persistent:
  description: The persistent objects of a TPM 2.0.
  type: list
  elements: dict
  returned: success
  contains:
    handle: {description: 'Its handle, such as V(0x81000001).', type: str}
    type: {description: 'V(rsa), V(ecc), V(keyedhash) or V(symcipher).', type: str}
    algorithm: {description: 'As tpm2-tools write it: V(rsa2048), V(ecc256) and so on.', type: str}
    name_algorithm: {description: The hash that gives it its name., type: str}
    attributes: {description: The attributes that are set., type: list, elements: str}
    storage_parent: {description: Whether keys can be made under it., type: bool}
    policy: {description: The digest of its policy; empty for none., type: str}
    name: {description: 'Its name, which no other object has.', type: str}
room:
  description: How many more persistent objects a TPM 2.0 has room for, by its own estimate; else null.
  type: int
  returned: success
states:
  description: How a TPM 1.2 stands; null for others.
  type: dict
  returned: success
  contains:
    enabled: {description: Whether it is enabled., type: bool}
    active: {description: Whether it is active., type: bool}
    owned: {description: Whether it has an owner., type: bool}
    temp_deactivated: {description: Whether it is inactive until the next start., type: bool}
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import observe
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.overview import overview

SPEC = Spec(options={})


def main() -> None:
    observe(SPEC.create_module(), overview)


if __name__ == "__main__":
    main()
