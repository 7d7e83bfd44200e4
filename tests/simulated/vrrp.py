"""Who is master of which VRRP instance, as keepalived decides it (RFC 5798; its vrrp_sync.c)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.simulated.blocks import Block
from tests.simulated.machine import Machine

_ROUNDS = 30


@dataclass(frozen=True)
class Instance:
    """A VRRP instance of a machine, as its running keepalived has it."""

    machine: str
    name: str
    group: str
    interface: str
    router_id: int
    priority: int
    source: str
    addresses: tuple[str, ...]


Hears = Callable[[Instance, Instance], bool]
"""Whether the adverts of the second reach the first."""


def instances(machine: Machine, silent: Callable[[str], bool]) -> list[Instance]:
    """The instances of a machine; `silent` says whether a track file is 1."""
    if machine.conf is None:
        return []
    groups = list(machine.conf.all("vrrp_sync_group"))
    weights = {b.words[1]: int(b.value("weight", "0")) for b in machine.conf.all("track_file")}
    found = []
    for block in machine.conf.all("vrrp_instance"):
        name = block.words[1]
        group = next((g for g in groups if name in g.names("group")), None)
        watched = [*block.names("track_file"), *(group.names("track_file") if group else [])]
        priority = int(block.value("priority", "100"))
        priority += sum(weights[file] for file in watched if silent(file))
        found.append(
            Instance(
                machine.name,
                name,
                group.words[1] if group else f"alone {name}",
                block.value("interface"),
                int(block.value("virtual_router_id")),
                max(1, priority),
                block.value("mcast_src_ip"),
                tuple(block.names("virtual_ipaddress")),
            )
        )
    return found


def masters(everybody: list[Instance], hears: Hears, down: set[Instance]) -> set[Instance]:
    """The instances that are master once nothing moves any more. `down`: in state FAULT.

    A group is master when all its members want to be, and backup as soon as one is not.
    """
    groups: dict[tuple[str, str], list[Instance]] = {}
    for this in everybody:
        groups.setdefault((this.machine, this.group), []).append(this)
    found: set[Instance] = set()
    for _ in range(_ROUNDS):
        before = found
        found = {
            member
            for members in groups.values()
            if all(m not in down and not _higher(m, before, hears) for m in members)
            for member in members
        }
        if found == before:
            return found
    raise AssertionError("the elections do not come to an end")


def _higher(this: Instance, masters: set[Instance], hears: Hears) -> bool:
    """Whether a master with a higher priority is heard, whose advert is valid."""
    return any(
        other.machine != this.machine
        and other.router_id == this.router_id
        and {a.split("/")[0] for a in other.addresses} == {a.split("/")[0] for a in this.addresses}
        and (other.priority, other.source) > (this.priority, this.source)
        and hears(this, other)
        for other in masters
    )


def checker(block: Block) -> str:
    """How a real server of keepalived.conf is checked."""
    kinds = ("TCP_CHECK", "HTTP_GET", "SSL_GET", "DNS_CHECK", "UDP_CHECK")
    return next(kind for kind in kinds if block.has(kind))
