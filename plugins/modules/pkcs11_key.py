#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Have key pairs on a token."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pkcs11_key
short_description: Have key pairs on a PKCS#11 token
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Makes key pairs on a token. The private key never leaves it, unless it was made so that it may.
  - A pair is known by its label, and by its ID where that is given. One of another algorithm under the same label is refused.
  - Without a PIN only public keys can be seen, which is enough for a run that has nothing to do.
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
      - The user PIN, needed to make, prove or destroy a pair.
      - It is tried once. Where one more wrong try would lock the token, it is not tried at all.
    type: str
  token_due:
    description:
      - Whether M(rootoftrust.linux.pkcs11_token) initialises the token, or sets its user PIN, earlier in the same run, so that a check
        run cannot find it as it will be.
      - A token that is not there is then taken for an empty one, and the PIN is tried only when a key is made.
    type: bool
    default: false
  label:
    description: The label of both keys.
    type: str
  id:
    description: Their ID in hexadecimal. A pair that is made without one gets 8 bytes at random.
    type: str
  algorithm:
    description: The kind of pair. Not every token has each.
    type: str
    choices: [rsa2048, rsa3072, rsa4096, nistp256, nistp384, nistp521, ed25519]
    default: nistp256
  usage:
    description: What a pair that is made is for - V(sign), V(decrypt) (RSA only) or V(derive) (curves of NIST only).
    type: list
    elements: str
    choices: [sign, decrypt, derive]
    default: [sign]
  extractable:
    description: Whether the private key of a pair that is made may be exported under another key.
    type: bool
    default: false
  verify:
    description: Whether to prove the pair in each run, by a signature over random bytes. Needs O(pin).
    type: bool
    default: false
  state:
    description: V(absent) destroys the pair, and needs O(id).
    type: str
    choices: [present, absent]
    default: present
  keys:
    description: Several pairs on the token; for each the options from O(label) on.
    type: list
    elements: dict
    suboptions:
      label:
        description: As O(label).
        type: str
        required: true
      id:
        description: As O(id).
        type: str
      algorithm:
        description: As O(algorithm).
        type: str
        choices: [rsa2048, rsa3072, rsa4096, nistp256, nistp384, nistp521, ed25519]
        default: nistp256
      usage:
        description: As O(usage).
        type: list
        elements: str
        choices: [sign, decrypt, derive]
        default: [sign]
      extractable:
        description: As O(extractable).
        type: bool
        default: false
      verify:
        description: As O(verify).
        type: bool
        default: false
      state:
        description: As O(state).
        type: str
        choices: [present, absent]
        default: present
notes:
  - The library is loaded in a process of its own, without input, output or anything of Ansible's. One that crashes or hangs is told as
    such.
extends_documentation_fragment:
  - rootoftrust.linux.attributes
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
  - module: rootoftrust.linux.pkcs11_ssh_keys
"""

EXAMPLES = r"""
- name: Have a token
  rootoftrust.linux.pkcs11_token:
    library: softhsm2
    label: Web server
    so_pin: "5823905723"
    user_pin: "904728"

- name: Have a key pair on it that signs, and see it sign
  rootoftrust.linux.pkcs11_key:
    library: softhsm2
    token: Web server
    pin: "904728"
    label: tls
    id: "01"
    algorithm: rsa2048
    verify: true

- name: Have it no more
  rootoftrust.linux.pkcs11_key:
    library: softhsm2
    token: Web server
    pin: "904728"
    label: tls
    id: "01"
    algorithm: rsa2048
    state: absent
"""

RETURN = r"""
keys:
  description:
    - The pairs, in the order in which they were asked for.
    - "Write C(result['keys']): in Jinja, C(result.keys) is a method of the dictionary."
  type: list
  elements: dict
  returned: success
  contains:
    label:
      description: Their label.
      type: str
    state:
      description: V(present) or V(absent), after the steps, or as it would be.
      type: str
    algorithm:
      description: As asked for.
      type: str
    id:
      description: Their ID in hexadecimal; null where there is no pair yet.
      type: str
    public_key:
      description: The public key as OpenSSH has it; null where there is none yet.
      type: str
steps:
  description: What was done, or would be, in sentences.
  type: list
  elements: str
  returned: always
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import converge
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec, objects, one_or_many
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.key_pairs import KeyPairs
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.options import PAIR_OPTIONS, PLACE
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.plan_pairs import plan_pairs, report_pairs

SPEC = (
    one_or_many("keys", "label", PAIR_OPTIONS)
    .merge(PLACE)
    .merge(Spec(options={"token_due": {"type": "bool", "default": False, "no_log": False}}, required_if=(("token_due", True, ("token",)),)))
)


def main() -> None:
    module = SPEC.create_module()
    pairs = KeyPairs()
    read = pairs.foresee if module.params["token_due"] else pairs.read
    converge(
        module,
        desired=objects(module.params, "keys", PAIR_OPTIONS),
        read=lambda asked: read(module.params, asked),
        plan=lambda found, _asked: plan_pairs(found),
        apply=pairs.apply,
        report=report_pairs,
    )


if __name__ == "__main__":
    main()
