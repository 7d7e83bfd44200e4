"""The students of a class as parts of names on a cluster: the same list that `class make` takes."""

from __future__ import annotations

import re
from pathlib import Path

from lvslab.core.errors import InputError
from lvslab.lessons.students import read_class

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")


def name_of(student: str) -> str:
    """An id of the list as a part of a host name: in small letters, with - in place of . and _."""
    return re.sub(r"[._]", "-", student.lower())


def read(path: Path) -> list[str]:
    """The students in the file's order, as `name_of` writes them.

    Raises BadInput as `read_class` does, InputError if an id ends with -, . or _, or two give one
    name.
    """
    found: dict[str, str] = {}
    for student in read_class(path):
        name = name_of(student.id)
        if not _NAME.fullmatch(name):
            raise InputError(
                f"the id {student.id} cannot be a part of machines' names",
                where=str(path),
                hint="end it with a letter or a digit",
            )
        if name in found:
            raise InputError(
                f"{found[name]} and {student.id} would have machines of the same name, {name}",
                where=str(path),
                hint="write one of the two ids differently",
            )
        found[name] = student.id
    return list(found)
