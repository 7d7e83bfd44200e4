"""Listeners: how events look on a terminal, in a pipe, as JSON and in the log file."""

from __future__ import annotations

import contextlib
import re
import sys
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

import click

from lvslab.cli.common import Session
from lvslab.core.events import (
    Event,
    Forecast,
    Listener,
    LogLine,
    Note,
    StageDone,
    StageFailed,
    StageProgress,
    StageStarted,
)
from lvslab.core.forecast import Left

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import TaskID

# What the guest of a bake prints when cloud-init goes on to the next part of its work.
_GUEST = re.compile(r"Cloud-init v\. \S+ running '([\w:-]+)'")


@contextlib.contextmanager
def display(this: Session, log: TextIO) -> Iterator[Listener]:
    """The listener for this session: JSON, live or plain, and always the log. Thread-safe."""
    guard = threading.Lock()
    start = time.monotonic()
    with _shown(this) as show:

        def listener(event: Event) -> None:
            with guard:
                log.write(log_text(event, time.monotonic() - start))
                log.flush()
                show(event)

        yield listener


@contextlib.contextmanager
def _shown(this: Session) -> Iterator[Listener]:
    if this.json:
        yield lambda event: _json(this, event)
    elif sys.stderr.isatty():
        with Live(this) as live:
            yield live.show
    else:
        yield lambda event: _plain(this, event)


def log_text(event: Event, seconds: float) -> str:
    """An event as a line of the log, with the seconds since the start; progress is left out."""
    if isinstance(event, StageProgress):
        return ""
    if isinstance(event, LogLine):
        return f"{seconds:9.3f}  {event.source}: {event.text}\n"
    return f"{seconds:9.3f}  {line(event)}\n"


def line(event: Event) -> str:
    """An event as one line for people; empty for what is not shown."""
    match event:
        case StageStarted():
            return f"… {event.stage}"
        case StageDone(cached=True):
            return f"✓ {event.stage} (unchanged)"
        case StageDone():
            return f"✓ {event.stage} {event.seconds:.1f} s"
        case StageFailed():
            return f"✗ {event.stage} {event.seconds:.1f} s: {event.message.splitlines()[0]}"
        case Note(level="warning"):
            return f"warning: {event.text}"
        case Note() | Forecast():
            return event.text
        case _:
            return ""


def _json(this: Session, event: Event) -> None:
    if this.verbose or not isinstance(event, LogLine):
        this.emit_event(event)


def _plain(this: Session, event: Event) -> None:
    text = line(event)
    if isinstance(event, LogLine) and this.verbose:
        text = f"  {event.source}: {event.text}"
    if text:
        click.echo(text, err=True)


class Live:
    """A terminal: finished stages scroll up, running ones stay below with a bar and the time.

    The last line says how long the build still takes, if that was foreseen.
    """

    def __init__(self, this: Session) -> None:
        """Imports rich here, so that a pipe and --help do not pay for it."""
        from rich import live
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._verbose = this.verbose
        self._left = Left()
        self._console = Console(stderr=True, no_color=not this.color, highlight=False)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[note]}  {task.fields[guest]}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
        )
        self._live = live.Live(
            get_renderable=self._drawn,
            console=self._console,
            refresh_per_second=10,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Live:
        """Start drawing."""
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop drawing and give the terminal back."""
        self._live.stop()

    def show(self, event: Event) -> None:
        """Draw one event."""
        self._left.see(event, time.monotonic())
        match event:
            case StageStarted():
                self._tasks[event.stage] = self._progress.add_task(
                    event.stage, total=None, note="", guest=""
                )
            case StageProgress():
                if event.stage in self._tasks:
                    self._move(event)
            case StageDone() | StageFailed():
                if event.stage in self._tasks:
                    self._progress.remove_task(self._tasks.pop(event.stage))
                self._print(line(event), _STYLES[type(event)] if not _cached(event) else "dim")
            case Note():
                self._print(line(event), "yellow" if event.level == "warning" else "")
            case LogLine():
                self._follow(event)
                if self._verbose:
                    self._print(f"  {event.source}: {event.text}", "dim")

    def _move(self, event: StageProgress) -> None:
        self._progress.update(
            self._tasks[event.stage],
            completed=event.done,
            total=event.total or None,
            note="  ".join(filter(None, (counted(event), event.note))),
        )

    def _follow(self, event: LogLine) -> None:
        """Show where the guest of a bake is, behind Packer's own step."""
        kind, _, role = event.source.partition(" ")
        task, found = self._tasks.get(f"bake {role}"), _GUEST.search(event.text)
        if kind == "guest" and task is not None and found:
            self._progress.update(task, guest=found[1])

    def _drawn(self) -> RenderableType:
        from rich.console import Group
        from rich.text import Text

        left = self._left.text(time.monotonic())
        line = [Text(left, no_wrap=True, overflow="ellipsis")] if left else []
        return Group(self._progress, *line)

    def _print(self, text: str, style: str) -> None:
        self._console.print(text, style=style, markup=False, soft_wrap=True)


def counted(event: StageProgress) -> str:
    """How far a stage is, in words; bytes as megabytes."""
    if event.unit in ("B", "bytes"):
        return f"{event.done / 1e6:.0f}/{event.total / 1e6:.0f} MB"
    return f"{event.done}/{event.total} {event.unit}" if event.unit else ""


_STYLES: dict[type, str] = {StageDone: "green", StageFailed: "red"}


def _cached(event: StageDone | StageFailed) -> bool:
    return isinstance(event, StageDone) and event.cached
