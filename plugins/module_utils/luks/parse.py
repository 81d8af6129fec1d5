# Copyright (c) 2026, rootoftrust.linux contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What cryptsetup, blkid, the kernel and crypttab write, as models. Pure."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import dataclass, replace
from typing import Any, Iterator, Mapping, Sequence

from ansible_collections.rootoftrust.linux.plugins.module_utils.core.errors import RootOfTrustError
from ansible_collections.rootoftrust.linux.plugins.module_utils.luks.model import (
    LUKS1,
    LUKS2,
    REENCRYPT,
    ActiveMapping,
    Area,
    CrypttabEntry,
    CrypttabLine,
    Header,
    Keyslot,
    Mount,
    Pbkdf,
    Segment,
    Signature,
    Token,
    Trace,
    Work,
)

SECTOR = 512  # bytes, the unit of LUKS1
PRIORITIES = {"preferred": "prefer", "normal": "normal", "ignored": "ignore"}
PRIORITY_NUMBERS = {0: "ignore", 1: "normal", 2: "prefer"}
NOTHING = re.compile(r"\(no [a-z ]+\)")  # how cryptsetup writes an empty label, subsystem, list of flags

# cryptsetup, on-disk format of LUKS1 1.2.3 and LUKS2 1.1.1
MAGIC = b"LUKS\xba\xbe"
LUKS1_HEADER = struct.Struct(">6sH32s32s32sII20s32sI40s")
LUKS1_SLOT = struct.Struct(">II32sII")
LUKS1_SLOTS = 8
LUKS1_SIZE = LUKS1_HEADER.size + LUKS1_SLOTS * LUKS1_SLOT.size  # 592 bytes
LUKS2_HEADER = struct.Struct(">6sHQQ48s32s64s40s")
LUKS2_BINARY = 4096  # bytes; JSON follows
LUKS2_LARGEST = 4 * 1024 * 1024  # bytes of binary header and JSON


class Malformed(RootOfTrustError):
    """Something that is not what it should be."""


# --- luksDump --------------------------------------------------------------------------------------------------------


def parse_dump(text: str, metadata: str | None = None) -> Header:
    """A header.

    :param text: what ``cryptsetup luksDump`` prints.
    :param metadata: what ``cryptsetup luksDump --dump-json-metadata`` prints; None where that option is not known, or for LUKS1.
    :raises Malformed: if it is no dump of a header.
    """
    top, sections = _sections(text)
    version = _value(top, "Version")
    try:
        if version == "1":
            return _luks1(top)
        if version == "2":
            general = _general(top)
            return _luks2(general, *(_json_parts(metadata) if metadata is not None else _text_parts(sections)))
    except (KeyError, ValueError, TypeError, AttributeError, IndexError) as error:
        raise Malformed(f"A dump of a LUKS header cannot be read: {error!r}.") from None
    raise Malformed(f"A dump of a LUKS header has version {version or 'none'}, which is not known.")


def _sections(text: str) -> tuple[list[tuple[str, str]], dict[str, list[str]]]:
    """The fields before the first section, and the lines of each section."""
    top: list[tuple[str, str]] = []
    sections: dict[str, list[str]] = {}
    lines: list[str] | None = None
    for line in text.splitlines():
        if line in ("Data segments:", "Keyslots:", "Tokens:", "Digests:"):
            lines = sections.setdefault(line[:-1], [])
        elif lines is not None:
            lines.append(line)
        elif ":" in line:
            name, _colon, value = line.partition(":")
            top.append((name if name[:1] in "\t " else name.strip(), value.strip()))
    return top, sections


def _value(fields: Sequence[tuple[str, str]], name: str) -> str:
    """The first field of a name; empty where there is none or cryptsetup says that there is none."""
    for found, value in fields:
        if found == name:
            return "" if NOTHING.fullmatch(value) else value
    return ""


def _number(text: str) -> int:
    """The number at the start: ``16384 [bytes]``, ``512 bits``."""
    found = re.match(r"\d+", text)
    if found is None:
        raise ValueError(f"no number: {text}")
    return int(found.group())


def _items(lines: Sequence[str]) -> Iterator[tuple[int, str, list[tuple[str, str]]]]:
    """The numbered things of a section: number, words, fields. What plugins for tokens print between is passed over."""
    current: tuple[int, str, list[tuple[str, str]]] | None = None
    for line in lines:
        start = re.fullmatch(r"  (\d+): (\S.*)", line)
        field = re.fullmatch(r"\t(\S[^:]*?)\s*:\s*(.*?)\s*", line)
        if start:
            if current is not None:
                yield current
            current = (int(start.group(1)), start.group(2), [])
        elif field and current is not None:
            current[2].append((field.group(1), field.group(2)))
    if current is not None:
        yield current


def _luks1(top: Sequence[tuple[str, str]]) -> Header:
    cipher = f"{_value(top, 'Cipher name')}-{_value(top, 'Cipher mode')}"
    bits, hashed = int(_value(top, "MK bits")), _value(top, "Hash spec")
    offset = int(_value(top, "Payload offset")) * SECTOR
    slots: list[Keyslot] = []
    number = -1
    for name, value in top:
        if name.startswith("Key Slot "):
            number = int(name.split()[2]) if value == "ENABLED" else -1
        elif name == "\tIterations" and number >= 0:
            slots.append(Keyslot(number, LUKS1, "normal", bits, cipher, Pbkdf("pbkdf2", hashed, int(value))))
    return Header(
        type=LUKS1,
        uuid=_value(top, "UUID"),
        label="",
        subsystem="",
        epoch=None,
        cipher=cipher,
        key_bits=bits,
        sector_size=SECTOR,
        data_offset=offset,
        keyslots=tuple(slots),
        segments=(Segment(0, "crypt", offset, None, cipher, SECTOR),),
    )


def _general(top: Sequence[tuple[str, str]]) -> Header:
    """What the text alone has: the rest is empty."""
    return Header(
        type=LUKS2,
        uuid=_value(top, "UUID"),
        label=_value(top, "Label"),
        subsystem=_value(top, "Subsystem"),
        epoch=int(_value(top, "Epoch")),
        cipher="",
        key_bits=None,
        sector_size=SECTOR,
        data_offset=0,
        keyslots=(),
        flags=tuple(_value(top, "Flags").split()),
        requirements=tuple(_value(top, "Requirements").split()),
    )


def _luks2(general: Header, keyslots: Sequence[Keyslot], tokens: Sequence[Token], segments: Sequence[Segment], work: Work | None) -> Header:
    final = [segment for segment in segments if "backup-final" in segment.flags]
    data = (final or [segment for segment in segments if not segment.is_note])[0]
    ways = [slot for slot in keyslots if slot.kind != REENCRYPT]
    bound = [slot for slot in ways if not slot.unbound] or ways
    return replace(
        general,
        cipher=data.cipher,
        key_bits=bound[0].key_bits if bound else None,
        sector_size=data.sector_size or SECTOR,
        data_offset=data.offset,
        keyslots=tuple(keyslots),
        tokens=tuple(tokens),
        segments=tuple(segments),
        work=work,
    )


def _text_parts(sections: Mapping[str, Sequence[str]]) -> tuple[list[Keyslot], list[Token], list[Segment], Work | None]:
    keyslots, work = [], None
    for number, words, fields in _items(sections["Keyslots"]):
        keyslots.append(_text_keyslot(number, words, fields))
        if words.split()[0] == REENCRYPT:
            work = Work(_value(fields, "Mode"), _value(fields, "Direction"), _value(fields, "Resilience"))
    tokens = [
        Token(
            number=number,
            type=words,
            keyslots=tuple(int(value) for name, value in fields if name == "Keyslot"),
            description=_value(fields, "Key description"),
        )
        for number, words, fields in _items(sections.get("Tokens", ()))
    ]
    segments = [_text_segment(number, words, fields) for number, words, fields in _items(sections["Data segments"])]
    return keyslots, tokens, segments, work


def _text_keyslot(number: int, words: str, fields: Sequence[tuple[str, str]]) -> Keyslot:
    kind, _space, note = words.partition(" ")
    function = _value(fields, "PBKDF")
    pbkdf = None
    if function == "pbkdf2":
        pbkdf = Pbkdf(function, _value(fields, "Hash"), int(_value(fields, "Iterations")))
    elif function:
        pbkdf = Pbkdf(function, "", *(int(_value(fields, name)) for name in ("Time cost", "Memory", "Threads")))
    return Keyslot(
        number=number,
        kind=kind,
        priority=PRIORITIES[_value(fields, "Priority")],
        key_bits=_number(_value(fields, "Key")),
        cipher=_value(fields, "Cipher"),
        pbkdf=pbkdf,
        unbound=note == "(unbound)",
    )


def _text_segment(number: int, kind: str, fields: Sequence[tuple[str, str]]) -> Segment:
    length = _value(fields, "length")
    return Segment(
        number=number,
        type=kind,
        offset=_number(_value(fields, "offset")),
        size=None if length == "(whole device)" else _number(length),
        cipher=_value(fields, "cipher") if kind == "crypt" else "",
        sector_size=_number(_value(fields, "sector")) if kind == "crypt" else 0,
        flags=tuple(_value(fields, "flags").replace(",", " ").split()),
    )


def _json_parts(metadata: str) -> tuple[list[Keyslot], list[Token], list[Segment], Work | None]:
    found = json.loads(metadata)
    segments = [_json_segment(int(number), segment) for number, segment in _numbered(found["segments"])]
    current = {str(segment.number) for segment in segments if not segment.is_note}
    bound = {slot for digest in found["digests"].values() if current & set(digest["segments"]) for slot in digest["keyslots"]}
    keyslots, work = [], None
    for number, slot in _numbered(found["keyslots"]):
        keyslots.append(_json_keyslot(int(number), slot, number not in bound))
        if slot["type"] == REENCRYPT:
            work = Work(slot["mode"], slot["direction"], slot["area"]["type"])
    return keyslots, [_json_token(int(number), token) for number, token in _numbered(found["tokens"])], segments, work


def _numbered(things: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return sorted(things.items(), key=lambda item: int(item[0]))


def _json_keyslot(number: int, slot: Mapping[str, Any], unbound: bool) -> Keyslot:
    kdf, pbkdf = slot.get("kdf"), None
    if kdf is not None:
        if kdf["type"] == "pbkdf2":
            pbkdf = Pbkdf(kdf["type"], kdf["hash"], kdf["iterations"])
        else:
            pbkdf = Pbkdf(kdf["type"], "", kdf["time"], kdf["memory"], kdf["cpus"])
    return Keyslot(
        number=number,
        kind=slot["type"],
        priority=PRIORITY_NUMBERS[slot.get("priority", 1)],
        key_bits=slot["key_size"] * 8,
        cipher=slot["area"].get("encryption", ""),
        pbkdf=pbkdf,
        unbound=unbound,
    )


def _json_token(number: int, token: Mapping[str, Any]) -> Token:
    plain = Token(number, token["type"], tuple(int(slot) for slot in token["keyslots"]), str(token.get("key_description", "")))
    if plain.type != "systemd-tpm2":
        return plain
    # Anybody may write a token; one that has no list of registers is told as one whose registers are not known.
    registers = token.get("tpm2-pcrs")
    return replace(
        plain,
        tpm2_pcrs=tuple(int(register) for register in registers) if isinstance(registers, list) else None,
        tpm2_pcr_bank=token.get("tpm2-pcr-bank"),
        tpm2_pin=bool(token.get("tpm2-pin", False)),
    )


def _json_segment(number: int, segment: Mapping[str, Any]) -> Segment:
    return Segment(
        number=number,
        type=segment["type"],
        offset=int(segment["offset"]),
        size=None if segment["size"] == "dynamic" else int(segment["size"]),
        cipher=segment.get("encryption", ""),
        sector_size=segment.get("sector_size", 0),
        flags=tuple(segment.get("flags", ())),
    )


# --- the header's bytes ----------------------------------------------------------------------------------------------


def header_size(start: bytes) -> int:
    """How many bytes :func:`parse_area` needs.

    :param start: at least the first 4096 bytes of the device or backup.
    :raises Malformed: if no LUKS header starts there.
    """
    if len(start) < LUKS2_BINARY or start[:6] != MAGIC:
        raise Malformed("No LUKS header starts here.")
    version = int.from_bytes(start[6:8], "big")
    if version == 1:
        return LUKS1_SIZE
    size = LUKS2_HEADER.unpack_from(start)[2]
    if version != 2 or not LUKS2_BINARY < size <= LUKS2_LARGEST:
        raise Malformed(f"A LUKS header of version {version} and {size} bytes is not known.")
    return int(size)


def parse_area(data: bytes) -> Area:
    """The extent of a header, with its keyslots.

    :param data: the first :func:`header_size` bytes.
    :raises Malformed: if they are broken.
    """
    try:
        return _area1(data) if data[7] == 1 else _area2(data)
    except (struct.error, ValueError, KeyError, TypeError, IndexError, UnicodeDecodeError) as error:
        raise Malformed(f"A LUKS header is broken: {error}") from None


def _area1(data: bytes) -> Area:
    fields = LUKS1_HEADER.unpack_from(data)
    key_bytes, uuid = fields[6], fields[10]
    ends, starts = [], []
    for number in range(LUKS1_SLOTS):
        slot = LUKS1_SLOT.unpack_from(data, LUKS1_HEADER.size + number * LUKS1_SLOT.size)
        starts.append(slot[3])
        ends.append(slot[3] + -(-key_bytes * slot[4] // SECTOR))
    return Area(LUKS1, _text(uuid), max(ends) * SECTOR, (LUKS1_SIZE, min(starts) * SECTOR))


def _area2(data: bytes) -> Area:
    fields = LUKS2_HEADER.unpack_from(data)
    size = fields[2]
    found = json.loads(data[LUKS2_BINARY:size].split(b"\0", 1)[0].decode("utf-8"))
    return Area(LUKS2, _text(fields[7]), 2 * size + int(found["config"]["keyslots_size"]))


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode("ascii")


def luks2_metadata(data: bytes) -> dict[str, Any]:
    """The JSON of a LUKS2 header.

    :param data: the first :func:`header_size` bytes.
    :raises Malformed: if they are broken, or of LUKS1.
    """
    try:
        size = LUKS2_HEADER.unpack_from(data)[2]
        return dict(json.loads(data[LUKS2_BINARY:size].split(b"\0", 1)[0].decode("utf-8")))
    except (struct.error, ValueError, UnicodeDecodeError) as error:
        raise Malformed(f"A LUKS2 header is broken: {error}") from None


# --- what is to be kept ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Superblock:
    """
    :param tells: whether each mount that may write changes it.
    :param size: bytes of the file system, of XFS; None for others, whose own programs tell.
    """

    uuid: str
    content: bytes
    tells: bool
    size: int | None = None


# type: place of the superblock, its size, place in it of the magic, the magic, place in it of the UUID, whether each mount changes it
_EXT = (1024, 1024, 0x38, b"\x53\xef", 0x68, True)  # struct ext4_super_block, s_mtime and s_mnt_count
SUPERBLOCKS = {
    "ext2": _EXT,
    "ext3": _EXT,
    "ext4": _EXT,
    "btrfs": (65536, 4096, 0x40, b"_BHRfS_M", 0x20, True),  # struct btrfs_super_block, generation
    "xfs": (0, 512, 0, b"XFSB", 0x20, False),  # struct xfs_dsb
}
SUPERBLOCK_END = 65536 + 4096  # bytes that parse_superblock needs


def parse_superblock(data: bytes, kind: str) -> Superblock | None:
    """The superblock of a file system; None where there is none, or the kind is not known.

    :param data: the first SUPERBLOCK_END bytes.
    """
    if kind not in SUPERBLOCKS:
        return None
    start, size, at, magic, uuid, tells = SUPERBLOCKS[kind]
    block = data[start : start + size]
    if block[at : at + len(magic)] != magic:
        return None
    digits = block[uuid : uuid + 16].hex()
    told = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    return Superblock(told, block, tells, _xfs_size(block) if kind == "xfs" else None)


def _xfs_size(block: bytes) -> int:
    """sb_blocksize and sb_dblocks of struct xfs_dsb."""
    size, blocks = struct.unpack_from(">IQ", block, 4)
    return int(size * blocks)


@dataclass(frozen=True)
class Ext:
    """What the superblock says.

    :param blocks: of ``block_size`` bytes each.
    :param free: as many of them; an old figure while it is mounted.
    :param errors: whether the kernel has found it broken.
    """

    type: str
    uuid: str
    blocks: int
    block_size: int
    free: int
    errors: bool
    features: tuple[str, ...] = ()


def parse_ext(text: str) -> Ext:
    """What ``dumpe2fs -h`` prints.

    :raises Malformed: if it is not that.
    """
    fields = {name.strip(): value.strip() for name, _colon, value in (line.partition(":") for line in text.splitlines())}
    try:
        features = fields["Filesystem features"].split()
        return Ext(
            type="ext4" if "extent" in features or "extents" in features else "ext3" if "has_journal" in features else "ext2",
            uuid=fields["Filesystem UUID"],
            blocks=int(fields["Block count"]),
            block_size=int(fields["Block size"]),
            free=int(fields["Free blocks"]),
            features=tuple(features),
            errors="error" in fields["Filesystem state"] or int(fields.get("FS Error count", "0")) > 0,
        )
    except (KeyError, ValueError) as error:
        raise Malformed(f"What dumpe2fs says cannot be read: {error!r}.") from None


# --- blkid and the kernel's tables -----------------------------------------------------------------------------------


def parse_probe(text: str) -> Signature | None:
    """What ``blkid -p -o export`` prints about one device; None where it prints nothing."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, _equals, value = line.partition("=")
        found[name] = re.sub(r"\\(.)", r"\1", value)
    if not found.get("TYPE") and not found.get("PTTYPE"):
        return None
    return Signature(
        type=found.get("TYPE", ""),
        usage=found.get("USAGE", ""),
        uuid=found.get("UUID", ""),
        label=found.get("LABEL", ""),
        table=found.get("PTTYPE", ""),
    )


def parse_traces(path: str, text: str) -> list[Trace]:
    """What ``wipefs --no-act --json`` prints about one device."""
    try:
        found = json.loads(text)["signatures"] if text.strip() else []
        return [Trace(path, each["type"], each.get("uuid") or "", each["offset"]) for each in found]
    except (ValueError, KeyError, TypeError) as error:
        raise Malformed(f"What wipefs says about {path} cannot be read: {error!r}.") from None


def parse_status(text: str) -> ActiveMapping:
    """What ``cryptsetup status`` prints about a mapping that is active.

    :raises Malformed: if it says nothing of a device: the mapping is none of cryptsetup's.
    """
    first, *lines = text.splitlines() or [""]
    fields = [(name.strip(), value.strip()) for name, _colon, value in (line.partition(":") for line in lines)]
    if not _value(fields, "device"):
        raise Malformed(f"cryptsetup says nothing about a device: {first}")
    return ActiveMapping(
        device=_value(fields, "device"),
        read_only=_value(fields, "mode").startswith("readonly"),
        flags=tuple(_value(fields, "flags").split()),
        in_use=first.endswith("is active and is in use."),
    )


def parse_mounts(text: str) -> list[Mount]:
    """The kernel's table of mounts (proc(5), /proc/self/mounts)."""
    rows = [line.split(" ") for line in text.splitlines()]
    return [Mount(_octal(row[0]), _octal(row[1]), row[2], tuple(row[3].split(","))) for row in rows if len(row) >= 4]


def parse_fstab(text: str) -> list[Mount]:
    """The lines of fstab(5) that have at least source, target and type."""
    rows = [line.split() for line in text.splitlines() if not line.lstrip().startswith("#")]
    return [
        Mount(_octal(row[0]), _octal(row[1]), row[2], tuple(row[3].split(",")) if len(row) > 3 else ()) for row in rows if len(row) >= 3
    ]


def parse_swaps(text: str) -> list[str]:
    """The devices and files of /proc/swaps."""
    return [_octal(line.split()[0]) for line in text.splitlines()[1:] if line.strip()]


def _octal(field: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found.group(1), 8)), field)


# --- crypttab --------------------------------------------------------------------------------------------------------


def parse_crypttab(text: str) -> list[CrypttabLine]:
    """All lines of crypttab. Joined, their texts are the file again, byte for byte."""
    return [CrypttabLine(line, parse_crypttab_line(line)) for line in re.findall(r"[^\n]*\n|[^\n]+", text)]


def parse_crypttab_line(line: str) -> CrypttabEntry | None:
    """The entry of one line; None for a comment, an empty line, and one that has fewer than two fields."""
    words = line.split()
    if len(words) < 2 or words[0].startswith("#"):
        return None
    key = words[2] if len(words) > 2 else "none"
    options = tuple(option for option in words[3].split(",") if option) if len(words) > 3 else ()
    return CrypttabEntry(words[0], words[1], "none" if key == "-" else key, () if options == ("none",) or options == ("-",) else options)


def crypttab_text(entry: CrypttabEntry) -> str:
    """An entry as a line, without its end."""
    return " ".join([entry.name, entry.device, entry.key, *([",".join(entry.options)] if entry.options else [])])
