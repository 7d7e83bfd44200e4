"""`lesson`: broken labs to learn from. The table of its verbs; each is imported when it is used."""

from __future__ import annotations

import click

from lvslab.cli.common import Verbs, epilog, everywhere

VERBS = {
    "list": "lvslab.cli.lesson.catalogue:list_",
    "show": "lvslab.cli.lesson.catalogue:show",
    "seeds": "lvslab.cli.lesson.catalogue:seeds",
    "start": "lvslab.cli.lesson.attend:start",
    "answer": "lvslab.cli.lesson.attend:answer",
    "hint": "lvslab.cli.lesson.attend:hint",
    "check": "lvslab.cli.lesson.marks:check",
    "solve": "lvslab.cli.lesson.attend:solve",
    "reset": "lvslab.cli.lesson.attend:reset",
    "report": "lvslab.cli.lesson.marks:report",
    "rehearse": "lvslab.cli.lesson.marks:rehearse",
}


@click.command(
    "lesson",
    cls=Verbs,
    verbs=VERBS,
    epilog=epilog(
        """
        lesson list
        lesson start forwarding-off
        lesson answer holder lvs1
        lesson check
        lesson hint
        lesson report --html report.html
        """
    ),
)
@everywhere
def lesson() -> None:
    """Break the lab in a known way, find out why, and be graded.

    A lesson starts from the healthy lab (`lab up`) in seconds. First it asks what will happen; then
    it checks. In VMware its seeds do the same, and `labcheck --lesson` on the nodes.
    """
