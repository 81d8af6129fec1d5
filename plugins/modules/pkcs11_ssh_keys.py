#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tell the public keys of a token as OpenSSH has them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pkcs11_ssh_keys
short_description: Tell the public keys of a PKCS#11 token or smart card as OpenSSH has them
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Tells the public keys of a token as lines for C(authorized_keys) - RSA, ECDSA and Ed25519, the last also where C(ssh-keygen -D) passes
    it over.
  - In an order that stays, each with its label and ID.
options:
  library:
    description:
      - The PKCS#11 library, by its whole path.
      - Or V(opencryptoki), V(softhsm2), V(opensc) or V(p11-kit), for the place where the distributions have it.
    type: str
    required: true
  token:
    description: The token's label. Not needed where the library has one token only.
    type: str
  slot:
    description: The number of its slot, where several tokens have the label.
    type: int
  serial:
    description: Its serial number, where several tokens have the label.
    type: str
  pin:
    description:
      - The user PIN, for tokens that show their public keys only to who is logged in.
      - It is tried once. Where one more wrong try would lock the token, it is not tried at all.
    type: str
  labels:
    description: Only keys with one of these labels.
    type: list
    elements: str
    default: []
  ids:
    description: Only keys with one of these IDs, in hexadecimal.
    type: list
    elements: str
    default: []
notes:
  - The library is loaded in a process of its own, without input, output or anything of Ansible's. One that crashes or hangs is told as
    such.
extends_documentation_fragment:
  - rootoftrust.linux.attributes
  - rootoftrust.linux.attributes.info_module
  - rootoftrust.linux.attributes.actiongroup_pkcs11
attributes:
  platform:
    platforms: linux
    support: full
seealso:
  - module: rootoftrust.linux.pkcs11_key
  - module: rootoftrust.linux.pkcs11_info
"""

EXAMPLES = r"""
- name: Have a token
  rootoftrust.linux.pkcs11_token:
    library: softhsm2
    label: Card
    so_pin: "5823905723"
    user_pin: "904728"

- name: Have a key pair on it
  rootoftrust.linux.pkcs11_key:
    library: softhsm2
    token: Card
    pin: "904728"
    label: ssh

- name: Read its public key
  rootoftrust.linux.pkcs11_ssh_keys:
    library: softhsm2
    token: Card
  register: card

- name: Let its owner in
  ansible.builtin.copy:
    content: "{{ card.ssh_keys[0].public_key }}"
    dest: /root/.ssh/authorized_keys_of_cards
    mode: "0600"
"""

RETURN = r"""
slot:
  description: The number of the token's slot.
  type: int
  returned: success
token:
  description: Its label.
  type: str
  returned: success
serial:
  description: Its serial number.
  type: str
  returned: success
ssh_keys:
  description: The public keys, by their IDs.
  type: list
  elements: dict
  returned: success
  contains:
    label:
      description: Its label.
      type: str
    id:
      description: Its ID in hexadecimal.
      type: str
    type:
      description: Its type in OpenSSH's words.
      type: str
      sample: ecdsa-sha2-nistp256
    key:
      description: The key itself, in base64.
      type: str
    public_key:
      description: A line for C(authorized_keys), with the label as comment.
      type: str
    fingerprint:
      description: Its fingerprint, as C(ssh-keygen -l) prints it.
      type: str
others:
  description: Public keys for which OpenSSH has no form, with C(label), C(id) and C(reason).
  type: list
  elements: dict
  returned: success
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import observe
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.key_pairs import KeyPairs
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.options import PLACE

FILTER = {"type": "list", "elements": "str", "default": []}
SPEC = PLACE.merge(Spec(options={"labels": FILTER, "ids": FILTER}))


def main() -> None:
    module = SPEC.create_module()
    observe(module, lambda: KeyPairs().ssh_keys(module.params))


if __name__ == "__main__":
    main()
