"""A machine as libvirt's XML (https://libvirt.org/formatdomain.html): the devices of `hardware`."""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from lvslab.lab.hardware import AGENT_IRQ, NIC_DEVICE, WWN, Machine, Nic

METADATA = "https://lvslab.example/lab/1"
"""The namespace of what a domain says of itself."""

KEPT = "https://lvslab.example/kept/1"
"""The namespace of what another workstation must know (`lvslab.lab.libvirt.records`)."""

SEED = "seed.iso"
"""The seed among a node's files."""

_QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
_FAMILY = uuid.UUID("6c76736c-6162-4d6f-8000-000000000000")
_COM3 = "0x3e8"
_BUS_OF_NICS = 1
_CONTROLLER = {"lsisas": "lsisas1068", "pvscsi": "vmpvscsi"}
_TARGET = {
    "lsisas": ("sda", "scsi"),
    "pvscsi": ("sda", "scsi"),
    "ahci": ("sda", "sata"),
    "virtio": ("vda", "virtio"),
}

ElementTree.register_namespace("qemu", _QEMU)
ElementTree.register_namespace("lvslab", METADATA)
ElementTree.register_namespace("kept", KEPT)


@dataclass(frozen=True)
class Placed:
    """What a machine's domain needs of its host: names, files, wires and the way to its SSH."""

    name: str
    folder: str
    taps: Mapping[str, str]
    ssh_port: int
    lab: str

    @property
    def uuid(self) -> str:
        """The domain's UUID: the same each time, and no other machine has it."""
        return str(uuid.uuid5(_FAMILY, self.name))

    @property
    def disk(self) -> str:
        """The overlay that takes the machine's writes and its checkpoints."""
        return f"{self.folder}/disk.qcow2"

    @property
    def seed(self) -> str:
        """Its seed."""
        return f"{self.folder}/{SEED}"

    @property
    def console(self) -> str:
        """The first serial port, as a socket."""
        return f"{self.folder}/console"

    @property
    def console_log(self) -> str:
        """All that the first serial port ever said."""
        return f"{self.folder}/console.log"

    @property
    def console_before(self) -> str:
        """What it said on the hosts that it was on before."""
        return f"{self.folder}/console.before"

    @property
    def agent(self) -> str:
        """The third serial port, as a socket."""
        return f"{self.folder}/agent"


def domain(
    machine: Machine,
    placed: Placed,
    accelerator: str,
    credentials: Mapping[str, bytes],
    kept: str,
) -> str:
    """The XML of a machine. `credentials` reach its systemd as SMBIOS OEM strings.

    `kept` goes with it for other workstations.
    """
    root = Element("domain", type="kvm" if accelerator == "kvm" else "qemu")
    _text(root, "name", placed.name)
    _text(root, "uuid", placed.uuid)
    metadata = SubElement(root, "metadata")
    _text(metadata, f"{{{METADATA}}}lab", placed.lab)
    _text(metadata, f"{{{KEPT}}}kept", kept)
    _text(root, "memory", str(machine.memory_mib), unit="MiB")
    _text(root, "vcpu", str(machine.cpus))
    if accelerator == "kvm":
        SubElement(root, "cpu", mode="host-passthrough")
    system = SubElement(root, "os")
    _text(system, "type", "hvm", arch="x86_64", machine="pc")
    SubElement(system, "boot", dev="hd")
    SubElement(system, "smbios", mode="sysinfo")
    strings = SubElement(SubElement(root, "sysinfo", type="smbios"), "oemStrings")
    for name, content in credentials.items():
        encoded = base64.b64encode(content).decode()
        _text(strings, "entry", f"io.systemd.credential.binary:{name}={encoded}")
    features = SubElement(root, "features")
    for feature in ("acpi", "apic"):
        SubElement(features, feature)
    SubElement(root, "clock", offset="utc")
    devices = SubElement(root, "devices")
    _disks(devices, machine, placed)
    SubElement(devices, "controller", type="pci", index="0", model="pci-root")
    SubElement(devices, "controller", type="pci", index=str(_BUS_OF_NICS), model="pci-bridge")
    for slot, nic in enumerate(machine.nics, 1):
        if nic.tap is not None:
            _nic(devices, nic, slot, placed)
    _serial(devices, placed.console, 0, placed.console_log)
    _serial(devices, placed.agent, 2)
    SubElement(SubElement(devices, "video"), "model", type="vga")
    SubElement(devices, "memballoon", model="none")
    _nat(root, machine, placed)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode")


def _text(parent: Element, tag: str, text: str, **attributes: str) -> None:
    SubElement(parent, tag, attributes).text = text


def _disks(devices: Element, machine: Machine, placed: Placed) -> None:
    # cache=unsafe: the overlay lives no longer than the lab, and QEMU survives the guest
    disk = SubElement(devices, "disk", type="file", device="disk")
    SubElement(disk, "driver", name="qemu", type="qcow2", cache="unsafe", discard="unmap")
    SubElement(disk, "source", file=placed.disk)
    name, bus = _TARGET[machine.controller]
    SubElement(disk, "target", dev=name, bus=bus)
    if bus == "scsi":
        _text(disk, "wwn", f"{WWN:016x}")
        model = _CONTROLLER[machine.controller]
        SubElement(devices, "controller", type="scsi", index="0", model=model)
    seed = SubElement(devices, "disk", type="file", device="cdrom")
    SubElement(seed, "driver", name="qemu", type="raw")
    SubElement(seed, "source", file=placed.seed)
    SubElement(seed, "target", dev="hdc", bus="ide")
    SubElement(seed, "readonly")


def _nic(devices: Element, nic: Nic, slot: int, placed: Placed) -> None:
    # The tap was made before: what is done to it outlives the machine's power.
    card = SubElement(devices, "interface", type="ethernet")
    SubElement(card, "target", dev=placed.taps[nic.interface], managed="no")
    SubElement(card, "mac", address=nic.mac)
    SubElement(card, "model", type="virtio" if nic.model == "virtio" else NIC_DEVICE[nic.model])
    SubElement(card, "rom", enabled="no")
    SubElement(card, "address", type="pci", bus=hex(_BUS_OF_NICS), slot=hex(slot))


def _serial(devices: Element, path: str, port: int, log: str = "") -> None:
    serial = SubElement(devices, "serial", type="unix")
    SubElement(serial, "source", mode="bind", path=path)
    SubElement(serial, "target", type="isa-serial", port=str(port))
    if log:
        SubElement(serial, "log", file=log, append="on")
    else:
        SubElement(serial, "address", type="isa", iobase=_COM3, irq=hex(AGENT_IRQ))


def _nat(root: Element, machine: Machine, placed: Placed) -> None:
    """The card behind NAT, in QEMU's own words: libvirt cannot say `restrict`.

    As JSON, because QEMU makes all devices that are written otherwise before libvirt's bridge.
    """
    line = SubElement(root, f"{{{_QEMU}}}commandline")
    for slot, nic in enumerate(machine.nics, 1):
        if nic.tap is None:
            forward = f"hostfwd=tcp:127.0.0.1:{placed.ssh_port}-:22"
            device = {
                "driver": NIC_DEVICE[nic.model],
                "id": f"nic-{nic.interface}",
                "netdev": nic.interface,
                "mac": nic.mac,
                "bus": f"pci.{_BUS_OF_NICS}",
                "addr": hex(slot),
                "romfile": "",
            }
            for word in (
                "-netdev",
                f"user,id={nic.interface},restrict=on,ipv6=off,{forward}",
                "-device",
                json.dumps(device),
            ):
                SubElement(line, f"{{{_QEMU}}}arg", value=word)
