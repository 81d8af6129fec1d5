#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Have a TPM 1.2 owned."""

from __future__ import annotations

DOCUMENTATION = r"""
module: tpm12_owner
short_description: Have an owner of a TPM 1.2, and a storage root key that the kernel can use
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Takes ownership of a TPM 1.2 that has no owner. Its storage root key then has the well-known secret, so that the kernel can seal trusted
    keys under it, as after C(tpm_takeownership -z).
  - The TPM is spoken to directly by its device. TrouSerS is not needed, and the authorisation is seen by no program but this.
  - A TPM that has an owner is left as it is, and its authorisation is not tried. An owner is never removed, for all that is sealed goes
    with it.
notes:
  - C(tcsd), the daemon of TrouSerS, holds the device, and has to be stopped where there is something to do.
  - The authorisation cannot be read back. Who loses it can only clear the TPM in the firmware's settings.
options:
  owner_auth:
    description:
      - The authorisation of the owner, needed only where the TPM has none. TrouSerS takes the same text as a password.
      - It goes to the TPM encrypted for its endorsement key.
    type: str
  owner_auth_encoding:
    description: V(base64) for bytes that are no text.
    type: str
    choices: [text, base64]
    default: text
  trousers:
    description:
      - Whether TrouSerS can use the storage root key as well. By itself it knows only one that C(tpm_takeownership) has made.
      - Lets who knows the key's secret read its public key, as C(tpm_restrictsrk -a) does, and registers it in C(/var/lib/tpm/system.data).
        What is registered is taken for readable. Needs O(owner_auth) where it is not.
    type: bool
    default: false
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
  - module: rootoftrust.linux.tpm2_primary
"""

EXAMPLES = r"""
- name: Look at the TPM
  rootoftrust.linux.tpm_info:
  register: tpm

- name: Have an owner of a TPM 1.2
  rootoftrust.linux.tpm12_owner:
    owner_auth: "an authorisation of an example"
  when: tpm.version == '1.2'
"""

RETURN = r"""
owned:
  description: Whether the TPM has an owner after the steps, or would have.
  type: bool
  returned: success
trousers:
  description: Whether TrouSerS knows the storage root key after the steps, or would; always V(false) where O(trousers) is.
  type: bool
  returned: success
steps:
  description: What was done, or would be, in sentences.
  type: list
  elements: str
  returned: always
"""

from typing import Any

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import converge
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.options import OWNER_OPTIONS
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.owner import Owner
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.plan_ownership import plan_ownership, report_ownership

SPEC = Spec(options={**OWNER_OPTIONS, "trousers": {"type": "bool", "default": False}})


def main() -> None:
    module = SPEC.create_module()
    owner = Owner(module.params)
    nothing: Any = None
    converge(
        module,
        desired=nothing,
        read=owner.read,
        plan=lambda found, _nothing: plan_ownership(found),
        apply=owner.apply,
        report=report_ownership,
    )


if __name__ == "__main__":
    main()
