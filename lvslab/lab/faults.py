"""Faults of a running lab: made, listed, healed.

The state of machines, of the wires' ends and of systemd in the node is asked for. Two faults are
kept in the lab's state: a pulled cable, because QEMU does not report it, and a stopped service,
which is a fault only because somebody stopped it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lvslab.core.errors import InputError, StageError
from lvslab.lab import network
from lvslab.lab.cluster import Cluster

FaultKind = Literal[
    "off", "paused", "disk full", "unreachable", "carrier", "silent", "multicast", "service"
]

_WORDS: dict[str, str] = {
    "off": "{node} is off",
    "paused": "{node} is paused",
    "disk full": "{node} is paused, because the disk of this host is full",
    "unreachable": "{node}: its host does not answer",
    "carrier": "{node} {what}: cable pulled",
    "silent": "{node} {what}: frames dropped, link up",
    "multicast": "{node} {what}: hears no VRRP",
    "service": "{node}: {what} stopped",
}


@dataclass(frozen=True, order=True)
class Fault:
    """Something broken on purpose: `what` is the interface or the service."""

    kind: FaultKind
    node: str
    what: str = ""

    def __str__(self) -> str:
        return _WORDS[self.kind].format(node=self.node, what=self.what)


def broken(cluster: Cluster) -> list[Fault]:
    """Every fault at this moment."""
    return sorted(_machines(cluster) + _ports(cluster) + _kept(cluster))


def cut(cluster: Cluster, node: str, interface: str, silent: bool = False) -> None:
    """Pull a node's cable (the guest sees its carrier go), or lose all frames with the link up."""
    _demand_card(cluster, node, interface)
    if silent:
        cluster.engine.carry(node, interface, False)
    else:
        cluster.engine.plug(node, interface, False)
        _keep(cluster, [*_kept(cluster), Fault("carrier", node, interface)])


def deafen(cluster: Cluster, nodes: Sequence[str]) -> None:
    """Keep nodes from hearing others' adverts on every network; unicast still works.

    Two directors that are both deaf are a split brain.
    """
    for node in nodes:
        for interface in network.wired_interfaces(cluster.lab, node):
            cluster.engine.hear(node, interface, False)


def stop_service(cluster: Cluster, node: str, service: str) -> None:
    """Stop a systemd service of a node. Raises StageError if systemd refuses."""
    cluster.run(node, ["systemctl", "stop", service], timeout=60)
    _keep(cluster, [*_kept(cluster), Fault("service", node, service)])


def heal(cluster: Cluster, node: str | None = None, interface: str | None = None) -> list[Fault]:
    """Heal every fault, or those of one node or interface, and return what was healed.

    A node that is off is started (it boots, and starts its services), one that is paused continues.
    Raises StageError, after all else is healed, for a node whose host does not answer.
    """
    chosen = [
        fault
        for fault in broken(cluster)
        if node in (None, fault.node) and interface in (None, fault.what)
    ]
    for fault in sorted(chosen, key=lambda fault: fault.kind == "unreachable"):
        # a node that was off starts its services by itself
        if fault.kind != "service" or fault in _kept(cluster):
            _heal_one(cluster, fault)
    return chosen


def start(cluster: Cluster, node: str) -> bool:
    """Let a node run that is off or paused; whether it boots now."""
    state = cluster.node_state(node)
    if state == "off":
        cluster.launch(node)
        reapply(cluster, node)
    elif state != "running":
        cluster.resume(node)
    return state == "off"


def reapply(cluster: Cluster, node: str) -> None:
    """Pull the cables that are out on a node whose QEMU was started again.

    Those that its .vmx has not connected, and those that were pulled before.
    """
    for nic in cluster.machine(node).nics:
        if not nic.connected:
            cluster.engine.plug(node, nic.interface, False)
    for fault in _kept(cluster):
        if fault.node == node and fault.kind == "carrier":
            cluster.engine.plug(node, fault.what, False)
    _keep(cluster, [f for f in _kept(cluster) if (f.kind, f.node) != ("service", node)])


def forget(cluster: Cluster) -> None:
    """Heal what a checkpoint does not hold (cables, ports) before its nodes continue."""
    for fault in _kept(cluster):
        if fault.kind == "carrier":
            cluster.engine.plug(fault.node, fault.what, True)
    _keep(cluster, [])
    for fault in _ports(cluster):
        _heal_one(cluster, fault)


def _heal_one(cluster: Cluster, fault: Fault) -> None:
    if fault.kind == "unreachable":
        raise StageError(
            f"its host {cluster.engine.place(fault.node)} does not answer",
            where=fault.node,
            hint="start that host again, then: lab heal",
        )
    if fault.kind in ("off", "paused", "disk full"):
        start(cluster, fault.node)
    elif fault.kind == "silent":
        cluster.engine.carry(fault.node, fault.what, True)
    elif fault.kind == "multicast":
        cluster.engine.hear(fault.node, fault.what, True)
    else:
        if fault.kind == "carrier":
            cluster.engine.plug(fault.node, fault.what, True)
        else:
            cluster.run(fault.node, ["systemctl", "start", fault.what], timeout=60)
        _keep(cluster, [other for other in _kept(cluster) if other != fault])


def _machines(cluster: Cluster) -> list[Fault]:
    states = {node: cluster.node_state(node) for node in cluster.lab.nodes}
    return [Fault(state, node) for node, state in states.items() if state != "running"]


def _ports(cluster: Cluster) -> list[Fault]:
    found = []
    for (node, interface), port in cluster.engine.ports().items():
        if not port.carries:
            found.append(Fault("silent", node, interface))
        if not port.hears:
            found.append(Fault("multicast", node, interface))
    return found


def _kept(cluster: Cluster) -> list[Fault]:
    return [Fault(*entry) for entry in cluster.state.load("faults") or []]


def _keep(cluster: Cluster, found: list[Fault]) -> None:
    entries = sorted({(fault.kind, fault.node, fault.what) for fault in found})
    cluster.state.save("faults", entries)


def _demand_card(cluster: Cluster, node: str, interface: str) -> None:
    cluster.files(node)
    wired = network.wired_interfaces(cluster.lab, node)
    if interface not in wired:
        raise InputError(
            f"{node} has no interface {interface} on a lab network",
            hint="it has: " + ", ".join(f"{name} ({net})" for name, net in wired.items()),
        )
