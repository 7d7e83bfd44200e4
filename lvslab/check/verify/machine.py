"""Rules for .vmx files: what VMware Workstation opens and powers on without a question."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path, PureWindowsPath

from lvslab.check.verify.rules import Refused, RuleSet, Unreadable, demand
from lvslab.export.vmdk import Reader
from lvslab.export.vmdk.layout import MONOLITHIC_SPARSE, NO_PARENT

VMX: RuleSet[Machine] = RuleSet()

_LINE = re.compile(r'^\s*([A-Za-z0-9_.:-]+)\s*=\s*"([^"]*)"\s*$')
_STATIC_MAC = re.compile(r"^00:50:56:[0-3][0-9A-F](:[0-9A-F]{2}){2}$", re.IGNORECASE)
_DISK = re.compile(r"^(scsi|sata|ide|nvme)\d+:\d+$")
_FIRST_SLOT = 32
_NEWEST = 21
_UNWANTED = ("floppy0.present", "sound.present", "usb.present", "ehci.present", "usb_xhci.present")


class Machine:
    """A .vmx file and the folder around it. Keys are compared without regard to case."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @cached_property
    def values(self) -> dict[str, str]:
        """All settings; raises Unreadable."""
        found: dict[str, str] = {}
        try:
            text = self.path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise Unreadable("it is not UTF-8 text") from None
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                continue
            match = _LINE.match(line)
            if not match:
                raise Unreadable(f'line {number} is not key = "value": {line}')
            if match[1].lower() in found:
                raise Unreadable(f"line {number} sets {match[1]} a second time")
            found[match[1].lower()] = match[2]
        return found

    def get(self, key: str) -> str:
        """A setting; empty if it is not there."""
        return self.values.get(key.lower(), "")

    def on(self, key: str) -> bool:
        """Whether a setting is TRUE."""
        return self.get(key).upper() == "TRUE"

    @property
    def cards(self) -> list[str]:
        """The network cards that are present: ethernet0 …"""
        return [f"ethernet{n}" for n in range(10) if self.on(f"ethernet{n}.present")]

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


@VMX.rule(
    "vmx-form",
    'every line is `key = "value"`, each key once, no comment',
    "Workstation: 'dictionary problem' or a line that is dropped when it saves the file",
)
def _form(machine: Machine) -> str:
    try:
        count = len(machine.values)
    except Unreadable as error:
        raise Refused(str(error)) from None
    demand(machine.get(".encoding").upper() == "UTF-8", ".encoding is not UTF-8")
    demand(machine.get("config.version") == "8", "config.version is not 8")
    return f"{count} settings"


@VMX.rule(
    "vmx-hardware-version",
    "virtualHW.version is one that Workstation 16 knows",
    "Workstation: 'was created by a VMware product that is incompatible with this version'",
)
def _hardware_version(machine: Machine) -> str:
    version = machine.get("virtualHW.version")
    demand(version.isdigit() and 7 <= int(version) <= _NEWEST, f"virtualHW.version is {version!r}")
    demand(int(version) <= 18, f"hardware version {version} is newer than Workstation 16")
    return f"hardware version {version}"


@VMX.rule(
    "vmx-network",
    "each card is on a VMnet of the host (custom) or on NAT, never bridged",
    "none refuses it: a card without connectionType is bridged, and VRRP leaks into the office",
)
def _network(machine: Machine) -> str:
    nets = []
    for card in machine.cards:
        kind = machine.get(f"{card}.connectionType").lower()
        demand(kind in ("custom", "nat"), f"{card} is {kind or 'bridged'}")
        net = machine.get(f"{card}.vnet") if kind == "custom" else "nat"
        demand(net.lower() not in ("", "vmnet0"), f"{card} is on {net or 'no VMnet'}")
        nets.append(net)
    return f"{len(nets)} cards on {', '.join(nets)}"


@VMX.rule(
    "vmx-mac",
    "MAC addresses are static, different, and in VMware's static range",
    "Workstation: 'The MAC address … is not an allowed static Ethernet address'",
)
def _mac(machine: Machine) -> str:
    seen: set[str] = set()
    for card in machine.cards:
        demand(machine.get(f"{card}.addressType") == "static", f"{card} has no static address")
        address = machine.get(f"{card}.address").upper()
        demand(_STATIC_MAC.match(address), f"{card} has {address or 'no address'}")
        demand(address not in seen, f"{card} has another card's address")
        seen.add(address)
    return f"{len(seen)} addresses in 00:50:56:00:00:00 to 3F:FF:FF"


@VMX.rule(
    "vmx-slots",
    "cards are e1000 in PCI slots 32, 33, 34, 35, in order",
    "none refuses it: the guest names its interfaces by slot, eth0 becomes another network",
)
def _slots(machine: Machine) -> str:
    for number, card in enumerate(machine.cards):
        demand(machine.get(f"{card}.virtualDev") == "e1000", f"{card} is not e1000")
        slot = machine.get(f"{card}.pciSlotNumber")
        demand(slot == str(_FIRST_SLOT + number), f"{card} is in slot {slot or 'none'}")
    return "cards are in order"


@VMX.rule(
    "vmx-files",
    "disks and CD-ROM are files of the folder, named without a drive or an absolute path",
    "Workstation: 'Cannot open the disk … The system cannot find the file specified'",
)
def _files(machine: Machine) -> str:
    files = [*machine.files(cdrom=False).values(), *machine.files(cdrom=True).values()]
    demand(machine.files(cdrom=False), "there is no disk")
    for name in files:
        plain = not name.startswith("/") and not PureWindowsPath(name).drive and "\\" not in name
        demand(plain, f"{name} is not relative to the folder")
        demand((machine.path.parent / name).is_file(), f"{name} is not there")
    return ", ".join(files)


@VMX.rule(
    "vmx-cdrom",
    "the seed is on an IDE CD-ROM as cdrom-image, connected at start",
    "none refuses it: the machine starts without its seed",
)
def _cdrom(machine: Machine) -> str:
    images = machine.files(cdrom=True)
    demand(images, "there is no CD-ROM with an image")
    for device in images:
        demand(device.startswith("ide"), f"the CD-ROM is {device}, not on IDE")
        demand(machine.get(f"{device}.deviceType") == "cdrom-image", f"{device} is no cdrom-image")
        absent = machine.get(f"{device}.startConnected").upper() == "FALSE"
        demand(not absent, f"{device} is not connected at start")
    return ", ".join(images.values())


@VMX.rule(
    "vmx-disk-kind",
    "disks are monolithicSparse; a child finds its parent, of the same CID, by a relative hint",
    "Workstation does not power on from streamOptimized; 'The parent virtual disk has been "
    "modified since the child was created' for another CID",
)
def _disk_kind(machine: Machine) -> str:
    for disk in machine.disks():
        if not disk.is_file():
            raise Unreadable(f"{disk.name} is not there")
        with Reader(disk) as reader:
            values = reader.descriptor.values
        demand(values.get("createType") == MONOLITHIC_SPARSE, f"{disk.name} is no sparse disk")
        parent = values.get("parentCID", NO_PARENT)
        if parent != NO_PARENT:
            hint = values.get("parentFileNameHint", "")
            relative = hint and not hint.startswith("/") and not PureWindowsPath(hint).drive
            demand(relative, f"{disk.name} names its parent {hint!r}, which is not relative")
            demand((disk.parent / hint).is_file(), f"the parent {hint} is not there")
            with Reader(disk.parent / hint) as above:
                found = above.descriptor.values.get("CID")
            demand(found == parent, f"the parent {hint} has the CID {found}, not {parent}")
    return "disks are monolithicSparse"


@VMX.rule(
    "vmx-controller",
    "SCSI controllers are lsilogic",
    "the guest finds no disk if the driver is not in its initrd",
)
def _controller(machine: Machine) -> str:
    for device in machine.files(cdrom=False):
        controller = device.partition(":")[0]
        demand(machine.on(f"{controller}.present"), f"{controller} is not present")
        if controller.startswith("scsi"):
            kind = machine.get(f"{controller}.virtualDev")
            demand(kind == "lsilogic", f"{controller} is {kind or 'of no kind'}, not lsilogic")
    return "disks are on lsilogic"


@VMX.rule(
    "vmx-questions",
    'uuid.action = "create": no question whether it was moved or copied',
    "Workstation asks 'did you move or copy it?' at each first start",
)
def _questions(machine: Machine) -> str:
    demand(machine.get("uuid.action") == "create", "uuid.action is not create")
    return "no question at the first start"


@VMX.rule(
    "vmx-devices",
    "no floppy, sound or USB, and time sync with the host is off",
    "none refuses it: idle devices take host memory, time steps break VRRP's timers",
)
def _devices(machine: Machine) -> str:
    for key in _UNWANTED:
        demand(not machine.on(key), f"{key} is TRUE")
    demand(machine.get("floppy0.present").upper() == "FALSE", "floppy0.present is not FALSE")
    demand(machine.get("tools.syncTime").upper() == "FALSE", "tools.syncTime is not FALSE")
    return "no idle device, no time sync"
