#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tell which tokens a PKCS#11 library has."""

from __future__ import annotations

DOCUMENTATION = r"""
module: pkcs11_info
short_description: Tell which slots and tokens a PKCS#11 library has, and what is wrong with them
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Tells the library, its slots, the tokens in them with their flags, and their mechanisms. No PIN is needed, and none is tried.
options:
  library:
    description:
      - The PKCS#11 library, by its whole path.
      - Or V(opencryptoki), V(softhsm2), V(opensc) or V(p11-kit), for the place where the distributions have it.
    type: str
    required: true
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
  - module: rootoftrust.linux.pkcs11_token
"""

EXAMPLES = r"""
- name: See which tokens there are
  rootoftrust.linux.pkcs11_info:
    library: softhsm2
  register: tokens

- name: Fail where one is not healthy
  ansible.builtin.assert:
    that: tokens.healthy
    fail_msg: "{{ tokens.unhealthy | join(' ') }}"
"""

RETURN = r"""
library:
  description: The library.
  type: dict
  returned: success
  contains:
    path:
      description: Its file.
      type: str
    real_path:
      description: The same without symbolic links, as C(ssh-agent -P) compares it.
      type: str
    description:
      description: Its own description.
      type: str
    manufacturer:
      description: Who has made it.
      type: str
    version:
      description: Its version.
      type: str
    cryptoki_version:
      description: The version of PKCS#11 that it follows.
      type: str
slots:
  description: The slots, in the library's order.
  type: list
  elements: dict
  returned: success
  contains:
    slot:
      description: Its number.
      type: int
    description:
      description: Its description.
      type: str
    manufacturer:
      description: Who has made it.
      type: str
    token:
      description:
        - The token in it; null where there is none. With C(label), C(manufacturer), C(model), C(serial), C(flags), C(initialized),
          C(pin_length) (the least and the most bytes; 0 for no limit) and C(unhealthy).
      type: dict
    mechanisms:
      description: The mechanisms that the token has, by the names of PKCS#11 without C(CKM_), or as numbers.
      type: list
      elements: str
healthy:
  description: Whether nothing is wrong with any token.
  type: bool
  returned: success
unhealthy:
  description: What is wrong, such as a default PIN, a locked one, or a blank label.
  type: list
  elements: str
  returned: success
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import observe
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.options import LIBRARY
from ansible_collections.rootoftrust.linux.plugins.module_utils.pkcs11.tokens import TokenStore

SPEC = LIBRARY


def main() -> None:
    module = SPEC.create_module()
    observe(module, lambda: TokenStore().look(module.params["library"]))


if __name__ == "__main__":
    main()
