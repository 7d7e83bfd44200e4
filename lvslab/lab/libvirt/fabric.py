"""The networks of a lab over several hosts: on each a bridge for each VMnet, joined by VXLAN.

Texts for `ip -batch` and `bridge -batch`, and names; nothing is run here. VXLAN is RFC 7348: each
end sends what it has no entry for to every other end. It encrypts nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lvslab.lab.network import bridge_names, wired_interfaces
from lvslab.model.lab import Lab

PORT = 4789
"""The UDP port of VXLAN (RFC 7348, section 5), which must be open between the hosts."""

SIGNED = "lvslab:"
"""What the alias of each link begins with, before the name of its lab."""

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

    @property
    def probe(self) -> str:
        """The device that tries whether VXLAN passes, and its namespace."""
        return f"{self.prefix}-probe"

    def probe_kind(self, own: str) -> str:
        """What such a device is: a network of its own at the end `own`."""
        vni = _FIRST_VNI + _VNIS * (self.lab.number + 1) - 1
        return f"type vxlan id {vni} local {own} dstport {PORT}"

    def probe_peers(self, others: Iterable[str]) -> list[str]:
        """What tells it the other ends, for `bridge`."""
        return [f"fdb append {_ANYBODY} dev {self.probe} dst {other}" for other in others]

    def _number(self, network: str) -> int:
        return list(bridge_names(self.lab)).index(network)

    def is_ours(self, link: str) -> bool:
        """Whether a link of a host has a name as this lab's have."""
        return link.startswith(self.prefix) and link[len(self.prefix) :][:1] in ("-", "n", "x")

    def owned(self, links: Iterable[dict[str, Any]]) -> list[str]:
        """The names of this lab's links among those of a host (`ip -json link`)."""
        own = ("", f"{SIGNED}{self.lab.name}")  # a link that was made, and not yet signed
        return [
            link["ifname"]
            for link in links
            if self.is_ours(link["ifname"]) and link.get("ifalias", "") in own
        ]

    def vxlans(self, own: str, there: Iterable[str]) -> list[str]:
        """What makes the VXLAN devices that are not there; `own` is this end's address."""
        lines = []
        for network in bridge_names(self.lab):
            device, vni = self.vxlan(network), self.vni(network)
            if device not in there:
                kind = f"type vxlan id {vni} local {own} dstport {PORT}"
                lines += [f"link add {device} {kind}", self._signed(device)]
        return lines

    def peers(self, others: Collection[str], known: Mapping[str, Collection[str]]) -> list[str]:
        """What makes `others` the other ends of each VXLAN device, for `bridge -batch`.

        `known`: the other ends that each device has now (see `known_peers`).
        """
        lines = []
        for network in bridge_names(self.lab):
            device = self.vxlan(network)
            now = known.get(device, ())
            entry = f"{_ANYBODY} dev {device} dst"
            lines += [f"fdb append {entry} {other}" for other in others if other not in now]
            lines += [f"fdb del {entry} {gone}" for gone in now if gone not in others]
        return lines

    def joined(self, network: str, bridge: str) -> str:
        """What puts the VXLAN device of a network on a bridge."""
        return f"link set {self.vxlan(network)} mtu {_MTU} master {bridge} addrgenmode none up"

    def of_host(self, nodes: Sequence[str], own: str, there: Iterable[str]) -> list[str]:
        """What makes the missing bridges, VXLAN devices and taps of a host that has `nodes`."""
        bridges = [self.bridge(network) for network in bridge_names(self.lab)] + [self.nowhere]
        lines = []
        for bridge in bridges:
            if bridge not in there:
                kind = "type bridge mcast_snooping 0"
                lines += [f"link add {bridge} {kind}", self._signed(bridge)]
            lines.append(f"link set {bridge} addrgenmode none up")
        lines += self.vxlans(own, there)
        lines += [self.joined(network, self.bridge(network)) for network in bridge_names(self.lab)]
        for node in nodes:
            for interface, network in wired_interfaces(self.lab, node).items():
                tap = self.tap(node, interface)
                if tap not in there:
                    lines += [f"tuntap add dev {tap} mode tap", self._signed(tap)]
                    lines.append(f"link set {tap} master {self.bridge(network)}")
                lines.append(f"link set {tap} addrgenmode none up")
        return lines

    def _signed(self, link: str) -> str:
        """What writes on a link whose it is: two labs may have one number by mistake."""
        return f"link set {link} alias {SIGNED}{self.lab.name}"


def known_peers(entries: Iterable[dict[str, Any]]) -> dict[str, set[str]]:
    """Device to its other ends, out of what `bridge -json fdb show` says."""
    found: dict[str, set[str]] = {}
    for entry in entries:
        if entry.get("mac") == _ANYBODY and "dst" in entry:
            found.setdefault(entry["ifname"], set()).add(entry["dst"])
    return found


def placement(lab: Lab, hosts: Sequence[str]) -> dict[str, str]:
    """Node to host: the nodes of each role in turn, so that directors are apart."""
    taken: dict[str, int] = {}
    found = {}
    for name, node in lab.nodes.items():
        number = taken.setdefault(node.role, 0)
        taken[node.role] += 1
        found[name] = hosts[number % len(hosts)]
    return found
