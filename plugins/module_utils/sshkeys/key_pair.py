# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The two files of a host key: read, replaced so that they match at every moment, put back."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import stat
import time
from contextlib import suppress
from typing import Callable, Sequence, Tuple

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.files import atomic_write, sync_file, sync_folder
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.model import Access, Pair, PublicKey, WantedKey
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.parse import Malformed, parse_private, parse_public, public_text
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.ssh_keygen import SshKeygen
from ansible_collections.rootoftrust.linux.plugins.module_utils.sshkeys.statx import birth_time

MOST = 65536  # bytes; an RSA key of 16384 bits takes 13 KiB
MARK = ".rootoftrust-"  # in the names of temporary files, by which the next run knows those of a run that was cut
LOCK_PATIENCE = 60.0  # seconds to wait for another run on the same folder

Kept = Tuple[str, str]  # where the old file is kept, where it was


class KeyPairs:
    """Host keys on disk.

    :param keygen: tells the public part of files that only ssh-keygen can read.
    :param birth: when a file came to its file system.
    """

    def __init__(self, keygen: SshKeygen, birth: Callable[[str], float | None] = birth_time) -> None:
        self._keygen = keygen
        self._birth = birth
        self._locks: dict[str, int] = {}

    def lock(self, paths: Sequence[str]) -> None:
        """Keep other runs off the folders of these keys until this process ends.

        :raises RootOfTrustError: if another run holds one for longer than a minute.
        """
        for folder in sorted({os.path.dirname(os.path.realpath(path)) for path in paths} - set(self._locks)):
            if not os.path.isdir(folder):
                continue
            self._locks[folder] = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            deadline = time.monotonic() + LOCK_PATIENCE
            while not _locked(self._locks[folder]):
                if time.monotonic() > deadline:
                    raise RootOfTrustError(f"Another run has been working on the host keys in {folder} for a minute.", "Wait for its end.")
                time.sleep(0.1)

    def exists(self, path: str) -> bool:
        """Whether there is anything of a key at a path, be it only what a cut run left."""
        real = os.path.realpath(path)
        return os.path.lexists(real) or os.path.lexists(real + ".pub") or bool(leftovers(real))

    def read(self, wanted: WantedKey) -> Pair:
        """Look at one host key.

        :raises RootOfTrustError: if it may not be read, or something else than a file is in its place.
        """
        real = os.path.realpath(wanted.path)
        try:
            private, public = _access(real), _access(real + ".pub")
            key, comment, fault = self._key(real) if private else (None, "", "")
            published, public_comment = _published(real + ".pub") if public else (None, "")
            return Pair(
                wanted=wanted,
                real=real,
                folder=_folder(os.path.dirname(real)),
                private=private,
                public=public,
                key=key,
                comment=comment or public_comment,
                fault=fault,
                published=published,
                came=self._came(real) if private else None,
                certificate=os.path.exists(real + "-cert.pub"),
                leftovers=tuple(leftovers(real)),
            )
        except PermissionError:
            raise RootOfTrustError(f"The host key {wanted.path} may not be read by this user.", "Run the task as root (become).") from None

    def _key(self, path: str) -> tuple[PublicKey | None, str, str]:
        data = _content(path)
        try:
            found = parse_private(data)
            return found.public or self._keygen.public_of(data), found.comment, ""
        except RootOfTrustError as error:
            return None, "", str(error)

    def _came(self, path: str) -> float:
        """A file copied with its old time (cp -p) came when it was copied; one rewritten in place, when it was rewritten."""
        return max(os.stat(path).st_mtime, self._birth(path) or 0.0)

    # --- changing ----------------------------------------------------------------------------------------------------

    def stage(self, pair: Pair, access: Access, public_access: Access) -> tuple[str, PublicKey]:
        """Make the new key under a temporary name beside the old one, whole and on disk.

        :return: that name and the key.
        :raises RootOfTrustError: if ssh-keygen made something else than asked, or nothing.
        """
        want = pair.wanted
        path = _temporary(pair.real)
        try:
            self._keygen.make(path, want.type, want.bits, want.comment)
            key = self._verify(path, want)
            _set_access(path, access)
            _set_access(path + ".pub", public_access)
            sync_file(path)
            sync_file(path + ".pub")
        except BaseException:
            self.discard(path)
            raise
        return path, key

    def _verify(self, path: str, want: WantedKey) -> PublicKey:
        key = self._keygen.public_of(_content(path))
        published, _comment = _published(path + ".pub")
        if published is None or published.blob != key.blob or parse_private(_content(path)).public not in (None, key):
            raise RootOfTrustError(f"ssh-keygen made two files for {want.path} that do not match; nothing was replaced.")
        if key.type != want.type or (want.bits or key.size) != key.size:
            raise RootOfTrustError(f"ssh-keygen made a key of type {key.type} and {key.size} bits for {want.path}; nothing was replaced.")
        return key

    def discard(self, staged: str) -> None:
        """Remove a staged pair, as far as it is still there."""
        for path in (staged, staged + ".pub"):
            _unlink(path)

    def replace(self, pair: Pair, staged: str, backup: bool, confirm: Callable[[], None]) -> None:
        """Put a staged pair in the place of the old one.

        The public part goes first and comes last: whenever there is one, it matches the private part.

        :param backup: keep the old pair under dated names.
        :param confirm: called when the new pair is in place; if it raises, the old pair is put back.
        """

        def swap() -> None:
            _unlink(pair.real + ".pub")
            _sync(pair.real)
            os.rename(staged, pair.real)
            _sync(pair.real)
            os.rename(staged + ".pub", pair.real + ".pub")
            _sync(pair.real)

        self._exchange(pair, swap, backup, confirm)

    def remove(self, pair: Pair, backup: bool, confirm: Callable[[], None]) -> None:
        """Remove a pair; the parameters are those of :meth:`replace`."""

        def swap() -> None:
            _unlink(pair.real + ".pub")
            _unlink(pair.real)
            _sync(pair.real)

        self._exchange(pair, swap, backup, confirm)

    def _exchange(self, pair: Pair, swap: Callable[[], None], backup: bool, confirm: Callable[[], None]) -> None:
        kept = _keep(pair.real, backup)
        try:
            swap()
            confirm()
        except BaseException:
            _put_back(pair.real, kept)
            raise
        if not backup:
            for path, _was in kept:
                _unlink(path)

    def protect(self, pair: Pair, access: Access, public_access: Access) -> None:
        """Correct mode and owner of both parts."""
        _set_access(pair.real, access)
        if pair.public is not None:
            _set_access(pair.real + ".pub", public_access)

    def publish(self, pair: Pair, public_access: Access) -> None:
        """Write the public part anew from the private one.

        :raises RootOfTrustError: if the private part cannot be told.
        """
        if pair.key is None:
            raise RootOfTrustError(f"The public part of {pair.wanted.path} cannot be told: {pair.fault}.")
        text = f"{public_text(pair.key)} {pair.comment}".rstrip() + "\n"
        owner = (public_access.uid, -1 if public_access.gid is None else public_access.gid)
        atomic_write(pair.real + ".pub", text.encode("utf-8", "surrogateescape"), public_access.mode, owner)

    def tidy(self, path: str) -> None:
        """Remove a file that a cut run left."""
        _unlink(path)
        _sync(path)


def leftovers(real: str) -> list[str]:
    """Temporary files of a key, left by runs that were cut."""
    folder, name = os.path.split(real)
    ours = re.compile(rf"\.{re.escape(name)}(?:{re.escape(MARK)}.+|\.pub\.[a-z0-9_]{{8}})")  # the second as core.files names them
    try:
        return sorted(os.path.join(folder, entry) for entry in os.listdir(folder) if ours.fullmatch(entry))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _access(path: str) -> Access | None:
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(found.st_mode):
        raise RootOfTrustError(f"{path} is not a file.", "Move it away, or correct the path.")
    return Access(stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)


def _folder(path: str) -> str:
    if not os.path.isdir(path):
        return "missing"
    return "read-only" if os.statvfs(path).f_flag & os.ST_RDONLY else "writable"


def _content(path: str) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(MOST)


def _published(path: str) -> tuple[PublicKey | None, str]:
    try:
        return parse_public(_content(path).decode("utf-8", "surrogateescape"))
    except Malformed:
        return None, ""


def _set_access(path: str, access: Access) -> None:
    """Never more open on the way than at the end."""
    os.chmod(path, access.mode & 0o600)
    os.chown(path, access.uid, -1 if access.gid is None else access.gid)
    os.chmod(path, access.mode)


def _temporary(real: str) -> str:
    folder, name = os.path.split(real)
    return os.path.join(folder, f".{name}{MARK}{secrets.token_hex(4)}")


def _keep(real: str, backup: bool) -> list[Kept]:
    """Give the old files a second name, so that they can be put back."""
    names = _dated(real) if backup else (_temporary(real) + "-old", _temporary(real) + "-old.pub")
    kept: list[Kept] = []
    try:
        for name, was in zip(names, (real, real + ".pub")):
            if os.path.lexists(was):
                _second_name(was, name)
                kept.append((name, was))
        _sync(real)
    except BaseException:
        for name, _was in kept:
            _unlink(name)
        raise
    return kept


def _dated(real: str) -> tuple[str, str]:
    """Names with the time, of which neither is taken."""
    when = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    number = 0
    while True:
        mark = f".{when}~" if not number else f".{when}.{number}~"
        names = (real + mark, real + ".pub" + mark)
        if not any(os.path.lexists(name) for name in names):
            return names
        number += 1


def _second_name(path: str, name: str) -> None:
    """A hard link, or a copy where the file system has none."""
    try:
        os.link(path, name)
    except FileExistsError:
        raise
    except OSError:
        found = os.stat(path)
        atomic_write(name, _content(path), stat.S_IMODE(found.st_mode), (found.st_uid, found.st_gid))


def _put_back(real: str, kept: Sequence[Kept]) -> None:
    _unlink(real + ".pub")
    if not any(was == real for _name, was in kept):
        _unlink(real)
    for name, was in kept:
        os.rename(name, was)
        _unlink(name)  # rename does nothing where both names are the same file
    _sync(real)


def _unlink(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _sync(path: str) -> None:
    sync_folder(os.path.dirname(path))
