#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tell whether OpenPGP keys can be encrypted to."""

from __future__ import annotations

DOCUMENTATION = r"""
module: luks_recipient_info
short_description: Whether a recovery key could be encrypted to these OpenPGP keys
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Looks at public keys on the managed host, with the C(gpg) that M(rootoftrust.linux.luks_recovery_key) will use, and
    by the clock of that host. So an expired key is found before a volume is encrypted, and not when its recovery key is due.
  - It needs no volume, no keyring and no network.
options:
  recipients:
    description:
      - The public keys, each in ASCII armour.
    type: list
    elements: str
    required: true
  require:
    description:
      - Whether to fail where nothing can be encrypted to one of them.
    type: bool
    default: false
extends_documentation_fragment:
  - rootoftrust.linux.attributes
  - rootoftrust.linux.attributes.info_module
  - rootoftrust.linux.attributes.actiongroup_luks
attributes:
  platform:
    platforms: linux
    support: full
seealso:
  - module: rootoftrust.linux.luks_recovery_key
"""

EXAMPLES = r"""
- name: Make a folder for the keys of one who may recover a volume, who has it elsewhere, of course
  ansible.builtin.file:
    path: /run/example-recipient
    state: directory
    mode: "0700"

- name: Make these keys
  ansible.builtin.command:
    cmd: gpg --homedir /run/example-recipient --batch --passphrase '' --quick-generate-key recovery@example.com future-default default never
    creates: /run/example-recipient/pubring.kbx

- name: Ask for the public key
  ansible.builtin.command:
    cmd: gpg --homedir /run/example-recipient --batch --armor --export recovery@example.com
  changed_when: false
  register: public

- name: Fail where nothing can be encrypted to it
  rootoftrust.linux.luks_recipient_info:
    recipients:
      - "{{ public.stdout }}"
    require: true
"""

RETURN = r"""
recipients:
  description: The keys, in the order in which they were given.
  type: list
  elements: dict
  returned: success
  contains:
    fingerprint:
      description: Of the primary key.
      type: str
    user:
      description: The first user ID.
      type: str
    fault:
      description: Why nothing can be encrypted to it; empty where something can.
      type: str
usable:
  description: Whether a recovery key can be encrypted to all of them.
  type: bool
  returned: success
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import observe
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.gnupg import Gnupg
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_recovery import report_recipients

SPEC = Spec(
    options={
        "recipients": {"type": "list", "elements": "str", "required": True},
        "require": {"type": "bool", "default": False},
    }
)


def main() -> None:
    module = SPEC.create_module()
    gnupg = Gnupg(Runner(module))
    armoured, require = module.params["recipients"], module.params["require"]
    observe(module, lambda: report_recipients([gnupg.show(text) for text in armoured], require))


if __name__ == "__main__":
    main()
