#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Have keyslots for secrets."""

from __future__ import annotations

DOCUMENTATION = r"""
module: luks_keyslot
short_description: Have a LUKS volume open by a secret, or not
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Has a keyslot for a passphrase or a key file, known by a name and a version. Both are in a token of the header, so that a
    run that changes nothing derives no key and needs no secret. The token holds nothing that is made from the secret.
  - A secret that opens a keyslot already is given the name; nothing is added then.
  - A new keyslot is noted in the header, added, proven by opening exactly that keyslot, and named; only then the one it
    replaces is removed. A run that is cut at any moment leaves the volume with its old ways in, and the next run goes on.
  - It refuses to remove the last way in.
  - On LUKS1 there are no tokens. Each run tries the secret on the keyslots, which takes seconds, and a keyslot has no name,
    so that an old secret has to be made absent by itself.
  - While a reencryption is under way cryptsetup changes neither keyslots nor tokens; that is refused here before anything is done.
options:
  device:
    description:
      - The volume, a block device or a regular file, by its absolute path or as C(UUID=), C(PARTUUID=), C(LABEL=),
        C(PARTLABEL=).
    type: str
  header:
    description: The detached header, where the volume has one.
    type: path
  state:
    description:
      - V(present), the secret opens the volume by a keyslot of this O(name) and O(version).
      - V(absent), it does not. Which keyslot goes is said by O(name), or by O(keyslot), or else by the secret itself, which is
        tried on each keyslot at every run. A keyslot that a token of systemd or clevis refers to is refused, and so is the
        last way in. A key file stays.
    type: str
    choices: [present, absent]
    default: present
  name:
    description:
      - By which later runs know the keyslot. Letters, digits, and C(_), C(.), C(-).
      - Needed with O(state=present) on LUKS2. Refused on LUKS1, which has nowhere to keep it.
    type: str
  version:
    description:
      - A word of yours, V(1) if left out. Another version than the one that is there asks for another secret. It is added and
        proven, and then the keyslot of the old version is removed. If the secret is still the old one, that is an error.
    type: str
  passphrase:
    description:
      - The secret that the keyslot is for. With a keyslot of that name and version there, it is not needed.
      - It is text without an end of line, as a person types it at boot.
    type: str
  passphrase_encoding:
    description: V(base64) for bytes that are no text.
    type: str
    choices: [text, base64]
    default: text
  key_file:
    description:
      - A file on the host that holds the secret and nothing else, byte for byte; an end of line counts. At most 64 KiB.
      - Where it is gone while the keyslot for it is there, that is an error.
    type: path
  create_key_file:
    description:
      - Make O(key_file), of 64 random bytes, mode 0400, if it is missing and no keyslot of that name and version says that it
        should be there. Its folder is made with mode 0700.
      - With another O(version), a key file that still opens the keyslot of the old one is replaced, after the new one is proven.
    type: bool
    default: false
  unlock:
    description:
      - A secret that opens the volume already. Needed to add a keyslot.
      - With O(state=absent) it is not needed. Where it is given it has to open a keyslot that stays.
    type: dict
    suboptions:
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
  keyslot:
    description:
      - The number for a keyslot that is added, or of one that is to be absent. One that is there is not moved.
      - Left out, the highest free number is taken. Other programs take the lowest, so that what they add is not mistaken for
        what a run that was cut has left.
    type: int
  priority:
    description:
      - V(prefer), tried before others; V(ignore), tried only when asked for by number. Left out, it stays as it is.
    type: str
    choices: [prefer, normal, ignore]
  pbkdf:
    description: How the passphrase becomes a key. It counts when a keyslot is added; one that is there is not changed.
    type: dict
    suboptions:
      type:
        description: Left out, as cryptsetup was built.
        type: str
        choices: [argon2id, argon2i, pbkdf2]
      memory:
        description:
          - KiB. Left out, a quarter of C(MemAvailable) in C(/proc/meminfo), at least 64 MiB and at most 1 GiB, which is what
            cryptsetup is built with.
        type: int
      time:
        description: Milliseconds that unlocking should take on this host, which is measured; left out, 2000.
        type: int
      iterations:
        description: Passes over the memory, or iterations of pbkdf2, instead of O(pbkdf.time).
        type: int
      threads:
        description: In parallel.
        type: int
  count_tokens:
    description:
      - With O(state=absent), whether a keyslot that only a TPM, a FIDO2 or PKCS#11 device or clevis opens counts as a way in.
      - Left out, at least one keyslot for a passphrase, a key file or a recovery key has to stay.
    type: bool
    default: false
  keyslots:
    description:
      - Several keyslots, in the order in which they are to be changed; for each the options above.
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
      name:
        description: As O(name).
        type: str
      version:
        description: As O(version).
        type: str
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
      create_key_file:
        description: As O(create_key_file).
        type: bool
        default: false
      unlock:
        description: As O(unlock).
        type: dict
        suboptions:
          passphrase:
            description: As O(unlock.passphrase).
            type: str
          passphrase_encoding:
            description: As O(unlock.passphrase_encoding).
            type: str
            choices: [text, base64]
            default: text
          key_file:
            description: As O(unlock.key_file).
            type: path
      keyslot:
        description: As O(keyslot).
        type: int
      priority:
        description: As O(priority).
        type: str
        choices: [prefer, normal, ignore]
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
      count_tokens:
        description: As O(count_tokens).
        type: bool
        default: false
  verify:
    description:
      - Try the secret of a keyslot that is there, which takes as long as unlocking. One that it does not open is replaced.
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
  - module: rootoftrust.linux.luks_info
  - module: rootoftrust.linux.luks_recovery_key
  - module: rootoftrust.linux.luks_header_backup
"""

EXAMPLES = r"""
- name: Make a passphrase for a volume to try this on
  ansible.builtin.copy:
    content: a passphrase of an example
    dest: /run/example-keyslot.key
    mode: "0600"

- name: Make a file as large as the volume
  ansible.builtin.command:
    cmd: truncate -s 32M /run/example-keyslot.img
    creates: /run/example-keyslot.img

- name: Make a small volume in it, with a key derivation that costs nothing and protects nothing
  ansible.builtin.command:
    cmd: >-
      cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000
      --key-file /run/example-keyslot.key /run/example-keyslot.img

- name: Have it open by a key file at boot, which is made if it is missing
  rootoftrust.linux.luks_keyslot:
    device: /run/example-keyslot.img
    name: boot
    key_file: /run/example-keys.d/example.key
    create_key_file: true
    priority: prefer
    unlock:
      passphrase: a passphrase of an example

- name: Rotate the key file, and have a passphrase for the administrators beside it
  rootoftrust.linux.luks_keyslot:
    keyslots:
      - device: /run/example-keyslot.img
        name: boot
        version: "2"
        key_file: /run/example-keys.d/example.key
        create_key_file: true
        unlock:
          passphrase: a passphrase of an example
      - device: /run/example-keyslot.img
        name: admin
        version: november
        passphrase: another passphrase of an example
        pbkdf:
          memory: 65536
          iterations: 4
        unlock:
          passphrase: a passphrase of an example

- name: Have the first passphrase open it no more
  rootoftrust.linux.luks_keyslot:
    device: /run/example-keyslot.img
    state: absent
    passphrase: a passphrase of an example
    unlock:
      passphrase: another passphrase of an example

- name: Prove that both of the others do
  rootoftrust.linux.luks_keyslot:
    verify: true
    keyslots:
      - device: /run/example-keyslot.img
        name: boot
        version: "2"
        key_file: /run/example-keys.d/example.key
      - device: /run/example-keyslot.img
        name: admin
        version: november
        passphrase: another passphrase of an example
"""

RETURN = r"""
keyslots:
  description: The keyslots, in the order in which they were asked for, as they are, or will be.
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
    name:
      description: As asked for.
      type: str
    version:
      description: As asked for; null where the keyslot is absent, or has no name.
      type: str
    state:
      description: As asked for.
      type: str
    keyslot:
      description: Its number; null where it is absent.
      type: int
steps:
  description: What was done, or would be, in sentences.
  type: list
  elements: str
  returned: always
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import converge
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec, objects, one_or_many
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.keyslots import Keyslots
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.options import KEYSLOT_OPTIONS
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_keyslots import plan_keyslots, report_keyslots

SPEC = one_or_many("keyslots", "device", KEYSLOT_OPTIONS).merge(Spec(options={"verify": {"type": "bool", "default": False}}))


def main() -> None:
    module = SPEC.create_module()
    keyslots = Keyslots(Runner(module), module.params["verify"])
    converge(
        module,
        desired=objects(module.params, "keyslots", KEYSLOT_OPTIONS),
        read=keyslots.read,
        plan=lambda asked, _options: plan_keyslots(asked),
        apply=keyslots.apply,
        report=report_keyslots,
    )


if __name__ == "__main__":
    main()
