"""The timelines of failover experiments as one SVG: requests, adverts, bars.

For each experiment: a lane for each virtual server (a tick for each request: green
answered, red lost), a lane for each VRRP instance (a tick for each advert, coloured by
director, a ring for each gratuitous ARP), and two bars above: what the protocols need, and
what was measured. Ticks that touch each other are one shape, so a picture of hundreds of
requests is small.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from lvslab.measure.failover import Run, Verdict
from lvslab.model.lab import Lab
from lvslab.model.role import Kind

_LEFT, _WIDTH, _LANE, _GAP = 190, 860, 16, 34
_TICK = 2  # pixels
_BEFORE = 1.0  # seconds before the fault that are drawn
_COLOURS = ("#1f4e79", "#e07b00", "#6a3d9a", "#00797a", "#8c564b", "#7f7f7f")
_GOOD, _BAD, _BAR, _FONT = "#2e8b57", "#d62728", "#9aa5b1", "font-family='sans-serif'"


def draw(lab: Lab, verdicts: list[Verdict]) -> str:
    """The picture of the slowest run of each experiment, as SVG text."""
    parts: list[str] = []
    top = 50
    for verdict in verdicts:
        panel, height = _panel(lab, verdict, top)
        parts += panel
        top += height + _GAP
    return _svg([*_legend(lab), *parts], top)


def draw_legend(lab: Lab) -> str:
    """What the colours mean, as SVG text of its own."""
    return _svg(_legend(lab), 30)


def draw_one(lab: Lab, verdict: Verdict) -> str:
    """The picture of one experiment, without a legend."""
    parts, height = _panel(lab, verdict, 20)
    return _svg(parts, height + 24)


def _svg(parts: list[str], height: int) -> str:
    width = _LEFT + _WIDTH + 30
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' "
        f"viewBox='0 0 {width} {height}'><rect width='100%' height='100%' fill='white'/>"
    )
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def _legend(lab: Lab) -> list[str]:
    words = [("answered", _GOOD), ("lost", _BAD)]
    words += [(f"advert of {node}", _colour(lab, node)) for node in lab.nodes_of(Kind.DIRECTOR)]
    words += [("what the protocols need", _BAR), ("measured", "black")]
    found, x = [], 10
    for word, colour in words:
        found.append(f"<rect x='{x}' y='12' width='10' height='10' fill='{colour}'/>")
        found.append(_text(x + 14, 21, word, 12))
        x += 30 + 7 * len(word)
    return [*found, _dot(x + 5, 9), _text(x + 14, 21, "gratuitous ARP", 12)]


def _panel(lab: Lab, verdict: Verdict, top: int) -> tuple[list[str], int]:
    experiment = verdict.experiment
    run = max(verdict.runs, key=lambda one: one.measured(experiment))
    scale = _Scale(run.watched)
    mark = "✗" if verdict.problems else "✓"
    parts = [_text(10, top, f"{mark} {experiment.name}: {experiment.summary}", 14, bold=True)]
    y = top + 8
    for bar in _bars(verdict, run):
        parts += bar.draw(scale, y)
        y += 12
    for name in lab.virtual_servers:
        address = lab.vrrp_instances[lab.virtual_servers[name].instance].address
        parts.append(_text(10, y + 12, f"{name} {address}", 12))
        for colour, answered in ((_GOOD, True), (_BAD, False)):
            asked = [r.started for r in run.requests[name] if r.answered == answered]
            parts += _ticks(scale, asked, y, colour)
        y += _LANE
    for name, instance in lab.vrrp_instances.items():
        parts.append(_text(10, y + 12, f"{name} {instance.address}", 12))
        for node in lab.nodes_of(Kind.DIRECTOR):
            sent = [at for at, what, who in run.adverts if (what, who) == (name, node)]
            parts += _ticks(scale, sent, y, _colour(lab, node))
        parts += [
            _dot(scale.x(seconds), y)
            for seconds, address, _ in run.announcements
            if address == str(instance.address) and scale.holds(seconds)
        ]
        y += _LANE
    return parts + _axis(scale, top + 8, y), y + 14 - top


@dataclass(frozen=True)
class _Scale:
    """Seconds after the fault to pixels."""

    seconds: float

    def x(self, seconds: float) -> float:
        return _LEFT + (seconds + _BEFORE) / (_BEFORE + self.seconds) * _WIDTH

    def holds(self, seconds: float) -> bool:
        return -_BEFORE <= seconds <= self.seconds


@dataclass(frozen=True)
class _Bar:
    start: float
    length: float
    colour: str
    label: str

    def draw(self, scale: _Scale, y: int) -> list[str]:
        left, right = scale.x(self.start), scale.x(self.start + self.length)
        width = max(right - left, 1)
        return [
            f"<rect x='{left:.1f}' y='{y}' width='{width:.1f}' height='8' fill='{self.colour}'/>",
            _text(int(right) + 6, y + 8, self.label, 10),
        ]


def _bars(verdict: Verdict, run: Run) -> list[_Bar]:
    """What the protocols need, above what was measured."""
    experiment = verdict.experiment
    measured, start = run.measured(experiment), 0.0
    if experiment.measure == "gap" and experiment.hits:
        start = max((run.views[name] for name in experiment.hits), key=lambda v: v.gap).gap_start
    return [
        _Bar(0.0, experiment.bar, _BAR, f"needs {experiment.bar:.2f} s"),
        _Bar(start, measured, "black", f"{measured:.2f} s of {experiment.limit:.2f} s"),
    ]


def _axis(scale: _Scale, top: int, bottom: int) -> list[str]:
    """A line at the fault, a mark and a figure for each second."""
    zero = scale.x(0)
    parts = [f"<line x1='{zero:.1f}' y1='{top}' x2='{zero:.1f}' y2='{bottom}' stroke='black'/>"]
    for second in range(int(scale.seconds) + 1):
        parts.append(_text(int(scale.x(second)) - 3, bottom + 12, f"{second} s", 10))
    return parts


def _ticks(scale: _Scale, moments: list[float], y: int, colour: str) -> list[str]:
    """A tick at each moment that is drawn, as one shape; none is no shape."""
    spans: list[list[float]] = []
    for x in sorted(scale.x(moment) for moment in moments if scale.holds(moment)):
        if spans and x <= spans[-1][1]:
            spans[-1][1] = x + _TICK
        else:
            spans.append([x, x + _TICK])
    high = _LANE - 4
    path = "".join(
        f"M{left:.1f} {y + 2}h{right - left:.1f}v{high}h-{right - left:.1f}z"
        for left, right in spans
    )
    return [f"<path fill='{colour}' d='{path}'/>"] if path else []


def _dot(x: float, y: int) -> str:
    return f"<circle cx='{x:.1f}' cy='{y + _LANE / 2:g}' r='3' fill='none' stroke='black'/>"


def _text(x: int, y: int, words: str, size: int, bold: bool = False) -> str:
    weight = " font-weight='bold'" if bold else ""
    return f"<text x='{x}' y='{y}' font-size='{size}' {_FONT}{weight}>{escape(words)}</text>"


def _colour(lab: Lab, node: str) -> str:
    directors = list(lab.nodes_of(Kind.DIRECTOR))
    return _COLOURS[directors.index(node) % len(_COLOURS)] if node in directors else _BAD
