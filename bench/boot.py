#!/usr/bin/env python3
"""What a node's boot costs: processor seconds of its QEMU, from power-on, measured alone.

    bench/boot.py [NODE ...] [--runs N] [--hardware KIND] [--profile]

Boots each node alone from artifacts/ (`images` makes them), several times, and prints when it had
come to what: the first word of its system, the agent's first answer, the end of cloud-init with no
job left. The first boot is one with a new seed; the second follows it. `--profile` shows what of
the guest took the time. Seconds of a processor, not of a clock: a busy host changes them little.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lvslab.core.errors import StageError  # noqa: E402
from lvslab.core.places import default_cache  # noqa: E402
from lvslab.lab.cluster import Cluster  # noqa: E402
from lvslab.lab.sources import Settings  # noqa: E402
from lvslab.model.load import load_lab  # noqa: E402

DONE = "/run/cloud-init/result.json"
IDLE = "systemctl list-jobs --no-legend | grep --count . || true"
PROFILE = """
systemd-analyze
for unit in /sys/fs/cgroup/init.scope /sys/fs/cgroup/system.slice/*; do
    [ -f $unit/cpu.stat ] && echo "$(head -n 1 $unit/cpu.stat | cut -d' ' -f2) ${unit##*/}"
done | sort -rn | head -n 15 | awk '{printf "%8.1f s %s\\n", $1 / 1e6, $2}'
"""
_TICKS = os.sysconf("SC_CLK_TCK")


def spent(cluster: Cluster, node: str) -> float:
    """The processor seconds of a node's QEMU."""
    stat = Path(f"/proc/{cluster.engine.processes()[node]}/stat").read_text()
    words = stat.rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / _TICKS  # proc_pid_stat(5): utime, stime


def follow(cluster: Cluster, node: str) -> dict[str, float]:
    """Processor seconds when a node had come to each step of its boot."""
    steps: dict[str, float] = {}
    log = cluster.files(node).console_log
    begun = log.stat().st_size if log.exists() else 0
    known: list[str] | None = None
    while "idle" not in steps:
        if "system" not in steps and log.exists() and b"systemd" in log.read_bytes()[begun:]:
            steps["system"] = spent(cluster, node)
        try:
            wait = 0.0 if known is None else 5.0
            known = cluster.existing(node, [DONE], known or [], wait=wait)
            steps.setdefault("agent", spent(cluster, node))
            if known and cluster.run(node, ["sh", "-c", IDLE]).strip() == "0":
                steps["idle"] = spent(cluster, node)
        except StageError:
            time.sleep(0.5)
    return steps


def boots(node: str, settings: Settings, profile: bool) -> tuple[float, float]:
    """Processor seconds of the first boot and the second of a node, alone in its lab."""
    lab = load_lab(ROOT / "lab.yaml")
    alone = lab.model_copy(update={"name": "boot-bench", "nodes": {node: lab.nodes[node]}})
    cluster = Cluster(alone)
    try:
        with cluster.changing():
            cluster.boot(ROOT / "artifacts", default_cache(), settings)
        first = follow(cluster, node)
        print(f"{node} first:  {shown(first)}", flush=True)
        if profile:
            print(cluster.run(node, ["sh", "-c", PROFILE], timeout=120), flush=True)
        cluster.run(node, ["sync"], timeout=60)
        cluster.kill(node)
        cluster.launch(node)
        second = follow(cluster, node)
        print(f"{node} second: {shown(second)}", flush=True)
    finally:
        with cluster.changing():
            cluster.down()
    return first["idle"], second["idle"]


def shown(steps: dict[str, float]) -> str:
    """The steps in one line."""
    return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in steps.items())


def main() -> int:
    """Boot, print, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("nodes", nargs="*", default=["lvs1", "rs1"], metavar="NODE")
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--hardware", choices=["vmware", "vmware-sata", "virtio"], default="vmware")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    for node in options.nodes:
        settings = Settings(hardware=options.hardware)
        measured = [boots(node, settings, options.profile) for _ in range(options.runs)]
        first, second = (median(one) for one in zip(*measured, strict=True))
        print(f"{node}: median of {options.runs}: first {first:.1f} s, second {second:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
