#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Test the output of a random number generator."""

from __future__ import annotations

DOCUMENTATION = r"""
module: rng_quality
short_description: Test a random number generator by the statistical tests of FIPS 140-2
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Reads a device or file and tests each block of 20 000 bits (monobit, poker, runs, long run, continuous run) with the limits and the
    verdicts of C(rngtest), in the module itself and without any program. Faster than C(rngtest) where Python is 3.10 or later.
  - The source is judged by the number of blocks that failed, never by a single one, for about 0.8 blocks in 1000 of a perfect source fail.
  - It does not hang on a device that gives nothing, and reads no more than it was told to.
  - The tests find a generator that is broken. They do not prove that a good-looking one is unpredictable.
options:
  source:
    description: The path of a character device, FIFO or file, for example C(/dev/hwrng).
    type: path
    required: true
  blocks:
    description:
      - How many blocks of 2500 bytes to test. Four bytes more are read, with which the first word is compared.
      - Hardware generators are slow, from one to some hundred kilobytes per second. Choose what O(timeout) suffices for.
    type: int
    default: 1000
  max_failures:
    description:
      - How many blocks may fail.
      - By default the least number that a perfect source exceeds with a chance of at most one in a million (binomial distribution with a
        rate of 0.8 in 1000), that is 4 of 100 blocks, 8 of 1000 and 22 of 8000.
    type: int
  timeout:
    description: Seconds after which reading ends.
    type: float
    default: 60
  max_bytes:
    description: Read no more bytes than this. Where O(blocks) would take more, fewer blocks are tested.
    type: int
  fail_on:
    description: Whether the task fails when the source is V(unhealthy), or V(never), so that RV(healthy) tells.
    type: str
    choices:
      - unhealthy
      - never
    default: unhealthy
notes:
  - |
    Codes in RV(reason):

    C(stuck) - the same 32-bit word comes twice in a row, more often than chance allows. The device is broken.

    C(biased) - too many blocks failed for their numbers of ones or of nibbles. It needs a whitener, or is disturbed.

    C(too_many_failures) - too many blocks failed. Test again with more blocks.

    C(silent) - not one byte came in time. Look whether the device is switched on and its driver works.

    C(vanished) - it ended or failed after some bytes. Look whether the device was unplugged.

    C(short) - the file has fewer bytes than the blocks take. Test fewer blocks.

    C(timeout) - the time was over before all blocks were read. Set a longer timeout or fewer blocks.

    C(not_found) - there is no such file, or no device behind it. Load the driver.

    C(permission) - it may not be read. Run as root.

    C(unsuitable) - it is a folder, a socket or the like.
extends_documentation_fragment:
  - rootoftrust.linux.attributes
  - rootoftrust.linux.attributes.info_module
  - rootoftrust.linux.attributes.actiongroup_entropy
attributes:
  platform:
    platforms: linux
    support: full
seealso:
  - module: rootoftrust.linux.entropy_gate
"""

EXAMPLES = r"""
- name: Test the kernel's own generator
  rootoftrust.linux.rng_quality:
    source: /dev/urandom

- name: Look at the entropy
  rootoftrust.linux.entropy_info:
  register: entropy

- name: Test the hardware generator, where there is one
  rootoftrust.linux.rng_quality:
    source: /dev/hwrng
    blocks: 100
    timeout: 30
    fail_on: never
  register: quality
  when: entropy.hwrng.current != ""
"""

RETURN = r"""
healthy:
  description: Whether all blocks could be read and not too many of them failed.
  type: bool
  returned: always
reason:
  description: The code of what is wrong, from the notes; empty when RV(healthy) is true.
  type: str
  returned: always
reasons:
  description: The same with the fact and the remedy, of the form of RV(rootoftrust.linux.entropy_info#module:reasons).
  type: list
  elements: dict
  returned: always
source:
  description: What was tested.
  type: str
  returned: always
blocks:
  description: Blocks tested.
  type: int
  returned: always
failures:
  description: Blocks that failed at least one test.
  type: int
  returned: always
max_failures:
  description: Up to how many were tolerated.
  type: int
  returned: always
failures_by_test:
  description: Blocks that failed each test.
  type: dict
  returned: always
  sample: {monobit: 0, poker: 0, runs: 1, long_run: 0, continuous_run: 0}
bytes:
  description: Bytes read.
  type: int
  returned: always
seconds:
  description: How long reading and testing took.
  type: float
  returned: always
bits_per_second:
  description: RV(bytes) in bits, divided by RV(seconds).
  type: int
  returned: always
"""

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import observe
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy import device
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.plan import sampling
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.verdict import accept

SPEC = Spec(
    options={
        "source": {"type": "path", "required": True},
        "blocks": {"type": "int", "default": 1000},
        "max_failures": {"type": "int"},
        "timeout": {"type": "float", "default": 60},
        "max_bytes": {"type": "int"},
        "fail_on": {"type": "str", "choices": ["unhealthy", "never"], "default": "unhealthy"},
    }
)


def main() -> None:
    module = SPEC.create_module()
    options = {name: value for name, value in module.params.items() if name != "fail_on"}

    def look() -> dict[str, object]:
        wanted = sampling(**options)
        return accept(device.sample(wanted), wanted, always=module.params["fail_on"] == "never")

    observe(module, look)


if __name__ == "__main__":
    main()
