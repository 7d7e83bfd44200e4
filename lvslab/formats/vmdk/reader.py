"""Reads VMDKs strictly: every claim of header, tables and markers is checked against the bytes."""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType

import deflate

from lvslab.core.files import atomic
from lvslab.core.text import decode, lines
from lvslab.formats.vmdk.layout import (
    DIRECTORY_AT_END,
    END_OF_STREAM,
    GRAIN_MARKER,
    MARKER,
    MARKER_FOOTER,
    SECTOR,
    Header,
    VmdkError,
    ceiling,
)

DESCRIPTOR_MAGIC = b"# Disk DescriptorFile"
_EXTENT = re.compile(r'^(?:RW|RDONLY) (\d+) SPARSE "([^"]*)"$')
_ENCODING = re.compile(rb'^encoding\s*=\s*"([^"\r\n]*)"', re.MULTILINE)
_MAX_GRAIN_SECTORS = 2048
_MAX_DIRECTORY = 1 << 20


@dataclass(frozen=True)
class Descriptor:
    """The embedded descriptor: its values without quotes, and its extents (sectors, name)."""

    values: dict[str, str]
    extents: tuple[tuple[int, str], ...]

    @classmethod
    def parse(cls, data: bytes) -> Descriptor:
        """Read a descriptor in its own encoding; raises VmdkError if it does not begin like one."""
        if not data.startswith(DESCRIPTOR_MAGIC):
            raise VmdkError("descriptor", "the descriptor does not begin '# Disk DescriptorFile'")
        named = _ENCODING.search(data)
        text = decode(data, named[1].decode("ascii", "replace") if named else "")
        values: dict[str, str] = {}
        extents = []
        for line in map(str.rstrip, lines(text)):
            if match := _EXTENT.match(line):
                extents.append((int(match[1]), match[2]))
            elif "=" in line and not line.startswith("#"):
                key, value = line.split("=", 1)
                values[key.strip()] = value.strip().strip('"')
        return cls(values, tuple(extents))


@dataclass(frozen=True)
class Marker:
    """A marker in the stream: `size` 0 is a special one of `kind`, else a grain at sector `lba`."""

    sector: int
    lba: int
    size: int
    kind: int


class Reader:
    """A VMDK of one sparse extent, in a file or inside another file (an OVA).

    `offset` and `length` say where in `path` it stands, in bytes. A context manager; safe
    to read from many threads. Raises VmdkError when the front cannot be understood.
    """

    def __init__(self, path: Path, offset: int = 0, length: int | None = None) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._offset = offset
            self.length = os.fstat(self._descriptor).st_size - offset if length is None else length
            self.header = self._header()
            self.descriptor = self._read_descriptor()
            self.directory = self._directory(self.header.directory_offset)
            self.entries = self._entries(self.directory)
        except BaseException:
            self.close()
            raise
        self._cached = lru_cache(64)(self.grain)

    def __enter__(self) -> Reader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    @property
    def capacity(self) -> int:
        """The size of the disk in bytes."""
        return self.header.capacity * SECTOR

    @property
    def grain_bytes(self) -> int:
        """The size of a grain in bytes."""
        return self.header.grain_size * SECTOR

    def raw(self, offset: int, length: int) -> bytes:
        """`length` bytes of the VMDK itself; fewer only at its end."""
        length = min(length, self.length - offset)
        return os.pread(self._descriptor, length, self._offset + offset) if length > 0 else b""

    def _header(self) -> Header:
        header = Header.unpack(self.raw(0, SECTOR))
        if header.directory_offset == DIRECTORY_AT_END:
            marker = self.raw(self.length - 3 * SECTOR, MARKER.size)
            if len(marker) < MARKER.size or MARKER.unpack(marker)[2] != MARKER_FOOTER:
                raise VmdkError("header", "the header points to a footer, and there is none")
            header = Header.unpack(self.raw(self.length - 2 * SECTOR, SECTOR))
        if not 1 <= header.grain_size <= _MAX_GRAIN_SECTORS or not header.table_entries:
            raise VmdkError("header", f"impossible grain size {header.grain_size} sectors")
        tables = ceiling(header.capacity, header.grain_size * header.table_entries)
        if not 0 < tables <= _MAX_DIRECTORY:
            raise VmdkError("header", f"impossible capacity {header.capacity} sectors")
        return header

    def _read_descriptor(self) -> Descriptor:
        start, size = self.header.descriptor_offset, self.header.descriptor_size
        if not start or not 0 < size <= 2048:
            raise VmdkError("descriptor", "there is no embedded descriptor")
        data = self.raw(start * SECTOR, size * SECTOR).split(b"\0", 1)[0]
        return Descriptor.parse(data)

    def _directory(self, offset: int) -> tuple[int, ...]:
        entries = self.header.table_entries
        count = ceiling(self.header.capacity, self.header.grain_size * entries)
        data = self.raw(offset * SECTOR, count * 4)
        if len(data) < count * 4:
            raise VmdkError("grain-tables", "the grain directory lies outside the file")
        return struct.unpack(f"<{count}I", data)

    def _entries(self, directory: tuple[int, ...]) -> dict[int, int]:
        """Grain number to the sector where it begins, for all grains that are allocated."""
        size = self.header.table_entries
        grains = ceiling(self.header.capacity, self.header.grain_size)
        tables = [sector for sector in directory if sector]
        if len(set(tables)) < len(tables):  # also bounds the work that a small file can ask for
            raise VmdkError("grain-tables", "two grain tables have the same place")
        found: dict[int, int] = {}
        for index, sector in enumerate(directory):
            if not sector:
                continue
            data = self.raw(sector * SECTOR, size * 4)
            if len(data) < size * 4:
                raise VmdkError("grain-tables", f"grain table {index} lies outside the file")
            for number, entry in enumerate(struct.unpack(f"<{size}I", data), index * size):
                if entry > 1:
                    found[number] = entry
        if beyond := [number for number in found if number >= grains]:
            raise VmdkError("grain-tables", f"grain {beyond[0]} lies beyond the disk's capacity")
        return found

    def redundant_entries(self) -> dict[int, int]:
        """What the redundant directory and tables say; they must say what the others do."""
        return self._entries(self._directory(self.header.redundant_directory_offset))

    def markers(self) -> Iterator[Marker]:
        """The markers from the first grain on, until end-of-stream or the end of the file.

        Raises VmdkError for a marker that cannot be one.
        """
        sector = self.header.overhead
        while data := self.raw(sector * SECTOR, MARKER.size):
            if len(data) < MARKER.size:
                raise VmdkError("end-of-stream", f"the file ends inside the marker at {sector}")
            lba, size, kind = MARKER.unpack(data)
            yield Marker(sector, lba, size, kind if not size else -1)
            if size:
                if size > 2 * self.grain_bytes + SECTOR:
                    raise VmdkError(
                        "grain-markers", f"the marker at sector {sector} claims {size} bytes"
                    )
                sector += ceiling(GRAIN_MARKER.size + size, SECTOR)
            elif kind == END_OF_STREAM:
                return
            elif kind <= MARKER_FOOTER:
                sector += 1 + lba
            else:
                raise VmdkError("grain-markers", f"unknown marker {kind} at sector {sector}")

    def grain_length(self, number: int) -> int:
        """How many bytes of the disk grain `number` holds: the last may be shorter."""
        return min(self.grain_bytes, self.capacity - number * self.grain_bytes)

    def grain(self, number: int) -> bytes:
        """The content of grain `number`; raises VmdkError if it cannot be read whole."""
        wanted = self.grain_length(number)
        sector = self.entries.get(number)
        if sector is None:
            return bytes(wanted)
        if not self.header.compressed:
            data = self.raw(sector * SECTOR, wanted)
            if len(data) < wanted:
                raise VmdkError("inflate", f"grain {number} lies outside the file")
            return data
        head = self.raw(sector * SECTOR, GRAIN_MARKER.size)
        if len(head) < GRAIN_MARKER.size:
            raise VmdkError("inflate", f"grain {number} lies outside the file")
        _, size = GRAIN_MARKER.unpack(head)
        packed = self.raw(sector * SECTOR + GRAIN_MARKER.size, min(size, 4 * self.grain_bytes))
        try:
            data = bytes(deflate.zlib_decompress(packed, self.grain_bytes))
        except (deflate.DeflateError, ValueError) as error:
            raise VmdkError("inflate", f"grain {number} does not inflate ({error})") from None
        if len(data) < wanted:
            raise VmdkError("inflate", f"grain {number} has {len(data)} bytes, not {wanted}")
        return data[:wanted]

    def read_at(self, offset: int, length: int) -> bytes:
        """`length` bytes of the disk from `offset` on; fewer only at its end."""
        length = max(0, min(length, self.capacity - offset))
        first, last = offset // self.grain_bytes, ceiling(offset + length, self.grain_bytes)
        if first not in self.entries and last - first == 1:
            return bytes(length)
        joined = b"".join(self._cached(number) for number in range(first, last))
        start = offset - first * self.grain_bytes
        return joined[start : start + length]

    def disk(self) -> DiskFile:
        """The disk as a file object."""
        return DiskFile(self, 0, self.capacity)

    def check_grains(self, threads: int | None = None) -> int:
        """Read every grain; returns their number, raises VmdkError at the first that fails."""
        with ThreadPoolExecutor(threads or os.cpu_count() or 1) as pool:
            numbers = sorted(self.entries)
            batches = [numbers[start : start + 64] for start in range(0, len(numbers), 64)]
            for _ in pool.map(lambda batch: [len(self.grain(n)) for n in batch], batches):
                pass
        return len(numbers)

    def extract(self, raw: Path) -> None:
        """Write the disk as a sparse raw file, atomically."""
        with atomic(raw) as temporary, temporary.open("wb") as out:
            for number in sorted(self.entries):
                out.seek(number * self.grain_bytes)
                out.write(self.grain(number))
            out.truncate(self.capacity)


class DiskFile(io.RawIOBase):
    """A part of a VMDK's disk as a seekable binary file, for libraries that read file systems."""

    def __init__(self, reader: Reader, start: int, length: int) -> None:
        super().__init__()
        self._reader, self._start, self._length = reader, start, length
        self._position = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move, as io.IOBase.seek."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        """The position."""
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; all that is left if negative."""
        left = max(0, self._length - self._position)
        size = left if size < 0 else min(size, left)
        data = self._reader.read_at(self._start + self._position, size)
        self._position += len(data)
        return data

    def part(self, start: int, length: int) -> DiskFile:
        """A part of this part, as a file of its own."""
        return DiskFile(self._reader, self._start + start, min(length, self._length - start))
