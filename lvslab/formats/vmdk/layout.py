"""The bytes of a hosted sparse extent: header, descriptor, tables, markers.

Source: VMware, "Virtual Disk Format 5.0" (technical note), sections "Hosted Sparse
Extents" and "Stream-Optimized Compressed Sparse Extents", and the layout that
VMware's own open-vmdk writes. All numbers are little-endian, all offsets in sectors.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields

from lvslab.core.errors import StageError

SECTOR = 512
GRAIN_SECTORS = 128
GRAIN = GRAIN_SECTORS * SECTOR
TABLE_ENTRIES = 512
TABLE_SECTORS = TABLE_ENTRIES * 4 // SECTOR

MAGIC = b"KDMV"
DESCRIPTOR_OFFSET = 1
DESCRIPTOR_SECTORS = 20
DIRECTORY_AT_END = 0xFFFF_FFFF_FFFF_FFFF
LINE_ENDS = b"\n \r\n"

FLAG_NEWLINE_TEST = 1 << 0
FLAG_REDUNDANT_TABLES = 1 << 1
FLAG_COMPRESSED = 1 << 16
FLAG_MARKERS = 1 << 17
STREAM_FLAGS = FLAG_NEWLINE_TEST | FLAG_COMPRESSED | FLAG_MARKERS
SPARSE_FLAGS = FLAG_NEWLINE_TEST | FLAG_REDUNDANT_TABLES
COMPRESSION_DEFLATE = 1

STREAM_OPTIMIZED = "streamOptimized"
MONOLITHIC_SPARSE = "monolithicSparse"
NO_PARENT = "ffffffff"

_HEADER = struct.Struct("<4sIIQQQQIQQQB4sH433x")
MARKER = struct.Struct("<QII")
GRAIN_MARKER = struct.Struct("<QI")
END_OF_STREAM, MARKER_TABLE, MARKER_DIRECTORY, MARKER_FOOTER = range(4)


class VmdkError(StageError):
    """A VMDK breaks a rule of its format; `rule` is the rule's short name."""

    def __init__(self, rule: str, message: str, *, where: str = "") -> None:
        super().__init__(message, where=where)
        self.rule = rule


@dataclass(frozen=True)
class Header:
    """SparseExtentHeader of the technical note; sizes and offsets in sectors."""

    magic: bytes
    version: int
    flags: int
    capacity: int
    grain_size: int
    descriptor_offset: int
    descriptor_size: int
    table_entries: int
    redundant_directory_offset: int
    directory_offset: int
    overhead: int
    unclean_shutdown: int
    line_ends: bytes
    compression: int

    def pack(self) -> bytes:
        """The header's 512 bytes."""
        return _HEADER.pack(*(getattr(self, field.name) for field in fields(self)))

    @classmethod
    def unpack(cls, data: bytes) -> Header:
        """Read a header; raises VmdkError if `data` is not the first sector of an extent."""
        if len(data) < SECTOR or data[:4] != MAGIC:
            raise VmdkError("header", "not a sparse VMDK: the magic number KDMV is missing")
        return cls(*_HEADER.unpack(data[:SECTOR]))

    @property
    def compressed(self) -> bool:
        """Whether grains are compressed and led by markers (streamOptimized)."""
        return bool(self.flags & FLAG_COMPRESSED)


def ceiling(value: int, unit: int) -> int:
    """`value` / `unit`, rounded up."""
    return -(-value // unit)


@dataclass(frozen=True)
class Plan:
    """Where directories and tables are in an extent of `capacity` sectors that we write."""

    capacity: int
    redundant: bool

    @property
    def grains(self) -> int:
        """How many grains the capacity has, the last one perhaps shorter."""
        return ceiling(self.capacity, GRAIN_SECTORS)

    @property
    def tables(self) -> int:
        """How many grain tables there are."""
        return ceiling(self.grains, TABLE_ENTRIES)

    @property
    def directory_sectors(self) -> int:
        """The length of one grain directory."""
        return ceiling(self.tables * 4, SECTOR)

    @property
    def block(self) -> int:
        """The length of one directory with its tables."""
        return self.directory_sectors + self.tables * TABLE_SECTORS

    @property
    def directories(self) -> list[int]:
        """Where each directory begins: one, or the redundant one and then the other."""
        first = DESCRIPTOR_OFFSET + DESCRIPTOR_SECTORS
        return [first, first + self.block] if self.redundant else [first]

    @property
    def overhead(self) -> int:
        """Where the first grain begins: uncompressed grains are aligned to their size."""
        end = self.directories[-1] + self.block
        return ceiling(end, GRAIN_SECTORS) * GRAIN_SECTORS if self.redundant else end

    def header(self) -> Header:
        """The header of a streamOptimized extent, or of a hosted sparse one if redundant."""
        return Header(
            magic=MAGIC,
            version=1 if self.redundant else 3,
            flags=SPARSE_FLAGS if self.redundant else STREAM_FLAGS,
            capacity=self.capacity,
            grain_size=GRAIN_SECTORS,
            descriptor_offset=DESCRIPTOR_OFFSET,
            descriptor_size=DESCRIPTOR_SECTORS,
            table_entries=TABLE_ENTRIES,
            redundant_directory_offset=self.directories[0] if self.redundant else 0,
            directory_offset=self.directories[-1],
            overhead=self.overhead,
            unclean_shutdown=0,
            line_ends=LINE_ENDS,
            compression=0 if self.redundant else COMPRESSION_DEFLATE,
        )

    def front(self, descriptor: str, entries: Mapping[int, int]) -> bytes:
        """All that is before the first grain.

        `entries` says in which sector each grain begins; a grain that is not in it is zero.
        """
        text = descriptor.encode()
        room = DESCRIPTOR_SECTORS * SECTOR
        if len(text) > room:
            raise VmdkError("descriptor", f"the descriptor has {len(text)} bytes, {room} fit")
        flat = [0] * (self.tables * TABLE_ENTRIES)
        for grain, sector in entries.items():
            flat[grain] = sector
        tables = struct.pack(f"<{len(flat)}I", *flat)
        parts = [self.header().pack(), text.ljust(room, b"\0")]
        for start in self.directories:
            first = start + self.directory_sectors
            directory = [first + number * TABLE_SECTORS for number in range(self.tables)]
            packed = struct.pack(f"<{self.tables}I", *directory)
            parts += [packed.ljust(self.directory_sectors * SECTOR, b"\0"), tables]
        return b"".join(parts).ljust(self.overhead * SECTOR, b"\0")


def descriptor_text(
    *,
    capacity: int,
    kind: str,
    content_id: str,
    extent: str,
    parent: tuple[str, str] | None = None,
) -> str:
    """The embedded descriptor of a disk of `capacity` sectors.

    `kind` is the createType, `content_id` 32 hex digits of which the last eight are the
    CID, `extent` the extent's file name; `parent` is a parent's CID and the hint where it is.
    """
    cylinders = min(65535, ceiling(capacity, 255 * 63))
    hint = f'parentFileNameHint="{parent[1]}"\n' if parent else ""
    return f"""# Disk DescriptorFile
version=1
encoding="UTF-8"
CID={content_id[-8:]}
parentCID={parent[0] if parent else NO_PARENT}
createType="{kind}"
{hint}
# Extent description
RW {capacity} SPARSE "{extent}"

# The Disk Data Base
#DDB

ddb.adapterType = "lsilogic"
ddb.geometry.cylinders = "{cylinders}"
ddb.geometry.heads = "255"
ddb.geometry.sectors = "63"
ddb.longContentID = "{content_id}"
ddb.toolsInstallType = "4"
ddb.toolsVersion = "2147483647"
ddb.virtualHWVersion = "4"
"""
