"""Rules for disks of several files: a descriptor as text names extents beside it.

Source: VMware, "Virtual Disk Format 5.0", "The Descriptor File". Workstation makes such disks
unless it is set to use one file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lvslab.core.text import decode, lines
from lvslab.formats.vmdk import VmdkError
from lvslab.formats.vmdk.layout import SECTOR, Header
from lvslab.formats.vmdk.reader import DESCRIPTOR_MAGIC, Descriptor
from lvslab.verify.rules import Refused, RuleSet, demand

SPLIT: RuleSet[Split] = RuleSet()

_EXTENT = re.compile(
    r"^(?:RW|RDONLY|NOACCESS) (?P<sectors>[0-9]{1,18}) (?P<kind>[A-Z]+)"
    r'(?: "(?P<name>[^"]+)"(?: (?P<offset>[0-9]{1,18}))?)?\s*$'
)
_SPARSE, _FLAT, _EMPTY = "SPARSE", ("FLAT", "VMFS"), ("ZERO",)
_MAX_TEXT = 64 << 10


@dataclass(frozen=True)
class Extent:
    """A line of a descriptor: sectors of the disk, kind, file (None: no file), first sector."""

    sectors: int
    kind: str
    name: str | None
    offset: int


class Split:
    """A disk by its descriptor, a text; the extents are in the same folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def data(self) -> bytes:
        """The descriptor's first 64 KiB."""
        with self.path.open("rb") as file:
            return file.read(_MAX_TEXT)

    @cached_property
    def descriptor(self) -> Descriptor:
        """The descriptor's values."""
        return Descriptor.parse(self.data)

    @property
    def kind(self) -> str:
        """Its createType."""
        return self.descriptor.values.get("createType", "")

    @cached_property
    def extents(self) -> list[Extent]:
        """The extents in the disk's order."""
        text = decode(self.data, self.descriptor.values.get("encoding", ""))
        found = (_EXTENT.match(line) for line in lines(text))
        return [
            Extent(int(m["sectors"]), m["kind"], m["name"], int(m["offset"] or 0))
            for m in found
            if m
        ]

    def demand_extents(self) -> None:
        """Raise Refused if an extent is not there, or is not what the descriptor says."""
        demand(self.extents, f"{self.path.name} names no extent")
        for extent in self.extents:
            if extent.kind not in _EMPTY:
                _demand_extent(self.path, extent)


def is_descriptor(path: Path) -> bool:
    """Whether a file is a descriptor alone, without a disk's content."""
    with path.open("rb") as file:
        return file.read(len(DESCRIPTOR_MAGIC)) == DESCRIPTOR_MAGIC


def owner(path: Path) -> Split | None:
    """The disk of several files that a file is an extent of; its descriptor is beside it."""
    for other in sorted(path.absolute().parent.glob("*.vmdk")):
        if other.is_file() and is_descriptor(other):
            disk = Split(other)
            if any(extent.name == path.name for extent in disk.extents):
                return disk
    return None


def _demand_extent(descriptor: Path, extent: Extent) -> None:
    name = extent.name or ""
    path = descriptor.parent / name
    demand(name and Path(name).name == name, f"the extent {name!r} is not in this folder")
    demand(path.is_file(), f"the extent {name} is not there")
    size = path.stat().st_size
    if extent.kind == _SPARSE:
        with path.open("rb") as file:
            head = file.read(SECTOR)
        try:
            sectors = Header.unpack(head).capacity
        except VmdkError as error:
            raise Refused(f"the extent {name}: {error.message}") from None
        demand(
            sectors == extent.sectors,
            f"the extent {name} has {sectors} sectors, the descriptor says {extent.sectors}",
        )
    elif extent.kind in _FLAT:
        wanted = (extent.offset + extent.sectors) * SECTOR
        demand(size >= wanted, f"the extent {name} has {size} bytes, not {wanted}")


@SPLIT.rule(
    "split-descriptor",
    "the descriptor has a createType, a CID and extents",
    "Workstation: 'The file specified is not a virtual disk'",
)
def _descriptor(disk: Split) -> str:
    demand(disk.kind, "there is no createType")
    identity = disk.descriptor.values.get("CID", "")
    demand(re.fullmatch("[0-9A-Fa-f]{1,8}", identity), f"the CID is {identity!r}")
    demand(disk.extents, "there is no extent")
    return f"a {disk.kind} disk of {sum(e.sectors for e in disk.extents) * SECTOR} bytes"


@SPLIT.rule(
    "split-extents",
    "each extent is in the descriptor's folder and has the length that it says",
    "Workstation: 'Cannot open the disk … or one of the snapshot disks it depends on'",
)
def _extents(disk: Split) -> str:
    disk.demand_extents()
    return f"{len(disk.extents)} extents, all there"


@SPLIT.advice(
    "split-one-file",
    "a disk is one file",
    "VMware's importers do not refuse it: importers of OVAs take one streamOptimized file alone",
)
def _one_file(disk: Split) -> str:
    kind = disk.kind or "VMDK"
    raise Refused(f"it is a {kind} disk of {len(disk.extents)} extents and a descriptor")
