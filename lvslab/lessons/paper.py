"""A lesson's report, to read and to hand in: text and HTML from the same values."""

from __future__ import annotations

from typing import Any

from lvslab.lessons.attempt import Attempt
from lvslab.lessons.grade import Judged
from lvslab.lessons.lesson_folder import Lesson
from lvslab.lessons.predictions import predictions
from lvslab.render.texts import render


def values(lesson: Lesson, attempt: Attempt) -> dict[str, Any]:
    """All that a report says, JSON-able."""
    found = [Judged(**finding) for finding in attempt.findings]
    asked = predictions(lesson, attempt.answers)
    return {
        "lesson": lesson.name,
        "title": lesson.file.title,
        "lab": lesson.lab.name,
        "started": attempt.started,
        "checked": attempt.checked,
        "checks": attempt.checks,
        "hints": list(lesson.file.hints[: attempt.hints]),
        "shown": attempt.shown,
        "predictions": [vars(prediction) for prediction in asked],
        "predicted": sum(prediction.ok for prediction in asked),
        "findings": [vars(judged) for judged in found],
        "held": sum(judged.ok and judged.looked for judged in found),
        "passed": bool(found) and all(judged.ok and judged.looked for judged in found),
    }


def as_text(lesson: Lesson, attempt: Attempt) -> str:
    """The report as plain text."""
    return render("lesson-report.txt.j2", values(lesson, attempt))


def as_html(lesson: Lesson, attempt: Attempt) -> str:
    """The report as one page of HTML, without any other file."""
    return render("lesson-report.html.j2", values(lesson, attempt))
