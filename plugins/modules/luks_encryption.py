#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Encrypt a volume in place."""

from __future__ import annotations

DOCUMENTATION = r"""
module: luks_encryption
short_description: Encrypt or decrypt a volume in place, with its data kept, or give it a new volume key
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - >-
    Makes a LUKS2 volume of a file system with its data kept. The file system is away for seconds, while the LUKS
    header is written; then it is mounted again, and its data is encrypted in the background while it is in use.
  - >-
    The work in the background is done by a unit of systemd, C(rootoftrust-luks-NAME.service). It does not mind the
    end of the connection or of the controller. After a reboot it goes on when the volume is opened and the secret is
    at hand as O(key_file); else the next run of this module goes on with it.
  - >-
    A cut, by C(kill -9) or by power, is survived at every moment. What is going on is noted in
    C(/var/lib/rootoftrust/luks_encryption), and the next run goes on where it finds it.
  - >-
    While the file system is made smaller, what is overwritten of it is kept in a file beside that note, and removed
    at once when that is done.
  - >-
    A backup of the header is kept in O(backup_folder) before its keyslots guard anything, and a new one when the work
    has ended.
  - >-
    While the work is going on cryptsetup lets nobody add keyslots, tokens or labels. Enrol them when it has ended.
  - >-
    Without O(key_file) the secret is in a file in memory, C(/run/rootoftrust/NAME.key), for root alone, until the
    work has ended. Memory may be swapped out: encrypt the swap first.
  - >-
    It refuses to touch what it does not know, and says what it found. To unmount C(/home) you cannot be logged in
    there: connect as root, or as a user whose home is elsewhere.
options:
  device:
    description:
      - The block device with the file system or LUKS volume, by its absolute path or as C(UUID=), C(PARTUUID=),
        C(LABEL=), C(PARTLABEL=).
      - Encrypting or decrypting is refused by C(UUID=) and C(LABEL=), and by a path under C(/dev/disk/by-uuid) or
        C(/dev/disk/by-label), by which nobody finds the device once it is done.
    type: str
  header:
    description:
      - A file for the LUKS header. It is made with O(room=header), and has to be given ever after; keep it where the
        volume is not.
      - Nothing on the device says then which header belongs to it. So what is seen through the header is compared with
        what was noted, and for a new volume key the volume has to be open.
    type: path
  name:
    description:
      - The name of the mapping, under C(/dev/mapper). Needed where the volume is not open under one already.
    type: str
  passphrase:
    description:
      - The secret, of a plain volume the one that is to open it, of an encrypted volume one that does.
      - It is needed only when there is something to do.
    type: str
  passphrase_encoding:
    description:
      - Whether O(passphrase) is text, or bytes as base64.
    type: str
    choices: [text, base64]
    default: text
  key_file:
    description:
      - The same as a file on the managed host, taken as it is, with its end of line where it has one.
      - The work in the background reads it there, so that it goes on by itself after a reboot.
    type: path
  state:
    description:
      - V(plain) has a LUKS2 volume decrypted in place. The volume has to be open when that begins, and its file system, one of ext2,
        ext3, ext4, XFS and btrfs, is away until all is decrypted; so that nothing mounts or repairs it before, its superblock is hidden
        for as long. Without a detached header it needs cryptsetup 2.5, and a volume key that was never, or twice, replaced by a new one;
        else it is refused.
      - While that goes on the LUKS header is in C(/var/lib/rootoftrust/luks_encryption), and nowhere else. After a reboot the next run
        goes on with it.
      - Lines of crypttab are not touched; see M(rootoftrust.linux.crypttab_entry).
    type: str
    choices: [encrypted, plain]
    default: encrypted
  uuid:
    description:
      - The UUID that the new header is to have; by default cryptsetup chooses one. It needs cryptsetup 2.4.
    type: str
  type:
    description:
      - V(luks2) has a LUKS1 header converted. The volume has to be closed for that.
    type: str
    choices: [luks2]
  cipher:
    description:
      - As cryptsetup has it, C(aes-xts-plain64). Of an encrypted volume it is changed only together with the volume
        key; until then it is told as drift.
    type: str
  key_bits:
    description:
      - Bits of the volume key, with XTS those of both of its halves.
    type: int
  sector_size:
    description:
      - Bytes that are encrypted at a time.
    type: int
    choices: [512, 1024, 2048, 4096]
  pbkdf:
    description:
      - How the keyslot derives its key; what is left out is the choice of cryptsetup.
      - Where O(pbkdf.type) is given, and the keyslot of the secret has another, it is converted. Without a secret it is not known
        which keyslot that is; then others than this one are told as drift.
    type: dict
    suboptions:
      type:
        description: The function.
        type: str
        choices: [argon2id, argon2i, pbkdf2]
      memory:
        description: KiB of memory, of the first two.
        type: int
      time:
        description: Milliseconds that an unlock is to take on this host.
        type: int
      iterations:
        description: Passes over the memory, or iterations of V(pbkdf2), instead of a time.
        type: int
      threads:
        description: Threads, of the first two.
        type: int
  room:
    description:
      - How room is made for the header, for which 64 MiB at the end of the device have to be free. They are used
        while it is written; all but 16 MiB are the file system's again in the end.
      - V(shrink) makes the file system smaller (ext2, ext3, ext4; btrfs while it is mounted).
      - V(grow) makes the logical volume larger.
      - V(auto) does the first of these that can be done, and refuses if none can.
      - V(header) keeps the header in the file O(header). Nothing on the device is moved; any file system can be
        encrypted so.
    type: str
    choices: [auto, shrink, grow, header]
    default: auto
  mount:
    description:
      - Where the file system has to be mounted, if it is mounted. It is refused where it is mounted elsewhere.
    type: path
  busy:
    description:
      - What is done with processes that have files open there when it is to be unmounted, beside those of
        O(stop_units).
      - V(refuse) names them and changes nothing. V(terminate) ends them, first by C(TERM) and after ten seconds by
        C(KILL).
    type: str
    choices: [refuse, terminate]
    default: refuse
  stop_units:
    description:
      - Units of systemd that are stopped before the unmount, and started again after the mount.
    type: list
    elements: str
    default: []
  volume_key:
    description:
      - A word of your own for the volume key, such as a date. It is kept in the header. Another word than the one
        there has the volume encrypted with a new volume key, while it is in use; so has the first one, but with an
        encryption by this module, whose key it then names.
    type: str
  other_keyslots:
    description:
      - What is done with keyslots that the secret does not open, when there is to be a new volume key. cryptsetup can
        take only those along whose secret it has.
      - V(refuse) names them and changes nothing. V(drop) loses them; enrol them again when the work has ended.
    type: str
    choices: [refuse, drop]
    default: refuse
  encryptions:
    description:
      - Several volumes; for each the options above.
    type: list
    elements: dict
    suboptions:
      device:
        description:
          - As O(device).
        type: str
        required: true
      header:
        description:
          - As O(header).
        type: path
      name:
        description:
          - As O(name).
        type: str
      passphrase:
        description:
          - As O(passphrase).
        type: str
      passphrase_encoding:
        description:
          - As O(passphrase_encoding).
        type: str
        choices: [text, base64]
        default: text
      key_file:
        description:
          - As O(key_file).
        type: path
      state:
        description:
          - As O(state).
        type: str
        choices: [encrypted, plain]
        default: encrypted
      uuid:
        description:
          - As O(uuid).
        type: str
      type:
        description:
          - As O(type).
        type: str
        choices: [luks2]
      cipher:
        description:
          - As O(cipher).
        type: str
      key_bits:
        description:
          - As O(key_bits).
        type: int
      sector_size:
        description:
          - As O(sector_size).
        type: int
        choices: [512, 1024, 2048, 4096]
      pbkdf:
        description:
          - As O(pbkdf).
        type: dict
        suboptions:
          type:
            description: The function.
            type: str
            choices: [argon2id, argon2i, pbkdf2]
          memory:
            description: KiB of memory, of the first two.
            type: int
          time:
            description: Milliseconds that an unlock is to take on this host.
            type: int
          iterations:
            description: Passes over the memory, or iterations of V(pbkdf2), instead of a time.
            type: int
          threads:
            description: Threads, of the first two.
            type: int
      room:
        description:
          - As O(room).
        type: str
        choices: [auto, shrink, grow, header]
        default: auto
      mount:
        description:
          - As O(mount).
        type: path
      busy:
        description:
          - As O(busy).
        type: str
        choices: [refuse, terminate]
        default: refuse
      stop_units:
        description:
          - As O(stop_units).
        type: list
        elements: str
        default: []
      volume_key:
        description:
          - As O(volume_key).
        type: str
      other_keyslots:
        description:
          - As O(other_keyslots).
        type: str
        choices: [refuse, drop]
        default: refuse
  backup_folder:
    description:
      - Where header backups are kept, as M(rootoftrust.linux.luks_header_backup) keeps them.
    type: path
    default: /var/lib/rootoftrust/luks_headers
  wait:
    description:
      - Whether to wait until the work in the background has ended, and show how far it is.
      - The waiting is the controller's. Where that ends, the work goes on.
    type: bool
    default: true
  poll:
    description:
      - Seconds between two looks while waiting.
    type: int
    default: 5
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
notes:
  - A new volume key is needed where somebody may have got hold of the header and a passphrase that was valid then; a
    new passphrase does not help against that.
seealso:
  - module: rootoftrust.linux.luks_info
  - module: rootoftrust.linux.luks_container
  - module: rootoftrust.linux.crypttab_entry
"""

EXAMPLES = r"""
- name: Make a file as large as the volume
  ansible.builtin.command:
    cmd: truncate -s 160M /var/tmp/example-encryption.img
    creates: /var/tmp/example-encryption.img

- name: Put a small file system in it
  ansible.builtin.command:
    cmd: mkfs.ext4 -q -F /var/tmp/example-encryption.img 80M
  register: made
  changed_when: made.rc == 0

- name: Have loop devices
  community.general.modprobe:
    name: loop

- name: Make it a block device
  ansible.builtin.command:
    cmd: losetup --find --show /var/tmp/example-encryption.img
  register: loop
  changed_when: loop.rc == 0

- name: Encrypt it, with what is in it kept, and see how it goes on
  rootoftrust.linux.luks_encryption:
    device: "{{ loop.stdout }}"
    name: example_encryption
    passphrase: a passphrase of an example
    pbkdf:
      type: argon2id
      memory: 65536
      iterations: 4
    wait: true
    poll: 1

- name: Give it another volume key, and call that "2027"
  rootoftrust.linux.luks_encryption:
    device: "{{ loop.stdout }}"
    passphrase: a passphrase of an example
    volume_key: "2027"

- name: Close it
  ansible.builtin.command:
    cmd: cryptsetup close example_encryption
    removes: /dev/mapper/example_encryption

- name: Give the loop device back
  ansible.builtin.command:
    cmd: losetup --detach {{ loop.stdout }}
    removes: "{{ loop.stdout }}"
"""

RETURN = r"""
encryptions:
  description: The volumes, in the order in which they were asked for, as they are after the run.
  type: list
  elements: dict
  returned: success
  contains:
    device:
      description: As asked for.
      type: str
    path:
      description: Path of the device.
      type: str
    name:
      description: Name of the mapping.
      type: str
    uuid:
      description: UUID of the LUKS header; null in check mode where cryptsetup has still to choose it.
      type: str
    state:
      description: V(plain), V(encrypting), V(encrypted), V(reencrypting) or V(decrypting).
      type: str
    progress:
      description: How far a reencryption is, as M(rootoftrust.linux.luks_info) tells it; null where there is none.
      type: dict
    running:
      description: Whether the unit is at work.
      type: bool
    finished:
      description: Whether nothing is left to be done.
      type: bool
    unit:
      description: The unit that does the work, while there is one.
      type: str
    mount:
      description: Where the file system is mounted; null where it is not.
      type: str
    away_seconds:
      description: For how many seconds this run had the file system unmounted; null if it had not.
      type: float
    drift:
      description: >-
        What is not as asked for and changes only with the volume key, or by a secret that is not given; each C(field), C(is), C(asked).
      type: list
      elements: dict
waited_seconds:
  description: How long was waited for the work in the background.
  type: float
  returned: when O(wait=true) and there was something to wait for
steps:
  description: What was done, or would be, in sentences.
  type: list
  elements: str
  returned: always
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import converge
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec, objects, one_or_many
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.decryption import Volumes
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.encryption import wish
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.options import ENCRYPTION_OPTIONS
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_decryption import plan_volumes
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_encryption import report_encryptions

SPEC = one_or_many("encryptions", "device", ENCRYPTION_OPTIONS).merge(
    Spec(
        options={
            "backup_folder": {"type": "path", "default": "/var/lib/rootoftrust/luks_headers"},
            "wait": {"type": "bool", "default": True},
            "poll": {"type": "int", "default": 5},
        }
    )
)


def main() -> None:
    module = SPEC.create_module()
    volumes = Volumes(Runner(module), module.params["backup_folder"])
    converge(
        module,
        desired=objects(module.params, "encryptions", ENCRYPTION_OPTIONS),
        read=lambda asked: volumes.read([wish(item) for item in asked]),
        plan=lambda situations, _asked: plan_volumes(situations),
        apply=volumes.apply,
        report=report_encryptions,
    )


if __name__ == "__main__":
    main()
