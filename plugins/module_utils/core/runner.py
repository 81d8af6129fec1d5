# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The only place from which outside programs are started."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Collection, Iterator, Mapping, Protocol, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import ToolFailed, ToolMissing
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret

SBIN = ["/usr/local/sbin", "/usr/sbin", "/sbin"]  # not on the PATH of every user that Ansible logs in as
MEMORY_FILE_SYSTEMS = ("tmpfs", "ramfs")
TIMED_OUT = 124  # exit status of timeout(1) of coreutils when the time was over; busybox gives 143
TIMED_OUT_BUSYBOX = 143


class CommandHost(Protocol):
    """The part of AnsibleModule that starts programs."""

    def run_command(self, args: list[str], **options: Any) -> tuple[int, bytes, bytes]: ...

    def get_bin_path(self, arg: str, required: bool = False, opt_dirs: list[str] | None = None) -> str | None: ...


@dataclass(frozen=True)
class Finished:
    """A program that has ended: its name, exit status and output."""

    program: str
    rc: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """Standard output as text; bytes that are no UTF-8 are kept by surrogates."""
        return self.stdout.decode("utf-8", "surrogateescape")

    @property
    def error_text(self) -> str:
        """Standard error as text, without white space around it."""
        return self.stderr.decode("utf-8", "replace").strip()


class Runner:
    """Starts programs through Ansible, without a shell, in the C locale, and never with a secret where others can see it.

    :param host: the AnsibleModule.
    """

    def __init__(self, host: CommandHost) -> None:
        self._host = host

    def find(self, program: str) -> str | None:
        """The full path of a program, or None where it is not installed."""
        try:
            return self._host.get_bin_path(program, required=False, opt_dirs=SBIN)
        except ValueError:  # raised by some releases of ansible-core instead of returning None
            return None

    def run(
        self,
        argv: Sequence[str],
        *,
        stdin: bytes | Secret | None = None,
        ok: Collection[int] | None = (0,),
        timeout: float = 60.0,
        environment: Mapping[str, str] | None = None,
        pass_fds: Sequence[int] = (),
        folder: str | None = None,
    ) -> Finished:
        """Run a program to its end.

        :param argv: the program and its arguments, each a string; a :class:`Secret` among them is a TypeError.
        :param stdin: what it reads from standard input.
        :param ok: the exit statuses that are no failure; None accepts all.
        :param timeout: seconds after which it is ended (by TERM, five seconds later by KILL).
        :param environment: variables added to the environment, without secrets.
        :param pass_fds: file descriptors that it inherits, e.g. that of :meth:`secret_fd`.
        :param folder: the working directory, for a program that writes there.
        :raises ToolMissing: if the program is not installed.
        :raises ToolFailed: if it ends with another exit status, or not in time.
        """
        words = list(argv)
        variables = dict(environment or {})
        self._refuse_secrets(words, variables, stdin)
        path = self.find(words[0])
        limiter = self.find("timeout")
        if path is None or limiter is None:
            missing = words[0] if path is None else "timeout"
            raise ToolMissing(f"The program {missing} is not installed on this host.", "Install the package that has it.")
        data = stdin.reveal() if isinstance(stdin, Secret) else stdin
        rc, out, err = self._host.run_command(
            [limiter, "-k", "5", f"{timeout:g}", path, *words[1:]],
            data=data,
            binary_data=True,
            encoding=None,
            environ_update={"LC_ALL": "C", "LANGUAGE": "", **variables},
            expand_user_and_vars=False,
            handle_exceptions=False,
            pass_fds=tuple(pass_fds) or None,
            cwd=folder,
        )
        done = Finished(program=words[0], rc=rc, stdout=out, stderr=err)
        if ok is None or rc in ok:
            return done
        if rc in (TIMED_OUT, TIMED_OUT_BUSYBOX):
            raise ToolFailed(f"{words[0]} did not end within {timeout:g} s and was stopped.")
        last = done.error_text.splitlines()[-1:] or ["it said nothing"]
        raise ToolFailed(f"{words[0]} ended with exit status {rc}: {last[0]}", facts={"rc": rc, "stderr": done.error_text})

    @staticmethod
    def _refuse_secrets(words: list[str], variables: dict[str, str], stdin: object) -> None:
        for place, values in (("an argument", words), ("the environment", list(variables.values()))):
            for value in values:
                if not isinstance(value, str):
                    raise TypeError(f"{place} of {words[0]} is a {type(value).__name__}, not a string")
                if isinstance(stdin, Secret) and len(stdin) and os.fsencode(value).find(stdin.reveal()) >= 0 and len(stdin) >= 4:
                    raise TypeError(f"{place} of {words[0]} contains the secret that goes by standard input")

    @contextmanager
    def secret_fd(self, secret: Secret) -> Iterator[int]:
        """A file descriptor from which a child reads the secret (``/dev/fd/N`` or an option that takes a number).

        :raises ValueError: if it is longer than a pipe holds for certain (64 KiB since Linux 2.6.11).
        """
        if len(secret) > 65536:
            raise ValueError("a secret of more than 64 KiB does not fit a pipe")
        reader, writer = os.pipe()
        try:
            try:
                os.write(writer, secret.reveal())
            finally:
                os.close(writer)
            yield reader
        finally:
            os.close(reader)

    @contextmanager
    def secret_memory(self, secret: Secret) -> Iterator[int]:
        """As :meth:`secret_fd`, for programs that seek in it: a file in memory without a name, gone with its last process."""
        descriptor = os.memfd_create("rootoftrust")
        try:
            os.fchmod(descriptor, 0o600)
            os.write(descriptor, secret.reveal())
            os.lseek(descriptor, 0, os.SEEK_SET)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def secret_folder(self, secrets: Mapping[str, Secret]) -> Iterator[tuple[str, list[int]]]:
        """A folder of files that hold secrets, as ``$CREDENTIALS_DIRECTORY`` is, and the file descriptors that the child must inherit.

        The folder has but symbolic links to files of :meth:`secret_memory`: what a cut leaves of it gives nothing away.
        """
        folder = tempfile.mkdtemp(prefix=".rootoftrust-", dir=memory_folder())
        try:
            with ExitStack() as stack:
                descriptors = [stack.enter_context(self.secret_memory(secret)) for secret in secrets.values()]
                for name, descriptor in zip(secrets, descriptors):
                    os.symlink(f"/proc/self/fd/{descriptor}", os.path.join(folder, name))
                yield folder, descriptors
        finally:
            shutil.rmtree(folder)

    @contextmanager
    def secret_file(self, secret: Secret) -> Iterator[str]:
        """A file of mode 0600 in memory (tmpfs) that holds the secret, for programs that take nothing else; it is gone on every way out.

        :raises ToolFailed: if the host has no tmpfs at /run or /dev/shm.
        """
        descriptor, path = tempfile.mkstemp(prefix=".rootoftrust-", dir=memory_folder())
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(secret.reveal())
            yield path
        finally:
            os.unlink(path)


def memory_folder(mounts: str = "/proc/self/mounts") -> str:
    """A folder whose files are in memory only.

    :param mounts: the kernel's table of mounts.
    :raises ToolFailed: if there is none.
    """
    with open(mounts, encoding="utf-8") as stream:
        table = [line.split() for line in stream]
    in_memory = {fields[1] for fields in table if fields[2] in MEMORY_FILE_SYSTEMS}
    for folder in ("/run", "/dev/shm"):
        if folder in in_memory and os.access(folder, os.W_OK):
            return folder
    raise ToolFailed(
        "Neither /run nor /dev/shm is a tmpfs that can be written to.", "Mount a tmpfs at /run: secrets must not touch a disk."
    )
