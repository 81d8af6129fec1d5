# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""LUKS headers, what stands on and over a device, and crypttab. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Sequence

LUKS1, LUKS2 = "luks1", "luks2"
PRESENT, ABSENT = "present", "absent"
REENCRYPT = "reencrypt"  # kind of the keyslot that keeps the state of a reencryption
BACKUP = "backup-"  # flags of segments that are a note of what was or will be, not what is
HOT = "in-reencryption"  # flag of the segment that is being worked on


# --- the header ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pbkdf:
    """How a passphrase becomes a key.

    :param type: argon2id, argon2i or pbkdf2.
    :param hash: of pbkdf2; empty for the others.
    :param cost: passes over the memory; iterations of pbkdf2.
    :param memory: KiB; None for pbkdf2.
    :param threads: in parallel; None for pbkdf2.
    """

    type: str
    hash: str
    cost: int
    memory: int | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Keyslot:
    """One keyslot that is in use.

    :param kind: luks1, luks2, or reencrypt, which holds no key.
    :param priority: prefer, normal or ignore.
    :param key_bits: of the key in it.
    :param cipher: by which it is encrypted; empty for the kind reencrypt.
    :param unbound: it holds a key, but not (or not yet) that of the data.
    """

    number: int
    kind: str
    priority: str
    key_bits: int
    cipher: str = ""
    pbkdf: Pbkdf | None = None
    unbound: bool = False


@dataclass(frozen=True)
class Token:
    """One token: a way to get at the passphrase of some keyslots.

    :param type: as in the header: systemd-tpm2, systemd-fido2, systemd-recovery, clevis, luks2-keyring …
    :param description: name of the key in the keyring, of luks2-keyring.
    :param tpm2_pcrs: platform configuration registers that it is bound to; None where that is not known, which is so for every
        token of another type and where cryptsetup is older than 2.4.
    :param tpm2_pcr_bank: hash of the registers.
    :param tpm2_pin: whether a PIN is asked for.
    """

    number: int
    type: str
    keyslots: tuple[int, ...]
    description: str = ""
    tpm2_pcrs: tuple[int, ...] | None = None
    tpm2_pcr_bank: str | None = None
    tpm2_pin: bool | None = None


@dataclass(frozen=True)
class Segment:
    """A part of the data device.

    :param type: crypt, or linear where it is not encrypted.
    :param offset: bytes from the start of the data device.
    :param size: bytes; None for all the rest of the device.
    :param cipher: empty where it is not encrypted.
    :param sector_size: bytes; 0 where it is not encrypted.
    """

    number: int
    type: str
    offset: int
    size: int | None
    cipher: str = ""
    sector_size: int = 0
    flags: tuple[str, ...] = ()

    @property
    def is_note(self) -> bool:
        """Whether it says what was or will be."""
        return any(flag.startswith(BACKUP) for flag in self.flags)


@dataclass(frozen=True)
class Work:
    """A reencryption as the header knows it.

    :param mode: encrypt, reencrypt or decrypt.
    :param direction: forward or backward.
    :param resilience: checksum, journal, none, datashift …
    """

    mode: str
    direction: str
    resilience: str


@dataclass(frozen=True)
class Progress:
    """How far a reencryption is.

    :param done: bytes.
    :param total: bytes; None where the size of the data device is not known.
    """

    mode: str
    direction: str
    resilience: str
    done: int
    total: int | None

    @property
    def percent(self) -> float | None:
        """With one decimal; never 100 while something is left to be done."""
        if not self.total:
            return None
        return min(int(1000 * self.done / self.total) / 10, 99.9)


@dataclass(frozen=True)
class Header:
    """What a LUKS header says.

    :param type: luks1 or luks2.
    :param cipher: of the data, or of what it will be when the reencryption has ended; empty where it will not be encrypted.
    :param key_bits: of the volume key; None where no keyslot tells.
    :param sector_size: bytes.
    :param data_offset: bytes from the start of the data device.
    :param epoch: number of changes of a LUKS2 header; None for LUKS1.
    :param flags: kept in the header and used by each opening (allow-discards …).
    :param requirements: what a program must know to be allowed to write.
    :param segments: of LUKS1: one.
    :param work: None where no reencryption is going on.
    """

    type: str
    uuid: str
    label: str
    subsystem: str
    epoch: int | None
    cipher: str
    key_bits: int | None
    sector_size: int
    data_offset: int
    keyslots: tuple[Keyslot, ...]
    tokens: tuple[Token, ...] = ()
    segments: tuple[Segment, ...] = ()
    flags: tuple[str, ...] = ()
    requirements: tuple[str, ...] = ()
    work: Work | None = None

    def progress(self, device_size: int | None) -> Progress | None:
        """How far the reencryption is; None where there is none.

        :param device_size: bytes of the data device.
        """
        if self.work is None:
            return None
        parts = [_measured(segment, device_size) for segment in self.segments if not segment.is_note]
        done = sum(part.size or 0 for part in _done(parts, self.work))
        sizes = [part.size for part in parts if part.size is not None]
        total = sum(sizes) if len(sizes) == len(parts) else None
        return Progress(self.work.mode, self.work.direction, self.work.resilience, done, total)


def _measured(segment: Segment, device_size: int | None) -> Segment:
    if segment.size is not None or device_size is None:
        return segment
    return replace(segment, size=max(device_size - segment.offset, 0))


def _done(parts: list[Segment], work: Work) -> list[Segment]:
    """The parts that are as they will be: known by their type, or (when one key follows another) by their place."""
    if work.mode != REENCRYPT:
        final = "crypt" if work.mode == "encrypt" else "linear"
        return [part for part in parts if part.type == final and HOT not in part.flags]
    ordered = parts if work.direction == "forward" else parts[::-1]
    hot = [index for index, part in enumerate(ordered) if HOT in part.flags]
    if hot:
        return ordered[: hot[0]]
    return ordered[:-1]


@dataclass(frozen=True)
class Area:
    """The bytes that are a header, from the start of its device, as a header backup has them.

    :param length: bytes.
    :param blank: first and last+1 byte of a part without meaning, which a backup of LUKS1 has as zeros.
    """

    type: str
    uuid: str
    length: int
    blank: tuple[int, int] | None = None


# --- what else is on and over a device -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Signature:
    """What libblkid's low-level probe sees on a device.

    :param type: ext4, swap, LVM2_member …; empty where there is but a partition table.
    :param usage: filesystem, raid, crypto, other.
    :param table: gpt, dos … where there is a partition table.
    """

    type: str
    usage: str
    uuid: str
    label: str
    table: str

    def __str__(self) -> str:
        parts = [f"a partition table ({self.table})"] if self.table else []
        parts += [f"{self.type}{f' with UUID {self.uuid}' if self.uuid else ''}"] if self.type else []
        return " and ".join(parts)


@dataclass(frozen=True)
class Trace:
    """One signature that wipefs(8) sees; a device may have several, and of a partition table each copy is one.

    :param path: of the device or partition.
    :param type: as blkid has it, or gpt, dos, PMBR … of a partition table.
    :param offset: bytes from the start, as wipefs writes it.
    """

    path: str
    type: str
    uuid: str
    offset: str

    def __str__(self) -> str:
        return f"{self.type}{f' with UUID {self.uuid}' if self.uuid else ''}"


@dataclass(frozen=True)
class Mount:
    """One line of the kernel's table of mounts."""

    source: str
    target: str
    type: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Holder:
    """A block device of the kernel that lies on another.

    :param name: the kernel's: dm-0, md0.
    :param mapper: name under /dev/mapper; empty where it is none.
    :param uuid: of the device mapper, e.g. ``CRYPT-LUKS2-<32 hexadecimal digits>-<name>``.
    :param partition: it is a part of the device by a partition table.
    """

    name: str
    mapper: str = ""
    uuid: str = ""
    partition: bool = False

    def maps(self, luks_uuid: str) -> bool:
        """Whether it is the open form of the LUKS volume."""
        parts = self.uuid.split("-", 3)
        return parts[0] == "CRYPT" and len(parts) > 2 and parts[2] == luks_uuid.replace("-", "").lower()


def open_form(holders: Sequence[Holder], luks_uuid: str) -> str | None:
    """The name under /dev/mapper of a LUKS volume that is open.

    While a reencryption is running there are helpers beside it, which cryptsetup calls NAME-hotzone-forward, NAME-overlay …
    """
    names = [holder.mapper for holder in holders if holder.mapper and holder.maps(luks_uuid)]
    helpers = {name + helper for name in names for helper in ("-hotzone-forward", "-hotzone-backward", "-overlay")}
    return next((name for name in names if name not in helpers), None)


@dataclass(frozen=True)
class Device:
    """A block device or a regular file, with all that is on it and over it.

    :param size: bytes.
    :param block: whether it is a block device.
    :param header: its LUKS header; None where there is none that can be used.
    :param signature: what else it shows; None where that is nothing, or its LUKS header.
    :param holders: block devices that lie on it, partitions included.
    :param claims: what is going on with it that it does not show.
    :param twins: open volumes that have the UUID of its LUKS header and lie on another device, and on which: "home on sdc1".
    :param through: the partition over which something lies, where there is no partition table: the kernel takes the header for one.
    """

    path: str
    size: int
    block: bool
    read_only: bool
    header: Header | None
    signature: Signature | None
    holders: tuple[Holder, ...] = ()
    mounts: tuple[Mount, ...] = ()
    swaps: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    twins: tuple[str, ...] = ()
    through: str = ""

    @property
    def mapping(self) -> str | None:
        """The name of the open form of this volume under /dev/mapper."""
        return open_form(self.holders, self.header.uuid) if self.header is not None else None

    @property
    def uses(self) -> tuple[str, ...]:
        """In words, what it is in use for."""
        return (
            *(f"mounted at {mount.target}" for mount in self.mounts),
            *("in use as swap" for _swap in self.swaps),
            *(f"held by {holder.mapper or holder.name}" for holder in self.holders),
            *self.claims,
        )


@dataclass(frozen=True)
class ActiveMapping:
    """The open form of a volume, as ``cryptsetup status`` tells it.

    :param device: the path of the device under it.
    :param flags: discards, same_cpu_crypt …
    :param in_use: somebody has it open: a mount, a device over it, or a process.
    """

    device: str
    read_only: bool
    flags: tuple[str, ...]
    in_use: bool


@dataclass(frozen=True)
class PbkdfChoice:
    """What is asked of a key derivation; None is cryptsetup's own choice.

    :param type: argon2id, argon2i or pbkdf2.
    :param memory: KiB.
    :param time: milliseconds that an unlock should take on this host.
    :param iterations: passes over the memory, or iterations of pbkdf2; instead of ``time``.
    """

    type: str | None = None
    memory: int | None = None
    time: int | None = None
    iterations: int | None = None
    threads: int | None = None


# --- crypttab --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CrypttabEntry:
    """The fields of one line of crypttab.

    :param name: under /dev/mapper.
    :param device: path, or UUID=, PARTUUID=, LABEL=, PARTLABEL= and a value.
    :param key: path, or ``none``.
    :param options: each as written; none is an empty tuple.
    """

    name: str
    device: str
    key: str = "none"
    options: tuple[str, ...] = ()

    def option(self, name: str) -> str | None:
        """The value of an option; empty for one that takes none, None for one that is not there."""
        for option in self.options:
            found, _equals, value = option.partition("=")
            if found == name:
                return value
        return None


@dataclass(frozen=True)
class CrypttabLine:
    """One line of crypttab as it is in the file, with its end of line.

    :param entry: None for a comment, an empty line, and one that is no entry.
    """

    text: str
    entry: CrypttabEntry | None = None


@dataclass(frozen=True)
class WantedEntry:
    """An entry that should be there, or a name of which there should be none.

    :param entry: for the state absent only its name counts.
    """

    entry: CrypttabEntry
    state: str = PRESENT


@dataclass(frozen=True)
class CrypttabState:
    """crypttab, and what is asked of it.

    :param backup: whether a copy is kept before a change.
    :param copy: the path of the copy that was made.
    :param written: whether the file was written by this run.
    """

    path: str
    lines: tuple[CrypttabLine, ...]
    entries: tuple[WantedEntry, ...]
    backup: bool = False
    copy: str | None = None
    written: bool = False


# --- header backups --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class BackupRule:
    """How backups are kept.

    :param folder: where they are.
    :param keep: how many older ones are kept beside the newest; None for all.
    :param mode: permission bits.
    """

    folder: str
    keep: int | None
    mode: int


@dataclass(frozen=True)
class HeaderBackup:
    """A backup that is there.

    :param stamp: time at which it was made, as in its name.
    :param digest: SHA-256 of the header; None for a file that is no whole header.
    """

    path: str
    stamp: str
    digest: str | None
    mode: int


@dataclass(frozen=True)
class BackedUp:
    """A header, and the backups there are of it.

    :param device: as it was asked for.
    :param header_path: the device, or the file of a detached header.
    :param backups: oldest first.
    :param rests: what runs that were killed have left.
    :param within: the folder lies in the volume itself.
    """

    device: str
    header_path: str
    uuid: str
    digest: str
    backups: tuple[HeaderBackup, ...] = ()
    rests: tuple[str, ...] = ()
    within: bool = False


@dataclass(frozen=True)
class BackupState:
    """All headers that are asked for."""

    rule: BackupRule
    volumes: tuple[BackedUp, ...]
