"""A real server: static addresses, policy routing, and services behind virtual servers."""

from __future__ import annotations

from lvslab.model.family import IPV4, alone, family_of
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
    held = (address for node in lab.nodes_of(Kind.SERVER) for address in lab.held_by(node))
    return dict(_SILENT) if any(family_of(address) is IPV4 for address in held) else {}


def modules(lab: Lab, spec: RoleSpec) -> list[str]:
    """The role's, and what takes packets out of others (it makes the device tunl0)."""
    return [*spec.modules, *(["ipip"] if _tunnels(lab) else [])]


def _tunnels(lab: Lab) -> bool:
    return any(map(lab.tunnels_to, lab.nodes_of(Kind.SERVER)))


def facts(lab: Lab, node: str) -> Facts:
    """Interfaces, the rules and tables of its replies, and what it serves."""
    rules, tables = [], []
    networks = wired(lab, node)
    for interface, network in networks.items():
        for table, this in lab.tables.items():
            if this.network == network and node in _behind(lab, table):
                cidr = str(lab.cidr(network, lab.table_family(table)))
                gateway = lab.vrrp_instances[this.via].address
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
        "silent": [str(alone(address)) for address in lab.held_by(node)],
        "tunnel": lab.tunnels_to(node),
        "serves": _serves(lab, node),
    }


def _serves(lab: Lab, node: str) -> list[Facts]:
    """What a node serves on which port, and how it is asked, each once."""
    own = lab.services_of(node)
    wanted = {
        (service, port, lab.family_of(name).loopback, lab.asked_by(service, this.protocol))
        for name, this in lab.virtual_servers.items()
        if own.keys() >= set(this.services)
        for service, port in lab.ports_of(name).items()
    }
    return [
        {
            "service": service,
            "place": f"{loopback}:{port}",
            "probe": probe,
            "unit": own[service].unit,
        }
        for service, port, loopback, probe in sorted(wanted)
    ]


def _neighbours(lab: Lab, network: str) -> list[str]:
    """The gateways on a network; where there is none, the directors' own addresses."""
    gateways = [
        str(lab.vrrp_instances[table.via].address)
        for table in lab.tables.values()
        if table.network == network
    ]
    directors = lab.nodes_of(Kind.DIRECTOR).values()
    return gateways or [str(own) for each in directors for own in each.addresses_on(network)]


def _behind(lab: Lab, table: str) -> set[str]:
    servers = [name for name, server in lab.virtual_servers.items() if server.table == table]
    return {node for server in servers for node in lab.real_servers(server)}
