"""Rules of nodes: names, roles, interfaces, addresses."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

from lvslab.model.family import family_of
from lvslab.model.lab import MAX_NODES, Lab
from lvslab.model.problems import Place, Violation, listed
from lvslab.model.role import Kind
from lvslab.model.rules.registry import rule, rule_of_a_whole_lab

RESERVED_HOSTS = {"localhost", "client", "unseeded", "base", "sha256sums"}

_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|clock\$|(com|lpt)[0-9\u00b9\u00b2\u00b3])")
""""Naming Files, Paths, and Namespaces" of Windows' documentation; clock$ in older Windows."""


def reserved_on_windows(name: str) -> bool:
    """Whether Windows takes a file's name for a device's or cannot have it.

    A device counts in any case and with any extension (`aux`, `Aux.iso`, `aux .tar.gz`).
    Windows removes dots and spaces at the end of a name.
    """
    stem = name.partition(".")[0].rstrip(" ").lower()
    return bool(_DEVICE.fullmatch(stem)) or name != name.rstrip(". ")


@rule
def not_too_many_nodes(lab: Lab) -> Iterator[Violation]:
    """A node's number is a byte of its MAC addresses."""
    for name in list(lab.nodes)[MAX_NODES : MAX_NODES + 1]:
        what = f"{name} is node {MAX_NODES + 1}"
        yield Violation(("nodes", name), what, f"a lab has at most {MAX_NODES} nodes", True)


@rule
def host_names_are_free(lab: Lab) -> Iterator[Violation]:
    """`localhost` is every machine, `client` the host, `unseeded` a machine without a seed.

    Of the artifacts an OVA is named by a role, VMware's folder of the base disks is `base`, and
    beside it is SHA256SUMS, which on Windows is the same as in small letters.
    """
    for name in sorted((RESERVED_HOSTS | set(lab.roles)) & set(lab.nodes)):
        what = f"{name} cannot be the name of a node, it has another meaning"
        yield Violation(("nodes", name), what, "choose another name, such as rs3", True)


@rule
def names_are_files_on_windows(lab: Lab) -> Iterator[Violation]:
    """A node's name is that of its folder and files, and most students unpack these on Windows."""
    for name in lab.nodes:
        if reserved_on_windows(name):
            what = f"{name} cannot be the name of a node, Windows has a device of this name"
            right = "choose another name, such as rs3, or nobody can unpack the lab there"
            yield Violation(("nodes", name), what, right, True)


@rule_of_a_whole_lab
def directors_and_servers_have_a_node(lab: Lab) -> Iterator[Violation]:
    """There is at least one director and one real server."""
    for kind, noun, role in (
        (Kind.DIRECTOR, "director", "director"),
        (Kind.SERVER, "real server", "real-server"),
    ):
        if not lab.nodes_of(kind):
            what = f"no node is a {noun}"
            yield Violation(("nodes",), what, f"add a node with `role: {role}`", True)


@rule
def interfaces_count_from_eth0(lab: Lab) -> Iterator[Violation]:
    """A machine's NICs are named in their order, so eth0, eth1, … have no gap."""
    for name, node in lab.nodes.items():
        right = "name the interfaces eth0, eth1, … in order"
        if not node.interfaces:
            path: Place = ("nodes", name, "interfaces")
            yield Violation(path, f"{name} has no interface", right)
        wanted = {f"eth{i}" for i in range(len(node.interfaces))}
        for interface in sorted(set(node.interfaces) - wanted):
            missing = min(wanted - set(node.interfaces))
            path = ("nodes", name, "interfaces", interface)
            yield Violation(path, f"{name} has {interface} but no {missing}", right, True)


@rule
def interfaces_are_on_different_networks(lab: Lab) -> Iterator[Violation]:
    """Two interfaces on one network would make the node's answers go either way."""
    for name, node in lab.nodes.items():
        seen: dict[str, str] = {}
        for interface, network in node.interfaces.items():
            if network in seen:
                what = f"{name} is on {network} with {seen[network]} and with {interface}"
                path = ("nodes", name, "interfaces", interface)
                yield Violation(path, what, "connect each interface to a network of its own")
            seen.setdefault(network, interface)


@rule
def a_role_has_one_wiring(lab: Lab) -> Iterator[Violation]:
    """All nodes of a role have the same interfaces on the same networks: they share an image.

    All directors have, whatever their role: they share one keepalived.conf.
    """
    groups = {
        name: lab.nodes_with(name) for name, role in lab.roles.items() if role.kind != Kind.DIRECTOR
    }
    groups["director"] = lab.nodes_of(Kind.DIRECTOR)
    for noun, nodes in groups.items():
        for first, name in product(list(nodes)[:1], list(nodes)[1:]):
            if nodes[name].interfaces != nodes[first].interfaces:
                wiring = listed(f"{i}: {n}" for i, n in nodes[first].interfaces.items())
                what = f"{name} is wired differently from {first}, and both are {noun}s"
                path = ("nodes", name, "interfaces")
                yield Violation(path, what, f"write {{{wiring}}} for both", True)


@rule
def addresses_have_an_interface(lab: Lab) -> Iterator[Violation]:
    """An address belongs to an interface of the node, on a network that the lab numbers."""
    for name, node in lab.nodes.items():
        for interface in node.addresses:
            path = ("nodes", name, "addresses", interface)
            if interface not in node.interfaces:
                have = listed(node.interfaces)
                right = f"its interfaces are {have}" if have else "it has no interface at all"
                yield Violation(path, f"{name} has no interface {interface}", right, True)
            elif lab.networks[node.interfaces[interface]].kind == "nat":
                what = f"{name}'s {interface} is on a nat network and gets its address by DHCP"
                yield Violation(path, what, "remove the address", True)


@rule
def directors_have_source_addresses(lab: Lab) -> Iterator[Violation]:
    """With `source_addresses: own`, a director has one on every network with a VRRP instance."""
    if lab.directors.source_addresses != "own":
        return
    used = dict.fromkeys(instance.network for instance in lab.vrrp_instances.values())
    used |= dict.fromkeys(this.network for this in lab.virtual_servers.values() if this.network)
    networks = [network for network in used if lab.networks[network].kind == "host-only"]
    for name in lab.nodes_of(Kind.DIRECTOR):
        for network in networks:
            right = "or write `source_addresses: none` under `directors`"
            yield from _lacking_address(lab, name, network, "source address", f", {right}")


@rule
def real_servers_have_addresses(lab: Lab) -> Iterator[Violation]:
    """A real server has an address on the network of every table, and of direct routing."""
    networks = {table.network: "which has a routing table" for table in lab.tables.values()}
    for service, this in lab.virtual_servers.items():
        if this.network and lab.networks[this.network].kind == "host-only":
            networks.setdefault(this.network, f"where the servers of {service} are")
    for name, node in lab.nodes_of(Kind.SERVER).items():
        for network, words in networks.items():
            if network in node.interfaces.values():
                yield from _lacking_address(lab, name, network, "address", "")
            else:
                what = f"{name} has no interface on {network}, {words}"
                path = ("nodes", name, "interfaces")
                yield Violation(path, what, f"connect an interface to {network}", True)


@rule
def hosts_have_addresses(lab: Lab) -> Iterator[Violation]:
    """A host has an address on each network of the cluster that it is on."""
    for name, node in lab.nodes_of(Kind.HOST).items():
        for network in node.interfaces.values():
            if lab.networks[network].kind == "host-only":
                yield from _lacking_address(lab, name, network, "address", "")


def _lacking_address(
    lab: Lab, name: str, network: str, noun: str, otherwise: str
) -> Iterator[Violation]:
    """No address at all on a network, or none of one of its families."""
    node, families = lab.nodes[name], lab.networks[network].families
    there = [interface for interface, behind in node.interfaces.items() if behind == network]
    own = [family_of(address) for address in node.addresses_on(network)]
    if there and not own:
        what = f"{name} has no {noun} on {network}"
        right = f"add `{there[0]}: …` to its addresses{otherwise}"
        yield Violation(("nodes", name, "addresses"), what, right, True)
    for family in families if there and own and set(own) <= set(families) else ():
        if family not in own:
            what = f"{name} has no {family} {noun} on {network}, which has an {family} network"
            right = f"write two addresses: `{there[0]}: [{node.addresses_on(network)[0]}, …]`"
            yield Violation(("nodes", name, "addresses", there[0]), what, right)
