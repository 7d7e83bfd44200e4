"""Rules of IPv4 and IPv6 beside each other: what must be of one family."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lvslab.model.family import IPV6, family_of
from lvslab.model.lab import Lab
from lvslab.model.problems import Place, Violation, listed
from lvslab.model.rules.networks import addresses, placed
from lvslab.model.rules.registry import rule


@rule
def one_value_of_each_family(lab: Lab) -> Iterator[Violation]:
    """A list is for two families: a network, a host or an interface has one value of each."""
    lists: list[tuple[Place, str, Any]] = []
    for name, network in lab.networks.items():
        lists.append((("networks", name, "cidr"), f"{name} has two {{}} networks", network.cidr))
        words = f"the host has two {{}} addresses on {name}"
        lists.append((("networks", name, "host"), words, network.host))
    for name, node in lab.nodes.items():
        for interface, written in node.addresses.items():
            place: Place = ("nodes", name, "addresses", interface)
            lists.append((place, f"{name}'s {interface} has two {{}} addresses", written))
    for place, words, written in lists:
        seen: dict[str, object] = {}
        for path, value in placed(place, written):
            family = family_of(value).name
            first = seen.setdefault(family, value)
            if path[-1] and first is not value:
                what = f"{words.format(family)}, {first} and {value}"
                yield Violation(path, what, "keep one of each family")


@rule
def addresses_have_a_network_of_their_family(lab: Lab) -> Iterator[Violation]:
    """An IPv6 address is on a network that has an IPv6 network, an IPv4 one likewise."""
    for path, owner, address, name in addresses(lab):
        family, network = family_of(address), lab.networks[name]
        if network.cidrs and family not in network.families:
            (own,) = network.families
            what = f"{owner} has the {family} address {address} on {name}, an {own} network"
            yield Violation(path, what, f"write an {own} address, or add an {family} network to it")


@rule
def a_service_has_one_family(lab: Lab) -> Iterator[Violation]:
    """The kernel changes no packet of one family into one of the other."""
    for name, server in lab.virtual_servers.items():
        family = lab.family_of(name)
        path: Place = ("virtual_servers", name)
        if server.method == "NAT" and server.table and lab.table_family(server.table) != family:
            other = lab.table_family(server.table)
            what = f"{name}: its address {server.instance} is {family}, and its table is {other}"
            fit = [table for table in lab.tables if lab.table_family(table) is family]
            right = f"{family} tables are {listed(fit)}" if fit else f"add a table for {family}"
            yield Violation((*path, "table"), what, right)
        behind = lab.networks[server.network].families if server.network else ()
        if lab.answers_directly(name) and behind and family not in behind:
            what = f"{name} is {family}, and {server.network} has no {family} network"
            right = f"add an {family} network to it, or name another"
            yield Violation((*path, "network"), what, right)
        if server.method == "TUN" and family is IPV6:
            what = f"{name} is {family}, and tunnelling is for IPv4 here"
            yield Violation((*path, "method"), what, "write `method: DR` or `NAT`")
        prefix = server.persistence and server.persistence.prefix
        if prefix and prefix > family.bits:
            what = f"{name}: a client's {family} address has {family.bits} bits, not {prefix}"
            place: Place = (*path, "persistence", "prefix")
            yield Violation(place, what, f"write {family.bits} or less")


@rule
def ipv6_has_version_3_and_source_addresses(lab: Lab) -> Iterator[Violation]:
    """VRRPv2 has IPv4 addresses only (RFC 3768); RFC 5798 has both families.

    A director without an address of its own would have no way to a real server but a VIP.
    """
    for name, instance in lab.vrrp_instances.items():
        if instance.family is not IPV6:
            continue
        path: Place = ("vrrp_instances", name, "address")
        if lab.directors.vrrp.version == 2:
            what = f"{name} has an IPv6 address, and VRRP version 2 knows only IPv4"
            yield Violation(path, what, "write `version: 3` under `directors.vrrp`")
        if lab.directors.source_addresses == "none":
            what = f"{name} has an IPv6 address, and `source_addresses: none` is for IPv4 alone"
            yield Violation(path, what, "write `source_addresses: own` under `directors`")
