"""What is seen of a running lab: plain values, made by the senses and read by the scene.

`at` is monotonic time in seconds. A director is named by its node, or by its MAC if it is none of
the lab's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lvslab.lab.checklist import CheckResult
from lvslab.lab.faults import Fault
from lvslab.model.lab import Lab


@dataclass(frozen=True)
class LabCame:
    """The lab is up. `wall` is the wall clock's time at the zero of the monotonic clock."""

    at: float
    lab: Lab
    wall: float


@dataclass(frozen=True)
class LabWent:
    """The lab has ended."""

    at: float


@dataclass(frozen=True)
class Advertised:
    """A director sent an advert for an instance; with `gives_up` it gives its address up."""

    at: float
    instance: str
    node: str
    gives_up: bool = False


@dataclass(frozen=True)
class Announced:
    """A gratuitous ARP said that a node has an instance's address."""

    at: float
    instance: str
    node: str


@dataclass(frozen=True)
class Asked:
    """A request to a virtual server ended; `server` is who answered, if it says its name."""

    at: float
    service: str
    answered: bool
    server: str = ""


@dataclass(frozen=True)
class PowerSeen:
    """Which nodes have a machine that runs or is paused, and which are off."""

    at: float
    on: frozenset[str]


@dataclass(frozen=True)
class FaultsSeen:
    """Everything that is broken."""

    at: float
    broken: tuple[Fault, ...]


@dataclass(frozen=True)
class TableSeen:
    """A director's counters: how many connections each real server of a service got so far.

    By virtual server and real server; what is not in the director's table is missing.
    """

    at: float
    director: str
    connections: Mapping[tuple[str, str], int]


@dataclass(frozen=True)
class ChecklistSeen:
    """The checklist of the whole lab."""

    at: float
    findings: tuple[CheckResult, ...]


@dataclass(frozen=True)
class ChangeSeen:
    """Whether somebody changes the lab now: a verb that holds the lab's lock."""

    at: float
    busy: bool


@dataclass(frozen=True)
class Looked:
    """A sense has looked; `problem` says why it has seen nothing, empty if it has."""

    at: float
    sense: str
    problem: str = ""


@dataclass(frozen=True)
class Pressed:
    """Somebody pressed a button of a page; `words` say what was done."""

    at: float
    words: str


@dataclass(frozen=True)
class Tick:
    """Time has passed."""

    at: float


Sight = (
    LabCame
    | LabWent
    | Advertised
    | Announced
    | Asked
    | PowerSeen
    | FaultsSeen
    | TableSeen
    | ChecklistSeen
    | ChangeSeen
    | Looked
    | Pressed
    | Tick
)
