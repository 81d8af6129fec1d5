# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The attributes that every module of the collection documents, in the same words."""

from __future__ import annotations


class ModuleDocFragment:
    """One attribute block per section: ``rootoftrust.linux.attributes``, ``rootoftrust.linux.attributes.files`` …"""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description:
      - Can run in check mode, and then predicts every step and reports changed exactly when a real run would,
        without changing the host.
  diff_mode:
    description:
      - Returns in diff mode what differs between the state found and the state asked for, in check mode as well.
        Secrets are masked.
  idempotent:
    description:
      - When run twice in a row outside check mode with the same arguments, on a host that nothing else changes,
        the second run reports no change.
  platform:
    description:
      - The operating systems that the module can manage.
    platforms: linux
    support: full
"""

    # For modules that look and change nothing.
    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - This module changes nothing.
  diff_mode:
    support: N/A
    details:
      - This module changes nothing.
  idempotent:
    support: full
    details:
      - This module changes nothing.
"""

    # For modules that write files.
    FILES = r"""
options: {}
attributes:
  safe_file_operations:
    description:
      - Every file is written to a temporary file in the same folder, synchronised to the disk and renamed, so that
        at no moment a half-written file stands in its place.
    support: full
"""

    ACTIONGROUP_ENTROPY = r"""
options: {}
attributes:
  action_group:
    description:
      - Put C(group/rootoftrust.linux.entropy) into C(module_defaults) to set options for all of the group's modules.
    support: full
    membership:
      - rootoftrust.linux.entropy
"""

    ACTIONGROUP_SSHKEYS = r"""
options: {}
attributes:
  action_group:
    description:
      - Put C(group/rootoftrust.linux.sshkeys) into C(module_defaults) to set options for all of the group's modules.
    support: full
    membership:
      - rootoftrust.linux.sshkeys
"""

    ACTIONGROUP_LUKS = r"""
options: {}
attributes:
  action_group:
    description:
      - Put C(group/rootoftrust.linux.luks) into C(module_defaults) to set options for all of the group's modules.
    support: full
    membership:
      - rootoftrust.linux.luks
"""

    ACTIONGROUP_KERNEL_KEYS = r"""
options: {}
attributes:
  action_group:
    description:
      - Put C(group/rootoftrust.linux.kernel_keys) into C(module_defaults) to set options for all of the group's modules.
    support: full
    membership:
      - rootoftrust.linux.kernel_keys
"""

    ACTIONGROUP_TPM = r"""
options: {}
attributes:
  action_group:
    description:
      - Put C(group/rootoftrust.linux.tpm) into C(module_defaults) to set options for all of the group's modules.
    support: full
    membership:
      - rootoftrust.linux.tpm
"""

    ACTIONGROUP_GPG = r"""
options: {}
attributes:
  action_group:
    description:
      - Put C(group/rootoftrust.linux.gpg) into C(module_defaults) to set options for all of the group's modules.
    support: full
    membership:
      - rootoftrust.linux.gpg
"""

    ACTIONGROUP_PKCS11 = r"""
options: {}
attributes:
  action_group:
    description:
      - Put C(group/rootoftrust.linux.pkcs11) into C(module_defaults) to set options for all of the group's modules.
    support: full
    membership:
      - rootoftrust.linux.pkcs11
"""
