#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Have recovery keys that only their recipients can read."""

from __future__ import annotations

DOCUMENTATION = r"""
module: luks_recovery_key
short_description: Have a recovery key for a LUKS volume that only its recipients can read
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Makes a recovery key on the host, encrypts it there to OpenPGP public keys, and has a keyslot for it. The key itself is
    never written, shown or sent; only its ciphertext is kept, which RV(recovery_keys[].path) names.
  - The key is 256 random bits as eight groups of eight letters, joined by hyphens, as C(systemd-cryptenroll) makes them.
    A person types it where a passphrase is asked for, hyphens included.
  - The keyslot is noted in the header, added, and proven by opening exactly that keyslot; then the ciphertext gets its name, and
    the keyslot its own in a token of the header, with the ciphertext's SHA-256 and the recipients' fingerprints. A run that is cut
    at any moment leaves a recovery key that was there usable, and the next run goes on.
  - Where the ciphertext is gone or is another, a new key is made, and then the keyslot of the old one is removed.
  - A run that changes nothing derives no key and asks for no secret. gpg uses no network, no keyring and no agent.
  - What only a recipient can do is to decrypt it. Have one of them prove it.
requirements:
  - gpg on the host (Debian package gpg)
options:
  device:
    description:
      - The volume, LUKS2, a block device or a regular file, by its absolute path or as C(UUID=), C(PARTUUID=), C(LABEL=),
        C(PARTLABEL=).
    type: str
  header:
    description: The detached header, where the volume has one.
    type: path
  state:
    description: With V(absent) its keyslot goes. Ciphertexts stay, and open nothing any more.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: By which later runs know it. Letters, digits, and C(_), C(.), C(-).
    type: str
    default: recovery
  version:
    description:
      - A word of yours, V(1) if left out. With another than the one that is there, a new key is made, and then the keyslot of the
        old one is removed; its ciphertext stays, for a header backup of its time is opened by it.
    type: str
  keep_older:
    description:
      - Leave the keyslots of other versions as they are, until the ciphertext of this one is where it is to be kept. A later run
        without this removes them.
    type: bool
    default: false
  recipients:
    description:
      - OpenPGP public keys of those who may read it, each in ASCII armour. Needed with O(state=present).
      - Other recipients than those it was made for bring a new key. One whose key has expired since brings a warning.
      - A key that is revoked, expired, or without an encryption subkey in use is refused before anything is changed.
    type: list
    elements: str
  folder:
    description:
      - Where the ciphertexts are, as C(UUID-NAME-VERSION.asc), with mode 0400. If missing it is made with mode 0700.
      - Fetch them. On the host itself they help nobody once the volume that holds them cannot be opened.
    type: path
    default: /var/lib/rootoftrust/luks_recovery
  unlock:
    description:
      - A secret that opens the volume already. Needed to add the keyslot.
      - With O(state=absent) it is not needed. Where it is given it has to open a keyslot that stays.
    type: dict
    suboptions:
      passphrase:
        description: Text, without an end of line.
        type: str
      passphrase_encoding:
        description: V(base64) for bytes that are no text.
        type: str
        choices: [text, base64]
        default: text
      key_file:
        description: A file on the host that holds the secret and nothing else, byte for byte; an end of line counts.
        type: path
  keyslot:
    description: The number for a keyslot that is added; left out, the highest that is free.
    type: int
  priority:
    description: As C(priority) of M(rootoftrust.linux.luks_keyslot).
    type: str
    choices: [prefer, normal, ignore]
  pbkdf:
    description:
      - How the key that is typed becomes one that opens. It counts when a keyslot is added.
      - Left out, pbkdf2 with 1000 iterations. 256 random bits are not guessed however fast a guess is, and a rescue system may have
        little memory.
    type: dict
    suboptions:
      type:
        description: Left out, as cryptsetup was built.
        type: str
        choices: [argon2id, argon2i, pbkdf2]
      memory:
        description: KiB.
        type: int
      time:
        description: Milliseconds that unlocking should take on this host, which is measured.
        type: int
      iterations:
        description: Passes over the memory, or iterations of pbkdf2, instead of O(pbkdf.time).
        type: int
      threads:
        description: In parallel.
        type: int
  count_tokens:
    description: With O(state=absent), whether a keyslot that only a TPM, a FIDO2 or PKCS#11 device or clevis opens counts as a way in.
    type: bool
    default: false
  recovery_keys:
    description:
      - Several recovery keys, in the order in which they are to be changed; for each the options above.
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
        default: recovery
      version:
        description: As O(version).
        type: str
      keep_older:
        description: As O(keep_older).
        type: bool
        default: false
      recipients:
        description: As O(recipients).
        type: list
        elements: str
      folder:
        description: As O(folder).
        type: path
        default: /var/lib/rootoftrust/luks_recovery
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
  - module: rootoftrust.linux.luks_keyslot
  - module: rootoftrust.linux.luks_header_backup
"""

EXAMPLES = r"""
- name: Make a passphrase for a volume to try this on
  ansible.builtin.copy:
    content: a passphrase of an example
    dest: /run/example-recovery.key
    mode: "0600"

- name: Make a file as large as the volume
  ansible.builtin.command:
    cmd: truncate -s 32M /run/example-recovery.img
    creates: /run/example-recovery.img

- name: Make a small volume in it, with a key derivation that costs nothing and protects nothing
  ansible.builtin.command:
    cmd: >-
      cryptsetup luksFormat -q --type luks2 --pbkdf pbkdf2 --pbkdf-force-iterations 1000
      --key-file /run/example-recovery.key /run/example-recovery.img

- name: Make a folder for the keys of one who may recover it, who has it elsewhere, of course
  ansible.builtin.file:
    path: /run/example-gnupg
    state: directory
    mode: "0700"

- name: Make these keys
  ansible.builtin.command:
    cmd: gpg --homedir /run/example-gnupg --batch --passphrase '' --quick-generate-key recovery@example.com future-default default never
    creates: /run/example-gnupg/pubring.kbx

- name: Ask for the public key
  ansible.builtin.command:
    cmd: gpg --homedir /run/example-gnupg --batch --armor --export recovery@example.com
  changed_when: false
  register: public

- name: Have a recovery key
  rootoftrust.linux.luks_recovery_key:
    device: /run/example-recovery.img
    recipients:
      - "{{ public.stdout }}"
    unlock:
      passphrase: a passphrase of an example
  register: recovery

- name: Have the ciphertext on the controller too
  ansible.builtin.debug:
    msg: "Fetch {{ recovery.recovery_keys[0].path }}"

- name: Make a new one, after the old one has been used
  rootoftrust.linux.luks_recovery_key:
    recovery_keys:
      - device: /run/example-recovery.img
        version: "2"
        recipients:
          - "{{ public.stdout }}"
        unlock:
          passphrase: a passphrase of an example
"""

RETURN = r"""
recovery_keys:
  description: The recovery keys, in the order in which they were asked for, as they are, or will be.
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
      description: As asked for; null where it is absent.
      type: str
    state:
      description: As asked for.
      type: str
    keyslot:
      description: The number of its keyslot; null where it is absent.
      type: int
    path:
      description: The ciphertext; null where the recovery key is absent.
      type: str
    sha256:
      description: SHA-256 of the ciphertext; null where the recovery key is absent, and in check mode where it is still to be made.
      type: str
    recipients:
      description: Fingerprints of the keys to which it is encrypted.
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
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import objects, one_or_many
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.options import RECOVERY_OPTIONS
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_keyslots import plan_keyslots
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_recovery import report_recovery
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.recovery_keys import RecoveryKeys

SPEC = one_or_many("recovery_keys", "device", RECOVERY_OPTIONS)


def main() -> None:
    module = SPEC.create_module()
    recovery_keys = RecoveryKeys(Runner(module))
    converge(
        module,
        desired=objects(module.params, "recovery_keys", RECOVERY_OPTIONS),
        read=recovery_keys.read,
        plan=lambda asked, _options: plan_keyslots(asked),
        apply=recovery_keys.apply,
        report=report_recovery,
    )


if __name__ == "__main__":
    main()
