"""The wires of a lab over its hosts and this one: made, and set as faults want them.

A host that is dead has no wires; the others and the client's end are made nevertheless, and it
is joined again when it is back.
"""

from __future__ import annotations

import json
import shlex
from collections import ChainMap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from lvslab.core.errors import InputError, StageError
from lvslab.core.procs import run
from lvslab.lab import network
from lvslab.lab.libvirt import store
from lvslab.lab.libvirt.fabric import Fabric, known_peers
from lvslab.lab.libvirt.libvirt_host import CONNECTION, Host
from lvslab.lab.libvirt.placement import on_answering
from lvslab.lab.namespace import Namespace
from lvslab.lab.network import Port, bridge_names, wired_interfaces
from lvslab.lab.state import LabState
from lvslab.model.lab import Lab

_KEPT = "underlay"


@dataclass(frozen=True)
class _Seen:
    """A host: addresses (see `Host.addresses`), names of its links, their other ends."""

    addresses: tuple[str, str]
    links: Collection[str]
    peers: Mapping[str, set[str]]


class Wiring:
    """Bridges, VXLAN devices and taps of `lab`."""

    def __init__(
        self, lab: Lab, state: LabState, namespace: Namespace, hosts: Mapping[str, Host]
    ) -> None:
        self._lab, self._state, self._namespace, self._hosts = lab, state, namespace, hosts
        self.fabric = Fabric(lab)

    # --- making them

    def make(self, nodes_of: Callable[[Host], Sequence[str]]) -> None:
        """What is missing, on each host that answers and here. Raises StageError if none does."""
        seen = on_answering(self._hosts, _look)
        own, client = self._ends({uri: this.addresses for uri, this in seen.items()})

        def wire_host(host: Host) -> None:
            others = [client, *(address for uri, address in own.items() if uri != host.uri)]
            there = seen[host.uri]
            links = self.fabric.of_host(nodes_of(host), own[host.uri], there.links)
            entries = self.fabric.peers(others, there.peers)
            words = 'printf %s "$links" | ip -batch - && printf %s "$entries" | bridge -batch -'
            given = {"links": "\n".join([*links, ""]), "entries": "\n".join([*entries, ""])}
            given_words = "".join(f"{name}={shlex.quote(it)}\n" for name, it in given.items())
            store.script(host, given_words + words, what="wiring the lab")

        on_answering({uri: self._hosts[uri] for uri in seen}, wire_host)
        self._wire_client(client, list(own.values()))

    def ends(self) -> tuple[dict[str, str], str]:
        """URI to the address of each host on the network between them, and this host's there.

        Raises InputError if the hosts see this one under different addresses.
        """
        return self._ends(on_answering(self._hosts, Host.addresses))

    def _ends(self, seen: Mapping[str, tuple[str, str]]) -> tuple[dict[str, str], str]:
        if not seen:
            names = ", ".join(host.label for host in self._hosts.values())
            raise StageError("no host of the lab answers", where=names)
        clients = {addresses[0] for addresses in seen.values()}
        if len(clients) > 1:
            raise InputError(
                "the hosts see this one under different addresses: " + ", ".join(sorted(clients)),
                where="--host",
                hint="name all hosts by addresses of one network",
            )
        client = clients.pop()
        own: dict[str, str] = self._state.load(_KEPT) or {}  # those of the dead
        own |= {uri: addresses[1] for uri, addresses in seen.items()}
        own = {uri: address for uri, address in own.items() if uri in self._hosts}
        if self._state.folder.exists():
            self._state.save(_KEPT, own)
        if client in own.values():
            raise InputError(
                f"this machine, {client}, cannot be a host of its own lab",
                where="--host",
                hint="without --host the lab runs here",
            )
        return own, client

    def _wire_client(self, own: str, others: Sequence[str]) -> None:
        """A VXLAN device is made where the hosts are reached, and then moves to the namespace."""
        self._namespace.create()
        network.build_bridges(self._lab, self._namespace)
        with self._namespace.inside():
            there = _names(run)
        names = bridge_names(self._lab)
        new = [self.fabric.vxlan(name) for name in names if self.fabric.vxlan(name) not in there]
        left = [f"link del {device}" for device in _names(run) if device in new]  # of a killed `up`
        moved = [f"link set {device} netns {self._namespace.name}" for device in new]
        network.batch(run, "ip", [*left, *self.fabric.vxlans(own, there), *moved])
        with self._namespace.inside():
            network.batch(run, "ip", [self.fabric.joined(name, to) for name, to in names.items()])
            network.batch(run, "bridge", self.fabric.peers(others, _peers(run)))

    def are_there(self, host: Host, node: str) -> bool:
        """Whether a node's taps are on a host: one that was started again has none."""
        taps = {self.fabric.tap(node, interface) for interface in wired_interfaces(self._lab, node)}
        return taps <= set(_names(host.run))

    # --- of one card

    def carry(self, host: Host, node: str, interface: str, frames: bool) -> None:
        """The tap moves to the bridge that leads nowhere, or back to its network's."""
        tap = self.fabric.tap(node, interface)
        own = self.fabric.bridge(self._lab.nodes[node].interfaces[interface])
        bridge = own if frames else self.fabric.nowhere
        host.run(["ip", "link", "set", tap, "master", bridge], what=f"setting {tap}", where=node)
        if not frames:
            self._set_port(host, node, interface, "isolated", "on")

    def hear(self, host: Host, node: str, interface: str, multicast: bool) -> None:
        """The bridge floods multicast to the tap, or does not."""
        self._set_port(host, node, interface, "mcast_flood", "on" if multicast else "off")

    def _set_port(self, host: Host, node: str, interface: str, *setting: str) -> None:
        tap = self.fabric.tap(node, interface)
        words = ["bridge", "link", "set", "dev", tap, *setting]
        host.run(words, what=f"setting {tap}", where=node)

    def ports(self) -> dict[tuple[str, str], Port]:
        """As the bridges say of those hosts that answer."""
        found = on_answering(self._hosts, lambda host: network.host_ports(host.run))
        there: Mapping[str, dict[str, Any]] = ChainMap(*found.values())
        return network.ends(self._lab, there, self.fabric.tap, self.fabric.nowhere)

    # --- a node that moves

    def give(self, node: str, source: Host, target: Host) -> None:
        """Make a node's taps on another host, with the faults that they have on the first."""
        own, _ = self.ends()
        there = _names(target.run)
        network.batch(target.run, "ip", self.fabric.of_host([node], own[target.uri], there))
        ports = network.host_ports(source.run)
        ends = network.ends(self._lab, ports, self.fabric.tap, self.fabric.nowhere)
        for (name, interface), port in ends.items():
            if name == node:
                self.carry(target, node, interface, port.carries)
                self.hear(target, node, interface, port.hears)

    def take(self, node: str, host: Host) -> None:
        """Remove a node's taps from a host."""
        there = _names(host.run)
        taps = [self.fabric.tap(node, interface) for interface in wired_interfaces(self._lab, node)]
        network.batch(host.run, "ip", [f"link del {tap}" for tap in taps if tap in there])

    # --- the end

    def remove(self, host: Host) -> None:
        """Remove all of the lab's links from a host."""
        links = self.fabric.owned(network.links(host.run))
        network.batch(host.run, "ip", [f"link del {name}" for name in links])

    def remove_client(self) -> None:
        """Remove the client's end; a killed `up` may have left a device outside."""
        self._namespace.remove()
        links = self.fabric.owned(network.links(run))
        network.batch(run, "ip", [f"link del {name}" for name in links])


def at(address: str) -> str:
    """An address as URIs have it."""
    return f"[{address}]" if ip_address(address).version == 6 else address


def _names(ask: network.Asking) -> Collection[str]:
    """The names of the links where `ask` runs programs."""
    return [link["ifname"] for link in network.links(ask)]


def _peers(ask: network.Asking) -> dict[str, set[str]]:
    text = ask(["bridge", "-json", "fdb", "show"], what="asking for the other ends")
    return known_peers(json.loads(text or "[]"))


def _look(host: Host) -> _Seen:
    """Ask a host, with one command."""
    words = f"{CONNECTION}; ip -json link; echo; bridge -json fdb show"
    said = host.run(["sh", "-c", words], what="asking for its links").splitlines()
    addresses, links, entries = said[0], said[1], "".join(said[2:])
    names = [link["ifname"] for link in json.loads(links)]
    return _Seen(host.addresses_of(addresses), names, known_peers(json.loads(entries or "[]")))
