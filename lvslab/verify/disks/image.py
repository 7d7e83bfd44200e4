"""Rules for VMDKs: streamOptimized for importers, monolithicSparse for VMware folders.

Source: VMware, "Virtual Disk Format 5.0"; VMware's open-vmdk; what VMware's importer does
(it hashes up to the end-of-stream marker).
"""

from __future__ import annotations

from functools import cached_property

from lvslab.core.processes import processors
from lvslab.formats.vmdk import Reader, VmdkError
from lvslab.formats.vmdk.layout import (
    COMPRESSION_DEFLATE,
    END_OF_STREAM,
    GRAIN_SECTORS,
    LINE_ENDS,
    MARKER_DIRECTORY,
    MARKER_FOOTER,
    MARKER_TABLE,
    MONOLITHIC_SPARSE,
    NO_PARENT,
    SECTOR,
    SPARSE_FLAGS,
    STREAM_FLAGS,
    STREAM_OPTIMIZED,
    TABLE_ENTRIES,
)
from lvslab.formats.vmdk.reader import Marker
from lvslab.verify.rules import Refused, RuleSet, Unreadable, demand

STREAM: RuleSet[Image] = RuleSet()
SPARSE: RuleSet[Image] = RuleSet()

_IN_STREAM = (MARKER_TABLE, MARKER_DIRECTORY, MARKER_FOOTER)
_RESERVED_IDS = ("ffffffff", "fffffffe")


class Image:
    """A VMDK that is open; its markers are walked once."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    @cached_property
    def _walk(self) -> tuple[list[Marker], VmdkError | None]:
        markers: list[Marker] = []
        try:
            for marker in self.reader.markers():
                markers.append(marker)
        except VmdkError as error:
            return markers, error
        return markers, None

    @property
    def markers(self) -> list[Marker]:
        """All markers up to the first that cannot be one."""
        return self._walk[0]

    @property
    def trouble(self) -> VmdkError | None:
        """Why the walk along the markers ended early, if it did."""
        return self._walk[1]

    @property
    def grains(self) -> list[Marker]:
        """The markers of grains."""
        return [marker for marker in self.markers if marker.size]


def _check_geometry(image: Image, version: int, flags: int, compression: int) -> None:
    header = image.reader.header
    demand(header.version == version, f"the header's version is {header.version}, not {version}")
    demand(header.flags == flags, f"the flags are {header.flags:#x}, not {flags:#x}")
    demand(header.grain_size == GRAIN_SECTORS, f"a grain has {header.grain_size} sectors")
    demand(header.table_entries == TABLE_ENTRIES, f"a table has {header.table_entries} entries")
    demand(header.compression == compression, f"the compression is {header.compression}")
    demand(header.line_ends == LINE_ENDS, "the line-end test bytes are wrong: a text transfer")
    demand(not header.unclean_shutdown, "it is marked as not closed cleanly")


def _check_descriptor(image: Image, kind: str) -> None:
    descriptor, header = image.reader.descriptor, image.reader.header
    found = descriptor.values.get("createType")
    demand(found == kind, f"createType is {found}, not {kind}")
    identity = descriptor.values.get("CID", "")
    demand(len(identity) == 8 and identity not in _RESERVED_IDS, f"the CID is {identity!r}")
    demand(len(descriptor.extents) == 1, f"there are {len(descriptor.extents)} extents")
    sectors = descriptor.extents[0][0]
    demand(sectors == header.capacity, f"the extent has {sectors}, the header {header.capacity}")


def _check_adapter(image: Image) -> str:
    adapter = image.reader.descriptor.values.get("ddb.adapterType")
    demand(adapter == "lsilogic", f"ddb.adapterType is {adapter}, not lsilogic")
    return "for lsilogic"


def _check_grains(image: Image) -> str:
    return f"{image.reader.check_grains(processors())} grains can be read"


@STREAM.rule(
    "vmdk-header",
    "header version 3, flags 0x30001, 128 sectors a grain, 512 entries a table, deflate",
    "Workstation and ESXi: the file is not taken for a streamOptimized disk",
)
def _stream_header(image: Image) -> str:
    _check_geometry(image, 3, STREAM_FLAGS, COMPRESSION_DEFLATE)
    return f"header of a streamOptimized disk of {image.reader.capacity} bytes"


@STREAM.rule(
    "vmdk-descriptor",
    "createType streamOptimized, a CID, no parent, one extent of the whole disk",
    "Workstation and ESXi: the disk is not opened",
)
def _stream_descriptor(image: Image) -> str:
    _check_descriptor(image, STREAM_OPTIMIZED)
    parent = image.reader.descriptor.values.get("parentCID")
    demand(parent == NO_PARENT, f"it needs the parent {parent}")
    return "descriptor of a streamOptimized disk without a parent"


@STREAM.advice(
    "vmdk-adapter",
    "ddb.adapterType is lsilogic",
    "no importer refuses it: Workstation may give the disk another controller than the OVF says",
)
def _stream_adapter(image: Image) -> str:
    return _check_adapter(image)


@STREAM.advice(
    "vmdk-tools",
    "toolsInstallType 4 and toolsVersion 2147483647: open-vm-tools, not VMware's to update",
    "no importer refuses it: VMware offers to install its own tools at each start",
)
def _tools(image: Image) -> str:
    values = image.reader.descriptor.values
    kind, version = values.get("ddb.toolsInstallType"), values.get("ddb.toolsVersion")
    demand(kind == "4", f"ddb.toolsInstallType is {kind}")
    demand(version == "2147483647", f"ddb.toolsVersion is {version}")
    return "tools are the guest's own"


@STREAM.advice(
    "vmdk-front",
    "grain directory and tables come before the first grain",
    "readers that seek (QEMU, 7-Zip) need no footer then, and no footer can contradict the header",
)
def _front(image: Image) -> str:
    header = image.reader.header
    for sector in (header.directory_offset, *image.reader.directory):
        demand(0 < sector < header.overhead, f"a directory or table is at sector {sector}")
    tables = [marker for marker in image.markers if marker.kind in _IN_STREAM]
    demand(not tables, "tables or a footer are in the stream too")
    return "directory and tables are in front"


@STREAM.rule(
    "vmdk-end-of-stream",
    "one end-of-stream marker, the last sector of the file",
    "VMware hashes up to the marker: 'SHA digest does not match manifest'",
)
def _end_of_stream(image: Image) -> str:
    if image.trouble:
        raise Refused(f"the end-of-stream marker is not reached: {image.trouble.message}")
    demand(image.markers and image.markers[-1].kind == END_OF_STREAM, "there is no marker")
    behind = image.reader.length - (image.markers[-1].sector + 1) * SECTOR
    demand(behind == 0, f"{behind} bytes follow the end-of-stream marker")
    last = image.reader.raw(image.reader.length - SECTOR, SECTOR)
    demand(not any(last), "the end-of-stream sector is not empty")
    return "the file ends with the end-of-stream marker"


@STREAM.rule(
    "vmdk-grain-order",
    "grains follow each other in ascending order, each once and inside the disk",
    "ESXi, which writes them as they come and cannot go back",
)
def _grain_order(image: Image) -> str:
    if image.trouble:
        raise Unreadable(image.trouble.message)
    previous = -1
    for marker in image.grains:
        demand(marker.lba % GRAIN_SECTORS == 0, f"a grain begins at disk sector {marker.lba}")
        demand(marker.lba > previous, f"disk sector {marker.lba} comes after {previous}")
        previous = marker.lba
    demand(previous < image.reader.header.capacity, f"disk sector {previous} is beyond the end")
    return f"{len(image.grains)} grains in ascending order"


@STREAM.rule(
    "vmdk-grain-tables",
    "the tables give the place of each grain, and name no other grain",
    "readers that go by the tables see another disk than those that go by the stream",
)
def _grain_tables(image: Image) -> str:
    if image.trouble:
        raise Unreadable(image.trouble.message)
    by_table = image.reader.entries
    by_stream = {marker.lba // GRAIN_SECTORS: marker.sector for marker in image.grains}
    for number in sorted(by_table.keys() | by_stream.keys()):
        table, stream = by_table.get(number), by_stream.get(number)
        places = f"sector {table or 'none'} by table, {stream or 'none'} by stream"
        demand(table == stream, f"grain {number}: {places}")
    return "tables and markers agree"


@STREAM.rule(
    "vmdk-inflate",
    "each grain inflates to its whole length",
    "Workstation and ESXi: the import ends with a decompression error",
)
def _inflate(image: Image) -> str:
    return _check_grains(image)


@SPARSE.rule(
    "sparse-header",
    "header version 1, flags 0x3, 128 sectors a grain, 512 entries a table, no compression",
    "Workstation does not power on from another kind of disk",
)
def _sparse_header(image: Image) -> str:
    _check_geometry(image, 1, SPARSE_FLAGS, 0)
    return f"header of a hosted sparse disk of {image.reader.capacity} bytes"


@SPARSE.rule(
    "sparse-descriptor",
    "createType monolithicSparse, a CID, one extent of the whole disk",
    "Workstation: 'The file specified is not a virtual disk'",
)
def _sparse_descriptor(image: Image) -> str:
    _check_descriptor(image, MONOLITHIC_SPARSE)
    return "descriptor of a monolithicSparse disk"


@SPARSE.advice(
    "sparse-adapter",
    "ddb.adapterType is lsilogic",
    "no importer refuses it: Workstation may offer another controller for the disk",
)
def _sparse_adapter(image: Image) -> str:
    return _check_adapter(image)


@SPARSE.rule(
    "sparse-redundant",
    "the redundant grain tables are equal to the others",
    "Workstation: 'The specified virtual disk needs repair'",
)
def _redundant(image: Image) -> str:
    demand(image.reader.redundant_entries() == image.reader.entries, "the two tables differ")
    return "both copies of the tables agree"


@SPARSE.rule(
    "sparse-grains",
    "each grain has its own place, aligned and inside the file",
    "Workstation: the disk is corrupt, reads fail",
)
def _sparse_grains(image: Image) -> str:
    reader = image.reader
    places = sorted(reader.entries.values())
    demand(len(set(places)) == len(places), "two grains have the same place")
    for place in places:
        demand(place >= reader.header.overhead, f"sector {place} is before the first grain")
        demand((place - reader.header.overhead) % GRAIN_SECTORS == 0, f"{place} is not aligned")
        inside = (place + GRAIN_SECTORS) * SECTOR <= reader.length
        demand(inside, f"the grain at sector {place} is cut off")
    return _check_grains(image)
