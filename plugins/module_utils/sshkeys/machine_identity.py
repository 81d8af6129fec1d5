# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which machine this is: machine-id(5) and what the firmware says, as digests."""

from __future__ import annotations

import hashlib
import hmac
import os
import re

from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.model import Identity

PURPOSE = b"rootoftrust.linux ssh_host_key"  # keeps the digests apart from those of other programs, as sd_id128_get_machine_app_specific(3)
NO_IDENTITY = re.compile(r"(0[0-]*|f[f-]*|1234567890?.*|not .*|default .*|to be .*|none)?", re.IGNORECASE)
# boards whose maker left the firmware's own
SHARED_UUIDS = ("03000200-0400-0500-0006-000700080009", "12345678-1234-5678-90ab-cddeefaabbcc")


class MachineIdentity:
    """The paths are those of the kernel and systemd; tests give their own.

    :param machine_id: machine-id(5).
    :param product_uuid: SMBIOS UUID of the system, readable by root.
    :param serial_number: of the device tree (ARM, RISC-V, POWER).
    :param mounts: mountinfo of proc(5), by which a machine-id that lasts until the next boot only is known.
    :param container_marks: files that exist in containers only.
    :param init_environment: of process 1, in which container managers name themselves.
    """

    def __init__(
        self,
        machine_id: str = "/etc/machine-id",
        product_uuid: str = "/sys/class/dmi/id/product_uuid",
        serial_number: str = "/sys/firmware/devicetree/base/serial-number",
        mounts: str = "/proc/self/mountinfo",
        container_marks: tuple[str, ...] = ("/run/systemd/container", "/run/.containerenv", "/.dockerenv"),
        init_environment: str = "/proc/1/environ",
    ) -> None:
        self._machine_id = machine_id
        self._hardware = (product_uuid, serial_number)
        self._mounts = mounts
        self._container_marks = container_marks
        self._init_environment = init_environment

    def read(self) -> Identity:
        """The identity; what is not known is None."""
        text = _text(self._machine_id).lower()
        if not re.fullmatch(r"[0-9a-f]{32}", text):
            what = f"holds {text[:20]!r}, which is no machine-id" if text else "is missing or empty"
            return Identity(machine=None, hardware=self._digest_of_hardware(), unknown=f"{self._machine_id} {what}.")
        if self._is_mounted():
            why = f"{self._machine_id} is mounted over, so it does not say for how long it holds."
            return Identity(machine=None, hardware=self._digest_of_hardware(), unknown=why)
        return Identity(machine=_digest(text), hardware=self._digest_of_hardware(), since=os.stat(self._machine_id).st_mtime)

    def _is_mounted(self) -> bool:
        """systemd mounts a machine-id for one boot over the file where it cannot write it; container managers mount the host's."""
        path = os.path.realpath(self._machine_id)
        return any(line.split()[4:5] == [path] for line in _text(self._mounts).splitlines())

    def _digest_of_hardware(self) -> str | None:
        """None in a container: what it sees there is its host's."""
        if any(os.path.exists(path) for path in self._container_marks):
            return None
        if any(variable.startswith("container=") for variable in _text(self._init_environment).split("\0")):
            return None
        for path in self._hardware:
            text = _text(path).lower()
            if text not in SHARED_UUIDS and not NO_IDENTITY.fullmatch(text):
                return _digest(text)
        return None


def _digest(identity: str) -> str:
    return hmac.new(identity.encode("utf-8"), PURPOSE, hashlib.sha256).hexdigest()


def _text(path: str) -> str:
    """The content of a small file, empty where it cannot be read."""
    try:
        with open(path, "rb") as stream:
            return stream.read().rstrip(b"\0").decode("utf-8", "replace").strip()
    except OSError:
        return ""
