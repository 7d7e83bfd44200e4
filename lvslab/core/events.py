"""What the engine tells the user interface: plain values, sent to a listener.

The engine never prints. The command line decides whether an event becomes a live bar,
a plain line, a JSON object or a line of the log.
"""

from __future__ import annotations

from collections.abc import Callable
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


Event = StageStarted | StageProgress | StageDone | StageFailed | Note | LogLine
Listener = Callable[[Event], None]


def silent(event: Event) -> None:
    """A listener that drops everything."""
