#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Look at SSH host keys and at what the server presents."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ssh_host_key_info
short_description: Look at SSH host keys, and at what the running server presents
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Reads the same keys as M(rootoftrust.linux.ssh_host_key) and says what is wrong with them, and whether that module
    would make or correct one.
  - With O(handshake) it also asks the running server for its keys and compares them with the files. With O(prove) it
    fails if they differ, or if a key is due.
  - It changes nothing.
options:
  type:
    description:
      - As in M(rootoftrust.linux.ssh_host_key). Leave out both this and O(keys) for the keys that the server uses.
    type: str
    choices: [ed25519, rsa, ecdsa, mldsa44-ed25519, dsa]
  path:
    description: As in M(rootoftrust.linux.ssh_host_key).
    type: path
  size:
    description: As in M(rootoftrust.linux.ssh_host_key).
    type: int
  comment:
    description: Taken so that the same list serves both modules; it is not looked at.
    type: str
  keys:
    description:
      - Several keys; for each the options above.
    type: list
    elements: dict
    suboptions:
      type:
        description: As O(type).
        type: str
        choices: [ed25519, rsa, ecdsa, mldsa44-ed25519, dsa]
        required: true
      path:
        description: As O(path).
        type: path
      size:
        description: As O(size).
        type: int
      comment:
        description: As O(comment).
        type: str
  regenerate:
    description: The reasons that count for RV(due), as in M(rootoftrust.linux.ssh_host_key).
    type: list
    elements: str
    choices: [unreadable, wrong_type, too_small, listed, cloned]
    default: [unreadable, wrong_type, too_small, listed, cloned]
  bad_fingerprints:
    description: As in M(rootoftrust.linux.ssh_host_key).
    type: list
    elements: str
    default: []
  server:
    description: V(none) does not ask for an SSH server.
    type: str
    choices: [sshd, none]
    default: sshd
  handshake:
    description:
      - Ask the running server for its keys, by C(ssh-keyscan) at each port where its configuration says that it listens.
      - Before 9.8 a running server of OpenSSH reads its keys again for each connection; later ones when they are reloaded.
      - For a server this is a client that leaves without logging in. OpenSSH 9.8 and later shut out an address that
        does so many times within seconds.
    type: bool
    default: false
  prove:
    description:
      - Fail if a key is due, or (with O(handshake)) if the server presents a key that differs from its file, or does
        not present one.
      - The failure has the same results.
    type: bool
    default: false
extends_documentation_fragment:
  - rootoftrust.linux.attributes
  - rootoftrust.linux.attributes.info_module
  - rootoftrust.linux.attributes.actiongroup_sshkeys
attributes:
  platform:
    platforms: linux
    support: full
seealso:
  - module: rootoftrust.linux.ssh_host_key
"""

EXAMPLES = r"""
- name: Look at the keys that the server uses
  rootoftrust.linux.ssh_host_key_info:
  register: host_keys

- name: Show them
  ansible.builtin.debug:
    msg: "{{ host_keys['keys'] | map(attribute='fingerprint') }}"

- name: See whether the running server presents the keys on disk
  rootoftrust.linux.ssh_host_key_info:
    handshake: true
  register: presented

- name: Prove that the Ed25519 key is as it should be
  rootoftrust.linux.ssh_host_key_info:
    type: ed25519
    regenerate: [unreadable, wrong_type]
    prove: true
"""

RETURN = r"""
keys:
  description:
    - The keys, each as RV(rootoftrust.linux.ssh_host_key#module:keys) has them, without C(state), C(made) and
      C(previous_fingerprint).
    - "Write C(result['keys']): in Jinja, C(result.keys) is a method of the dictionary."
  type: list
  elements: dict
  returned: always
  contains:
    due:
      description: Whether the module ssh_host_key would make or correct this key.
      type: bool
    note_due:
      description: Whether it would do nothing but note the machine for it.
      type: bool
due:
  description: Whether one of them is due.
  type: bool
  returned: always
note_due:
  description: Whether for one of them the machine is yet to be noted.
  type: bool
  returned: always
stale:
  description: Whether the running server presents other keys than those on disk, and so has to be reloaded.
  type: bool
  returned: always
faults:
  description: Why a proof fails, in sentences; empty if it does not.
  type: list
  elements: str
  returned: always
served:
  description: The keys that the server presented; null without O(handshake) or a server.
  type: list
  elements: dict
  returned: always
  contains:
    address:
      description: Where it was asked.
      type: str
    port:
      description: TCP port.
      type: int
    type:
      description: The key's type.
      type: str
    fingerprint:
      description: SHA-256 fingerprint.
      type: str
    public_key:
      description: The key.
      type: str
    path:
      description: The file that has it, or that should.
      type: str
    matches:
      description: Whether it is the file's; null if none of the files looked at is for this type.
      type: bool
server:
  description: The server.
  type: dict
  returned: always
  contains:
    installed:
      description: Whether there is an sshd.
      type: bool
    config_valid:
      description: Whether it accepts its configuration; null if there is none.
      type: bool
    error:
      description: What it says against it.
      type: str
    ports:
      description: TCP ports of its configuration.
      type: list
      elements: int
    addresses:
      description: Addresses and ports at which its configuration has it listen.
      type: list
      elements: dict
    running:
      description: Whether it answered; null without O(handshake).
      type: bool
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import observe
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.host_keys import HostKeys
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.options import LOOK_OPTIONS, asked, host_key_spec

SPEC = host_key_spec(
    LOOK_OPTIONS,
    Spec(options={"handshake": {"type": "bool", "default": False}, "prove": {"type": "bool", "default": False}}),
)


def main() -> None:
    module = SPEC.create_module()
    host_keys, params = HostKeys(Runner(module)), module.params
    observe(module, lambda: host_keys.look(asked(params, LOOK_OPTIONS), params["handshake"], params["prove"]))


if __name__ == "__main__":
    main()
