#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Have OpenPGP keys in a keyring of GnuPG."""

from __future__ import annotations

DOCUMENTATION = r"""
module: gpg_key
short_description: Have OpenPGP keys, renewed before they expire, backed up and revocable
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Makes OpenPGP keys with GnuPG, with subkeys, user IDs and an end, and renews them before that end comes.
  - A key is known by its fingerprint, or by its first user ID, algorithm and usage together. Another algorithm therefore means another key,
    made beside the first. Where several keys fit, that is refused.
  - What is missing of a key is added. Subkeys and user IDs that are not asked for stay.
  - Can keep in files the public key, the secret key encrypted to others (a backup), and a certificate by which the key can be revoked.
  - Keys are made where they are to be, in one run of gpg. A run that is cut leaves no half a key, and the next run adds what is missing.
  - The options in the user's own C(gpg.conf) do not count. gpg is never asked for a key but by its whole fingerprint.
  - An agent that was started for the module is ended with it. One that the user has running is used, and stays.
options:
  user:
    description:
      - The user whose keyring it is. By default the one as whom the task runs.
      - The module becomes that user for good before it touches any file, so files named here are read and written with that user's rights.
    type: str
  home:
    description:
      - The folder of the keyring (C(GNUPGHOME)). By default C(.gnupg) in the user's home directory. It is made when a key is.
      - It may be of any length, though gpg's agent has its sockets there.
    type: path
  user_ids:
    description:
      - The user IDs that the key should have, each as C(Name (Comment) <address>). The address has to be there, and a name where there is a
        comment. Blanks around name and comment are left out, as gpg does it.
      - Needed to make a key. The first one is the key's name, by which it is known when no O(fingerprint) is given.
    type: list
    elements: str
  fingerprint:
    description:
      - The whole fingerprint of a key that is there. Key IDs are refused, for anyone can make a key of the same.
    type: str
  state:
    description:
      - V(revoked) revokes the key in this keyring; to tell others, export it to them. It cannot be undone.
      - V(absent) deletes it with its secret half. What was encrypted to it can then be read only with a backup.
      - Both need O(fingerprint).
    type: str
    choices: [present, revoked, absent]
    default: present
  algorithm:
    description:
      - That of the primary key, in gpg's own words.
      - Ed448 is not among them, as gpg 2.2 to 2.4 do not make such keys unattended; nor is DSA.
    type: str
    choices:
      - ed25519
      - rsa2048
      - rsa3072
      - rsa4096
      - nistp256
      - nistp384
      - nistp521
      - brainpoolP256r1
      - brainpoolP384r1
      - brainpoolP512r1
      - secp256k1
    default: ed25519
  usage:
    description:
      - What the primary key is for. It always certifies its user IDs and subkeys.
      - Only an RSA key can both encrypt and sign.
    type: list
    elements: str
    choices: [cert, sign, encrypt, auth]
    default: [cert, sign]
  expires:
    description:
      - When the key should end. A duration (V(90d), V(26w), V(18m), V(2y); a month has 30 days, a year 365), a day (V(2030-01-31), at noon
        UTC), or V(never).
      - A key that lasts longer than a duration says is left alone. One that never ends is given the end.
    type: str
    default: 2y
  renew_before:
    description:
      - How long before its end a key that lasts for a duration is renewed, for that duration from now. It is renewed at most once a day,
        and one that lasts for a day at most twice.
      - By default a quarter of the duration, and at most 30 days.
      - A key whose end has passed is renewed too.
    type: str
  subkeys:
    description:
      - The subkeys that it should have. One that is there is known by its algorithm and usage, of which no two may be the same.
      - By default one that encrypts. With an empty list, none.
    type: list
    elements: dict
    suboptions:
      usage:
        description: What it is for. On an elliptic curve it either encrypts or does the others.
        type: list
        elements: str
        choices: [sign, encrypt, auth]
        required: true
      algorithm:
        description: By default that of the primary key, and for one that encrypts beside V(ed25519), V(cv25519).
        type: str
        choices:
          - ed25519
          - cv25519
          - rsa2048
          - rsa3072
          - rsa4096
          - nistp256
          - nistp384
          - nistp521
          - brainpoolP256r1
          - brainpoolP384r1
          - brainpoolP512r1
          - secp256k1
      expires:
        description: As O(expires), and by default the same.
        type: str
      renew_before:
        description: As O(renew_before), and by default the same.
        type: str
  revoked_user_ids:
    description: User IDs that the key should have no more. The last one is not revoked.
    type: list
    elements: str
    default: []
  revoked_subkeys:
    description:
      - The whole fingerprints of subkeys that should be used no more. One that O(subkeys) asks for is made anew before the old one is
        revoked.
    type: list
    elements: str
    default: []
  ownertrust:
    description: How far its owner is trusted to sign the keys of others. gpg gives V(ultimate) to keys that it makes.
    type: str
    choices: [undefined, never, marginal, full, ultimate]
  passphrase:
    description:
      - The passphrase of the secret key. It goes to gpg by a file descriptor.
      - Needed to make a key that is to be protected, and to change or export one that is. Not needed when nothing is to be done.
      - A key that is made without one is protected by the permissions of its folder only, and a service can use it unattended.
    type: str
  verify:
    description:
      - Whether to prove in each run that the secret key can be used and the passphrase opens it. Something is signed and encrypted, as far
        as the key does that, and has to come back.
    type: bool
    default: false
  public_key_file:
    description: A file for the public key in ASCII armour, mode 0644, written anew whenever the key has changed.
    type: path
  backup_file:
    description:
      - A file for the secret key, encrypted to O(backup_recipients), mode 0600. Written anew whenever the key or its recipients have
        changed.
      - Where it has something else in it, such as the backup of a key that is lost or was superseded, it is not overwritten, and no key is
        made.
      - Refused where the secret half of a part that is in use is on a card or elsewhere, for it would not be in the backup.
      - Its head tells the fingerprint, and a digest from which a later run sees whether it is still of use.
      - "The way back: C(gpg --decrypt FILE | gpg --import)."
    type: path
  backup_recipients:
    description: The public keys, in ASCII armour, of those who can read the backup.
    type: list
    elements: str
    default: []
  revocation_file:
    description:
      - A file for a certificate that revokes the key once it is imported, mode 0600. Whoever has it can make the key worthless.
      - Where it has something else in it, such as the certificate of another key, it is not overwritten, and no key is made.
      - gpg itself keeps one beside the keyring, in a form that cannot be imported by mistake.
    type: path
  keys:
    description:
      - Several keys; for each the options above.
    type: list
    elements: dict
    suboptions:
      user_ids:
        description: As O(user_ids).
        type: list
        elements: str
      fingerprint:
        description: As O(fingerprint).
        type: str
      state:
        description: As O(state).
        type: str
        choices: [present, revoked, absent]
        default: present
      algorithm:
        description: As O(algorithm).
        type: str
        choices:
          - ed25519
          - rsa2048
          - rsa3072
          - rsa4096
          - nistp256
          - nistp384
          - nistp521
          - brainpoolP256r1
          - brainpoolP384r1
          - brainpoolP512r1
          - secp256k1
        default: ed25519
      usage:
        description: As O(usage).
        type: list
        elements: str
        choices: [cert, sign, encrypt, auth]
        default: [cert, sign]
      expires:
        description: As O(expires).
        type: str
        default: 2y
      renew_before:
        description: As O(renew_before).
        type: str
      subkeys:
        description: As O(subkeys).
        type: list
        elements: dict
        suboptions:
          usage:
            description: As O(subkeys[].usage).
            type: list
            elements: str
            choices: [sign, encrypt, auth]
            required: true
          algorithm:
            description: As O(subkeys[].algorithm).
            type: str
            choices:
              - ed25519
              - cv25519
              - rsa2048
              - rsa3072
              - rsa4096
              - nistp256
              - nistp384
              - nistp521
              - brainpoolP256r1
              - brainpoolP384r1
              - brainpoolP512r1
              - secp256k1
          expires:
            description: As O(subkeys[].expires).
            type: str
          renew_before:
            description: As O(subkeys[].renew_before).
            type: str
      revoked_user_ids:
        description: As O(revoked_user_ids).
        type: list
        elements: str
        default: []
      revoked_subkeys:
        description: As O(revoked_subkeys).
        type: list
        elements: str
        default: []
      ownertrust:
        description: As O(ownertrust).
        type: str
        choices: [undefined, never, marginal, full, ultimate]
      passphrase:
        description: As O(passphrase).
        type: str
      verify:
        description: As O(verify).
        type: bool
        default: false
      public_key_file:
        description: As O(public_key_file).
        type: path
      backup_file:
        description: As O(backup_file).
        type: path
      backup_recipients:
        description: As O(backup_recipients).
        type: list
        elements: str
        default: []
      revocation_file:
        description: As O(revocation_file).
        type: path
requirements:
  - gpg (GnuPG) 2.2.20 or later, with gpg-agent
notes:
  - Two runs for the same user wait for each other.
  - The primary key's secret half may be on a card or elsewhere; then the key can be looked at, and what needs that half fails.
extends_documentation_fragment:
  - rootoftrust.linux.attributes
  - rootoftrust.linux.attributes.files
  - rootoftrust.linux.attributes.actiongroup_gpg
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - A key that is not made yet has no fingerprint, and is called by its user ID.
  idempotent:
    support: full
    details:
      - Where O(renew_before) is not less than the duration of O(expires), a key is renewed each day.
  platform:
    platforms: linux
    support: full
seealso:
  - module: rootoftrust.linux.gpg_key_info
  - module: rootoftrust.linux.gpg_public_key
  - module: rootoftrust.linux.gpg_ownertrust
  - module: rootoftrust.linux.entropy_gate
    description: Make keys only once the host's entropy is proven healthy.
"""

EXAMPLES = r"""
- name: Have a key that signs, with a subkey that encrypts
  rootoftrust.linux.gpg_key:
    user_ids: [Backup of the database <backup@db.example.org>]
    expires: 1y
    renew_before: 60d
    public_key_file: /root/backup.asc
    revocation_file: /root/backup.rev
  register: backup_key

- name: Have its secret key where only those who may restore can read it
  rootoftrust.linux.gpg_key:
    user_ids: [Backup of the database <backup@db.example.org>]
    expires: 1y
    renew_before: 60d
    backup_file: /root/backup-secret.asc
    backup_recipients: ["{{ backup_key['keys'][0].public_key }}"]

- name: Have two keys of another user, one of them protected by a passphrase
  rootoftrust.linux.gpg_key:
    user: backup
    home: /var/tmp/backup-keyring
    keys:
      - user_ids: [Releases <release@example.org>, Releases (old address) <release@example.com>]
        algorithm: rsa3072
        usage: [cert]
        expires: "2035-12-31"
        passphrase: correct horse battery staple
        subkeys:
          - usage: [sign]
            expires: 1y
          - usage: [auth]
            algorithm: ed25519
      - user_ids: [Log <log@example.org>]
        subkeys: []

- name: Delete a key
  rootoftrust.linux.gpg_key:
    fingerprint: "{{ backup_key['keys'][0].fingerprint }}"
    state: absent
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
    fingerprint:
      description: Its fingerprint; null for one that is only to be made (check mode) or is not there.
      type: str
    state:
      description: V(present), V(revoked) or V(absent), after the steps, or as it would be.
      type: str
    user_ids:
      description: The user IDs asked for, else those that it has.
      type: list
      elements: str
    key:
      description: What it is, as M(rootoftrust.linux.gpg_key_info) tells it; in check mode as it is before the steps.
      type: dict
    public_key:
      description: The public key in ASCII armour; null where there is none yet.
      type: str
steps:
  description: What was done, or would be, in sentences.
  type: list
  elements: str
  returned: always
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import converge
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import objects
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.keys import Keys
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.options import KEY_OPTIONS, PLACE, several
from ansible_collections.rootoftrust.linux.plugins.module_utils.gpg.plan_keys import plan_keys, report_keys

SPEC = several("keys", ("user_ids", "fingerprint"), KEY_OPTIONS).merge(PLACE)


def main() -> None:
    module = SPEC.create_module()
    with Keys(Runner(module)) as keys:
        converge(
            module,
            desired=objects(module.params, "keys", KEY_OPTIONS),
            read=lambda asked: keys.read(module.params, asked),
            plan=lambda ring, _asked: plan_keys(ring),
            apply=keys.apply,
            report=report_keys,
        )


if __name__ == "__main__":
    main()
