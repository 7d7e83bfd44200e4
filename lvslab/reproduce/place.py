"""Where two files differ first, and what is there: a partition, an inode, a path."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dissect.extfs import ExtFS

from lvslab.build.changes import walk
from lvslab.build.disk import SECTOR, layout

_CHUNK = 4 << 20


def first_difference(a: Path, b: Path) -> int | None:
    """The offset of the first byte that differs, or None; holes of sparse files are not read.

    When one file is the beginning of the other, that is the length of the shorter.
    """
    with a.open("rb") as one, b.open("rb") as two:
        files = (one.fileno(), two.fileno())
        sizes = [os.fstat(file).st_size for file in files]
        position = 0
        while (start := min(_next_data(file, position) for file in files)) < max(sizes):
            left, right = (os.pread(file, _CHUNK, start) for file in files)
            if left != right:
                return start + common(left, right)
            position = start + _CHUNK
    return None if sizes[0] == sizes[1] else min(sizes)


def _next_data(file: int, position: int) -> int:
    try:
        return os.lseek(file, position, os.SEEK_DATA)
    except OSError:  # ENXIO: only a hole is left, or nothing
        return 1 << 62


def common(left: bytes, right: bytes) -> int:
    """How many bytes two strings have in common at their beginning."""
    if left == right:
        return len(left)
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[:middle] == right[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def on_disk(part: Callable[[int], Any], size: int, offset: int) -> str:
    """What is at `offset` bytes of a disk of ours that has `size` bytes.

    `part(start)` is the disk from byte `start` on, as a binary file.
    """
    *boot, root = layout(size >> 20)
    for found in (*boot, root):
        start = found.start * SECTOR
        if start <= offset < start + found.sectors * SECTOR:
            what = f"partition {found.name}, byte {offset - start}"
            if found != root:
                return what
            return f"{what}: {_in_ext4(ExtFS(part(start)), offset - start)}"
    return "the boot sector or the partition table"


def _in_ext4(filesystem: Any, offset: int) -> str:
    """The path whose content or inode is at `offset` of an ext4 file system."""
    block = offset // filesystem.block_size
    number = _inode_at(filesystem, offset)
    for path, node in walk(filesystem.root, ""):
        if node.inum == number:
            return f"the inode of {path}"
        if stat.S_IFMT(node.inode.i_mode) not in (stat.S_IFREG, stat.S_IFDIR):
            continue
        for first, count in node.dataruns():
            if first is not None and first <= block < first + count:
                return f"the content of {path}"
    if number is not None:
        return f"inode {number}, which no path names"
    return f"block {block}, the file system's own"


def _inode_at(filesystem: Any, offset: int) -> int | None:
    """The number of the inode whose table entry covers `offset`, if that is in a table."""
    block = filesystem.sb
    for group in range(filesystem.groups_count):
        table = filesystem._read_group_desc(group).bg_inode_table_lo * filesystem.block_size
        index = (offset - table) // block.s_inode_size
        if 0 <= index < block.s_inodes_per_group:
            return int(group * block.s_inodes_per_group + index + 1)
    return None
