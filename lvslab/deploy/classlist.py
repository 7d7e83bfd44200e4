"""The students of a class as parts of names on a cluster: the same list that `class make` takes."""

from __future__ import annotations

import re
from pathlib import Path

from lvslab.lessons.students import Student, read_class
from lvslab.model.problems import BadInput, Problem

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def name_of(student: str) -> str:
    """An id of the list as a part of a host name: in small letters, with - in place of . and _."""
    return re.sub(r"[._]", "-", student.lower())


def read(path: Path) -> dict[str, Student]:
    """The students in the file's order, by their names as `name_of` writes them.

    Raises BadInput as `read_class` does, and with every id that ends with -, . or _, or that gives
    the same name as another.
    """
    found: dict[str, Student] = {}
    problems = []
    for student in read_class(path):
        name = name_of(student.id)
        if not _NAME.fullmatch(name):
            what = f"the id {student.id} cannot be a part of machines' names"
            right = "end it with a letter or a digit"
        elif name in found:
            what = f"{found[name].id} and {student.id} would have machines of the same name, {name}"
            right = "write one of the two ids differently"
        else:
            found[name] = student
            continue
        problems.append(Problem(str(path), student.line, 1, what, right))
    if problems:
        raise BadInput(problems)
    return found
