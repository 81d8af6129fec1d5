#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Have a LUKS volume opened by a TPM, an authenticator, a security token, or clevis."""

from __future__ import annotations

DOCUMENTATION = r"""
module: luks_token
short_description: Have a LUKS volume opened by a TPM, FIDO2, PKCS#11 or clevis, each proven by a test unlock
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Enrols tokens in LUKS2 headers, by C(systemd-cryptenroll) or C(clevis), and removes them with their keyslots.
  - What is enrolled is proven at once by a test unlock; a token that does not open the volume is removed again, and the
    task fails. With O(verify) the tokens that are there are tried too; a dead one, because the TPM was cleared or a PCR
    has changed, is told and enrolled again.
  - Whether there is anything to do is seen in the header, without any key derivation and without O(unlock).
  - A run that was cut between the keyslot, the token and the proof is finished by the next one; a note in the header, a
    token of the type C(rootoftrust-pending), tells it what was there before.
  - The last keyslot that opens a volume is never removed. A token is neither enrolled nor removed while the volume is
    being reencrypted, for cryptsetup writes none then.
options:
  device:
    description:
      - A block device or a regular file, by its absolute path or as C(UUID=), C(PARTUUID=), C(LABEL=), C(PARTLABEL=).
    type: str
  header:
    description: The detached header, where the volume has one.
    type: path
  kind:
    description:
      - What opens the volume. It has to be given.
      - V(tpm2), V(fido2) and V(pkcs11) need systemd 252 or later, and C(systemd-cryptenroll) (Debian 12 has it in the
        package systemd, later releases in systemd-cryptsetup, Debian 11 not at all).
      - V(clevis) needs the package clevis, and at boot clevis-systemd.
    type: str
    choices: [tpm2, fido2, pkcs11, clevis]
  state:
    description:
      - With V(absent) the tokens of this kind go, each with its keyslot; those options that are given narrow them down.
    type: str
    choices: [present, absent]
    default: present
  exclusive:
    description:
      - Remove other tokens of the same kind from the volume, once the one asked for is proven. All those that the same
        task asks for stay. So the PCRs of a token are changed.
      - Otherwise others stay, with a warning.
    type: bool
    default: false
  unlock:
    description:
      - A secret that opens the volume already. It is needed where a token is to be enrolled.
    type: dict
    suboptions:
      passphrase:
        description: The passphrase; no end of line belongs to it.
        type: str
      passphrase_encoding:
        description: Whether the passphrase is text, or bytes as base64.
        type: str
        choices: [text, base64]
        default: text
      key_file:
        description: A file on the managed host, which counts as it is, with its end of line where it has one.
        type: path
  tpm2_device:
    description: Of V(tpm2), the device, as C(systemd-cryptenroll) takes it.
    type: str
    default: auto
  tpm2_pcrs:
    description:
      - Of V(tpm2), the platform configuration registers that must be as they are now for the TPM to open the volume.
      - It has to be given, for the programs' defaults differ; an empty list binds the token to none.
    type: list
    elements: int
  tpm2_pcr_bank:
    description:
      - Of V(tpm2), the hash of the registers; if left out systemd chooses SHA-256 where the TPM has it. Needs systemd 255.
    type: str
    choices: [sha1, sha256, sha384, sha512]
  tpm2_with_pin:
    description:
      - Of V(tpm2), whether unlocking asks for a PIN; if left out, whether O(tpm2_pin) is given.
    type: bool
  tpm2_pin:
    description:
      - Of V(tpm2), the PIN. It is needed to enrol and to verify.
      - Another PIN is not seen in the header; with O(verify) the token does not open with it, and is enrolled with it anew.
        Each such trial is one of those that the TPM counts before it takes no PIN for a time.
    type: str
  fido2_device:
    description: Of V(fido2), the device, as C(systemd-cryptenroll) takes it.
    type: str
    default: auto
  fido2_with_pin:
    description: Of V(fido2), whether unlocking asks for the authenticator's PIN; if left out it does.
    type: bool
  fido2_with_user_presence:
    description: Of V(fido2), whether the authenticator has to be touched.
    type: bool
    default: true
  fido2_with_user_verification:
    description: Of V(fido2), whether the authenticator has to recognise its user.
    type: bool
    default: false
  fido2_pin:
    description:
      - Of V(fido2), the authenticator's PIN. Needs systemd 256, and C(libfido2) 1.6.
      - It is tried once, and not where one more wrong one would lock the authenticator.
    type: str
  pkcs11_uri:
    description:
      - Of V(pkcs11), the URI (RFC 7512) of a certificate or public key on the security token, C(pkcs11:token=…;object=…).
    type: str
  pkcs11_pin:
    description:
      - Of V(pkcs11), the PIN of the security token. Needs systemd 256.
      - It is tried once, and not where one more wrong one would lock the token.
    type: str
  clevis_pin:
    description: Of V(clevis), what it calls a pin, its method.
    type: str
    choices: [tang, tpm2, sss]
  clevis_config:
    description:
      - Of V(clevis), the configuration of the pin, as C(clevis encrypt) takes it.
      - Of V(tang) C(url) and C(thp), the thumbprint of the server's key. Without it whoever answers first would be trusted,
        which is refused.
      - Of V(tpm2) C(pcr_ids), with an empty text for none, and C(pcr_bank), C(hash), C(key) where wanted.
      - Of V(sss) the threshold C(t), and C(pins) with configurations by pin.
    type: dict
  tokens:
    description:
      - Several tokens, of one volume or more; for each the options above.
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
      kind:
        description: As O(kind).
        type: str
        choices: [tpm2, fido2, pkcs11, clevis]
      state:
        description: As O(state).
        type: str
        choices: [present, absent]
        default: present
      exclusive:
        description: As O(exclusive).
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
      tpm2_device:
        description: As O(tpm2_device).
        type: str
        default: auto
      tpm2_pcrs:
        description: As O(tpm2_pcrs).
        type: list
        elements: int
      tpm2_pcr_bank:
        description: As O(tpm2_pcr_bank).
        type: str
        choices: [sha1, sha256, sha384, sha512]
      tpm2_with_pin:
        description: As O(tpm2_with_pin).
        type: bool
      tpm2_pin:
        description: As O(tpm2_pin).
        type: str
      fido2_device:
        description: As O(fido2_device).
        type: str
        default: auto
      fido2_with_pin:
        description: As O(fido2_with_pin).
        type: bool
      fido2_with_user_presence:
        description: As O(fido2_with_user_presence).
        type: bool
        default: true
      fido2_with_user_verification:
        description: As O(fido2_with_user_verification).
        type: bool
        default: false
      fido2_pin:
        description: As O(fido2_pin).
        type: str
      pkcs11_uri:
        description: As O(pkcs11_uri).
        type: str
      pkcs11_pin:
        description: As O(pkcs11_pin).
        type: str
      clevis_pin:
        description: As O(clevis_pin).
        type: str
        choices: [tang, tpm2, sss]
      clevis_config:
        description: As O(clevis_config).
        type: dict
  verify:
    description:
      - Try each token that is asked for. It costs a round trip to the TPM, the authenticator or the server, and a key
        derivation, on each run.
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
notes:
  - At boot, a volume with a token of systemd needs a line in crypttab with C(tpm2-device=auto), C(fido2-device=auto) or
    C(pkcs11-uri=auto), and for data volumes C(nofail). Tang needs the network, so the option C(_netdev).
  - Debian's own initramfs does not know those options; a root volume needs clevis-initramfs or dracut.
  - A reencryption that changes the volume key destroys the keyslots of all tokens; the next run enrols them again.
  - A TPM that is used for the first time gets a storage root key at 0x81000001 from systemd 254 and later.
  - V(kind=fido2) was written after the manual and has not been tried with an authenticator; two authenticators with the
    same flags cannot be told apart by the header.
seealso:
  - module: rootoftrust.linux.luks_info
  - module: rootoftrust.linux.crypttab_entry
"""

EXAMPLES = r"""
- name: Have clevis, and a Tang server to try this with
  ansible.builtin.apt:
    name: [clevis, tang]
    install_recommends: false

- name: Have the server answer
  ansible.builtin.systemd_service:
    name: tangd.socket
    state: started

- name: Ask for its thumbprint, which else comes from its administrator
  ansible.builtin.command:
    cmd: tang-show-keys
  changed_when: false
  register: tang
  until: tang.stdout | length > 0
  retries: 5
  delay: 1

- name: Make a passphrase for a volume to try this on
  ansible.builtin.copy:
    content: a passphrase of an example
    dest: /run/example-token.key
    mode: "0600"

- name: Make a file as large as the volume
  ansible.builtin.command:
    cmd: truncate -s 32M /run/example-token.img
    creates: /run/example-token.img

- name: Make a small volume in it, with a key derivation that costs nothing and protects nothing
  ansible.builtin.command:
    cmd: >-
      cryptsetup luksFormat -q --type luks2 --pbkdf argon2id --pbkdf-memory 32 --pbkdf-force-iterations 4
      --key-file /run/example-token.key /run/example-token.img

- name: Have it opened by the Tang server
  rootoftrust.linux.luks_token:
    device: /run/example-token.img
    kind: clevis
    clevis_pin: tang
    clevis_config:
      url: http://127.0.0.1
      thp: "{{ tang.stdout }}"
    unlock:
      key_file: /run/example-token.key

- name: See that it still opens it
  rootoftrust.linux.luks_token:
    device: /run/example-token.img
    kind: clevis
    clevis_pin: tang
    clevis_config:
      url: http://127.0.0.1
      thp: "{{ tang.stdout }}"
    unlock:
      key_file: /run/example-token.key
    verify: true

- name: Look for a TPM
  ansible.builtin.stat:
    path: /dev/tpmrm0
  register: tpm

- name: Have it opened by the TPM as long as Secure Boot is as it is, and by no other state of it
  rootoftrust.linux.luks_token:
    device: /run/example-token.img
    kind: tpm2
    tpm2_pcrs: [7]
    exclusive: true
    unlock:
      key_file: /run/example-token.key
  when: tpm.stat.exists

- name: Have it opened by clevis no more
  rootoftrust.linux.luks_token:
    device: /run/example-token.img
    kind: clevis
    state: absent
"""

RETURN = r"""
tokens:
  description: The tokens, in the order in which they were asked for, by volume.
  type: list
  elements: dict
  returned: success
  contains:
    device:
      description: As asked for.
      type: str
    kind:
      description: As asked for.
      type: str
    state:
      description: As asked for.
      type: str
    description:
      description: The token in words.
      type: str
      sample: "tpm2: PCRs 7"
    token:
      description: Its number in the header; null where it is absent, or in check mode still to be enrolled.
      type: int
    keyslots:
      description: The numbers of its keyslots.
      type: list
      elements: int
    proven:
      description: Whether this run has seen it open the volume after all changes; null where it was not tried once more.
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
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.options import TOKEN_OPTIONS
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_tokens import plan_tokens, report_tokens
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.tokens import Tokens

SPEC = one_or_many("tokens", "device", TOKEN_OPTIONS).merge(Spec(options={"verify": {"type": "bool", "default": False}}))


def main() -> None:
    module = SPEC.create_module()
    tokens = Tokens(Runner(module), module.params["verify"])
    converge(
        module,
        desired=objects(module.params, "tokens", TOKEN_OPTIONS),
        read=tokens.read,
        plan=lambda volumes, _asked: plan_tokens(volumes),
        apply=tokens.apply,
        report=report_tokens,
    )


if __name__ == "__main__":
    main()
