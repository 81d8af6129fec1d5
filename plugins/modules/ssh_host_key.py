#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Make SSH host keys, anew only for a reason."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ssh_host_key
short_description: Make SSH host keys, anew only for a reason
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Has the host keys of an SSH server present, readable by the server only, each with a public part that matches.
  - A missing key is made. An existing one is made anew only for a reason that O(regenerate) names, or when O(force)
    orders it. A wrong mode or owner, and a missing or foreign public part, are corrected without a new key.
  - A new key is made beside the old one, checked, and put in its place by renaming. At no moment, also if the power
    fails, is there a public part that does not match the private one, and a failure leaves the old key as it was. What
    a cut run left is cleared away by the next.
  - Before the first key is replaced C(sshd -t) has to accept the server's configuration. It is asked again afterwards;
    if it then refuses, the old key is put back.
  - The server is not reloaded. Until it is, it goes on presenting the old key; M(rootoftrust.linux.ssh_host_key_info)
    shows that.
options:
  type:
    description:
      - The type of one key.
      - Leave out both this and O(keys) to manage the keys that the server uses, which are those that its configuration
        names. Where it names none they are those that sshd looks for by itself (C(/etc/ssh/ssh_host_rsa_key),
        C(…_ecdsa_key), C(…_ed25519_key) and perhaps more) and that exist, or all of them if none exists.
      - V(mldsa44-ed25519) resists quantum computers. OpenSSH 10.6 has it, earlier releases need not.
      - V(dsa) can only be removed.
    type: str
    choices: [ed25519, rsa, ecdsa, mldsa44-ed25519, dsa]
  path:
    description:
      - The file of the private part; the public part is beside it, with C(.pub).
      - By default C(/etc/ssh/ssh_host_TYPE_key). A symbolic link is followed.
    type: path
  size:
    description:
      - Bits. For V(rsa) from 2048 to 16384, for V(ecdsa) 256, 384 or 521; the others have no choice.
      - A key is made with 3072 bits (V(rsa)) or 256 (V(ecdsa)) if this is left out.
      - An existing key with fewer bits than this is too small. If this is left out, an RSA key is too small below 2048
        bits.
    type: int
  comment:
    description:
      - The comment of a key that is made. By default C(root@) and the host's name. An existing key's comment is left
        alone.
    type: str
  state:
    description:
      - V(absent) removes both parts of the key. The last key that the server can load is not removed.
    type: str
    choices: [present, absent]
    default: present
  force:
    description:
      - Make the key anew without any other reason, each time. Beside O(keys) it holds for all of them.
    type: bool
    default: false
  keys:
    description:
      - Several keys; for each the options above.
    type: list
    elements: dict
    suboptions:
      type:
        description: As O(type).
        type: str
        choices: [ed25519, rsa, ecdsa, mldsa44-ed25519, dsa]
        required: true
      path:
        description: As O(path).
        type: path
      size:
        description: As O(size).
        type: int
      comment:
        description: As O(comment).
        type: str
      state:
        description: As O(state).
        type: str
        choices: [present, absent]
        default: present
      force:
        description: As O(force).
        type: bool
        default: false
  regenerate:
    description:
      - The reasons for which an existing key may be made anew. Others are told and left.
      - V(unreadable) - it is no key, cut short, empty, or encrypted with a passphrase.
      - V(wrong_type) - it is of another type than asked for.
      - V(too_small) - it has fewer bits than O(size).
      - V(listed) - its fingerprint is in O(bad_fingerprints).
      - V(cloned) - it was made before this machine became the one it is; see the notes.
    type: list
    elements: str
    choices: [unreadable, wrong_type, too_small, listed, cloned]
    default: [unreadable, wrong_type, too_small, listed, cloned]
  bad_fingerprints:
    description:
      - Fingerprints of keys that must not be used, such as those that several hosts of a fleet share.
      - C(SHA256:…), or C(MD5:…) with colons, as C(ssh-keygen -l) prints them.
    type: list
    elements: str
    default: []
  backup:
    description:
      - Keep the old pair under names with the time in UTC, as in C(ssh_host_rsa_key.20260131T120000Z~), with its mode.
      - An old private key is still a private key. Remove it when it is no longer needed.
    type: bool
    default: false
  server:
    description:
      - V(sshd) - there is an OpenSSH server on this host, which is asked before and after a key is replaced. Without
        one, the module fails.
      - V(none) - keys are made for a host that gets its server later, such as an image or an appliance.
    type: str
    choices: [sshd, none]
    default: sshd
notes:
  - |
    How a copied key is known (V(cloned)). When a key is made, or first met, this module notes for which machine, in
    C(/var/lib/rootoftrust/ssh_host_keys.json). A machine is known by the UUID or serial number that its firmware tells,
    and by its C(/etc/machine-id). The note holds digests from which neither can be had back.

    With a note, the two are compared. If the firmware's word is known both times it alone decides: another machine
    means a copied disk; the same one means no copy, even after a new machine-id. Otherwise the machine-id decides.

    Without a note, the key is a copy if it is older than C(/etc/machine-id), which an image's first boot writes: then
    it came with the image, and every machine from that image has it. The key's age is the time of its last change or of
    its coming to this disk, whichever is later, so a key that was put back from a backup onto a new installation is
    kept. A key that is not older is adopted: it is noted, which counts as a change.

    What follows from this. A host from the Debian installer keeps its keys, for its machine-id is made before them. A
    raw copy of a disk that gets a new machine-id gets new keys; the original keeps its own. A copy that keeps the
    machine-id, on a machine whose firmware tells nothing, cannot be told from its original. A new mainboard makes the
    keys count as copied; leave V(cloned) out of O(regenerate) for that run if they are to stay. In a container the
    firmware is that of its host and does not count. Where C(/etc/machine-id) is missing, empty, C(uninitialized), or
    mounted over (which systemd does on a read-only root, with a new one for each boot), nothing is concluded from it,
    and a warning says so. A clock that was wrong at the first boot can hide a copy.
  - For a key that only C(sshd) is to refuse, there is no need for this module; remove its C(HostKey) line.
  - Two runs on the same folder wait for each other.
  - A certificate (C(-cert.pub)) of a replaced key is left in place, with a warning.
extends_documentation_fragment:
  - rootoftrust.linux.attributes
  - rootoftrust.linux.attributes.files
  - rootoftrust.linux.attributes.actiongroup_sshkeys
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - A key that is not made yet has no fingerprint. In its place stands that it will be known when the key is made,
        also in a real run.
  idempotent:
    support: partial
    details:
      - With O(force) a key is made at each run.
  platform:
    platforms: linux
    support: full
seealso:
  - module: rootoftrust.linux.ssh_host_key_info
  - module: rootoftrust.linux.ssh_known_hosts
  - module: rootoftrust.linux.entropy_gate
    description: Make keys only once the host's entropy is proven healthy.
"""

EXAMPLES = r"""
- name: Have good keys for all that the server uses
  rootoftrust.linux.ssh_host_key:

- name: Have an Ed25519 and a large RSA key, and keep what is replaced
  rootoftrust.linux.ssh_host_key:
    keys:
      - type: ed25519
      - type: rsa
        size: 4096
    backup: true

- name: Remove a DSA key of old
  rootoftrust.linux.ssh_host_key:
    type: dsa
    state: absent

- name: Replace a key that other hosts have too
  rootoftrust.linux.ssh_host_key:
    type: ed25519
    bad_fingerprints:
      - SHA256:uNiVztksCsDhcc0u9e8BrcYPLA7vFJbFHkLqYtbSXnU

- name: Make a key for an appliance
  rootoftrust.linux.ssh_host_key:
    type: ecdsa
    size: 384
    path: /var/tmp/appliance_host_key
    comment: root@appliance
    server: none
"""

RETURN = r"""
keys:
  description:
    - The keys, in the order in which they were asked for.
    - "Write C(result['keys']): in Jinja, C(result.keys) is a method of the dictionary."
  type: list
  elements: dict
  returned: success
  contains:
    path:
      description: The private part's file.
      type: str
    state:
      description: As asked for.
      type: str
    type:
      description: The key's type.
      type: str
    size:
      description: Bits.
      type: int
    fingerprint:
      description:
        - SHA-256 fingerprint. Null for a key that is only to be made (check mode) or absent; so are the next two.
      type: str
      sample: SHA256:uNiVztksCsDhcc0u9e8BrcYPLA7vFJbFHkLqYtbSXnU
    fingerprint_md5:
      description: MD5 fingerprint; null also where the host's policy forbids MD5.
      type: str
    public_key:
      description: The public part without comment.
      type: str
    comment:
      description: Its comment.
      type: str
    sshfp:
      description: Data of DNS SSHFP records, with SHA-256.
      type: list
      elements: str
      sample: ["4 2 4fbf54ecb7ff4b4a0c4c0b0a3d3b8a1e0c7c5c2d9a2f0c4d1b6e7f8091a2b3c4"]
    mode:
      description: The private file's permission bits.
      type: str
      sample: "0600"
    created:
      description: When the private file was last written or came to this disk, in UTC.
      type: str
    reasons:
      description:
        - All that was wrong with the key when the run began.
        - The codes are those of O(regenerate), and V(missing), V(forced), V(wrong_mode), V(public_missing),
          V(public_mismatch).
      type: list
      elements: dict
      contains:
        code:
          description: A word for programs.
          type: str
        text:
          description: A sentence for people.
          type: str
    made:
      description: Whether this run made the key, or will.
      type: bool
    previous_fingerprint:
      description: That of the key that was replaced or removed; null if there was none.
      type: str
    identity:
      description: Whether the machine was noted when the key was V(made) or V(adopted); V(unknown) without a note.
      type: str
steps:
  description: What was done, or would be, in sentences.
  type: list
  elements: str
  returned: always
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import converge
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.host_keys import HostKeys
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.options import KEY_OPTIONS, asked, host_key_spec
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.plan import plan_host_keys, report_host_keys

SPEC = host_key_spec(KEY_OPTIONS, Spec(options={"backup": {"type": "bool", "default": False}}))


def main() -> None:
    module = SPEC.create_module()
    host_keys = HostKeys(Runner(module))
    converge(
        module,
        desired=module.params,
        read=lambda params: host_keys.read(asked(params, KEY_OPTIONS)),
        plan=lambda state, _params: plan_host_keys(state, state.asked),
        apply=host_keys.apply,
        report=report_host_keys,
    )


if __name__ == "__main__":
    main()
