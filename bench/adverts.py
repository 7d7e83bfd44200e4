#!/usr/bin/env python3
"""Which advert interval? For each: a crash, and a pause of 0.5 s in which nothing may move.

    bench/adverts.py [--name LAB] [--runs N] [SECONDS ...]

Changes the directors of a lab that runs (build.py lab up), N runs for each interval, and puts
them back. A pause is what a busy host does to a virtual machine.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lvslab.core.errors import LabError  # noqa: E402
from lvslab.lab import checklist, checkpoint  # noqa: E402
from lvslab.lab.cluster import Cluster  # noqa: E402
from lvslab.measure import experiments, failover  # noqa: E402
from lvslab.model.lab import Lab  # noqa: E402
from lvslab.model.role import Kind  # noqa: E402

CONF = "/etc/keepalived/keepalived.conf"
BEFORE, CHANGED = "adverts-before", "adverts"


def set_interval(cluster: Cluster, seconds: float) -> None:
    """Give all directors another advert interval, and keep the calm cluster as a checkpoint."""
    checkpoint.restore(cluster, BEFORE)
    for node in cluster.lab.nodes_of(Kind.DIRECTOR):
        text = cluster.run(node, ["cat", CONF])
        for setting, value in (("advert_int", seconds), ("vrrp_startup_delay", 8 * seconds)):
            text = re.sub(rf"{setting} \S+", f"{setting} {value:g}", text)
        cluster.run(node, ["tee", CONF], stdin=text)
        cluster.run(node, ["systemctl", "restart", "keepalived"], timeout=60)
    checklist.wait(cluster, 60)
    checkpoint.save(cluster, CHANGED)


def measure(cluster: Cluster, lab: Lab, runs: int) -> str:
    """One row: what a crash costs, and how many pauses moved an address."""
    chosen = experiments.everything(lab)
    crash, hiccup = chosen["crash"], chosen["hiccup"]
    phases = [failover.phase_of(number) for number in range(1, runs + 1)]
    gaps = [failover.once(cluster, crash, CHANGED, phase).measured(crash) for phase in phases]
    paused = [failover.once(cluster, hiccup, CHANGED, phase) for phase in phases]
    moved = sum(any(run.moves.values()) for run in paused)
    return (
        f"{lab.directors.vrrp.advert_seconds:8.2f} {crash.bar:7.2f} {median(gaps):9.2f} "
        f"{max(gaps):9.2f} {moved:6} of {runs}"
    )


def compare(cluster: Cluster, intervals: list[float], runs: int) -> None:
    """Print a row for each interval; the directors are as before at the end."""
    checklist.wait(cluster, 60)
    checkpoint.save(cluster, BEFORE)
    print("interval     bar  crash: median, max  moved by a pause")
    try:
        for seconds in intervals:
            vrrp = cluster.lab.directors.vrrp.model_copy(update={"advert_seconds": seconds})
            directors = cluster.lab.directors.model_copy(update={"vrrp": vrrp})
            set_interval(cluster, seconds)
            lab = cluster.lab.model_copy(update={"directors": directors})
            print(measure(cluster, lab, runs), flush=True)
    finally:
        checkpoint.restore(cluster, BEFORE)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--name", default="lvslab")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("seconds", type=float, nargs="*", default=[0.1, 0.15, 0.2, 0.21, 0.3])
    options = parser.parse_args()
    try:
        cluster = Cluster.running(options.name)
        with cluster.changing():
            compare(cluster, options.seconds, options.runs)
    except LabError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.status
    return 0


if __name__ == "__main__":
    sys.exit(main())
