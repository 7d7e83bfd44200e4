"""`lesson list`, `lesson show`, `lesson seeds`: lessons without a running lab."""

from __future__ import annotations

from pathlib import Path

import click

from lvslab.cli.common import as_json, session, verb
from lvslab.cli.lesson.here import LESSON, show_question
from lvslab.core.places import WORK


@verb("list", "lesson list\nlesson list --json")
@as_json
def list_() -> None:
    """All lessons: name, minutes, title."""
    from lvslab.lessons.lesson_folder import load_lesson, names

    this = session()
    for name in names():
        file = load_lesson(name).file
        lab = file.lab or "default"
        this.emit("lesson", name=name, title=file.title, minutes=file.minutes, lab=lab)
        needs = f" (lab: examples/{file.lab})" if file.lab else ""
        this.out(f"{name:<20} {file.minutes:>3} min  {file.title}{needs}")


@verb("show", "lesson show forwarding-off")
@click.argument("name", type=LESSON, metavar="LESSON")
@as_json
def show(name: str) -> None:
    """The sheet of a lesson, what is learnt, and its questions. No hint and no solution."""
    from lvslab.lessons.lesson_folder import load_lesson
    from lvslab.lessons.predictions import predictions

    this = session()
    lesson = load_lesson(name)
    asked = {name: question.ask for name, question in lesson.file.questions.items()}
    learn = list(lesson.file.learn)
    this.emit("lesson", name=name, sheet=lesson.sheet, learn=learn, questions=asked)
    this.out(lesson.sheet)
    for sentence in lesson.file.learn:
        this.out(f"- {sentence}")
    for prediction in predictions(lesson, {}):
        show_question(prediction)


@verb("seeds", "lesson seeds forwarding-off\nlesson seeds forwarding-off --out /tmp/seeds")
@click.argument("name", type=LESSON, metavar="LESSON")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    help="The folder for the seeds.  [default: artifacts/lessons/LESSON]",
)
@as_json
def seeds(name: str, out: Path | None) -> None:
    """Write the seeds of a lesson, for machines in VMware, and its sheet.

    Give them to the machines in the place of the lab's own seeds: a changed seed counts at the next
    boot. Then `labcheck --lesson` on the nodes grades, and `labcheck --hint` gives hints.
    """
    from lvslab.lessons.lesson_folder import load_lesson
    from lvslab.lessons.lesson_seeds import write_seeds

    this = session()
    lesson = load_lesson(name)
    written = write_seeds(lesson, out or WORK / "artifacts/lessons" / name)
    this.emit("seeds", lesson=name, files=[str(path) for path in written])
    for path in written:
        this.out(str(path))
    for fault in lesson.file.broken.faults:
        place = f"{fault.node} {fault.interface or ''}".rstrip()
        this.out(f"by hand: {fault.kind} on {place}")
