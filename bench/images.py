#!/usr/bin/env python3
"""How long the images take: from nothing, nothing changed, one template of one role changed.

    bench/images.py                    three builds in a new cache, in a copy of this checkout
    bench/images.py --report FILE      only print the stages of a build.json

The figures are those of build.json; memory is the peak of the Python process. Standard
library only.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = "roles/director/files/etc/keepalived/keepalived.conf.j2"
NOTHING_SECONDS = 300.0
UNCHANGED_SECONDS = 1.0
TEMPLATE_SHARE = 0.5
OVA_BYTES = 200_000_000
MEMORY_MIB = 500


def build(checkout: Path, cache: Path) -> tuple[dict[str, Any], float]:
    """Run `build.py images`; its build.json, and the seconds of the whole command."""
    start = time.monotonic()
    subprocess.run(
        [sys.executable, "build.py", "images"],
        cwd=checkout,
        env=os.environ | {"LVSLAB_CACHE": str(cache)},
        stdin=subprocess.DEVNULL,
        check=True,
    )
    seconds = time.monotonic() - start
    return json.loads((checkout / "artifacts/build.json").read_text()), seconds


def stages(report: dict[str, Any]) -> None:
    """Print what each stage took."""
    for stage in report["stages"]:
        seconds = "unchanged" if stage["cached"] else f"{stage['seconds']:8.1f} s"
        print(f"  {stage['name']:24} {seconds:>12}")
    print(f"  {'all':24} {report['seconds']:10.1f} s, peak {report['peak_memory_mib']} MiB")


def line(what: str, value: float, limit: float, unit: str) -> bool:
    """Print one figure beside its limit; whether it holds."""
    print(f"{what:44} {value:10.2f} {unit:4} limit {limit:10.2f} {unit}")
    return value <= limit


def run() -> bool:
    """The three builds and their figures; whether all limits hold."""
    with tempfile.TemporaryDirectory() as folder:
        checkout, cache = Path(folder) / "checkout", Path(folder) / "cache"
        ignored = shutil.ignore_patterns(".git", "artifacts", "__pycache__")
        shutil.copytree(ROOT, checkout, ignore=ignored)
        first, _ = build(checkout, cache)
        stages(first)
        second, command = build(checkout, cache)
        template = checkout / TEMPLATE
        template.write_text("# changed by the benchmark\n" + template.read_text())
        third, _ = build(checkout, cache)
        stages(third)
    sizes = [a["size"] for name, a in first["artifacts"].items() if name.endswith(".ova")]
    held = [
        line("everything from nothing", first["seconds"], NOTHING_SECONDS, "s"),
        line("nothing changed", second["seconds"], UNCHANGED_SECONDS, "s"),
        line("  the whole command", command, UNCHANGED_SECONDS, "s"),
        line("one template of one role, share of the whole",
             third["seconds"] / first["seconds"], TEMPLATE_SHARE, ""),
        line("largest OVA", max(sizes) / 1e6, OVA_BYTES / 1e6, "MB"),
        line("peak memory of the Python process", first["peak_memory_mib"], MEMORY_MIB, "MiB"),
    ]  # fmt: skip
    return all(held)


def main() -> int:
    """The command line; status 1 if a limit does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--report", type=Path, help="print the stages of this build.json")
    chosen = parser.parse_args()
    if chosen.report:
        stages(json.loads(chosen.report.read_text()))
        return 0
    return 0 if run() else 1


if __name__ == "__main__":
    sys.exit(main())
