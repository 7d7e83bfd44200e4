"""Rules for the OVF descriptor (DMTF DSP0243 and its schema dsp8023; VMware's importers)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property
from xml.etree import ElementTree

from lvslab.check.verify import descriptor, schema
from lvslab.check.verify.rules import Refused, RuleSet, Unreadable, demand
from lvslab.check.verify.schema import CIM, RASD
from lvslab.export.ova import OVF_NAMESPACE

ENVELOPE: RuleSet[Envelope] = RuleSet()

VMW = "http://www.vmware.com/schema/ovf"

DISK = "17"
_SECTIONS = ("References", "DiskSection", "NetworkSection", "VirtualSystem", "Strings")
_STREAM_FORMATS = (
    "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized",
    "http://www.vmware.com/specifications/vmdk.html#streamOptimized",
)
_UNIT = re.compile(r"byte(?: \* (2|10)\^(\d{1,2}))?")


def local(tag: str) -> str:
    """A tag without its namespace."""
    return tag.rpartition("}")[2]


def attribute(element: ElementTree.Element, name: str) -> str:
    """An attribute of the OVF's own namespace; empty if it is not there."""
    return element.get(f"{{{OVF_NAMESPACE}}}{name}", "")


class Item:
    """An Item of the virtual hardware: its RASD values by name."""

    def __init__(self, element: ElementTree.Element) -> None:
        self.element = element
        prefix = f"{{{RASD}}}"
        self.values = {
            child.tag.removeprefix(prefix): (child.text or "").strip()
            for child in element
            if child.tag.startswith(prefix)
        }

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")

    @property
    def title(self) -> str:
        """The name by which a message calls the device."""
        return self["ElementName"] or f"the item {self['InstanceID']}"


class Envelope:
    """An OVF and what surrounds it.

    `read` gives its bytes or raises Unreadable; `files` is name to size of the other files;
    `capacity_of` tells a VMDK's capacity in bytes (None: it cannot be read).
    """

    def __init__(
        self,
        read: Callable[[], bytes],
        files: Mapping[str, int],
        capacity_of: Callable[[str], int | None],
    ) -> None:
        self._read, self.files, self.capacity_of = read, files, capacity_of

    @cached_property
    def root(self) -> ElementTree.Element:
        """The envelope; raises Unreadable."""
        return descriptor.parse(self._read())

    def all(self, name: str) -> list[ElementTree.Element]:
        """All elements of the OVF's own namespace with this name."""
        return list(self.root.iter(f"{{{OVF_NAMESPACE}}}{name}"))

    @cached_property
    def hardware(self) -> ElementTree.Element:
        """The VirtualHardwareSection; raises Unreadable."""
        if not (found := self.all("VirtualHardwareSection")):
            raise Unreadable("there is no VirtualHardwareSection")
        return found[0]

    @cached_property
    def items(self) -> list[Item]:
        """All devices in order."""
        return [Item(element) for element in self.hardware.findall(f"{{{OVF_NAMESPACE}}}Item")]

    def of(self, *kinds: str) -> list[Item]:
        """The devices of these resource types."""
        return [item for item in self.items if item["ResourceType"] in kinds]

    @cached_property
    def references(self) -> dict[str, ElementTree.Element]:
        """The File elements by id."""
        return {attribute(file, "id"): file for file in self.all("File")}

    @cached_property
    def file_uses(self) -> set[str]:
        """The ids of Files that disks, icons, strings, devices and settings refer to."""
        used = set()
        for element in self.root.iter():
            used.add(attribute(element, "fileRef"))
            for text in (element.text or "", *element.attrib.values()):
                if match := re.fullmatch(r"\s*(?:ovf:)?/file/(\S+)\s*", text):
                    used.add(match[1])
        return used - {""}

    @cached_property
    def configs(self) -> list[ElementTree.Element]:
        """All vmw:Config elements."""
        return list(self.root.iter(f"{{{VMW}}}Config"))


@ENVELOPE.rule(
    "ovf-xml",
    "the descriptor is a well-formed Envelope of OVF 1.x",
    "vSphere: 'Issues detected with selected template. Details: … PARSE_ERROR'",
)
def _xml(ovf: Envelope) -> str:
    try:
        version = ovf.root.tag
    except Unreadable as error:
        raise Refused(str(error)) from None
    return f"well-formed, {version}"


@ENVELOPE.rule(
    "ovf-schema",
    "elements, attributes and values are those of DMTF's schema: no unknown one, none missing",
    "Workstation: 'did not pass OVF specification conformance or virtual hardware compliance "
    "checks'; ovftool: 'Invalid OVF descriptor'",
)
def _schema(ovf: Envelope) -> str:
    found = list(schema.faults(ovf.root))
    more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
    demand(not found, "".join(found[:1]) + more)
    return "as DMTF's schema of OVF 1.1 asks for"


@ENVELOPE.rule(
    "ovf-section-order",
    "References, DiskSection, NetworkSection, VirtualSystem, Strings, in this order",
    "Workstation: 'did not pass OVF specification conformance or virtual hardware compliance "
    "checks'",
)
def _section_order(ovf: Envelope) -> str:
    names = [local(child.tag) for child in ovf.root]
    known = [_SECTIONS.index(name) for name in names if name in _SECTIONS]
    demand(known == sorted(known), f"the order is {', '.join(names)}")
    demand("VirtualSystem" in names, "there is no VirtualSystem, of which Workstation imports one")
    demand(names.count("VirtualSystem") == 1, "there is more than one VirtualSystem")
    demand(names[0] == "References", f"{names[0]} stands before References")
    behind = names[names.index("VirtualSystem") + 1 :]
    demand(set(behind) <= {"Strings"}, f"{', '.join(behind)} stands after the VirtualSystem")
    return "the sections are in the schema's order"


@ENVELOPE.rule(
    "ovf-hardware-order",
    "in VirtualHardwareSection: Info, System, Items, then vmw:Config",
    "Workstation: 'did not pass OVF specification conformance or virtual hardware compliance "
    "checks'",
)
def _hardware_order(ovf: Envelope) -> str:
    names = [local(child.tag) for child in ovf.hardware]
    ranks = {"Info": 0, "System": 1, "Item": 2, "Config": 3, "ExtraConfig": 3}
    order = [ranks.get(name, 4) for name in names]
    demand(order == sorted(order), f"the order is {', '.join(names)}")
    demand(names[:2] == ["Info", "System"], "Info and System do not come first")
    return "System, Items and vmw:Config are in order"


@ENVELOPE.rule(
    "ovf-child-order",
    "children of System and of each Item are in alphabetical order",
    "ESXi: \"Unsupported element 'Connection'\" for the first child that is out of order",
)
def _child_order(ovf: Envelope) -> str:
    for element in ovf.hardware:
        if local(element.tag) not in ("System", "Item"):
            continue
        cim = [local(child.tag) for child in element if child.tag.startswith(f"{{{CIM}")]
        demand(cim == sorted(cim), f"not in alphabetical order: {', '.join(cim)}")
        other = [not child.tag.startswith(f"{{{CIM}") for child in element]
        demand(other == sorted(other), "a vmw:Config stands before CIM elements")
    return "children are in alphabetical order"


@ENVELOPE.rule(
    "ovf-references",
    "each File is there with the size that is given, and what refers to a File finds it",
    "ovftool: 'Wrong file size specified in OVF descriptor'",
)
def _references(ovf: Envelope) -> str:
    ids = [attribute(file, "id") for file in ovf.all("File")]
    demand(len(set(ids)) == len(ids), "two Files have the same id")
    for file in ovf.all("File"):
        href, size = attribute(file, "href"), attribute(file, "size")
        demand(href in ovf.files, f"the file {href} is not there")
        right = size in ("", str(ovf.files[href]))  # the schema does not ask for the size
        demand(right, f"{href} has {ovf.files[href]} bytes, not {size}")
    for identity in ovf.file_uses:
        demand(identity in ids, f"{identity} is referred to, which is no File")
    return f"{len(ids)} files, all there"


@ENVELOPE.advice(
    "ovf-files-used",
    "each File is used",
    "none refuses it: it is loaded and thrown away",
)
def _files_used(ovf: Envelope) -> str:
    for file in ovf.all("File"):
        demand(attribute(file, "id") in ovf.file_uses, f"nothing uses {attribute(file, 'href')}")
    return "all files are used"


@ENVELOPE.rule(
    "ovf-disk-items",
    "each Disk is used by one hard disk, and each hard disk has its Disk",
    "vSphere: 'VALUE_ILLEGAL: Value … of HostResource element not found'",
)
def _disk_items(ovf: Envelope) -> str:
    disks = [attribute(disk, "diskId") for disk in ovf.all("Disk")]
    used = Counter(item["HostResource"] for item in ovf.of(DISK))
    for resource in used:
        found = re.fullmatch(r"(ovf:)?/disk/(.+)", resource)
        demand(found and found[2] in disks, f"a hard disk wants {resource!r}, which is no Disk")
    for disk in disks:
        count = used[f"ovf:/disk/{disk}"] + used[f"/disk/{disk}"]
        demand(count == 1, f"the Disk {disk} is used {count} times")
    demand(disks, "there is no disk")
    return f"{len(disks)} disks, each used once"


@ENVELOPE.rule(
    "ovf-capacity",
    "a disk's capacity is that of its VMDK",
    "none says so: the disk is made with the OVF's capacity and cut off, or written past its end",
)
def _capacity(ovf: Envelope) -> str:
    for disk in ovf.all("Disk"):
        if not attribute(disk, "fileRef") or attribute(disk, "capacity").startswith("${"):
            continue  # an empty disk, or one whose size is asked for at the import
        name = attribute(disk, "capacityAllocationUnits") or "byte"
        unit = _UNIT.fullmatch(name)
        demand(unit, f"the unit of the capacity is {name!r}")
        scale = int(unit[1]) ** int(unit[2]) if unit and unit[1] else 1
        given = attribute(disk, "capacity")
        demand(given.isdigit(), f"the capacity is {given!r}, not a number")
        file = ovf.references.get(attribute(disk, "fileRef"))
        href = attribute(file, "href") if file is not None else ""
        found = ovf.capacity_of(href)
        if found is None:
            raise Refused(f"the VMDK {href} cannot be read")
        # In a larger unit the capacity is rounded up.
        right = 0 <= int(given) * scale - found < scale
        demand(right, f"{href} has {found} bytes, the OVF says {given} of {name}")
        populated = attribute(disk, "populatedSize") or "0"
        whole = populated.isdigit() and int(populated) <= int(given) * scale
        demand(whole, f"{href}: populated {populated} of {given}")
    return "capacities are those of the VMDKs"


@ENVELOPE.advice(
    "ovf-capacity-unit",
    "a disk's capacity is given in bytes, and says so",
    "none refuses it, but some importers read a number without its unit",
)
def _capacity_unit(ovf: Envelope) -> str:
    for disk in ovf.all("Disk"):
        unit = attribute(disk, "capacityAllocationUnits")
        demand(unit == "byte", f"the unit of the capacity is {unit or 'missing'}, not byte")
    return "capacities are in bytes"


@ENVELOPE.rule(
    "ovf-disk-format",
    "a disk's format is VMware's URI of streamOptimized",
    "ESXi refuses the disk format; VirtualBox takes the file for a raw image",
)
def _disk_format(ovf: Envelope) -> str:
    for disk in ovf.all("Disk"):
        found = attribute(disk, "format")
        demand(found in _STREAM_FORMATS, f"the format is {found!r}")
    return "the format is streamOptimized"
