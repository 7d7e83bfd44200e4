"""Rules of networks and addresses."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from lvslab.model.family import IPV4, IPV6, Address, Cidr, family_of, of_family
from lvslab.model.lab import NAT_NETWORK, Lab
from lvslab.model.problems import Place, Violation, dotted
from lvslab.model.rules.registry import rule, rule_of_a_whole_lab, warning


@rule
def networks_have_a_cidr_or_dhcp(lab: Lab) -> Iterator[Violation]:
    """A host-only network has a cidr; a nat network has neither cidr nor host."""
    for name, network in lab.networks.items():
        path: Place = ("networks", name)
        if network.kind == "host-only" and not network.cidrs:
            right = "add `cidr:`, or `kind: nat` if it is the way out"
            yield Violation(path, f"{name} is a host-only network without a cidr", right, True)
        for key in ("cidr", "host"):
            if network.kind == "nat" and getattr(network, f"{key}s"):
                what = f"{name} is a nat network, VMware gives it its addresses"
                yield Violation((*path, key), what, f"remove `{key}`", True)


@rule
def one_nat_network(lab: Lab) -> Iterator[Violation]:
    """VMware Workstation on Windows has one nat network."""
    first, *others = [n for n, network in lab.networks.items() if network.kind == "nat"] or [""]
    for name in others:
        what = f"{name} and {first} are both nat networks, and VMware has only one"
        yield Violation(
            ("networks", name), what, f"use {first} for both, or make it host-only", True
        )


@warning
def vmware_s_nat_stays(lab: Lab) -> Iterator[Violation]:
    """VMnet8 has VMware's NAT on every fresh host, and other machines go out through it."""
    network = lab.networks.get(NAT_NETWORK)
    if network and network.kind == "host-only":
        free = next(f"VMnet{n}" for n in range(2, 20) if f"VMnet{n}" not in lab.networks)
        what = f"{NAT_NETWORK} is host-only here, and VMware's own NAT network on most hosts"
        right = (
            f"use another such as {free}: networks.sh and networks.ps1 do not change a network "
            "that has NAT"
        )
        yield Violation(("networks", NAT_NETWORK), what, right, True)


def placed(path: Place, written: Any) -> Iterator[tuple[Place, Any]]:
    """The values that are written at a path, one or a list, each with its place."""
    if isinstance(written, tuple):
        yield from (((*path, index), value) for index, value in enumerate(written))
    elif written is not None:
        yield path, written


def _cidrs(lab: Lab) -> Iterator[tuple[Place, str, Cidr]]:
    """Every network of the lab in each of its families: where it is, its name, what it is."""
    for name, network in lab.networks.items():
        for path, cidr in placed(("networks", name, "cidr"), network.cidr):
            yield path, name, cidr


@rule
def networks_are_private(lab: Lab) -> Iterator[Violation]:
    """A lab's networks are private (RFC 1918; RFC 4193) and have room for its machines."""
    for path, name, cidr in _cidrs(lab):
        family = family_of(cidr)
        right = f"use a part of {family.private_words}"
        if cidr.is_link_local:
            what = f"{name}'s network {cidr} is link-local: every interface has such an address"
            yield Violation(path, what, right)
        elif cidr.is_multicast:
            yield Violation(path, f"{name}'s network {cidr} is for multicast", right)
        elif not any(_is_within(cidr, private) for private in family.private):
            yield Violation(path, f"{name}'s network {cidr} is not private", right)
        elif cidr.prefixlen > family.smallest:
            usual = 24 if family is IPV4 else 64
            right = f"make it /{family.smallest} or larger, usually /{usual}"
            yield Violation(path, f"{name}'s network {cidr} has no room for a cluster", right)


def _is_within(inner: Cidr, outer: Cidr) -> bool:
    return inner.network_address in outer and inner.prefixlen >= outer.prefixlen


@rule
def networks_do_not_overlap(lab: Lab) -> Iterator[Violation]:
    """Two networks have no address in common."""
    for (_, first, a), (path, second, b) in combinations(_cidrs(lab), 2):
        if first != second and (_is_within(a, b) or _is_within(b, a)):
            what = f"{second}'s network {b} overlaps {first}'s ({a})"
            yield Violation(path, what, "give each network its own range")


def addresses(lab: Lab) -> Iterator[tuple[Place, str, Address, str]]:
    """Every address of the lab: where it is, whose it is, the address, its network."""
    for name, network in lab.networks.items():
        for path, address in placed(("networks", name, "host"), network.host):
            yield path, "the host", address, name
    for name, node in lab.nodes.items():
        for interface, written in node.addresses.items():
            if interface in node.interfaces:
                for path, address in placed(("nodes", name, "addresses", interface), written):
                    yield path, f"{name}'s {interface}", address, node.interfaces[interface]
    for name, instance in lab.vrrp_instances.items():
        yield ("vrrp_instances", name, "address"), name, instance.address, instance.network


@rule
def addresses_are_for_one_machine(lab: Lab) -> Iterator[Violation]:
    """Link-local and multicast addresses are nobody's to give; a zone is only of this machine."""
    for path, owner, address, _ in addresses(lab):
        right = f"use one of the network's own, a part of {family_of(address).private_words}"
        if address.is_multicast:
            what = f"{dotted(path)}: {address} is a multicast address, and {owner} is one machine"
            yield Violation(path, what, right)
        elif address.is_link_local:
            what = f"{dotted(path)}: {address} is link-local, and the machines make such themselves"
            yield Violation(path, what, right)
        elif getattr(address, "scope_id", None):
            what = f"{dotted(path)}: {address} names an interface, as only link-local addresses do"
            yield Violation(path, what, "write it without %")


@rule
def addresses_are_unique(lab: Lab) -> Iterator[Violation]:
    """No address appears twice, whether the host's, a node's or a VRRP instance's."""
    owners: dict[Address, str] = {}
    for path, owner, address, _ in addresses(lab):
        if address in owners:
            what = f"{dotted(path)}: {address} already belongs to {owners[address]}"
            yield Violation(path, what, "give each its own address")
        else:
            owners[address] = owner


@rule
def addresses_are_in_their_network(lab: Lab) -> Iterator[Violation]:
    """An address lies in its network and is neither the first nor, of IPv4, the last of it.

    The first of an IPv6 network means its routers, whoever they are (RFC 4291, 2.6.1).
    """
    for path, _, address, network in addresses(lab):
        family = family_of(address)
        cidr = of_family(lab.networks[network].cidrs, family)
        if (
            cidr is None
            or cidr.prefixlen > family.smallest
            or address.is_link_local
            or address.is_multicast
        ):
            continue
        right = f"use one from {cidr[1]} to {cidr[-2]}"
        if address not in cidr:
            what = f"{dotted(path)}: {address} is outside {network} ({cidr})"
            yield Violation(path, what, right)
        elif address == cidr.network_address and family is IPV6:
            what = f"{dotted(path)}: {address} means all routers of {network} ({cidr})"
            yield Violation(path, what, right)
        elif family is IPV4 and address in (cidr.network_address, cidr.broadcast_address):
            kind = "network" if address == cidr.network_address else "broadcast"
            what = f"{dotted(path)}: {address} is the {kind} address of {network} ({cidr})"
            yield Violation(path, what, right)


@rule_of_a_whole_lab
def the_client_has_an_address(lab: Lab) -> Iterator[Violation]:
    """The host is the client, so it has an address on the network of the VIPs."""
    if not any(network.hosts for network in lab.networks.values()):
        right = "add `host:` to the network that the virtual servers' addresses are on"
        yield Violation(
            ("networks",), "the host has no address, so there is no client", right, True
        )


@rule
def the_client_is_on_one_network(lab: Lab) -> Iterator[Violation]:
    """With two `host` addresses it would not be clear where the client is."""
    hosts = [n for n, v in lab.networks.items() if v.hosts and v.kind == "host-only"]
    first, *others = hosts or [""]
    for name in others:
        what = f"the host, which is the client, already has an address on {first}"
        yield Violation(("networks", name, "host"), what, "keep one of the two", True)
