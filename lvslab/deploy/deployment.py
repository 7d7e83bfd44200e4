"""A lab on a cluster: looking, `up`, `remove`. It ties plan, ledger and platform together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lvslab.core.errors import InputError, StageError
from lvslab.core.events import Listener
from lvslab.core.files import only_one, sha256_file
from lvslab.deploy import converge
from lvslab.deploy.converge import Action
from lvslab.deploy.ledger import Ledger
from lvslab.deploy.plan import Order, SummedFile, give_numbers, plan
from lvslab.deploy.platforms import Platform
from lvslab.deploy.site import Site, pool
from lvslab.deploy.wanted import Found, Wanted
from lvslab.lab import base_disks
from lvslab.model.lab import Lab

_TRIES = 2
"""How often each kind is worked on: not every platform takes all of an object with one call."""


_NUMBERED = {"network": ("network",), "machine": ("machine", "image")}
"""A section of the ledger, and the kinds of objects whose numbers are there."""


@dataclass(frozen=True)
class Look:
    """What is wanted and found: the steps that are left, what is too much, what is wrong."""

    wanted: list[Wanted]
    found: list[Found]
    steps: list[Action]
    extras: list[Found]
    problems: list[str]

    @property
    def good(self) -> bool:
        """Whether everything is as it is wanted."""
        return not (self.steps or self.problems)


def ledger_of(site_file: Path) -> Path:
    """Where the ledger is: beside the site file."""
    return site_file.with_name(f"{site_file.stem}.ledger.json")


def order_of(
    lab: Lab, artifacts: Path, students: Sequence[str], others: Sequence[str], reach: str
) -> Order:
    """The order for a lab with its artifacts; no student means the lab itself.

    Raises InputError if one is missing, CheckFailed if one is not what was built.
    """
    roles = dict.fromkeys(node.role for node in lab.nodes.values())
    images = {role: _part(base_disks.ova(artifacts, role)) for role in roles}
    seeds = {node: _part(base_disks.seed(artifacts, node)) for node in lab.nodes}
    return Order(lab, images, seeds, students or [""], others, reach)


def _part(path: Path) -> SummedFile:
    base_disks.demand_there(path)
    digest = sha256_file(path)
    base_disks.demand_as_built(path, digest)
    return SummedFile(path, digest)


@contextmanager
def alone(ledger: Path) -> Iterator[None]:
    """Hold the ledger: two runs at once would give one number twice."""
    with only_one(ledger.with_suffix(".lock"), "deploy"):
        yield


def look(platform: Platform, order: Order, site: Site, ledger: Ledger) -> Look:
    """Compare; the ledger gets the numbers of all that is wanted, and is not written."""
    found, name = platform.find(), order.lab.name
    ledger.adopt(found)
    foreign = [this for this in found if not (this.mark and this.mark.lab == name)]
    taken = {
        kind: {this.number for this in foreign if this.kind in kinds and this.number is not None}
        for kind, kinds in _NUMBERED.items()
    }
    give_numbers(order, ledger, platform.limits, pool(site.tags), taken)
    wanted = plan(order, ledger, platform.limits, platform.switch)
    extras = converge.extras(wanted, found, name)
    return Look(
        wanted,
        found,
        converge.steps(wanted, found),
        [this for this in extras if this.mark and this.mark.student not in order.others],
        [*platform.problems(wanted, found), *converge.shared_tags(found, name)],
    )


def up(platform: Platform, order: Order, site: Site, ledger: Ledger, listener: Listener) -> Look:
    """Make and change until all is there; returns the last look.

    Raises InputError before anything is done if the cluster is not fit, StageError if something
    cannot be made, or does not become what it must be.
    """
    now = look(platform, order, site, ledger)
    if unfit := list(platform.problems(now.wanted, now.found)):
        raise InputError("\n".join(["this cluster is not fit for the lab:", *unfit]))
    ledger.write()
    tried: Counter[str] = Counter()
    while todo := [step for step in now.steps if step.act != "report"]:
        kind = todo[0].kind
        tried[kind] += 1
        if tried[kind] > _TRIES:
            raise StageError(
                "\n".join(["this did not become what it must be:", *map(str, todo)]),
                hint="a machine that runs keeps some values: shut it down, then call this again",
            )
        converge.take(platform, [step for step in todo if step.kind == kind], listener)
        now = look(platform, order, site, ledger)
    return now


def remove(
    platform: Platform,
    lab: str,
    students: Sequence[str] | None,
    ledger: Ledger,
    listener: Listener,
) -> list[Action]:
    """Remove what the lab made for these students (None: all); returns the steps taken."""
    todo = converge.removals(platform.find(), lab, students)
    converge.take(platform, todo, listener)
    known = {key.partition("/")[0] for given in ledger.numbers.values() for key in given}
    ledger.forget(known if students is None else students)
    ledger.write()
    return todo
