"""A lesson tried in the running lab: does it break what it says, and does its solution pass?"""

from __future__ import annotations

import time
from dataclasses import dataclass

from lvslab.core.events import Listener, silent
from lvslab.core.waiting import until
from lvslab.lab.cluster import Cluster
from lvslab.lessons import course, grade
from lvslab.lessons.grade import Judged
from lvslab.lessons.lesson_folder import Lesson
from lvslab.model.lesson import LessonFile

Failing = dict[str, set[int | str]]
"""By machine: the items of the checklist that fail, and the names of the lesson's own checks."""


@dataclass(frozen=True)
class Rehearsal:
    """How it went: seconds of the start, until the lab is broken as declared, and until solved.

    `problems` is empty if it went well.
    """

    started: float
    broken: float
    solved: float
    problems: tuple[str, ...]


def rehearse(
    cluster: Cluster, lesson: Lesson, seconds: float, listener: Listener = silent
) -> Rehearsal:
    """Start a lesson, wait until what it declares fails, solve it, wait until all holds.

    `seconds` bounds either wait. Raises what `course.start` and `course.solve` raise.
    """
    begin = time.monotonic()
    course.start(cluster, lesson, listener)
    started = time.monotonic()
    wanted = declared(lesson.file)

    def now() -> Failing:
        return without_wavering(failing(grade.judge(cluster, lesson)), lesson.file)

    found = until(now, seconds, good=lambda this: this == wanted, pause=1.0)
    problems = [] if found == wanted else _differences(found, wanted)
    broken = time.monotonic()
    course.solve(cluster, lesson, listener)
    rest = grade.wait(cluster, lesson, seconds)
    problems += [f"solved, but {j.machine}: {j.title}: {j.says}" for j in rest if not j.ok]
    solved = time.monotonic()
    return Rehearsal(started - begin, broken - started, solved - broken, tuple(problems))


def declared(file: LessonFile) -> Failing:
    """What a lesson says that fails at its start."""
    found: Failing = {machine: set(items) for machine, items in file.fails.items() if items}
    for check in file.checks:
        if check.starts == "red":
            found.setdefault(check.machine, set()).add(check.name)
    return found


def failing(found: list[Judged]) -> Failing:
    """What fails, whether it is looked at or not."""
    bad: Failing = {}
    for judged in found:
        if not judged.ok:
            bad.setdefault(judged.machine, set()).add(judged.item or judged.title)
    return bad


def without_wavering(found: Failing, file: LessonFile) -> Failing:
    """Without what a lesson says that may fail, and may not."""
    left = {m: these - set(file.wavers.get(m, ())) for m, these in found.items()}
    return {machine: these for machine, these in left.items() if these}


def _differences(found: Failing, wanted: Failing) -> list[str]:
    said = []
    for machine in sorted({*found, *wanted}):
        here, there = found.get(machine, set()), wanted.get(machine, set())
        said += [
            f"{machine}: {name} holds, and should fail" for name in sorted(there - here, key=str)
        ]
        said += [
            f"{machine}: {name} fails, and should not" for name in sorted(here - there, key=str)
        ]
    return said
