#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Wait until the host's entropy is proven healthy."""

from __future__ import annotations

DOCUMENTATION = r"""
module: entropy_gate
short_description: Wait until the kernel's entropy pool is proven healthy, and stop otherwise
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - To be put before a task that makes keys. It looks again and again until the kernel's generator is seeded, the pool's estimate is high
    enough, no running feeder is a fake, and the required source is there and good.
  - When the time is over it fails with all reasons and what to do about each. It fails at once for what waiting cannot mend.
  - It changes nothing, and waits in check mode as well.
options:
  timeout:
    description: How many seconds to wait. At V(0) it looks once.
    type: float
    default: 60
  interval:
    description: Seconds between two looks.
    type: float
    default: 0.5
  min_bits:
    description:
      - The least estimate of the pool, in bits.
      - By default it is what the kernel itself asks for, all of a 256-bit pool or 128 bits of an older one.
      - More than the pool holds is an error at once. Kernels since 5.18, and many before, have a pool of 256 bits.
    type: int
  require_sources:
    description:
      - What has to feed the pool, all of it.
      - The name of a hardware generator as the kernel has it (V(virtio_rng.0)), or V(any-hwrng) for any one in use.
      - V(tpm) for the generator of a TPM in use.
      - V(kernel) for a kernel that needs nobody, because it counts a hardware generator or seeds itself from the jitter of its timer.
      - V(kernel-hwrng) for a hardware generator that the kernel itself reads and counts.
      - V(rngd), V(haveged) or V(jitterentropy) for that daemon, running and with no fake source.
    type: list
    elements: str
    default: []
    aliases: [require_source]
  require_quality:
    description: A device or file that has to pass the tests of M(rootoftrust.linux.rng_quality), for example C(/dev/hwrng).
    type: path
  quality_blocks:
    description:
      - How many blocks of 2500 bytes of it are tested.
      - The default fits the default O(timeout) at 1024 bytes per second, to which virtual machines are often held.
    type: int
    default: 20
  quality_max_failures:
    description: How many blocks may fail; by default as in M(rootoftrust.linux.rng_quality).
    type: int
notes:
  - |
    Codes in RV(reasons):

    C(crng_not_ready), C(fake_source) - as in M(rootoftrust.linux.entropy_info).

    C(too_few_bits) - the pool's estimate is below O(min_bits). Wait longer or add a source.

    C(min_bits_unreachable) - O(min_bits) is more than the pool can ever hold. Leave it out.

    C(source_absent) - the required source does not feed the pool; the remedy depends on the source.

    C(quality_stuck), C(quality_biased), C(quality_silent) and so on - RV(rootoftrust.linux.rng_quality#module:reason) of the device of
    O(require_quality), with C(quality_) before it.
extends_documentation_fragment:
  - rootoftrust.linux.attributes
  - rootoftrust.linux.attributes.info_module
  - rootoftrust.linux.attributes.actiongroup_entropy
attributes:
  platform:
    platforms: linux
    support: full
seealso:
  - module: rootoftrust.linux.entropy_info
  - module: rootoftrust.linux.rng_quality
"""

EXAMPLES = r"""
- name: Go on only with a healthy pool
  rootoftrust.linux.entropy_gate:

- name: Go on only if the estimate is at least half of what a pool of today holds
  rootoftrust.linux.entropy_gate:
    min_bits: 128
    timeout: 10

- name: Look at the entropy
  rootoftrust.linux.entropy_info:
  register: entropy

- name: Where there is a hardware generator, go on only if it is in use and good
  rootoftrust.linux.entropy_gate:
    require_sources: [any-hwrng]
    require_quality: /dev/hwrng
    timeout: 120
  when: entropy.hwrng.current != ""
"""

RETURN = r"""
healthy:
  description: Whether all that was asked for holds.
  type: bool
  returned: always
waited:
  description: Seconds from the start to the verdict.
  type: float
  returned: always
reasons:
  description: Why not; of the form of RV(rootoftrust.linux.entropy_info#module:reasons).
  type: list
  elements: dict
  returned: always
notices:
  description: As in RV(rootoftrust.linux.entropy_info#module:notices).
  type: list
  elements: dict
  returned: when it has looked
pool:
  description: The pool, as in RV(rootoftrust.linux.entropy_info#module:pool).
  type: dict
  returned: when it has looked
hwrng:
  description: The hardware generators, as in RV(rootoftrust.linux.entropy_info#module:hwrng).
  type: dict
  returned: when it has looked
feeders:
  description: What feeds the pool, as in RV(rootoftrust.linux.entropy_info#module:feeders).
  type: list
  elements: dict
  returned: when it has looked
container:
  description: The container manager; empty outside of containers.
  type: str
  returned: when it has looked
quality:
  description: What M(rootoftrust.linux.rng_quality) returns for the device of O(require_quality); empty where it was not read.
  type: dict
  returned: when it has looked
"""

from typing import Any

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import observe
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy import device
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.clock import wait_for_gate
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.host import HostReader
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.model import Gate
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.plan import sampling

SPEC = Spec(
    options={
        "timeout": {"type": "float", "default": 60},
        "interval": {"type": "float", "default": 0.5},
        "min_bits": {"type": "int"},
        "require_sources": {"type": "list", "elements": "str", "default": [], "aliases": ["require_source"]},
        "require_quality": {"type": "path"},
        "quality_blocks": {"type": "int", "default": 20},
        "quality_max_failures": {"type": "int"},
    }
)


def main() -> None:
    module = SPEC.create_module()
    params = module.params

    def look() -> dict[str, Any]:
        quality = None
        if params["require_quality"]:
            quality = sampling(params["require_quality"], params["quality_blocks"], 1.0, params["quality_max_failures"])
        return wait_for_gate(
            Gate(min_bits=params["min_bits"], sources=tuple(params["require_sources"])),
            quality,
            timeout=params["timeout"],
            interval=params["interval"],
            read=HostReader(Runner(module)).read,
            sample=device.sample,
        )

    observe(module, look)


if __name__ == "__main__":
    main()
