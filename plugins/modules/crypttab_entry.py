#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Have entries in crypttab."""

from __future__ import annotations

DOCUMENTATION = r"""
module: crypttab_entry
short_description: Have entries in crypttab, or not
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Has for each given name exactly one line in crypttab, and leaves every other line as it is, byte for byte.
  - A line that says the same with other white space, or its options in another order, stays as it is.
  - It opens nothing, and neither systemd nor the initramfs is told; RV(daemon_reload) says when systemd should be.
options:
  path:
    description:
      - The file. If missing it is made with mode 0600. An existing one keeps mode and owner.
    type: path
    default: /etc/crypttab
  backup:
    description: Keep a copy of the file, with the time in its name, before it is changed.
    type: bool
    default: false
  also_accept:
    description:
      - Names of options that are accepted in lines though this module does not know them.
      - It knows those of crypttab(5) of systemd 259 and of Debian's cryptsetup 2.8, and all that begin with C(x-).
    type: list
    elements: str
    default: []
  name:
    description: Name of the mapping, as under C(/dev/mapper).
    type: str
  device:
    description:
      - The encrypted device, by its absolute path or as C(UUID=), C(PARTUUID=), C(LABEL=), C(PARTLABEL=).
      - Needed with O(state=present).
    type: str
  key_file:
    description:
      - Absolute path of the key file, or V(none). With the option C(keyscript=), what that script takes.
    type: str
    default: none
  options:
    description: The options, each as it stands in the file, such as V(luks) or V(tpm2-device=auto).
    type: list
    elements: str
    default: []
  state:
    description:
      - With V(absent), all lines of the name are removed.
      - With V(present), two lines of one name are an error.
    type: str
    choices: [present, absent]
    default: present
  entries:
    description:
      - Several entries; for each the options from O(name) on.
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
      key_file:
        description: As O(key_file).
        type: str
        default: none
      options:
        description: As O(options).
        type: list
        elements: str
        default: []
      state:
        description: As O(state).
        type: str
        choices: [present, absent]
        default: present
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
  - module: community.general.crypttab
    description: Adds and removes single options of an entry.
"""

EXAMPLES = r"""
- name: Open /home at boot, by the TPM
  rootoftrust.linux.crypttab_entry:
    path: /run/example-crypttab
    name: home
    device: UUID=11111111-2222-4333-8444-555555555555
    options: [luks, tpm2-device=auto, nofail, x-systemd.device-timeout=60s]
  register: home

- name: Have systemd know of it
  ansible.builtin.systemd_service:
    daemon_reload: true
  when: home.daemon_reload

- name: Have two entries, keep a copy of the file, and forget a third
  rootoftrust.linux.crypttab_entry:
    path: /run/example-crypttab
    backup: true
    entries:
      - name: swap
        device: PARTLABEL=swap
        key_file: /dev/urandom
        options: [swap, cipher=aes-xts-plain64, size=512, sector-size=4096]
      - name: data
        device: /dev/disk/by-id/scsi-example-part1
        key_file: /etc/cryptsetup-keys.d/data.key
        options: [luks, discard]
      - name: old
        state: absent
"""

RETURN = r"""
path:
  description: The file.
  type: str
  returned: success
entries:
  description: The entries, in the order in which they were asked for.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: Name of the mapping.
      type: str
    state:
      description: As asked for.
      type: str
    line:
      description: The line that the file has, or will have; null where there is none.
      type: str
backup_file:
  description: The copy that was made; null where none was.
  type: str
  returned: success
daemon_reload:
  description:
    - Whether the file was changed, or will be, so that C(systemctl daemon-reload) is due on a host with systemd, and
      the initramfs is to be made anew where it opens one of these.
  type: bool
  returned: success
steps:
  description: What was done, or would be, in sentences.
  type: list
  elements: str
  returned: always
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import converge
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec, objects, one_or_many
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.crypttab import Crypttab
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.options import ENTRY_OPTIONS
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_crypttab import plan_crypttab, report_crypttab

SPEC = one_or_many("entries", "name", ENTRY_OPTIONS).merge(
    Spec(
        options={
            "path": {"type": "path", "default": "/etc/crypttab"},
            "backup": {"type": "bool", "default": False},
            "also_accept": {"type": "list", "elements": "str", "default": []},
        }
    )
)


def main() -> None:
    module = SPEC.create_module()
    params = module.params
    crypttab = Crypttab(params["path"], params["backup"])
    converge(
        module,
        desired=(objects(params, "entries", ENTRY_OPTIONS), params["also_accept"]),
        read=crypttab.read,
        plan=lambda state, _asked: plan_crypttab(state),
        apply=crypttab.apply,
        report=report_crypttab,
    )


if __name__ == "__main__":
    main()
