"""`lab failover`: what a client sees of each fault."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lvslab.cli.common import as_json, session, verb
from lvslab.cli.lab.which import running, the_lab, which_lab
from lvslab.core.errors import CheckFailed, InputError

if TYPE_CHECKING:
    from lvslab.measure.failover import Verdict


_LEGEND = """\
seconds after the fault. bar: computed from the protocols' timers (a fault just before an advert
costs up to an advert less); lost, others: requests lost of the addresses that were hit, and of the
others; advert, ARP: the new owner on the wire, median; pages: who answered"""


@verb(
    "failover",
    """
    lab failover
    lab failover crash stop --runs 20
    lab failover --svg failover.svg
    lab failover --html failover.html
    """,
)
@which_lab
@click.argument("faults", metavar="[FAULT]...", nargs=-1)
@click.option("--runs", type=click.IntRange(1, 1000), default=1, show_default=True)
@click.option("--long", is_flag=True, help="Also make the faults that take minutes.")
@click.option("--list", "only_list", is_flag=True, help="Only list the faults.")
@click.option(
    "--svg",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw the timelines to this file.",
)
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page with the table and the timelines to this file.",
)
@as_json
def failover(
    lab_path: Path,
    name: str | None,
    faults: tuple[str, ...],
    runs: int,
    long: bool,
    only_list: bool,
    svg: Path | None,
    html: Path | None,
) -> None:
    """Make faults one by one and show what a client sees; status 1 if one is over its limit.

    Each fault starts from the same checkpoint. Without FAULT: all except the long ones.
    """
    from lvslab.core.files import write_atomic
    from lvslab.measure import experiments, failover_page, timeline
    from lvslab.measure import failover as engine

    this = session()
    cluster = None if only_list else running(lab_path, name)
    known = experiments.everything(cluster.lab if cluster else the_lab(lab_path, None))
    if unknown := [fault for fault in faults if fault not in known]:
        raise InputError(f"there is no fault {unknown[0]}", hint="there are: " + ", ".join(known))
    short = [name for name, experiment in known.items() if long or not experiment.long]
    chosen = [known[fault] for fault in faults or short]
    if cluster is None:
        for experiment in known.values():
            mark = " (long)" if experiment.long else ""
            this.out(f"{experiment.name:<18} {experiment.summary}{mark}")
        return
    with cluster.changing(), this.reporting("lab-failover") as listener:
        verdicts = engine.perform(cluster, chosen, runs, listener)
    _show(verdicts)
    if svg:
        write_atomic(svg, timeline.draw(cluster.lab, verdicts))
        this.out(f"timelines: {svg}")
    if html:
        write_atomic(html, failover_page.page(cluster.lab, verdicts, datetime.now(UTC)))
        this.out(f"page: {html}")
    if bad := [verdict for verdict in verdicts if verdict.problems]:
        first = bad[0]
        raise CheckFailed(
            f"{len(bad)} of {len(verdicts)} faults are over their limit; "
            f"{first.experiment.name}: {first.problems[0]}"
        )


def _show(verdicts: list[Verdict]) -> None:
    this = session()
    figures = "".join(f" {word:>6}" for word in ("bar", "min", "median", "max", "limit"))
    heading = f"{'fault':<18}{figures}   lost others  advert    ARP  pages"
    this.out(click.style(heading, bold=True))
    for verdict in verdicts:
        least, middle, most = verdict.figures
        experiment = verdict.experiment
        this.emit(
            "experiment",
            name=experiment.name,
            summary=experiment.summary,
            measure=experiment.measure,
            bar=experiment.bar,
            limit=experiment.limit,
            figures=[run.measured(experiment) for run in verdict.runs],
            problems=verdict.problems,
            runs=[asdict(run) for run in verdict.runs],
        )
        mark = click.style("✗", fg="red") if verdict.problems else click.style("✓", fg="green")
        pages = ", ".join(f"{server} {count}" for server, count in verdict.servers.items())
        this.out(
            f"{experiment.name:<18} {experiment.bar:6.2f} {least:6.2f} {middle:6.2f} "
            f"{most:6.2f} {experiment.limit:6.2f} {verdict.lost(True):6} {verdict.lost(False):6} "
            f"{_seconds(verdict.takeover)} {_seconds(verdict.announced)}  {pages} {mark}"
        )
        for problem in verdict.problems:
            this.out(click.style(f"    {problem}", fg="red"))
    this.out(_LEGEND)


def _seconds(value: float | None) -> str:
    return f"{'-':>7}" if value is None else f"{value:7.2f}"
