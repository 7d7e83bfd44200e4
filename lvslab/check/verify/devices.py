"""Rules for the virtual hardware of an OVF (DMTF DSP0243 section 8; VMware's importers)."""

from __future__ import annotations

import re
from collections import Counter

from lvslab.check.verify.envelope import DISK, VMW, Envelope, attribute
from lvslab.check.verify.rules import Refused, RuleSet, demand
from lvslab.check.verify.schema import VSSD

HARDWARE: RuleSet[Envelope] = RuleSet()

_CPU, _MEMORY, _IDE, _SCSI, _NIC, _CDROM, _SATA = "3", "4", "5", "6", "10", "15", "20"
_SAFE_NETWORKS = {"hostonly", "nat"}
_OLDEST, _NEWEST = 7, 14
_SCSI_ID_OF_CONTROLLER = "7"
_MEMORY_UNITS = {"byte * 2^20": 1, "byte * 2^30": 1 << 10, "MegaBytes": 1, "GigaBytes": 1 << 10}


@HARDWARE.advice(
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


@HARDWARE.advice(
    "ovf-guest-os",
    'the guest is OS id 96 with vmw:osType="debian10_64Guest"',
    "older hosts do not know newer ids and make it an unknown guest with other devices",
)
def _guest_os(ovf: Envelope) -> str:
    sections = ovf.all("OperatingSystemSection")
    demand(len(sections) == 1, "there is not exactly one OperatingSystemSection")
    identity, kind = attribute(sections[0], "id"), sections[0].get(f"{{{VMW}}}osType", "")
    demand(identity == "96", f"the OS id is {identity}, not 96 (Debian 64-bit)")
    demand(kind == "debian10_64Guest", f"vmw:osType is {kind or 'missing'}")
    return f"OS id {identity}, {kind}"


@HARDWARE.advice(
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
    for disk in ovf.of(DISK):
        demand(disk["Parent"] in ours, f"{disk.title} is not on the SCSI controller")
    return "disks are on lsilogic"


@HARDWARE.rule(
    "ovf-address-on-parent",
    "each disk and CD-ROM has its own AddressOnParent",
    "VirtualBox refuses the import of a disk without AddressOnParent",
)
def _address_on_parent(ovf: Envelope) -> str:
    scsi = {item["InstanceID"] for item in ovf.of(_SCSI)}
    seen: set[tuple[str, str]] = set()
    for item in ovf.of(DISK, _CDROM):
        place = (item["Parent"], item["AddressOnParent"])
        demand(place[1].isdigit(), f"{item.title} has no AddressOnParent")
        demand(place not in seen, f"{item.title} has another device's AddressOnParent")
        own = item["Parent"] in scsi and place[1] == _SCSI_ID_OF_CONTROLLER
        demand(not own, f"{item.title} has the controller's own id")
        seen.add(place)
    return f"{len(seen)} devices, each at its own address"


@HARDWARE.rule(
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
        there = controllers if item["ResourceType"] in (DISK, _CDROM) else {"", *ids}
        demand(parent in there, f"{item.title} has no controller {parent}")
    return f"{len(ids)} devices, all ids different"


@HARDWARE.advice(
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


@HARDWARE.rule(
    "ovf-connection",
    "each network card's Connection is in the NetworkSection",
    "vSphere: 'VALUE_ILLEGAL' for a Connection that is not in the NetworkSection",
)
def _connection(ovf: Envelope) -> str:
    networks = [attribute(network, "name") for network in ovf.all("Network")]
    demand(len(set(networks)) == len(networks), "two Networks have the same name")
    for item in ovf.of(_NIC):
        connection = item["Connection"]
        demand(connection in networks, f"{item.title} is on {connection!r}, which is no Network")
    return "all connections are defined"


@HARDWARE.advice(
    "ovf-safe-network",
    "networks are named `hostonly` or `nat`",
    "none refuses it: VirtualBox bridges names it does not know, and VRRP leaks into the office",
)
def _safe_network(ovf: Envelope) -> str:
    networks = [attribute(network, "name") for network in ovf.all("Network")]
    for name in networks:
        demand(name in _SAFE_NETWORKS, f"the network {name!r} may be bridged to a real one")
    return "networks are " + (", ".join(networks) or "none")


@HARDWARE.rule(
    "ovf-memory",
    "memory is given once, in a unit that importers know, a multiple of 4 MiB, and CPUs once",
    "Workstation and ESXi: 'Memory size is not a multiple of 4'; ovftool refuses other units",
)
def _memory(ovf: Envelope) -> str:
    demand(len(ovf.of(_CPU)) == 1, "the number of CPUs is not given exactly once")
    demand(len(ovf.of(_MEMORY)) == 1, "memory is not given exactly once")
    memory = ovf.of(_MEMORY)[0]
    unit, amount = memory["AllocationUnits"], memory["VirtualQuantity"]
    demand(unit in _MEMORY_UNITS, f"the unit of memory is {unit!r}")
    demand(amount.isdigit(), f"the amount of memory is {amount!r}, not a number")
    total = int(amount) * _MEMORY_UNITS[unit]
    demand(total and total % 4 == 0, f"{total} MiB is no multiple of 4")
    return f"{total} MiB"


@HARDWARE.advice(
    "ovf-memory-unit",
    "memory is given in `byte * 2^20`",
    "none refuses MegaBytes, but it is no unit of DSP0004, and importers differ in what it is",
)
def _memory_unit(ovf: Envelope) -> str:
    for memory in ovf.of(_MEMORY):
        unit = memory["AllocationUnits"]
        demand(unit == "byte * 2^20", f"the unit of memory is {unit!r}")
    return "memory is in byte * 2^20"


@HARDWARE.rule(
    "ovf-config-optional",
    "each vmw:Config has required=false",
    "ESXi cannot parse a required key that it does not know: \"'key' of element 'Config'\"",
)
def _config_optional(ovf: Envelope) -> str:
    for config in ovf.configs:
        key = config.get(f"{{{VMW}}}key", "?")
        demand(attribute(config, "required") == "false", f"vmw:Config {key} is required")
    return f"{len(ovf.configs)} settings, none required"


@HARDWARE.advice(
    "ovf-firmware",
    "the firmware is named by a vmw:Config",
    "Workstation guesses it from the guest OS otherwise",
)
def _firmware(ovf: Envelope) -> str:
    values = [
        config.get(f"{{{VMW}}}value")
        for config in ovf.configs
        if config.get(f"{{{VMW}}}key") == "firmware"
    ]
    demand(len(values) == 1 and values[0] in ("bios", "efi"), "no firmware is named")
    return f"firmware {values[0]}"


@HARDWARE.advice(
    "ovf-no-extra-config",
    "no vmw:ExtraConfig",
    "vSphere: 'The OVF package contains advanced configuration options, which might pose a "
    "security risk'",
)
def _no_extra_config(ovf: Envelope) -> str:
    for element in ovf.root.iter(f"{{{VMW}}}ExtraConfig"):
        raise Refused(f"ExtraConfig {element.get(f'{{{VMW}}}key')} is in it")
    return "no ExtraConfig"


@HARDWARE.rule(
    "ovf-no-startup",
    "no StartupSection",
    "Workstation: 'did not pass OVF specification conformance or virtual hardware compliance "
    "checks'",
)
def _no_startup(ovf: Envelope) -> str:
    demand(not ovf.all("StartupSection"), "a StartupSection is in it")
    return "no StartupSection"
