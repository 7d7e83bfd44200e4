"""The networks of a lab over several hosts: on each a bridge for each VMnet, joined by VXLAN.

Texts for `ip -batch` and `bridge -batch`, and names; nothing is run here. VXLAN is RFC 7348: each
end sends what it has no entry for to every other end. It encrypts nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lvslab.lab.network import bridge_names, wired_interfaces
from lvslab.model.lab import Lab

PORT = 4789
"""The UDP port of VXLAN (RFC 7348, section 5), which must be open between the hosts."""

_FIRST_VNI = 7_000_000
_VNIS = 100  # for each lab
_MTU = 1500  # the outer packets are larger, and IP cuts them where the hosts' network needs it
_ANYBODY = "00:00:00:00:00:00"


@dataclass(frozen=True)
class Fabric:
    """The names of a lab's links on its hosts: at most 15 characters (IFNAMSIZ, linux/if.h)."""

    lab: Lab

    @property
    def prefix(self) -> str:
        """What all names begin with; labs on the same hosts need different numbers for this."""
        return f"l{self.lab.number}"

    def bridge(self, network: str) -> str:
        """The bridge of a network, for instance `l1-vmnet12`."""
        return f"{self.prefix}-{bridge_names(self.lab)[network]}"

    @property
    def nowhere(self) -> str:
        """The bridge that leads nowhere."""
        return f"{self.prefix}-nowhere"

    def tap(self, node: str, interface: str) -> str:
        """The tap of a card, for instance `l1n0-eth1`."""
        return f"{self.prefix}n{list(self.lab.nodes).index(node)}-{interface}"

    def vxlan(self, network: str) -> str:
        """The VXLAN device of a network, for instance `l1x0`."""
        return f"{self.prefix}x{self._number(network)}"

    def vni(self, network: str) -> int:
        """The number of a network on the wire: its own for each lab and network."""
        return _FIRST_VNI + _VNIS * self.lab.number + self._number(network)

    def _number(self, network: str) -> int:
        return list(bridge_names(self.lab)).index(network)

    def is_ours(self, link: str) -> bool:
        """Whether a link of a host is one of this lab's."""
        return link.startswith(self.prefix) and link[len(self.prefix) :][:1] in ("-", "n", "x")

    def vxlans(self, own: str, there: Iterable[str]) -> list[str]:
        """What makes the VXLAN devices that are not there; `own` is this end's address."""
        return [
            f"link add {self.vxlan(network)} type vxlan id {self.vni(network)} local {own} "
            f"dstport {PORT}"
            for network in bridge_names(self.lab)
            if self.vxlan(network) not in there
        ]

    def peers(self, others: Sequence[str], there: Iterable[str]) -> list[str]:
        """What tells new VXLAN devices the addresses of the other ends, for `bridge -batch`."""
        return [
            f"fdb append {_ANYBODY} dev {self.vxlan(network)} dst {other}"
            for network in bridge_names(self.lab)
            if self.vxlan(network) not in there
            for other in others
        ]

    def joined(self, network: str, bridge: str) -> str:
        """What puts the VXLAN device of a network on a bridge."""
        return f"link set {self.vxlan(network)} mtu {_MTU} master {bridge} addrgenmode none up"

    def of_host(self, nodes: Sequence[str], own: str, there: Iterable[str]) -> list[str]:
        """What makes the missing bridges, VXLAN devices and taps of a host that has `nodes`."""
        bridges = [self.bridge(network) for network in bridge_names(self.lab)] + [self.nowhere]
        lines = [
            f"link add {bridge} type bridge mcast_snooping 0"
            for bridge in bridges
            if bridge not in there
        ]
        lines += [f"link set {bridge} addrgenmode none up" for bridge in bridges]
        lines += self.vxlans(own, there)
        lines += [self.joined(network, self.bridge(network)) for network in bridge_names(self.lab)]
        for node in nodes:
            for interface, network in wired_interfaces(self.lab, node).items():
                tap = self.tap(node, interface)
                if tap not in there:
                    lines.append(f"tuntap add dev {tap} mode tap")
                    lines.append(f"link set {tap} master {self.bridge(network)}")
                lines.append(f"link set {tap} addrgenmode none up")
        return lines


def placement(lab: Lab, hosts: Sequence[str]) -> dict[str, str]:
    """Node to host: the nodes of each role in turn, so that directors are apart."""
    taken: dict[str, int] = {}
    found = {}
    for name, node in lab.nodes.items():
        number = taken.setdefault(node.role, 0)
        taken[node.role] += 1
        found[name] = hosts[number % len(hosts)]
    return found
