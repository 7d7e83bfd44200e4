"""`test`: the whole test suite, with what it needs on this host."""

from __future__ import annotations

import subprocess
import sys

import click

from lvslab.cli.common import demand_checkout, session, verb
from lvslab.core.places import DATA

# pytest's exit status (its documentation, "Exit codes") to ours: 1 is a failed test, 2 one that
# cannot be imported, 4 bad usage, 5 that no test was chosen. Ctrl-C reaches us too, and is not
# seen in pytest's status.
_STATUS = {0: 0, 1: 1, 2: 1, 4: 2}
_GOES_ON = (0, 1, 5)
_NO_TESTS = 5
# tests/vm has none of the quick ones: to leave it out saves reading it in each process.
_FAST = ("-m", "not vm and not slow", "--ignore=tests/vm", "--hypothesis-profile=quick")


@verb(
    "test",
    """
    test
    test --fast
    test --fast -- -k model -x
    """,
)
@click.option(
    "--fast",
    is_flag=True,
    help="Run only the quick tests: no virtual machine, no tree of packages, fewer random inputs.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def test(context: click.Context, fast: bool, arguments: tuple[str, ...]) -> None:
    """Run the test suite. What follows `--` goes to pytest.

    First the tests without a virtual machine, on all processors; then the others, one by one.
    """
    demand_checkout("the tests are not a part of the package")
    session().ensure("test")
    first = _FAST if fast else ("-m", "not vm")
    ended = [_pytest(*first, "--numprocesses=auto", *arguments)]
    if not fast and ended[0] in _GOES_ON:
        ended.append(_pytest("-m", "vm", *arguments))
    worst = max((status for status in ended if status != _NO_TESTS), default=_NO_TESTS)
    context.exit(_STATUS.get(worst, 4))


def _pytest(*words: str) -> int:
    command = [sys.executable, "-m", "pytest", "--durations=15", *words]
    return subprocess.run(command, cwd=DATA, check=False).returncode
