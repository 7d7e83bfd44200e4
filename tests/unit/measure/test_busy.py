"""A host that keeps its machines waiting is noticed: real processes, and numbers by hand."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lvslab.measure.busy import HostWatch, waits

SPIN = "while True: pass"


@pytest.fixture
def rivals() -> Iterator[list[int]]:
    """Five processes that want the same processor, for as long as a test lasts."""
    processor = min(os.sched_getaffinity(0))
    started = [subprocess.Popen([sys.executable, "-c", SPIN]) for _ in range(5)]
    try:
        for process in started:
            os.sched_setaffinity(process.pid, {processor})
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_processes_that_share_a_processor_wait_for_it(rivals: list[int]) -> None:
    with HostWatch(rivals) as host:
        time.sleep(1.5)
    assert host.longest_wait > 0.3


def test_a_process_that_sleeps_does_not_wait() -> None:
    with (
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as sleeper,
    ):
        try:
            time.sleep(0.3)
            before = waits([sleeper.pid])
            time.sleep(0.3)
            after = waits([sleeper.pid])
        finally:
            sleeper.kill()
    assert after[str(sleeper.pid)] - before[str(sleeper.pid)] < 0.05


def test_waits_that_follow_each_other_are_one_wait() -> None:
    host = HostWatch([])
    for seconds in (0.08, 0.08, 0.01, 0.06):
        host.note({"1": seconds, "2": 0.02})
    assert host.longest_wait == pytest.approx(0.17)


def test_a_process_that_has_ended_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  1 2 3 4 5 6 7 250 0 0\n")
    thread = tmp_path / "7" / "task" / "8"
    thread.mkdir(parents=True)
    (thread / "schedstat").write_text("100 2000000000 3\n")
    found = waits([7, 9], tmp_path)
    assert found.pop("steal") == 250 / os.sysconf("SC_CLK_TCK")
    assert found == {"8": 2.0}
