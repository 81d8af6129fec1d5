#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tell which OpenPGP keys a keyring holds."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gpg_key_info
short_description: Tell which OpenPGP keys a keyring of GnuPG holds
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Tells of each key its parts, with algorithm, usage, end, and where its secret half is, and its user IDs. No passphrase is needed.
options:
  user:
    description: As in M(rootoftrust.linux.gpg_key).
    type: str
  home:
    description: As in M(rootoftrust.linux.gpg_key).
    type: path
  fingerprints:
    description: Only keys with one of these fingerprints, which may also be that of a subkey.
    type: list
    elements: str
    default: []
  user_ids:
    description: Only keys with one of these in a user ID, in letters of either case. Beside O(fingerprints), keys for which either holds.
    type: list
    elements: str
    default: []
requirements:
  - gpg (GnuPG) 2.2.20 or later
extends_documentation_fragment:
  - rootoftrust.linux.attributes
  - rootoftrust.linux.attributes.info_module
  - rootoftrust.linux.attributes.actiongroup_gpg
attributes:
  platform:
    platforms: linux
    support: full
seealso:
  - module: rootoftrust.linux.gpg_key
"""

EXAMPLES = r"""
- name: See which keys root has
  rootoftrust.linux.gpg_key_info:
  register: keyring

- name: Fail where one has expired
  ansible.builtin.assert:
    that: keyring['keys'] | selectattr('expired') | length == 0
"""

RETURN = r"""
home:
  description: The folder of the keyring.
  type: str
  returned: success
keys:
  description:
    - The keys, in gpg's order. Empty where there is no keyring.
    - "Write C(result['keys']): in Jinja, C(result.keys) is a method of the dictionary."
  type: list
  elements: dict
  returned: success
  contains:
    fingerprint:
      description: That of the primary key.
      type: str
    keygrip:
      description: By which gpg's agent knows the secret key.
      type: str
    algorithm:
      description: In gpg's words.
      type: str
      sample: ed25519
    usage:
      description: What the primary key is for.
      type: list
      elements: str
      sample: [cert, sign]
    created:
      description: The day on which it was made, UTC.
      type: str
      sample: "2026-01-31"
    expires:
      description: The day on which it ends, UTC; null for never.
      type: str
    expired:
      description: Whether that has passed.
      type: bool
    revoked:
      description: Whether it is revoked.
      type: bool
    secret:
      description: Where its secret half is - V(disk), V(card), V(elsewhere) (only a stub is here); null where there is none.
      type: str
    user_ids:
      description: The user IDs.
      type: list
      elements: str
    revoked_user_ids:
      description: Those that are revoked.
      type: list
      elements: str
    subkeys:
      description: The subkeys, each with the fields above from RV(keys[].fingerprint) to RV(keys[].secret).
      type: list
      elements: dict
    ownertrust:
      description: The ownertrust; null where none is set.
      type: str
    disabled:
      description: Whether it is disabled.
      type: bool
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import observe
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.options import PLACE
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.public_keys import Listing

FILTER = {"type": "list", "elements": "str", "default": []}
SPEC = PLACE.merge(Spec(options={"fingerprints": FILTER, "user_ids": FILTER}))


def main() -> None:
    module = SPEC.create_module()
    with Listing(Runner(module)) as listing:
        observe(module, lambda: listing.look(module.params))


if __name__ == "__main__":
    main()
