#!/usr/bin/python
# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Look at the host's entropy."""

from __future__ import annotations

DOCUMENTATION = r"""
module: entropy_info
short_description: Tell who feeds the kernel's entropy pool, whether it is healthy, and what to do if not
version_added: 0.1.0
author:
  - rootoftrust.linux contributors (@rootoftrust)
description:
  - Reads the kernel's pool, the hardware random number generators, the daemons that feed the pool, the processor's instructions, the TPM,
    the seed files, and what kind of machine this is. It takes a few milliseconds and needs no option.
  - RV(healthy) is true when the kernel's generator is seeded (C(getrandom) gives bytes without waiting) and no running feeder has the
    kernel's own output counted as entropy. The kernel's version and the number of bits play no part in it, since a pool of today holds
    256 bits and never more.
  - In a container the pool is that of its host. It is judged all the same; the feeders are the host's business.
notes:
  - |
    Codes in RV(reasons), and what to do:

    C(crng_not_ready) - the kernel's generator is not seeded yet. Give the kernel a source: virtio-rng, rngd or jitterentropy-rngd.

    C(fake_source) - a running rngd feeds the pool with the pool's own output (C(/dev/random), C(/dev/urandom), or a link or device node
    that leads there) and has it counted. Stop it, take that device out of its options, restart the host.
  - |
    Codes in RV(notices), and what to do:

    C(container) - the pool belongs to the container's host. Set up sources there.

    C(pool_low) - on a kernel up to 5.5 the estimate is below 128 bits, so that readers of C(/dev/random) wait. Add a source.

    C(hwrng_not_selected) - there are hardware generators, and the kernel uses none. Choose one (M(rootoftrust.linux.hwrng)).

    C(hwrng_not_credited) - the kernel does not feed itself from its hardware generator, or counts nothing of it, and no rngd runs. Run
    rngd, or set C(rng_core.default_quality) on the kernel's command line.

    C(vm_without_virtio_rng) - a virtual machine of KVM or QEMU without a virtio-rng device. Add one on its host.

    C(daemon_skipped) - an enabled unit that systemd leaves out because a condition does not hold. Disable it.

    C(daemon_failed) - a unit that has failed. Read its journal.

    C(rngd_test_mode) - rngd runs with C(--test) and throws away what it reads. Remove the option.

    C(fake_source_configured) - a configuration file tells rngd to read the kernel's own pool, but no such rngd runs. Correct the file.

    C(obsolete_sysctl) - a file of sysctl sets a threshold that a pool of 256 bits ignores or does not have. Remove the line.

    C(seed_credit_forced) - systemd counts its seed file as entropy without proof that it is used once. Do not set C(force).
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
  - module: rootoftrust.linux.rng_quality
"""

EXAMPLES = r"""
- name: Look at the entropy
  rootoftrust.linux.entropy_info:
  register: entropy

- name: Say what is wrong and what to do
  ansible.builtin.debug:
    msg: "{{ item.text }} {{ item.remedy }}"
  loop: "{{ entropy.reasons + entropy.notices }}"
"""

RETURN = r"""
healthy:
  description: Whether the pool can be relied upon; see the description of the module.
  type: bool
  returned: success
reasons:
  description: Why it cannot; empty when RV(healthy) is true. The codes are in the notes.
  type: list
  elements: dict
  returned: success
  contains:
    code: {description: One word for programs., type: str}
    text: {description: The fact., type: str}
    remedy: {description: What to do., type: str}
notices:
  description: What is bad, but no reason to stop; of the same form as RV(reasons).
  type: list
  elements: dict
  returned: success
pool:
  description: The kernel's pool.
  type: dict
  returned: success
  contains:
    entropy_avail: {description: The kernel's estimate in bits., type: int}
    poolsize: {description: What the pool holds in bits., type: int}
    kind: {description: 'V(bits256), or V(legacy4096) on kernels before 5.18 without the newer pool.', type: str}
    ready_bits: {description: The estimate at which the kernel seeds its generator., type: int}
    crng_ready: {description: Whether the generator is seeded., type: bool}
    blocking: {description: 'Whether C(/dev/random) waits when the estimate is low (kernels up to 5.5).', type: bool}
  sample: {entropy_avail: 256, poolsize: 256, kind: bits256, ready_bits: 256, crng_ready: true, blocking: false}
kernel:
  description: The kernel's release.
  type: str
  returned: success
  sample: 6.12.117+deb13-amd64
hwrng:
  description: The kernel's hardware random number generators.
  type: dict
  returned: success
  contains:
    present: {description: Whether the kernel shows any here., type: bool}
    available: {description: Their names., type: list, elements: str}
    current: {description: The one in use; empty for none., type: str}
    selected: {description: Whether a person chose it; null where the kernel does not say., type: bool}
    quality: {description: Bits counted per 1024 bits read; null where the kernel does not say., type: int}
    quality_settable: {description: Whether the quality can be set while the kernel runs., type: bool}
    device: {description: Whether C(/dev/hwrng) is there., type: bool}
    fed: {description: Whether the kernel's own thread runs., type: bool}
    credited: {description: Whether what that thread takes counts as entropy., type: bool}
    feeder: {description: V(kernel) or V(none)., type: str}
feeders:
  description: What feeds the pool, or is set up to.
  type: list
  elements: dict
  returned: success
  contains:
    name: {description: 'V(kernel-hwrng), V(rngd), V(haveged), V(jitterentropy), V(infnoise) or V(clrngd).', type: str}
    flavour: {description: 'Which rngd it is: V(rng-tools5), V(rng-tools-debian) or V(rng-tools-6).', type: str}
    unit: {description: Its systemd unit., type: str}
    enabled: {description: Whether that is started at boot., type: bool}
    active: {description: Whether it runs., type: bool}
    state: {description: 'Of a unit that does not run: V(inactive), V(failed) or V(skipped).', type: str}
    credited: {description: Whether what it gives counts as entropy., type: bool}
    sources: {description: The devices it was told to read., type: list, elements: str}
    options: {description: Its arguments., type: list, elements: str}
    fake: {description: Whether a source is the kernel's own pool., type: bool}
    test_mode: {description: Whether it throws away what it reads., type: bool}
cpu:
  description: Instructions of the processor that give random numbers.
  type: dict
  returned: success
  sample: {rdrand: true, rdseed: true, darn: false, rndr: false}
tpm:
  description: The first TPM, its version, and whether the kernel offers its generator.
  type: dict
  returned: success
  sample: {present: true, version: '2.0', hwrng: true}
virtualization:
  description: The hypervisor by the names of systemd-detect-virt; empty on real hardware.
  type: str
  returned: success
  sample: kvm
container:
  description: The container manager; empty outside of containers.
  type: str
  returned: success
fips:
  description: Whether the kernel is in FIPS mode.
  type: bool
  returned: success
seed_files:
  description: Files that carry seed from one boot to the next.
  type: list
  elements: dict
  returned: success
  contains:
    path: {description: The file., type: str}
    kind: {description: V(systemd) or V(bootloader)., type: str}
    present: {description: Whether it is there., type: bool}
    credit: {description: 'Whether it counts as entropy: V(no), V(yes), V(force), or V(kernel) if the kernel decides.', type: str}
recommendation:
  description: The sources that fit this host.
  type: dict
  returned: success
  contains:
    sources:
      description: Of V(kernel) (nothing to install), V(rngd) and V(jitterentropy); empty in containers.
      type: list
      elements: str
    because: {description: Why., type: str}
"""

from dataclasses import asdict
from typing import Any

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.converge import observe
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.spec import Spec
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.host import HostReader
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.plan import recommend
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.verdict import describe, listed, notices, reasons

SPEC = Spec(options={})


def main() -> None:
    module = SPEC.create_module()

    def look() -> dict[str, Any]:
        host = HostReader(Runner(module)).read()
        found = reasons(host)
        return {
            "healthy": not found,
            "reasons": listed(found),
            "notices": listed(notices(host)),
            **describe(host),
            "recommendation": asdict(recommend(host)),
        }

    observe(module, look)


if __name__ == "__main__":
    main()
