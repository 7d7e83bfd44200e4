"""Work that keeps a processor busy, on several processors: in forked processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import TypeVar

from lvslab.core.procs import die_with_parent

Result = TypeVar("Result")

_FORK = get_context("fork")
_THREADS = Path("/proc/self/task")
_SHARED = False  # set in a process that has a processor for itself alone


def processors() -> int:
    """How many processors this process may keep busy: those of the host, or one of several."""
    return 1 if _SHARED else len(os.sched_getaffinity(0))


def in_processes(works: Sequence[Callable[[], Result]]) -> list[Result]:
    """What each of `works` returns, in their order; they only look at things and change nothing.

    Each is done in a process of its own, as many at a time as there are processors. A result
    must be what pickle takes. What a process cannot hand over, an exception above all, comes of
    doing the same work again here: so it is raised with its whole traceback.
    """
    count = processors()
    alone = len(list(_THREADS.iterdir())) == 1  # locks that other threads hold stay locked
    done = _forked(works, count) if min(count, len(works)) > 1 and alone else {}
    return [done[number] if number in done else work() for number, work in enumerate(works)]


def _forked(works: Sequence[Callable[[], Result]], count: int) -> dict[int, Result]:
    """The results that were handed over, by their place in `works`."""
    waiting = list(enumerate(works))
    running: dict[Connection, tuple[int, ForkProcess]] = {}
    done: dict[int, Result] = {}
    try:
        while waiting or running:
            while waiting and len(running) < count:
                number, work = waiting.pop(0)
                here, there = _FORK.Pipe(duplex=False)
                process = _FORK.Process(target=_child, args=(work, there))
                process.start()
                there.close()
                running[here] = (number, process)
            ready = wait(list(running))
            for here in [connection for connection in running if connection in ready]:
                number, process = running[here]
                with suppress(EOFError):
                    done[number] = here.recv()
                del running[here]
                here.close()
                process.join()
    finally:
        for here, (_, process) in running.items():
            process.kill()
            process.join()
            here.close()
    return done


def _child(work: Callable[[], object], there: Connection) -> None:
    global _SHARED
    _SHARED = True
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is the parent that says so
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        there.send(work())
    except Exception:
        os._exit(1)  # the parent does it again
