"""What the kinds of machines share: addresses, wires, and what a kind must say of itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from lvslab.model.family import AddressInterface
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec

Facts = dict[str, Any]
Addresses = dict[str, tuple[AddressInterface, ...]]


class MachineKind(Protocol):
    """What differs between the kinds of machines; each kind is a module with these functions."""

    def addresses(self, lab: Lab, node: str) -> Addresses:
        """Interface to the addresses that the node's seed gives it."""
        ...

    def modules(self, lab: Lab, spec: RoleSpec) -> list[str]:
        """The kernel modules to load at boot."""
        ...

    def kernel(self, lab: Lab) -> dict[str, str]:
        """Kernel settings (sysctl.d(5)) that the lab needs beside the role's."""
        ...

    def readers(self, lab: Lab) -> list[str]:
        """The nodes in whose name the bake lets keepalived read its file."""
        ...

    def facts(self, lab: Lab, node: str) -> Facts:
        """What holds on a node while all is well, for `labcheck`."""
        ...


def static_addresses(lab: Lab, node: str) -> Addresses:
    """Interface to the node's own addresses there."""
    interfaces = lab.nodes[node].interfaces
    return {interface: lab.addresses_of(node, network) for interface, network in interfaces.items()}


def interface_facts(
    lab: Lab, node: str, neighbours: Mapping[str, list[str]], own: bool = True
) -> Facts:
    """The facts of each interface on the cluster's networks.

    `neighbours`: by network, the addresses that must answer if the interface is really on it.
    Without `own` the node has no addresses but those that VRRP gives it.
    """
    return {
        interface: {
            "network": network,
            "own": list(map(str, lab.addresses_of(node, network))) if own else [],
            "vrrp": [],
            "neighbours": neighbours[network],
        }
        for interface, network in wired(lab, node).items()
    }


def wired(lab: Lab, node: str) -> dict[str, str]:
    """Interface to network for a node's interfaces on host-only networks."""
    return {
        interface: network
        for interface, network in sorted(lab.nodes[node].interfaces.items())
        if lab.networks[network].kind == "host-only"
    }


def instances(lab: Lab) -> list[Facts]:
    """The VRRP instances and who owns them while all is well."""
    return [
        {
            "instance": name,
            "address": str(lab.instance_interface(name)),
            "interface": lab.directors_interface_on(this.network),
            "network": this.network,
            "owner": lab.owners(name)[0],
        }
        for name, this in lab.vrrp_instances.items()
    ]
