"""A lesson's folder, read: lesson.yaml with all its mistakes at once, and the lab that it uses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import NoneType
from typing import Any

from lvslab.core.errors import InputError
from lvslab.core.places import DATA, EXAMPLES, LAB, LESSONS
from lvslab.model.explain import did_you_mean, shape_findings
from lvslab.model.lab import Lab
from lvslab.model.lesson import CLIENT, LessonFile, Question, Step, TextEdit
from lvslab.model.load import load_lab
from lvslab.model.problems import BadInput, Place, Problem, Violation, listed
from lvslab.model.source import YamlText, read_source

FILE, SHEET = "lesson.yaml", "sheet.md"
HINTS = 3
_VALUE = re.compile(r"@([a-z_]+(?:\.[A-Za-z0-9_-]+)+)@")
"""A value of the lab in a text of a lesson, so that the lesson fits other labs, too."""

_ANSWERS = ("owner", "takeover", "servers", "gateway", "choice")
Named = tuple[Place, str, tuple[str, ...]]
"""Where a name is, the name, and those that there are."""


@dataclass(frozen=True)
class Lesson:
    """A lesson: its name, what lesson.yaml says, its sheet, and its lab while all is well."""

    name: str
    file: LessonFile
    folder: Path
    lab: Lab

    @cached_property
    def sheet(self) -> str:
        """The sheet for the student, Markdown, with the values of the lab."""
        return str(
            _filled((self.folder / SHEET).read_text("utf-8"), self.lab.model_dump(mode="json"))
        )


def names(folder: Path = LESSONS) -> list[str]:
    """The names of all lessons, sorted."""
    return sorted(path.parent.name for path in folder.glob(f"*/{FILE}"))


def load_lesson(name: str, folder: Path = LESSONS, lab: Lab | None = None) -> Lesson:
    """A lesson by its name, in the lab that it starts from or in another one of the same shape.

    Raises InputError if there is no such lesson, BadInput with everything that is wrong in it.
    """
    known = names(folder)
    if name not in known:
        meant = did_you_mean(name, known)
        hint = f"did you mean {meant}? " if meant else ""
        raise InputError(
            f"there is no lesson {name}", hint=f"{hint}the lessons are: {listed(known, 40)}"
        )
    place = folder / name
    source = read_source(place / FILE)
    _stop_if(source, shape_findings(LessonFile, source.data))
    lab = lab or _lab(source, _validated(source.data))
    values = lab.model_dump(mode="json")
    _stop_if(source, list(_unknown_values(source.data, values)))
    file = _validated(_filled(source.data, values))
    _stop_if(source, [*_counts(file), *_names(file, lab), *_edits(file), *_questions(file)])
    if not (place / SHEET).is_file():
        right = "write what the student sees, and what is to be found out"
        raise BadInput([Problem(str(place / SHEET), 0, 0, "there is no sheet", right)])
    return Lesson(name, file, place, lab)


def _validated(data: Any) -> LessonFile:
    return LessonFile.model_validate_json(json.dumps(data), strict=True)


def _filled(data: Any, values: Any) -> Any:
    """A document with the lab's values in the place of `@place@`."""
    if isinstance(data, str):
        return _VALUE.sub(lambda match: str(_value(values, match[1])), data)
    if isinstance(data, list):
        return [_filled(entry, values) for entry in data]
    if isinstance(data, dict):
        return {key: _filled(entry, values) for key, entry in data.items()}
    return data


def _value(values: Any, place: str) -> Any:
    """The value at a place of a lab; None if there is none."""
    for step in place.split("."):
        values = values.get(step) if isinstance(values, dict) else None
    return values


def _unknown_values(data: Any, values: Any, path: Place = ()) -> Iterator[Violation]:
    """The places that texts name, and that the lab does not have."""
    if isinstance(data, str):
        for place in _VALUE.findall(data):
            if isinstance(_value(values, place), dict | list | NoneType):
                right = "name a single value of lab.yaml, such as @vrrp_instances.VI_1.address@"
                yield Violation(path, f"the lab has no value {place}", right)
        return
    entries: Iterable[tuple[Any, Any]] = ()
    if isinstance(data, dict | list):
        entries = data.items() if isinstance(data, dict) else enumerate(data)
    for key, entry in entries:
        yield from _unknown_values(entry, values, (*path, key))


def lab_file(file: LessonFile) -> Path:
    """The lab.yaml that a lesson starts from."""
    return EXAMPLES / file.lab / LAB if file.lab else DATA / LAB


def _stop_if(source: YamlText, findings: list[Violation]) -> None:
    placed = [
        Problem(source.file, *source.position(f.path, on_key=f.on_key), f.what, f.right)
        for f in findings
    ]
    if placed or source.problems:
        raise BadInput([*source.problems, *placed])


def _lab(source: YamlText, file: LessonFile) -> Lab:
    path = lab_file(file)
    if not path.is_file():
        known = listed(sorted(p.parent.name for p in EXAMPLES.glob(f"*/{LAB}")))
        right = f"the examples are {known}"
        _stop_if(source, [Violation(("lab",), f"there is no example {file.lab}", right)])
    return load_lab(path)


def _counts(file: LessonFile) -> Iterator[Violation]:
    if len(file.hints) != HINTS:
        what = f"there are {len(file.hints)} hints"
        yield Violation(("hints",), what, "write three, each says more than the one before")
    if not any(dict(file.broken)[key] for key in dict(file.broken)) and not file.checks:
        what = "nothing is broken, and the lesson has no check of its own"
        yield Violation(("title",), what, "write what is broken, or what an open task must reach")


def _names(file: LessonFile, lab: Lab) -> Iterator[Violation]:
    """Names of nodes and of parts of the lab that there are not."""
    for path, name, known in [*_nodes(file, lab), *_parts(file, lab)]:
        if name not in known:
            meant = did_you_mean(name, known)
            question = f"did you mean {meant}? " if meant else ""
            right = f"{question}the lab {lab.name} has {listed(known)}"
            on_key = path[0] in ("fails", "wavers")
            yield Violation(path, f"there is no {name}", right, on_key=on_key)


def _nodes(file: LessonFile, lab: Lab) -> Iterator[Named]:
    nodes, machines = tuple(lab.nodes), (*lab.nodes, CLIENT)
    for kind in ("model", "texts", "units", "running"):
        for index, change in enumerate(getattr(file.broken, kind)):
            for number, node in enumerate(change.nodes):
                yield ("broken", kind, index, "nodes", number), node, nodes
    for index, fault in enumerate(file.broken.faults):
        yield ("broken", "faults", index, "node"), fault.node, nodes
        if fault.interface and fault.node in nodes:
            place: Place = ("broken", "faults", index, "interface")
            yield place, fault.interface, tuple(lab.nodes[fault.node].interfaces)
    for index, step in enumerate(file.solution):
        yield ("solution", index, "node"), step.node, nodes
    for key in ("fails", "wavers"):
        for machine in getattr(file, key):
            yield (key, machine), machine, machines
    for index, check in enumerate(file.checks):
        yield ("checks", index, "machine"), check.machine, machines


def _parts(file: LessonFile, lab: Lab) -> Iterator[Named]:
    for name, this in file.questions.items():
        place: Place = ("questions", name)
        for key, asked in (("owner", this.owner), ("takeover", this.takeover)):
            if asked:
                yield (*place, key, "instance"), asked.instance, tuple(lab.vrrp_instances)
                for number, node in enumerate(asked.without):
                    yield (*place, key, "without", number), node, tuple(lab.nodes)
        if this.servers:
            server = this.servers.virtual_server
            yield (*place, "servers", "virtual_server"), server, tuple(lab.virtual_servers)
            for number, node in enumerate(this.servers.without):
                yield (*place, "servers", "without", number), node, tuple(lab.nodes)
        if this.gateway:
            yield (*place, "gateway", "table"), this.gateway.table, tuple(lab.tables)


def _edits(file: LessonFile) -> Iterator[Violation]:
    """Edits that say both ways or none, faults without an interface, checks that ask nothing."""
    for index, edit in enumerate(file.broken.texts):
        if bool(edit.replace) == bool(edit.text):
            what = f"{edit.path}: neither an edit nor a whole text, or both"
            yield Violation(("broken", "texts", index), what, "write `replace` and `by`, or `text`")
    for index, fault in enumerate(file.broken.faults):
        if (fault.kind == "deaf") == bool(fault.interface):
            what = f"a fault {fault.kind} with the interface {fault.interface or '(none)'}"
            right = "cut and silent need one; deaf is about all of them"
            yield Violation(("broken", "faults", index, "kind"), what, right)
    for index, step in enumerate(file.solution):
        done = bool(step.path or step.run) + bool(step.heal)
        if done != 1 or bool(step.path) != bool(step.replace or step.text):
            right = "write `path` with `replace` and `by` or with `text`, `run`, both, or `heal`"
            what = f"{step.says}: nothing is done, or too much"
            yield Violation(("solution", index), what, right)
    for index, check in enumerate(file.checks):
        asked = (check.expect, check.refuse, check.least, check.most)
        if all(wanted is None for wanted in asked):
            what = f"{check.name}: nothing is expected of the output"
            right = "write `expect`, `refuse`, `least` or `most`"
            yield Violation(("checks", index), what, right)
        for key in ("expect", "refuse"):
            try:
                re.compile(getattr(check, key) or "")
            except re.error as error:
                what = f"{getattr(check, key)!r}: {error}"
                right = "write a regular expression of Python"
                yield Violation(("checks", index, key), what, right)


def _questions(file: LessonFile) -> Iterator[Violation]:
    for name, this in file.questions.items():
        ways = [key for key in _ANSWERS if getattr(this, key) is not None]
        if len(ways) != 1:
            what = f"{len(ways)} ways to know the answer to {name}"
            yield Violation(("questions", name), what, f"write exactly one of {listed(_ANSWERS)}")
        elif this.choice and this.choice > len(this.choices):
            what = f"the answer is choice {this.choice} of {len(this.choices)}"
            yield Violation(("questions", name, "choice"), what, "count the choices from 1")


def edited(text: str, edit: TextEdit | Step, where: str) -> str:
    """A file's text after an edit. Raises InputError if what is replaced is not there once."""
    if edit.text:
        return edit.text
    count = text.count(edit.replace)
    if count != 1 and not (count and edit.every):
        raise InputError(
            f"{edit.replace!r} is there {count} times, not once",
            where=f"{where}: {edit.path}",
            hint="name enough of the text, or change the lesson",
        )
    return text.replace(edit.replace, edit.by)


def choices_of(question: Question, lab: Lab) -> list[str]:
    """What may be chosen as an answer; nothing if it is a number or an address."""
    if question.owner:
        return sorted(lab.vrrp_instances[question.owner.instance].priorities)
    return list(question.choices)
