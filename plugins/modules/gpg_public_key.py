#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Have public keys of others in a keyring of GnuPG."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gpg_public_key
short_description: Have the OpenPGP public keys of others in a keyring, signed by one's own
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Imports public keys, and what is new of those that are there already. It tells before what an import would bring.
  - Signs them by a key of the keyring, so that gpg takes them for valid and encrypts to them without asking.
options:
  user:
    description: As in M(rootoftrust.linux.gpg_key).
    type: str
  home:
    description: As in M(rootoftrust.linux.gpg_key).
    type: path
  public_key:
    description: One public key in ASCII armour. Without it the key has to be there already.
    type: str
  fingerprint:
    description:
      - Its whole fingerprint. Where both are given and O(public_key) is another key, that is refused.
    type: str
  state:
    description:
      - V(absent) deletes the public key, and needs O(fingerprint). One that has its secret half here is not deleted.
    type: str
    choices: [present, absent]
    default: present
  signed_by:
    description: The fingerprint of a key with its secret half in this keyring, which should have signed all user IDs of the public key.
    type: str
  signature:
    description: A V(local) signature is never exported; an V(exportable) one is for others to see too, and does for V(local) as well.
    type: str
    choices: [local, exportable]
    default: local
  passphrase:
    description: That of the key which signs, where it has one and a signature is missing.
    type: str
  ownertrust:
    description: How far the key's owner is trusted to sign the keys of others.
    type: str
    choices: [undefined, never, marginal, full, ultimate]
  public_keys:
    description: Several public keys; for each the options above.
    type: list
    elements: dict
    suboptions:
      public_key:
        description: As O(public_key).
        type: str
      fingerprint:
        description: As O(fingerprint).
        type: str
      state:
        description: As O(state).
        type: str
        choices: [present, absent]
        default: present
      signed_by:
        description: As O(signed_by).
        type: str
      signature:
        description: As O(signature).
        type: str
        choices: [local, exportable]
        default: local
      passphrase:
        description: As O(passphrase).
        type: str
      ownertrust:
        description: As O(ownertrust).
        type: str
        choices: [undefined, never, marginal, full, ultimate]
requirements:
  - gpg (GnuPG) 2.2.20 or later, with gpg-agent
extends_documentation_fragment:
  - rootoftrust.linux.attributes
  - rootoftrust.linux.attributes.actiongroup_gpg
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
  - module: rootoftrust.linux.gpg_key
  - module: rootoftrust.linux.gpg_ownertrust
"""

EXAMPLES = r"""
- name: Have a key of one's own
  rootoftrust.linux.gpg_key:
    user_ids: [Host <root@host.example.org>]
  register: own

- name: Have another's, in another keyring
  rootoftrust.linux.gpg_key:
    home: /root/other
    user_ids: [Other <root@other.example.org>]
  register: other

- name: Take the other's public key for valid
  rootoftrust.linux.gpg_public_key:
    public_key: "{{ other['keys'][0].public_key }}"
    fingerprint: "{{ other['keys'][0].fingerprint }}"
    signed_by: "{{ own['keys'][0].fingerprint }}"

- name: Have it no more
  rootoftrust.linux.gpg_public_key:
    fingerprint: "{{ other['keys'][0].fingerprint }}"
    state: absent
"""

RETURN = r"""
public_keys:
  description: The public keys, in the order in which they were asked for.
  type: list
  elements: dict
  returned: success
  contains:
    fingerprint:
      description: Its fingerprint.
      type: str
    state:
      description: V(present) or V(absent), after the steps, or as it would be.
      type: str
    key:
      description: What it is, as M(rootoftrust.linux.gpg_key_info) tells it; null where it is not there yet.
      type: dict
steps:
  description: What was done, or would be, in sentences.
  type: list
  elements: str
  returned: always
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import converge
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import objects
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.options import PLACE, PUBLIC_KEY_OPTIONS, several
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.plan_public_keys import plan_public_keys, report_public_keys
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.public_keys import PublicKeys

SPEC = several("public_keys", ("public_key", "fingerprint"), PUBLIC_KEY_OPTIONS).merge(PLACE)


def main() -> None:
    module = SPEC.create_module()
    with PublicKeys(Runner(module)) as keys:
        converge(
            module,
            desired=objects(module.params, "public_keys", PUBLIC_KEY_OPTIONS),
            read=lambda asked: keys.read(module.params, asked),
            plan=lambda ring, _asked: plan_public_keys(ring),
            apply=keys.apply,
            report=report_public_keys,
        )


if __name__ == "__main__":
    main()
