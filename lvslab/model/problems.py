"""What is wrong in a file that the user wrote, where it is, and what would be right."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from lvslab.core.errors import InputError

Place = tuple[str | int, ...]
"""Where a value is in a document: keys and list indexes from the top."""


@dataclass(frozen=True)
class Violation:
    """Something wrong at a path of a document that has not been given a position yet.

    `on_key`: it is the key that is wrong, not its value. `unknown`: the key is one that the
    model does not have. `meant`: what the key or value was probably meant to be.
    """

    path: Place
    what: str
    right: str
    on_key: bool = False
    unknown: bool = False
    meant: str | None = None


@dataclass(frozen=True, order=True)
class Problem:
    """Something wrong at a place of a file; line and column count from 1, 0 is the whole file."""

    file: str
    line: int
    column: int
    what: str
    right: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.what}; {self.right}"


class BadInput(InputError):
    """Everything that is wrong in what the user wrote, sorted by file and position."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(sorted(set(problems)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


def dotted(path: Place) -> str:
    """A path as it is shown: `nodes.lvs1.addresses.eth1`, `sync_groups.VG1[0]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            text += f".{step}" if text else step
    return text


def listed(values: Iterable[object], limit: int = 16) -> str:
    """Values with commas between them; a long list is cut and says how many there are."""
    words = [str(value) for value in values]
    if len(words) <= limit:
        return ", ".join(words)
    return ", ".join(words[:limit]) + f", … ({len(words)} in all)"
