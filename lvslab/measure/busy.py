"""How long this host kept the lab's machines waiting: what spoils a measurement.

Linux counts for each thread how long it could have run and did not (schedstat, in the
kernel's Documentation/scheduler/sched-stats.rst), and for a host that is itself a virtual
machine what its own host took away (`steal`, proc(5)). A host that was stopped as a whole
is seen by this thread's own lateness.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path

_LOOK_SECONDS = 0.1
_TICKS = os.sysconf("SC_CLK_TCK")
_STEAL = 8  # the column of /proc/stat's first line
_PROC = Path("/proc")


class HostWatch:
    """Watches processes for the time of a `with` block; `longest_wait` is the result in seconds.

    That is the most that one thread of theirs, or the whole host, was kept waiting within a
    tenth of a second and what follows it without a pause.
    """

    def __init__(self, pids: Iterable[int], proc: Path = _PROC) -> None:
        self._pids, self._proc = list(pids), proc
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._waits: dict[str, float] = {}
        self.longest_wait = 0.0

    def __enter__(self) -> HostWatch:
        """Start looking."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop looking."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        before, at = waits(self._pids, self._proc), time.monotonic()
        while not self._ended.wait(_LOOK_SECONDS):
            now = time.monotonic()
            after = waits(self._pids, self._proc)
            late = {"this host": now - at - _LOOK_SECONDS}
            self.note({key: after[key] - before[key] for key in after if key in before} | late)
            before, at = after, now

    def note(self, waited: dict[str, float]) -> None:
        """What each has waited in one look: waits in looks that follow each other are one wait."""
        for key, seconds in waited.items():
            wait = self._waits.get(key, 0.0) + seconds
            self._waits[key] = wait if seconds > _LOOK_SECONDS / 2 else 0.0
            self.longest_wait = max(self.longest_wait, wait)


def waits(pids: Iterable[int], proc: Path = _PROC) -> dict[str, float]:
    """Seconds that each thread of the processes has waited for a processor, and `steal`."""
    found = {}
    for pid in pids:
        for path in (proc / str(pid) / "task").glob("*/schedstat"):
            try:
                found[path.parent.name] = int(path.read_text().split()[1]) / 1e9
            except (OSError, IndexError, ValueError):  # it has just ended
                continue
    words = (proc / "stat").read_text().split("\n", 1)[0].split()
    found["steal"] = int(words[_STEAL]) / _TICKS if len(words) > _STEAL else 0.0
    return found
