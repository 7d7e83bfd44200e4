"""`test`: the whole test suite, with what it needs on this host."""

from __future__ import annotations

import subprocess
import sys

import click

from lvslab.cli.base import ROOT, session, verb

# pytest's exit status (its documentation, "Exit codes") to ours: 2 is a test file that cannot
# be imported, 4 is bad usage. Ctrl-C reaches us too, and is not told by pytest's status.
_STATUS = {0: 0, 1: 1, 2: 1, 4: 2}


@verb(
    "test",
    """
    test
    test --fast
    test --fast -- -k model -x
    """,
)
@click.option("--fast", is_flag=True, help="Only what needs no virtual machine.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def test(context: click.Context, fast: bool, arguments: tuple[str, ...]) -> None:
    """Run the test suite. What follows `--` goes to pytest."""
    session().ensure("test")
    chosen = ["-m", "not vm"] if fast else []
    words = [sys.executable, "-m", "pytest", "--durations=15", *chosen, *arguments]
    ended = subprocess.run(words, cwd=ROOT, check=False)
    context.exit(_STATUS.get(ended.returncode, 4))
