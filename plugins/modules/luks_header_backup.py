#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Have a backup of a LUKS header."""

from __future__ import annotations

DOCUMENTATION = r"""
module: luks_header_backup
short_description: Have a proven backup of a LUKS header, made when the header has changed
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Without its header a LUKS volume is lost. This module has a backup of the header as it is now, in a folder, and makes
    a new one only when the header is not that of the newest.
  - A backup is written beside the others, compared byte for byte and by what cryptsetup reads from it, and only then gets
    its name, C(UUID-TIME.luks-header). Old ones are removed after that, and only if O(keep) says so.
  - It asks for no secret. It does not restore; see C(cryptsetup luksHeaderRestore).
options:
  device:
    description:
      - A block device or a regular file, by its absolute path or as C(UUID=), C(PARTUUID=), C(LABEL=), C(PARTLABEL=).
    type: str
  header:
    description: The detached header, where the volume has one.
    type: path
  devices:
    description:
      - Several volumes; for each the options above. No two may have the same UUID.
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
  folder:
    description:
      - Where the backups are. If missing it is made with mode 0700.
      - A folder in the volume itself brings a warning.
    type: path
    default: /var/lib/rootoftrust/luks_headers
  keep:
    description:
      - How many older backups are kept beside the newest; all of them if left out.
      - An older backup still has the keyslots of its time. A passphrase that has been removed since opens the volume with
        it; so does one that is known to others.
    type: int
  mode:
    description:
      - Permission bits of the backups, as four octal digits. Modes that let others than owner and group read are refused.
    type: str
    default: "0400"
extends_documentation_fragment:
  - rootoftrust.linux.attributes
  - rootoftrust.linux.attributes.files
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
"""

EXAMPLES = r"""
- name: Make a passphrase for a volume to try this on
  ansible.builtin.copy:
    content: a passphrase of an example
    dest: /run/example-backup.key
    mode: "0600"

- name: Make a file as large as the volume
  ansible.builtin.command:
    cmd: truncate -s 32M /run/example-backup.img
    creates: /run/example-backup.img

- name: Make a small volume in it, with a key derivation that costs nothing and protects nothing
  ansible.builtin.command:
    cmd: >-
      cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000
      --key-file /run/example-backup.key /run/example-backup.img

- name: Have a backup of its header
  rootoftrust.linux.luks_header_backup:
    device: /run/example-backup.img
  register: backup

- name: Have it on the controller too, encrypted there as you see fit
  ansible.builtin.debug:
    msg: "Fetch {{ backup.devices[0].path }}"

- name: Have backups of several, and of each the newest and three older ones
  rootoftrust.linux.luks_header_backup:
    devices:
      - device: /run/example-backup.img
    folder: /var/lib/rootoftrust/luks_headers
    keep: 3
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
    uuid:
      description: UUID of the LUKS header.
      type: str
    digest:
      description: SHA-256 of the header with its keyslots, as M(rootoftrust.linux.luks_info) tells it.
      type: str
    path:
      description: The backup of the header as it is now; null in check mode where it is still to be made.
      type: str
    older:
      description: The older backups, oldest first.
      type: list
      elements: str
steps:
  description: What was done, or would be, in sentences.
  type: list
  elements: str
  returned: always
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import converge
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec, objects, one_or_many
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.header_backups import HeaderBackups
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.options import BACKUP_OPTIONS
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_backups import plan_backups, report_backups

SPEC = one_or_many("devices", "device", BACKUP_OPTIONS).merge(
    Spec(
        options={
            "folder": {"type": "path", "default": "/var/lib/rootoftrust/luks_headers"},
            "keep": {"type": "int"},
            "mode": {"type": "str", "default": "0400"},
        }
    )
)


def main() -> None:
    module = SPEC.create_module()
    backups = HeaderBackups(Runner(module), module.params)
    converge(
        module,
        desired=objects(module.params, "devices", BACKUP_OPTIONS),
        read=backups.read,
        plan=lambda state, _volumes: plan_backups(state),
        apply=backups.apply,
        report=report_backups,
    )


if __name__ == "__main__":
    main()
