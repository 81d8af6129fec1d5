#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Have the ownertrust of OpenPGP keys set."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gpg_ownertrust
short_description: Say how far the owners of OpenPGP keys are trusted to sign the keys of others
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Sets the ownertrust of keys in a keyring of GnuPG. A key need not be there yet.
options:
  user:
    description: As in M(rootoftrust.linux.gpg_key).
    type: str
  home:
    description: As in M(rootoftrust.linux.gpg_key).
    type: path
  fingerprint:
    description: The whole fingerprint of a key.
    type: str
  trust:
    description:
      - V(ultimate) is for one's own keys. V(full) takes a signature of the owner for enough, V(marginal) needs three of such.
      - V(undefined) is as good as none.
    type: str
    choices: [undefined, never, marginal, full, ultimate]
  owners:
    description: Several; for each the options above.
    type: list
    elements: dict
    suboptions:
      fingerprint:
        description: As O(fingerprint).
        type: str
        required: true
      trust:
        description: As O(trust).
        type: str
        choices: [undefined, never, marginal, full, ultimate]
requirements:
  - gpg (GnuPG) 2.2.20 or later
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
  - module: rootoftrust.linux.gpg_public_key
"""

EXAMPLES = r"""
- name: Believe what the administrators' key has signed
  rootoftrust.linux.gpg_ownertrust:
    fingerprint: 6F4A 1B2C 3D4E 5F60 7182 93A4 B5C6 D7E8 F901 2A3B
    trust: full
"""

RETURN = r"""
ownertrust:
  description: What is set after the steps, or would be.
  type: list
  elements: dict
  returned: success
  contains:
    fingerprint:
      description: The key's fingerprint.
      type: str
    trust:
      description: As asked for.
      type: str
steps:
  description: What was done, or would be, in sentences.
  type: list
  elements: str
  returned: always
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import converge
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import objects, one_or_many
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.options import PLACE, TRUST_OPTIONS
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.plan_trust import plan_trust, report_trust
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.public_keys import Trust

SPEC = one_or_many("owners", "fingerprint", TRUST_OPTIONS).merge(PLACE)


def main() -> None:
    module = SPEC.create_module()
    with Trust(Runner(module)) as trust:
        converge(
            module,
            desired=objects(module.params, "owners", TRUST_OPTIONS),
            read=lambda asked: trust.read(module.params, asked),
            plan=lambda ring, _asked: plan_trust(ring),
            apply=trust.apply,
            report=report_trust,
        )


if __name__ == "__main__":
    main()
