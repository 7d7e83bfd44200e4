"""`test`: the whole test suite, with what it needs on this host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import gettempdir

import click

from lvslab.cli.common import demand_checkout, session, verb
from lvslab.core.files import remove_in_use
from lvslab.core.places import DATA

# pytest's exit status (its documentation, "Exit codes") to ours: 1 is a failed test, 2 one that
# cannot be imported, 4 bad usage, 5 that no test was chosen. Ctrl-C reaches us too, and is not
# seen in pytest's status.
_STATUS = {0: 0, 1: 1, 2: 1, 4: 2}
_GOES_ON = (0, 1, 5)
_NO_TESTS = 5
# With any other argument it may be that not all tests run, and how much they reach says nothing.
_CHOOSES_NOTHING = "--allowed-skips="
# Nothing is shown and judged by pytest-cov: coverage itself does both, after the tests.
_MEASURE = ("--cov", "--cov-report=", "--cov-fail-under=0")
_BELOW = (
    "the tests reach less of the package than pyproject.toml asks for (fail_under): write tests "
    "for what the table shows"
)
# tests/vm has none of the quick ones: to leave it out saves reading it in each process.
_SPREAD = ("--numprocesses=auto", "--dist=worksteal")
_FAST = ("-m", "not vm and not slow", "--ignore=tests/vm", "--hypothesis-profile=quick")


@verb(
    "test",
    """
    test
    test --fast
    test --fast -- -k model -x
    test --long
    """,
)
@click.option(
    "--fast",
    is_flag=True,
    help="Run only the quick tests: no machine, no tree of packages, fewer random inputs.",
)
@click.option(
    "--long",
    is_flag=True,
    help="Also run what CI has no time for: slow controls, six machines, fifteen minutes more.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@click.pass_context
def test(context: click.Context, fast: bool, long: bool, arguments: tuple[str, ...]) -> None:
    """Run the test suite. What follows `--` goes to pytest; tests that it names always run.

    First the tests without a virtual machine, on all processors; then the others, one by one. If
    the first are all run, they must reach enough of the package's lines and branches.
    """
    demand_checkout("the tests are not a part of the package")
    session().ensure("test")
    first = _FAST if fast else ("-m", "not vm")
    whole = not fast and all(word.startswith(_CHOOSES_NOTHING) for word in arguments)
    measure = _MEASURE if whole else ()
    ended = [_pytest(*first, *_SPREAD, *measure, *arguments, more=0 if fast else 1)]
    if whole and ended[0] in _GOES_ON:
        ended.append(_reached_enough())
    if not fast and ended[0] in _GOES_ON:
        machines = "vm and not long" if whole and not long else "vm"
        ended.append(_pytest("-m", machines, *arguments))
    # What tests made elsewhere and ran is gone, and its bytecode is of no more use; a second run
    # at once may be writing some.
    remove_in_use(_bytecode() / Path(gettempdir()).resolve().relative_to("/"))
    worst = max((status for status in ended if status != _NO_TESTS), default=_NO_TESTS)
    context.exit(_STATUS.get(worst, 4))


def _reached_enough() -> int:
    """Show what the tests did not reach; 1 if that is more than pyproject.toml allows."""
    if _module("coverage", "report") == 0:
        return 0
    session().tell(_BELOW)
    return 1


def _pytest(*words: str, more: int = 0) -> int:
    return _module("pytest", "--durations=15", *words, more=more)


def _module(*words: str, more: int = 0) -> int:
    argv = [sys.executable, "-m", *words]
    return subprocess.run(argv, cwd=DATA, env=_environment(more), check=False).returncode


def _environment(more: int) -> dict[str, str]:
    """The environment of the tests' processes, of which there are hundreds.

    Each of them would compile the package again where Python leaves no bytecode beside the
    sources; so it is kept in the cache then. Slow tests often wait for something, so `more`
    of them run side by side than there are processors.
    """
    found = dict(os.environ)
    if found.pop("PYTHONDONTWRITEBYTECODE", ""):
        found.setdefault("PYTHONPYCACHEPREFIX", str(_bytecode()))
    found.setdefault("PYTEST_XDIST_AUTO_NUM_WORKERS", str(len(os.sched_getaffinity(0)) + more))
    return found


def _bytecode() -> Path:
    return session().cache / "bytecode"
