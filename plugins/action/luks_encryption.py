# Copyright: (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs luks_encryption, and waits for the work in the background while it shows how far that is."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase

MODULE = "rootoftrust.linux.luks_encryption"
MIB = 1024 * 1024


class ActionModule(ActionBase):
    """The module does everything; here is only the waiting. The work does not end with it."""

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        super().run(tmp, task_vars)
        variables = task_vars or {}
        arguments = dict(self._task.args)
        first: dict[str, Any] = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
        wait = self._templar.template(arguments.get("wait", True))
        if variables.get("ansible_check_mode") or str(wait).lower() in ("false", "no", "0") or not _running(first):
            return first
        began = time.monotonic()
        watch = _Watch()
        latest = first
        while _running(latest):
            for line in watch.look(latest["encryptions"]):
                self._display.display(f"  {variables.get('inventory_hostname')}: {line}")
            time.sleep(float(arguments.get("poll", 5)))  # the user's own pause between two looks
            latest = self._execute_module(module_name=MODULE, module_args=arguments, task_vars=task_vars)
            first = _both(first, latest)
        first["waited_seconds"] = round(time.monotonic() - began, 1)
        return first


def _running(result: dict[str, Any]) -> bool:
    return not result.get("failed") and any(volume["running"] for volume in result.get("encryptions", ()))


def _both(earlier: dict[str, Any], later: dict[str, Any]) -> dict[str, Any]:
    """The state of the later run, with what both have done."""
    away = {volume["device"]: volume["away_seconds"] for volume in earlier.get("encryptions", ())}
    for volume in later.get("encryptions", ()):
        if volume["away_seconds"] is None:
            volume["away_seconds"] = away.get(volume["device"])
    diffs = [result.get("diff") or {} for result in (earlier, later)]
    return {
        **later,
        "changed": bool(earlier.get("changed") or later.get("changed")),
        "steps": [*earlier.get("steps", ()), *later.get("steps", ())],
        "diff": {
            "before": _merged(diffs[1].get("before", {}), diffs[0].get("before", {})),
            "after": _merged(diffs[0].get("after", {}), diffs[1].get("after", {})),
        },
    }


def _merged(weak: dict[str, Any], strong: dict[str, Any]) -> dict[str, Any]:
    return {subject: {**weak.get(subject, {}), **strong.get(subject, {})} for subject in {**weak, **strong}}


class _Watch:
    """Remembers how far the work was, to tell how quick it is."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[float, int]] = {}

    def look(self, volumes: list[dict[str, Any]]) -> list[str]:
        return [self._line(volume) for volume in volumes if volume["running"] and volume["progress"]]

    def _line(self, volume: dict[str, Any]) -> str:
        progress, now = volume["progress"], time.monotonic()
        before = self._seen.setdefault(volume["device"], (now, progress["done"]))
        line = f"{volume['device']} {volume['state']}: {progress['percent'] or 0:.1f} %"
        seconds, done = now - before[0], progress["done"] - before[1]
        if seconds > 0 and done > 0 and progress["total"]:
            left = (progress["total"] - progress["done"]) * seconds / done
            line += f", {done / seconds / MIB:.0f} MiB/s, {_duration(left)} left"
        return line


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
