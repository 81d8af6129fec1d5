# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The evidence of one run over all its hosts, as a document and as a summary for a person. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Iterable, Mapping

VERSION = "0.1.0"  # of the collection, as in galaxy.yml
SCHEMA = 1  # docs/evidence.md says what changes it
MOST_KEYS = 8  # of the kernel that the summary names one by one
SUFFIX = "_evidence"  # a role leaves its evidence in the fact <role>_evidence


@dataclass(frozen=True)
class HostEvidence:
    """What one host showed.

    :param name: as in the inventory.
    :param reached: False for a host that the run lost or never reached.
    :param failure: the task that failed and its message, or None.
    :param evidence: role → what it left.
    """

    name: str
    reached: bool
    failure: Mapping[str, str] | None = None
    evidence: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    def from_variables(cls, name: str, variables: Mapping[str, Any], reached: bool) -> HostEvidence:
        """Take it from the host's variables."""
        return cls(
            name=name,
            reached=reached,
            failure=variables.get("rootoftrust_failure"),
            # Only the facts wanted are looked up: each look-up of a host's variable is templated.
            evidence={
                fact[: -len(SUFFIX)]: variables[fact]
                for fact in variables
                if fact.endswith(SUFFIX) and not fact.startswith("_") and isinstance(variables[fact], Mapping)
            },
        )

    @property
    def outcome(self) -> str:
        """ok, failed or unreachable."""
        if not self.reached:
            return "unreachable"
        return "failed" if self.failure else "ok"


def document(hosts: Iterable[HostEvidence], *, playbook: str, version: str, written: str, check_mode: bool) -> dict[str, Any]:
    """The document of docs/evidence.md.

    :param written: the time in UTC, as ISO 8601.
    """
    return {
        "schema": SCHEMA,
        "collection": "rootoftrust.linux",
        "version": version,
        "playbook": playbook,
        "written": written,
        "check_mode": check_mode,
        "hosts": {
            host.name: {"outcome": host.outcome, "failure": host.failure, "evidence": host.evidence}
            for host in sorted(hosts, key=lambda host: host.name)
        },
    }


def summary(told: Mapping[str, Any]) -> list[str]:
    """A few lines a person reads at the end of a run."""
    lines = [f"Evidence of {told['playbook']}, {told['written']}" + (" (check mode: nothing was changed)" if told["check_mode"] else "")]
    for name, host in told["hosts"].items():
        lines.append(f"  {name}: {host['outcome']}")
        if host["failure"]:
            lines.append(f"    {host['failure']['task']}: {host['failure']['message']}")
        entropy = host["evidence"].get("entropy")
        if entropy:
            lines.append("    " + _entropy_line(entropy))
        lines += ["    " + line for line in _key_lines(host["evidence"].get("ssh_host_keys") or {})]
        lines += ["    " + line for line in _tpm_lines(host["evidence"].get("tpm") or {})]
        lines += ["    " + line for line in _kernel_key_lines(host["evidence"].get("kernel_keys") or {})]
        lines += ["    " + line for line in _keyring_lines(host["evidence"].get("gpg_key") or {})]
        lines += ["    " + line for line in _token_lines(host["evidence"].get("opencryptoki") or {})]
        lines += ["    " + line for line in _card_lines(host["evidence"].get("smartcard_ssh") or {})]
        lines += ["    " + line for line in _volume_lines(host["evidence"].get("luks") or {})]
    return lines


def _entropy_line(entropy: Mapping[str, Any]) -> str:
    pool = entropy.get("pool") or {}
    fed = [feeder["name"] for feeder in entropy.get("feeders") or [] if feeder.get("active")]
    source = (entropy.get("hwrng") or {}).get("current")
    verdict = "healthy" if entropy.get("healthy") else "NOT healthy"
    return (
        f"entropy: {verdict}, {pool.get('entropy_avail')} of {pool.get('poolsize')} bits, "
        f"fed by {', '.join(fed) or 'nobody but the kernel itself'}" + (f" from {source}" if source else "")
    )


def _key_lines(keys: Mapping[str, Any]) -> list[str]:
    served = {key.get("fingerprint") for key in keys.get("served") or []}
    return [
        f"ssh host key: {key['type']} {key['fingerprint'] or 'to be made'}" + (" (served)" if key["fingerprint"] in served else "")
        for key in keys.get("keys") or []
    ]


def _tpm_lines(tpm: Mapping[str, Any]) -> list[str]:
    if not tpm:
        return []
    if not tpm.get("present"):
        return ["TPM: none"]
    told = [f"TPM {tpm['version']} of {tpm['manufacturer']}"]
    if (tpm.get("lockout") or {}).get("active"):
        told.append("in LOCKOUT")
    handles = [f"{found['handle']} ({found['algorithm']})" for found in tpm.get("persistent") or []]
    return [", ".join(told) + (f": {', '.join(handles)}" if handles else "")]


def _kernel_key_lines(told: Mapping[str, Any]) -> list[str]:
    """Each key by its name, or where they are many how many there are of each type."""
    keys = [key for key in told.get("keys") or [] if key["type"] != "keyring"]
    if not keys:
        return []
    if len(keys) <= MOST_KEYS:
        names = [f"{key['description']} ({key['type']}{_unless_valid(key.get('state', 'valid'))})" for key in keys]
    else:
        kinds = [key["type"] for key in keys]
        names = [f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds))]
    return [f"kernel keys: {', '.join(names)}"]


def _unless_valid(state: str) -> str:
    return "" if state == "valid" else f", {state.upper()}"


def _keyring_lines(told: Mapping[str, Any]) -> list[str]:
    keys = [key for keyring in (told.get("keyrings") or {}).values() for key in keyring]
    ends = [f"until {key['expires']}" if key["expires"] else "without an end" for key in keys]
    return [f"OpenPGP key: {key['fingerprint']} ({', '.join(key['user_ids'])}), {end}" for key, end in zip(keys, ends)]


def _token_lines(told: Mapping[str, Any]) -> list[str]:
    return [
        f"token {token['label']}: {'; '.join(token['unhealthy']) or 'healthy'}"
        for token in told.get("tokens") or []
        if token["initialized"]
    ]


def _card_lines(told: Mapping[str, Any]) -> list[str]:
    return [
        f"log-in by card of {user['user']}: {'seen, ' + ', '.join(user['seen']) if user['proven'] else 'not seen yet'}"
        for user in told.get("users") or []
    ]


def _volume_lines(luks: Mapping[str, Any]) -> list[str]:
    lines = []
    for volume in luks.get("volumes") or []:
        told = [f"volume {volume['name']}: {volume['state']}"]
        if volume.get("ways"):
            told.append(f"opened by {', '.join(volume['ways'])}")
        if volume.get("recovery"):
            told.append(f"recovery key {volume['recovery']['version']}")
        lines.append(", ".join(told))
    return lines + list(luks.get("faults") or [])
