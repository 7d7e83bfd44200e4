"""`lesson start`, `answer`, `hint`, `solve`, `reset`: a lesson in the running lab."""

from __future__ import annotations

import time

import click

from lvslab.cli.common import as_json, session, verb
from lvslab.cli.lab.which import with_labs
from lvslab.cli.lesson.here import LESSON, begun, current, lab_name, show_question
from lvslab.core.errors import CheckFailed
from lvslab.core.places import PROGRAM


@verb("start", "lesson start forwarding-off\nlesson start forwarding-off --name second")
@click.argument("lesson_name", type=LESSON, metavar="LESSON")
@lab_name
@as_json
@with_labs
def start(lesson_name: str, name: str | None) -> None:
    """Begin a lesson: the lab goes back to its healthy checkpoint, and is broken then.

    A lesson that was begun before is forgotten.
    """
    from lvslab.lessons import course
    from lvslab.lessons.predictions import predictions

    this, began = session(), time.monotonic()
    cluster, lesson = begun(lesson_name, name)
    with cluster.changing(), this.reporting("lesson-start") as listener:
        course.start(cluster, lesson, listener)
    seconds = time.monotonic() - began
    asked = predictions(lesson, {})
    questions = {p.name: {"ask": p.ask, "choices": p.choices} for p in asked}
    this.emit("start", lesson=lesson.name, seconds=round(seconds, 1), questions=questions)
    this.out(lesson.sheet)
    for prediction in asked:
        show_question(prediction)
    if asked:
        this.out(f"{PROGRAM} lesson answer {asked[0].name} ANSWER, before the first check")
    this.out(f"{lesson.name} has begun ({seconds:.1f} s); {PROGRAM} lesson check grades it")


@verb("answer", "lesson answer holder lvs1\nlesson answer wait 0.75")
@click.argument("question")
@click.argument("value", metavar="ANSWER")
@lab_name
@as_json
@with_labs
def answer(question: str, value: str, name: str | None) -> None:
    """Answer a question, before the first check. A choice may be named by its number.

    Whether it is right is said by the check.
    """
    from lvslab.core.errors import InputError
    from lvslab.lessons.predictions import accepted

    cluster, lesson, attempt = current(name)
    if attempt.checks and question in attempt.answers:
        raise InputError(
            "the answers are known since the first check", hint=f"{PROGRAM} lesson report"
        )
    attempt.answers[question] = accepted(lesson, question, value)
    attempt.keep(cluster)
    session().emit("answer", question=question, given=attempt.answers[question])
    session().out(f"{question}: {attempt.answers[question]}")


@verb("hint", "lesson hint")
@lab_name
@as_json
@with_labs
def hint(name: str | None) -> None:
    """Open one hint more; the report says how many were opened."""
    cluster, lesson, attempt = current(name)
    hints = lesson.file.hints
    attempt.hints = min(attempt.hints + 1, len(hints))
    attempt.keep(cluster)
    session().emit("hints", opened=attempt.hints, of=len(hints), hints=hints[: attempt.hints])
    for number, text in enumerate(hints[: attempt.hints], start=1):
        session().out(f"{number} of {len(hints)}: {text}")


@verb("solve", "lesson solve\nlesson solve --show")
@click.option("--show", is_flag=True, help="Only show the steps.")
@lab_name
@as_json
@with_labs
def solve(show: bool, name: str | None) -> None:
    """Do the steps of the solution, and say each. The report says that it was shown."""
    from lvslab.lessons import course, grade

    this = session()
    cluster, lesson, attempt = current(name)
    attempt.shown = True
    attempt.keep(cluster)
    for step in lesson.file.solution:
        this.emit("step", **step.model_dump(mode="json", exclude_defaults=True))
        this.out(f"{step.node}: {step.says}")
        if step.path:
            this.out(f"    edit {step.path}")
        if step.run:
            this.out(f"    {' '.join(step.run)}")
    if show:
        return
    with cluster.changing():
        course.solve(cluster, lesson)
    found = grade.wait(cluster, lesson, 30)
    if bad := [judged for judged in found if not judged.ok]:
        raise CheckFailed(f"the solution does not pass: {bad[0].machine}: {bad[0].says}")
    this.out("solved: every check holds")


@verb("reset", "lesson reset")
@lab_name
@as_json
@with_labs
def reset(name: str | None) -> None:
    """End the lesson: the lab goes back to its healthy checkpoint."""
    from lvslab.lessons import course

    cluster, lesson, _ = current(name)
    with cluster.changing():
        course.end(cluster)
    session().emit("reset", lesson=lesson.name)
    session().out(f"{lesson.name} has ended; the lab is as it was before")
