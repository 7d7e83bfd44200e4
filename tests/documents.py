"""The examples in README.md, CONTRIBUTING.md, docs/: fenced blocks, what their marks promise."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

MARKS = {
    "console",  # run by the quick tests
    "console build",  # needs artifacts
    "console lab",  # needs the running lab
    "console node",  # on a node of it: `NODE$ command`
    "console long",  # takes long, or starts and ends what the tests do themselves: not run
    "console yours",  # changes checkout or host, or needs a file of the user's: not run
    "console vmware-host",  # needs VMware or another importer: not run
    "powershell vmware-host",
    "text",  # no command
}
_FENCE = re.compile(r"^ *```(.*)$")
_PROMPT = re.compile(r"^ *(?P<node>[a-z0-9]*)\$ (?P<command>.+)$")


@dataclass(frozen=True)
class Example:
    """A command of the docs: where it is, its block's mark, the node it is typed on or ""."""

    where: str
    mark: str
    node: str
    command: str

    @property
    def words(self) -> list[str]:
        """The command as a shell splits it."""
        return shlex.split(self.command, comments=True)

    def __str__(self) -> str:
        return f"{self.where}: {self.command}"


def documents() -> list[Path]:
    """All documents with examples in fenced blocks."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(text: str) -> Iterator[tuple[int, str, list[str]]]:
    """Line number, mark and lines of each fenced block; raises ValueError if one has no end."""
    mark, start, lines = None, 0, []
    for number, line in enumerate(text.splitlines(), 1):
        if (fence := _FENCE.match(line)) is None:
            lines.append(line)
        elif mark is None:
            mark, start, lines = fence[1].strip(), number, []
        else:
            yield start, mark, lines
            mark, lines = None, []
    if mark is not None:
        raise ValueError(f"the block of line {start} has no end")


def examples(mark: str) -> list[Example]:
    """The commands in the blocks of one mark, in order."""
    found = []
    for path in documents():
        for start, this, lines in blocks(path.read_text()):
            for number, line in enumerate(lines, start + 1):
                if this == mark and (match := _PROMPT.match(line)):
                    where = f"{path.name}:{number}"
                    found.append(Example(where, mark, match["node"], match["command"]))
    return found


def sheet_commands() -> list[Example]:
    """The commands of the student sheet's checklist, each on the first node that it is for."""
    text = (ROOT / "docs" / "student-sheet.txt").read_text()
    found = re.findall(r"^ +\d\. .+?  +(\S.*?) +on (\w+)", text, re.M)
    first = {"every": "lvs1"}
    return [Example("student-sheet.txt", "", first.get(n, n), command) for command, n in found]
