"""From what is found to what is wanted: the steps, and taking them. No platform is known here."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from typing import Literal

from lvslab.core.errors import InputError, LabError, StageError
from lvslab.core.events import Listener, StageDone, StageFailed, StageProgress, StageStarted
from lvslab.deploy.platforms import Platform
from lvslab.deploy.wanted import KINDS, Found, Wanted

AT_ONCE = 8
"""So many objects of one kind are made at the same time."""

_STAYS = frozenset({("machine", "image")})
"""Differences that `up` only reports: to end them, it would have to throw a disk away."""


@dataclass(frozen=True)
class Deviation:
    """A value of an object that is not as it is wanted; empty if there is none."""

    key: str
    wanted: str
    found: str

    def __str__(self) -> str:
        return f"{self.key} is {self.found or 'missing'}, and must be {self.wanted or 'absent'}"


@dataclass(frozen=True)
class Action:
    """One thing to do. `report`: an object differs in what `up` does not change."""

    act: Literal["make", "change", "remove", "report"]
    kind: str
    name: str
    differences: tuple[Deviation, ...] = ()
    wanted: Wanted | None = None
    found: Found | None = None

    def __str__(self) -> str:
        told = f": {'; '.join(map(str, self.differences))}" if self.differences else ""
        return f"{called(self.act, self.kind)} {self.name}{told}"


def called(act: str, kind: str, *, plural: bool = False) -> str:
    """What a step is called: `make network`, `power on`."""
    if kind == "power":
        return {"make": "power on", "remove": "power off"}.get(act, act)
    return f"{act} {kind}{'s' if plural else ''}"


def differences(wanted: Mapping[str, str], found: Mapping[str, str]) -> tuple[Deviation, ...]:
    """All keys whose values differ, in the order of what is wanted."""
    keys = [*wanted, *(key for key in found if key not in wanted)]
    pairs = ((key, wanted.get(key, ""), found.get(key, "")) for key in keys)
    return tuple(Deviation(*pair) for pair in pairs if pair[1] != pair[2])


def steps(wanted: Sequence[Wanted], found: Sequence[Found]) -> list[Action]:
    """What `up` does and reports, in order.

    Raises InputError that names everything that has a wanted name and is not ours: that is
    never touched.
    """
    there = {(this.kind, this.name): this for this in found}
    if foreign := [str(text) for text in _foreign(wanted, there)]:
        raise InputError(
            "\n".join(["the cluster has these, and this lab did not make them:", *foreign]),
            hint="rename or remove them, or give the lab another name",
        )
    return [step for this in wanted for step in _step(this, there.get((this.kind, this.name)))]


def _foreign(wanted: Sequence[Wanted], there: Mapping[tuple[str, str], Found]) -> Iterator[str]:
    for this in wanted:
        found = there.get((this.kind, this.name))
        if this.kind == "image" and not found:
            found = there.get(("machine", this.name))  # they share one folder
        if found and found.mark != this.mark and this.kind != "power":
            whose = f"marked {found.mark.text}" if found.mark else "without a mark of ours"
            yield f"  {this.kind} {this.name}, {whose}"


def _step(wanted: Wanted, found: Found | None) -> Iterator[Action]:
    if found is None:
        yield Action("make", wanted.kind, wanted.name, (), wanted)
        return
    differing = differences(wanted.state, found.state)
    staying = tuple(this for this in differing if (wanted.kind, this.key) in _STAYS)
    changing = tuple(this for this in differing if this not in staying)
    if changing:
        yield Action("change", wanted.kind, wanted.name, changing, wanted, found)
    if staying:
        yield Action("report", wanted.kind, wanted.name, staying, wanted, found)


def extras(wanted: Sequence[Wanted], found: Sequence[Found], lab: str) -> list[Found]:
    """What this lab made and no longer wants: machines of a student who left, old images."""
    names = {(this.kind, this.name) for this in wanted}
    return [
        this
        for this in found
        if this.mark and this.mark.lab == lab and (this.kind, this.name) not in names
    ]


def shared_tags(found: Sequence[Found], ours: str) -> list[str]:
    """Networks of one switch that have one tag, if one of them is this lab's: a sentence each."""
    networks = [this for this in found if this.kind == "network" and this.number]
    count = Counter((this.state.get("switch"), this.number) for this in networks)
    told = []
    for (switch, tag), number in count.items():
        names = [
            this for this in networks if (this.state.get("switch"), this.number) == (switch, tag)
        ]
        if number > 1 and any(this.mark and this.mark.lab == ours for this in names):
            listed = ", ".join(sorted(this.name for this in names))
            told.append(f"networks with the same number, {tag}, hear each other: {listed}")
    return told


def removals(found: Sequence[Found], lab: str, students: Sequence[str] | None) -> list[Action]:
    """The steps of `remove`, in order: of these students, or of the whole lab (None).

    Images and seeds stay as long as a machine of the lab stays.
    """
    ours = [this for this in found if this.mark and this.mark.lab == lab]
    shared = [this for this in ours if this.kind in ("image", "seed")]
    own = [this for this in ours if this not in shared]
    going = [
        this for this in own if students is None or (this.mark and this.mark.student in students)
    ]
    if not any(this.kind == "machine" for this in own if this not in going):
        going += shared
    going.sort(key=lambda this: -KINDS.index(this.kind))
    return [Action("remove", this.kind, this.name, found=this) for this in going]


def take(platform: Platform, todo: Sequence[Action], listener: Listener) -> None:
    """Take steps, those of one kind and act at the same time.

    All steps of a kind are tried before the first error is raised. What was done stays: the
    next call goes on from there.
    """
    for act, kind in dict.fromkeys((step.act, step.kind) for step in todo):
        group = [step for step in todo if (step.act, step.kind) == (act, kind)]
        _together(called(act, kind, plural=True), group, partial(_do, platform, listener), listener)
        platform.settle(kind)


def _do(platform: Platform, listener: Listener, step: Action) -> None:
    if step.act == "make" and step.wanted:
        platform.make(step.wanted, listener)
    elif step.act == "change" and step.wanted and step.found:
        platform.change(step.wanted, step.found, listener)
    elif step.found:
        platform.remove(step.found)


def _together(
    stage: str, todo: Sequence[Action], work: Callable[[Action], None], listener: Listener
) -> None:
    start, errors = time.monotonic(), []
    listener(StageStarted(stage))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = {pool.submit(work, step): step for step in todo}
        for done, future in enumerate(as_completed(running), 1):
            step = running[future]
            try:
                future.result()
            except LabError as error:
                errors.append((step, error))
            listener(StageProgress(stage, done, len(todo), note=step.name))
    seconds = time.monotonic() - start
    if errors:
        step, first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        listener(StageFailed(stage, seconds, first.message))
        raise StageError(
            f"cannot {called(step.act, step.kind)} {step.name}: {first.message}{more}",
            hint=first.hint or "the same command again goes on from here",
        )
    listener(StageDone(stage, seconds))
