"""`setup`: the programs of this host, without making anything."""

from __future__ import annotations

import click

from lvslab.cli.common import session, verb
from lvslab.core import programs


@verb(
    "setup",
    """
    setup
    setup --for test
    """,
)
@click.option(
    "--for",
    "group",
    type=click.Choice(list(programs.GROUPS)),
    default="build",
    show_default=True,
    help="Make the images, start the lab, or run the tests.",
)
def setup(group: str) -> None:
    """Install the programs that this host lacks (root), or show how (other users)."""
    session().ensure(group)
    session().out(f"this host has all that is needed to {programs.GROUPS[group]}")
