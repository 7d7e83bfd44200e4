"""A director: its addresses are keepalived's, it forwards, and it owns IPVS tables."""

from __future__ import annotations

from lvslab.model.family import Family, place
from lvslab.model.lab import Lab
from lvslab.model.role import Kind, RoleSpec
from lvslab.render.kinds.shared import Addresses, Facts, instances, interface_facts, wired

_KERNEL = {"net.ipv4.ip_forward": "1", "net.ipv4.conf.all.rp_filter": "0"}
_IPV6 = {"net.ipv6.conf.all.forwarding": "1"}


def addresses(lab: Lab, node: str) -> Addresses:
    """None: keepalived gives them."""
    return dict.fromkeys(lab.nodes[node].interfaces, ())


def modules(lab: Lab, spec: RoleSpec) -> list[str]:
    """The role's, and the schedulers of the lab."""
    schedulers = (f"ip_vs_{server.scheduler}" for server in lab.virtual_servers.values())
    return list(dict.fromkeys([*spec.modules, *schedulers]))


def kernel(lab: Lab) -> dict[str, str]:
    """The role's, and forwarding in the second family."""
    return dict(_IPV6) if lab.speaks_ipv6 else {}


def readers(lab: Lab) -> list[str]:
    """Every director: one file serves all, and each reads its own parts."""
    return list(lab.nodes_of(Kind.DIRECTOR))


def facts(lab: Lab, node: str) -> Facts:
    """VRRP, the IPVS tables, forwarding, interfaces."""
    networks = wired(lab, node)
    neighbours = {network: _neighbours(lab, node, network) for network in networks.values()}
    interfaces = interface_facts(lab, node, neighbours, own=_has_sources(lab))
    for these in interfaces.values():
        these["vrrp"] = [
            str(lab.instance_interface(instance))
            for instance, this in lab.vrrp_instances.items()
            if this.network == these["network"]
        ]
    return {
        "vrrp": instances(lab),
        "virtual_servers": _virtual_servers(lab, node),
        "kernel": _KERNEL | kernel(lab) | {f"net.ipv4.conf.{i}.rp_filter": "0" for i in networks},
        "interfaces": interfaces,
    }


def _virtual_servers(lab: Lab, node: str) -> list[Facts]:
    """What is in a director's table: the services whose real servers it can reach."""
    return [
        {
            "service": _table_entry(lab, service),
            "protocol": this.protocol,
            "scheduler": this.scheduler,
            "method": this.method,
            "real_servers": [
                place(address, 0 if this.also else lab.port_of(service))
                for server, address in lab.real_servers(service).items()
                if this.weights.get(server, 1)
            ],
        }
        for service, this in lab.virtual_servers.items()
        if _reaches(lab, node, lab.network_of(service), lab.family_of(service))
    ]


def _table_entry(lab: Lab, virtual_server: str) -> str:
    """What a virtual server is in the table: its address and port, or a mark."""
    mark = lab.mark_of(virtual_server)
    return f"mark {mark}" if mark else place(*lab.endpoint(virtual_server))


def _neighbours(lab: Lab, node: str, network: str) -> list[str]:
    """The real servers on a network; where there are none, the other directors and the host."""
    servers = lab.nodes_of(Kind.SERVER).values()
    if found := [str(address) for this in servers for address in this.addresses_on(network)]:
        return found
    others = [
        address
        for other, this in lab.nodes_of(Kind.DIRECTOR).items()
        if other != node and _has_sources(lab)
        for address in this.addresses_on(network)
    ]
    return list(map(str, [*others, *lab.networks[network].hosts]))


def _reaches(lab: Lab, director: str, network: str, family: Family) -> bool:
    """Whether a director has an address on a network: one of its own, or one from VRRP."""
    there = (
        name
        for name, this in lab.vrrp_instances.items()
        if this.network == network and this.family is family
    )
    return _has_sources(lab) or any(lab.owners(name)[0] == director for name in there)


def _has_sources(lab: Lab) -> bool:
    return lab.directors.source_addresses == "own"
