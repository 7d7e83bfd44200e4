"""`lesson check` and `lesson report`: the grade."""

from __future__ import annotations

from pathlib import Path

import click

from lvslab.cli.common import as_json, session, verb
from lvslab.cli.lab.which import with_labs
from lvslab.cli.lesson.here import LESSON, begun, current, lab_name, show_judged
from lvslab.core.errors import CheckFailed, InputError
from lvslab.core.places import PROGRAM


@verb("check", "lesson check\nlesson check --wait 0\nlesson check --json")
@click.option(
    "--wait",
    "seconds",
    type=click.FloatRange(0, 600),
    default=10,
    show_default=True,
    metavar="SECONDS",
    help="Try again until all checks hold, for this time at most.",
)
@lab_name
@as_json
@with_labs
def check(seconds: float, name: str | None) -> None:
    """Grade the lesson: status 1 if a check fails.

    The questions come first. What stands on something that fails is not looked at.
    """
    from lvslab.lessons import grade
    from lvslab.lessons.attempt import now
    from lvslab.lessons.predictions import predictions

    this = session()
    cluster, lesson, attempt = current(name)
    if missing := [q for q in lesson.file.questions if q not in attempt.answers]:
        raise InputError(
            f"first predict: {lesson.file.questions[missing[0]].ask}",
            hint=f"{PROGRAM} lesson answer {missing[0]} ANSWER; open are: {', '.join(missing)}",
        )
    found = grade.wait(cluster, lesson, seconds)
    attempt.checks += 1
    attempt.checked, attempt.findings = now(), [vars(judged) for judged in found]
    attempt.keep(cluster)
    for prediction in predictions(lesson, attempt.answers):
        this.emit("prediction", **vars(prediction))
        right = "right" if prediction.ok else f"it is {prediction.right} {prediction.unit}".rstrip()
        this.out(f"? {prediction.ask} {prediction.given}: {right}; {prediction.because}")
    for judged in found:
        show_judged(judged)
    bad = [judged for judged in found if not judged.ok and judged.looked]
    if bad:
        raise CheckFailed(
            f"{len(bad)} of {len(found)} checks fail; first: {bad[0].machine}: {bad[0].says}",
            hint=f"{PROGRAM} lesson hint",
        )
    this.out(f"passed: all {len(found)} checks hold")


@verb("report", "lesson report\nlesson report --html report.html")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Also write it as a page of HTML.",
)
@lab_name
@as_json
@with_labs
def report(html: Path | None, name: str | None) -> None:
    """What was predicted, what the last check found, and which hints were opened."""
    from lvslab.core.files import write_atomic
    from lvslab.lessons import paper

    this = session()
    _, lesson, attempt = current(name)
    this.emit("report", **paper.values(lesson, attempt))
    this.out(paper.as_text(lesson, attempt).rstrip())
    if html:
        write_atomic(html, paper.as_html(lesson, attempt))
        this.out(f"written: {html}")


@verb("rehearse", "lesson rehearse forwarding-off\nlesson rehearse my-lesson --wait 90")
@click.argument("lesson_name", type=LESSON, metavar="LESSON")
@click.option(
    "--wait",
    "seconds",
    type=click.FloatRange(0, 600),
    default=60,
    show_default=True,
    metavar="SECONDS",
    help="How long it may take until it is broken as declared, and until the solution passes.",
)
@lab_name
@as_json
@with_labs
def rehearse(lesson_name: str, seconds: float, name: str | None) -> None:
    """Try a lesson before the class: is it broken as it says, does its solution pass?

    Status 1 if not. The lab is as the solution leaves it; `lab restore up` brings it back.
    """
    from lvslab.lessons import attempt, rehearsal

    this = session()
    cluster, lesson = begun(lesson_name, name)
    with cluster.changing(), this.reporting("lesson-rehearse") as listener:
        went = rehearsal.rehearse(cluster, lesson, seconds, listener)
        attempt.forget(cluster)
    this.emit("rehearsal", lesson=lesson.name, **vars(went))
    for problem in went.problems:
        this.out(f"✗ {problem}")
    times = f"started in {went.started:.1f} s, broken after {went.broken:.1f} s more"
    times += f", solved in {went.solved:.1f} s"
    this.out(f"{lesson.name}: {times}")
    if went.problems:
        raise CheckFailed(f"{lesson.name} is not as it says: {went.problems[0]}")
