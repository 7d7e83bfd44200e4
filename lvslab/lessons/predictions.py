"""Questions of a lesson: the right answers, computed from the lab."""

from __future__ import annotations

import re
from dataclasses import dataclass

from lvslab.core.errors import InputError
from lvslab.core.words import decimal
from lvslab.lessons.lesson_folder import Lesson, choices_of
from lvslab.model.lab import Lab
from lvslab.model.lesson import Question
from lvslab.model.problems import listed


@dataclass(frozen=True)
class Prediction:
    """A question with what was answered ("" if nothing was), and whether that is right."""

    name: str
    ask: str
    choices: tuple[str, ...]
    unit: str
    given: str
    right: str
    ok: bool
    because: str


def predictions(lesson: Lesson, given: dict[str, str]) -> list[Prediction]:
    """The questions of a lesson with these answers, by the questions' names."""
    found = []
    for name, this in lesson.file.questions.items():
        right, said = answer(this, lesson.lab), given.get(name, "")
        choices = tuple(choices_of(this, lesson.lab))
        ok = bool(said) and is_right(this, lesson.lab, said)
        found.append(Prediction(name, this.ask, choices, this.unit, said, right, ok, this.because))
    return found


def answer(question: Question, lab: Lab) -> str:
    """The right answer: a director, a number, an address, or a choice."""
    if asked := question.owner:
        return _first_owner(lab, asked.instance, asked.without)
    if wait := question.takeover:
        heir = _first_owner(lab, wait.instance, wait.without)
        priority = lab.vrrp_instances[wait.instance].priorities[heir]
        return decimal(lab.directors.vrrp.down_seconds(priority), 2)
    if many := question.servers:
        servers = lab.real_servers(many.virtual_server).keys() - set(many.without)
        return str(len(servers))
    if table := question.gateway:
        return str(lab.vrrp_instances[lab.tables[table.table].via].address)
    assert question.choice  # `lesson_folder`: one of them is there
    return question.choices[question.choice - 1]


def _first_owner(lab: Lab, instance: str, without: tuple[str, ...]) -> str:
    left = [node for node in lab.owners(instance) if node not in without]
    return left[0] if left else "nobody"


def is_right(question: Question, lab: Lab, given: str) -> bool:
    """Whether an answer is right; a number may be off by the question's tolerance."""
    right = answer(question, lab)
    if question.takeover or question.servers:
        number = _number(given)
        return number is not None and abs(number - float(right)) <= question.tolerance + 1e-9
    return given == right


def accepted(lesson: Lesson, name: str, given: str) -> str:
    """An answer as it is kept: a choice may be named by its number.

    Raises InputError if there is no such question, or if this cannot be an answer.
    """
    question = lesson.file.questions.get(name)
    if question is None:
        known = listed(lesson.file.questions)
        raise InputError(f"there is no question {name}", hint=f"the questions are: {known}")
    given = given.strip()
    if choices := choices_of(question, lesson.lab):
        by_number = {str(number): choice for number, choice in enumerate(choices, start=1)}
        chosen = by_number.get(given, given)
        if chosen not in choices:
            raise InputError(f"{given!r} is none of the choices", hint=listed(choices))
        return chosen
    if (question.takeover or question.servers) and _number(given) is None:
        raise InputError(f"{given!r} is not a number", hint="write it as 0.75")
    return given


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text) else None
