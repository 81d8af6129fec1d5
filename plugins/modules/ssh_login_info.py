#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tell who has logged in by which key."""

from __future__ import annotations

DOCUMENTATION = r"""
module: ssh_login_info
short_description: Tell who has logged in by SSH with which key
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Reads from the journal of systemd which log-ins by a public key the SSH server has accepted. This proves that a key, such as one on a
    smart card, does let its owner in, before other ways are closed.
  - On request it also tells whether the server takes passwords, to prove afterwards that they are closed.
  - The server tells the fingerprint at its default C(LogLevel), INFO. A journal that is kept in memory tells of the time since the boot.
options:
  users:
    description: Users who should have logged in, each by one of their keys.
    type: list
    elements: dict
    default: []
    suboptions:
      user:
        description: The name of the account.
        type: str
        required: true
      keys:
        description: Public keys, each as C(type base64 comment).
        type: list
        elements: str
        required: true
  require:
    description: Fail where one of them has not.
    type: bool
    default: false
  passwords:
    description:
      - Ask the server as well in which ways it takes passwords (C(sshd -T)).
      - That is what its configuration comes to as a whole, of whichever files, for a log-in to which none of its C(Match) blocks applies. A
        server that was not reloaded since may do otherwise.
    type: bool
    default: false
extends_documentation_fragment:
  - rootoftrust.linux.attributes
  - rootoftrust.linux.attributes.info_module
  - rootoftrust.linux.attributes.actiongroup_sshkeys
attributes:
  platform:
    platforms: linux
    support: full
seealso:
  - module: rootoftrust.linux.pkcs11_ssh_keys
"""

EXAMPLES = r"""
- name: See who has come in by a key
  rootoftrust.linux.ssh_login_info:
  register: seen

- name: See whether the server takes passwords
  rootoftrust.linux.ssh_login_info:
    passwords: true
  register: server
  failed_when: server.passwords != []
"""

RETURN = r"""
users:
  description: The users asked for.
  type: list
  elements: dict
  returned: success
  contains:
    user:
      description: The name of the account.
      type: str
    fingerprints:
      description: The fingerprints of their keys.
      type: list
      elements: str
    seen:
      description: Those by which they have logged in.
      type: list
      elements: str
    proven:
      description: Whether there is one.
      type: bool
proven:
  description: Whether each of them has logged in.
  type: bool
  returned: success
logins:
  description: Who has logged in from where by which key; each kind once.
  type: list
  elements: dict
  returned: success
  contains:
    user:
      description: The name of the account.
      type: str
    address:
      description: Where from.
      type: str
    type:
      description: The key's type, as the server calls it.
      type: str
    fingerprint:
      description: The key's SHA-256 fingerprint.
      type: str
passwords:
  description:
    - The ways in which the server's configuration takes passwords, V(password) and V(keyboard-interactive); empty where it takes none.
    - Null without O(passwords), and on a host without a server.
  type: list
  elements: str
  returned: success
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import observe
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.journal import Journal
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.plan_logins import report_logins
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.ssh_keygen import SshKeygen
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.sshd import Sshd

USER_OPTIONS = {
    "user": {"type": "str", "required": True},
    "keys": {"type": "list", "elements": "str", "required": True, "no_log": False},
}
SPEC = Spec(
    options={
        "users": {"type": "list", "elements": "dict", "default": [], "options": USER_OPTIONS},
        "require": {"type": "bool", "default": False},
        "passwords": {"type": "bool", "default": False, "no_log": False},
    }
)


def main() -> None:
    module = SPEC.create_module()
    params, runner = module.params, Runner(module)
    journal, sshd = Journal(runner), Sshd(runner, SshKeygen(runner))
    observe(
        module,
        lambda: report_logins(
            journal.logins(),
            params["users"],
            params["require"],
            sshd.settings().passwords if params["passwords"] and sshd.installed() else None,
        ),
    )


if __name__ == "__main__":
    main()
