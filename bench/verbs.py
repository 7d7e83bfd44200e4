"""What the measurements of a class share: its list, and verbs of the command line with a clock."""

from __future__ import annotations

import contextlib
import io
import sys
import time
from pathlib import Path

from lvslab.cli import main as cli


def class_list(folder: Path, students: int) -> Path:
    """A list of so many students."""
    path = folder / "class.csv"
    path.write_text("id\n" + "".join(f"s{number}\n" for number in range(1, students + 1)))
    return path


def timed(words: list[str]) -> float:
    """Run a verb; seconds. Ends the program with its output if it does not end well."""
    out, start = io.StringIO(), time.monotonic()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = cli.main(words)
    if status != 0:
        sys.exit(out.getvalue())
    return time.monotonic() - start
