"""The lab out of VMware's folders: what each .vmx says is what QEMU gets.

Wires, MACs, models, memory, disk and CD-ROM come from the .vmx and not from lab.yaml, so
that a .vmx that is wrong gives a cluster whose checklist fails. One device differs: VMware's
lsilogic is LSI's parallel controller, of which QEMU has no model; its serial sister
(mptsas1068) is driven by the same family of drivers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from lvslab.core.errors import InputError
from lvslab.core.events import Listener
from lvslab.core.places import PROGRAM
from lvslab.core.together import each
from lvslab.formats import vmx
from lvslab.lab import base_disks, hardware
from lvslab.model.lab import Lab

FOLDER = "vmware"
"""Where the machines' folders are, below the artifacts."""

_FIRMWARE: dict[str, hardware.Firmware] = {"bios": "bios", "efi": "uefi"}
_CARDS: dict[str, hardware.NicModel] = {"e1000": "e1000", "vmxnet3": "vmxnet3"}
_CONTROLLERS: dict[str, hardware.DiskController] = {
    "lsilogic": "lsisas",
    "lsisas1068": "lsisas",
    "pvscsi": "pvscsi",
    "sata": "ahci",
    "ahci": "ahci",
}
Device = TypeVar("Device")


@dataclass(frozen=True)
class VmwareSource:
    """The machines of the VMware folders below `artifacts`."""

    lab: Lab
    artifacts: Path

    @cached_property
    def machines(self) -> dict[str, vmx.VmxMachine]:
        """Node to what its .vmx says."""
        return {node: machine_of(self.artifacts, node) for node in self.lab.nodes}

    def wires(self) -> Lab:
        """The lab as its machines are wired (see `rewired`)."""
        return rewired(self.lab, self.machines)

    def disks(self, cache: Path, listener: Listener) -> dict[str, Path]:
        """Node to its disk as a raw file in the cache."""
        return each(
            self.machines,
            lambda node: base_disks.flat_disk(self.machines[node].disks[0], node, cache, listener),
        )

    def seeds(self) -> dict[str, Path]:
        """Node to the image in its CD-ROM."""
        return {node: seed(this, node) for node, this in self.machines.items()}

    def machine(self, node: str, disk: Path, seed: Path, ssh_port: int) -> hardware.Machine:
        """The hardware of a node as its .vmx describes it."""
        this = machine(self.wires(), node, self.machines[node], seed, ssh_port)
        return replace(this, base_disk=disk)


class FolderSource(VmwareSource):
    """The same folders for VMware itself: disks and seeds are used where they are."""

    def disks(self, cache: Path, listener: Listener) -> dict[str, Path]:
        """Node to the disk that its .vmx names."""
        return {node: this.disks[0] for node, this in self.machines.items()}

    def machine(self, node: str, disk: Path, seed: Path, ssh_port: int) -> hardware.Machine:
        """What the lab must know of a machine: its cables and its seed; VMware knows the rest."""
        this = self.machines[node]
        nics = tuple(
            hardware.Nic(nic.interface, nic.mac, None, connected=nic.connected) for nic in this.nics
        )
        own = self.seeds()[node]
        return hardware.Machine(node, this.memory_mib, this.cpus, nics, disk, own, ssh_port)


def machine_of(artifacts: Path, node: str) -> vmx.VmxMachine:
    """The machine in a node's folder. Raises InputError if it is not there or not a machine."""
    path = artifacts.absolute() / FOLDER / node / f"{node}.vmx"
    if not path.is_file():
        raise InputError(
            "there is no such machine", where=str(path), hint=f"make it: {PROGRAM} images"
        )
    return vmx.read(path)


def seed(this: vmx.VmxMachine, node: str) -> Path:
    """The image in a machine's CD-ROM. Raises InputError if there is none when it starts."""
    if this.cdrom is None:
        raise InputError(
            "no CD-ROM with an image is connected at power-on, so the machine has no seed",
            where=f"{node}.vmx",
            hint=f'set ide1:0.fileName = "{node}.iso" and ide1:0.startConnected = "TRUE"',
        )
    if not this.cdrom.is_file():
        raise InputError(
            f"there is no CD-ROM image ({this.cdrom})", where=f"{node}.vmx", hint="build it again"
        )
    return this.cdrom


def rewired(lab: Lab, machines: dict[str, vmx.VmxMachine]) -> Lab:
    """The lab with the networks, memory and processors that the machines have.

    Raises InputError for a card on a network that the lab has not: nothing of the cluster
    may reach another one.
    """
    nodes = {}
    for name, machine in machines.items():
        for nic in machine.nics:
            if nic.vnet not in lab.networks:
                raise InputError(
                    f"{nic.interface} is on {nic.vnet}, which is not a network of the lab",
                    where=f"{name}.vmx",
                )
        nodes[name] = lab.nodes[name].model_copy(
            update={
                "interfaces": {nic.interface: nic.vnet for nic in machine.nics},
                "memory_mib": machine.memory_mib,
                "cpus": machine.cpus,
            }
        )
    return lab.model_copy(update={"nodes": nodes})


def machine(
    lab: Lab, node: str, this: vmx.VmxMachine, seed: Path, ssh_port: int
) -> hardware.Machine:
    """What QEMU is given for a .vmx; `lab` is the rewired one, `seed` the copy of its CD-ROM.

    Raises InputError if it has another firmware than bios or efi, another number of disks, or
    a card or a controller that QEMU has no model of.
    """
    firmware = _FIRMWARE.get(this.firmware)
    if firmware is None or len(this.disks) != 1:
        raise InputError(
            f"a machine of the lab has one disk and bios or efi; this one has "
            f"{len(this.disks)} and {this.firmware}",
            where=f"{node}.vmx",
        )
    like = hardware.machine(lab, node, this.disks[0], seed, ssh_port, "vmware", firmware)
    cards = {nic.interface: nic for nic in this.nics}
    nics = tuple(
        replace(
            nic,
            mac=cards[nic.interface].mac,
            model=_known(_CARDS, cards[nic.interface].model, f"the card {nic.interface}", node),
            connected=cards[nic.interface].connected,
        )
        for nic in like.nics
    )
    controller = _known(_CONTROLLERS, this.controllers[0], "the disk's controller", node)
    return replace(like, nics=nics, controller=controller)


def _known(devices: Mapping[str, Device], name: str, what: str, node: str) -> Device:
    """QEMU's device for VMware's. Raises InputError if there is none."""
    if name not in devices:
        raise InputError(
            f"{what} is {name!r}, which QEMU does not have",
            where=f"{node}.vmx",
            hint=f"virtualDev can be {', '.join(devices)}",
        )
    return devices[name]
