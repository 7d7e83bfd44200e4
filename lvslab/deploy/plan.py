"""From a lab, its artifacts and the students to all objects that must be on a cluster. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lvslab.core.errors import InputError
from lvslab.deploy.ledger import Ledger
from lvslab.deploy.platforms import Bounds
from lvslab.deploy.wanted import (
    Mark,
    Wanted,
    WantedCard,
    WantedImage,
    WantedMachine,
    WantedNetwork,
    WantedPower,
    WantedRule,
    WantedSeed,
    seed_file,
)
from lvslab.model.lab import Lab
from lvslab.model.role import Kind
from lvslab.render.vmware_machine import nics

_SHORT = 12
"""So many digits of a sum are in a name."""


@dataclass(frozen=True)
class SummedFile:
    """A file of the artifacts and its sha256."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Order:
    """What is asked for: a lab, its OVAs by role, its seeds by node, the students.

    One student without a name means the lab itself. `others` are students of the same class whose
    labs are not looked at. `reach`: see `Site`.
    """

    lab: Lab
    images: Mapping[str, SummedFile]
    seeds: Mapping[str, SummedFile]
    students: Sequence[str]
    others: Sequence[str]
    reach: str

    def named(self, student: str, of: str) -> str:
        """The name of a student's object."""
        return "-".join(filter(None, (self.lab.name, student, of)))

    def image(self, role: str) -> Mark:
        """The mark of a role's image."""
        return Mark(self.lab.name, "", f"image-{role}-{self.images[role].sha256[:_SHORT]}")

    def seed_name(self, node: str) -> str:
        """The file name of a seed: another content has another name."""
        return seed_file(self.seed(node))

    def seed(self, node: str) -> Mark:
        """The mark of a seed."""
        return Mark(self.lab.name, "", f"{node}.{self.seeds[node].sha256[:_SHORT]}")

    def mark(self, student: str, of: str) -> Mark:
        """The mark of a student's object."""
        return Mark(self.lab.name, student, of)


def give_numbers(
    order: Order, ledger: Ledger, limits: Bounds, tags: range, taken: Mapping[str, Collection[int]]
) -> None:
    """Give everything that is asked for its number; `taken` by others, by kind.

    Raises InputError if a range is too small.
    """
    if tags.stop - 1 > limits.highest_tag or tags.start < 1 or not tags:
        raise InputError(
            f"tags: {tags.start}-{tags.stop - 1} is not a range from 1 to {limits.highest_tag}",
            hint="a network of this platform has a number between these",
        )
    networks = [order.mark(s, n).key for s in order.students for n in order.lab.networks]
    ledger.give("network", networks, tags, taken.get("network", ()))
    if limits.numbers is not None:
        machines = [order.image(role).key for role in order.images]
        machines += [order.mark(s, n).key for s in order.students for n in order.lab.nodes]
        ledger.give("machine", machines, limits.numbers, taken.get("machine", ()))


def plan(order: Order, ledger: Ledger, limits: Bounds, switch: str) -> list[Wanted]:
    """All objects, in the order in which they are made; their numbers are in the ledger.

    Raises InputError if a name is too long for the platform, or two objects have one name.
    """
    wanted = [*_networks(order, ledger, limits, switch), *_images(order, ledger), *_seeds(order)]
    machines = list(_machines(order, ledger, limits))
    wanted += [*machines, *_rules(order, limits)]
    wanted += [WantedPower(machine.name, machine.mark) for machine in machines]
    _demand_names(wanted, limits)
    return wanted


def _network_name(order: Order, ledger: Ledger, limits: Bounds, mark: Mark) -> str:
    return limits.network_name(mark, ledger.numbers["network"][mark.key])


def _networks(order: Order, ledger: Ledger, limits: Bounds, switch: str) -> Iterator[Wanted]:
    for student in order.students:
        for network in order.lab.networks:
            mark = order.mark(student, network)
            tag = ledger.numbers["network"][mark.key]
            yield WantedNetwork(limits.network_name(mark, tag), mark, switch, tag)


def _images(order: Order, ledger: Ledger) -> Iterator[Wanted]:
    for role, image in order.images.items():
        mark = order.image(role)
        number = ledger.numbers["machine"].get(mark.key, 0)
        yield WantedImage(order.named("", mark.of), mark, image.path, image.sha256, number)


def _seeds(order: Order) -> Iterator[Wanted]:
    for node, seed in order.seeds.items():
        mark = order.seed(node)
        yield WantedSeed(seed_file(mark), mark, seed.path, seed.path.stat().st_size)


def _machines(order: Order, ledger: Ledger, limits: Bounds) -> Iterator[Wanted]:
    lab = order.lab
    for student in order.students:
        seen: Counter[Kind] = Counter()
        first = ledger.numbers["network"][order.mark(student, next(iter(lab.networks))).key]
        place = first // len(lab.networks)  # the next student goes to the next host
        for node, this in lab.nodes.items():
            mark, kind = order.mark(student, node), lab.kind_of(node)
            cards = tuple(
                WantedCard(
                    card.interface,
                    _network_name(order, ledger, limits, order.mark(student, card.vnet)),
                    card.mac,
                    card.slot,
                )
                for card in nics(lab, node)
            )
            yield WantedMachine(
                name=order.named(student, node),
                mark=mark,
                image=order.named("", order.image(this.role).of),
                seed=order.seed_name(node),
                memory_mib=this.memory_mib,
                cpus=this.cpus,
                cards=cards,
                place=place + (seen[kind] if order.reach == "cluster" else 0),
                number=ledger.numbers["machine"].get(mark.key, 0),
            )
            seen[kind] += 1


def _rules(order: Order, limits: Bounds) -> Iterator[Wanted]:
    """Directors apart where the networks connect the hosts; else all machines together."""
    directors = list(order.lab.nodes_of(Kind.DIRECTOR))
    if order.reach == "cluster":
        word, nodes = "apart", directors
    else:
        word, nodes = "together", list(order.lab.nodes)
    if len(nodes) < 2 or not limits.rules:
        return
    for student in order.students:
        names = tuple(order.named(student, node) for node in nodes)
        mark = order.mark(student, word)
        yield WantedRule(order.named(student, word), mark, word == "apart", names)


def _demand_names(wanted: Sequence[Wanted], limits: Bounds) -> None:
    for this in wanted:
        if this.kind in ("machine", "image") and len(this.name) > limits.machine_name:
            raise InputError(
                f"the name {this.name} has {len(this.name)} characters, and this platform takes "
                f"{limits.machine_name}",
                hint="give the lab, the student or the node a shorter name",
            )
    twice = Counter((this.kind, this.name) for this in wanted)
    for (kind, name), count in twice.items():
        if count > 1:
            raise InputError(
                f"two {kind}s would have the name {name}",
                hint="rename the lab, a student or a node",
            )
