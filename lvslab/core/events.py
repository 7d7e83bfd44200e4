"""What the engine tells the user interface: plain values, sent to a listener.

The engine never prints. The command line decides whether an event becomes a live bar,
a plain line, a JSON object or a line of the log.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class StageStarted:
    """A stage begins; `stage` is its name as shown, for instance `bake director`."""

    stage: str


@dataclass(frozen=True)
class StageProgress:
    """`done` of `total` `unit`s are finished (`total` 0: length unknown); `note` is the step."""

    stage: str
    done: int
    total: int
    unit: str = ""
    note: str = ""


@dataclass(frozen=True)
class StageDone:
    """A stage ended well after `seconds`; `cached` if its result was already there."""

    stage: str
    seconds: float
    cached: bool = False


@dataclass(frozen=True)
class StageFailed:
    """A stage ended badly after `seconds`."""

    stage: str
    seconds: float
    message: str


@dataclass(frozen=True)
class Note:
    """One line for the user; `level` is `info` or `warning`."""

    text: str
    level: str = "info"


@dataclass(frozen=True)
class LogLine:
    """One line of a program's output: for the log file, not for the screen."""

    source: str
    text: str


@dataclass(frozen=True)
class Expected:
    """A stage that is to be made: what it needs, and what it took when it was made before.

    `seconds` is None if no earlier build on this host made it.
    """

    needs: tuple[str, ...]
    seconds: float | None = None


@dataclass(frozen=True)
class Forecast:
    """What a build still makes: its stages by name, in the order in which they are begun.

    `text` says it in words; `seconds` is the time to the end as far as it is known (None: not at
    all), from as many earlier `builds`; `jobs` stages run at the same time.
    """

    text: str
    seconds: float | None
    builds: int
    jobs: int
    stages: Mapping[str, Expected]


Event = StageStarted | StageProgress | StageDone | StageFailed | Note | LogLine | Forecast
Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """A listener that drops everything."""
