"""keepalived.conf: one file for all directors (keepalived.conf(5), 2.2.7 and 2.3.3)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from lvslab.model.lab import Lab
from lvslab.model.role import Kind
from lvslab.render.texts import render

TEMPLATE = "roles/director/files/etc/keepalived/keepalived.conf.j2"

_CHECKERS = {
    "tcp": "TCP_CHECK",
    "http": "HTTP_GET",
    "https": "SSL_GET",
    "dns": "DNS_CHECK",
    "udp": "UDP_CHECK",
}
_ASKED_BY_ARP = 8
"""At most this many real servers of a network are asked by ARP: one answer is enough."""


@dataclass(frozen=True)
class OwnAddress:
    """An address of a director's own on an interface."""

    interface: str
    address: IPv4Interface


@dataclass(frozen=True)
class Watch:
    """A network that the directors watch by ARP: the interface, and who should answer."""

    network: str
    interface: str
    addresses: tuple[IPv4Address, ...]


def sources(lab: Lab, director: str) -> list[OwnAddress]:
    """The director's own addresses on the cluster's interfaces."""
    node = lab.nodes[director]
    found = []
    for interface, network in node.interfaces.items():
        address = lab.address_of(director, network)
        if address is not None:
            found.append(OwnAddress(interface, address))
    return found


def advert_sources(lab: Lab, director: str) -> dict[str, IPv4Address]:
    """VRRP instance to the source address of the director's adverts (mcast_src_ip).

    Without one an instance on an interface that has no address is in FAULT. It must never
    be a VIP: a receiver that owns the sender's address drops the advert. A director without
    an address on the network gets a link-local one of its own (RFC 3927), used for nothing else.
    """
    fallback = IPv4Address(f"169.254.{lab.number}.{lab.node_numbers[director]}")
    found = {}
    for name, instance in lab.vrrp_instances.items():
        own = lab.address_of(director, instance.network)
        found[name] = own.ip if own else fallback
    return found


def watches(lab: Lab) -> dict[str, Watch]:
    """The networks that the directors watch, by name of the track file; none if that is off.

    On a backend network the real servers are asked, on any other the host and the directors'
    own addresses (nobody hears a director's question to itself, so the list is the same on
    all of them). A network where nobody could answer is not watched.
    """
    if not lab.directors.track.enabled:
        return {}
    behind: dict[str, list[IPv4Address]] = {}
    for name in lab.virtual_servers:
        behind[lab.network_of(name)] = list(lab.real_servers(name).values())
    found = {}
    for network in dict.fromkeys([*(i.network for i in lab.vrrp_instances.values()), *behind]):
        asked = behind.get(network, [])[:_ASKED_BY_ARP] or _neighbours(lab, network)
        if asked:
            interface = lab.directors_interface_on(network)
            found[f"arp_{network}"] = Watch(network, interface, tuple(asked))
    return found


def _neighbours(lab: Lab, network: str) -> list[IPv4Address]:
    """The host and, if they have addresses of their own, the directors on a network."""
    host = lab.networks[network].host
    found = [host] if host else []
    if lab.directors.source_addresses == "own":
        own = (lab.address_of(director, network) for director in lab.nodes_of(Kind.DIRECTOR))
        found += [address.ip for address in own if address]
    return found


def group_watches(lab: Lab) -> dict[str, list[str]]:
    """For each sync group the track files of the networks that its members are on."""
    return {group: _watched(lab, members) for group, members in lab.sync_groups.items()}


def instance_watches(lab: Lab) -> dict[str, list[str]]:
    """VRRP instance that is in no group to the watches that it moves by."""
    alone = (name for name in lab.vrrp_instances if not lab.group_of(name))
    return {name: _watched(lab, [name]) for name in alone}


def _watched(lab: Lab, instances: Collection[str]) -> list[str]:
    """The watches of the instances' own networks, and of those where their real servers are."""
    networks = {lab.vrrp_instances[name].network for name in instances}
    networks |= {
        lab.network_of(name)
        for name, server in lab.virtual_servers.items()
        if server.instance in instances
    }
    return [name for name, watch in watches(lab).items() if watch.network in networks]


def sync_interface(lab: Lab) -> str:
    """The interface that carries connection sync: where the first service's real servers are."""
    first = next(iter(lab.virtual_servers))
    return lab.directors_interface_on(lab.network_of(first))


def syncs_connections(lab: Lab) -> bool:
    """Whether the directors run connection sync: it needs source addresses of their own."""
    return lab.directors.connection_sync and lab.directors.source_addresses == "own"


def _netmask(prefix: int) -> str:
    return str(IPv4Network((0, prefix)).netmask)


def _sorry_addresses(lab: Lab) -> dict[str, str]:
    """Virtual server to the address of its sorry server on the real servers' network."""
    found = {}
    for name, server in lab.virtual_servers.items():
        if server.sorry_server:
            address = lab.address_of(server.sorry_server, lab.network_of(name))
            found[name] = str(address.ip) if address else ""
    return found


def context(lab: Lab) -> dict[str, Any]:
    """What the template needs beside the lab."""
    directors = list(lab.nodes_of(Kind.DIRECTOR))
    return {
        "lab": lab,
        "vrrp": lab.directors.vrrp,
        "track": lab.directors.track,
        "own_sources": lab.directors.source_addresses == "own",
        "directors": directors,
        "sources": {director: sources(lab, director) for director in directors},
        "advert_sources": {director: advert_sources(lab, director) for director in directors},
        "checkers": _CHECKERS,
        "netmask": _netmask,
        "sorry_address": _sorry_addresses(lab),
        "watches": watches(lab),
        "instance_watches": instance_watches(lab),
        "group_watches": group_watches(lab),
        "interface_of": {
            name: lab.directors_interface_on(instance.network)
            for name, instance in lab.vrrp_instances.items()
        },
    }


def keepalived_conf(lab: Lab) -> str:
    """The text of /etc/keepalived/keepalived.conf."""
    return render(TEMPLATE, context(lab))
