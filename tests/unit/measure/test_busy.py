"""A host whose processors others take is noticed: real processes, and numbers by hand."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvslab.core.waiting import until
from lvslab.measure.busy import HostWatch, busy, others, used

SPIN = "while True: pass"


@pytest.fixture
def spinning() -> Iterator[int]:
    """A process that uses one processor for as long as a test lasts."""
    with subprocess.Popen([sys.executable, "-c", SPIN]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.mark.slow
def test_what_a_stranger_uses_is_taken(spinning: int) -> None:
    with HostWatch(list) as host:
        time.sleep(1.5)
    assert host.taken > 0.3


@pytest.mark.slow
def test_what_the_lab_uses_is_not(spinning: int) -> None:
    before = used([spinning])

    def own() -> float:
        return sum(used([spinning]).values()) - sum(before.values())

    until(own, 60, good=lambda seconds: seconds > 0.3)  # others may leave it little
    after = used([spinning])
    taken = sum(after.values()) - sum(before.values())
    assert taken > 0.3
    assert others((0.0, before), (taken, after)) == pytest.approx(0.0)


def test_a_second_counts_not_a_moment() -> None:
    host = HostWatch(list)
    for seconds in [0.0] * 20 + [0.1] * 3 + [0.0] * 20 + [0.02] * 30:
        host.note(seconds)
    assert host.taken == pytest.approx(0.3)


def test_a_process_that_comes_or_goes_is_counted_while_it_is_there() -> None:
    before, after = {1: 5.0, 2: 7.0}, {1: 5.5, 3: 0.25}
    assert others((10.0, before), (11.0, after)) == pytest.approx(0.25)


def test_what_the_kernel_writes_is_read(tmp_path: Path) -> None:
    tick = 1 / os.sysconf("SC_CLK_TCK")
    (tmp_path / "stat").write_text("cpu  1 2 4 1000 1000 8 16 32 64 64\ncpu0 1\n")
    assert busy(tmp_path) == pytest.approx(63 * tick)
    (tmp_path / "7").mkdir()
    fields = "S 1 1 1 0 -1 0 0 0 0 0 1 2 4 8 20 0 1 0"
    (tmp_path / "7" / "stat").write_text(f"7 (a ) name) {fields}\n")
    assert used([7, 9], tmp_path) == {7: pytest.approx(15 * tick)}
