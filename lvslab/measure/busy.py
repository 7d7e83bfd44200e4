"""How much of this host others took while the lab's machines ran: what spoils a measurement.

The lab's own machines share the processors, too; that belongs to what is measured. So here the
time of all processors that were busy is taken (/proc/stat, with `steal`: what this host's own
host took away), less that of the lab's processes and of this one (proc_pid_stat(5)). A host
that was stopped as a whole is seen by this thread's own lateness.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path

_LOOK_SECONDS = 0.1
_LOOKS = 10  # a second of them
_TICKS = os.sysconf("SC_CLK_TCK")
_BUSY = (1, 2, 3, 6, 7, 8)  # user, nice, system, irq, softirq, steal
_PROC = Path("/proc")
_LATE = 0.05  # less is how threads are scheduled

# Processor time since their start, in seconds: of this host, and of the lab's processes.
Look = tuple[float, dict[int, float]]


class HostWatch:
    """Watches the host for the time of a `with` block; `taken` is the result.

    `pids` says which processes are the lab's at the moment. `taken` is the most processor time
    that others took within one second, in seconds; time in which the whole host was stopped
    counts, too.
    """

    def __init__(self, pids: Callable[[], Iterable[int]], proc: Path = _PROC) -> None:
        self._pids, self._proc = pids, proc
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._last: deque[float] = deque(maxlen=_LOOKS)
        self.taken = 0.0

    def __enter__(self) -> HostWatch:
        """Start looking."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop looking."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        before, at = self._look(), time.monotonic()
        while not self._ended.wait(_LOOK_SECONDS):
            now = time.monotonic()
            after = self._look()
            late = now - at - _LOOK_SECONDS
            self.note(others(before, after) + (late if late > _LATE else 0.0))
            before, at = after, now

    def _look(self) -> Look:
        if not (self._proc / "stat").exists():  # not Linux: only that the host was stopped is seen
            return 0.0, {}
        return busy(self._proc), used(self._pids(), self._proc)

    def note(self, seconds: float) -> None:
        """What others took in one look; ten looks are a second."""
        self._last.append(seconds)
        self.taken = max(self.taken, sum(self._last))


def others(before: Look, after: Look) -> float:
    """Processor time between two looks that was not the lab's, in seconds; may be just below 0.

    The clocks tick every 10 ms, so one look says little and ten say enough.
    """
    own = sum(seconds - before[1].get(pid, 0.0) for pid, seconds in after[1].items())
    return after[0] - before[0] - own


def busy(proc: Path = _PROC) -> float:
    """Processor time of everything since this host's start, and what was stolen, in seconds."""
    words = (proc / "stat").read_text().split("\n", 1)[0].split()
    return sum(int(words[place]) for place in _BUSY if place < len(words)) / _TICKS


def used(pids: Iterable[int], proc: Path = _PROC) -> dict[int, float]:
    """Processor time of each process that is there and of this one, in seconds."""
    found = {}
    for pid in (*pids, os.getpid()):
        try:
            words = (proc / str(pid) / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        # utime and stime, and those of children that were waited for
        found[pid] = sum(int(word) for word in words[11:15]) / _TICKS
    return found
