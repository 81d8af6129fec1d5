#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Have a keyring in the kernel."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_keyring
short_description: Have keyrings in the kernel, with their permissions and links
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Makes keyrings, gives them permissions and a timeout, links them into others, and takes them away.
  - M(rootoftrust.linux.kernel_key) makes the keyrings on its keys' way by itself. This module is for what else there is to them.
  - A keyring that has keys in it is not taken away, unless O(drop_keys) says so.
options:
  path:
    description:
      - The keyring, as V(@u/app) for the keyring C(app) in the user's. It begins with V(@u), V(@us), V(@s), C(%:name) or a serial number.
    type: str
  state:
    description: Whether it should be there. To be absent is to be taken out of the keyring that it is in.
    type: str
    choices: [present, absent]
    default: present
  permissions:
    description: Its permissions as eight hexadecimal digits, as C(/proc/keys) and C(keyctl setperm) have them.
    type: str
  timeout:
    description: Seconds after which it expires with all in it; V(0) is never. A timeout that runs already is left alone.
    type: int
  links:
    description: Keyrings that it is also linked into, as V(%:name). Links that are not named are left alone.
    type: list
    elements: str
    default: []
  drop_keys:
    description: Whether it may go with keys in it, which end if they are in no other keyring.
    type: bool
    default: false
  keyrings:
    description: Several keyrings; for each the options above.
    type: list
    elements: dict
    suboptions:
      path:
        description: As O(path).
        type: str
        required: true
      state:
        description: As O(state).
        type: str
        choices: [present, absent]
        default: present
      permissions:
        description: As O(permissions).
        type: str
      timeout:
        description: As O(timeout).
        type: int
      links:
        description: As O(links).
        type: list
        elements: str
        default: []
      drop_keys:
        description: As O(drop_keys).
        type: bool
        default: false
extends_documentation_fragment:
  - rootoftrust.linux.attributes
  - rootoftrust.linux.attributes.actiongroup_kernel_keys
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
  - module: rootoftrust.linux.kernel_key
  - module: rootoftrust.linux.kernel_key_info
"""

EXAMPLES = r"""
- name: Have a keyring of an application in the user's, and one in that
  rootoftrust.linux.kernel_keyring:
    keyrings:
      - path: "@u/app"
        permissions: 3f1b0000
      - path: "@u/app/cache"
        timeout: 3600

- name: Put a key into it
  rootoftrust.linux.kernel_key:
    description: app:token
    keyring: "@u/app"
    random: 32

- name: Take it away with its keys
  rootoftrust.linux.kernel_keyring:
    path: "@u/app"
    state: absent
    drop_keys: true
"""

RETURN = r"""
keyrings:
  description: The keyrings, in the order in which they were asked for, as they are after the steps, or would be.
  type: list
  elements: dict
  returned: success
  contains:
    path:
      description: As it was asked for.
      type: str
    state:
      description: V(present) or V(absent).
      type: str
    serial:
      description: Its serial number; null where it is absent, or before it is made.
      type: int
    permissions:
      description: Its permissions; null where it is absent, or before it is made with the kernel's own.
      type: str
    expires:
      description: When it expires in the words of C(/proc/keys), V(perm) for never.
      type: str
    links:
      description: Of the O(links), those that it is in.
      type: list
      elements: str
    keys:
      description: What is in it, as C(type:description).
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
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.keyring_steps import KeyringSteps
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.options import KEYRING_OPTIONS
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.plan_keyrings import plan_keyrings, report_keyrings

SPEC = one_or_many("keyrings", "path", KEYRING_OPTIONS)


def main() -> None:
    module = SPEC.create_module()
    keyrings = KeyringSteps()
    converge(
        module,
        desired=objects(module.params, "keyrings", KEYRING_OPTIONS),
        read=keyrings.read,
        plan=lambda found, _asked: plan_keyrings(found),
        apply=keyrings.apply,
        report=report_keyrings,
    )


if __name__ == "__main__":
    main()
