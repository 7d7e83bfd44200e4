"""The lab out of OVAs and seeds: lab.yaml says what each machine is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lvslab.core.events import Listener
from lvslab.lab import base_disks, hardware
from lvslab.model.lab import Lab


@dataclass(frozen=True)
class OvaSource:
    """The machines of the OVAs and seeds below `artifacts`, with the devices that are asked for."""

    lab: Lab
    artifacts: Path
    devices: hardware.Hardware
    firmware: hardware.Firmware

    def wires(self) -> Lab:
        """The lab as lab.yaml wires it."""
        return self.lab

    def disks(self, cache: Path, listener: Listener) -> dict[str, Path]:
        """Node to the disk of its role's OVA as a raw file in the cache."""
        images = {
            role: base_disks.base_disk(base_disks.ova(self.artifacts, role), cache, listener)
            for role in dict.fromkeys(node.role for node in self.lab.nodes.values())
        }
        return {name: images[node.role] for name, node in self.lab.nodes.items()}

    def seeds(self) -> dict[str, Path]:
        """Node to its seed."""
        return {node: base_disks.seed(self.artifacts, node) for node in self.lab.nodes}

    def machine(self, node: str, disk: Path, seed: Path, ssh_port: int) -> hardware.Machine:
        """The hardware of a node as lab.yaml describes it."""
        return hardware.machine(self.lab, node, disk, seed, ssh_port, self.devices, self.firmware)
