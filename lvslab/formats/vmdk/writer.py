"""Writes VMDKs from raw disks: the same bytes for the same disk, on any number of threads.

qemu-img leaves zeros after the end-of-stream marker (or no marker at all) and puts a
random content id in; importers then report a digest that does not match. Here the id
comes from the content and nothing follows the marker.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import deflate

from lvslab.core.errors import StageError
from lvslab.core.files import atomic, write_atomic
from lvslab.formats.vmdk.layout import (
    GRAIN,
    GRAIN_MARKER,
    GRAIN_SECTORS,
    MONOLITHIC_SPARSE,
    SECTOR,
    STREAM_OPTIMIZED,
    Plan,
    ceiling,
    descriptor_text,
)
from lvslab.formats.vmdk.reader import Reader

Progress = Callable[..., None]
Payload = bytes | bytearray

DEFAULT_LEVEL = 7
"""libdeflate's level, chosen by bench/vmdk.py: 8 takes 1.4 times as long for 0.2 % less."""

EXTENT_NAME = "disk.vmdk"
"""The extent name in every streamOptimized descriptor: the file's own name must not matter."""

_BATCH = 16
_BATCHES_PER_THREAD = 4
_ZERO = bytes(GRAIN)
_RESERVED_IDS = ("ffffffff", "fffffffe")
_MAX_SECTORS = 1 << 32


@dataclass(frozen=True)
class Written:
    """A VMDK that was written: capacity and populated size of the disk in bytes, file size, CID."""

    capacity: int
    populated: int
    size: int
    content_id: str


@dataclass(frozen=True)
class _Format:
    """What tells one kind of VMDK from another; `pack` makes whole sectors of a grain."""

    kind: str
    extent: str
    encode: Callable[[bytes], Payload]
    pack: Callable[[int, Payload], list[Payload]]
    ending: bytes


@dataclass(frozen=True)
class _Grain:
    number: int
    length: int
    digest: bytes
    payload: Payload


def no_progress(done: int, total: int, unit: str = "", note: str = "") -> None:
    """A progress listener that drops everything."""


def write_stream_optimized(
    raw: Path,
    vmdk: Path,
    *,
    level: int = DEFAULT_LEVEL,
    threads: int | None = None,
    progress: Progress = no_progress,
) -> Written:
    """Write the raw disk `raw` as a streamOptimized VMDK, atomically.

    `level` is libdeflate's (1-12), `threads` defaults to the number of cores;
    `progress(done, total, "B")` counts bytes of the disk that hold data. The bytes depend
    on the disk, the level and the version of libdeflate only. Memory is bounded by the
    grains in flight. Raises StageError for a disk that cannot be written, OSError.
    """

    def pack(number: int, payload: Payload) -> list[Payload]:
        marker = GRAIN_MARKER.pack(number * GRAIN_SECTORS, len(payload))
        return [marker, payload, bytes(-(len(marker) + len(payload)) % SECTOR)]

    stream = _Format(
        kind=STREAM_OPTIMIZED,
        extent=EXTENT_NAME,
        encode=lambda data: deflate.zlib_compress(data, level),
        pack=pack,
        ending=bytes(SECTOR),
    )
    return _write(raw, vmdk, stream, threads, progress)


def write_monolithic_sparse(
    raw: Path, vmdk: Path, *, threads: int | None = None, progress: Progress = no_progress
) -> Written:
    """Write the raw disk `raw` as a monolithicSparse VMDK: what Workstation runs from.

    Grains are whole and uncompressed, tables are kept twice, as the technical note says.
    Parameters, result and errors are those of `write_stream_optimized`.
    """

    sparse = _Format(
        kind=MONOLITHIC_SPARSE,
        extent=vmdk.name,
        encode=lambda data: data,
        pack=lambda number, payload: [payload, bytes(GRAIN - len(payload))],
        ending=b"",
    )
    return _write(raw, vmdk, sparse, threads, progress)


def write_child(vmdk: Path, parent: Path, hint: str) -> Written:
    """Write an empty child of the VMDK `parent`: what a machine writes goes there, atomically.

    `hint` is where VMware finds the parent, relative to the child's folder; the parent
    must not change after this, or VMware refuses the child. Raises VmdkError, OSError.
    """
    with Reader(parent) as reader:
        capacity, values = reader.header.capacity, reader.descriptor.values
    cid = values["CID"]
    content_id = _content_id(hashlib.sha256(f"child of {cid}".encode()).hexdigest())
    plan = Plan(capacity, redundant=True)
    text = descriptor_text(
        capacity=capacity,
        kind=MONOLITHIC_SPARSE,
        content_id=content_id,
        extent=vmdk.name,
        parent=(cid, hint),
    )
    front = plan.front(text, {})
    write_atomic(vmdk, front)
    return Written(capacity * SECTOR, 0, len(front), content_id)


def _write(
    raw: Path, vmdk: Path, form: _Format, threads: int | None, progress: Progress
) -> Written:
    size = raw.stat().st_size
    if size == 0:
        raise StageError("the disk has no bytes", where=str(raw))
    plan = Plan(ceiling(size, SECTOR), redundant=form.kind == MONOLITHIC_SPARSE)
    total = hashlib.sha256(str(plan.capacity).encode())
    entries: dict[int, int] = {}
    populated = 0
    with atomic(vmdk) as temporary, temporary.open("wb") as out:
        position = plan.overhead
        out.seek(position * SECTOR)
        for grain in _grains(raw, size, form.encode, threads or os.cpu_count() or 1, progress):
            entries[grain.number] = position
            total.update(grain.number.to_bytes(8, "little") + grain.digest)
            populated += grain.length
            position += sum(map(out.write, form.pack(grain.number, grain.payload))) // SECTOR
            if position >= _MAX_SECTORS:
                raise StageError("the VMDK would be over 2 TiB", where=str(raw))
        out.write(form.ending)
        content_id = _content_id(total.hexdigest())
        text = descriptor_text(
            capacity=plan.capacity, kind=form.kind, content_id=content_id, extent=form.extent
        )
        out.seek(0)
        out.write(plan.front(text, entries))
        out.flush()
        length = os.fstat(out.fileno()).st_size
    return Written(plan.capacity * SECTOR, populated, length, content_id)


def _content_id(digest: str) -> str:
    """128 bits of the content's digest whose last 32 (the CID) are not a reserved value."""
    for start in range(0, 33, 8):
        if digest[start + 24 : start + 32] not in _RESERVED_IDS:
            return digest[start : start + 32]
    return digest[:24] + "00000000"


def _grains(
    raw: Path,
    size: int,
    encode: Callable[[bytes], Payload],
    threads: int,
    progress: Progress,
) -> Iterator[_Grain]:
    """The grains of `raw` that are not all zero, in ascending order, encoded by `threads`."""
    with _opened(raw) as descriptor, ThreadPoolExecutor(threads) as pool:
        data = list(_data_grains(descriptor, size))
        numbers = iter([number for span in data for number in span])
        expected = sum(len(span) for span in data) * GRAIN
        done = 0

        def work(batch: list[int]) -> list[_Grain]:
            return [
                found for number in batch if (found := _grain(descriptor, size, number, encode))
            ]

        pending: deque[tuple[int, Future[list[_Grain]]]] = deque()
        try:
            while True:
                while len(pending) < threads * _BATCHES_PER_THREAD and (
                    batch := list(islice(numbers, _BATCH))
                ):
                    pending.append((len(batch) * GRAIN, pool.submit(work, batch)))
                if not pending:
                    return
                length, future = pending.popleft()
                yield from future.result()
                done += length
                progress(done, expected, "B")
        finally:
            for _, future in pending:
                future.cancel()


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _data_grains(descriptor: int, size: int) -> Iterator[range]:
    """The numbers of the grains that may hold data: holes of the file are skipped (lseek(2))."""
    position, following = 0, 0
    while position < size:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError:
            return
        position = os.lseek(descriptor, start, os.SEEK_HOLE)
        span = range(max(following, start // GRAIN), ceiling(position, GRAIN))
        following = max(following, span.stop)
        if span:
            yield span


def _grain(
    descriptor: int, size: int, number: int, encode: Callable[[bytes], Payload]
) -> _Grain | None:
    """Grain `number`, None if it is all zero; the last may be shorter, in whole sectors."""
    wanted = min(GRAIN, size - number * GRAIN)
    data = os.pread(descriptor, wanted, number * GRAIN)
    if len(data) != wanted:
        raise StageError("the disk became shorter while it was read")
    data += bytes(-wanted % SECTOR)
    if data == _ZERO[: len(data)]:
        return None
    return _Grain(number, len(data), hashlib.sha256(data).digest(), encode(data))
