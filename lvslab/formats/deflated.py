"""A deflate stream for a whole disk, joined from the grains that are compressed already.

Compressing the disk a second time for the zip would cost as much as the VMDK did, and its
bytes would depend on the host's zlib. A grain of a streamOptimized VMDK is a complete
deflate stream (RFC 1951), so the streams can be joined: the last block of each loses its
BFINAL bit, and an empty stored block brings it to a byte's end (section 3.2.4).

Where the last block begins, only an inflater knows; zlib's stops at each block if asked
(Z_BLOCK, zlib.h). What it tells is fixed by RFC 1951, whichever zlib it is.
"""

from __future__ import annotations

import ctypes
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import deflate

from lvslab.core.errors import MissingError, StageError
from lvslab.formats.vmdk import Reader
from lvslab.formats.vmdk.layout import GRAIN_MARKER, SECTOR
from lvslab.formats.zip import ZipMember

END = b"\x03\x00"
"""An empty last block with fixed codes: what ends a joined stream."""

_Z_BLOCK, _Z_OK = 5, 0
_LAST_BLOCK, _BLOCK_ENDED = 64, 128
_RAW = -15
_BATCH = 256
_CHUNK = 1 << 20
_LEVEL = 9


class _Stream(ctypes.Structure):
    """z_stream of zlib.h."""

    _fields_ = (
        ("next_in", ctypes.c_char_p),
        ("avail_in", ctypes.c_uint),
        ("total_in", ctypes.c_ulong),
        ("next_out", ctypes.c_void_p),
        ("avail_out", ctypes.c_uint),
        ("total_out", ctypes.c_ulong),
        ("msg", ctypes.c_char_p),
        ("state", ctypes.c_void_p),
        ("zalloc", ctypes.c_void_p),
        ("zfree", ctypes.c_void_p),
        ("opaque", ctypes.c_void_p),
        ("data_type", ctypes.c_int),
        ("adler", ctypes.c_ulong),
        ("reserved", ctypes.c_ulong),
    )


@cache
def _zlib() -> ctypes.CDLL:
    try:
        return ctypes.CDLL("libz.so.1")
    except OSError:
        raise MissingError("zlib is not installed", hint="install the package zlib1g") from None


def joinable(stream: bytes, room: int) -> bytes:
    """A complete raw deflate stream as one that another can follow, at a byte's end.

    `room` is at least the size of its content. Raises StageError if it is not such a stream.
    """
    final, end = _last_block(stream, room)
    data = bytearray(stream[: -(-end // 8)])
    data[final // 8] &= ~(1 << final % 8) & 0xFF
    free = -end % 8
    if free:
        data[-1] &= (1 << 8 - free) - 1
    # three bits head the empty stored block: BFINAL 0, BTYPE 00
    data += b"\0\0\0\xff\xff" if free < 3 else b"\0\0\xff\xff"
    return bytes(data)


def _last_block(stream: bytes, room: int) -> tuple[int, int]:
    """The bit at which the last block of `stream` begins, and the one after its end."""
    library = _zlib()
    out = ctypes.create_string_buffer(room + 1)
    state = _Stream(next_in=stream, avail_in=len(stream))
    state.next_out, state.avail_out = ctypes.addressof(out), len(out)
    version = ctypes.c_char_p(zlib.ZLIB_VERSION.encode())
    if library.inflateInit2_(ctypes.byref(state), _RAW, version, ctypes.sizeof(state)) != _Z_OK:
        raise StageError("zlib does not start")
    try:
        begin = 0
        while library.inflate(ctypes.byref(state), _Z_BLOCK) == _Z_OK:
            if not state.data_type & _BLOCK_ENDED:
                break
            position = state.total_in * 8 - (state.data_type & 7)
            if state.data_type & _LAST_BLOCK:
                return begin, position
            begin = position
        raise StageError("this is not a whole deflate stream")
    finally:
        library.inflateEnd(ctypes.byref(state))


def sparse_member(name: str, sparse: Path, stream: Path, mode: int) -> ZipMember:
    """The monolithicSparse VMDK `sparse` as a member, out of the same disk's streamOptimized one.

    Raises StageError if the two do not hold the same grains.
    """
    with Reader(sparse) as reader, Reader(stream) as packed:
        step = reader.grain_bytes // SECTOR
        numbers = sorted(packed.entries)
        first = reader.header.overhead
        wanted = {number: first + place * step for place, number in enumerate(numbers)}
        whole = reader.capacity % reader.grain_bytes == 0
        if reader.entries != wanted or not whole:
            raise StageError(f"its grains are not those of {stream.name}", where=str(sparse))
    return ZipMember(name, mode, sparse.stat().st_size, _crc(sparse), _joined(sparse, stream))


def _joined(sparse: Path, stream: Path) -> Iterator[bytes]:
    """The front of `sparse`, then the grains of `stream`, as one deflate stream."""
    with Reader(stream) as packed, sparse.open("rb") as file, Reader(sparse) as reader:
        front = file.read(reader.header.overhead * SECTOR)
        yield joinable(bytes(deflate.deflate_compress(front, _LEVEL)), len(front))

        def grain(number: int) -> bytes:
            start = packed.entries[number] * SECTOR
            _, size = GRAIN_MARKER.unpack(packed.raw(start, GRAIN_MARKER.size))
            data = packed.raw(start + GRAIN_MARKER.size, size)
            return joinable(data[2:-4], packed.grain_bytes)  # RFC 1950: two bytes, Adler-32

        numbers = sorted(packed.entries)
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for start in range(0, len(numbers), _BATCH):
                yield b"".join(pool.map(grain, numbers[start : start + _BATCH]))
        yield END


def _crc(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            crc = zlib.crc32(chunk, crc)
    return crc
