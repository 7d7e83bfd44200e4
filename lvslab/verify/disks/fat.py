"""A volume of FAT as cloud-init mounts it: its label, and files of its root folder.

Source: Microsoft, "FAT32 File System Specification" 1.03: the boot sector's BS_VolLab.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

from dissect.fat import FATFS

from lvslab.verify.rules import reading

_SECTOR = 512
_LABELS = {b"FAT12": 43, b"FAT16": 43, b"FAT32": 71}
_KIND_BEHIND = 11
"""The kind is right after the label, which has 11 bytes."""


def label(file: BinaryIO) -> str | None:
    """The volume's label; None if it is not FAT."""
    file.seek(0)
    sector = file.read(_SECTOR)
    for kind, offset in _LABELS.items():
        if sector[offset + _KIND_BEHIND :].startswith(kind) and sector.endswith(b"\x55\xaa"):
            return sector[offset : offset + _KIND_BEHIND].decode("ascii", "replace").strip()
    return None


def files(file: BinaryIO, names: Sequence[str]) -> dict[str, bytes]:
    """Those of these files that are in the root folder; raises Unreadable."""
    file.seek(0)
    with reading("the FAT"):
        there = {entry.name.lower(): entry for entry in FATFS(file).root.iterdir()}
        return {name: bytes(there[name].open().read()) for name in names if name in there}
