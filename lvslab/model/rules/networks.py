"""Rules of networks and addresses."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations

from lvslab.model.lab import NAT_NETWORK, Lab
from lvslab.model.problems import Place, Violation, dotted, listed
from lvslab.model.rules.registry import rule, rule_of_a_whole_lab, warning

PRIVATE = tuple(IPv4Network(n) for n in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
SMALLEST = 29
"""The longest prefix of a network: six addresses, as a VIP, two directors and some servers need."""


@rule
def networks_have_a_cidr_or_dhcp(lab: Lab) -> Iterator[Violation]:
    """A host-only network has a cidr; a nat network has neither cidr nor host."""
    for name, network in lab.networks.items():
        path: Place = ("networks", name)
        if network.kind == "host-only" and network.cidr is None:
            right = "add `cidr:`, or `kind: nat` if it is the way out"
            yield Violation(path, f"{name} is a host-only network without a cidr", right, True)
        for key in ("cidr", "host"):
            if network.kind == "nat" and getattr(network, key) is not None:
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


@rule
def networks_are_private(lab: Lab) -> Iterator[Violation]:
    """A lab's networks are private (RFC 1918, section 3) and have room for its machines."""
    for name, network in lab.networks.items():
        if (cidr := network.cidr) is None:
            continue
        path = ("networks", name, "cidr")
        if not any(cidr.subnet_of(private) for private in PRIVATE):
            right = f"use a part of {listed(PRIVATE)}"
            yield Violation(path, f"{name}'s network {cidr} is not private", right)
        elif cidr.prefixlen > SMALLEST:
            right = f"make it /{SMALLEST} or larger, usually /24"
            yield Violation(path, f"{name}'s network {cidr} has no room for a cluster", right)


@rule
def networks_do_not_overlap(lab: Lab) -> Iterator[Violation]:
    """Two networks have no address in common."""
    for (first, a), (second, b) in combinations(lab.networks.items(), 2):
        if a.cidr and b.cidr and a.cidr.overlaps(b.cidr):
            what = f"{second}'s network {b.cidr} overlaps {first}'s ({a.cidr})"
            yield Violation(("networks", second, "cidr"), what, "give each network its own range")


def _addresses(lab: Lab) -> Iterator[tuple[Place, str, IPv4Address, str]]:
    """Every address of the lab: where it is, whose it is, the address, its network."""
    for name, network in lab.networks.items():
        if network.host:
            yield ("networks", name, "host"), "the host", network.host, name
    for name, node in lab.nodes.items():
        for interface, address in node.addresses.items():
            if interface in node.interfaces:
                path = ("nodes", name, "addresses", interface)
                yield path, f"{name}'s {interface}", address, node.interfaces[interface]
    for name, instance in lab.vrrp_instances.items():
        yield ("vrrp_instances", name, "address"), name, instance.address, instance.network


@rule
def addresses_are_unique(lab: Lab) -> Iterator[Violation]:
    """No address appears twice, whether the host's, a node's or a VRRP instance's."""
    owners: dict[IPv4Address, str] = {}
    for path, owner, address, _ in _addresses(lab):
        if address in owners:
            what = f"{dotted(path)}: {address} already belongs to {owners[address]}"
            yield Violation(path, what, "give each its own address")
        else:
            owners[address] = owner


@rule
def addresses_are_in_their_network(lab: Lab) -> Iterator[Violation]:
    """An address lies in its network and is neither the first nor the last of it."""
    for path, _, address, network in _addresses(lab):
        cidr = lab.networks[network].cidr
        if cidr is None or cidr.prefixlen > SMALLEST:
            continue
        right = f"use one from {cidr[1]} to {cidr[-2]}"
        if address not in cidr:
            what = f"{dotted(path)}: {address} is outside {network} ({cidr})"
            yield Violation(path, what, right)
        elif address in (cidr.network_address, cidr.broadcast_address):
            kind = "network" if address == cidr.network_address else "broadcast"
            what = f"{dotted(path)}: {address} is the {kind} address of {network} ({cidr})"
            yield Violation(path, what, right)


@rule_of_a_whole_lab
def the_client_has_an_address(lab: Lab) -> Iterator[Violation]:
    """The host is the client, so it has an address on the network of the VIPs."""
    if not any(network.host for network in lab.networks.values()):
        right = "add `host:` to the network that the virtual servers' addresses are on"
        yield Violation(
            ("networks",), "the host has no address, so there is no client", right, True
        )


@rule
def the_client_is_on_one_network(lab: Lab) -> Iterator[Violation]:
    """With two `host` addresses it would not be clear where the client is."""
    hosts = [n for n, v in lab.networks.items() if v.host and v.kind == "host-only"]
    first, *others = hosts or [""]
    for name in others:
        what = f"the host, which is the client, already has an address on {first}"
        yield Violation(("networks", name, "host"), what, "keep one of the two", True)
