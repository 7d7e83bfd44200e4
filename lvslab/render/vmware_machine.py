"""The .vmx of a node: what VMware Workstation opens and powers on without a question.

Source of the keys: what Workstation 16 itself writes. Keys are set once, there is no
comment (Workstation drops comments when it saves the file).
"""

from __future__ import annotations

from collections.abc import Iterator

from lvslab.formats.vmx import FIRST_SLOT, VmxNic
from lvslab.model.lab import NAT_NETWORK, Lab
from lvslab.render.texts import render

HARDWARE_VERSION = 14
"""Workstation 14: old enough for every host that is still in use."""


def connection(lab: Lab, network: str) -> tuple[str, str]:
    """VMware's connectionType and vnet for a network of the lab.

    Never bridged. The name is written as Windows does, VMnet12: Workstation on Windows does
    not know `vmnet12` (hashicorp/vagrant#4354). On Linux the device is /dev/vmnet12.
    """
    if lab.networks[network].kind == "nat" and network == NAT_NETWORK:
        return "nat", ""
    return "custom", network


def nics(lab: Lab, node: str) -> Iterator[VmxNic]:
    """The network cards of a node, in the guest's order."""
    for number, (interface, network) in enumerate(sorted(lab.nodes[node].interfaces.items())):
        mac = lab.mac(node, interface)
        yield VmxNic(interface, network, mac, FIRST_SLOT + number, "e1000")


def vmx(lab: Lab, node: str) -> str:
    """The text of `<node>.vmx`; disk and seed are beside it as `<node>.vmdk`, `<node>.iso`."""
    wires = ", ".join(f"{i} {network}" for i, network in sorted(lab.nodes[node].interfaces.items()))
    values = {
        "lab": lab,
        "node": node,
        "this": lab.nodes[node],
        "hardware": HARDWARE_VERSION,
        "annotation": f"{lab.nodes[node].role} {node}: {wires}",
        "disk": f"{node}.vmdk",
        "seed": f"{node}.iso",
        "nics": list(nics(lab, node)),
        "connections": {network: connection(lab, network) for network in lab.networks},
    }
    return render("vmware/node.vmx.j2", values)
