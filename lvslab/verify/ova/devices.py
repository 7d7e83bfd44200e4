"""Rules for the virtual hardware of an OVF (DMTF DSP0243 section 8; VMware's importers)."""

from __future__ import annotations

import re
from collections import Counter

from lvslab.core.text import number
from lvslab.verify.ova.package import (
    BOUNDS,
    DISK,
    NORMAL,
    VMW,
    Envelope,
    HardwareSection,
    attribute,
    unit_of,
)
from lvslab.verify.ova.xsd import VSSD
from lvslab.verify.rules import Refused, RuleSet, demand

HARDWARE: RuleSet[Envelope] = RuleSet()

_CPU, _MEMORY, _IDE, _SCSI, _NIC, _CDROM, _SATA = "3", "4", "5", "6", "10", "15", "20"
_SAFE_NETWORKS = {"hostonly", "nat"}
_OLDEST, _NEWEST = 7, 14
_SCSI_ID_OF_CONTROLLER = "7"
_MIB = 1 << 20
_MOST_CPUS = (1 << 16) - 2
_KNOWN = frozenset(map(str, (1, 3, 4, 5, 6, 10, *range(14, 19), *range(20, 25), 35)))
"""The resource types that an importer of VMware's or VirtualBox makes a device of."""


@HARDWARE.advice(
    "ovf-hardware-version",
    f"the hardware version is vmx-{_OLDEST:02} to vmx-{_NEWEST}",
    "ESXi and older Workstation: \"Unsupported hardware family 'vmx-…'\"",
)
def _hardware_version(ovf: Envelope) -> str:
    families = [element.text or "" for element in ovf.root.iter(f"{{{VSSD}}}VirtualSystemType")]
    demand(len(families) == 1, "there is not exactly one VirtualSystemType")
    match = re.fullmatch(r"vmx-0?(\d{1,4})", families[0])
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
    return ovf.each(_addresses)


def _addresses(machine: HardwareSection) -> str:
    scsi = {item["InstanceID"] for item in machine.of(_SCSI)}
    seen: set[tuple[str, str]] = set()
    for item in machine.of(DISK, _CDROM):
        place = (item["Parent"], item["AddressOnParent"])
        demand(number(place[1]) is not None, f"{item.title} has no AddressOnParent")
        demand(place not in seen, f"{item.title} has another device's AddressOnParent")
        own = item["Parent"] in scsi and place[1] == _SCSI_ID_OF_CONTROLLER
        demand(not own, f"{item.title} has the controller's own id")
        seen.add(place)
    return f"{len(seen)} devices, each at its own address"


@HARDWARE.rule(
    "ovf-instance-ids",
    "InstanceIDs of one configuration are different, and each Parent is a controller that exists",
    "vSphere: 'VALUE_ILLEGAL: Value … of Parent element does not refer to a ref of type "
    "DiskControllerReference'",
)
def _instance_ids(ovf: Envelope) -> str:
    return ovf.each(_ids)


def _ids(machine: HardwareSection) -> str:
    ids = [item["InstanceID"] for item in machine.items]
    for identity, count in Counter(ids).items():
        demand(identity and count == 1, f"the InstanceID {identity!r} is given {count} times")
    controllers = {item["InstanceID"] for item in machine.of(_IDE, _SCSI, _SATA)}
    for item in machine.items:
        parent = item["Parent"]
        there = controllers if item["ResourceType"] in (DISK, _CDROM) else {"", *ids}
        demand(parent in there, f"{item.title} has no controller {parent}")
    return f"{len(ids)} devices, all ids different"


@HARDWARE.rule(
    "ovf-configurations",
    "devices name configurations that exist, and bounds are min, max or normal",
    "no importer reports it (DSP0243 8.4, 9.8): the device is in no machine",
)
def _configurations(ovf: Envelope) -> str:
    ids = [attribute(element, "id") for element in ovf.all("Configuration")]
    demand(len(set(ids)) == len(ids), "two Configurations have the same id")
    defaults = [e for e in ovf.all("Configuration") if attribute(e, "default") in ("true", "1")]
    demand(len(defaults) < 2, "more than one Configuration is the default")
    for item in ovf.items:
        for name in attribute(item.element, "configuration").split():
            demand(name in ids, f"{item.title} is for {name}, which is not a Configuration")
        bound = attribute(item.element, "bound")
        demand(bound in (*NORMAL, *BOUNDS), f"{item.title} has the bound {bound!r}")
    return f"{len(ids)} configurations" if ids else "one machine"


@HARDWARE.rule(
    "ovf-devices",
    "each device is of a kind that importers know, or is optional (required=false)",
    "VirtualBox: 'Unknown resource type … in hardware item'",
)
def _devices(ovf: Envelope) -> str:
    for item in ovf.items:
        kind = item["ResourceType"]
        known = kind in _KNOWN or not item.is_required
        demand(known, f"{item.title} is of the resource type {kind or 'nothing'}")
    return f"{len(ovf.items)} devices of known kinds"


@HARDWARE.advice(
    "ovf-nic",
    "network cards are E1000",
    "no importer refuses vmxnet3, but its slots change order: the fourth card can become the first",
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
        demand(connection in networks, f"{item.title} is on {connection!r}, which is not a Network")
    return "all connections are defined"


@HARDWARE.advice(
    "ovf-safe-network",
    "networks are named `hostonly` or `nat`",
    "no importer refuses it: VirtualBox bridges names it does not know, and VRRP leaks into the "
    "office",
)
def _safe_network(ovf: Envelope) -> str:
    networks = [attribute(network, "name") for network in ovf.all("Network")]
    for name in networks:
        demand(name in _SAFE_NETWORKS, f"the network {name!r} may be bridged to a real one")
    return "networks are " + (", ".join(networks) or "none")


@HARDWARE.rule(
    "ovf-cpus",
    "the number of CPUs is at least 1, and given once",
    "VirtualBox and vSphere: the number of CPUs is out of range",
)
def _cpus(ovf: Envelope) -> str:
    return ovf.each(_count)


def _count(machine: HardwareSection) -> str:
    given = machine.of(_CPU)
    demand(len(given) < 2, f"the number of CPUs is given {len(given)} times")
    for item in given:
        count = item["VirtualQuantity"]
        right = 1 <= (number(count) or 0) <= _MOST_CPUS
        demand(right, f"the number of CPUs is {count!r}")
    return f"{given[0]['VirtualQuantity']} CPUs" if given else "as many CPUs as the importer gives"


@HARDWARE.advice(
    "ovf-amounts-given",
    "the number of CPUs and the memory are given",
    "no importer refuses it: the importer decides",
)
def _amounts_given(ovf: Envelope) -> str:
    def check(machine: HardwareSection) -> str:
        demand(machine.of(_CPU), "the number of CPUs is not given")
        demand(machine.of(_MEMORY), "memory is not given")
        return "CPUs and memory are given"

    return ovf.each(check)


@HARDWARE.rule(
    "ovf-memory",
    "memory is in a unit of bytes, at least 4 MiB and a multiple of 4, and given once",
    "Workstation and ESXi: 'Memory size is not a multiple of 4'; ovftool refuses other units",
)
def _memory(ovf: Envelope) -> str:
    return ovf.each(_amount)


def _amount(machine: HardwareSection) -> str:
    given = machine.of(_MEMORY)
    if not given:
        return "as much memory as the importer gives"
    demand(len(given) == 1, f"memory is given {len(given)} times")
    memory = given[0]
    unit = unit_of(memory["AllocationUnits"])
    if unit is None:
        raise Refused(f"the unit of memory is {memory['AllocationUnits']!r}")
    amount = number(memory["VirtualQuantity"])
    if amount is None:
        raise Refused(f"the amount of memory is {memory['VirtualQuantity']!r}, not a number")
    total = amount * unit
    right = total and total % (4 * _MIB) == 0
    demand(right, f"{total / _MIB:g} MiB is not a multiple of 4")
    return f"{total // _MIB} MiB"


@HARDWARE.advice(
    "ovf-memory-unit",
    "memory is given in `byte * 2^20`",
    "VirtualBox: 'Invalid allocation unit' for `byte*2^20`, which DSP0004 allows; MegaBytes, which "
    "all take, is not a unit of DSP0004",
)
def _memory_unit(ovf: Envelope) -> str:
    for memory in ovf.of(_MEMORY):
        unit = memory["AllocationUnits"]
        demand(unit == "byte * 2^20", f"the unit of memory is {unit!r}")
    return "memory is in byte * 2^20"


@HARDWARE.advice(
    "ovf-config-optional",
    "each vmw:Config has required=false",
    "ESXi, only if it does not know the key: \"'key' of element 'Config'\"",
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
