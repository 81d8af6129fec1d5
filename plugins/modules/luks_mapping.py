#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Have a LUKS volume open, or closed."""

from __future__ import annotations

DOCUMENTATION = r"""
module: luks_mapping
short_description: Have a LUKS volume open under a name, or closed
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Opens a LUKS volume as C(/dev/mapper/name), closes it, and changes the flags of an open one while it is in use.
  - A run that finds all as asked for asks for no secret and derives no key, unless O(verify) is set.
  - A name that belongs to another device is refused; so is closing what is mounted, held by another device, or active swap.
  - Opening a volume in which a reencryption was cut is safe, for cryptsetup first repairs what was being written.
  - What is opened at boot is M(rootoftrust.linux.crypttab_entry)'s matter.
options:
  name:
    description: Its name under C(/dev/mapper).
    type: str
  device:
    description:
      - A block device or a regular file, by its absolute path or as C(UUID=), C(PARTUUID=), C(LABEL=), C(PARTLABEL=).
      - To have a volume closed, its name is enough. If the device is given too, the name is refused unless it belongs to it.
    type: str
  header:
    description: The detached header, where the volume has one.
    type: path
  state:
    description: Whether it should be open.
    type: str
    choices: [open, closed]
    default: open
  passphrase:
    description: A secret that opens it, needed only when it is to be opened or changed.
    type: str
  passphrase_encoding:
    description: V(base64) for bytes that are no text.
    type: str
    choices: [text, base64]
    default: text
  key_file:
    description: The secret as a file on the managed host, instead of O(passphrase). It counts byte for byte.
    type: path
  read_only:
    description:
      - Whether it can only be read. If left out, it is opened for writing, and an open one is left as it is.
      - An open volume has to be closed for this to change, which is done if nothing uses it.
    type: bool
  discard:
    description:
      - Whether discards (TRIM) reach the device. They tell whoever sees the device which parts of it are free.
      - This and each of the flags below is left as it is if left out.
    type: bool
  same_cpu_crypt:
    description: Whether each request is encrypted by the processor that made it.
    type: bool
  submit_from_crypt_cpus:
    description: Whether writes are submitted by the processors that encrypted them, and not by one thread.
    type: bool
  no_read_workqueue:
    description: Whether reads are decrypted without a queue (Linux 5.9 and later).
    type: bool
  no_write_workqueue:
    description: Whether writes are encrypted without a queue (Linux 5.9 and later).
    type: bool
  persistent:
    description:
      - Whether the header of a LUKS2 volume keeps the flags that the volume then has, so that each opening has them.
      - If V(false), the header is left as it is. A flag that it keeps cannot be taken away then.
    type: bool
    default: false
  mappings:
    description: Several volumes; for each the options above. No name may be there twice.
    type: list
    elements: dict
    suboptions:
      name:
        description: As O(name).
        type: str
        required: true
      device:
        description: As O(device).
        type: str
      header:
        description: As O(header).
        type: path
      state:
        description: As O(state).
        type: str
        choices: [open, closed]
        default: open
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
      read_only:
        description: As O(read_only).
        type: bool
      discard:
        description: As O(discard).
        type: bool
      same_cpu_crypt:
        description: As O(same_cpu_crypt).
        type: bool
      submit_from_crypt_cpus:
        description: As O(submit_from_crypt_cpus).
        type: bool
      no_read_workqueue:
        description: As O(no_read_workqueue).
        type: bool
      no_write_workqueue:
        description: As O(no_write_workqueue).
        type: bool
      persistent:
        description: As O(persistent).
        type: bool
        default: false
  verify:
    description: Whether the secret of each volume that should be open is tried, even where nothing is to be done. It derives keys.
    type: bool
    default: false
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
  - module: rootoftrust.linux.luks_container
  - module: rootoftrust.linux.crypttab_entry
  - module: rootoftrust.linux.luks_info
"""

EXAMPLES = r"""
- name: Have a LUKS header on a spare disk, as an example
  rootoftrust.linux.luks_container:
    device: /dev/ubdb
    passphrase: a passphrase of an example
    pbkdf:
      memory: 65536
      time: 200

- name: Have it open
  rootoftrust.linux.luks_mapping:
    name: example
    device: /dev/ubdb
    passphrase: a passphrase of an example

- name: Have discards reach the disk, now and at each opening
  rootoftrust.linux.luks_mapping:
    name: example
    device: /dev/ubdb
    discard: true
    persistent: true
    passphrase: a passphrase of an example

- name: See that the passphrase opens it
  rootoftrust.linux.luks_mapping:
    name: example
    device: /dev/ubdb
    passphrase: a passphrase of an example
    verify: true

- name: Have it closed
  rootoftrust.linux.luks_mapping:
    name: example
    state: closed
"""

RETURN = r"""
mappings:
  description: The volumes, in the order in which they were asked for, as they are after the steps, or would be.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: Its name.
      type: str
    state:
      description: V(open) or V(closed).
      type: str
    path:
      description: Path of the open volume; null where it is closed.
      type: str
    device:
      description: The device; null where it was not asked for and the volume is closed.
      type: str
    read_only:
      description: Whether it can only be read; null where it is closed.
      type: bool
    flags:
      description: The flags that are set, by the names C(cryptsetup status) has for them.
      type: list
      elements: str
    persistent_flags:
      description: The flags that the header keeps; empty where no device was asked for.
      type: list
      elements: str
    reencryption:
      description: Whether a reencryption is under way.
      type: bool
    proven:
      description: With O(verify), that the secret opens the volume; null where it was not tried.
      type: bool
steps:
  description: What was done, or would be, in sentences.
  type: list
  elements: str
  returned: always
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import converge
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec, objects, one_or_many
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.mappings import Mappings
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.options import MAPPING_OPTIONS
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_mappings import plan_mappings, report_mappings

SPEC = one_or_many("mappings", "name", MAPPING_OPTIONS).merge(Spec(options={"verify": {"type": "bool", "default": False}}))


def main() -> None:
    module = SPEC.create_module()
    mappings = Mappings(Runner(module), module.params["verify"])
    converge(
        module,
        desired=objects(module.params, "mappings", MAPPING_OPTIONS),
        read=mappings.read,
        plan=lambda found, _asked: plan_mappings(found),
        apply=mappings.apply,
        report=report_mappings,
    )


if __name__ == "__main__":
    main()
