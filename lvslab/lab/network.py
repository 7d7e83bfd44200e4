"""The lab's wires: a bridge for each VMnet, a tap for each NIC, the client's address.

Only the Linux bridge drops frames on purpose, because every kernel with bridges can do this
(filters of tc or nftables, and the bridge's VLANs, are options that a host may lack).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from lvslab.core.procs import run
from lvslab.lab.namespace import Namespace
from lvslab.model.family import IPV6, family_of
from lvslab.model.lab import Lab

_NAME_LIMIT = 15  # IFNAMSIZ - 1, linux/if.h
_NOWHERE = "nowhere"  # the bridge that leads nowhere: its ports hear neither host nor each other


class Asking(Protocol):
    """What runs a program and returns its output: `core.procs.run` here, a host's there."""

    def __call__(self, argv: Sequence[str], *, what: str) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class Port:
    """A machine's end of a wire: whether frames pass, and whether others' multicast reaches it."""

    carries: bool
    hears: bool


def links(ask: Asking = run, details: bool = False) -> list[dict[str, Any]]:
    """The links as `ip -json link` shows them, where `ask` runs programs."""
    words = ["ip", "-json", *(["-details"] if details else []), "link"]
    found: list[dict[str, Any]] = json.loads(ask(words, what="listing links"))
    return found


def bridge_names(lab: Lab) -> dict[str, str]:
    """Host-only network to bridge: the network's name in lower case, for instance `vmnet12`."""
    return {
        name: name.lower() for name, network in lab.networks.items() if network.kind == "host-only"
    }


def tap_name(lab: Lab, node: str, interface: str) -> str:
    """The tap behind a node's NIC, for instance `lvs1-eth1`."""
    plain = f"{node}-{interface}"
    return plain if len(plain) <= _NAME_LIMIT else f"node{list(lab.nodes).index(node)}-{interface}"


def wired_interfaces(lab: Lab, node: str) -> dict[str, str]:
    """The interfaces of a node that are on a bridge, each with its network."""
    return {
        interface: network
        for interface, network in lab.nodes[node].interfaces.items()
        if lab.networks[network].kind == "host-only"
    }


def build(lab: Lab, namespace: Namespace) -> None:
    """Make what is missing of the bridges and taps, and give the client its address."""
    build_bridges(lab, namespace)
    with namespace.inside():
        there = {link["ifname"]: link for link in links()}
        lines = []
        for node in lab.nodes:
            for interface, network in wired_interfaces(lab, node).items():
                tap = tap_name(lab, node, interface)
                if tap not in there:
                    lines.append(f"tuntap add dev {tap} mode tap")
                if "master" not in there.get(tap, {}):
                    lines.append(f"link set {tap} master {bridge_names(lab)[network]}")
                lines.append(f"link set {tap} addrgenmode none up")
        batch(run, "ip", lines)


def build_bridges(lab: Lab, namespace: Namespace) -> None:
    """Make what is missing of the bridges, and give the client its address."""
    with namespace.inside():
        there = {link["ifname"] for link in links()}
        lines = []
        for bridge in [*bridge_names(lab).values(), _NOWHERE]:
            if bridge not in there:
                # a bridge that speaks IPv6 answers for itself on every network
                lines += [
                    f"link add {bridge} type bridge mcast_snooping 0",
                    f"link set {bridge} addrgenmode none",
                ]
            lines.append(f"link set {bridge} up")
        for network, bridge in bridge_names(lab).items():
            # without one of its own it has that of a port, which changes with the ports
            lines.append(f"link set {bridge} address {lab.host_mac(network)}")
            for address in lab.hosts_on(network):
                # nodad (IPv6): it answers at once
                at_once = " nodad" if family_of(address) is IPV6 else ""
                lines.append(f"addr replace {address} dev {bridge}{at_once}")
        batch(run, "ip", lines)


def drop_silently(namespace: Namespace, tap: str) -> None:
    """Lose every frame to and from a tap while the guest's link stays up.

    The tap moves to a bridge that leads nowhere. (A port's STP state would do the same, but
    the kernel opens such a port again whenever the tap's carrier comes, linkwatch late too.)
    """
    with namespace.inside():
        _ip("link", "set", tap, "master", _NOWHERE)
    _port(namespace, tap, "isolated", "on")


def carry(lab: Lab, namespace: Namespace, node: str, interface: str) -> None:
    """Connect a node's tap to its network again."""
    network = lab.nodes[node].interfaces[interface]
    with namespace.inside():
        _ip("link", "set", tap_name(lab, node, interface), "master", bridge_names(lab)[network])


def drop_multicast(namespace: Namespace, tap: str, drop: bool) -> None:
    """Keep multicast (VRRP's adverts, connection sync) from a tap, or let it through again."""
    _port(namespace, tap, "mcast_flood", "off" if drop else "on")


def ports(namespace: Namespace) -> dict[str, dict[str, Any]]:
    """The bridges' ports as `bridge -json -details link` shows them, by name."""
    with namespace.inside():
        return host_ports()


def host_ports(ask: Asking = run) -> dict[str, dict[str, Any]]:
    """The same for where `ask` runs programs."""
    text = ask(["bridge", "-json", "-details", "link"], what="asking the bridges")
    return {port["ifname"]: port for port in json.loads(text or "[]")}


def ends(
    lab: Lab,
    there: Mapping[str, dict[str, Any]],
    tap: Callable[[str, str], str],
    nowhere: str = _NOWHERE,
) -> dict[tuple[str, str], Port]:
    """The ends of the lab's wires, by node and interface, out of what `ports` shows.

    `tap` names a card's tap, `nowhere` is the bridge whose ports lose every frame.
    """
    found = {}
    for node in lab.nodes:
        for interface in wired_interfaces(lab, node):
            if port := there.get(tap(node, interface)):
                carries = port.get("master") != nowhere
                found[node, interface] = Port(carries, port.get("mcast_flood") is not False)
    return found


def _port(namespace: Namespace, tap: str, *setting: str) -> None:
    with namespace.inside():
        run(["bridge", "link", "set", "dev", tap, *setting], what=f"setting {tap}")


def batch(ask: Callable[..., str], tool: str, lines: Sequence[str]) -> None:
    """Give `ip` or `bridge` lines to do, where `ask` runs programs."""
    if lines:
        ask([tool, "-batch", "-"], what="wiring the lab", stdin="\n".join([*lines, ""]))


def _ip(*words: str) -> None:
    run(["ip", *words], what="wiring the lab")
