# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The user whose keyring it is: files are written and gpg is run as that user, so that nothing of theirs can lead root elsewhere."""

from __future__ import annotations

import os
import pwd
from contextlib import contextmanager
from typing import Iterator

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError

FOLDER = ".gnupg"  # gpg's own name for it
HOME_MODE = 0o700


class Account:
    """:param user: its name; None for the one that this process is.

    :raises RootOfTrustError: if there is none of this name, or this process may not act as it.
    """

    def __init__(self, user: str | None) -> None:
        try:
            self._entry = pwd.getpwnam(user) if user is not None else pwd.getpwuid(os.geteuid())
        except KeyError:
            raise RootOfTrustError(f"This host has no user {user or os.geteuid()}.", "Make the user first.") from None
        self.number, self.group, self.name = self._entry.pw_uid, self._entry.pw_gid, self._entry.pw_name
        self._is_another = self.number != os.geteuid()
        if self._is_another and os.geteuid() != 0:
            raise RootOfTrustError(f"Only root can work with the keyring of {user}.", "Run the task as root (become).")

    @property
    def words(self) -> list[str]:
        """Before a command, so that it is run as the user."""
        return ["setpriv", f"--reuid={self.number}", f"--regid={self.group}", "--init-groups", "--"] if self._is_another else []

    @property
    def environment(self) -> dict[str, str]:
        """For such a command. gpg looks for GNUPGHOME only where it is told no home."""
        return {"HOME": self._entry.pw_dir, "USER": self.name, "LOGNAME": self.name}

    @contextmanager
    def acting(self) -> Iterator[None]:
        """What is done to files meanwhile is done with the user's rights."""
        if not self._is_another:
            yield
            return
        groups = os.getgroups()
        os.setgroups(os.getgrouplist(self.name, self.group))
        os.setegid(self.group)
        os.seteuid(self.number)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)

    def home(self, path: str | None) -> str:
        """The home of gpg that is meant.

        :raises RootOfTrustError: if what is there belongs to another, is no folder, or cannot be written to.
        """
        home = path or os.path.join(self._entry.pw_dir, FOLDER)
        if not os.path.isabs(home):
            raise RootOfTrustError(f"The home {home} is not absolute.", "Give its whole path.")
        with self.acting():
            if not os.path.lexists(home):
                return home
            status = os.stat(home)
            if not os.path.isdir(home):
                raise RootOfTrustError(f"The home {home} is no folder.", "Give another.")
            if status.st_uid != self.number:
                raise RootOfTrustError(
                    f"The home {home} belongs to user number {status.st_uid}, not {self.number}.", "Give user, or change its owner."
                )
            if not os.access(home, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
                raise RootOfTrustError(f"The home {home} cannot be written to.", "See to its permissions and its file system.")
        return home

    def make_home(self, path: str) -> None:
        """Make the home, and the folders above it where they are missing, for this user alone."""
        with self.acting():
            os.makedirs(path, mode=HOME_MODE, exist_ok=True)
            os.chmod(path, HOME_MODE)
