"""Where the time of a build went: as rows for a table, and as a Gantt chart (SVG 1.1).

A row is a stage, in the order in which they began. Orange is what the end of the build waited for:
to make one of those faster makes the build faster.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from xml.sax.saxutils import escape

from lvslab.core.stages import StageRecord
from lvslab.core.words import decimal
from lvslab.render.picture import BLACK, FONT, GREY, ORANGE, PAPER, text_width

NAME = "profile.svg"
"""The chart's name beside build.json."""

_MADE, _CACHED, _LINE = "#1f6feb", "#9aa5b1", "#e5e7eb"
_MARGIN, _HEAD, _ROW, _BAR = 16, 74, 20, 13
_WIDTH, _AFTER = 820, 80  # of the time, and of the figure behind a bar
_SIZE = 12
_TICKS = 10
_SLACK = 0.5  # seconds from the end of what a stage needs, in which it begins if nothing else is
_LEGEND = (
    (ORANGE, "the end of the build waited for it"),
    (_MADE, "made beside it"),
    (_CACHED, "in the cache"),
)


@dataclass(frozen=True)
class Profile:
    """The stages of a build that took `seconds`, and which of them each one `needs`."""

    records: Sequence[StageRecord]
    seconds: float
    needs: Mapping[str, Sequence[str]]

    @cached_property
    def rows(self) -> list[StageRecord]:
        """The stages in the order in which they began."""
        return sorted(self.records, key=lambda record: record.start)

    def share(self, record: StageRecord) -> float:
        """The part of the build's time for which a stage ran, from 0 to 1."""
        return record.seconds / self.seconds if self.seconds else 0.0

    @cached_property
    def critical(self) -> frozenset[str]:
        """The stages that the end of the build waited for: each began when another ended.

        That other one is the last of those that it needs; if it began much later, it waited for
        its turn, so it is whatever ended last before.
        """
        found: set[str] = set()
        this = max(self.records, key=_end, default=None)
        while this is not None:
            found.add(this.name)
            this = self._before(this)
        return frozenset(found)

    def _before(self, this: StageRecord) -> StageRecord | None:
        earlier = [r for r in self.records if _end(r) <= this.start and r.start < this.start]
        needed = [record for record in earlier if record.name in self.needs.get(this.name, ())]
        last = max(needed, key=_end, default=None)
        if last is None or this.start - _end(last) > _SLACK:
            last = max(earlier, key=_end, default=None)
        return last


def _end(record: StageRecord) -> float:
    return record.start + record.seconds


def draw(profile: Profile) -> str:
    """The chart of a build, as SVG text."""
    rows = profile.rows
    left = _MARGIN + max((text_width(row.name, _SIZE) for row in rows), default=0) + 8
    width, bottom = left + _WIDTH + _AFTER, _HEAD + _ROW * len(rows)
    whole = max(profile.seconds, *(_end(row) for row in rows), 0.001)
    scale = _WIDTH / whole
    made = sum(not row.cached for row in rows)
    parts = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{bottom + 30}" '
        f'viewBox="0 0 {width:.0f} {bottom + 30}" font-family="{FONT}">',
        "<title>Where the time of the build went</title>",
        f'<rect width="100%" height="100%" fill="{PAPER}"/>',
        _text(_MARGIN, 28, f"{profile.seconds:.1f} s: {len(rows)} stages, {made} of them made", 18),
        *_legend(left),
        *_grid(whole, left, scale, bottom),
    ]
    for number, row in enumerate(rows):
        parts += _row(row, row.name in profile.critical, left, scale, _HEAD + _ROW * number)
    return "\n".join([*parts, "</svg>\n"])


def _row(row: StageRecord, critical: bool, left: float, scale: float, top: int) -> list[str]:
    colour = _CACHED if row.cached else ORANGE if critical else _MADE
    x, width = left + row.start * scale, max(row.seconds * scale, 1)
    figure = "cached" if row.cached else f"{row.seconds:.1f} s"
    return [
        _text(left - 8, top + _BAR, row.name, _SIZE, "end"),
        f'<rect x="{x:.1f}" y="{top + 3}" width="{width:.1f}" height="{_BAR}" fill="{colour}"/>',
        _text(x + width + 5, top + _BAR, figure, _SIZE - 2),
    ]


def _legend(left: float) -> list[str]:
    found, x = [], left
    for colour, words in _LEGEND:
        found.append(f'<rect x="{x:.1f}" y="40" width="11" height="11" fill="{colour}"/>')
        found.append(_text(x + 16, 50, words, _SIZE))
        x += 36 + text_width(words, _SIZE)
    return found


def _grid(whole: float, left: float, scale: float, bottom: int) -> list[str]:
    """A line and a figure at each full step of the time."""
    step, found = _step(whole), []
    for number in range(int(whole / step) + 1):
        x = left + number * step * scale
        found.append(
            f'<line x1="{x:.1f}" y1="{_HEAD - 6}" x2="{x:.1f}" y2="{bottom}" stroke="{_LINE}"/>'
        )
        words = f"{decimal(number * step, 4)} s"
        found.append(_text(x, bottom + 18, words, _SIZE - 1, "middle", GREY))
    return found


def _step(whole: float) -> float:
    """The smallest of 1, 2, 5, 10, 20 … (or parts of it) that gives at most _TICKS steps."""
    power: float = 10 ** math.floor(math.log10(whole / _TICKS))
    return next(power * factor for factor in (1, 2, 5, 10) if whole / (power * factor) <= _TICKS)


def _text(
    x: float, y: float, words: str, size: int, anchor: str = "start", colour: str = BLACK
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:g}" font-size="{size}" fill="{colour}" '
        f'text-anchor="{anchor}">{escape(words)}</text>'
    )
