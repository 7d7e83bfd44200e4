"""The OVF descriptor of a role's appliance (DMTF DSP0243, OVF 1.1).

Source of the rules: DMTF's schema dsp8023 (order), VMware's open-vmdk templates
(devices, vmw:Config), and what VMware, VirtualBox and Proxmox do on import.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lvslab.model.lab import Lab, Network
from lvslab.render.texts import render

HARDWARE_VERSION = "vmx-14"
"""Workstation 14, ESXi 6.7: old enough for every host that is still in use."""


@dataclass(frozen=True)
class OvfDisk:
    """A disk of the appliance: VMDK name and size, capacity and populated size, in bytes."""

    file_name: str
    file_size: int
    capacity: int
    populated: int


@dataclass(frozen=True)
class OvfNic:
    """A network card: the guest's name of it and the OVF network behind it."""

    interface: str
    network: str
    remark: str


def safe_network(network: Network) -> str:
    """The OVF name of a network: `nat` or `hostonly`.

    OVF cannot name VMnet12; importers bridge names that they do not know, and VRRP would
    leak into the office network.
    """
    return "nat" if network.kind == "nat" else "hostonly"


def ovf(lab: Lab, role: str, disks: Sequence[OvfDisk], *, name: str = "", version: str = "") -> str:
    """The OVF text of an appliance of `role`; `name` defaults to the role's.

    Memory and CPUs are the most that any node of the role has; a role without a node gets
    the model's defaults and no network card.
    """
    nodes = list(lab.nodes_with(role).values())
    nics = [
        OvfNic(interface, safe_network(lab.networks[network]), network)
        for interface, network in sorted(nodes[0].interfaces.items() if nodes else ())
    ]
    values = {
        "name": name or role,
        "role": role,
        "lab": lab.name,
        "version": version,
        "hardware": HARDWARE_VERSION,
        "memory": max((node.memory_mib for node in nodes), default=512),
        "cpus": max((node.cpus for node in nodes), default=1),
        "disks": disks,
        "nics": nics,
        "networks": sorted({nic.network for nic in nics}),
    }
    return render("ovf.xml.j2", values)
