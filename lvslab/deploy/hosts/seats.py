"""Which number and which host the lab of each student gets: decided once, then written down. Pure.

A lab is whole on one host. Its number tells it apart from every other lab: the names of its bridges
and taps, the numbers of its networks on the wire and its MACs follow from it (`Fabric`, `Lab.mac`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from lvslab.core.errors import InputError
from lvslab.deploy.ledger import Ledger
from lvslab.lab.libvirt.survey import Survey
from lvslab.lab.state import LabState
from lvslab.lessons.students import Student
from lvslab.model.lab import Lab
from lvslab.model.problems import BadInput, Problem

NUMBERS = range(1, 64)
"""Numbers that a lab can have (`lab.yaml`)."""
SECTION = "number"
"""Where the ledger has them."""
_OWN_MIB = 64  # what QEMU takes beside the memory of its guest
_HOST_MIB = 512  # what stays for the host itself


@dataclass(frozen=True)
class Seat:
    """The place of a student's lab: the lab with its own name and number, and the host's URI."""

    student: str
    lab: Lab
    host: str


@dataclass(frozen=True)
class Hall:
    """All that decides about places: the lab, the hosts as they are now, and what is taken.

    `taken`: labs that this machine knows and that are not of the class, name to number. `crowd`:
    so many virtual processors may share one of a host.
    """

    lab: Lab
    hosts: Mapping[str, Survey]
    taken: Mapping[str, int]
    crowd: float

    def name(self, student: str) -> str:
        """The name of a student's lab."""
        return f"{self.lab.name}-{student}"

    @property
    def memory(self) -> int:
        """MiB that one lab takes."""
        return sum(node.memory_mib + _OWN_MIB for node in self.lab.nodes.values())

    @property
    def processors(self) -> int:
        """Virtual processors that one lab has."""
        return sum(node.cpus for node in self.lab.nodes.values())


def seat(hall: Hall, ledger: Ledger, student: str) -> Seat:
    """The seat of a student who has one. Raises InputError if the lab cannot have such a name."""
    values = {"name": hall.name(student), "number": ledger.numbers[SECTION][student]}
    try:
        lab = Lab.model_validate({**hall.lab.model_dump(mode="json"), **values})
    except ValidationError:
        raise InputError(
            f"the lab would be called {values['name']}, and a name has at most 31 letters, digits "
            "and -",
            hint="give the lab or the student a shorter name",
        ) from None
    for node in lab.nodes:
        LabState(lab.name).node(node)  # raises InputError for too long a path
    return Seat(student, lab, ledger.hosts[student])


def adopt(hall: Hall, ledger: Ledger, students: Iterable[str]) -> None:
    """Take numbers and hosts of labs that are on the hosts and that the ledger does not know."""
    given = ledger.numbers[SECTION]
    known = {hall.name(student): student for student in students}
    for uri, there in hall.hosts.items():
        for domain in there.domains:
            student, record = known.get(domain.lab), domain.record
            if not record or not student or student in given:
                continue
            if record.number not in given.values():
                given[student], ledger.hosts[student] = record.number, uri


def allot(
    hall: Hall, ledger: Ledger, students: Mapping[str, Student], list_file: Path
) -> list[Seat]:
    """A seat for each student, also in the ledger; who has one keeps it.

    The lab's own number stays free for `lab up`. Raises BadInput with all that does not fit, each
    with its line of the list; the ledger is then not to be written.
    """
    problems: list[tuple[str, str, str]] = []
    adopt(hall, ledger, students)
    ours = {hall.name(student) for student in (*students, *ledger.hosts)}
    room = _Room(hall, ours)
    taken = {hall.lab.number, *hall.taken.values(), *_numbers_of_others(hall, ledger, ours)}
    try:
        ledger.give(SECTION, students, NUMBERS, taken)
    except InputError:
        without = [student for student in students if student not in ledger.numbers[SECTION]]
        right = "end other labs on these hosts: their numbers are free then"
        problems += [(s, "there is no number left for this lab", right) for s in without]
    for student in ledger.hosts:  # those that have a place come first
        problems += room.keep(student, ledger)
    for student in students:
        if student not in ledger.hosts:
            problems += room.find(student, ledger)
    found = []
    for student in students:
        problems += [(student, *clash) for clash in _clashes(hall, ledger, student)]
        if student in ledger.hosts and student in ledger.numbers[SECTION]:
            try:
                found.append(seat(hall, ledger, student))
            except InputError as error:
                problems.append((student, error.message, error.hint))
    problems += _names_twice(found)
    if problems:
        raise BadInput(
            Problem(str(list_file), students[s].line if s in students else 0, 1, what, right)
            for s, what, right in problems
        )
    return found


class _Room:
    """What is left of each host's memory and processors while places are given."""

    def __init__(self, hall: Hall, ours: Collection[str]) -> None:
        self._hall = hall
        self._memory, self._processors = {}, {}
        for uri, host in hall.hosts.items():
            mine = [d for d in host.domains if d.active and d.lab in ours]
            others = [d for d in host.domains if d.active and d.lab not in ours]
            self._memory[uri] = host.free_mib + sum(d.rss_mib for d in mine) - _HOST_MIB
            self._processors[uri] = int(host.cpus * hall.crowd) - sum(d.cpus for d in others)

    def keep(self, student: str, ledger: Ledger) -> Iterator[tuple[str, str, str]]:
        """Take the room of a lab that has a host; what is wrong with that."""
        uri = ledger.hosts[student]
        if uri not in self._hall.hosts:
            return  # it takes nothing of those that are asked now
        if not self._fits(uri):
            yield student, *self._full([uri])
        self._take(uri)

    def find(self, student: str, ledger: Ledger) -> Iterator[tuple[str, str, str]]:
        """Give a lab the host that has the most memory left; what is wrong if none has enough."""
        uri = max(filter(self._fits, self._hall.hosts), key=self._memory.__getitem__, default=None)
        if uri is None:
            yield student, *self._full(self._hall.hosts)
        else:
            ledger.hosts[student] = uri
            self._take(uri)

    def _fits(self, uri: str) -> bool:
        hall = self._hall
        widest = max(node.cpus for node in hall.lab.nodes.values())
        return (
            self._memory[uri] >= hall.memory
            and self._processors[uri] >= hall.processors
            and hall.hosts[uri].cpus >= widest
        )

    def _take(self, uri: str) -> None:
        self._memory[uri] -= self._hall.memory
        self._processors[uri] -= self._hall.processors

    def _full(self, uris: Iterable[str]) -> tuple[str, str]:
        hall = self._hall
        left = (
            f"{hall.hosts[uri].label} has {max(0, self._memory[uri])} MiB and "
            f"{max(0, self._processors[uri])} left, on {hall.hosts[uri].cpus} processors"
            for uri in uris
        )
        what = f"its lab needs {hall.memory} MiB and {hall.processors} virtual processors; "
        return what + ", ".join(left), "name another host, or make the class smaller"


def _numbers_of_others(hall: Hall, ledger: Ledger, ours: Collection[str]) -> set[int]:
    """Numbers that are in use on the hosts by what is none of our labs."""
    domains = {
        domain.record.number for host in hall.hosts.values() for domain in host.domains
        if domain.record and domain.lab not in ours
    }  # fmt: skip
    return domains | {
        number
        for host in hall.hosts.values()
        for network in host.networks
        if (number := number_in(network.device)) and number not in ledger.numbers[SECTION].values()
    }


def number_in(device: str) -> int:
    """The number of the lab whose VXLAN device this is (`Fabric.vxlan`); 0 if it is no lab's."""
    number, mark, network = device.removeprefix("l").partition("x")
    return int(number) if mark and number.isdigit() and network.isdigit() else 0


def _clashes(hall: Hall, ledger: Ledger, student: str) -> Iterator[tuple[str, str]]:
    """Who else has the number of a student's lab: the two would hear each other."""
    number, name = ledger.numbers[SECTION].get(student), hall.name(student)
    others = {lab: "this machine" for lab, taken in hall.taken.items() if taken == number}
    for host in hall.hosts.values():
        for domain in host.domains:
            if domain.record and domain.lab != name and domain.record.number == number:
                others[domain.lab] = host.label
            if not domain.lab and domain.name in {f"{name}-{node}" for node in hall.lab.nodes}:
                what = f"{host.label} has a domain {domain.name}, and no lab made it"
                yield what, "rename or remove it"
    for lab, where in others.items():
        what = f"its networks have the number {number}, as those of the lab {lab} on {where}"
        yield what, f"end one of the two; after class down --student {student} it gets another"


def _names_twice(seats: Iterable[Seat]) -> Iterator[tuple[str, str, str]]:
    owners: dict[str, str] = {}
    for this in seats:
        for node in this.lab.nodes:
            name = f"{this.lab.name}-{node}"
            if (other := owners.setdefault(name, this.student)) != this.student:
                what = f"{other} and {this.student} would have machines of the same name, {name}"
                yield this.student, what, "write one of the two ids differently"
