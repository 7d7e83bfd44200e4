"""The timelines of failover experiments as one SVG: requests, adverts, bars.

For each experiment: a lane for each virtual server (a tick for each request: green
answered, red lost), a lane for each VRRP instance (a tick for each advert, coloured by
director, a ring for each gratuitous ARP), and two bars above: what the protocols need, and
what was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from lvslab.measure.failover import Run, Verdict
from lvslab.model.lab import Lab
from lvslab.model.role import Kind

_LEFT, _WIDTH, _LANE, _GAP = 190, 860, 16, 34
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
    head = (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{_LEFT + _WIDTH + 30}' "
        f"height='{top}' viewBox='0 0 {_LEFT + _WIDTH + 30} {top}'>"
        f"<rect width='100%' height='100%' fill='white'/>"
    )
    return "\n".join([head, *_legend(lab), *parts, "</svg>"]) + "\n"


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
        parts += [
            _tick(scale.x(request.started), y, _GOOD if request.answered else _BAD)
            for request in run.requests[name]
            if scale.holds(request.started)
        ]
        y += _LANE
    for name, instance in lab.vrrp_instances.items():
        parts.append(_text(10, y + 12, f"{name} {instance.address}", 12))
        parts += [
            _tick(scale.x(seconds), y, _colour(lab, node))
            for seconds, advertised, node in run.adverts
            if advertised == name and scale.holds(seconds)
        ]
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


def _tick(x: float, y: int, colour: str) -> str:
    return f"<rect x='{x:.1f}' y='{y + 2}' width='2' height='{_LANE - 4}' fill='{colour}'/>"


def _dot(x: float, y: int) -> str:
    return f"<circle cx='{x:.1f}' cy='{y + _LANE / 2:g}' r='3' fill='none' stroke='black'/>"


def _text(x: int, y: int, words: str, size: int, bold: bool = False) -> str:
    weight = " font-weight='bold'" if bold else ""
    return f"<text x='{x}' y='{y}' font-size='{size}' {_FONT}{weight}>{escape(words)}</text>"


def _colour(lab: Lab, node: str) -> str:
    directors = list(lab.nodes_of(Kind.DIRECTOR))
    return _COLOURS[directors.index(node) % len(_COLOURS)] if node in directors else _BAD
