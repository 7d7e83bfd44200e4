"""The reports of a class: codes that students handed in, checked without their machines.

A valid code proves that a program with the student's own key made it: it is of this student, this
lesson and this node. It does not prove that the machine was well: a student is root on it, and can
read the key there.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvslab.core.errors import InputError
from lvslab.lessons.class_files import CLASS, KEY, key_in
from lvslab.lessons.students import Code, codes_in
from lvslab.render.texts import render

PASSED, OPEN, NOTHING = "passed", "not all", "nothing"
PROOF = (
    "A valid code was made with the student's own key. It does not prove that the machine was "
    "well: a student is root on it and can read the key."
)


@dataclass(frozen=True)
class Row:
    """A student's result: which nodes passed, what is missing, and what was not valid."""

    id: str
    name: str
    lesson: str
    result: str
    passed: tuple[str, ...]
    missing: tuple[str, ...]
    hints: int
    invalid: int


@dataclass(frozen=True)
class Overview:
    """The results of a class; `strange` are valid-looking codes of nobody in the list."""

    course: str
    rows: tuple[Row, ...]
    strange: tuple[str, ...]


def grade(folder: Path, handed_in: Path) -> Overview:
    """The results of the class of a folder, from a file with codes or a folder of such files.

    Raises InputError if the class or the codes cannot be read.
    """
    try:
        known = json.loads((folder / CLASS).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        hint = "name the folder that `class make` has written"
        raise InputError("there is no class here", where=str(folder), hint=hint) from None
    codes = list(codes_in(_texts(handed_in), key_in(folder)))
    rows = [_row(student, known["nodes"], codes) for student in known["students"]]
    ids = {student["id"].lower() for student in known["students"]}
    strange = sorted({code.student for code in codes if code.student.lower() not in ids})
    return Overview(known["class"], tuple(rows), tuple(strange))


def _texts(place: Path) -> str:
    """The text of a file, or of all files of a folder (not those of the class itself)."""
    if not place.exists():
        raise InputError("there is nothing to grade", where=str(place))
    paths = sorted(place.rglob("*")) if place.is_dir() else [place]
    own = {KEY, CLASS}
    files = [path for path in paths if path.is_file() and path.name not in own]
    return "\n".join(path.read_bytes().decode(errors="replace") for path in files)


def _row(student: dict[str, Any], nodes: list[str], codes: Iterable[Code]) -> Row:
    """A student's row; a code of another lesson than the student's counts as not valid."""
    own = [code for code in codes if code.student.lower() == student["id"].lower()]
    right = [c for c in own if c.valid and c.lesson == student["lesson"] and c.node in nodes]
    passed = {code.node for code in right if code.held == code.checks > 0}
    missing = tuple(node for node in nodes if node not in passed)
    result = PASSED if not missing else OPEN if right else NOTHING
    return Row(
        student["id"],
        student["name"],
        student["lesson"],
        result,
        tuple(node for node in nodes if node in passed),
        missing,
        max((code.hints for code in right), default=0),
        len(own) - len(right),
    )


def as_csv(overview: Overview) -> str:
    """The overview for a spreadsheet. A cell that a spreadsheet would compute is quoted."""
    file = io.StringIO()
    out = csv.writer(file, lineterminator="\n")
    out.writerow(["id", "name", "lesson", "result", "passed", "missing", "hints", "invalid codes"])
    for row in overview.rows:
        cells = [row.id, row.name, row.lesson, row.result, " ".join(row.passed)]
        out.writerow([*map(_plain, cells), " ".join(row.missing), row.hints, row.invalid])
    return file.getvalue()


def _plain(cell: str) -> str:
    return f"'{cell}" if cell[:1] in ("=", "+", "-", "@") else cell


def as_html(overview: Overview) -> str:
    """The overview as one page, without any other file."""
    return render("class-overview.html.j2", {"class": overview, "proof": PROOF})
