#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Have tokens initialised."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pkcs11_token
short_description: Have PKCS#11 tokens initialised, with a label and PINs
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Initialises a token with a label and an SO PIN, and has the SO set the user PIN.
  - A token that is initialised already is never initialised again, for all on it would be lost, unless O(wipe) names it.
  - The default PINs with which openCryptoki makes its tokens are changed.
  - A PIN is only used where something is to be done, or O(verify) asks for it. It is tried once. A PIN of a token that is set up already is
    neither compared nor changed.
  - Works through the C interface of any library, such as those of openCryptoki, SoftHSM and OpenSC. No PIN is on a command line.
options:
  library:
    description:
      - The PKCS#11 library, by its whole path.
      - Or V(opencryptoki), V(softhsm2), V(opensc) or V(p11-kit), for the place where the distributions have it.
    type: str
    required: true
  label:
    description: The token's label, of at most 32 bytes in UTF-8.
    type: str
  slot:
    description:
      - The number of the slot that has the token to initialise. Needed where there are several that could be meant.
      - SoftHSM gives a token another number when it is initialised; leave it out there.
    type: int
  so_pin:
    description:
      - The SO PIN (security officer), which initialises the token and sets the user PIN. Needed for these only.
      - For a token of openCryptoki that has the default one, it is what that is changed to.
    type: str
  user_pin:
    description: The user PIN. If left out, a token that has none gets none.
    type: str
  verify:
    description:
      - Whether to prove in each run that O(user_pin) is the token's and the token works, by a signature of a key pair that lives as long as
        that.
    type: bool
    default: false
  wipe:
    description:
      - The serial number of an initialised token that may be initialised again. Everything on it is lost.
      - An empty one names no token. One that has no serial number, as openCryptoki's in software, is never initialised again; to lose that
        one, stop the daemon and empty the folder of its data.
    type: str
  tokens:
    description: Several tokens; for each the options above.
    type: list
    elements: dict
    suboptions:
      label:
        description: As O(label).
        type: str
        required: true
      slot:
        description: As O(slot).
        type: int
      so_pin:
        description: As O(so_pin).
        type: str
      user_pin:
        description: As O(user_pin).
        type: str
      verify:
        description: As O(verify).
        type: bool
        default: false
      wipe:
        description: As O(wipe).
        type: str
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
  - module: rootoftrust.linux.pkcs11_info
  - module: rootoftrust.linux.pkcs11_key
  - module: rootoftrust.linux.opencryptoki_slots
"""

EXAMPLES = r"""
- name: Have a token
  rootoftrust.linux.pkcs11_token:
    library: softhsm2
    label: Web server
    so_pin: "5823905723"
    user_pin: "904728"
    verify: true
"""

RETURN = r"""
tokens:
  description: The tokens, in the order in which they were asked for.
  type: list
  elements: dict
  returned: success
  contains:
    label:
      description: Its label.
      type: str
    slot:
      description: The number of its slot; null in check mode where it is to be initialised.
      type: int
    serial:
      description: Its serial number; null in check mode where it is to be initialised.
      type: str
    user_pin:
      description: Whether it has a user PIN, after the steps.
      type: bool
    due:
      description: Whether something is still to be done to it; only in check mode.
      type: bool
    unhealthy:
      description: What is wrong with it, such as a default PIN.
      type: list
      elements: str
steps:
  description: What was done, or would be, in sentences.
  type: list
  elements: str
  returned: always
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import converge
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import objects, one_or_many
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.options import LIBRARY, TOKEN_OPTIONS
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.plan_tokens import plan_tokens, report_tokens
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.tokens import TokenStore

SPEC = one_or_many("tokens", "label", TOKEN_OPTIONS).merge(LIBRARY)


def main() -> None:
    module = SPEC.create_module()
    store = TokenStore()
    converge(
        module,
        desired=objects(module.params, "tokens", TOKEN_OPTIONS),
        read=lambda asked: store.read(module.params["library"], asked),
        plan=lambda tokens, _asked: plan_tokens(tokens),
        apply=store.apply,
        report=report_tokens,
    )


if __name__ == "__main__":
    main()
