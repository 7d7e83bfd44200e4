"""`class up`, `class check` and `class down`: the labs of a class on libvirt hosts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lvslab.cli.common import artifacts_folder, as_json, lab_file, session, until_passed, verb
from lvslab.cli.lab.which import on_hosts, with_labs
from lvslab.core.errors import InputError

if TYPE_CHECKING:
    from lvslab.deploy.hosts.class_labs import Results
    from lvslab.deploy.hosts.seats import Hall, Seat
    from lvslab.deploy.ledger import Ledger
    from lvslab.lab.libvirt.survey import Survey
    from lvslab.lessons.students import Student
    from lvslab.model.lab import Lab

_CROWD = 8.0

_OPTIONS = (
    click.argument("list_file", metavar="CLASS.csv", type=click.Path(path_type=Path)),
    on_hosts,
    click.option(
        "--student",
        "chosen",
        multiple=True,
        metavar="ID",
        help="Only this student of the class; may be repeated.",
    ),
    lab_file,
    as_json,
)


def _with_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@dataclass
class Room:
    """What the three verbs work with: the list, the ledger, and who is meant."""

    lab: Lab
    list_file: Path
    students: dict[str, Student]
    ledger: Ledger
    uris: list[str]
    meant: list[str]

    def hall(self, there: dict[str, Survey], crowd: float = _CROWD) -> Hall:
        """The hosts as they are now."""
        from lvslab.deploy.hosts.class_labs import other_labs
        from lvslab.deploy.hosts.seats import Hall

        everybody = {*self.students, *self.ledger.hosts}
        ours = [f"{self.lab.name}-{student}" for student in everybody]
        return Hall(self.lab, there, other_labs(ours), crowd)


@contextmanager
def _room(
    list_file: Path, given: Sequence[str], chosen: Sequence[str], lab_path: Path
) -> Iterator[Room]:
    """The class, which nobody else changes meanwhile."""
    from lvslab.core.files import only_one
    from lvslab.deploy import classlist
    from lvslab.deploy.hosts.seats import SECTION
    from lvslab.deploy.ledger import Ledger
    from lvslab.lab import rootless
    from lvslab.model.load import load_lab

    lab, students = load_lab(lab_path), classlist.read(list_file)
    path = list_file.with_name(f"{list_file.stem}.hosts.json")
    rootless.demand_root("labs on other hosts have VXLAN devices here")
    with only_one(path.with_suffix(".lock"), "verb of this class"):
        ledger = Ledger.read(path, lab.name, (SECTION,))
        known = dict.fromkeys([*students, *ledger.hosts])
        meant = [classlist.name_of(name) for name in chosen] or list(known)
        if unknown := [name for name in meant if name not in known]:
            raise InputError(
                f"{', '.join(unknown)} is not in the class", hint=f"it has: {', '.join(known)}"
            )
        own = [ledger.hosts[name] for name in meant if name in ledger.hosts]
        all_placed = len(own) == len(meant)
        uris = dict.fromkeys([*given, *own] if given or all_placed else ledger.hosts.values())
        yield Room(lab, list_file, students, ledger, list(uris), meant)


@verb(
    "up",
    """
    class up class.csv --host qemu+ssh://root@a/system --host qemu+ssh://root@b/system --dry-run
    class up class.csv --host qemu+ssh://root@a/system --host qemu+ssh://root@b/system
    class up class.csv --student alice
    """,
)
@_with_options
@artifacts_folder("The folder that `images` filled.")
@click.option(
    "--vcpus-per-core",
    "crowd",
    type=click.FloatRange(min=0.1),
    default=_CROWD,
    show_default=True,
    help="So many virtual processors may share one of a host.",
)
@click.option("--no-start", is_flag=True, help="Networks, disks and domains only: start no node.")
@click.option("--dry-run", is_flag=True, help="Change nothing, show what would be done.")
@with_labs
def up(
    list_file: Path,
    hosts: tuple[str, ...],
    chosen: tuple[str, ...],
    lab_path: Path,
    artifacts: Path,
    crowd: float,
    no_start: bool,
    dry_run: bool,
) -> None:
    """Give each student of CLASS.csv a lab on libvirt hosts; done when all checklists pass.

    Each lab is whole on one host. Which one, and which number its networks have, is decided once
    and written beside the list. What does not fit is refused before anything starts. Called again,
    it starts what does not run.
    """
    from lvslab.deploy.hosts import class_labs
    from lvslab.deploy.hosts.seats import allot

    with _room(list_file, hosts, chosen, lab_path) as room:
        meant = _in_the_list(room, chosen)
        class_labs.demand_hosts(room.uris)
        class_labs.demand_artifacts(room.lab, artifacts)
        there, silent = class_labs.surveys(room.uris)
        class_labs.demand_answers(silent)
        seats = allot(room.hall(there, crowd), room.ledger, meant, list_file)
        if dry_run:
            _show_plan(seats, there)
            return
        accelerators = _accelerators(seats)
        class_labs.demand(seats, accelerators, there)
        room.ledger.write()
        start = class_labs.Start(artifacts, session().cache, accelerators, not no_start)
        with session().reporting("class-up") as listener:
            outcome = class_labs.up(seats, start, listener)
    _show(seats, outcome, "defined" if no_start else "up")


def _in_the_list(room: Room, chosen: Sequence[str]) -> dict[str, Student]:
    """Those meant who are in the list; whose lab is left of an older list is said."""
    left = [name for name in room.meant if name not in room.students]
    if left and chosen:
        raise InputError(
            f"{', '.join(left)} is no longer in the list",
            where=str(room.list_file),
            hint="class down --student ends the lab",
        )
    for name in left:
        session().tell(f"{name} is no longer in the list: class down --student {name} ends the lab")
    return {name: room.students[name] for name in room.meant if name in room.students}


@verb("check", "class check class.csv\nclass check class.csv --student alice --wait 0")
@_with_options
@until_passed
@with_labs
def check(
    list_file: Path,
    hosts: tuple[str, ...],
    chosen: tuple[str, ...],
    lab_path: Path,
    seconds: float,
) -> None:
    """The checklist of each student's lab, and that no two labs hear each other.

    Status 1 if something fails, also if a student of the list has no lab.
    """
    from lvslab.core.errors import CheckFailed
    from lvslab.deploy.hosts import class_labs

    with _room(list_file, hosts, chosen, lab_path) as room:
        seats, _ = _seats(room)
        with session().reporting("class-check") as listener:
            outcome = class_labs.check(seats, seconds, listener)
    for student in room.meant:
        if student not in room.ledger.hosts:
            outcome[student] = CheckFailed("there is no lab: class up makes it")
    _show(seats, outcome, "well")


@verb("down", "class down class.csv\nclass down class.csv --student alice")
@_with_options
@click.option("--dry-run", is_flag=True, help="Change nothing, show what would be removed.")
@with_labs
def down(
    list_file: Path,
    hosts: tuple[str, ...],
    chosen: tuple[str, ...],
    lab_path: Path,
    dry_run: bool,
) -> None:
    """End the labs of the class: nothing of them is left on the hosts, but the images.

    Without --student also those of students who are no longer in the list.
    """
    from lvslab.deploy.hosts import class_labs

    this = session()
    with _room(list_file, hosts, chosen, lab_path) as room:
        seats, there = _seats(room)
        if dry_run:
            for seat in seats:
                known = there[seat.host].domains if seat.host in there else ()
                found = [domain.name for domain in known if domain.lab == seat.lab.name]
                this.emit("step", act="remove", student=seat.student, domains=found)
                this.out(f"{seat.student}: remove {', '.join(found) or 'its networks'}")
            this.out(f"{len(seats)} labs; nothing was changed")
            return
        with this.reporting("class-down") as listener:
            outcome = class_labs.down(seats, listener)
        room.ledger.forget([student for student, error in outcome.items() if error is None])
        if room.ledger.hosts:
            room.ledger.write()
        else:
            room.ledger.path.unlink(missing_ok=True)
    _show(seats, outcome, "removed")


def _seats(room: Room) -> tuple[list[Seat], dict[str, Survey]]:
    """The seats of those meant who have one; of a lost ledger's, as the hosts know them."""
    from lvslab.deploy.hosts import class_labs
    from lvslab.deploy.hosts.seats import adopt, seat

    there, _ = class_labs.surveys(room.uris)
    hall = room.hall(there)
    adopt(hall, room.ledger, room.students)
    ledger = room.ledger
    return [seat(hall, ledger, name) for name in room.meant if name in ledger.hosts], there


def _accelerators(seats: Sequence[Seat]) -> dict[str, str]:
    from lvslab.core.together import each
    from lvslab.lab.libvirt.libvirt_host import Host

    hosts = dict.fromkeys(seat.host for seat in seats)
    return each(hosts, lambda uri: "kvm" if Host.of(uri).has_kvm() else "tcg")


def _show_plan(seats: Sequence[Seat], there: dict[str, Survey]) -> None:
    from lvslab.deploy.hosts import class_labs
    from lvslab.lab.libvirt.fabric import Fabric
    from lvslab.lab.network import bridge_names

    this = session()
    for seat in seats:
        fabric, host = Fabric(seat.lab), there[seat.host]
        vnis = [fabric.vni(network) for network in bridge_names(seat.lab)]
        starting = class_labs.stopped(seat, host)
        this.emit("step", act="start", **_of(seat), networks=vnis, nodes=starting)
        words = f"start {', '.join(starting)}" if starting else "nothing to start"
        this.out(f"{_row(seat, host.label)}  networks {vnis[0]}-{vnis[-1]}  {words}")
    this.out(f"{len(seats)} labs; nothing was changed")


def _show(seats: Sequence[Seat], outcome: Results, word: str) -> None:
    """A line for each student, and the error for those that failed."""
    from lvslab.deploy.hosts.class_labs import judge
    from lvslab.lab.libvirt.libvirt_host import Host

    this = session()
    known = {seat.student: seat for seat in seats}
    for student, error in outcome.items():
        seat = known.get(student)
        place = _of(seat) if seat else {"student": student}
        this.emit("lab", **place, ok=error is None, problem=str(error) if error else "")
        row = _row(seat, Host.of(seat.host).label) if seat else f"{student:<16}"
        state = click.style(str(error), fg="red") if error else click.style(word, fg="green")
        this.out(f"{row}  {state}")
    judge(outcome, word)
    this.out(f"all {len(outcome)} labs are {word}")


def _of(seat: Seat) -> dict[str, Any]:
    return {
        "student": seat.student,
        "lab": seat.lab.name,
        "host": seat.host,
        "number": seat.lab.number,
    }


def _row(seat: Seat, host: str) -> str:
    return f"{seat.student:<16} {host:<20} {seat.lab.number:>2}"
