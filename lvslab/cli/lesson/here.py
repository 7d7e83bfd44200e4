"""What the verbs of lessons share: which lab is in which lesson, and how checks are shown."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from lvslab.cli.common import Named, session

if TYPE_CHECKING:
    from lvslab.lab.cluster import Cluster
    from lvslab.lessons.attempt import Attempt
    from lvslab.lessons.grade import Judged
    from lvslab.lessons.lesson_folder import Lesson
    from lvslab.lessons.predictions import Prediction


def _names() -> Iterable[str]:
    from lvslab.lessons.lesson_folder import names

    return names()


LESSON = Named("lesson", _names)
"""The name of a lesson."""

lab_name = click.option(
    "--name",
    default=None,
    metavar="NAME",
    help="The name of the running lab. [default: the one that is in a lesson]",
)


def current(name: str | None) -> tuple[Cluster, Lesson, Attempt]:
    """The lab that is in a lesson, the lesson, and how far it is. Raises InputError if none is."""
    from lvslab.lab.cluster import Cluster
    from lvslab.lessons.attempt import attempt_in, lab_in_a_lesson
    from lvslab.lessons.course import lesson_in

    cluster = Cluster.running(name or lab_in_a_lesson())
    attempt = attempt_in(cluster)
    return cluster, lesson_in(cluster, attempt.lesson), attempt


def begun(lesson: str, name: str | None) -> tuple[Cluster, Lesson]:
    """The running lab and a lesson that is to begin in it. Raises InputError if it cannot."""
    from lvslab.lab.cluster import Cluster
    from lvslab.lessons.course import lesson_in
    from lvslab.lessons.lesson_folder import load_lesson

    cluster = Cluster.running(name or load_lesson(lesson).lab.name)
    return cluster, lesson_in(cluster, lesson)


def show_question(prediction: Prediction) -> None:
    """A question, and what may be chosen."""
    this = session()
    this.out(f"? {prediction.name}: {prediction.ask}")
    for number, choice in enumerate(prediction.choices, start=1):
        this.out(f"    {number} {choice}")


def show_judged(judged: Judged) -> None:
    """A check, as a line with what shows it."""
    this = session()
    this.emit("check", **vars(judged))
    if not judged.looked:
        words = f"not looked at, because {judged.because}"
        this.out(click.style(f"· {judged.machine:<6} {judged.title}: {words}", dim=True))
        return
    mark = click.style("✓", fg="green") if judged.ok else click.style("✗", fg="red", bold=True)
    this.out(f"{mark} {judged.machine:<6} {judged.title}: {judged.says}")
    if not judged.ok:
        this.out(f"      shown by: {judged.command}")
        this.out(f"      look at: {judged.hint}")
