"""What an experiment of `lab failover` is, and what its limits are made of.

Limits are promises of the product; bars are what the protocols need at least:
Master_Down_Interval = 3 x advert interval + skew, skew = (256 - priority) / 256 x advert
interval (RFC 5798, section 6.1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from lvslab.lab import faults
from lvslab.lab.cluster import Cluster
from lvslab.measure.watchers import Neighbours, Watcher
from lvslab.model.lab import HealthCheck, Lab

ALLOWANCE = 0.3
"""Seconds over what the protocols need: the way to the wire, and a client's next request."""

_LETTER_SECONDS = 1.0

Measure = Literal["gap", "settled", "healed", "back", "told", "slowest"]
Action = Callable[[Cluster], None]


@dataclass(frozen=True)
class Experiment:
    """A fault and what a client may see of it.

    `hits` are the virtual servers that may notice; every other may not lose one request.
    `measure` says what `limit` (seconds) bounds:

    - gap: the longest time without an answer;
    - settled: from the first lost request to the last;
    - healed: from the fault's end to the last lost request;
    - back: until `server` answers for every service;
    - told: until a client knows that no real server will answer;
    - slowest: the slowest page, less twice the median of the pages before the fault.

    `prepare` makes a fault, `lasts` seconds before `fault` heals it; requests that are lost in
    that time do not count. Time 0 is when `fault` begins, or (`zero`) when
    it has ended. `owners` says who owns each instance at the end, `moves` how often one may
    change hands; `median` bounds the median of many runs; `seconds` is how long the cluster is
    watched once the fault has been made; a `slow` one (a node boots) is watched until the owners
    are as they must be, or so long at most. `breaks` are the real servers whose established
    connections may die, all others must live; None: the fault leaves none. `watchers` look at
    more. A `long` experiment takes minutes and is done only by name.
    """

    name: str
    summary: str
    fault: Action
    hits: frozenset[str]
    limit: float
    bar: float
    owners: dict[str, str]
    measure: Measure = "gap"
    prepare: Action | None = None
    lasts: float = 0
    zero: Literal["begin", "end"] = "begin"
    moves: int = 1
    median: float | None = None
    seconds: float = 3.5
    slow: bool = False
    server: str = ""
    breaks: frozenset[str] | None = frozenset()
    watchers: tuple[Callable[[Cluster], Watcher], ...] = ()
    long: bool = False


def master_down(lab: Lab, instance: str) -> float:
    """Master_Down_Interval of the backup of an instance, in seconds."""
    backup = lab.owners(instance)[1]
    return lab.directors.vrrp.down_seconds(lab.vrrp_instances[instance].priorities[backup])


def promise(lab: Lab, seconds: float, needed: float) -> float:
    """A limit of `seconds`, or more if a lab with other values needs more.

    `needed` is what the protocols take at least. A director without addresses of its own
    finds its servers only once it is master.
    """
    alone = 0.0 if lab.directors.source_addresses == "own" else _LETTER_SECONDS
    return max(seconds, needed + ALLOWANCE) + alone


def victim(lab: Lab) -> tuple[str, str]:
    """The director that owns the first virtual server, and that server's instance."""
    instance = next(iter(lab.virtual_servers.values())).instance
    return lab.owners(instance)[0], instance


def everyone(lab: Lab) -> frozenset[str]:
    """All virtual servers."""
    return frozenset(lab.virtual_servers)


def services_of(lab: Lab, director: str) -> frozenset[str]:
    """The virtual servers whose address a director owns while all is well."""
    return frozenset(
        name
        for name, this in lab.virtual_servers.items()
        if lab.owners(this.instance)[0] == director
    )


def home(lab: Lab) -> dict[str, str]:
    """Instance to its owner while all is well."""
    return {name: lab.owners(name)[0] for name in lab.vrrp_instances}


def owners_without(lab: Lab, director: str) -> dict[str, str]:
    """Instance to its owner while a director is away."""
    return {
        name: next(owner for owner in lab.owners(name) if owner != director)
        for name in lab.vrrp_instances
    }


def real_servers(lab: Lab) -> list[str]:
    """The names of the real servers of the first virtual server."""
    return list(lab.real_servers(next(iter(lab.virtual_servers))))


def neighbours(since: float) -> Callable[[Cluster], Watcher]:
    """Neighbours are watched from `since` seconds after time 0."""
    return lambda cluster: Neighbours(cluster, since)


def neighbours_after_moves(cluster: Cluster) -> Watcher:
    """Neighbours are watched from one second after the addresses have come home."""
    return Neighbours(cluster, after_moves=True)


def health_check(lab: Lab) -> HealthCheck:
    """How the real servers of the first virtual server are checked."""
    return next(iter(lab.virtual_servers.values())).check


def heal(node: str | None = None) -> Action:
    """Heal what is broken on a node, or everything."""

    def action(cluster: Cluster) -> None:
        faults.heal(cluster, node)

    return action


def command(node: str, *argv: str) -> Action:
    """Run a program on a node."""

    def action(cluster: Cluster) -> None:
        cluster.run(node, argv, timeout=90)

    return action
