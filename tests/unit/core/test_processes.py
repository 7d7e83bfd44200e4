"""Work in processes: results in order, errors as if there were none, and nobody left behind."""

from __future__ import annotations

import os
import signal
import threading
from functools import partial
from pathlib import Path

import pytest

from lvslab.core import processes
from lvslab.core.processes import in_processes, processors
from lvslab.core.waiting import until

HERE = os.getpid()


@pytest.fixture(autouse=True)
def several(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two processors and no other thread, wherever the test runs."""
    (tmp_path / "task/1").mkdir(parents=True)
    monkeypatch.setattr(processes, "_THREADS", tmp_path / "task")
    monkeypatch.setattr(processes, "processors", lambda: 2)


def where(number: int) -> tuple[int, int, int]:
    return number, os.getpid(), processors()


def test_each_work_has_a_process_and_the_results_their_order() -> None:
    found = in_processes([partial(where, number) for number in range(5)])
    assert [number for number, _, _ in found] == [0, 1, 2, 3, 4]
    assert len({process for _, process, _ in found} | {HERE}) == 6
    assert {share for _, _, share in found} == {1}


def test_one_work_and_work_beside_other_threads_stay_here(tmp_path: Path) -> None:
    assert [process for _, process, _ in in_processes([partial(where, 0)])] == [HERE]
    (tmp_path / "task/2").mkdir()
    found = in_processes([partial(where, number) for number in range(2)])
    assert [process for _, process, _ in found] == [HERE, HERE]


def test_what_cannot_be_handed_over_is_done_here() -> None:
    def fails() -> str:
        raise ValueError(f"of {os.getpid()}")

    def cannot_be_sent() -> object:
        return threading.Lock() if os.getpid() != HERE else "here"

    def dies() -> str:
        if os.getpid() != HERE:
            os.kill(os.getpid(), signal.SIGKILL)
        return "here"

    with pytest.raises(ValueError, match=f"of {HERE}"):
        in_processes([fails, lambda: "well"])
    assert in_processes([cannot_be_sent, dies, lambda: "well"]) == ["here", "here", "well"]


def test_an_interrupt_ends_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [tmp_path / "a", tmp_path / "b"]

    def sleeps(path: Path) -> None:
        path.write_text(str(os.getpid()))
        signal.pause()

    def interrupted(_: object) -> list[object]:
        until(lambda: all(path.exists() and path.read_text() for path in files), 30)
        raise KeyboardInterrupt

    monkeypatch.setattr(processes, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        in_processes([partial(sleeps, path) for path in files])
    assert not any(Path("/proc", path.read_text()).exists() for path in files)
