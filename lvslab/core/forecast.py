"""How long a build still takes, from what its stages took in earlier builds on this host.

Stages run side by side, so the answer is no sum: the stages that are left are gone through as the
build does it, some at a time, each after those that it needs.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping

from lvslab.core.events import Event, Expected, Forecast, StageDone, StageFailed, StageStarted

_MORE, _SOME = 1.1, 2.0  # times, and seconds: by so much a stage may differ from the last time


def remaining(stages: Mapping[str, Expected], jobs: int, running: Mapping[str, float]) -> float:
    """The seconds until all `stages` are made, of which `jobs` may run at the same time.

    `running` says how many seconds ago a stage began. What a stage needs and is not among them is
    there. A stage without a time counts as none.
    """

    def left(name: str) -> float:
        return max(0.0, (stages[name].seconds or 0.0) - running.get(name, 0.0))

    at_work = [(left(name), name) for name in stages if name in running]
    heapq.heapify(at_work)
    waiting = [name for name in stages if name not in running]
    clock = 0.0
    while True:
        unfinished = {*waiting, *(name for _, name in at_work)}
        for name in list(waiting):
            if len(at_work) < jobs and unfinished.isdisjoint(stages[name].needs):
                waiting.remove(name)
                heapq.heappush(at_work, (clock + left(name), name))
        if not at_work:
            return clock
        clock, _ = heapq.heappop(at_work)


class Left:
    """What is left of a build: it sees the build's events and says how long the rest takes.

    Times are those of a clock that only goes forward, in seconds. One thread at a time tells it
    events; others may ask meanwhile.
    """

    def __init__(self, forecast: Forecast | None = None) -> None:
        self._forecast = forecast
        self._running: dict[str, float] = {}
        self._done: frozenset[str] = frozenset()

    def see(self, event: Event, now: float) -> None:
        """An event of the build; those before its forecast count, too."""
        match event:
            case Forecast():
                self._forecast = event
            case StageStarted():
                self._running = self._running | {event.stage: now}
            case StageDone() | StageFailed():
                self._done = self._done | {event.stage}

    def seconds(self, now: float) -> float | None:
        """How long the rest takes, as far as it is known; None if no time is known."""
        rest = self._rest()
        if all(stage.seconds is None for stage in rest.values()):
            return None
        assert self._forecast is not None
        return remaining(rest, self._forecast.jobs, self._elapsed(now))

    def text(self, now: float) -> str:
        """The same in words; empty if nothing is left."""
        rest = self._rest()
        if self._forecast is None or not rest:
            return ""
        seconds = self.seconds(now)
        if seconds is None:
            return "no estimate yet: first build of these stages on this host"
        if self._is_over(now):
            more = f": at least {duration(seconds)} left" if seconds else ""
            return f"longer than before{more}"
        new = sum(stage.seconds is None for stage in rest.values())
        builds = self._forecast.builds
        source = f"from {builds} earlier build{'' if builds == 1 else 's'}"
        if new:
            source += f"; {new} stage{' is' if new == 1 else 's are'} new on this host"
        return f"{'at least' if new else 'about'} {duration(seconds)} left ({source})"

    def _rest(self) -> dict[str, Expected]:
        stages = self._forecast.stages if self._forecast else {}
        return {name: stage for name, stage in stages.items() if name not in self._done}

    def _elapsed(self, now: float) -> dict[str, float]:
        """How long each stage that was begun has taken; what is done does not matter."""
        return {name: now - begun for name, begun in self._running.items()}

    def _is_over(self, now: float) -> bool:
        """Whether a stage that runs takes longer than before, by more than chance."""
        elapsed, rest = self._elapsed(now), self._rest()
        return any(
            stage.seconds is not None and elapsed.get(name, 0.0) > stage.seconds * _MORE + _SOME
            for name, stage in rest.items()
        )


def duration(seconds: float) -> str:
    """A time to come, for people: rounded up to 5 s, from a minute on to 10 s, then to minutes."""
    if seconds <= 60:
        whole = max(1, math.ceil(seconds / 5)) * 5
    elif seconds <= 600:
        whole = math.ceil(seconds / 10) * 10
    else:
        whole = math.ceil(seconds / 60) * 60
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join(f"{count} {unit}" for count, unit in parts if count)
