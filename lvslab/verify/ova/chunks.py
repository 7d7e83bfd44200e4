"""A VMDK in the chunks of an OVA (DMTF DSP0243 7.1): parts of one file, read as one disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lvslab.formats.vmdk import Reader


class ChunkReader(Reader):
    """A VMDK that is in `path` in parts: offset and length of each, in bytes."""

    def __init__(self, path: Path, parts: Sequence[tuple[int, int]]) -> None:
        self._parts = parts
        super().__init__(path, 0, sum(length for _, length in parts))

    def raw(self, offset: int, length: int) -> bytes:
        """`length` bytes of the VMDK itself; fewer only at its end."""
        found = []
        for start, size in self._parts:
            if length <= 0:
                break
            if offset < size:
                count = min(length, size - offset)
                found.append(os.pread(self._descriptor, count, start + offset))
                offset, length = size, length - count
            offset -= size
        return b"".join(found)
