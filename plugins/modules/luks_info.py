#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Look at LUKS volumes."""

from __future__ import annotations

DOCUMENTATION = r"""
module: luks_info
short_description: Look at LUKS volumes
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Tells what the header of a LUKS volume says, how far a reencryption is, what is open, mounted and in crypttab of it,
    and whether backups of the header are those of the header that is there now.
  - Of a device that is none it tells what else is on it.
  - Takes milliseconds. It derives no key, asks for no secret and changes nothing.
options:
  device:
    description:
      - A block device or a regular file, by its absolute path or as C(UUID=), C(PARTUUID=), C(LABEL=), C(PARTLABEL=).
      - Or a mount point. It stands for the device of what is mounted there or, in fstab, belongs there; of a LUKS volume the
        encrypted one. Where M(rootoftrust.linux.luks_encryption) was cut before crypttab had its line, its note tells.
    type: str
  name:
    description: Name of the mapping in crypttab, by which the device of a mount point is found while the volume is closed.
    type: str
  header:
    description:
      - The detached header, where the volume has one, or is to have one. With a file that is not there the volume has none.
    type: path
  mount:
    description:
      - Where it is to be mounted. The line of fstab for that place is told also where nothing is mounted there now.
    type: path
  backups:
    description: Files that should be backups of the header.
    type: list
    elements: path
    default: []
  devices:
    description:
      - Several volumes; for each the options above.
    type: list
    elements: dict
    suboptions:
      device:
        description: As O(device).
        type: str
        required: true
      name:
        description: As O(name).
        type: str
      header:
        description: As O(header).
        type: path
      mount:
        description: As O(mount).
        type: path
      backups:
        description: As O(backups).
        type: list
        elements: path
        default: []
  crypttab:
    description: The file in which entries of the volumes are looked for.
    type: path
    default: /etc/crypttab
extends_documentation_fragment:
  - rootoftrust.linux.attributes
  - rootoftrust.linux.attributes.info_module
  - rootoftrust.linux.attributes.actiongroup_luks
attributes:
  platform:
    platforms: linux
    support: full
notes:
  - cryptsetup 2.3 tells neither what a token of type C(systemd-tpm2) is bound to nor whether it asks for a PIN.
seealso:
  - module: rootoftrust.linux.luks_header_backup
  - module: rootoftrust.linux.crypttab_entry
"""

EXAMPLES = r"""
- name: Make a passphrase for a volume to try this on
  ansible.builtin.copy:
    content: a passphrase of an example
    dest: /run/example-info.key
    mode: "0600"

- name: Make a file as large as the volume
  ansible.builtin.command:
    cmd: truncate -s 32M /run/example-info.img
    creates: /run/example-info.img

- name: Make a small volume in it, with a key derivation that costs nothing and protects nothing
  ansible.builtin.command:
    cmd: >-
      cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000
      --key-file /run/example-info.key /run/example-info.img

- name: Look at it
  rootoftrust.linux.luks_info:
    device: /run/example-info.img
  register: seen

- name: See that nobody can get in by a cheap passphrase
  ansible.builtin.debug:
    msg: "Keyslot {{ item.number }}: {{ item.pbkdf.type }}, {{ item.pbkdf.cost }}"
  loop: "{{ seen.devices[0].header.keyslots }}"

- name: Look at two devices, one of which is no volume
  rootoftrust.linux.luks_info:
    devices:
      - device: "/run/example-info.img"
      - device: "/run/example-info.key"
"""

RETURN = r"""
devices:
  description: The volumes, in the order in which they were asked for.
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
    lasting_path:
      description: A path that leads to it after the next boot too, whatever is on it by then; its path where there is none.
      type: str
    size:
      description: Bytes.
      type: int
    header_path:
      description: Where the header was looked for.
      type: str
    luks:
      description: Whether there is a LUKS header that can be used.
      type: bool
    header:
      description: What it says; null where there is none.
      type: dict
      contains:
        type:
          description: V(luks1) or V(luks2).
          type: str
        uuid:
          description: UUID.
          type: str
        label:
          description: Label; may be empty.
          type: str
        subsystem:
          description: Subsystem; may be empty.
          type: str
        epoch:
          description: Number of changes of the header; null for LUKS1.
          type: int
        cipher:
          description: Of the data, or of what it will be when a reencryption has ended; empty where it will be plain.
          type: str
        key_bits:
          description: Size of the volume key; null where no keyslot is left that tells.
          type: int
        sector_size:
          description: Bytes.
          type: int
        data_offset:
          description: Bytes from the start of the data device to the data.
          type: int
        keyslots:
          description:
            - The keyslots in use, each with C(number), C(kind) (V(luks1), V(luks2), or V(reencrypt), which holds no key),
              C(priority) (V(prefer), V(normal), V(ignore)), C(key_bits), C(cipher), C(unbound) (the key in it is not, or not
              yet, that of the data) and C(pbkdf), a dictionary of C(type), C(hash), C(cost) (passes or iterations),
              C(memory) in KiB and C(threads).
          type: list
          elements: dict
        tokens:
          description:
            - The tokens, each with C(number), C(type), C(keyslots), C(description), C(tpm2_pcrs), C(tpm2_pcr_bank) and
              C(tpm2_pin). The last three are null where they do not apply or are not known.
          type: list
          elements: dict
        segments:
          description: The parts of the data device.
          type: list
          elements: dict
        flags:
          description: Kept in the header for each opening.
          type: list
          elements: str
        requirements:
          description: Such as V(online-reencrypt-v2) while a reencryption is not finished.
          type: list
          elements: str
    digest:
      description: SHA-256 of the header with its keyslots; null where there is none, or where its first copy is damaged.
      type: str
    header_size:
      description: Bytes of what the digest is of.
      type: int
    reencryption:
      description:
        - Null where none is going on; else C(mode) (V(encrypt), V(reencrypt), V(decrypt)), C(direction), C(resilience),
          C(done) and C(total) in bytes, C(percent), and C(running), whether the unit of
          M(rootoftrust.linux.luks_encryption) is at work on it now.
      type: dict
    signature:
      description:
        - What is on a device without LUKS header; null where nothing is known, or where it has one. C(type), C(usage),
          C(uuid), C(label), C(table) (the kind of partition table), and all of it as C(sentence).
      type: dict
    mapping:
      description: C(name) and C(path) of the open volume; null where it is closed.
      type: dict
    inside:
      description: What is on the open mapping, as C(signature); null where it is closed, or nothing is known.
      type: dict
    data_signature:
      description: What is seen where the encrypted data begin, as C(signature). Null is how it should be, but for a chance hit.
      type: dict
    records:
      description:
        - The tokens in which the modules of this collection keep what they have to know, such as C(name), C(version) and C(kind) of
          the keyslots that M(rootoftrust.linux.luks_keyslot) has made.
      type: list
      elements: dict
    holders:
      description: All block devices of the kernel over this one, with C(name), C(mapper), C(uuid), and whether it is a C(partition) of it.
      type: list
      elements: dict
    mounts:
      description: Where it or what is over it is mounted, with C(source), C(target), C(type) and C(options).
      type: list
      elements: dict
    swaps:
      description: Which of them are used as swap.
      type: list
      elements: str
    fstab:
      description: Lines of fstab for its mount points and for O(mount), with C(source), C(target), C(type) and C(options).
      type: list
      elements: dict
    crypttab:
      description: Entries of crypttab for it, with C(line), C(name), C(device), C(key) and C(options).
      type: list
      elements: dict
    backups:
      description:
        - The files that should be backups, with C(path), C(usable), C(fault), C(uuid), C(digest), C(data_offset), which is 0
          for a detached header, and C(matches), whether it is one of the header as it is now.
      type: list
      elements: dict
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import observe
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec, objects, one_or_many
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.options import LOOK_OPTIONS
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.volumes import Volumes

SPEC = one_or_many("devices", "device", LOOK_OPTIONS).merge(Spec(options={"crypttab": {"type": "path", "default": "/etc/crypttab"}}))


def main() -> None:
    module = SPEC.create_module()
    volumes = Volumes(Runner(module), module.params["crypttab"])
    observe(module, lambda: volumes.look(objects(module.params, "devices", LOOK_OPTIONS)))


if __name__ == "__main__":
    main()
