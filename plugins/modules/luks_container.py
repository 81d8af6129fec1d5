#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Have a LUKS header on a device."""

from __future__ import annotations

DOCUMENTATION = r"""
module: luks_container
short_description: Have a LUKS header on a device, and never over what was not named
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Makes a LUKS header with the parameters asked for on a device that is free. A device is not free, and is refused with what
    was found, if it has a signature or a partition table, is mounted, held by another device or active swap, is read-only, or is
    too small. A signature that may be destroyed is named in O(wipe); what is in use is refused even then.
  - A header that is there already is never formatted again. In what it is not as asked for is told as drift; only its label,
    subsystem and UUID can be changed here, and only if O(change) names them.
  - The new header is opened by its secret before it gets its UUID. Until then it has a UUID that begins with
    C(726f6f74-6f66-8), by which the next run knows it, should this one be cut; then it is made anew.
  - A run that finds the header asks for no secret and derives no key.
  - It does not encrypt data that are there; that is what C(luks_encryption) is for.
options:
  device:
    description:
      - A block device or a regular file, by its absolute path or as C(UUID=), C(PARTUUID=), C(LABEL=), C(PARTLABEL=).
      - A device that is to be wiped, or whose UUID is to change, is not given by its UUID or label.
    type: str
  header:
    description:
      - A detached header, in a file that is made. Its folder must be there.
      - The device itself must be free all the same.
    type: path
  state:
    description:
      - V(present), a LUKS header.
      - V(absent), none. All keyslots are destroyed, then the signature, or the file of a detached header; what was encrypted is
        lost, but for those who have a backup of the header. O(wipe) must name the UUID of the header, and nothing may be open.
        A device without a LUKS header is left as it is.
    type: str
    choices: [present, absent]
    default: present
  type:
    description: Type of the header.
    type: str
    choices: [luks2, luks1]
    default: luks2
  cipher:
    description: Cipher of the data, as C(aes-xts-plain64); cryptsetup's own choice if left out.
    type: str
  key_bits:
    description: Bits of the volume key; 512 are AES-256 in XTS mode.
    type: int
  hash:
    description: Hash of the key derivation (PBKDF2) and of the splitting of keys. It counts only when the header is made.
    type: str
  sector_size:
    description: Bytes of an encrypted sector (LUKS2); cryptsetup's own choice if left out.
    type: int
    choices: [512, 1024, 2048, 4096]
  label:
    description: Label (LUKS2); empty for none.
    type: str
  subsystem:
    description: Subsystem (LUKS2), a second label; empty for none.
    type: str
  uuid:
    description: UUID of the header; a random one if left out.
    type: str
  pbkdf:
    description:
      - How the first keyslot's secret becomes a key; what is left out is cryptsetup's own choice.
      - Of a header that is there, only the type is compared.
    type: dict
    suboptions:
      type:
        description: The function. LUKS1 has V(pbkdf2) only.
        type: str
        choices: [argon2id, argon2i, pbkdf2]
      memory:
        description: KiB of memory; a host with little memory needs a limit to be able to open the volume.
        type: int
      time:
        description: Milliseconds that it should take on this host.
        type: int
      iterations:
        description: Passes over the memory, or iterations of V(pbkdf2), instead of O(pbkdf.time).
        type: int
      threads:
        description: Threads.
        type: int
  passphrase:
    description:
      - The first secret, needed only when the header is made.
      - Keep it with Ansible Vault. It reaches cryptsetup by standard input, never by its arguments.
    type: str
  passphrase_encoding:
    description: V(base64) for bytes that are no text.
    type: str
    choices: [text, base64]
    default: text
  key_file:
    description: The first secret, as a file on the managed host, instead of O(passphrase). It counts byte for byte.
    type: path
  wipe:
    description:
      - What may be destroyed on the device or on its partitions, by the type of the signature (V(ext4), V(swap), V(LVM2_member) …),
        by its UUID, or, for a partition table, V(gpt) or V(dos). Each signature that is found has to be named.
      - It has no effect on a device that has the header already, and so may stay in the playbook.
    type: list
    elements: str
    default: []
  fill:
    description:
      - V(random) overwrites the whole device with random bytes before it is formatted, through an encrypted mapping with a key
        that nobody knows, so that nobody sees how much of it is used. It has no effect on a device that has the header already.
      - How far it is, how fast, and how long it will take stands in C(/run/rootoftrust/fill-*.json). Where a run is cut,
        the next one goes on from there; after a boot it begins anew.
    type: str
    choices: [none, random]
    default: none
  change:
    description: The fields of a header that is there that may be changed, if they are not as asked for.
    type: list
    elements: str
    choices: [label, subsystem, uuid]
    default: []
  containers:
    description: Several devices; for each the options above. No device may be there twice.
    type: list
    elements: dict
    suboptions:
      device:
        description: As O(device).
        type: str
        required: true
      header:
        description: As O(header).
        type: path
      state:
        description: As O(state).
        type: str
        choices: [present, absent]
        default: present
      type:
        description: As O(type).
        type: str
        choices: [luks2, luks1]
        default: luks2
      cipher:
        description: As O(cipher).
        type: str
      key_bits:
        description: As O(key_bits).
        type: int
      hash:
        description: As O(hash).
        type: str
      sector_size:
        description: As O(sector_size).
        type: int
        choices: [512, 1024, 2048, 4096]
      label:
        description: As O(label).
        type: str
      subsystem:
        description: As O(subsystem).
        type: str
      uuid:
        description: As O(uuid).
        type: str
      pbkdf:
        description: As O(pbkdf).
        type: dict
        suboptions:
          type:
            description: As O(pbkdf.type).
            type: str
            choices: [argon2id, argon2i, pbkdf2]
          memory:
            description: As O(pbkdf.memory).
            type: int
          time:
            description: As O(pbkdf.time).
            type: int
          iterations:
            description: As O(pbkdf.iterations).
            type: int
          threads:
            description: As O(pbkdf.threads).
            type: int
      passphrase:
        description: As O(passphrase).
        type: str
      passphrase_encoding:
        description: As O(passphrase_encoding).
        type: str
        choices: [text, base64]
        default: text
      key_file:
        description: As O(key_file).
        type: path
      wipe:
        description: As O(wipe).
        type: list
        elements: str
        default: []
      fill:
        description: As O(fill).
        type: str
        choices: [none, random]
        default: none
      change:
        description: As O(change).
        type: list
        elements: str
        choices: [label, subsystem, uuid]
        default: []
extends_documentation_fragment:
  - rootoftrust.linux.attributes
  - rootoftrust.linux.attributes.actiongroup_luks
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
  - module: rootoftrust.linux.luks_info
  - module: rootoftrust.linux.luks_mapping
  - module: rootoftrust.linux.luks_header_backup
"""

EXAMPLES = r"""
- name: Make a file as large as the volume, to try this on
  ansible.builtin.command:
    cmd: truncate -s 32M /run/example-container.img
    creates: /run/example-container.img

- name: Have a LUKS header in it
  rootoftrust.linux.luks_container:
    device: /run/example-container.img
    label: example
    passphrase: a passphrase of an example
    pbkdf:
      memory: 65536
      time: 200

- name: See in what it is not as it is asked for now
  rootoftrust.linux.luks_container:
    device: /run/example-container.img
    label: another
    key_bits: 256
  register: seen

- name: Tell it
  ansible.builtin.debug:
    var: seen.containers[0].drift

- name: Give it the other label
  rootoftrust.linux.luks_container:
    device: /run/example-container.img
    label: another
    change: [label]
  register: example

- name: Make another file, with the signature of swap
  ansible.builtin.shell:
    cmd: truncate -s 32M /run/example-used.img && mkswap /run/example-used.img
    creates: /run/example-used.img

- name: Have a LUKS header in place of the swap, and nothing else
  rootoftrust.linux.luks_container:
    device: /run/example-used.img
    wipe: [swap]
    passphrase: a passphrase of an example
    pbkdf:
      memory: 65536
      time: 200

- name: Destroy the first one
  rootoftrust.linux.luks_container:
    device: /run/example-container.img
    state: absent
    wipe: ["{{ example.containers[0].uuid }}"]
"""

RETURN = r"""
containers:
  description: The devices, in the order in which they were asked for, as they are after the steps, or would be.
  type: list
  elements: dict
  returned: success
  contains:
    device:
      description: As asked for.
      type: str
    path:
      description: Its path.
      type: str
    header_path:
      description: The device, or the file of the detached header.
      type: str
    luks:
      description: Whether it has a LUKS header.
      type: bool
    type:
      description: V(luks2), V(luks1), or null.
      type: str
    uuid:
      description: UUID of the header; null in check mode where a random one is still to be chosen, and where there is no header.
      type: str
    drift:
      description: In what the header is not as asked for.
      type: list
      elements: dict
      contains:
        field:
          description: The option's name.
          type: str
        is:
          description: What the header says.
          type: raw
        asked:
          description: What is asked for.
          type: raw
        how:
          description: How it can be changed.
          type: str
    fill:
      description: What this run has filled with random bytes; null where it filled nothing.
      type: dict
      contains:
        mebibytes:
          description: How much; less than the size of the device where a run before was cut.
          type: int
        seconds:
          description: How long it took.
          type: float
        mib_per_second:
          description: How fast that was.
          type: float
steps:
  description: What was done, or would be, in sentences.
  type: list
  elements: str
  returned: always
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import converge
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import objects, one_or_many
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.containers import Containers
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.options import CONTAINER_OPTIONS
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_containers import plan_containers, report_containers

SPEC = one_or_many("containers", "device", CONTAINER_OPTIONS)


def main() -> None:
    module = SPEC.create_module()
    containers = Containers(Runner(module))
    converge(
        module,
        desired=objects(module.params, "containers", CONTAINER_OPTIONS),
        read=containers.read,
        plan=lambda found, _asked: plan_containers(found),
        apply=containers.apply,
        report=report_containers,
    )


if __name__ == "__main__":
    main()
