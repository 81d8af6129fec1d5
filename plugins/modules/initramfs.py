#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Have initramfs images that are not older than what goes into them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: initramfs
short_description: Have the images of the initramfs made anew where they are older than what goes into them
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Compares the images in C(/boot) with the files that go into them, and has the host's own program make all of them anew where one is
    older (C(update-initramfs -u -k all), C(dracut --force --regenerate-all), C(mkinitcpio -P)).
  - An image counts where its kernel is in C(/lib/modules). One of a kernel that was removed, or a copy under another name, is warned of.
  - A handler is lost where a run is cut before it; this is not.
  - On a host without an image it does nothing, and says so.
options:
  sources:
    description:
      - The files that go into the images. Of a folder, the newest file in it counts. Those that are not there do not count.
    type: list
    elements: path
    required: true
  changed:
    description:
      - Whether an earlier task has changed O(sources), or would have in a check run. The images are made anew then, whatever their age.
    type: bool
    default: false
extends_documentation_fragment:
  - rootoftrust.linux.attributes
  - rootoftrust.linux.attributes.actiongroup_kernel_keys
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - With O(changed=true) the images are made each time.
  platform:
    platforms: linux
    support: full
seealso:
  - module: rootoftrust.linux.kernel_key
  - module: rootoftrust.linux.crypttab_entry
"""

EXAMPLES = r"""
- name: Have an initramfs that knows crypttab as it is now
  rootoftrust.linux.initramfs:
    sources: [/etc/crypttab]
"""

RETURN = r"""
tool:
  description: What makes the images of this host, V(initramfs-tools), V(dracut) or V(mkinitcpio); empty where nothing known does.
  type: str
  returned: success
images:
  description: The images.
  type: list
  elements: str
  returned: success
steps:
  description: What was done, or would be, in sentences.
  type: list
  elements: str
  returned: always
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import converge
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.initramfs import Images
from ansible_collections.rootoftrust.linux.plugins.module_utils.kernel_keys.plan_initramfs import plan_initramfs, report_initramfs

SPEC = Spec(
    options={
        "sources": {"type": "list", "elements": "path", "required": True},
        "changed": {"type": "bool", "default": False},
    }
)


def main() -> None:
    module = SPEC.create_module()
    images = Images(Runner(module))
    converge(
        module,
        desired=module.params["sources"],
        read=images.read,
        plan=lambda found, _sources: plan_initramfs(found, module.params["changed"]),
        apply=images.apply,
        report=report_initramfs,
    )


if __name__ == "__main__":
    main()
