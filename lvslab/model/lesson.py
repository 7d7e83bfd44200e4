"""A lesson as lesson.yaml says it: what is broken and how, hints, solution, checks, questions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lvslab.model.role import Unit
from lvslab.model.shapes import HostName, InterfaceName, Name, Strict, shaped

Line = Annotated[str, shaped(r"^[^\n]*\S[^\n]*$", "a text in one line")]
LabPlace = Annotated[
    str,
    shaped(
        r"^[a-z][a-z0-9_]*(\.[A-Za-z0-9_-]+)*$",
        "a place in lab.yaml such as vrrp_instances.VI_1.router_id",
    ),
]
FilePath = Annotated[str, shaped(r"^/\S*[^\s/]$", "the whole path of a file")]
Word = Annotated[str, shaped(r"^[^\n]+$", "a word of a command")]
Nodes = Annotated[tuple[HostName, ...], Field(min_length=1, description="the nodes' names")]

CLIENT = "client"
"""The machine that is no node: the host."""


class ModelPatch(Strict):
    """Another value in lab.yaml. The lab is then not as it must be: no rule is asked."""

    nodes: tuple[HostName, ...] = Field(
        (), description="whose texts are those of the changed lab; all nodes if none is named"
    )
    put: dict[LabPlace, int | float | bool | str] = Field(
        default_factory=dict, description="place to value"
    )
    remove: tuple[LabPlace, ...] = Field((), description="places that the changed lab lacks")


class TextEdit(Strict):
    """A changed text: one that is replaced in a file, or (`text`) the whole file."""

    nodes: Nodes = Field(description="the nodes whose file it is")
    path: FilePath = Field(description="the file")
    replace: str = Field("", description="what is replaced; it must be there exactly once")
    by: str = Field("", description="what comes in its place")
    every: bool = Field(False, description="it may be there more than once; all are replaced")
    text: str = Field("", description="the whole text of the file, in the place of an edit")


class UnitSwitch(Strict):
    """Units that nodes start, or do not start, at boot; and those that read a changed file."""

    nodes: Nodes = Field(description="the nodes")
    enable: tuple[Unit, ...] = Field((), description="units that start")
    disable: tuple[Unit, ...] = Field((), description="units that do not")
    restart: tuple[Unit, ...] = Field(
        (), description="units that read what is changed; they start again if they run"
    )


class RunningState(Strict):
    """What the kernel of a running node still has of the healthy lab, and no program takes away."""

    nodes: Nodes = Field(description="the nodes")
    run: tuple[Word, ...] = Field(
        min_length=1, description="the command that takes it away when the lesson starts"
    )


class LabFault(Strict):
    """A fault of the running lab; in VMware it is made by hand, as the sheet says."""

    kind: Literal["cut", "silent", "deaf"] = Field(
        description="cut: the cable is out; silent: frames are lost, the link is up; deaf: the "
        "node hears no multicast"
    )
    node: HostName = Field(description="the node")
    interface: InterfaceName | None = Field(
        None, description="cut, silent: the interface; deaf: all of them"
    )


class Broken(Strict):
    """What is broken: all of it together."""

    model: tuple[ModelPatch, ...] = Field((), description="changes of lab.yaml")
    texts: tuple[TextEdit, ...] = Field((), description="changes of files")
    units: tuple[UnitSwitch, ...] = Field((), description="changes of what starts")
    running: tuple[RunningState, ...] = Field(
        (), description="what a start in the running lab does besides; a boot needs none of it"
    )
    faults: tuple[LabFault, ...] = Field((), description="faults of cables")


class Step(Strict):
    """A step of the solution: an edit of a file, a command (after it), or a cable put back."""

    node: HostName = Field(description="the node")
    says: Line = Field(description="what is done, and why")
    path: FilePath | None = Field(None, description="edit: the file")
    replace: str = Field("", description="edit: what is replaced; it must be there exactly once")
    by: str = Field("", description="edit: what comes in its place")
    every: bool = Field(False, description="edit: all places where it is")
    text: str = Field("", description="edit: the whole text of the file")
    run: tuple[Word, ...] = Field((), description="a command, as root")
    heal: InterfaceName | None = Field(None, description="the interface whose cable is put back")


class LessonCheck(Strict):
    """A check of the lesson's own: a command, and what its output must be."""

    name: Line = Field(description="what must be so, in a few words")
    machine: HostName = Field(description="the node, or client")
    priority: Literal["link", "address", "service"] = Field(
        "service", description="what it is about: a service needs addresses, these need links"
    )
    run: tuple[Word, ...] = Field(min_length=1, description="the command; no shell reads it")
    expect: str | None = Field(
        None, description="a regular expression of Python that must be found in the output"
    )
    refuse: str | None = Field(None, description="one that must not be found in it")
    least: float | None = Field(None, description="the first number in it is at least this")
    most: float | None = Field(None, description="the first number in it is at most this")
    starts: Literal["red", "green"] = Field("red", description="how it is while it is broken")
    right: Line = Field(description="the sentence if it holds")
    wrong: Line = Field(description="the sentence if it does not")
    hint: Line = Field(description="what to look at if it does not")


class OwnerOf(Strict):
    """Which director has an address."""

    instance: Name = Field(description="the VRRP instance")
    without: tuple[HostName, ...] = Field((), description="the directors that are gone")


class SecondsUntil(Strict):
    """How long the next director waits before it takes an address (RFC 5798, 6.1)."""

    instance: Name = Field(description="the VRRP instance")
    without: tuple[HostName, ...] = Field(min_length=1, description="the directors that are gone")


class ServersOf(Strict):
    """How many real servers a virtual server has."""

    virtual_server: Name = Field(description="the virtual server")
    without: tuple[HostName, ...] = Field((), description="the real servers that are gone")


class GatewayOf(Strict):
    """The address through which a routing table answers."""

    table: Name = Field(description="the routing table")


class Question(Strict):
    """What is asked before the measurement; exactly one of the ways to know the answer."""

    ask: Line = Field(description="the question")
    choices: tuple[Line, ...] = Field((), description="what may be chosen")
    unit: str = Field("", description="of a number")
    tolerance: float = Field(
        0, ge=0, le=3600, description="how far a number may be from the answer"
    )
    because: Line = Field(description="why the answer is the answer")
    owner: OwnerOf | None = Field(None, description="the answer is a director")
    takeover: SecondsUntil | None = Field(None, description="the answer is a number of seconds")
    servers: ServersOf | None = Field(None, description="the answer is a number of real servers")
    gateway: GatewayOf | None = Field(None, description="the answer is an address")
    choice: int | None = Field(
        None, ge=1, le=9, description="the answer is the choice with this number"
    )


class LessonFile(Strict):
    """The whole of lesson.yaml, as it is written."""

    title: Line = Field(description="what the student sees of it first; it tells no cause")
    minutes: int = Field(ge=5, le=240, description="how long it takes")
    learn: tuple[Line, ...] = Field(min_length=1, description="what is learnt, in sentences")
    lab: Name | None = Field(
        None, description="the example that it starts from; the default lab if none"
    )
    broken: Broken = Field(Broken(), description="what is broken, and how; nothing if open-ended")
    hints: tuple[Line, ...] = Field(description="three, each says more than the one before")
    solution: tuple[Step, ...] = Field(min_length=1, description="what makes it whole, in order")
    fails: dict[HostName, tuple[Annotated[int, Field(ge=1, le=8)], ...]] = Field(
        default_factory=dict,
        description="node or client to the items of the checklist that fail at the start: these, "
        "and no others",
    )
    wavers: dict[HostName, tuple[Annotated[int, Field(ge=1, le=8)], ...]] = Field(
        default_factory=dict,
        description="node or client to the items that may fail at the start, and may not: who "
        "answers first decides",
    )
    checks: tuple[LessonCheck, ...] = Field((), description="checks of the lesson's own")
    questions: dict[Name, Question] = Field(
        default_factory=dict, description="asked before the measurement, by a short name"
    )
