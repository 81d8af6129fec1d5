#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Have a key in the kernel, and keep it over boots."""

from __future__ import annotations

DOCUMENTATION = r"""
module: kernel_key
short_description: Have user, logon, trusted and encrypted keys in the kernel, and keep them over boots
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Makes keys in the kernel's keyrings, loads them from where they are kept, changes them and takes them away, through the kernel's own
    system calls. It needs no program on the managed host but modprobe, where a type of keys comes with a module of the kernel.
  - The kernel forgets all keys when it goes down. A trusted or encrypted key is kept as a O(blob), the payload of a user key made here in a
    O(file). A key that has one is in it before anything can use the key.
  - The kernel makes an encrypted key under a master that is not there, and never gives it out again; this module refuses. It makes and
    re-wraps no key under a master that is missing, or has fewer than 16 bytes.
  - A key that is there is compared with what is asked for by its format, length and master, and with its blob. C(evm-key) is
    the one exception, for EVM overwrites it in the kernel when it takes it, so that only its blob has it from then on.
notes:
  - Encrypted keys need the kernel's module C(encrypted-keys), trusted keys C(trusted) and a TPM or another source. They are loaded where
    they are not, until the next boot. Debian's kernels have no trusted keys; its release 11 has no encrypted keys either. An error says so.
  - The session keyring V(@s) is that of Ansible's connection and goes with it.
options:
  description:
    description: The key's name in the kernel. It has no blanks; a logon key's begins with a service and a colon.
    type: str
  type:
    description:
      - V(user) keys can be read by programs. V(logon) keys can only be used by the kernel.
      - V(trusted) keys are made and sealed by a TPM (or TEE, CAAM, DCP), V(encrypted) keys are made by the kernel and kept under a
        master key. Both leave the kernel as blobs only.
    type: str
    choices: [user, logon, trusted, encrypted]
    default: user
  keyring:
    description:
      - The keyring that it hangs in. V(@u) is the user's, which lasts while the machine runs; V(@us) and V(@s) are those of sessions,
        C(%:name) is a keyring by its name, and a number is a serial number. Names of keyrings in it may follow, as in V(@u/app); those
        that are not there are made.
      - The module reaches into V(@u) by itself, even where the session does not have it (as under systemd).
    type: str
    default: "@u"
  state:
    description:
      - V(present) has it there, alive. A key that has expired or been revoked is made or loaded anew.
      - V(absent) takes it out of its keyring. The key ends with its last keyring.
      - V(revoked) makes it useless at once for all who have it.
      - A master that keys in V(@u) are kept under is neither taken away nor revoked before them.
    type: str
    choices: [present, absent, revoked]
    default: present
  permissions:
    description: Its permissions as eight hexadecimal digits, as C(/proc/keys) and C(keyctl setperm) have them.
    type: str
  timeout:
    description:
      - Seconds after which it expires, counted from when it is made, loaded or first given a timeout. V(0) is never.
      - A timeout that runs already is left alone.
    type: int
  payload:
    description: What is in a user or logon key. Nothing is cut off or added.
    type: str
  payload_encoding:
    description: V(base64) for bytes that are no text.
    type: str
    choices: [text, base64]
    default: text
  payload_file:
    description: The payload as a file on the managed host. It counts byte for byte.
    type: path
  random:
    description: Have the payload made on the managed host, so many bytes.
    type: int
  file:
    description:
      - Where a payload made by O(random) is kept, mode 0400, to be loaded from at later boots. It is as safe as the disk that it lies
        on, and no safer. Where there is a TPM, take a trusted key.
      - If the file is gone and the key is not, the file is written anew from a key that can be read.
    type: path
  update_payload:
    description:
      - What to do where the key is there. V(changed) reads a user key and changes it if it is another one; what O(file) holds is not
        set against what the kernel holds, but an error. V(on_create) leaves it. V(always) writes it.
      - A logon key cannot be read. With V(changed) it is left as it is, and warned of; with V(always) it is written each time.
    type: str
    choices: [on_create, changed, always]
    default: changed
  length:
    description: Bytes of a new trusted (32 to 128) or encrypted key (20 to 4096; 64 for ecryptfs, 32 for enc32).
    type: int
  format:
    description: The format of an encrypted key. If left out, C(default).
    type: str
    choices: [default, ecryptfs, enc32]
  master:
    description:
      - The key under which an encrypted key is kept, as C(user:name) or C(trusted:name). It has to be there, or before it in O(keys).
    type: str
  blob:
    description:
      - The file that keeps a trusted or encrypted key, mode 0400. A key that is not in the kernel is loaded from it. It is made only
        where neither the key nor a blob of it is there, and comes into its keyring when the blob is on the disk.
      - A blob that is there is never overwritten, unless O(update) asks for it and the kernel has loaded what takes its place. Nor is it
        overwritten, or another one made beside it, from a key that may be another one than it holds.
    type: path
  update:
    description:
      - Whether a key under another O(master), or sealed differently, is re-wrapped or sealed anew. If V(false), it is an error.
      - It also lets a blob that is cut be written anew from the key in the kernel.
      - With O(pcrs), a blob is sealed anew when their values have changed, as long as the key is in the kernel or an alternative loads.
    type: bool
    default: false
  remove_files:
    description: Whether a key that is V(absent) or V(revoked) loses O(file), O(blob) and O(alternatives) too. It cannot come back then.
    type: bool
    default: false
  keyhandle:
    description: The TPM's key that seals a trusted key, such as V(0x81000001). A TPM 2.0 has no default.
    type: str
  keyauth:
    description: The authorisation of O(keyhandle), in hexadecimal.
    type: str
  blobauth:
    description: The authorisation of the sealed data, in hexadecimal.
    type: str
  pcrlock:
    description:
      - A PCR that is extended when the key comes into its keyring, so that a blob sealed to it does not load again before the next boot.
      - Nothing is sealed to that PCR any more in the same boot, for no later one would bring the value back.
    type: int
  migratable:
    description: Whether a trusted key may be sealed anew to other PCRs. If left out, it may. If V(false), it has no O(alternatives).
    type: bool
  pcrs:
    description:
      - The PCRs to whose values a trusted key is sealed, those of the moment at which it is. With other values the blob does not load.
      - With O(pcrinfo) or O(policydigest), the PCRs that these stand for, to be told where the TPM refuses.
      - Take those that are the same at each boot when the key is to be loaded. PCR 10 grows with all that IMA measures.
      - A TPM 2.0 takes a session for each loading, for which V(/dev/tpm0) must not be open elsewhere.
    type: list
    elements: int
  pcr_bank:
    description: The bank of O(pcrs). If left out, V(sha256) of a TPM 2.0, and V(sha1), the only one, of a TPM 1.2.
    type: str
    choices: [sha1, sha256, sha384, sha512]
  pcrinfo:
    description: PCRs and their values that a TPM 1.2 seals to, in hexadecimal.
    type: str
  policydigest:
    description: The digest of the policy that a TPM 2.0 seals to, in hexadecimal.
    type: str
  policyhandle:
    description: The handle of a policy session that fulfils it.
    type: str
  hash:
    description: The hash of O(policydigest), or of the policy made for O(pcrs), which is V(sha256) if it is left out.
    type: str
    choices: [sha1, sha256, sha384, sha512, sm3-256]
  alternatives:
    description: More blobs of a trusted key, sealed to other PCRs. They are tried in this order after O(blob), and made where they are not.
    type: list
    elements: dict
    suboptions:
      blob:
        description: The file.
        type: path
        required: true
      pcrs:
        description: As O(pcrs).
        type: list
        elements: int
      pcr_bank:
        description: As O(pcr_bank).
        type: str
        choices: [sha1, sha256, sha384, sha512]
      pcrinfo:
        description: As O(pcrinfo).
        type: str
      policydigest:
        description: As O(policydigest).
        type: str
      policyhandle:
        description: As O(policyhandle).
        type: str
      hash:
        description: As O(hash).
        type: str
        choices: [sha1, sha256, sha384, sha512, sm3-256]
  keys:
    description: Several keys; for each the options above. A master comes before its keys.
    type: list
    elements: dict
    suboptions:
      description:
        description: As O(description).
        type: str
        required: true
      type:
        description: As O(type).
        type: str
        choices: [user, logon, trusted, encrypted]
        default: user
      keyring:
        description: As O(keyring).
        type: str
        default: "@u"
      state:
        description: As O(state).
        type: str
        choices: [present, absent, revoked]
        default: present
      permissions:
        description: As O(permissions).
        type: str
      timeout:
        description: As O(timeout).
        type: int
      payload:
        description: As O(payload).
        type: str
      payload_encoding:
        description: As O(payload_encoding).
        type: str
        choices: [text, base64]
        default: text
      payload_file:
        description: As O(payload_file).
        type: path
      random:
        description: As O(random).
        type: int
      file:
        description: As O(file).
        type: path
      update_payload:
        description: As O(update_payload).
        type: str
        choices: [on_create, changed, always]
        default: changed
      length:
        description: As O(length).
        type: int
      format:
        description: As O(format).
        type: str
        choices: [default, ecryptfs, enc32]
      master:
        description: As O(master).
        type: str
      blob:
        description: As O(blob).
        type: path
      update:
        description: As O(update).
        type: bool
        default: false
      remove_files:
        description: As O(remove_files).
        type: bool
        default: false
      keyhandle:
        description: As O(keyhandle).
        type: str
      keyauth:
        description: As O(keyauth).
        type: str
      blobauth:
        description: As O(blobauth).
        type: str
      pcrlock:
        description: As O(pcrlock).
        type: int
      migratable:
        description: As O(migratable).
        type: bool
      pcrs:
        description: As O(pcrs).
        type: list
        elements: int
      pcr_bank:
        description: As O(pcr_bank).
        type: str
        choices: [sha1, sha256, sha384, sha512]
      pcrinfo:
        description: As O(pcrinfo).
        type: str
      policydigest:
        description: As O(policydigest).
        type: str
      policyhandle:
        description: As O(policyhandle).
        type: str
      hash:
        description: As O(hash).
        type: str
        choices: [sha1, sha256, sha384, sha512, sm3-256]
      alternatives:
        description: As O(alternatives).
        type: list
        elements: dict
        suboptions:
          blob:
            description: The file.
            type: path
            required: true
          pcrs:
            description: As O(pcrs).
            type: list
            elements: int
          pcr_bank:
            description: As O(pcr_bank).
            type: str
            choices: [sha1, sha256, sha384, sha512]
          pcrinfo:
            description: As O(pcrinfo).
            type: str
          policydigest:
            description: As O(policydigest).
            type: str
          policyhandle:
            description: As O(policyhandle).
            type: str
          hash:
            description: As O(hash).
            type: str
            choices: [sha1, sha256, sha384, sha512, sm3-256]
extends_documentation_fragment:
  - rootoftrust.linux.attributes
  - rootoftrust.linux.attributes.actiongroup_kernel_keys
  - rootoftrust.linux.attributes.files
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - A logon key with O(update_payload=always) is written each time.
  platform:
    platforms: linux
    support: full
  safe_file_operations:
    support: full
seealso:
  - module: rootoftrust.linux.kernel_keyring
  - module: rootoftrust.linux.kernel_key_info
"""

EXAMPLES = r"""
- name: Have a master key on a host without a TPM, and a key under it
  rootoftrust.linux.kernel_key:
    keys:
      - description: kmk-user
        random: 32
        file: /etc/keys/kmk-user.blob
      - description: evm-key
        type: encrypted
        master: user:kmk-user
        length: 32
        blob: /etc/keys/evm-user.blob

- name: Have the key under another master
  rootoftrust.linux.kernel_key:
    keys:
      - description: kmk-next
        random: 32
        file: /etc/keys/kmk-next.blob
      - description: evm-key
        type: encrypted
        master: user:kmk-next
        length: 32
        blob: /etc/keys/evm-user.blob
        update: true

- name: Give the kernel a password for a file server, for a day
  rootoftrust.linux.kernel_key:
    description: cifs:a:198.51.100.7
    type: logon
    payload: user:a password of an example
    timeout: 86400

- name: Take the password away
  rootoftrust.linux.kernel_key:
    description: cifs:a:198.51.100.7
    type: logon
    state: absent
"""

RETURN = r"""
keys:
  description: The keys, in the order in which they were asked for, as they are after the steps, or would be.
  type: list
  elements: dict
  returned: success
  contains:
    description:
      description: Its name.
      type: str
    type:
      description: Its type.
      type: str
    keyring:
      description: The keyring, as it was asked for.
      type: str
    state:
      description: V(present), V(absent), V(expired) or V(revoked).
      type: str
    serial:
      description: Its serial number; null where it is absent, or before it is made.
      type: int
    permissions:
      description: Its permissions; null where it is absent, or before it is made with the kernel's own.
      type: str
    expires:
      description: When it expires in the words of C(/proc/keys), V(perm) for never.
      type: str
    master:
      description: Of an encrypted key, the name of its master.
      type: str
    blobs:
      description: Its blobs.
      type: list
      elements: str
    file:
      description: The file that its payload is kept in.
      type: str
steps:
  description: What was done, or would be, in sentences.
  type: list
  elements: str
  returned: always
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import converge
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import objects, one_or_many
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.keys import Keys
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.modprobe import Modprobe
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.options import KEY_OPTIONS
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.plan_keys import plan_keys, report_keys

SPEC = one_or_many("keys", "description", KEY_OPTIONS)


def main() -> None:
    module = SPEC.create_module()
    keys = Keys(Modprobe(Runner(module)))
    converge(
        module,
        desired=objects(module.params, "keys", KEY_OPTIONS),
        read=keys.read,
        plan=lambda found, _asked: plan_keys(found),
        apply=keys.apply,
        report=report_keys,
    )


if __name__ == "__main__":
    main()
