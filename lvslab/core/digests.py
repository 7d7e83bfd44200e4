"""Sums of large files, remembered while the files stay as they were."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from pathlib import Path

from lvslab.core.files import sha256_file, write_atomic


@dataclass
class Digests:
    """sha256 by path, kept in the JSON file `store`.

    A remembered sum counts while size, inode and both times (modification and change, in
    nanoseconds) of the file are the same; any write changes the latter. For saving time,
    not for trust: what must be verified is read again.
    """

    store: Path
    _known: dict[str, list[object]] = field(default_factory=dict)
    _guard: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        try:
            self._known = json.loads(self.store.read_text())
        except (OSError, ValueError):  # a lost or broken memory costs time only
            self._known = {}

    def sha256(self, path: Path) -> str:
        """The sum of a file, computed if the file is new or changed. Raises OSError."""
        known = self._known.get(str(path))
        if known is not None and known[:-1] == _state(path):
            return str(known[-1])
        digest = sha256_file(path)
        self.remember(path, digest)
        return digest

    def remember(self, path: Path, digest: str) -> None:
        """Keep the sum of a file that was just written. Raises OSError."""
        with self._guard:
            self._known[str(path)] = [*_state(path), digest]

    def save(self) -> None:
        """Write the memory; sums of files that are gone are forgotten."""
        there = {path: entry for path, entry in self._known.items() if Path(path).exists()}
        write_atomic(self.store, json.dumps(there))


def _state(path: Path) -> list[object]:
    stat = path.stat()
    return [stat.st_size, stat.st_ino, stat.st_mtime_ns, stat.st_ctime_ns]
