"""Rules for .vmx files: what VMware Workstation opens and powers on without a question."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

from lvslab.core.errors import InputError
from lvslab.core.text import lines, number
from lvslab.formats import vmx
from lvslab.formats.vmdk import Reader
from lvslab.formats.vmdk.layout import MONOLITHIC_SPARSE, NO_PARENT
from lvslab.model.problems import listed
from lvslab.verify.disks.extents import Split, is_descriptor
from lvslab.verify.rules import Absent, Refused, RuleSet, Unreadable, demand

if TYPE_CHECKING:
    from lvslab.model.lab import Lab

VMX: RuleSet[VmxFile] = RuleSet()

_STATIC_MAC = re.compile(r"^00:50:56:[0-3][0-9A-F](:[0-9A-F]{2}){2}$", re.IGNORECASE)
_DISK = re.compile(r"^(scsi|sata|ide|nvme)\d+:\d+$")
_VNET = re.compile(r"^(?:/dev/)?vmnet([1-9]|1[0-9])$", re.IGNORECASE)
_FIRST_SLOT = 32
_OLDEST, _NEWEST = 7, 18
_TIME = (
    "tools.syncTime",
    *(f"time.synchronize.{when}" for when in ("continue", "restore", "resume.disk")),
    *(f"time.synchronize.{when}" for when in ("resume.host", "shrink", "tools.startup")),
)
_UNWANTED = ("floppy0.present", "sound.present", "usb.present", "ehci.present", "usb_xhci.present")


class VmxFile:
    """A .vmx file and the folder around it; `lab` is the lab if it is known.

    Keys are compared without regard to case, and a line that is not a setting is ignored, as
    VMware does.
    """

    def __init__(self, path: Path, lab: Lab | None = None) -> None:
        self.path, self.lab = path, lab

    @cached_property
    def text(self) -> str:
        """The file, in its own encoding."""
        return vmx.decoded(self.path.read_bytes())

    @cached_property
    def is_encrypted(self) -> bool:
        """Whether only VMware can read it."""
        return vmx.is_encrypted(vmx.settings(self.text))

    @cached_property
    def values(self) -> dict[str, str]:
        """All settings; raises Absent if they are encrypted."""
        if self.is_encrypted:
            raise Absent("the machine is encrypted")
        return vmx.settings(self.text)

    def get(self, key: str) -> str:
        """A setting; empty if it is not there."""
        return self.values.get(key.lower(), "")

    def on(self, key: str) -> bool:
        """Whether a setting is TRUE."""
        return vmx.is_on(self.values, key)

    @property
    def cards(self) -> list[str]:
        """The network cards that are present: ethernet0 …"""
        return vmx.cards(self.values)

    def files(self, *, cdrom: bool) -> dict[str, str]:
        """The file of each disk, or of each CD-ROM, that is present, by device."""
        found = {}
        for key, value in self.values.items():
            device, _, last = key.rpartition(".")
            if last == "filename" and _DISK.match(device) and self.on(f"{device}.present"):
                is_cdrom = self.get(f"{device}.deviceType").lower().startswith("cdrom")
                if is_cdrom == cdrom:
                    found[device] = value
        return found

    def disks(self) -> list[Path]:
        """The disks' files."""
        return [self.path.parent / name for name in self.files(cdrom=False).values()]


@VMX.advice(
    "vmx-encrypted",
    "the machine is not encrypted",
    "no importer refuses it, but only VMware, with the password, can read or run it",
)
def _encrypted(machine: VmxFile) -> str:
    demand(not machine.is_encrypted, "it is encrypted: nothing else of it can be looked at")
    return "it is not encrypted"


@VMX.rule(
    "vmx-form",
    "every line is `key = value` or a comment, each key once",
    "Workstation: 'dictionary problem' or a line that is dropped when it saves the file",
)
def _form(machine: VmxFile) -> str:
    seen: set[str] = set()
    for place, line in enumerate(lines(machine.text), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = vmx.LINE.match(line.rstrip("\r\n"))
        if match is None:
            raise Refused(f'line {place} is not key = "value": {line.rstrip()}')
        key = match["key"].lower()
        demand(key not in seen, f"line {place} sets {key} a second time")
        seen.add(key)
    demand(machine.get("config.version") == "8", "config.version is not 8")
    return f"{len(seen)} settings"


@VMX.advice(
    "vmx-plain",
    "values are in quotes, and there is no comment (except a line 1 that starts VMware)",
    "no importer refuses it: VMware writes all values in quotes, and other programs may read no "
    "others",
)
def _plain(machine: VmxFile) -> str:
    for place, line in enumerate(lines(machine.text), 1):
        match = vmx.LINE.match(line.rstrip("\r\n"))
        if match:
            demand(match["quote"], f"line {place} has a value without quotes: {line.rstrip()}")
        starts = place == 1 and line.startswith("#!")
        demand("#" not in line or match or starts, f"line {place} is a comment: {line.rstrip()}")
    return "values in quotes, no comment"


@VMX.advice(
    "vmx-encoding",
    "it is UTF-8 and says so",
    "Workstation on a host of another language: names with other letters are not found",
)
def _encoding(machine: VmxFile) -> str:
    demand(machine.get(".encoding").upper() == "UTF-8", ".encoding is not UTF-8")
    try:
        machine.path.read_bytes().decode()
    except UnicodeDecodeError:
        raise Refused("it is not UTF-8 text") from None
    return "UTF-8"


@VMX.advice(
    "vmx-hardware-version",
    "virtualHW.version is one that Workstation 16 knows",
    "Workstation: 'was created by a VMware product that is incompatible with this version'",
)
def _hardware_version(machine: VmxFile) -> str:
    version = machine.get("virtualHW.version")
    found = number(version)
    demand(found is not None, f"virtualHW.version is {version!r}")
    known = _OLDEST <= (found or 0) <= _NEWEST
    demand(known, f"hardware version {version} is not between {_OLDEST} and {_NEWEST}")
    return f"hardware version {version}"


@VMX.rule(
    "vmx-memory",
    "memsize is a number, a multiple of 4 MiB, and numvcpus at least 1",
    "Workstation: 'Invalid memory size', or it powers on with 32 MB",
)
def _memory(machine: VmxFile) -> str:
    memory, processors = machine.get("memsize"), machine.get("numvcpus") or "1"
    mib = number(memory)
    demand(mib and mib % 4 == 0, f"memsize is {memory!r}")
    demand(number(processors), f"numvcpus is {processors!r}")
    return f"{memory} MiB, {processors} processors"


@VMX.advice(
    "vmx-network",
    "each card is on VMnet1 to VMnet19, never bridged, and connected at start",
    "no importer refuses it: a card without connectionType is bridged, and VRRP leaks into the "
    "office",
)
def _network(machine: VmxFile) -> str:
    nets = []
    for card in machine.cards:
        kind = machine.get(f"{card}.connectionType").lower()
        demand(kind in ("custom", "nat", "hostonly"), f"{card} is {kind or 'bridged'}")
        net = machine.get(f"{card}.vnet") if kind == "custom" else kind
        named = kind != "custom" or _VNET.match(net)
        demand(named, f"{card} is on {net or 'no VMnet'}, which may be bridged to a real network")
        connected = vmx.starts_connected(machine.values, card)
        demand(connected, f"{card} is not connected at start")
        nets.append(net)
    return f"{len(nets)} cards on {', '.join(nets)}"


@VMX.rule(
    "vmx-mac",
    "static MAC addresses are different, and in VMware's static range",
    "Workstation: 'The MAC address … is not an allowed static Ethernet address'",
)
def _mac(machine: VmxFile) -> str:
    seen: set[str] = set()
    for card in machine.cards:
        if machine.get(f"{card}.addressType").lower() == "static":
            address = machine.get(f"{card}.address").upper()
            demand(_STATIC_MAC.match(address), f"{card} has {address or 'no address'}")
            demand(address not in seen, f"{card} has another card's address")
            seen.add(address)
    return f"{len(seen)} addresses in 00:50:56:00:00:00 to 3F:FF:FF"


@VMX.advice(
    "vmx-mac-static",
    "MAC addresses are static",
    "no importer refuses it: VMware makes new ones for a copied folder",
)
def _mac_static(machine: VmxFile) -> str:
    for card in machine.cards:
        kind = machine.get(f"{card}.addressType")
        demand(kind == "static", f"{card} has no static address")
    return "all addresses are static"


@VMX.rule(
    "vmx-lab",
    "networks, MAC addresses, memory and processors are those of the node in the lab",
    "no importer refuses it: the node starts on another network, and the others do not hear it",
)
def _lab(machine: VmxFile) -> str:
    if not machine.lab:
        raise Absent("no lab was given")
    lab, name = machine.lab, machine.path.stem
    demand(name in lab.nodes, f"{name} is not in the lab")
    try:
        found = vmx.read(machine.path)
    except InputError as error:
        raise Unreadable(error.message) from None
    node = lab.nodes[name]
    wires = {nic.interface: nic.vnet for nic in found.nics}
    says = (listed(f"{i}: {n}" for i, n in each.items()) for each in (wires, node.interfaces))
    demand(wires == node.interfaces, "its cards are on {}, the lab says {}".format(*says))
    for nic in found.nics:
        wanted = lab.mac(name, nic.interface)
        demand(nic.mac == wanted, f"{nic.interface} has {nic.mac}, the lab says {wanted}")
    for what, has, wants in (
        ("MiB of memory", found.memory_mib, node.memory_mib),
        ("processors", found.cpus, node.cpus),
    ):
        demand(has == wants, f"its number of {what} is {has}, the lab says {wants}")
    return f"as {name} in the lab"


@VMX.advice(
    "vmx-slots",
    "cards are e1000 in PCI slots 32, 33, 34, 35, in order, behind pciBridge0",
    "no importer refuses it: the guest names its interfaces by slot, eth0 becomes another network",
)
def _slots(machine: VmxFile) -> str:
    for place, card in enumerate(machine.cards):
        demand(machine.get(f"{card}.virtualDev") == "e1000", f"{card} is not e1000")
        slot = machine.get(f"{card}.pciSlotNumber")
        demand(slot == str(_FIRST_SLOT + place), f"{card} is in slot {slot or 'none'}")
    bridged = machine.on("pciBridge0.present") or not machine.cards
    demand(bridged, "pciBridge0 is not present, and the slots from 32 on are behind it")
    return "cards are in order"


@VMX.rule(
    "vmx-files",
    "disks are files of the folder, named without a drive or an absolute path",
    "Workstation: 'Cannot open the disk … The system cannot find the file specified'",
)
def _files(machine: VmxFile) -> str:
    files = machine.files(cdrom=False).values()
    demand(files, "there is no disk")
    for name in files:
        _demand_beside(machine, name)
    return ", ".join(files)


def _demand_beside(machine: VmxFile, name: str) -> None:
    plain = not name.startswith("/") and not PureWindowsPath(name).drive and "\\" not in name
    demand(plain, f"{name} is not relative to the folder")
    demand(_is_file(machine.path.parent / name), f"{name} is not there")


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name that no file can have
        return False


@VMX.advice(
    "vmx-cdrom",
    "the seed is a file of the folder, on an IDE CD-ROM as cdrom-image, connected at start",
    "no importer refuses it: the machine starts without its seed",
)
def _cdrom(machine: VmxFile) -> str:
    images = machine.files(cdrom=True)
    demand(images, "there is no CD-ROM with an image")
    for device, name in images.items():
        demand(device.startswith("ide"), f"the CD-ROM is {device}, not on IDE")
        demand(machine.get(f"{device}.deviceType") == "cdrom-image", f"{device} is not cdrom-image")
        connected = vmx.starts_connected(machine.values, device)
        demand(connected, f"{device} is not connected at start")
        _demand_beside(machine, name)
    return ", ".join(images.values())


@VMX.rule(
    "vmx-disk-kind",
    "disks are monolithicSparse, or of several files that are all there; a child finds its "
    "parent, which has the same CID, by a relative hint",
    "Workstation does not power on from streamOptimized; 'The parent virtual disk has been "
    "modified since the child was created' for another CID",
)
def _disk_kind(machine: VmxFile) -> str:
    kinds = []
    for disk in machine.disks():
        if not _is_file(disk):
            raise Unreadable(f"{disk.name} is not there")
        if is_descriptor(disk):  # as Workstation makes disks of several files
            split = Split(disk)
            split.demand_extents()
            kind, values = split.kind, split.descriptor.values
        else:
            values = _values(disk)
            kind = values.get("createType", "")
            demand(kind == MONOLITHIC_SPARSE, f"{disk.name} is not a sparse disk but {kind}")
        kinds.append(kind)
        parent = values.get("parentCID", NO_PARENT)
        if parent != NO_PARENT:
            _demand_parent(disk, parent, values.get("parentFileNameHint", ""))
    return "disks are " + ", ".join(kinds)


def _values(disk: Path) -> dict[str, str]:
    if is_descriptor(disk):
        return Split(disk).descriptor.values
    with Reader(disk) as reader:
        return reader.descriptor.values


def _demand_parent(disk: Path, parent: str, hint: str) -> None:
    relative = hint and not hint.startswith("/") and not PureWindowsPath(hint).drive
    demand(relative, f"{disk.name} names its parent {hint!r}, which is not relative")
    demand(_is_file(disk.parent / hint), f"the parent {hint} is not there")
    found = _values(disk.parent / hint).get("CID")
    demand(found == parent, f"the parent {hint} has the CID {found}, not {parent}")


@VMX.advice(
    "vmx-controller",
    "SCSI controllers are lsilogic",
    "the guest finds no disk if the driver is not in its initrd",
)
def _controller(machine: VmxFile) -> str:
    for device in machine.files(cdrom=False):
        controller = device.partition(":")[0]
        demand(machine.on(f"{controller}.present"), f"{controller} is not present")
        if controller.startswith("scsi"):
            kind = machine.get(f"{controller}.virtualDev")
            demand(kind == "lsilogic", f"{controller} is {kind or 'of no kind'}, not lsilogic")
    return "disks are on lsilogic"


@VMX.advice(
    "vmx-questions",
    'uuid.action = "create": no question whether it was moved or copied',
    "Workstation asks 'did you move or copy it?' at each first start",
)
def _questions(machine: VmxFile) -> str:
    demand(machine.get("uuid.action") == "create", "uuid.action is not create")
    return "no question at the first start"


@VMX.advice(
    "vmx-devices",
    "no floppy, sound or USB",
    "no importer refuses it: idle devices take host memory",
)
def _devices(machine: VmxFile) -> str:
    for key in _UNWANTED:
        demand(not machine.on(key), f"{key} is TRUE")
    demand(machine.get("floppy0.present").upper() == "FALSE", "floppy0.present is not FALSE")
    return "no idle device"


@VMX.advice(
    "vmx-time",
    "time sync with the host is off, after a resume, a snapshot or a shrink too",
    "no importer refuses it: jumps of the clock break VRRP's timers",
)
def _time(machine: VmxFile) -> str:
    for key in _TIME:
        demand(machine.get(key).upper() == "FALSE", f"{key} is not FALSE")
    return "no time sync"
