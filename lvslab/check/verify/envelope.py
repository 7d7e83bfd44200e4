"""Rules for the OVF descriptor (DMTF DSP0243 and its schema dsp8023; VMware's importers)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from functools import cached_property
from xml.etree import ElementTree

from lvslab.check.verify import descriptor, schema
from lvslab.check.verify.rules import Refused, RuleSet, Unreadable, demand
from lvslab.check.verify.schema import CIM, RASD, VSSD
from lvslab.export.ova import OVF_NAMESPACE

ENVELOPE: RuleSet[Envelope] = RuleSet()

_OVF = OVF_NAMESPACE
_VMW = "http://www.vmware.com/schema/ovf"

_CPU, _MEMORY, _IDE, _SCSI, _NIC, _CDROM, _DISK, _SATA = "3", "4", "5", "6", "10", "15", "17", "20"
_SECTIONS = ("References", "DiskSection", "NetworkSection", "VirtualSystem")
_SAFE_NETWORKS = {"hostonly", "nat"}
_STREAM_FORMAT = "http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"
_OLDEST, _NEWEST = 7, 14
_SCSI_ID_OF_CONTROLLER = "7"


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def _attribute(element: ElementTree.Element, name: str) -> str:
    return element.get(f"{{{_OVF}}}{name}", "")


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
        return list(self.root.iter(f"{{{_OVF}}}{name}"))

    @cached_property
    def hardware(self) -> ElementTree.Element:
        """The VirtualHardwareSection; raises Unreadable."""
        if not (found := self.all("VirtualHardwareSection")):
            raise Unreadable("there is no VirtualHardwareSection")
        return found[0]

    @cached_property
    def items(self) -> list[Item]:
        """All devices in order."""
        return [Item(element) for element in self.hardware.findall(f"{{{_OVF}}}Item")]

    def of(self, *kinds: str) -> list[Item]:
        """The devices of these resource types."""
        return [item for item in self.items if item["ResourceType"] in kinds]

    @cached_property
    def references(self) -> dict[str, ElementTree.Element]:
        """The File elements by id."""
        return {_attribute(file, "id"): file for file in self.all("File")}

    @cached_property
    def configs(self) -> list[ElementTree.Element]:
        """All vmw:Config elements."""
        return list(self.root.iter(f"{{{_VMW}}}Config"))


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
    "References, DiskSection, NetworkSection, VirtualSystem, in this order",
    "Workstation: 'did not pass OVF specification conformance or virtual hardware compliance "
    "checks'",
)
def _section_order(ovf: Envelope) -> str:
    names = [_local(child.tag) for child in ovf.root]
    known = tuple(name for name in names if name in _SECTIONS)
    demand(known == _SECTIONS, f"the order is {', '.join(names)}")
    demand(names[-1] == "VirtualSystem", f"{names[-1]} stands after the VirtualSystem")
    return "the sections are in the schema's order"


@ENVELOPE.rule(
    "ovf-hardware-order",
    "in VirtualHardwareSection: Info, System, Items, then vmw:Config",
    "Workstation: 'did not pass OVF specification conformance or virtual hardware compliance "
    "checks'",
)
def _hardware_order(ovf: Envelope) -> str:
    names = [_local(child.tag) for child in ovf.hardware]
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
        if _local(element.tag) not in ("System", "Item"):
            continue
        cim = [_local(child.tag) for child in element if child.tag.startswith(f"{{{CIM}")]
        demand(cim == sorted(cim), f"not in alphabetical order: {', '.join(cim)}")
        other = [not child.tag.startswith(f"{{{CIM}") for child in element]
        demand(other == sorted(other), "a vmw:Config stands before CIM elements")
    return "children are in alphabetical order"


@ENVELOPE.rule(
    "ovf-references",
    "each File is there with the size that is given, and each is used",
    "ovftool: 'Wrong file size specified in OVF descriptor'",
)
def _references(ovf: Envelope) -> str:
    ids = [_attribute(file, "id") for file in ovf.all("File")]
    demand(len(set(ids)) == len(ids), "two Files have the same id")
    for file in ovf.all("File"):
        href, size = _attribute(file, "href"), _attribute(file, "size")
        demand(href in ovf.files, f"the file {href} is not there")
        demand(size == str(ovf.files[href]), f"{href} has {ovf.files[href]} bytes, not {size}")
    used = Counter(_attribute(disk, "fileRef") for disk in ovf.all("Disk"))
    for identity in used:
        demand(not identity or identity in ids, f"a Disk refers to {identity}, which is no File")
    for identity in ids:
        demand(identity in used, f"no Disk uses the File {identity}")
    return f"{len(ids)} files, there and used"


@ENVELOPE.rule(
    "ovf-disk-items",
    "each Disk is used by one hard disk, and each hard disk has its Disk",
    "vSphere: 'VALUE_ILLEGAL: Value … of HostResource element not found'",
)
def _disk_items(ovf: Envelope) -> str:
    disks = [_attribute(disk, "diskId") for disk in ovf.all("Disk")]
    used = Counter(item["HostResource"] for item in ovf.of(_DISK))
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
    "a disk's capacity is given in bytes and is that of its VMDK",
    "none says so: the disk is made with the OVF's capacity and cut off, or written past its end",
)
def _capacity(ovf: Envelope) -> str:
    for disk in ovf.all("Disk"):
        unit = _attribute(disk, "capacityAllocationUnits")
        demand(unit == "byte", f"the unit of the capacity is {unit or 'missing'}, not byte")
        capacity = _attribute(disk, "capacity")
        demand(capacity.isdigit(), f"the capacity is {capacity!r}, not a number")
        file = ovf.references.get(_attribute(disk, "fileRef"))
        href = _attribute(file, "href") if file is not None else ""
        found = ovf.capacity_of(href)
        demand(found is not None, f"the VMDK {href} cannot be read")
        demand(int(capacity) == found, f"{href} has {found} bytes, the OVF says {capacity}")
        populated = _attribute(disk, "populatedSize") or "0"
        demand(int(populated) <= int(capacity), f"{href}: populated {populated} of {capacity}")
    return "capacities are those of the VMDKs"


@ENVELOPE.rule(
    "ovf-disk-format",
    "a disk's format is VMware's URI of streamOptimized",
    "ESXi refuses the disk format; VirtualBox takes the file for a raw image",
)
def _disk_format(ovf: Envelope) -> str:
    for disk in ovf.all("Disk"):
        found = _attribute(disk, "format")
        demand(found == _STREAM_FORMAT, f"the format is {found!r}")
    return "the format is streamOptimized"


@ENVELOPE.rule(
    "ovf-hardware-version",
    f"the hardware version is vmx-{_OLDEST:02} to vmx-{_NEWEST}",
    "ESXi and older Workstation: \"Unsupported hardware family 'vmx-…'\"",
)
def _hardware_version(ovf: Envelope) -> str:
    families = [element.text or "" for element in ovf.root.iter(f"{{{VSSD}}}VirtualSystemType")]
    demand(len(families) == 1, "there is not exactly one VirtualSystemType")
    match = re.fullmatch(r"vmx-0?(\d+)", families[0])
    demand(match, f"the hardware family {families[0]} is not VMware's")
    version = int(match[1]) if match else 0
    demand(_OLDEST <= version <= _NEWEST, f"{families[0]} is not between {_OLDEST} and {_NEWEST}")
    return families[0]


@ENVELOPE.rule(
    "ovf-guest-os",
    'the guest is OS id 96 with vmw:osType="debian10_64Guest"',
    "older hosts do not know newer ids and make it an unknown guest with other devices",
)
def _guest_os(ovf: Envelope) -> str:
    sections = ovf.all("OperatingSystemSection")
    demand(len(sections) == 1, "there is not exactly one OperatingSystemSection")
    identity, kind = _attribute(sections[0], "id"), sections[0].get(f"{{{_VMW}}}osType", "")
    demand(identity == "96", f"the OS id is {identity}, not 96 (Debian 64-bit)")
    demand(kind == "debian10_64Guest", f"vmw:osType is {kind or 'missing'}")
    return f"OS id {identity}, {kind}"


@ENVELOPE.rule(
    "ovf-controller",
    "disks are on an lsilogic SCSI controller",
    "Workstation: \"Unsupported virtual hardware device 'VirtualSCSI'\"",
)
def _controller(ovf: Envelope) -> str:
    controllers = ovf.of(_SCSI)
    demand(controllers, "there is no SCSI controller")
    for item in controllers:
        kind = item["ResourceSubType"]
        demand(kind == "lsilogic", f"{item.title} is {kind or 'of no kind'}, not lsilogic")
    ours = {item["InstanceID"] for item in controllers}
    for disk in ovf.of(_DISK):
        demand(disk["Parent"] in ours, f"{disk.title} is not on the SCSI controller")
    return "disks are on lsilogic"


@ENVELOPE.rule(
    "ovf-address-on-parent",
    "each disk and CD-ROM has its own AddressOnParent",
    "VirtualBox refuses the import of a disk without AddressOnParent",
)
def _address_on_parent(ovf: Envelope) -> str:
    seen: set[tuple[str, str]] = set()
    for item in ovf.of(_DISK, _CDROM):
        place = (item["Parent"], item["AddressOnParent"])
        demand(place[1].isdigit(), f"{item.title} has no AddressOnParent")
        demand(place not in seen, f"{item.title} has another device's AddressOnParent")
        demand(place[1] != _SCSI_ID_OF_CONTROLLER, f"{item.title} has the controller's own id")
        seen.add(place)
    return f"{len(seen)} devices, each at its own address"


@ENVELOPE.rule(
    "ovf-instance-ids",
    "InstanceIDs are different, and each Parent is a controller that is there",
    "vSphere: 'VALUE_ILLEGAL: Value … of Parent element does not refer to a ref of type "
    "DiskControllerReference'",
)
def _instance_ids(ovf: Envelope) -> str:
    ids = [item["InstanceID"] for item in ovf.items]
    for identity, count in Counter(ids).items():
        demand(identity and count == 1, f"the InstanceID {identity!r} is given {count} times")
    controllers = {item["InstanceID"] for item in ovf.of(_IDE, _SCSI, _SATA)}
    for item in ovf.items:
        parent = item["Parent"]
        demand(not parent or parent in controllers, f"{item.title} has no controller {parent}")
    return f"{len(ids)} devices, all ids different"


@ENVELOPE.rule(
    "ovf-nic",
    "network cards are E1000",
    "none refuses vmxnet3, but its slots reorder: the fourth card can become the first",
)
def _nic(ovf: Envelope) -> str:
    nics = ovf.of(_NIC)
    for item in nics:
        kind = item["ResourceSubType"]
        demand(kind == "E1000", f"{item.title} is {kind or 'of no kind'}, not E1000")
    return f"{len(nics)} network cards, all E1000"


@ENVELOPE.rule(
    "ovf-connection",
    "each network card's Connection is in the NetworkSection",
    "vSphere: 'VALUE_ILLEGAL' for a Connection that is not in the NetworkSection",
)
def _connection(ovf: Envelope) -> str:
    networks = [_attribute(network, "name") for network in ovf.all("Network")]
    demand(len(set(networks)) == len(networks), "two Networks have the same name")
    for item in ovf.of(_NIC):
        connection = item["Connection"]
        demand(connection in networks, f"{item.title} is on {connection!r}, which is no Network")
    return "all connections are defined"


@ENVELOPE.rule(
    "ovf-safe-network",
    "networks are named `hostonly` or `nat`",
    "none refuses it: VirtualBox bridges names it does not know, and VRRP leaks into the office",
)
def _safe_network(ovf: Envelope) -> str:
    networks = [_attribute(network, "name") for network in ovf.all("Network")]
    for name in networks:
        demand(name in _SAFE_NETWORKS, f"the network {name!r} may be bridged to a real one")
    return "networks are " + (", ".join(networks) or "none")


@ENVELOPE.rule(
    "ovf-memory",
    "memory is given once, in `byte * 2^20`, and CPUs once",
    "VirtualBox and ovftool read another amount, or refuse the unit",
)
def _memory(ovf: Envelope) -> str:
    demand(len(ovf.of(_CPU)) == 1, "the number of CPUs is not given exactly once")
    demand(len(ovf.of(_MEMORY)) == 1, "memory is not given exactly once")
    memory = ovf.of(_MEMORY)[0]
    unit, amount = memory["AllocationUnits"], memory["VirtualQuantity"]
    demand(unit == "byte * 2^20", f"the unit of memory is {unit!r}")
    demand(amount.isdigit() and int(amount) % 4 == 0, f"{amount} MiB is no multiple of 4")
    return f"{amount} MiB"


@ENVELOPE.rule(
    "ovf-config-optional",
    "each vmw:Config has required=false",
    "ESXi cannot parse a required key that it does not know: \"'key' of element 'Config'\"",
)
def _config_optional(ovf: Envelope) -> str:
    for config in ovf.configs:
        key = config.get(f"{{{_VMW}}}key", "?")
        demand(_attribute(config, "required") == "false", f"vmw:Config {key} is required")
    return f"{len(ovf.configs)} settings, none required"


@ENVELOPE.rule(
    "ovf-firmware",
    "the firmware is named by a vmw:Config",
    "Workstation guesses it from the guest OS otherwise",
)
def _firmware(ovf: Envelope) -> str:
    values = [
        config.get(f"{{{_VMW}}}value")
        for config in ovf.configs
        if config.get(f"{{{_VMW}}}key") == "firmware"
    ]
    demand(len(values) == 1 and values[0] in ("bios", "efi"), "no firmware is named")
    return f"firmware {values[0]}"


@ENVELOPE.rule(
    "ovf-no-extra-config",
    "no vmw:ExtraConfig",
    "vSphere: 'The OVF package contains advanced configuration options, which might pose a "
    "security risk'",
)
def _no_extra_config(ovf: Envelope) -> str:
    for element in ovf.root.iter(f"{{{_VMW}}}ExtraConfig"):
        raise Refused(f"ExtraConfig {element.get(f'{{{_VMW}}}key')} is in it")
    return "no ExtraConfig"


@ENVELOPE.rule(
    "ovf-no-startup",
    "no StartupSection",
    "Workstation: 'did not pass OVF specification conformance or virtual hardware compliance "
    "checks'",
)
def _no_startup(ovf: Envelope) -> str:
    demand(not ovf.all("StartupSection"), "a StartupSection is in it")
    return "no StartupSection"
