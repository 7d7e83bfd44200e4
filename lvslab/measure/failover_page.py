"""The result of `lab failover` as one page of HTML, with the timeline of each experiment."""

from __future__ import annotations

from datetime import UTC, datetime

from lvslab.measure import timeline
from lvslab.measure.failover import Verdict
from lvslab.model.lab import Lab
from lvslab.render.texts import render


def page(lab: Lab, verdicts: list[Verdict], now: datetime) -> str:
    """A page that needs no other file. `now` is when the experiments ended."""
    rows = [
        {
            "name": verdict.experiment.name,
            "summary": verdict.experiment.summary,
            "bar": verdict.experiment.bar,
            "figures": verdict.figures,
            "limit": verdict.experiment.limit,
            "lost": verdict.lost(True),
            "others": verdict.lost(False),
            "runs": len(verdict.runs),
            "problems": verdict.problems,
            "picture": timeline.draw_one(lab, verdict),
        }
        for verdict in verdicts
    ]
    values = {
        "lab": lab.name,
        "when": now.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "rows": rows,
        "bad": sum(bool(verdict.problems) for verdict in verdicts),
        "legend": timeline.draw_legend(lab),
    }
    return render("failover.html.j2", values)
