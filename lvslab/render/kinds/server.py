"""A real server: static addresses, policy routing, and services behind virtual servers."""

from __future__ import annotations

from lvslab.model.lab import Lab
from lvslab.model.role import Kind, RoleSpec
from lvslab.render.kinds.plain import readers
from lvslab.render.kinds.shared import Facts, interface_facts, static_addresses, wired

__all__ = ["addresses", "facts", "kernel", "modules", "readers"]

addresses = static_addresses
# An address of a service is on the loopback, and ARP answers for what is on the card that was asked
# alone (1), with the card's own address as the sender (2): ip-sysctl.
_SILENT = {"net.ipv4.conf.all.arp_ignore": "1", "net.ipv4.conf.all.arp_announce": "2"}


def kernel(lab: Lab) -> dict[str, str]:
    """Real servers that answer clients directly say nothing of the service's address."""
    return dict(_SILENT) if _direct(lab) else {}


def modules(lab: Lab, spec: RoleSpec) -> list[str]:
    """The role's, and what takes packets out of others (it makes the device tunl0)."""
    return [*spec.modules, *(["ipip"] if _tunnels(lab) else [])]


def _direct(lab: Lab) -> bool:
    return any(map(lab.answers_directly, lab.virtual_servers))


def _tunnels(lab: Lab) -> bool:
    return any(map(lab.tunnels_to, lab.nodes_of(Kind.SERVER)))


def facts(lab: Lab, node: str) -> Facts:
    """Interfaces, the rules and tables of its replies, and what it serves."""
    rules, tables = [], []
    networks = wired(lab, node)
    for interface, network in networks.items():
        for table, this in lab.tables.items():
            if this.network == network and node in _behind(lab, table):
                cidr, gateway = str(lab.cidr(network)), lab.vrrp_instances[this.via].address
                rules.append({"from": cidr, "table": table})
                routes = [
                    {"to": cidr, "via": None, "dev": interface},
                    {"to": "default", "via": str(gateway), "dev": interface},
                ]
                tables.append({"table": table, "routes": routes})
    neighbours = {network: _neighbours(lab, network) for network in networks.values()}
    return {
        "interfaces": interface_facts(lab, node, neighbours),
        "rules": rules,
        "tables": tables,
        "silent": [f"{address}/32" for address in lab.held_by(node)],
        "tunnel": lab.tunnels_to(node),
        "serves": _serves(lab, node),
    }


def _serves(lab: Lab, node: str) -> list[Facts]:
    """What a node serves on which port, and how it is asked, each once."""
    own = lab.services_of(node)
    wanted = {
        (service, port, lab.asked_by(service, this.protocol))
        for name, this in lab.virtual_servers.items()
        if own.keys() >= set(this.services)
        for service, port in lab.ports_of(name).items()
    }
    return [
        {"service": service, "port": port, "probe": probe, "unit": own[service].unit}
        for service, port, probe in sorted(wanted)
    ]


def _neighbours(lab: Lab, network: str) -> list[str]:
    """The gateways on a network; where there is none, the directors' own addresses."""
    gateways = [
        str(lab.vrrp_instances[table.via].address)
        for table in lab.tables.values()
        if table.network == network
    ]
    directors = (lab.address_of(node, network) for node in lab.nodes_of(Kind.DIRECTOR))
    return gateways or [str(address.ip) for address in directors if address]


def _behind(lab: Lab, table: str) -> set[str]:
    servers = [name for name, server in lab.virtual_servers.items() if server.table == table]
    return {node for server in servers for node in lab.real_servers(server)}
