# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a volume comes to be encrypted, or encrypted anew, with its data kept. Pure.

The order of an encryption in place, and what a cut leaves at each point:

1. A note of what is going on is written (stage ``prepared``). The file system is unmounted, checked and made ROOM bytes smaller than
   its device; resize2fs keeps an undo file. Cut here: the file system is as it was, or is brought back by the undo file.
2. The first HEAD bytes, which the LUKS header will overwrite, are copied to the room at the end and their digest is noted (stage
   ``stashed``). Cut here, or while cryptsetup writes its header: the copy is put back and the work begins again.
3. cryptsetup writes the header. It is proven: the secret opens it, and cryptsetup's own copy of the first bytes has the digest (stage
   ``proven``). From here on there is no way back, and none is needed: a reencryption of LUKS2 survives a cut by itself.
4. The volume is mounted again, and the work goes on in a unit of systemd.

With a detached header nothing is moved on the device, and 1 and 2 shrink to the unmount.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.secret import Secret
from ansible_collections.rootoftrust.linux.plugins.module_utils.core.step import Step
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import (
    HOT,
    LUKS1,
    LUKS2,
    REENCRYPT,
    Device,
    Header,
    Keyslot,
    Mount,
    PbkdfChoice,
)

MIB = 1024 * 1024
HEAD = 16 * MIB  # bytes that the LUKS2 header takes: half of what --reduce-device-size is given
REDUCE = 32 * MIB  # as cryptsetup-reencrypt(8) recommends: the header, and as much to move data through
ROOM = 64 * MIB  # bytes made free at the end: REDUCE, and outside of it a place for the copy of the head
STASH_FROM_END = 56 * MIB  # where that copy begins
LEAST = 2 * ROOM  # bytes of the smallest volume that is taken

PREPARED, STASHED, PROVEN = "prepared", "stashed", "proven"  # stages of a note
AUTO, SHRINK_IT, GROW_IT, DETACHED = "auto", "shrink", "grow", "header"  # ways to room
REFUSE, TERMINATE, DROP = "refuse", "terminate", "drop"
ENCRYPTED, PLAIN = "encrypted", "plain"  # states that are asked for
ENCRYPT, DECRYPT = "encrypt", "decrypt"  # modes of a note
WORKING = {ENCRYPT: "encrypting", REENCRYPT: "reencrypting"}  # mode of the header's work → state that is told
EXT, BTRFS, XFS = ("ext2", "ext3", "ext4"), "btrfs", "xfs"
SYSTEM_MOUNTS = ("/", "/usr", "/var", "/boot", "/boot/efi", "/etc")  # cannot be unmounted while the system runs
CONTENT_LINKS = ("/dev/disk/by-uuid/", "/dev/disk/by-label/", "/dev/disk/by-diskseq/")  # of udev, by what is on a device, or by its turn
OPTION_UUID = (2, 4)  # cryptsetup that knows reencrypt --uuid

# What is done
NOTE, STOP, TERM, UNMOUNT, CHECK, UNDO, SHRINK, EXTEND = "note", "stop", "terminate", "unmount", "check", "undo", "shrink", "extend"
STASH, RESTORE, INITIALISE, PROVE, BACK_UP, OPEN = "stash", "restore", "initialise", "prove", "back_up", "open"
MOUNT, START, RUN, GROW, FORGET = "mount", "start", "run", "grow", "forget"
NAME_KEY, REKEY, CONVERT, STRENGTHEN, FINISH = "name_key", "rekey", "convert", "strengthen", "finish"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9#+.:=@_-]*")  # what libdevmapper keeps as it is, and systemd too at the start
VOLUME_KEY_TOKEN = "rootoftrust-volume-key"  # type of the token that names the volume key
# What the unit runs. It goes on with the work where this module has just left the file $1, having looked at the header; and else, at boot,
# only where the header $2 shows by its segments that the work is neither to begin nor over: see plan_metadata.
GUARD = (
    'rm -- "$1" 2>/dev/null || cryptsetup luksDump -- "$2" | awk \'/^Data segments:/ {on = 1; next} /^Keyslots:/ {on = 0}'
    " on && /^  [0-9]+: / {parts++} on && /flags *:.*backup-/ {parts--} on && /flags *:.*in-reencryption/ {hot = 1}"
    ' END {exit !(parts > 1 || hot)}\' || exit 0; shift 2; exec "$@"'
)


@dataclass(frozen=True)
class Wish:
    """What is asked of one volume.

    :param device: path, or UUID=, LABEL= …
    :param header: path of a detached header.
    :param name: of the mapping.
    :param key_file: where the secret is on the host, when it was given so: the unit reads it there.
    :param mount: where the file system has to be mounted, if anywhere.
    :param volume_key: the user's word for the volume key; another word than the header's asks for another key.
    :param state: encrypted or plain.
    """

    device: str
    header: str | None = None
    name: str | None = None
    secret: Secret | None = None
    key_file: str | None = None
    uuid: str | None = None
    type: str | None = None
    cipher: str | None = None
    key_bits: int | None = None
    sector_size: int | None = None
    pbkdf: PbkdfChoice = field(default_factory=PbkdfChoice)
    room: str = AUTO
    mount: str | None = None
    busy: str = REFUSE
    stop_units: tuple[str, ...] = ()
    volume_key: str | None = None
    other_keyslots: str = REFUSE
    state: str = ENCRYPTED


@dataclass(frozen=True)
class FileSystem:
    """A file system that is to be kept.

    :param size: bytes; None where that is not known.
    :param minimum: bytes to which it can be made smaller; None where it cannot, or that is not known.
    :param fault: why it is not to be touched; empty if nothing is known.
    :param rigid: why its size is not to be changed; empty if nothing is known.
    """

    type: str
    uuid: str
    size: int | None = None
    minimum: int | None = None
    fault: str = ""
    rigid: str = ""


@dataclass(frozen=True)
class Process:
    """A process that keeps the file system busy.

    :param own: whether it is one of those that run this module.
    """

    pid: int
    name: str
    what: str
    own: bool = False

    def __str__(self) -> str:
        return f"{self.name} (process {self.pid}, {self.what})"


@dataclass(frozen=True)
class Stash:
    """A copy of the first bytes of the device, on the device.

    :param digest: SHA-256.
    """

    offset: int
    length: int
    digest: str


@dataclass(frozen=True)
class Note:
    """What the host notes of an encryption that is going on.

    :param device: by a name that a boot gives to no other, where udev has one.
    :param size: bytes of the device; what makes it larger for the header is counted in.
    :param fs_uuid: of the file system.
    :param luks_uuid: empty until the header is proven.
    :param mount: where it was mounted; None where it was not.
    :param units: that were running and have been stopped.
    :param undo: path of resize2fs's undo file, while it is at work.
    :param mark: by which it is known that the file system was not mounted or repaired since.
    :param mode: encrypt or decrypt; what follows is of a decryption only, whose ``stash`` is the first encrypted bytes at their old place.
    :param asked: how the device was named.
    :param offset: bytes before the encrypted data; 0 with a detached header.
    :param hidden: the sector that is hidden, in hexadecimal digits.
    :param backup: path of the backup of the header as it was.
    :param rigid: whether the size of the file system is not to be changed.
    """

    name: str
    device: str
    size: int
    stage: str
    fs_type: str
    fs_uuid: str
    header: str | None = None
    luks_uuid: str = ""
    mount: Mount | None = None
    units: tuple[str, ...] = ()
    undo: str = ""
    mark: str = ""
    stash: Stash | None = None
    mode: str = ENCRYPT
    asked: str = ""
    offset: int = 0
    hidden: str = ""
    backup: str = ""
    rigid: bool = False


@dataclass(frozen=True)
class Background:
    """The unit that does the work.

    :param exists: there is one of this volume.
    :param active: it is running.
    :param fault: why it ended too early; empty if it did not.
    """

    unit: str = ""
    exists: bool = False
    active: bool = False
    fault: str = ""


@dataclass(frozen=True)
class Situation:
    """One volume as it is.

    :param keyslot: the number of the keyslot that the secret opens; -1 where it opens none, None where that was not tried.
    :param stash: what is to be said of the noted copy of the head: ``fits``, ``broken``, ``used`` where the file system has been
        mounted since it was made, ``opened`` where that was done through its new header, ``unclear`` where that cannot be known; empty
        where there is none.
    :param undo: whether resize2fs was cut, and the file system has not been in use since.
    :param down_units: those noted, or to be stopped, that are not running.
    :param below: mounts below the mount point.
    :param spare: bytes that the volume group could add to the logical volume; None where it is none.
    :param volume_key: the word in the header's token; empty where there is none, or the key that it names is still to be made.
    :param systemd: whether it runs here.
    :param version: of cryptsetup.
    :param taken: whether the name is that of another mapping, or of the work on another device.
    :param home_of_notes: whether the notes would lie on the volume itself.
    :param header_folder: there is a folder for the file of the detached header.
    :param header_file: there is a file in its place.
    :param away: seconds for which this run had the file system unmounted.
    :param sector: of a decryption: what the sector is that is hidden meanwhile; empty while that cannot be seen.
    :param on_device: of a decryption: whether the header is still on the device.
    :param key_number: of a decryption: the number of the volume key's digest.
    :param lasting: the device by a name that a boot gives to no other.
    :param over: whether all data is as it is to be, and only the header does not say so yet: cryptsetup must not go on with that.
    """

    device: Device
    header_path: str
    filesystem: FileSystem | None = None
    processes: tuple[Process, ...] = ()
    note: Note | None = None
    keyslot: int | None = None
    stash: str = ""
    undo: bool = False
    down_units: tuple[str, ...] = ()
    below: tuple[str, ...] = ()
    spare: int | None = None
    volume_key: str = ""
    background: Background = Background()
    systemd: bool = True
    version: tuple[int, ...] = ()
    taken: bool = False
    home_of_notes: bool = False
    header_folder: bool = True
    header_file: bool = False
    away: float | None = None
    sector: str = ""
    on_device: bool = False
    key_number: int | None = None
    over: bool = False
    lasting: str = ""

    @property
    def is_early(self) -> bool:
        """Whether an encryption was begun, and its header is not proven yet."""
        return self.note is not None and self.note.stage in (PREPARED, STASHED)


@dataclass(frozen=True)
class Job:
    """What a step needs to know.

    :param note: as it is when the work begins.
    :param ending: whether the reencryption has ended.
    """

    wish: Wish
    situation: Situation
    note: Note | None
    ending: bool = False


def needs_secret(situation: Situation, wish: Wish) -> bool:
    """Whether the plan depends on which keyslot the secret opens. Only then a key is derived to look."""
    header = situation.device.header
    if header is None or wish.secret is None:
        return False
    if wish.state == PLAIN:
        return header.type == LUKS2 and bool(header.keyslots) and not situation.background.active and not situation.over
    if situation.is_early:
        return True
    if header.work is not None:
        # Where only the end of a new volume key is left to be written, nothing is opened, and cryptsetup 2.3.7 cannot try a secret: it
        # fails at the keyslot of the old key, which the data no longer has.
        return not situation.background.active and not (situation.over and header.work.mode == REENCRYPT)
    return bool(_due(situation, wish, header))


def refuse_double_names(situations: Sequence[tuple[Situation, Wish]]) -> None:
    """:raises RootOfTrustError: if two volumes are to have one name."""
    names = [wish.name for dummy, wish in situations if wish.name]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RootOfTrustError(f"Two volumes are to have the name {twice[0]}.", "Give each a name of its own.")


def plan_encryption(situation: Situation, wish: Wish) -> list[Step]:
    """The steps of one volume.

    :raises RootOfTrustError: if what is asked for is refused.
    """
    if situation.note is not None and wish.name not in (None, situation.note.name):
        raise RootOfTrustError(
            f"{wish.device} is being worked on under the name {situation.note.name}.", f"Give name: {situation.note.name}."
        )
    if wish.name and not NAME.fullmatch(wish.name):
        raise RootOfTrustError(f"The name {wish.name!r} cannot be that of a mapping.", "Use letters, digits and #+.:=@_-, a letter first.")
    note, header = situation.note, situation.device.header
    if note is not None and note.stage == PROVEN and note.header is not None and header is None:
        raise RootOfTrustError(
            f"{wish.device} is encrypted with the header {note.header}, which is not there.",
            "Put it back from its newest backup: see luks_header_backup. Without it the data is lost.",
        )
    if header is None or situation.is_early:
        return _plan_start(situation, wish)
    if header.work is not None:
        return _plan_work(situation, wish)
    if situation.background.active:
        return []
    if note is not None and (note.fs_type or wish.volume_key in (None, situation.volume_key)):
        steps = _plan_end(situation, wish, note)
    else:
        steps = _plan_changes(situation, wish, header)
    strange = _strange(situation)
    if steps and strange:
        raise RootOfTrustError(strange, "Correct device or header.")
    return steps


def _strange(situation: Situation) -> str:
    """What tells that a detached header and a device do not belong together; empty where nothing does."""
    device, header = situation.device, situation.device.header
    if header is None or header.work is not None or is_plain(header) or device.signature is None:
        return ""
    return (
        f"{device.path} has {device.signature}, though {situation.header_path} is its LUKS header: it is not encrypted, or not all of it,"
        " or is another device."
    )


# --- the beginning ---------------------------------------------------------------------------------------------------


def _plan_start(situation: Situation, wish: Wish) -> list[Step]:
    """From a plain file system, or from what a cut left before the header was proven, to the work in the background."""
    note, device = situation.note, situation.device
    if note is not None and device.header is not None and situation.keyslot not in (None, -1):
        # The header is there and opens, and its copy of the head is whole.
        opened = (OPEN,) if device.mapping is None else ()
        return _steps(situation, wish, note, (PROVE, BACK_UP, *_away(situation, wish, note), *opened, *_back(note), RUN))
    if note is not None and note.header is None and situation.stash in ("fits", "broken", "unclear", "opened"):
        _check_restore(situation, note)
        need_secret(wish, "becomes the first keyslot")
        return _steps(situation, wish, note, (RESTORE, INITIALISE, PROVE, BACK_UP, OPEN, *_back(note), RUN))
    _preflight(situation, wish)
    begun = replace(note, stage=PREPARED, stash=None, size=device.size) if note is not None else _new_note(situation, wish)
    begun = replace(begun, mount=device.mounts[0]) if device.mounts else begun
    way = way_to_room(situation, wish)
    online = way == SHRINK_IT and begun.fs_type == BTRFS
    actions = [] if note == begun else [NOTE]
    actions += [SHRINK] if online else []
    actions += _away(situation, wish, begun)
    found = situation.filesystem
    undone = situation.undo and found is not None and bool(found.fault)  # else resize2fs came to its end, and there is nothing to undo
    actions += [UNDO] if undone else []
    actions += [CHECK] if begun.fs_type in EXT else []
    actions += [SHRINK] if (way == SHRINK_IT and not online) or (undone and not way) else []  # undone it has its old size again
    actions += [EXTEND] if way == GROW_IT else []
    actions += [] if way == DETACHED else [STASH]
    return _steps(situation, wish, begun, (*actions, INITIALISE, PROVE, BACK_UP, OPEN, *_back(begun), RUN))


def _away(situation: Situation, wish: Wish, note: Note) -> tuple[str, ...]:
    """To have the plain file system unmounted."""
    if not situation.device.mounts or situation.device.mapping is not None:
        return ()
    check_busy(situation, wish)
    return (*((STOP,) if note.units else ()), *((TERM,) if situation.processes else ()), UNMOUNT)


def _back(note: Note) -> tuple[str, ...]:
    """To have it mounted again."""
    return (*((MOUNT,) if note.mount is not None else ()), *((START,) if note.units else ()))


def _check_restore(situation: Situation, note: Note) -> None:
    """The copy of the head may be put back only if it is whole, and only where nobody has written since and nobody else's data is."""
    device, found = situation.device, situation.device.signature
    path = device.path
    forget = f"If the file system there is as it should be, remove the note {note.name}.json; else ask before you do anything."
    if device.header is not None and (device.header.work is None or device.header.work.mode != "encrypt"):
        raise RootOfTrustError(f"{path} has a LUKS header that is not of the encryption that was begun there.", forget)
    if found is not None and found.type != "crypto_LUKS" and found.uuid != note.fs_uuid:
        raise RootOfTrustError(f"The encryption of another file system was begun on {path}; now it has {found}.", forget)
    if situation.stash == "opened":
        raise RootOfTrustError(
            f"{path} was opened and mounted since its encryption was begun, and the secret given does not open it.",
            "Give the one that does.",
        )
    if situation.stash == "unclear":
        raise RootOfTrustError(
            f"It cannot be known whether the {note.fs_type} on {path} was mounted since its encryption was begun.", forget
        )
    if situation.stash == "broken":
        raise RootOfTrustError(
            f"{path} has neither its file system nor a LUKS header that the secret opens, and the copy of its first bytes is not whole.",
            "Give the secret of the run before, if it was another.",
        )
    if device.mounts or device.swaps:
        raise RootOfTrustError(f"{path} is {', '.join(device.uses)}.", "Unmount it.")


def way_to_room(situation: Situation, wish: Wish) -> str:
    """How there will be ROOM bytes at the end of the device; empty where there are.

    :raises RootOfTrustError: if there is no way.
    """
    found, device = situation.filesystem, situation.device
    if wish.room == DETACHED:
        return DETACHED
    if found is None:
        raise RootOfTrustError(f"{device.path} has no file system that is known here.", "Use luks_container for an empty device.")
    # Only what is measured counts: since an earlier run made room, the file system may have been grown into it, at boot or by lvextend -r.
    # Where its size cannot be known, only what this very run adds is surely free.
    if found.size is not None and found.size <= device.size - ROOM:
        return ""
    can_grow = (situation.spare or 0) >= ROOM
    if found.rigid and not (can_grow and wish.room in (AUTO, GROW_IT)):
        raise RootOfTrustError(
            f"The {found.type} on {device.path} {found.rigid}.", "Choose room: header, or make the logical volume larger (room: grow)."
        )
    if wish.room in (AUTO, SHRINK_IT) and (found.type in EXT or found.type == BTRFS) and not found.rigid:
        if found.minimum is None or found.minimum <= target_size(device):
            return SHRINK_IT
        if wish.room == SHRINK_IT or not can_grow:
            raise RootOfTrustError(
                f"The {found.type} on {device.path} cannot be made smaller than {found.minimum // MIB} MiB, and has to fit"
                f" {target_size(device) // MIB} MiB to leave {ROOM // MIB} MiB for the LUKS header.",
                "Delete files, make the device larger, or choose room: header.",
            )
    if wish.room == SHRINK_IT:
        raise RootOfTrustError(f"{found.type} cannot be made smaller.", "Choose room: grow (a logical volume) or room: header.")
    if can_grow:
        return GROW_IT
    why = "which is no logical volume" if situation.spare is None else f"whose volume group has but {situation.spare // MIB} MiB free"
    larger = "" if found.size is None else f"Make the device {ROOM // MIB} MiB larger, or c"
    raise RootOfTrustError(
        f"The {found.type} fills {device.path}, {why}.",
        f"{larger or 'C'}hoose room: header, which keeps the LUKS header in a file elsewhere.",
    )


def check_room(found: FileSystem | None, device: Device, planned: Device) -> None:
    """The end of a device is written to only where the file system, measured once more, does not reach.

    :param planned: the device as it was when the steps were planned.
    :raises RootOfTrustError: if it may reach there.
    """
    if found is None:
        raise RootOfTrustError(f"{device.path} does not show its file system any more.", "See what it has with blkid -p.")
    end = found.size if found.size is not None else planned.size
    if end > device.size - ROOM:
        raise RootOfTrustError(
            f"The {found.type} on {device.path} may reach to byte {end} of {device.size}, and the last {ROOM // MIB} MiB have to be free.",
            "Run again: it was made larger a moment ago.",
        )


def target_size(device: Device) -> int:
    """Bytes that a file system may have so that ROOM is free; whole MiB."""
    return (device.size - ROOM) // MIB * MIB


def vanishes(named: str) -> bool:
    """Whether a device is named by what is on it."""
    return named.partition("=")[0] in ("UUID", "LABEL") or named.startswith(CONTENT_LINKS)


def refuse_vanishing_name(named: str, path: str) -> None:
    """:raises RootOfTrustError: if a device is named by what is on it now, and will not be: the next run would not find it."""
    if vanishes(named):
        other = f"the path {path}" if path != named else "a path under /dev/disk/by-id or by-partuuid, or PARTUUID=,"
        raise RootOfTrustError(f"{named} names {path if path != named else 'a device'} by what is to go.", f"Give {other} instead.")


def refuse_twin(device: Device) -> None:
    """:raises RootOfTrustError: if a volume of its UUID is open from another device: what is meant for the one could hit the other."""
    if device.twins and device.header is not None:
        raise RootOfTrustError(
            f"The LUKS volume {device.header.uuid} is open as {device.twins[0]}, not on {device.path}:"
            " one of them is a copy, or the wrong one.",
            "Correct device; or give the copy a UUID of its own by luks_container (change).",
        )
    refuse_through(device)


def refuse_through(device: Device) -> None:
    """:raises RootOfTrustError: if the volume is open through what is no partition: cryptsetup does not know it as that of the device."""
    if device.through:
        raise RootOfTrustError(
            f"{device.path} is in use through {device.through}: the kernel takes its first bytes for a partition table, and they are none.",
            f"Close what lies on {device.through}, run partx --delete {device.path}, and open {device.path} itself.",
        )


def _preflight(situation: Situation, wish: Wish) -> None:
    """Refuse what cannot go well, before anything is changed."""
    refuse_vanishing_name(wish.device, situation.device.path)
    _check_device(situation)
    check_mounts(situation, wish)
    _check_wish(situation, wish)
    found = situation.filesystem
    if found is not None and found.fault and not situation.undo:
        copy = "Leave it one device (btrfs device remove), or copy its data to volumes that luks_container makes."
        remedy = f"Unmount it and run fsck.{found.type} on it." if "errors" in found.fault else copy
        raise RootOfTrustError(f"The {found.type} on {situation.device.path} {found.fault}.", remedy)
    way = way_to_room(situation, wish)
    if way == SHRINK_IT and found is not None and found.type == BTRFS and not situation.device.mounts:
        raise RootOfTrustError(f"The btrfs on {situation.device.path} is not mounted; it is made smaller while it is.", "Mount it.")


def _check_device(situation: Situation) -> None:
    device, found = situation.device, situation.device.signature
    path = device.path
    if not device.block:
        raise RootOfTrustError(f"{path} is no block device.", "Give a partition, a logical volume or a disk.")
    if device.read_only:
        raise RootOfTrustError(f"{path} is read-only.", "Make it writable: see blockdev(8).")
    if device.header is not None and situation.note is None:
        raise RootOfTrustError(f"{path} has a LUKS header of which it is not known what it is for.", "See luks_info.")
    if found is None:
        raise RootOfTrustError(f"{path} has nothing that is known: there is no data to keep.", "Use luks_container.")
    if found.table or found.usage != "filesystem":
        remedy = "Give a partition of it." if found.table else "Give the device of a file system."
        raise RootOfTrustError(f"{path} has {found}, which is no file system.", remedy)
    if device.swaps or device.holders:
        raise RootOfTrustError(f"{path} is {', '.join(device.uses)}.", "Take that away first.")
    if device.size < LEAST:
        raise RootOfTrustError(f"{path} has {device.size // MIB} MiB, less than {LEAST // MIB}.", "Use luks_container on a new device.")


def check_mounts(situation: Situation, wish: Wish) -> None:
    targets = [mount.target for mount in situation.device.mounts]
    path = situation.device.path
    if len(targets) > 1:
        raise RootOfTrustError(f"{path} is mounted at {', '.join(targets)}.", "Leave one of the mounts.")
    if targets and wish.mount is not None and targets[0] != wish.mount:
        raise RootOfTrustError(f"{path} is mounted at {targets[0]}, not at {wish.mount}.", "Correct mount or device.")
    if targets and targets[0] in SYSTEM_MOUNTS:
        raise RootOfTrustError(f"{path} is mounted at {targets[0]}, which the running system needs.", "Encrypt it when installing.")
    if situation.below:
        raise RootOfTrustError(f"Below {targets[0]} are mounted: {', '.join(situation.below)}.", "Unmount them first.")
    if situation.home_of_notes:
        raise RootOfTrustError(f"The folder of the notes or of the header backups lies on {path} itself.", "Give one elsewhere.")


def _check_wish(situation: Situation, wish: Wish) -> None:
    if not wish.name:
        raise RootOfTrustError(f"The mapping of {wish.device} has no name.", "Give name.")
    if situation.taken:
        raise RootOfTrustError(f"There is a mapping {wish.name} already, of another device.", "Give another name.")
    if not situation.systemd:
        raise RootOfTrustError("systemd does not run here; the work goes on in one of its units.", "Use a host with systemd.")
    if (wish.room == DETACHED) != bool(wish.header):
        raise RootOfTrustError("room: header and the path of the header's file belong together.", "Give both, or none.")
    if wish.header and not situation.header_folder:
        raise RootOfTrustError(f"There is no folder {posixpath.dirname(wish.header)} for the header {wish.header}.", "Make it.")
    if wish.header and situation.header_file and situation.note is None:
        raise RootOfTrustError(f"{wish.header} is there, and is no LUKS header.", "Remove it, or correct header.")
    if wish.uuid and situation.version < OPTION_UUID:
        raise RootOfTrustError("This cryptsetup cannot be told the UUID of the header.", "Leave uuid out; the result tells what it chose.")
    need_secret(wish, "becomes the first keyslot")


def need_secret(wish: Wish, why: str) -> None:
    if wish.secret is None:
        raise RootOfTrustError(f"A secret of {wish.device} is needed: it {why}.", "Give passphrase or key_file.")


def check_opens(situation: Situation, wish: Wish) -> None:
    need_secret(wish, "unlocks the volume")
    if situation.keyslot == -1:
        raise RootOfTrustError(f"The secret given does not open {wish.device}.", "Give one that does.")


def check_busy(situation: Situation, wish: Wish) -> None:
    if not situation.processes:
        return
    target = situation.device.mounts[0].target
    own = [process for process in situation.processes if process.own]
    if own:
        raise RootOfTrustError(
            f"{target} is in use by the very connection that this runs in: {', '.join(str(process) for process in own)}.",
            "Connect as root, or as a user whose home is elsewhere.",
        )
    if wish.busy == REFUSE:
        raise RootOfTrustError(
            f"{target} is in use by {', '.join(str(process) for process in situation.processes)}.",
            "Name their units in stop_units, end them, or choose busy: terminate.",
            facts={"processes": [asdict(process) for process in situation.processes]},
        )


def _new_note(situation: Situation, wish: Wish) -> Note:
    device, found = situation.device, situation.device.signature
    return Note(
        name=wish.name or "",
        device=situation.lasting or device.path,
        size=device.size,
        stage=PREPARED,
        fs_type=found.type if found else "",
        fs_uuid=found.uuid if found else "",
        header=wish.header,
        mount=device.mounts[0] if device.mounts else None,
        units=tuple(unit for unit in wish.stop_units if unit not in situation.down_units),
        rigid=situation.filesystem is not None and bool(situation.filesystem.rigid),
    )


# --- while the work goes on, and its end -----------------------------------------------------------------------------


def _plan_work(situation: Situation, wish: Wish) -> list[Step]:
    """The header is right and a reencryption is under way."""
    device, running = situation.device, situation.background.active
    note = situation.note or _plain_note(situation, wish)
    if note.header is not None and device.size != note.size and not running:
        raise RootOfTrustError(
            f"{device.path} has {device.size} bytes; that whose encryption goes on with the header {note.header} had {note.size}.",
            f"Give the device that was called {note.device}, as large as it was.",
        )
    if device.mounts and device.mapping is None and device.header is not None and not _is_untouched(device.header):
        target = device.mounts[0].target
        raise RootOfTrustError(
            f"{device.path} is mounted at {target} as if it were plain, though a part of it is encrypted.",
            f"Unmount {target}, write nothing more to it, and keep it out of fstab until the work has ended. What was written there since"
            " may be lost: run again, and then check the file system in the volume (fsck), and its files against a backup.",
        )
    if situation.over and not running:
        return [*_steps(situation, wish, note, (BACK_UP, FINISH)), *_plan_end(situation, wish, note)]
    actions = [NOTE] if situation.note is None and not running else []
    actions += _away(situation, wish, note)  # a plain file system under a detached header, which the boot has mounted
    actions += [OPEN] if device.mapping is None else []
    actions += [MOUNT] if note.mount is not None and (not device.mounts or UNMOUNT in actions) else []
    actions += [START] if note.units and (situation.down_units or STOP in actions) else []
    actions += [] if running else [RUN]
    if OPEN in actions or RUN in actions:
        refuse_through(device)
        if not note.name:
            raise RootOfTrustError(f"The mapping of {wish.device} has no name.", "Give name.")
        check_opens(situation, wish)
    return _steps(situation, wish, note, tuple(actions))


def _is_untouched(header: Header) -> bool:
    """Whether the work on a plain file system has not begun to write to it."""
    return all(part.type == "linear" and HOT not in part.flags for part in header.segments if not part.is_note)


def _plain_note(situation: Situation, wish: Wish) -> Note:
    """The note of a work that has nothing to bring back: a new volume key, or what somebody else has begun."""
    device = situation.device
    uuid = device.header.uuid if device.header is not None else ""
    named = situation.lasting or device.path
    return Note(device.mapping or wish.name or "", named, device.size, PROVEN, "", "", wish.header, uuid)


def grows(note: Note) -> bool:
    """Whether the file system is made larger once there is more room: XFS stays as it is, and btrfs is changed only while it is mounted."""
    return (note.fs_type in EXT and not note.rigid) or (note.fs_type == BTRFS and note.mount is not None)


def _plan_end(situation: Situation, wish: Wish, note: Note) -> list[Step]:
    """All is encrypted: the file system takes its room back, and what was only for the work goes away."""
    device = situation.device
    actions = [OPEN] if device.mapping is None and note.fs_type else []
    actions += [MOUNT] if note.mount is not None and not device.mounts else []
    actions += [START] if situation.down_units else []
    if note.header is None:  # else nothing was made smaller
        actions += [GROW] if grows(note) else []
    actions += [NAME_KEY] if note.fs_type and wish.volume_key not in (None, situation.volume_key) else []
    if OPEN in actions:
        check_opens(situation, wish)
    # Ordered for their own sake: whether the work has ended already when the others are done is a matter of chance.
    return [replace(step, once=True) for step in _steps(situation, wish, note, (*actions, BACK_UP, FORGET))]


# --- changes to a volume that is encrypted ---------------------------------------------------------------------------


def _due(situation: Situation, wish: Wish, header: Header) -> tuple[str, ...]:
    """The changes that are asked for and are not yet so."""
    due = [CONVERT] if wish.type == LUKS2 and header.type == LUKS1 else []
    # Which keyslot is meant only a secret tells: without one, what a key file or a recovery key opens would have a run ask for it for ever.
    due += [STRENGTHEN] if wish.secret is not None and _weaker(situation, wish, header) else []
    due += [REKEY] if wish.volume_key is not None and wish.volume_key != situation.volume_key else []
    return tuple(due)


def _weaker(situation: Situation, wish: Wish, header: Header) -> list[str]:
    """The key derivations, of what the secret opens or may open, that are not the one that is asked for."""
    kinds = {slot.pbkdf.type for slot in _candidates(situation, header) if slot.pbkdf is not None}
    return sorted(kinds - {wish.pbkdf.type}) if wish.pbkdf.type is not None else []


def _candidates(situation: Situation, header: Header) -> list[Keyslot]:
    """The keyslot that the secret opens; while that is not known, all that may be a person's."""
    if situation.keyslot is not None:
        return [slot for slot in header.keyslots if slot.number == situation.keyslot]
    machines = {slot for token in header.tokens for slot in token.keyslots if not token.type.startswith("rootoftrust-")}
    return [slot for slot in header.keyslots if slot.kind != REENCRYPT and slot.number not in machines]


def _plan_changes(situation: Situation, wish: Wish, header: Header) -> list[Step]:
    due = _due(situation, wish, header)
    if not due:
        return []
    check_opens(situation, wish)
    if CONVERT in due and situation.device.holders:
        raise RootOfTrustError(f"{situation.device.path} is {', '.join(situation.device.uses)}.", "Close it to convert its header.")
    if header.type == LUKS1 and CONVERT not in due:
        raise RootOfTrustError(f"{wish.device} has a LUKS1 header, which cannot have that.", "Ask for type: luks2 too.")
    if REKEY in due:
        check_rekey(situation, wish, header)
    others = tuple(action for action in due if action != REKEY)
    actions = (BACK_UP, *others, *((BACK_UP,) if others else ()))
    if REKEY not in due:
        return _steps(situation, wish, None, actions)
    note = _plain_note(situation, wish)
    opened = (OPEN,) if situation.device.mapping is None else ()
    return _steps(situation, wish, note, (*actions, NOTE, NAME_KEY, REKEY, *opened, RUN))


def check_rekey(situation: Situation, wish: Wish, header: Header) -> None:
    """:raises RootOfTrustError: if a new volume key would lose what opens the volume, or nothing tells that the header is the device's."""
    others = [str(slot.number) for slot in header.keyslots if slot.number != situation.keyslot and slot.kind != REENCRYPT]
    if others and wish.other_keyslots != DROP:
        raise RootOfTrustError(
            f"A new volume key of {wish.device} would lose the keyslots {', '.join(others)}: their secrets are not given.",
            "Choose other_keyslots: drop, and enrol them again afterwards.",
        )
    if wish.header is not None and situation.device.mapping is None:
        raise RootOfTrustError(
            f"{wish.device} is not open, so it is not known whether the header {wish.header} belongs to it.",
            "Open it first: see luks_mapping.",
        )
    if situation.device.mapping is None:
        _check_wish(situation, replace(wish, uuid=None, room=AUTO, header=None))


def is_plain(header: Header | None) -> bool:
    """Whether nothing is encrypted: there is no header, or it is what a decryption has left in a file."""
    return header is None or (
        header.work is None and bool(header.segments) and all(segment.type == "linear" for segment in header.segments)
    )


def drift(situation: Situation, wish: Wish, header: Header) -> list[dict[str, Any]]:
    """What is not as asked for, and is changed only together with the volume key, or by a secret that is not given."""
    fields = (
        ("cipher", header.cipher, wish.cipher),
        ("key_bits", header.key_bits, wish.key_bits),
        ("sector_size", header.sector_size, wish.sector_size),
    )
    told = [{"field": name, "is": found, "asked": asked} for name, found, asked in fields if asked is not None and asked != found]
    weaker = _weaker(situation, wish, header) if wish.secret is None else []
    return told + ([{"field": "pbkdf", "is": ", ".join(weaker), "asked": wish.pbkdf.type}] if weaker else [])


# --- steps and result ------------------------------------------------------------------------------------------------


def _steps(situation: Situation, wish: Wish, note: Note | None, actions: Sequence[str]) -> list[Step]:
    job = Job(wish, situation, note, ending=FORGET in actions)
    return [step(job, action) for action in actions]


def step(job: Job, action: str) -> Step:
    device, wish = job.situation.device, job.wish
    note = job.note
    target = note.mount.target if note is not None and note.mount is not None else ""
    name = device.mapping or (note.name if note is not None else wish.name) or ""
    units = ", ".join(note.units) if note is not None else ""
    path = device.path
    mib = target_size(device) // MIB
    told: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
        NOTE: (f"Note on the host what is going on with {path}.", {}, {}),
        STOP: (f"Stop {units}.", {}, {}),
        TERM: (f"End {', '.join(str(process) for process in job.situation.processes)}.", {}, {}),
        UNMOUNT: (f"Unmount {target}.", {"source": path}, {"source": None}),
        UNDO: (f"Take back what an earlier run began to change of the size of the file system on {path}.", {}, {}),
        CHECK: (f"Check the file system on {path}.", {}, {}),
        SHRINK: (f"Make the file system on {path} {mib} MiB large.", _fs_size(job), {"file_system": f"{mib} MiB"}),
        EXTEND: (f"Make {path} {ROOM // MIB} MiB larger.", _size(job), {"size": f"{(device.size + ROOM) // MIB} MiB"}),
        STASH: (f"Copy the first {HEAD // MIB} MiB of {path} to its end, in case that writing the header is cut.", {}, {}),
        RESTORE: (f"Put the first {HEAD // MIB} MiB of {path} back: the header was not finished.", {}, {}),
        INITIALISE: (f"Write a LUKS2 header to {wish.header or path}.", {"state": "plain"}, {"state": "encrypting"}),
        PROVE: (f"Prove that the secret opens {path}, and that its data is whole.", {}, {}),
        BACK_UP: (f"Have a backup of the LUKS header of {path}.", {}, {}),
        OPEN: (f"Open {path} as {name}.", {"mapping": None}, {"mapping": name}),
        MOUNT: (f"Mount /dev/mapper/{name} at {target}.", {"source": None}, {"source": f"/dev/mapper/{name}"}),
        START: (f"Start {units} again.", {}, {}),
        RUN: (f"Go on in the background, in {unit_name(name)}.", {"unit": "inactive"}, {"unit": "active"}),
        GROW: (f"Let the file system of {name} take all its room again.", {}, {}),
        FORGET: (f"Remove the unit and the notes: {path} is encrypted.", {"unit": "inactive"}, {"unit": None}),
        NAME_KEY: (
            f"Write to the header that its volume key is {wish.volume_key}.",
            {"volume_key": job.situation.volume_key or None},
            {"volume_key": wish.volume_key},
        ),
        REKEY: (f"Begin to encrypt {path} with a new volume key.", {"state": "encrypted"}, {"state": "reencrypting"}),
        FINISH: (
            f"Write to the header of {path} that the work is over: it was cut just before that.",
            {"state": _working(job.situation)},
            {"state": "plain" if _working(job.situation) == "decrypting" else "encrypted"},
        ),
        CONVERT: (f"Convert the header of {path} to LUKS2.", {"type": LUKS1}, {"type": LUKS2}),
        STRENGTHEN: (
            f"Let the keyslot {job.situation.keyslot} of {path} derive its key by {wish.pbkdf.type}.",
            {f"keyslot_{job.situation.keyslot}": _derivation(job.situation)},
            {f"keyslot_{job.situation.keyslot}": wish.pbkdf.type},
        ),
    }
    return Step(wish.device, action, *told[action], job)


def _working(situation: Situation) -> str | None:
    """The state that the work in the header is told as."""
    header = situation.device.header
    work = header.work if header is not None else None
    return None if work is None else WORKING.get(work.mode, "decrypting")


def _derivation(situation: Situation) -> str | None:
    header = situation.device.header
    slots = [slot.pbkdf for slot in (header.keyslots if header is not None else ()) if slot.number == situation.keyslot]
    return slots[0].type if slots and slots[0] is not None else None


def _fs_size(job: Job) -> dict[str, Any]:
    found = job.situation.filesystem
    return {"file_system": f"{found.size // MIB} MiB" if found is not None and found.size is not None else None}


def _size(job: Job) -> dict[str, Any]:
    return {"size": f"{job.situation.device.size // MIB} MiB"}


def unit_name(name: str) -> str:
    """The unit that goes on with the work on a mapping."""
    return f"rootoftrust-luks-{escape_unit(name)}.service"


def escape_unit(name: str) -> str:
    """A name as a part of a unit's, as systemd-escape(1) does it."""
    kept = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_."
    return "".join(
        character
        if character in kept and not (index == 0 and character == ".")
        else "".join(f"\\x{byte:02x}" for byte in character.encode())
        for index, character in enumerate(name)
    )


def unit_text(name: str, argv: Sequence[str], header_path: str, go: str, secret_path: str, temporary: bool) -> str:
    """The unit's file; for ``header_path`` and ``go`` see :func:`service_lines`.

    It is pulled in by the mapping's device, so that the work goes on whenever the volume is opened, at boot too, and by nothing else;
    and only while the secret is at hand. When the work has ended it takes itself out of the boot.

    :param argv: the program and its arguments.
    :param secret_path: the file of the secret.
    :param temporary: the file is in memory and goes away with the work.
    """
    device = f"dev-mapper-{escape_unit(name)}.device"
    lines = [
        "# Made by rootoftrust.linux.luks_encryption, which removes it.",
        "[Unit]",
        f"Description=Reencrypt the LUKS volume {name.replace('%', '%%')} while it is in use",
        "Documentation=man:cryptsetup-reencrypt(8)",
        f"BindsTo={device}",
        f"After={device}",
        f"ConditionPathExists={secret_path.replace('%', '%%')}",
        "",
        *service_lines(argv, header_path, go),
        f"ExecStartPost=-systemctl disable --no-reload {unit_name(name)}".replace("\\", "\\\\"),
    ]
    if temporary:
        lines.append(f"ExecStopPost=-rm -f {secret_path}")
    return "\n".join([*lines, "", "[Install]", f"WantedBy={device}", ""])


def service_lines(argv: Sequence[str], header_path: str, go: str) -> list[str]:
    """The section of a unit that says what is done, and how.

    :param header_path: the device, or the file of a detached header.
    :param go: a file that lets it begin without another look at the header; it is removed.
    """
    words = ["/bin/sh", "-c", GUARD, "sh", go, header_path, *argv]
    command = " ".join('"' + word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$") + '"' for word in words)
    return [
        "[Service]",
        "Type=oneshot",
        "TimeoutStartSec=infinity",
        "# SIGTERM lets cryptsetup finish the part that it is working on.",
        "TimeoutStopSec=10min",
        "Nice=10",
        f"ExecStart={command}",
    ]


def report_encryptions(situations: Sequence[tuple[Situation, Wish]], to_come: Sequence[Step]) -> dict[str, Any]:
    """The result of luks_encryption."""
    faults = [
        f"The work on {wish.device} ended too early: {situation.background.fault}"
        for situation, wish in situations
        if situation.background.fault
    ]
    strange = [_strange(situation) for situation, dummy in situations if _strange(situation)]
    return {"encryptions": [_told(situation, wish, to_come) for situation, wish in situations], "warnings": faults + strange}


def _told(situation: Situation, wish: Wish, to_come: Sequence[Step]) -> dict[str, Any]:
    header, device, note = situation.device.header, situation.device, situation.note
    progress = header.progress(device.size) if header is not None else None
    state = "plain" if is_plain(header) else _working(situation) or "encrypted"
    if note is not None and note.mode == DECRYPT and note.stage == PROVEN:
        state = "decrypting"
    for step in to_come:
        if step.subject == wish.device:
            state = step.after.get("state", state)
    mounts = [mount.target for mount in device.mounts] or ([note.mount.target] if note is not None and note.mount is not None else [])
    return {
        "device": wish.device,
        "path": device.path,
        "name": device.mapping or (note.name if note is not None else wish.name),
        "uuid": header.uuid if header is not None else wish.uuid,
        "state": state,
        "progress": None if progress is None else {**asdict(progress), "percent": progress.percent},
        "running": situation.background.active,
        "finished": is_plain(header) == (wish.state == PLAIN) and progress is None and note is None and not to_come,
        "unit": situation.background.unit if situation.background.exists else None,
        "mount": mounts[0] if mounts else None,
        "away_seconds": situation.away,
        "drift": drift(situation, wish, header) if header is not None else [],
    }
