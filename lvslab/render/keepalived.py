"""keepalived.conf: one file for all directors (keepalived.conf(5), 2.2.7 and 2.3.3)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from lvslab.model.family import IPV4, IPV6, Address, AddressInterface, link_local
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
    "script": "MISC_CHECK",
}
_ASKED_BY_ARP = 8
"""At most this many real servers of a network are asked by ARP: one answer is enough."""


@dataclass(frozen=True)
class OwnAddress:
    """An address of a director's own on an interface."""

    interface: str
    address: AddressInterface


@dataclass(frozen=True)
class Watch:
    """A network that the directors watch: the interface, and who should answer.

    `coming` are the IPv6 addresses that keepalived may put on the interface.
    """

    network: str
    interface: str
    addresses: tuple[Address, ...]
    coming: tuple[Address, ...] = ()


def sources(lab: Lab, director: str) -> list[OwnAddress]:
    """The director's own addresses on the cluster's interfaces."""
    interfaces = lab.nodes[director].interfaces.items()
    return [
        OwnAddress(interface, address)
        for interface, network in interfaces
        for address in lab.addresses_of(director, network)
    ]


def advert_sources(lab: Lab, director: str) -> dict[str, IPv4Address]:
    """IPv4 VRRP instance to the source address of the director's adverts (mcast_src_ip).

    Without one an instance on an interface that has no address is in FAULT. It must never
    be a VIP: a receiver that owns the sender's address drops the advert. A director without
    an address on the network gets a link-local one of its own (RFC 3927), used for nothing else.
    IPv6 adverts have the interface's link-local address (RFC 5798, 5.1.2.1), which keepalived
    takes by itself.
    """
    fallback = IPv4Address(f"169.254.{lab.number}.{lab.node_numbers[director]}")
    found = {}
    for name, instance in lab.vrrp_instances.items():
        if instance.family is IPV4:
            own = lab.nodes[director].address_on(instance.network, IPV4)
            found[name] = own if isinstance(own, IPv4Address) else fallback
    return found


def virtual_addresses(lab: Lab, instance: str) -> list[str]:
    """What an instance's virtual_ipaddress has, the first as RFC 5798, 5.2.9, asks.

    An IPv6 address is deprecated (RFC 4862, 5.5.4): the director's own packets have its own address
    for their source, as with IPv4.
    """
    this = lab.vrrp_instances[instance]
    address = str(lab.instance_interface(instance))
    if this.family is IPV4:
        return [address]
    return [str(link_local(this.router_id)), f"{address} preferred_lft 0"]


def watches(lab: Lab) -> dict[str, Watch]:
    """The networks that the directors watch, by name of the track file; none if that is off.

    On a backend network the real servers are asked, on any other the host and the directors'
    own addresses (nobody hears a director's question to itself, so the list is the same on
    all of them). A network where nobody could answer is not watched.
    """
    if not lab.directors.track.enabled:
        return {}
    behind: dict[str, list[Address]] = {}
    for name in lab.virtual_servers:
        there = behind.setdefault(lab.network_of(name), [])
        there += [a for a in lab.real_servers(name).values() if a not in there]
    found = {}
    for network in dict.fromkeys([*(i.network for i in lab.vrrp_instances.values()), *behind]):
        asked = behind.get(network, [])[:_ASKED_BY_ARP] or _neighbours(lab, network)
        if asked:
            interface = lab.directors_interface_on(network)
            watch = Watch(network, interface, tuple(asked), tuple(_coming(lab, network)))
            found[f"arp_{network}"] = watch
    return found


def _coming(lab: Lab, network: str) -> Iterator[Address]:
    """The IPv6 addresses of a network that VRRP moves."""
    for instance in lab.vrrp_instances.values():
        if instance.network == network and instance.family is IPV6:
            yield link_local(instance.router_id).ip
            yield instance.address


def _neighbours(lab: Lab, network: str) -> list[Address]:
    """The host and, if they have addresses of their own, the directors on a network."""
    found = list(lab.networks[network].hosts)
    if lab.directors.source_addresses == "own":
        for director in lab.nodes_of(Kind.DIRECTOR).values():
            found += director.addresses_on(network)
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


def sync_group(lab: Lab) -> str:
    """The multicast group of connection sync, if it is not the kernel's own (224.0.0.81)."""
    first = next(iter(lab.virtual_servers))
    speaks_ipv4 = IPV4 in lab.networks[lab.network_of(first)].families
    return "" if speaks_ipv4 else "ff02::81"


def syncs_connections(lab: Lab) -> bool:
    """Whether the directors run connection sync: it needs source addresses of their own."""
    return lab.directors.connection_sync and lab.directors.source_addresses == "own"


def _granularity(lab: Lab) -> dict[str, str]:
    """Virtual server with persistence to how alike clients are: a netmask, or IPv6's prefix."""
    found = {}
    for name, server in lab.virtual_servers.items():
        if server.persistence:
            family = lab.family_of(name)
            prefix = server.persistence.prefix or family.bits
            mask = str(IPv4Network((0, prefix)).netmask) if family is IPV4 else str(prefix)
            found[name] = mask
    return found


def _sorry_addresses(lab: Lab) -> dict[str, str]:
    """Virtual server to the address of its sorry server on the real servers' network."""
    found = {}
    for name, server in lab.virtual_servers.items():
        if server.sorry_server:
            network, family = lab.network_of(name), lab.family_of(name)
            found[name] = str(lab.nodes[server.sorry_server].address_on(network, family))
    return found


def _pattern(content: str) -> str:
    """A regular expression that finds a text (pcre2pattern(3)): no sign has a meaning in `[]`."""
    return re.sub(r"[.()+*?]", r"[\g<0>]", content)


def _script(lab: Lab, virtual_server: str, address: Address) -> str:
    """The command line of a check by script, for one real server."""
    line = " ".join(lab.virtual_servers[virtual_server].check.command)
    port = str(lab.port_of(virtual_server))
    return line.replace("{address}", str(address)).replace("{port}", port)


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
        "pattern": _pattern,
        "script": _script,
        "granularity": _granularity(lab),
        "virtual_addresses": {name: virtual_addresses(lab, name) for name in lab.vrrp_instances},
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
