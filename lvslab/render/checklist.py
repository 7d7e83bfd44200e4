"""What the article's checklist expects on each node and on the client, as plain values.

`labcheck` (roles/common/files/usr/local/bin/labcheck) compares them with what it finds; it
is the same program on a node, in `lab check` and in the tests.
"""

from __future__ import annotations

import json
from typing import Any

from lvslab.model.lab import Lab, Role

Facts = dict[str, Any]

_KERNEL = {"net.ipv4.ip_forward": "1", "net.ipv4.conf.all.rp_filter": "0"}


def expectations(lab: Lab) -> Facts:
    """The facts that hold while all is well: `nodes` by name, and the `client`."""
    nodes = {}
    for name, node in lab.nodes.items():
        facts = _director(lab, name) if node.role == Role.DIRECTOR else _real_server(lab, name)
        nodes[name] = {"role": str(node.role), **facts}
    return {"nodes": nodes, "client": _client(lab)}


def text(lab: Lab) -> str:
    """`expectations` as the text of /etc/lvslab/checklist.json."""
    return json.dumps(expectations(lab), indent=1)


def _director(lab: Lab, name: str) -> Facts:
    return {
        "vrrp": _instances(lab),
        "virtual_servers": _virtual_servers(lab, name),
        "kernel": _KERNEL | {f"net.ipv4.conf.{i}.rp_filter": "0" for i in _wired(lab, name)},
        "interfaces": {
            interface: {
                "network": network,
                "own": _own(lab, name, network) if _has_sources(lab) else None,
                "vrrp": [
                    str(lab.instance_interface(instance))
                    for instance, this in lab.vrrp_instances.items()
                    if this.network == network
                ],
                "neighbours": _neighbours(lab, name, network),
            }
            for interface, network in _wired(lab, name).items()
        },
    }


def _real_server(lab: Lab, name: str) -> Facts:
    interfaces, rules, tables = {}, [], {}
    for interface, network in _wired(lab, name).items():
        interfaces[interface] = {
            "network": network,
            "own": _own(lab, name, network),
            "vrrp": [],
            "neighbours": _neighbours(lab, name, network),
        }
        for table, this in lab.tables.items():
            if this.network == network and name in _behind(lab, table):
                cidr, gateway = str(lab.cidr(network)), lab.vrrp_instances[this.via].address
                rules.append({"from": cidr, "table": table})
                tables[table] = [
                    {"to": cidr, "via": None, "dev": interface},
                    {"to": "default", "via": str(gateway), "dev": interface},
                ]
    served = lab.service_ports
    return {"interfaces": interfaces, "rules": rules, "tables": tables, "serves": served}


def _client(lab: Lab) -> Facts:
    network = lab.client_network
    return {
        "role": "client",
        "network": network,
        "address": f"{lab.networks[network].host}/{lab.cidr(network).prefixlen}",
        "vips": [fact for fact in _instances(lab) if fact["network"] == network],
        "services": [
            {
                "url": f"http://{lab.vrrp_instances[server.instance].address}:{server.port}/",
                "real_servers": list(lab.real_servers(name)),
            }
            for name, server in lab.virtual_servers.items()
        ],
    }


def _instances(lab: Lab) -> list[Facts]:
    return [
        {
            "instance": name,
            "address": str(lab.instance_interface(name)),
            "interface": lab.interface_on(Role.DIRECTOR, this.network),
            "network": this.network,
            "owner": lab.owners(name)[0],
        }
        for name, this in lab.vrrp_instances.items()
    ]


def _virtual_servers(lab: Lab, name: str) -> list[Facts]:
    """What is in a director's table: the services whose real servers it can reach."""
    return [
        {
            "service": f"{lab.vrrp_instances[this.instance].address}:{this.port}",
            "scheduler": this.scheduler,
            "real_servers": [
                f"{address}:{this.port}"
                for server, address in lab.real_servers(service).items()
                if this.weights.get(server, 1)
            ],
        }
        for service, this in lab.virtual_servers.items()
        if _reaches(lab, name, lab.tables[this.table].network)
    ]


def _behind(lab: Lab, table: str) -> set[str]:
    servers = [name for name, server in lab.virtual_servers.items() if server.table == table]
    return {node for server in servers for node in lab.real_servers(server)}


def _neighbours(lab: Lab, name: str, network: str) -> list[str]:
    """Addresses that must answer on a network if the interface is really on it."""
    if lab.nodes[name].role == Role.REAL_SERVER:
        return [
            str(lab.vrrp_instances[table.via].address)
            for table in lab.tables.values()
            if table.network == network
        ]
    servers = [lab.address_of(server, network) for server in lab.nodes_of(Role.REAL_SERVER)]
    if found := [str(address.ip) for address in servers if address]:
        return found
    others = [
        lab.address_of(node, network)
        for node in lab.nodes_of(Role.DIRECTOR)
        if node != name and _has_sources(lab)
    ]
    host = lab.networks[network].host
    return [str(a.ip) for a in others if a] + ([str(host)] if host else [])


def _wired(lab: Lab, name: str) -> dict[str, str]:
    return {
        interface: network
        for interface, network in sorted(lab.nodes[name].interfaces.items())
        if lab.networks[network].kind == "host-only"
    }


def _own(lab: Lab, name: str, network: str) -> str | None:
    address = lab.address_of(name, network)
    return str(address) if address else None


def _reaches(lab: Lab, director: str, network: str) -> bool:
    """Whether a director has an address on a network: one of its own, or one from VRRP."""
    there = (name for name, this in lab.vrrp_instances.items() if this.network == network)
    return _has_sources(lab) or any(lab.owners(name)[0] == director for name in there)


def _has_sources(lab: Lab) -> bool:
    return lab.directors.source_addresses == "own"
