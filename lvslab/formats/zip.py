"""A zip archive whose bytes follow from its members alone.

Source: PKWARE, APPNOTE.TXT 6.3.3, sections 4.3 and 4.4. Python's zipfile always deflates
itself, by a zlib that differs from host to host; here a member may be a deflate stream
that is there already.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path

import deflate

from lvslab.core.errors import StageError
from lvslab.core.files import atomic

_LOCAL = struct.Struct("<4s5H3I2H")
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_VERSION = 20  # deflate, folders
_BY_UNIX = 3 << 8
_DEFLATED = 8
_REGULAR = 0o100000
_LIMIT = (1 << 32) - 1
_LEVEL = 9
_CHUNK = 1 << 24


@dataclass(frozen=True)
class ZipMember:
    """A file: name with `/`, permission bits, size and CRC-32 of the content, deflated content.

    What is deflated already may be in a file, which the kernel copies: it is not read here.
    """

    name: str
    mode: int
    size: int
    crc: int
    deflated: Iterable[bytes] | Path


def member(name: str, data: bytes, mode: int = 0o644) -> ZipMember:
    """A member from its content."""
    packed = bytes(deflate.deflate_compress(data, _LEVEL))
    return ZipMember(name, mode, len(data), zlib.crc32(data), [packed])


def write(path: Path, members: Iterable[ZipMember], epoch: int) -> None:
    """Write the archive atomically; every file's time is `epoch` (seconds, UTC).

    Raises StageError if a member or the archive has 4 GiB or more (there is no zip64 here:
    not every unpacker of a student's host knows it).
    """
    stamp = _dos_time(epoch)
    directory = []
    with atomic(path) as temporary, temporary.open("wb") as out:
        for this in members:
            start = out.tell()
            name = this.name.encode("ascii")
            out.write(bytes(_LOCAL.size) + name)
            if isinstance(this.deflated, Path):
                _append(this.deflated, out)
            else:
                out.writelines(this.deflated)
            end = out.tell()
            packed = end - start - _LOCAL.size - len(name)
            if max(end, this.size) > _LIMIT:
                raise StageError("4 GiB or more do not fit a plain zip", where=this.name)
            common = (_VERSION, 0, _DEFLATED, *stamp, this.crc, packed, this.size, len(name), 0)
            out.seek(start)
            out.write(_LOCAL.pack(b"PK\3\4", *common))
            out.seek(end)
            attributes = (_REGULAR | this.mode) << 16 | (0 if this.mode & 0o200 else 1)
            made_by = _BY_UNIX | _VERSION
            head = _CENTRAL.pack(b"PK\1\2", made_by, *common, 0, 0, 0, attributes, start)
            directory.append(head + name)
        start, size = out.tell(), sum(map(len, directory))
        out.writelines(directory)
        count = len(directory)
        out.write(_END.pack(b"PK\5\6", 0, 0, count, count, size, start, 0))


def _append(source: Path, out: BufferedWriter) -> None:
    """Copy a whole file to the end of `out` (sendfile(2)). Raises OSError."""
    out.flush()
    with source.open("rb") as file:
        offset = 0
        while sent := os.sendfile(out.fileno(), file.fileno(), offset, _CHUNK):
            offset += sent
    out.seek(0, os.SEEK_END)


def _dos_time(epoch: int) -> tuple[int, int]:
    """Time and date of MS-DOS: even seconds, from 1980 on."""
    at = time.gmtime(epoch)
    clock = at.tm_hour << 11 | at.tm_min << 5 | at.tm_sec // 2
    return clock, max(0, at.tm_year - 1980) << 9 | at.tm_mon << 5 | at.tm_mday
