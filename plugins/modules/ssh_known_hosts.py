#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Have exactly the right host keys in known_hosts."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ssh_known_hosts
short_description: Have exactly the right keys for some hosts in known_hosts
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Has for each given name exactly the given keys in a known_hosts file, and leaves every other line as it is, byte for
    byte.
  - A line that gives other names too only loses the given ones. Names in hashed lines are found. Lines with
    C(@cert-authority) or C(@revoked), with wildcards only, and comments are never touched.
  - Usually delegated to the controller. Forks that write the same file at once wait for each other by a lock file
    beside it.
options:
  path:
    description:
      - The file. If missing it is made with mode 0600, its folder with 0700. An existing one keeps mode and owner.
    type: path
    default: ~/.ssh/known_hosts
  hash:
    description:
      - Write new names as hashes (C(HashKnownHosts)). Existing lines with a right key stay as they are.
    type: bool
    default: false
  names:
    description:
      - Names and addresses of one host, without wildcards.
    type: list
    elements: str
  port:
    description: Its TCP port.
    type: int
    default: 22
  keys:
    description:
      - All its keys, as C(type base64).
      - A null or empty one stands for a key that is not made yet, as M(rootoftrust.linux.ssh_host_key) returns it in
        check mode. It counts as a change in check mode, and is an error otherwise.
    type: list
    elements: raw
  exclusive:
    description:
      - Whether other keys of these names are removed.
      - V(false) is for the time between a new key and the server's reload, when it may still present the old one.
    type: bool
    default: true
  state:
    description: With V(absent) all keys of the names are removed.
    type: str
    choices: [present, absent]
    default: present
  hosts:
    description:
      - Several hosts; for each the options above.
    type: list
    elements: dict
    suboptions:
      names:
        description: As O(names).
        type: list
        elements: str
        required: true
      port:
        description: As O(port).
        type: int
        default: 22
      keys:
        description: As O(keys).
        type: list
        elements: raw
      exclusive:
        description: As O(exclusive).
        type: bool
        default: true
      state:
        description: As O(state).
        type: str
        choices: [present, absent]
        default: present
extends_documentation_fragment:
  - rootoftrust.linux.attributes
  - rootoftrust.linux.attributes.files
  - rootoftrust.linux.attributes.actiongroup_sshkeys
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Names are shown in the clear also where they are written as hashes.
  idempotent:
    support: full
  platform:
    platforms: linux
    support: full
seealso:
  - module: rootoftrust.linux.ssh_host_key
  - module: ansible.builtin.known_hosts
    description: Manages one key of one name at a time.
"""

EXAMPLES = r"""
- name: Know a host by its one key
  rootoftrust.linux.ssh_known_hosts:
    path: /var/tmp/known_hosts
    names: [web1.example.com, 192.0.2.1]
    keys:
      - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJq2bTM8rL0vXyVYvnoGmUyVPyf3hM1DGKg2kmZDwPJp

- name: Forget a host that is gone
  rootoftrust.linux.ssh_known_hosts:
    path: /var/tmp/known_hosts
    names: [web2.example.com]
    state: absent

- name: Look at this host's keys
  rootoftrust.linux.ssh_host_key_info:
  register: host_keys

- name: Know this host by the keys that it really has, on another port
  rootoftrust.linux.ssh_known_hosts:
    path: /var/tmp/known_hosts
    hash: true
    hosts:
      - names: ["{{ inventory_hostname }}"]
        port: 2222
        keys: "{{ host_keys['keys'] | map(attribute='public_key') }}"
"""

RETURN = r"""
path:
  description: The file.
  type: str
  returned: success
hosts:
  description: The hosts, in the order in which they were asked for.
  type: list
  elements: dict
  returned: success
  contains:
    names:
      description: The names, in lower case.
      type: list
      elements: str
    port:
      description: TCP port.
      type: int
    state:
      description: As asked for.
      type: str
    fingerprints:
      description: SHA-256 fingerprints of the keys that the file now has, or will have, for the first name.
      type: list
      elements: str
steps:
  description: What was done, or would be, in sentences.
  type: list
  elements: str
  returned: always
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import converge
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec, objects, one_or_many
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.known_hosts import KnownHosts
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.options import KNOWN_HOST_OPTIONS
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.plan import (
    plan_known_hosts,
    report_known_hosts,
)

SPEC = one_or_many("hosts", "names", KNOWN_HOST_OPTIONS).merge(
    Spec(options={"path": {"type": "path", "default": "~/.ssh/known_hosts"}, "hash": {"type": "bool", "default": False}})
)


def main() -> None:
    module = SPEC.create_module()
    known_hosts = KnownHosts(module.params["path"], module.params["hash"])
    converge(
        module,
        desired=objects(module.params, "hosts", KNOWN_HOST_OPTIONS),
        read=known_hosts.read,
        plan=lambda known, _hosts: plan_known_hosts(known),
        apply=known_hosts.apply,
        report=report_known_hosts,
    )


if __name__ == "__main__":
    main()
