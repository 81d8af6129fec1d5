#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Look at the kernel's keys."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_key_info
short_description: Tell which keys the kernel has, which types it knows, and what blobs hold
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Lists the keys in a keyring and in the keyrings in it, without their payloads; says which types of keys the kernel has and why not;
    what the user's keys take of their quota; and whether the session has the user's keyring.
  - A trusted or encrypted key that the kernel does not give out any more (its master is gone) is told as such. It is lost at the next boot.
options:
  keyring:
    description: The keyring, as in O(rootoftrust.linux.kernel_key#module:keyring).
    type: str
    default: "@u"
  blobs:
    description: Files of trusted or encrypted keys to look into.
    type: list
    elements: path
    default: []
extends_documentation_fragment:
  - rootoftrust.linux.attributes
  - rootoftrust.linux.attributes.info_module
  - rootoftrust.linux.attributes.actiongroup_kernel_keys
attributes:
  platform:
    platforms: linux
    support: full
seealso:
  - module: rootoftrust.linux.kernel_key
  - module: rootoftrust.linux.kernel_keyring
"""

EXAMPLES = r"""
- name: Look at the keys of root
  rootoftrust.linux.kernel_key_info:
    blobs:
      - /etc/keys/evm-trusted.blob
  register: kernel_keys

- name: Say which types of keys the kernel does not have
  ansible.builtin.debug:
    msg: "{{ kernel_keys.types | dict2items | rejectattr('value.available') | map(attribute='value.why') }}"
"""

RETURN = r"""
keyring:
  description: The keyring.
  type: dict
  returned: success
  contains:
    path: {description: As it was asked for., type: str}
    serial: {description: Its serial number; null where it is not there., type: int}
keys:
  description: The keys in it, and in the keyrings in it.
  type: list
  elements: dict
  returned: success
  contains:
    serial: {description: Its serial number., type: int}
    type: {description: Its type; V(keyring) for a keyring., type: str}
    description: {description: Its name., type: str}
    keyring: {description: The serial number of the keyring that it hangs in., type: int}
    uid: {description: The user that owns it., type: int}
    gid: {description: The group that owns it., type: int}
    permissions: {description: 'Eight hexadecimal digits: possessor, user, group, others.', type: str}
    state: {description: 'V(valid), V(expired) or V(revoked).', type: str}
    expires: {description: 'When, in the words of C(/proc/keys); V(perm) for never.', type: str}
    length: {description: Bytes of a user key that can be read and of an encrypted key., type: int}
    exportable: {description: Whether the kernel gives out a trusted or encrypted key; null for others., type: bool}
    fault: {description: Why it does not., type: str}
    format: {description: Of an encrypted key., type: str, returned: for encrypted keys that are exportable}
    master: {description: Of an encrypted key., type: str, returned: for encrypted keys that are exportable}
    parent: {description: The handle of the TPM's key that seals it., type: str, returned: for trusted keys that are exportable}
    policy: {description: 'The digest of its policy, or the PCRs of a TPM 1.2; empty for none.', type: str, returned: for trusted keys}
session:
  description: The session keyring of Ansible's connection.
  type: dict
  returned: success
  contains:
    serial: {description: Its serial number., type: int}
    has_user_keyring: {description: Whether the user's keyring can be reached from it., type: bool}
types:
  description:
    - Of V(user), V(logon), V(trusted) and V(encrypted), whether the kernel has such keys and why not, and the kernel's module that brings
      them; null where they are built in or not there at all.
  type: dict
  returned: success
  sample: {user: {available: true, why: '', module: null}, encrypted: {available: true, why: '', module: encrypted-keys}}
quota:
  description: What this user's keys take, and may take.
  type: dict
  returned: success
  contains:
    uid: {description: The user., type: int}
    keys: {description: Keys that are there., type: int}
    max_keys: {description: Keys that may be., type: int}
    bytes: {description: Bytes that they take., type: int}
    max_bytes: {description: Bytes that they may take., type: int}
    limits: {description: The numbers in C(/proc/sys/kernel/keys)., type: dict}
blobs:
  description: The files asked for.
  type: list
  elements: dict
  returned: success
  contains:
    path: {description: The file., type: str}
    present: {description: Whether it is there., type: bool}
    usable: {description: 'Whether it is whole, as far as can be seen without its master or the TPM.', type: bool}
    fault: {description: Why it is not., type: str}
    type: {description: V(trusted) or V(encrypted)., type: str}
    in_kernel: {description: Whether a key listed in RV(keys) gives out this very text., type: bool}
    format: {description: Of an encrypted key., type: str, returned: for encrypted keys}
    master: {description: Of an encrypted key., type: str, returned: for encrypted keys}
    length: {description: Of an encrypted key., type: int, returned: for encrypted keys}
    parent: {description: The handle of the TPM's key that seals it., type: str, returned: for trusted keys}
    policy: {description: 'The digest of its policy, or the PCRs of a TPM 1.2.', type: str, returned: for trusted keys}
loader:
  description: What the role P(rootoftrust.linux.kernel_keys#role) has set up to load keys at boot.
  type: dict
  returned: success
  contains:
    keyctl: {description: The path of the program that it needs; null where that is not installed., type: str}
    files: {description: 'Its files by their paths, each with mode and sha256; null where there is none.', type: dict}
    initramfs: {description: 'What makes the initramfs, as RV(rootoftrust.linux.initramfs#module:tool).', type: str}
    evm_fault: {description: Why EVM must not be started in this kernel; empty where it may., type: str}
    evm: {description: Whether EVM was started with its key since the boot., type: bool}
    enabled: {description: Whether its unit is enabled., type: bool}
    active: {description: Whether that has run., type: bool}
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import observe
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.inventory import look
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.loader import Loader

SPEC = Spec(
    options={
        "keyring": {"type": "str", "default": "@u", "no_log": False},
        "blobs": {"type": "list", "elements": "path", "default": []},
    }
)


def main() -> None:
    module = SPEC.create_module()
    loader = Loader(Runner(module))
    observe(module, lambda: {**look(module.params["keyring"], module.params["blobs"]), "loader": loader.look()})


if __name__ == "__main__":
    main()
