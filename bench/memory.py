#!/usr/bin/env python3
"""The default lab with less memory for each node: does it boot, pass its checklist, bear faults?

    bench/memory.py [--artifacts DIR] [--mib N]... [FAULT ...]

For each size: how long a cold start took until the checklist passed, the faults that were over a
limit, and for each node before and after them what is left inside (MemAvailable,
proc_meminfo(5)), how often the kernel ended a process for want of memory (oom_kill in
/proc/vmstat), and the most that its QEMU had resident on this host (VmHWM, proc_pid_status(5)).
Without FAULT: all that are not long. Status 1 if a step failed. Takes some ten minutes for each
size without hardware acceleration.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lvslab.core.errors import LabError  # noqa: E402
from lvslab.core.places import default_cache  # noqa: E402
from lvslab.lab import bringup  # noqa: E402
from lvslab.lab.cluster import Cluster  # noqa: E402
from lvslab.lab.sources import Settings  # noqa: E402
from lvslab.measure import experiments, failover  # noqa: E402
from lvslab.model.lab import Lab  # noqa: E402
from lvslab.model.load import load_lab  # noqa: E402

LIMITS = bringup.Limits(boot_seconds=1500, settle_seconds=300)
SIZES = (512, 384)


def lab_with(mib: int) -> Lab:
    """The default lab, with `mib` MiB for each node."""
    lab = load_lab(ROOT / "lab.yaml")
    nodes = {name: node.model_copy(update={"memory_mib": mib}) for name, node in lab.nodes.items()}
    return lab.model_copy(update={"name": f"memory-{mib}", "nodes": nodes})


def figures(cluster: Cluster) -> None:
    """Print a line for each node."""
    for node in cluster.lab.nodes:
        inside = cluster.run(node, ["cat", "/proc/meminfo", "/proc/vmstat"])
        process = cluster.files(node).pid.read_text().strip()
        outside = Path(f"/proc/{process}/status").read_text()
        print(
            f"  {node}: {_value(inside, 'MemAvailable') >> 10} of "
            f"{_value(inside, 'MemTotal') >> 10} MiB available, "
            f"{_value(inside, 'oom_kill')} processes ended; "
            f"QEMU had {_value(outside, 'VmHWM') >> 10} MiB",
            flush=True,
        )


def _value(text: str, name: str) -> int:
    """The number behind a name at the beginning of a line; those of memory are in KiB."""
    (found,) = (
        line.split()[1] for line in text.splitlines() if line.split()[0].rstrip(":") == name
    )
    return int(found)


def measure(mib: int, artifacts: Path, names: list[str]) -> list[str]:
    """Boot, hit, and end the lab with one size; the faults that were over a limit."""
    cluster = Cluster(lab_with(mib))
    known = experiments.everything(cluster.lab)
    usual = [each for each in known.values() if not each.long]
    chosen = [known[name] for name in names] or usual
    start = time.monotonic()
    try:
        bringup.up(cluster, artifacts, default_cache(), Settings(), limits=LIMITS, cold=True)
        print(f"{mib} MiB: up in {time.monotonic() - start:.0f} s", flush=True)
        figures(cluster)
        verdicts = failover.perform(cluster, chosen, 1)
        problems = [
            f"{each.experiment.name}: {said}" for each in verdicts for said in each.problems
        ]
        print(f"{mib} MiB: {len(verdicts)} faults, over a limit: {problems or 'none'}", flush=True)
        figures(cluster)
        return problems
    except LabError as error:
        print(f"{mib} MiB: FAILED: {error}", flush=True)
        return [error.message]
    finally:
        with cluster.changing():
            cluster.down()


def main() -> int:
    """Measure each size; say which failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("faults", nargs="*", metavar="FAULT")
    parser.add_argument("--artifacts", type=Path, default=ROOT / "artifacts")
    parser.add_argument("--mib", action="append", type=int)
    options = parser.parse_args()
    failed = [
        mib for mib in options.mib or SIZES if measure(mib, options.artifacts, options.faults)
    ]
    print(f"failed: {failed}" if failed else "every step passed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
