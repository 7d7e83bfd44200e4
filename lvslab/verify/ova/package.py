"""An OVF as values: its sections, its files, and its machine in each configuration.

Source: DMTF DSP0243 1.1.0, sections 7.1 (chunks), 8 (virtual hardware; 8.4 ranges), 9.8
(deployment options); DSP0004, annex on programmatic units.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from xml.etree import ElementTree

from lvslab.formats.ova import OVF_NAMESPACE
from lvslab.verify.ova import descriptor
from lvslab.verify.ova.xsd import RASD
from lvslab.verify.rules import Refused, Unreadable

VMW = "http://www.vmware.com/schema/ovf"
VBOX = "http://www.virtualbox.org/ovf/machine"
DISK = "17"
NORMAL, BOUNDS = ("", "normal"), ("min", "max")
_ISO = "ecma-119"
_RESOURCE = re.compile(r"(?:ovf:)?/disk/(.+)")
_FACTOR = r"\s*\*\s*(?:(\d{1,4})\s*\^\s*(\d{1,2})|(\d{1,12}))"
_UNIT = re.compile(rf"\s*bytes?((?:{_FACTOR})*)\s*", re.IGNORECASE)
_NAMED = {"kilobytes": 10, "kb": 10, "megabytes": 20, "mb": 20, "gigabytes": 30, "gb": 30}


def unit_of(text: str) -> int | None:
    """The bytes of a unit: `byte * 2^20`, with spaces or without, or a name of VMware's.

    None if it is none.
    """
    if (power := _NAMED.get(text.strip().lower())) is not None:
        return 1 << power
    match = _UNIT.fullmatch(text)
    if match is None:
        return None
    size = 1
    for base, exponent, factor in re.findall(_FACTOR, match[1]):
        size *= int(base) ** int(exponent) if base else int(factor)
    return size


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

    @property
    def is_required(self) -> bool:
        """Whether an importer that does not know the device must refuse it."""
        return attribute(self.element, "required") not in ("false", "0")

    @property
    def disk(self) -> str:
        """The diskId of the Disk that it holds; empty if it holds none."""
        match = _RESOURCE.fullmatch(self["HostResource"])
        return match[1] if match else ""


def _identity(item: Item) -> tuple[str, str]:
    return item["InstanceID"], item["ResourceType"]


@dataclass(frozen=True)
class HardwareSection:
    """The virtual hardware in one configuration ("" if there is no choice)."""

    configuration: str
    items: Sequence[Item]

    def of(self, *kinds: str) -> list[Item]:
        """The devices of these resource types."""
        return [item for item in self.items if item["ResourceType"] in kinds]


class Envelope:
    """An OVF and what surrounds it.

    `read` gives its bytes or raises Unreadable; `files` is name to sizes of the other files (more
    than one if it is in chunks); `capacity_of` tells a VMDK's capacity in bytes (None: it cannot
    be read).
    """

    def __init__(
        self,
        read: Callable[[], bytes],
        files: Mapping[str, Sequence[int]],
        capacity_of: Callable[[str], int | None],
    ) -> None:
        self._read, self.files, self.capacity_of = read, files, capacity_of

    @cached_property
    def parsed(self) -> descriptor.Parsed:
        """The envelope and the generation of its format; raises Unreadable."""
        return descriptor.parse(self._read())

    @property
    def root(self) -> ElementTree.Element:
        """The envelope in the namespaces of OVF 1; raises Unreadable."""
        return self.parsed.root

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
        """All devices in order, of all configurations, with their bounds."""
        return [Item(element) for element in self.hardware.findall(f"{{{OVF_NAMESPACE}}}Item")]

    @cached_property
    def configurations(self) -> list[str]:
        """The ids of the deployment options, the default first; [""] without any."""
        found = self.all("Configuration")
        found.sort(key=lambda element: attribute(element, "default") not in ("true", "1"))
        return [attribute(element, "id") for element in found] or [""]

    @cached_property
    def machines(self) -> list[HardwareSection]:
        """The machine in each configuration; bounds are no devices of their own."""
        return [HardwareSection(name, self._devices(name)) for name in self.configurations]

    def _devices(self, configuration: str) -> list[Item]:
        """What is said of this configuration goes before what is said of all."""
        items = [item for item in self.items if attribute(item.element, "bound") in NORMAL]
        own = [i for i in items if configuration in attribute(i.element, "configuration").split()]
        replaced = {_identity(item) for item in own}
        return [
            item
            for item in items
            if item in own
            or (not attribute(item.element, "configuration") and _identity(item) not in replaced)
        ]

    def of(self, *kinds: str) -> list[Item]:
        """The devices of these resource types, of all configurations, without bounds."""
        return [item for item in self.items if item["ResourceType"] in kinds]

    def each(self, check: Callable[[HardwareSection], str]) -> str:
        """What a check says of the default machine; Refused names another configuration."""
        said = []
        for machine in self.machines:
            try:
                said.append(check(machine))
            except Refused as refusal:
                if len(self.machines) == 1:
                    raise
                raise Refused(f"{refusal} (configuration {machine.configuration})") from None
        return said[0]

    @cached_property
    def hard_disks(self) -> list[ElementTree.Element]:
        """The Disks that hard disks use, or nothing does: not what is in a drive for media."""
        in_drives = {item.disk for item in self.items if item["ResourceType"] != DISK}
        in_disks = {item.disk for item in self.of(DISK)}
        return [
            disk
            for disk in self.all("Disk")
            if attribute(disk, "diskId") in in_disks
            or not (
                attribute(disk, "diskId") in in_drives or _ISO in attribute(disk, "format").lower()
            )
        ]

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
