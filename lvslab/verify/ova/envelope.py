"""Rules for the OVF descriptor (DMTF DSP0243 and its schema dsp8023; VMware's importers)."""

from __future__ import annotations

from collections import Counter

from lvslab.core.text import number
from lvslab.verify.ova import xsd
from lvslab.verify.ova.package import DISK, Envelope, HardwareSection, attribute, local, unit_of
from lvslab.verify.ova.xsd import CIM
from lvslab.verify.rules import Absent, Refused, RuleSet, Unreadable, demand

ENVELOPE: RuleSet[Envelope] = RuleSet()

_BEFORE, _BEHIND = "References", ("Strings",)
_STREAM_FORMATS = (
    "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized",
    "http://www.vmware.com/specifications/vmdk.html#streamOptimized",
)


@ENVELOPE.rule(
    "ovf-xml",
    "the descriptor is a well-formed Envelope of OVF 1 or 2",
    "vSphere: 'Issues detected with selected template. Details: … PARSE_ERROR'",
)
def _xml(ovf: Envelope) -> str:
    try:
        version = ovf.root.tag
    except Unreadable as error:
        raise Refused(str(error)) from None
    return f"well-formed, {version}"


@ENVELOPE.advice(
    "ovf-version",
    "the Envelope is of OVF 1",
    "VMware's importers know no OVF 2; VirtualBox takes both",
)
def _version(ovf: Envelope) -> str:
    demand(ovf.parsed.generation == 1, f"it is OVF {ovf.parsed.generation}")
    return "OVF 1"


@ENVELOPE.rule(
    "ovf-schema",
    "elements, attributes and values are those of DMTF's schema: no unknown one, none missing",
    "Workstation: 'did not pass OVF specification conformance or virtual hardware compliance "
    "checks'; ovftool: 'Invalid OVF descriptor'",
)
def _schema(ovf: Envelope) -> str:
    if ovf.parsed.generation != 1:
        raise Absent("the schema of OVF 1.1 says nothing of OVF 2")
    found = list(xsd.faults(ovf.root))
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    demand(not found, "".join(found[:1]) + more)
    return "as DMTF's schema of OVF 1.1 asks for"


@ENVELOPE.rule(
    "ovf-section-order",
    "References, sections, one VirtualSystem, Strings, in this order",
    "Workstation: 'did not pass OVF specification conformance or virtual hardware compliance "
    "checks'",
)
def _section_order(ovf: Envelope) -> str:
    names = [local(child.tag) for child in ovf.root]
    demand("VirtualSystem" in names, "there is no VirtualSystem, of which Workstation imports one")
    demand(names.count("VirtualSystem") == 1, "there is more than one VirtualSystem")
    demand(names[0] == _BEFORE, f"{names[0]} comes before {_BEFORE}")
    behind = names[names.index("VirtualSystem") + 1 :]
    demand(set(behind) <= set(_BEHIND), f"{', '.join(behind)} comes after the VirtualSystem")
    early = set(_BEHIND) & set(names[: -len(behind) or None])
    demand(not early, f"the order is {', '.join(names)}")
    return "the sections are in the schema's order"


@ENVELOPE.advice(
    "ovf-disks-first",
    "the DiskSection comes before the NetworkSection",
    "no importer refuses it (DSP0243 7: sections in any order), but ovftool writes them so",
)
def _disks_first(ovf: Envelope) -> str:
    names = [n for n in map(local, (c.tag for c in ovf.root)) if n.endswith("Section")]
    order = [name for name in names if name in ("DiskSection", "NetworkSection")]
    demand(order == sorted(order), f"the order is {', '.join(names)}")
    return "disks, then networks"


@ENVELOPE.rule(
    "ovf-hardware-order",
    "in VirtualHardwareSection: Info, System (if it is there), Items, then vmw:Config",
    "Workstation: 'did not pass OVF specification conformance or virtual hardware compliance "
    "checks'",
)
def _hardware_order(ovf: Envelope) -> str:
    names = [local(child.tag) for child in ovf.hardware]
    ranks = {"Info": 0, "System": 1, "Item": 2, "Config": 3, "ExtraConfig": 3}
    order = [ranks.get(name, 4) for name in names]
    demand(order == sorted(order), f"the order is {', '.join(names)}")
    demand(names[:1] == ["Info"], "Info does not come first")
    return "Info, System, Items and vmw:Config are in order"


@ENVELOPE.advice(
    "ovf-system",
    "VirtualHardwareSection has a System",
    "no importer refuses it (DSP0243 8.1), but the importer has to guess the hardware version",
)
def _system(ovf: Envelope) -> str:
    demand([c for c in ovf.hardware if local(c.tag) == "System"], "there is no System")
    return "there is a System"


@ENVELOPE.rule(
    "ovf-child-order",
    "children of System and of each Item are in alphabetical order",
    "ESXi: \"Unsupported element 'Connection'\" for the first child that is out of order",
)
def _child_order(ovf: Envelope) -> str:
    if ovf.parsed.generation != 1:
        raise Absent("no importer of OVF 2 asks for an order")
    for element in ovf.hardware:
        if local(element.tag) not in ("System", "Item"):
            continue
        cim = [local(child.tag) for child in element if child.tag.startswith(f"{{{CIM}")]
        demand(cim == sorted(cim), f"not in alphabetical order: {', '.join(cim)}")
        other = [not child.tag.startswith(f"{{{CIM}") for child in element]
        demand(other == sorted(other), "a vmw:Config comes before CIM elements")
    return "children are in alphabetical order"


@ENVELOPE.rule(
    "ovf-references",
    "each File is there with the size that is given, whole or in all its chunks, and what refers "
    "to a File finds it",
    "ovftool: 'Wrong file size specified in OVF descriptor'",
)
def _references(ovf: Envelope) -> str:
    ids = [attribute(file, "id") for file in ovf.all("File")]
    demand(len(set(ids)) == len(ids), "two Files have the same id")
    for file in ovf.all("File"):
        href, size = attribute(file, "href"), attribute(file, "size")
        demand(href in ovf.files, f"the file {href} is not there")
        parts = ovf.files[href]
        right = size in ("", str(sum(parts)))  # the schema does not ask for the size
        demand(right, f"{href} has {sum(parts)} bytes, not {size}")
        chunk = number(attribute(file, "chunkSize")) or sum(parts)
        whole = len(parts) == 1 or (set(parts[:-1]) == {chunk} and 0 < parts[-1] <= chunk)
        demand(whole, f"the chunks of {href} have {', '.join(map(str, parts))} bytes, not {chunk}")
    for identity in ovf.file_uses:
        demand(identity in ids, f"{identity} is referred to, which is not a File")
    return f"{len(ids)} files, all there"


@ENVELOPE.advice(
    "ovf-files-used",
    "each File is used",
    "no importer refuses it: the file is loaded and thrown away",
)
def _files_used(ovf: Envelope) -> str:
    for file in ovf.all("File"):
        demand(attribute(file, "id") in ovf.file_uses, f"nothing uses {attribute(file, 'href')}")
    return "all files are used"


@ENVELOPE.rule(
    "ovf-disk-items",
    "each hard disk has its own Disk, and the medium of each drive is there",
    "vSphere: 'VALUE_ILLEGAL: Value … of HostResource element not found'",
)
def _disk_items(ovf: Envelope) -> str:
    disks = [attribute(disk, "diskId") for disk in ovf.all("Disk")]
    demand(len(set(disks)) == len(disks), "two Disks have the same diskId")

    def check(machine: HardwareSection) -> str:
        for item in machine.of(DISK):
            resource = item["HostResource"]
            demand(item.disk in disks, f"a hard disk needs {resource!r}, which is not a Disk")
        for item in machine.items:
            demand(not item.disk or item.disk in disks, f"{item.title} needs the Disk {item.disk}")
        for disk, count in Counter(item.disk for item in machine.of(DISK)).items():
            demand(count == 1, f"the Disk {disk} is used {count} times")
        demand(machine.of(DISK), "there is no disk")
        return f"{len(machine.of(DISK))} hard disks, each with its own Disk"

    return ovf.each(check)


@ENVELOPE.advice(
    "ovf-disks-used",
    "each Disk is used",
    "no importer refuses it: the machine has no such disk",
)
def _disks_used(ovf: Envelope) -> str:
    used = {item.disk for item in ovf.items}
    for disk in ovf.all("Disk"):
        demand(attribute(disk, "diskId") in used, f"nothing uses {attribute(disk, 'diskId')}")
    return "all disks are used"


@ENVELOPE.rule(
    "ovf-capacity",
    "a disk's capacity is that of its VMDK",
    "no importer reports it: the disk is made with the OVF's capacity and cut off, or written past "
    "its end",
)
def _capacity(ovf: Envelope) -> str:
    for disk in ovf.hard_disks:
        if not attribute(disk, "fileRef") or attribute(disk, "capacity").startswith("${"):
            continue  # an empty disk, or one whose size is asked for at the import
        name = attribute(disk, "capacityAllocationUnits") or "byte"
        unit = unit_of(name)
        if unit is None:
            raise Refused(f"the unit of the capacity is {name!r}")
        given = number(attribute(disk, "capacity"))
        if given is None:
            raise Refused(f"the capacity is {attribute(disk, 'capacity')!r}, not a number")
        file = ovf.references.get(attribute(disk, "fileRef"))
        href = attribute(file, "href") if file is not None else ""
        found = ovf.capacity_of(href)
        if found is None:
            raise Refused(f"the VMDK {href or attribute(disk, 'fileRef')} cannot be read")
        # In a larger unit the capacity is rounded up.
        right = 0 <= given * unit - found < unit
        demand(right, f"{href} has {found} bytes, the OVF says {given} of {name}")
        text = attribute(disk, "populatedSize") or "0"
        populated = number(text)
        whole = populated is not None and populated <= given * unit
        demand(whole, f"{href}: populated {text} of {given}")
    return "capacities are those of the VMDKs"


@ENVELOPE.advice(
    "ovf-capacity-unit",
    "a disk's capacity is given in bytes, with the unit",
    "no importer refuses it, but some importers read a number without its unit",
)
def _capacity_unit(ovf: Envelope) -> str:
    for disk in ovf.hard_disks:
        unit = attribute(disk, "capacityAllocationUnits")
        demand(unit == "byte", f"the unit of the capacity is {unit or 'missing'}, not byte")
    return "capacities are in bytes"


@ENVELOPE.rule(
    "ovf-disk-format",
    "a disk's format is VMware's URI of streamOptimized",
    "ESXi refuses the disk format; VirtualBox takes the file for a raw image",
)
def _disk_format(ovf: Envelope) -> str:
    for disk in ovf.hard_disks:
        found = attribute(disk, "format")
        demand(found in _STREAM_FORMATS, f"the format is {found!r}")
    return "the format is streamOptimized"
