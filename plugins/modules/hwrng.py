#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Choose the hardware random number generator."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hwrng
short_description: Choose the hardware random number generator that the kernel uses
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Writes C(rng_current) and C(rng_quality) below C(/sys/class/misc/hw_random) and reads them again, for some kernels report success
    without having changed anything. That is an error here.
  - The choice holds until the next boot.
options:
  name:
    description:
      - The generator, by one of the names in C(rng_available).
      - V(best) leaves the choice to the kernel, which takes the one with the highest quality. Nothing is changed where it has done so.
    type: str
    required: true
  quality:
    description:
      - How many of 1024 bits the kernel counts as entropy, V(0) to V(1024).
      - An error on kernels that have no attribute C(rng_quality); these take C(rng_core.default_quality) on their command line.
    type: int
extends_documentation_fragment:
  - rootoftrust.linux.attributes
  - rootoftrust.linux.attributes.actiongroup_entropy
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
  - module: rootoftrust.linux.entropy_info
"""

EXAMPLES = r"""
- name: Look at the entropy
  rootoftrust.linux.entropy_info:
  register: entropy

- name: Let the kernel choose
  rootoftrust.linux.hwrng:
    name: best
  when: entropy.hwrng.available | length > 0

- name: Choose one by its name
  rootoftrust.linux.hwrng:
    name: "{{ entropy.hwrng.available | first }}"
  when: entropy.hwrng.available | length > 0
"""

RETURN = r"""
steps:
  description: What was done, or in check mode would be, in sentences.
  type: list
  elements: str
  returned: always
hwrng:
  description: The state afterwards; in check mode the one that holds now. As in RV(rootoftrust.linux.entropy_info#module:hwrng).
  type: dict
  returned: success
"""

from collections.abc import Sequence
from dataclasses import asdict

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import converge
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.hw_random import HwRandom
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.model import Choice, Hwrng
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.plan import plan_hwrng

SPEC = Spec(options={"name": {"type": "str", "required": True}, "quality": {"type": "int"}})


def report(current: Hwrng, _steps: Sequence[Step]) -> dict[str, object]:
    return {"hwrng": asdict(current)}


def main() -> None:
    module = SPEC.create_module()
    framework = HwRandom()
    converge(
        module,
        desired=Choice(name=module.params["name"], quality=module.params["quality"]),
        read=framework.read,
        plan=plan_hwrng,
        apply=framework.apply,
        report=report,
    )


if __name__ == "__main__":
    main()
