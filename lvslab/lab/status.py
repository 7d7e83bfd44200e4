"""The state of the lab at one moment: machines, owners, tables, adverts, faults."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from typing import Any

from lvslab.core.errors import StageError
from lvslab.lab import checkpoint, faults, wire
from lvslab.lab.cluster import Cluster
from lvslab.model.lab import Lab
from lvslab.model.role import Kind

_ADVERTS = 3  # listen for as many intervals
_LEAST_SECONDS = 1.0


@dataclass(frozen=True)
class NodeStatus:
    """A node: whether it runs and answers, its lab addresses, and on a director its IPVS table.

    `host` is the libvirt host that it is on; empty for this one.
    """

    name: str
    role: str
    state: str
    answers: bool
    addresses: dict[str, list[str]]
    ipvs: list[str]
    host: str


@dataclass(frozen=True)
class InstanceStatus:
    """A VRRP instance: who holds its address, and whose adverts are on the wire.

    `advertised_by` is None where the wire cannot be heard.
    """

    name: str
    address: str
    network: str
    expected: str
    held_by: list[str]
    advertised_by: list[str] | None
    adverts: int

    @property
    def ok(self) -> bool:
        """Whether exactly the preferred director holds the address, and advertises it if heard."""
        return self.held_by == [self.expected] and self.advertised_by in (None, [self.expected])


@dataclass(frozen=True)
class Status:
    """Everything that `lab status` shows."""

    lab: str
    nodes: list[NodeStatus]
    instances: list[InstanceStatus]
    broken: list[str]
    checkpoints: dict[str, str]

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def look(cluster: Cluster) -> Status:
    """Ask nodes, bridges and wires; takes as long as three adverts."""
    lab = cluster.lab
    seconds = max(_LEAST_SECONDS, _ADVERTS * lab.directors.vrrp.advert_seconds)
    with wire.listening(lab, cluster.namespace) as tap:
        start = time.monotonic()
        nodes = list(cluster.each(list(lab.nodes), lambda node: _node(cluster, node)).values())
        time.sleep(max(0.0, start + seconds - time.monotonic()))
    return Status(
        lab.name,
        nodes,
        _instances(lab, nodes, tap),
        [str(fault) for fault in faults.broken(cluster)],
        checkpoint.names(cluster),
    )


def _node(cluster: Cluster, name: str) -> NodeStatus:
    role, state = cluster.lab.nodes[name].role, cluster.node_state(name)
    host = cluster.engine.place(name)
    if state != "running":
        return NodeStatus(name, str(role), state, False, {}, [], host)
    try:
        links = json.loads(cluster.run(name, ["ip", "-json", "address"], timeout=10))
        table = ""
        if name in cluster.lab.nodes_of(Kind.DIRECTOR):
            table = cluster.run(name, ["ipvsadm", "-Ln"], timeout=10)
    except StageError:
        return NodeStatus(name, str(role), state, False, {}, [], host)
    found = {
        link["ifname"]: [
            f"{a['local']}/{a['prefixlen']}" for a in link["addr_info"] if a.get("scope") != "link"
        ]
        for link in links
        if link and link["ifname"] in cluster.lab.nodes[name].interfaces
    }
    return NodeStatus(name, str(role), state, True, found, table.splitlines()[2:], host)


def _instances(lab: Lab, nodes: list[NodeStatus], tap: wire.Tap) -> list[InstanceStatus]:
    adverts = tap.adverts()
    heard = wire.timeline(lab, adverts)
    owners = wire.owners(lab, adverts, 0)
    return [
        InstanceStatus(
            name,
            str(lab.instance_interface(name)),
            this.network,
            lab.owners(name)[0],
            [
                node.name
                for node in nodes
                if str(lab.instance_interface(name)) in sum(node.addresses.values(), [])
            ],
            owners[name] if this.network in tap.networks else None,
            sum(1 for _, instance, _ in heard if instance == name),
        )
        for name, this in lab.vrrp_instances.items()
    ]
