"""A pytest plugin: what tests of many inputs reach is not measured.

To measure doubles a test's processor time. The package's floor (`fail_under`) is kept by the
other tests alone, which is harder; what these tests check does not change.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager

import coverage
import pytest

UNMEASURED = ("hypothesis", "many")
"""Marks of tests that are not measured; Hypothesis itself marks its tests."""
_TELLS_CHILDREN = "COVERAGE_PROCESS_"
"""How the names of coverage's variables begin by which a new Python measures itself, too."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test, not measured if it has one of the marks."""
    if not any(item.get_closest_marker(name) for name in UNMEASURED):
        return (yield)
    with paused():
        return (yield)


@contextmanager
def paused() -> Iterator[None]:
    """Nothing is measured meanwhile, here or in new processes."""
    measuring = coverage.Coverage.current()
    if measuring is None:
        yield
        return
    names = [name for name in os.environ if name.startswith(_TELLS_CHILDREN)]
    told = {name: os.environ.pop(name) for name in names}
    measuring.stop()
    try:
        yield
    finally:
        measuring.start()
        os.environ.update(told)
