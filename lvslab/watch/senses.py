"""The senses: each looks at one side of the running lab, as often as that is cheap.

What costs a node time is looked at seldom, and never while a verb changes the lab: a program in a
node that is emulated takes processor time from all others, and `lab failover` measures them.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from lvslab.lab import checklist, faults, wire
from lvslab.lab.cluster import Cluster
from lvslab.lab.faults import Fault
from lvslab.measure.probe import Prober
from lvslab.model.family import family_of
from lvslab.model.role import Kind
from lvslab.watch import counters
from lvslab.watch.sights import (
    Advertised,
    Announced,
    Asked,
    ChangeSeen,
    ChecklistSeen,
    FaultsSeen,
    PowerSeen,
    Sight,
    TableSeen,
)

_BEAT_SECONDS = 0.25  # of the requests to each virtual server
_PAGES = 3  # every which of them, or few more, asks for a page
_CHECK_SECONDS = 60.0  # between two checklists while nothing happens
_SETTLE_SECONDS = 8.0  # from a change to the next one


@dataclass
class Attention:
    """What one sense sees and others need: is somebody changing the lab, and what is not there."""

    busy: bool = False
    broken: tuple[Fault, ...] = ()
    changed: float = field(default_factory=time.monotonic)
    """When the lab was changed last, or when it was first seen."""

    @property
    def asleep(self) -> set[str]:
        """The nodes that cannot answer: off, or paused."""
        return {fault.node for fault in self.broken if not fault.what}


class Sense:
    """One side of the lab. `every` is the time between two looks, in seconds."""

    every = 1.0

    def __init__(self, cluster: Cluster, attention: Attention) -> None:
        self.cluster = cluster
        self.attention = attention

    def look(self) -> Iterable[Sight]:
        """What is seen now. Raises LabError or OSError if the lab does not let it be seen."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of the lab: it may have ended."""


class OnTheWire(Sense):
    """Adverts and gratuitous ARP."""

    every = 0.05

    def __init__(self, cluster: Cluster, attention: Attention) -> None:
        super().__init__(cluster, attention)
        lab = cluster.lab
        self._nodes = wire.nodes_by_mac(lab)
        self._of_router = {
            (this.network, this.family, this.router_id): name
            for name, this in lab.vrrp_instances.items()
        }
        self._of_address = {i.address: n for n, i in lab.vrrp_instances.items()}
        self._tap = wire.Tap(lab, cluster.namespace)

    def look(self) -> Iterable[Sight]:
        """What was heard since the last look."""
        for heard in self._tap.take():
            node = self._nodes.get(heard.mac, heard.mac)
            if isinstance(heard, wire.Advert):
                family = family_of(heard.source)
                instance = self._of_router.get((heard.network, family, heard.router_id))
                if instance:
                    yield Advertised(heard.seconds, instance, node, heard.priority == 0)
            elif instance := self._of_address.get(heard.address):
                yield Announced(heard.seconds, instance, node)

    def close(self) -> None:
        """Let go of the bridges."""
        self._tap.close()


class AsClient(Sense):
    """Each virtual server, asked as a client does, a few times a second."""

    every = 0.1

    def __init__(self, cluster: Cluster, attention: Attention) -> None:
        super().__init__(cluster, attention)
        self._prober = Prober(cluster.lab, cluster.namespace, beat=_BEAT_SECONDS, pages=_PAGES)
        self._prober.__enter__()

    def look(self) -> Iterable[Sight]:
        """The requests that have ended since the last look."""
        for service, requests in self._prober.take().items():
            for request in requests:
                yield Asked(request.started, service, request.answered, request.server)

    def close(self) -> None:
        """Ask no more."""
        self._prober.__exit__()


class Power(Sense):
    """Which nodes have a machine that is not off."""

    every = 0.1

    def look(self) -> Iterable[Sight]:
        """The nodes that are on."""
        engine = self.cluster.engine
        # without a process all are off, or the engine has none on this host and must be asked
        on = [*engine.processes()] or [
            n for n in self.cluster.lab.nodes if engine.state(n) != "off"
        ]
        yield PowerSeen(time.monotonic(), frozenset(on))


class Change(Sense):
    """Whether a verb changes the lab."""

    every = 0.25

    def look(self) -> Iterable[Sight]:
        """Whether somebody holds the lab's lock."""
        at, busy = time.monotonic(), self.cluster.state.is_locked()
        if busy:
            self.attention.changed = at
        self.attention.busy = busy
        yield ChangeSeen(at, busy)


class Damage(Sense):
    """What is broken: machines, cables, services."""

    every = 1.0

    def look(self) -> Iterable[Sight]:
        """Every fault."""
        at, broken = time.monotonic(), tuple(faults.broken(self.cluster))
        if broken != self.attention.broken:
            # Now, not `at`: a checklist that began in between may not have met the change.
            self.attention.broken, self.attention.changed = broken, time.monotonic()
        yield FaultsSeen(at, broken)


class InTables(Sense):
    """The directors' counters of connections."""

    every = 4.0  # as the kernel itself counts: a multiple of 2 s

    def look(self) -> Iterable[Sight]:
        """The counters of every director that can answer."""
        if self.attention.busy:
            return
        lab, asleep = self.cluster.lab, self.attention.asleep
        directors = [node for node in lab.nodes_of(Kind.DIRECTOR) if node not in asleep]
        texts = self.cluster.each(
            directors, lambda node: self.cluster.run(node, counters.COMMAND, timeout=10)
        )
        at = time.monotonic()
        for node, text in texts.items():
            yield TableSeen(at, node, counters.read(lab, text))


class ByChecklist(Sense):
    """The checklist: some seconds after a change, and once a minute."""

    every = 1.0

    def __init__(self, cluster: Cluster, attention: Attention) -> None:
        super().__init__(cluster, attention)
        self._last = 0.0

    def look(self) -> Iterable[Sight]:
        """The findings, if it is time for them. A node that is paused would answer late."""
        now, changed = time.monotonic(), self.attention.changed
        due = changed + _SETTLE_SECONDS if changed > self._last else self._last + _CHECK_SECONDS
        paused = any(fault.kind in ("paused", "disk full") for fault in self.attention.broken)
        if now < due or self.attention.busy or paused:
            return
        self._last = now
        yield ChecklistSeen(now, tuple(checklist.check(self.cluster)))


SENSES: dict[str, type[Sense]] = {
    "adverts": OnTheWire,
    "requests": AsClient,
    "power": Power,
    "changes": Change,
    "faults": Damage,
    "connections": InTables,
    "checklist": ByChecklist,
}
"""By what a page calls it."""
