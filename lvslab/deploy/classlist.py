"""The students of a class: a CSV file with a column `student`."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from lvslab.core.errors import InputError

COLUMN = "student"
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,29}[a-z0-9])?")


def read(path: Path) -> list[str]:
    """The names in the file's order; other columns are not looked at.

    Raises InputError with the line if a name is no host name, or is there twice.
    """
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {error}", where=str(path)) from None
    rows = csv.DictReader(text.splitlines())
    if COLUMN not in (rows.fieldnames or ()):
        raise InputError(
            f"there is no column {COLUMN}",
            where=str(path),
            hint=f"the first line names the columns, one of them {COLUMN}",
        )
    found: dict[str, int] = {}
    for row in rows:
        name, where = (row[COLUMN] or "").strip(), f"{path}:{rows.line_num}"
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{name!r} cannot be a part of machines' names",
                where=where,
                hint="at most 31 small letters, digits and -, a letter first and no - at the end",
            )
        if name in found:
            raise InputError(f"{name} is in line {found[name]} too", where=where)
        found[name] = rows.line_num
    if not found:
        raise InputError("there is no student in it", where=str(path))
    return list(found)
