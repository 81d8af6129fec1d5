# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The device of a TPM 2.0: commands go in, answers come out.

It is spoken to directly and not by tpm2-tools: nothing has to be installed, one look is one execution however much is asked,
and an authorisation goes from this process to the TPM without any other program seeing it.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import Iterator, Protocol, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm import commands
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.model import (
    ALGORITHMS,
    FIRST_PERSISTENT,
    LAST_PERSISTENT,
    PersistentObject,
    Properties,
    PublicArea,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.parse import (
    BAD_AUTH,
    NO_HANDLE,
    TpmAnswer,
    describe_properties,
    opened,
    parse_banks,
    parse_created,
    parse_handles,
    parse_pcrs,
    parse_properties,
    parse_read_public,
)
from ansible_collections.rootoftrust.linux.plugins.module_utils.tpm.proc import holders

LONGEST = 4096  # bytes of an answer
_FIXED, _VARIABLE = 0x100, 0x200  # first numbers of the two groups of properties
_AT_ONCE = 64


class Exchange(Protocol):
    """Gives one command to a TPM and returns the answer."""

    def __call__(self, command: bytes) -> bytes: ...


@contextmanager
def opened_device(path: str) -> Iterator[Exchange]:
    """The TPM behind a device. What was loaded through the resource manager's is gone when it is closed.

    :raises RootOfTrustError: if it cannot be opened.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.EBUSY:
            by = [f"{holder.program} (process {holder.pid})" for holder in holders() if holder.device == path]
            raise RootOfTrustError(f"{path} is held open by {' and '.join(by) or 'another program'}.", "End it first.") from None
        raise RootOfTrustError(f"{path} cannot be opened: {error.strerror}.", "Be root, or a member of the group tss.") from None

    def exchange(command: bytes) -> bytes:
        try:
            os.write(descriptor, command)
            return os.read(descriptor, LONGEST)
        except OSError as error:
            raise RootOfTrustError(f"The TPM behind {path} does not answer: {error.strerror}.", "Look at the kernel's log.") from None

    try:
        yield exchange
    finally:
        os.close(descriptor)


class Tpm2:
    """
    :param exchange: gives it a command and returns the answer.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def properties(self) -> Properties:
        """What it is and how it stands."""
        return describe_properties({**self._group(_FIXED), **self._group(_VARIABLE)})

    def _group(self, first: int) -> dict[int, int]:
        found: dict[int, int] = {}
        more, after = True, first
        while more:
            more, values = parse_properties(opened("tell its properties", self._exchange(commands.get_properties(after, _AT_ONCE))))
            found.update({number: value for number, value in values.items() if number < first + 0x100})
            after = max(values, default=0) + 1
            more = more and first < after < first + 0x100
        return found

    def pcrs(self) -> dict[str, dict[int, str]]:
        """Bank → register → value, of the banks in use."""
        banks = parse_banks(opened("tell its PCR banks", self._exchange(commands.get_banks())))
        values: dict[str, dict[int, str]] = {}
        for algorithm, numbers in banks.items():
            found = self._registers(algorithm, numbers)
            if found:
                values[ALGORITHMS.get(algorithm, f"0x{algorithm:04x}")] = found
        return values

    def registers(self, bank: str, numbers: Sequence[int]) -> dict[int, str]:
        """Register → value, of one bank.

        :raises RootOfTrustError: if the bank is not in use.
        """
        found = self._registers(commands.algorithm(bank), numbers)
        lacking = [str(number) for number in numbers if number not in found]
        if lacking:
            raise RootOfTrustError(
                f"The TPM has no PCR {' or '.join(lacking)} in the bank {bank}.", "Choose one of the banks that tpm_info lists."
            )
        return found

    def _registers(self, algorithm: int, numbers: Sequence[int]) -> dict[int, str]:
        found: dict[int, str] = {}
        while len(found) < len(numbers):
            left = [number for number in numbers if number not in found]
            read = parse_pcrs(opened("read its PCRs", self._exchange(commands.read_pcrs({algorithm: left}))))
            if not read.get(algorithm):
                break
            found.update(read[algorithm])
        return found

    def handles(self) -> list[int]:
        """The handles of the persistent objects."""
        found: list[int] = []
        more, first = True, FIRST_PERSISTENT
        while more:
            more, handles = parse_handles(opened("tell its handles", self._exchange(commands.get_handles(first, _AT_ONCE))))
            found += [handle for handle in handles if handle <= LAST_PERSISTENT]
            first = max(handles, default=LAST_PERSISTENT) + 1
            more = more and first <= LAST_PERSISTENT
        return found

    def object(self, handle: int) -> PersistentObject | None:
        """The object at a handle; None where there is none."""
        try:
            public, name = parse_read_public(opened(f"read what is at {handle:#x}", self._exchange(commands.read_public(handle))))
        except TpmAnswer as answer:
            if answer.code == NO_HANDLE:
                return None
            raise
        return PersistentObject(handle, public, name)

    def objects(self) -> list[PersistentObject]:
        """All persistent objects."""
        found = (self.object(handle) for handle in self.handles())
        return [one for one in found if one is not None]

    def accepts_owner(self, owner: Secret) -> bool:
        """Whether this is the owner authorisation. A wrong one is not counted, for the owner is not under the defence against guessing."""
        with self._session(commands.start_session(commands.TRIAL_SESSION)) as session:
            try:
                opened("take the owner authorisation", self._exchange(commands.policy_secret(session, owner)))
            except TpmAnswer as answer:
                if answer.code == BAD_AUTH:
                    return False
                raise
        return True

    @contextmanager
    def pcr_session(self, bank: str, pcrs: Sequence[int], hash_name: str, password: bool) -> Iterator[int]:
        """A session that authorises what is sealed to the values that registers have now; its handle.

        Through the resource manager nobody else could use it: the kernel meets it only where the TPM is open as /dev/tpm0.

        :param password: whether the object's own authorisation is a part of the policy.
        """
        with self._session(commands.start_session(commands.POLICY_SESSION, hash_name)) as session:
            opened(f"take the PCRs {bank}:{','.join(map(str, pcrs))}", self._exchange(commands.policy_pcr(session, bank, pcrs)))
            if password:
                opened("ask for an authorisation", self._exchange(commands.policy_password(session)))
            yield session

    @contextmanager
    def _session(self, start: bytes) -> Iterator[int]:
        session = int.from_bytes(opened("start a session", self._exchange(start))[:4], "big")
        try:
            yield session
        finally:
            self._exchange(commands.flush_context(session))

    def make_persistent(self, public: PublicArea, handle: int, owner: Secret) -> None:
        """Make a primary key of the owner hierarchy, and keep it at a handle."""
        created = opened(f"make {public.algorithm}", self._exchange(commands.create_primary(public, owner)))
        loaded, _public = parse_created(created)
        try:
            opened(f"keep the key at {handle:#x}", self._exchange(commands.evict_control(loaded, handle, owner)))
        finally:
            self._exchange(commands.flush_context(loaded))

    def evict(self, handle: int, owner: Secret) -> None:
        """Remove a persistent object."""
        opened(f"evict what is at {handle:#x}", self._exchange(commands.evict_control(handle, handle, owner)))
