"""Sums of files, and where they are remembered while the files stay as they were."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lvslab.core.files import sha256_file, write_atomic

PERIOD_DAYS = 7
"""After so many days a file is read again although it looks unchanged."""
_BLOCK = 1 << 16
_ZEROS = bytes(_BLOCK)

State = list[int]
"""What changes when a file is written to: size, inode, and both times (modification and change)
in nanoseconds. What a bad disk does to a file changes none of them."""


def state(stat: os.stat_result) -> State:
    """The state of the file that `stat` is of."""
    return [stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns]


def is_due(checked: float) -> bool:
    """Whether a file that was read at `checked` (seconds since 1970) is to be read again."""
    return not 0 <= time.time() - checked < PERIOD_DAYS * 86400


def save_sealed(path: Path, value: object) -> None:
    """Write a JSON-able value with its own sha256. Raises OSError."""
    text = json.dumps(value, separators=(",", ":"))
    seal = hashlib.sha256(text.encode()).hexdigest()
    write_atomic(path, f"{seal}\n{text}\n")


def load_sealed(path: Path) -> Any:
    """What `save_sealed` wrote; None if it is not there, or no longer what was written."""
    try:
        seal, text, _ = path.read_bytes().split(b"\n")
    except (OSError, ValueError):
        return None
    return json.loads(text) if hashlib.sha256(text).hexdigest().encode() == seal else None


def sparse_sum(path: Path) -> str:
    """The sha256 of the blocks of 64 KiB that are not all zeros, each after its offset.

    For files with holes: holes are not read, and it does not matter where they are. Raises OSError.
    """
    total = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        position = _next_data(file.fileno(), 0)
        while position is not None:
            block = os.pread(file.fileno(), _BLOCK, position)
            if block != _ZEROS[: len(block)]:
                total.update(position.to_bytes(8))
                total.update(block)
            position = _next_data(file.fileno(), position + _BLOCK)
    return total.hexdigest()


def _next_data(handle: int, position: int) -> int | None:
    """Where the block begins that has the next data, None after the last (lseek(2), SEEK_DATA)."""
    try:
        return os.lseek(handle, position, os.SEEK_DATA) // _BLOCK * _BLOCK
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise


@dataclass
class Digests:
    """sha256 by path, kept in the file `store`.

    A remembered sum counts while the state of the file is the same, and until it is due again;
    with `whole` every file is read once in this run. This saves time, it gives no trust: a file
    that must be verified is read again.
    """

    store: Path
    whole: bool = False
    _known: dict[str, tuple[State, float, str]] = field(default_factory=dict)
    _read: set[str] = field(default_factory=set)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        known = load_sealed(self.store)  # a lost or broken memory costs time only
        self._known = {
            path: (entry[0], entry[1], entry[2]) for path, entry in (known or {}).items()
        }

    def sha256(self, path: Path) -> str:
        """The sum of a file, computed if the file is new, changed or due. Raises OSError."""
        known = self._known.get(str(path))
        if known is not None and known[0] == state(path.stat()):
            read_now = str(path) in self._read
            if read_now or not (self.whole or is_due(known[1])):
                return known[2]
        digest = sha256_file(path)
        self.remember(path, digest)
        return digest

    def remember(self, path: Path, digest: str) -> None:
        """Keep the sum of a file that was just read or written. Raises OSError."""
        with self._guard:
            self._known[str(path)] = (state(path.stat()), time.time(), digest)
            self._read.add(str(path))

    def save(self) -> None:
        """Write the memory, if that is possible; sums of files that are gone are forgotten."""
        there = {path: entry for path, entry in self._known.items() if Path(path).exists()}
        with contextlib.suppress(OSError):
            save_sealed(self.store, there)
