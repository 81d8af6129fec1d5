# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Waiting for the gate to open."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from typing import Any, Callable

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy import plan, verdict
from ansible_collections.rootoftrust.linux.plugins.module_utils.entropy.model import (
    Finding,
    Gate,
    Host,
    Sample,
    Sampling,
)


def wait_for_gate(
    gate: Gate,
    quality: Sampling | None,
    *,
    timeout: float,
    interval: float,
    read: Callable[[], Host],
    sample: Callable[[Sampling], Sample],
) -> dict[str, Any]:
    """Look until all that the gate asks for holds.

    :param quality: a source that has to be of good quality as well; it is read only once the rest holds, and for as long as time is left.
    :param timeout: seconds; at 0 it looks once.
    :param interval: seconds between two looks.
    :raises RootOfTrustError: if it can never open, if waiting cannot mend what is wrong, or when the time is over; with all reasons.
    """
    if timeout < 0 or interval <= 0:
        raise RootOfTrustError(
            f"The timeout is {timeout:g} s and the interval {interval:g} s.", "Neither may be negative, nor the interval 0."
        )
    start = time.monotonic()
    vanished: tuple[Finding, ...] = ()  # told at the end whatever the device looked like after that
    while True:
        host = read()
        plan.check_gate(host.pool, gate)
        missing = plan.unmet(host, gate)
        judged: dict[str, Any] = {}
        waited = time.monotonic() - start
        if quality is not None and not missing:
            sampling = replace(quality, timeout=max(timeout - waited, interval))
            taken = sample(sampling)
            judged = verdict.describe_sample(taken, sampling)
            missing = tuple(replace(finding, code=f"quality_{finding.code}") for finding in verdict.source_reasons(taken, sampling))
            vanished = tuple(finding for finding in missing if finding.code == "quality_vanished") or vanished
            waited = time.monotonic() - start
        if not missing:
            return {**_seen(host, judged, waited), "healthy": True, "reasons": []}
        if waited >= timeout or any(finding.code in plan.FINAL for finding in missing):
            raise _shut((*vanished, *(finding for finding in missing if finding not in vanished)), _seen(host, judged, waited))
        time.sleep(max(0.0, min(interval, timeout - waited)))


def _seen(host: Host, judged: dict[str, Any], waited: float) -> dict[str, Any]:
    return {
        "waited": round(waited, 3),
        "notices": verdict.listed(verdict.notices(host)),
        "pool": verdict.describe(host)["pool"],
        "hwrng": verdict.describe(host)["hwrng"],
        "feeders": [asdict(feeder) for feeder in host.feeders],
        "container": host.container,
        "quality": judged,
    }


def _shut(missing: tuple[Finding, ...], seen: dict[str, Any]) -> RootOfTrustError:
    return RootOfTrustError(
        f"The entropy of this host is not proven healthy after {seen['waited']:g} s: {verdict.sentence(missing)}",
        facts={**seen, "healthy": False, "reasons": verdict.listed(missing)},
    )
