# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""systemctl(1) and the unit that does a reencryption."""

from __future__ import annotations

import os
import time
from typing import Iterable, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.files import atomic_write, sync_folder
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.runner import Runner
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.plan_encryption import Background, unit_name

UNITS = "/etc/systemd/system"
STARTED = ("active", "activating", "reloading", "deactivating")
SOON = 1.0  # seconds in which a unit that cannot work has failed
MINUTES = 600.0  # seconds for a service to stop


class Systemd:
    """:param runner: starts systemctl."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    @staticmethod
    def runs() -> bool:
        """sd_booted(3)."""
        return os.path.isdir("/run/systemd/system")

    def background(self, name: str) -> Background:
        """The unit of a mapping."""
        unit = unit_name(name)
        if not os.path.exists(os.path.join(UNITS, unit)):
            return Background(unit)
        state = self._show(unit)
        failed = state.get("ActiveState") == "failed"
        return Background(unit, True, state.get("ActiveState") in STARTED, self._last_words(unit, state) if failed else "")

    def _show(self, unit: str) -> dict[str, str]:
        text = self._runner.run(["systemctl", "show", "-p", "ActiveState,Result", "--", unit]).text
        return {name: value for name, _equals, value in (line.partition("=") for line in text.splitlines())}

    def _last_words(self, unit: str, state: dict[str, str]) -> str:
        log = self._runner.run(["journalctl", "-u", unit, "-n", "20", "-o", "cat", "--no-pager"], ok=None).text
        lines = [line for line in log.splitlines() if line and "systemd" not in line and unit not in line]
        return lines[-1] if lines else state.get("Result", "failed")

    def down(self, units: Iterable[str]) -> tuple[str, ...]:
        """Those that are not running."""
        return tuple(unit for unit in units if self._show(unit).get("ActiveState") not in STARTED)

    def stop(self, units: Sequence[str]) -> None:
        self._runner.run(["systemctl", "stop", "--", *units], timeout=MINUTES)

    def start(self, units: Sequence[str]) -> None:
        self._runner.run(["systemctl", "start", "--", *units], timeout=MINUTES)

    def settle(self) -> None:
        """Let udev finish, so that systemd knows what is on which device: else it would unmount at once what is mounted now."""
        self._runner.run(["udevadm", "settle", "--timeout=30"], ok=None)

    def run(self, name: str, text: str, at_boot: bool) -> None:
        """Have the unit of a mapping, and start it.

        :param at_boot: whether a boot starts it too, once the mapping is there.
        :raises RootOfTrustError: if it fails at once.
        """
        unit = unit_name(name)
        atomic_write(os.path.join(UNITS, unit), text.encode("utf-8"), 0o644)
        # enable has systemd read its units anew, too; on a host with many, that takes seconds.
        self._runner.run(["systemctl", "enable", "--", unit] if at_boot else ["systemctl", "daemon-reload"])
        self._runner.run(["systemctl", "reset-failed", "--", unit], ok=None)
        self._runner.run(["systemctl", "start", "--no-block", "--", unit])
        deadline = time.monotonic() + SOON
        while time.monotonic() < deadline:
            background = self.background(name)
            if background.fault:
                raise RootOfTrustError(f"{unit} failed: {background.fault}", f"See journalctl -u {unit}.")
            time.sleep(SOON / 5)  # between two looks: a unit that fails soon is told

    def forget(self, name: str) -> None:
        """Remove the unit of a mapping."""
        unit = unit_name(name)
        path = os.path.join(UNITS, unit)
        if not os.path.exists(path):
            return
        self._runner.run(["systemctl", "disable", "--no-reload", "--", unit], ok=None)
        os.unlink(path)
        sync_folder(UNITS)
        self._runner.run(["systemctl", "daemon-reload"])
        self._runner.run(["systemctl", "reset-failed", "--", unit], ok=None)
