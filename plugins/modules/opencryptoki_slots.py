#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Have the slots in opencryptoki.conf that are in use."""

from __future__ import annotations

DOCUMENTATION = r"""
module: opencryptoki_slots
short_description: Have exactly these slots in opencryptoki.conf
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Writes C(opencryptoki.conf) with the slots that are in use, and no others. A configured token that cannot work, such as the TPM's with
    which Debian's file begins, closes the standard input of each program that opens the library, and a label read from there is blank.
  - What the file says of a slot that stays is kept, its number too, and so is what stands outside of slots. Comments are not.
  - Both forms of the file are known, that of 3.8 and that of later releases.
  - The daemon (C(pkcsslotd)) reads the file when it is started.
options:
  path:
    description: The file.
    type: path
    default: /etc/opencryptoki/opencryptoki.conf
  slots:
    description: The slots.
    type: list
    elements: dict
    required: true
    suboptions:
      token:
        description:
          - The kind of token - V(soft) (in software), V(tpm) (a TPM 1.2, by TrouSerS), V(icsf) (a remote z/OS), or one of the processors of
            IBM Z.
        type: str
        choices: [soft, tpm, icsf, ica, cca, ep11]
        required: true
      number:
        description: The number of its slot. By default the one that it has in the file, else the first that is free.
        type: int
      name:
        description:
          - A name for its data, for a second token of a kind. A slot with this name in the file is taken to be it.
          - Known to releases later than 3.8.
        type: str
      description:
        description: The slot's description, of at most 64 bytes.
        type: str
extends_documentation_fragment:
  - rootoftrust.linux.attributes
  - rootoftrust.linux.attributes.files
  - rootoftrust.linux.attributes.actiongroup_pkcs11
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
  - module: rootoftrust.linux.pkcs11_token
"""

EXAMPLES = r"""
- name: Have openCryptoki
  ansible.builtin.package:
    name: opencryptoki

- name: Have its token in software alone
  rootoftrust.linux.opencryptoki_slots:
    slots:
      - token: soft
"""

RETURN = r"""
slots:
  description: The slots after the steps, each with its C(number) and the settings of the file.
  type: list
  elements: dict
  returned: success
steps:
  description: What was done, or would be, in sentences.
  type: list
  elements: str
  returned: always
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import converge
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.opencryptoki import ConfigurationFile
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.options import SLOT_OPTIONS
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.plan_slots import plan_slots, report_slots

SPEC = Spec(
    options={
        "path": {"type": "path", "default": "/etc/opencryptoki/opencryptoki.conf"},
        "slots": {"type": "list", "elements": "dict", "required": True, "options": SLOT_OPTIONS},
    }
)


def main() -> None:
    module = SPEC.create_module()
    file = ConfigurationFile(module.params["path"])
    converge(
        module,
        desired=module.params["slots"],
        read=file.read,
        plan=lambda slots, _asked: plan_slots(slots),
        apply=file.apply,
        report=report_slots,
    )


if __name__ == "__main__":
    main()
