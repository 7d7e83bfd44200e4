#!/usr/bin/env python3
"""The lab's promises, measured: cold start, restore, labcheck, and what each fault costs a client.

    bench/failover.py [--runs N] [--long] [--svg FILE]

Starts a lab of its own from artifacts/, and ends it. Status 1 if a promise is broken. A busy
host makes every figure worse: emulated nodes need both processors for themselves.
Standard library only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
NAME = "bench"
UP_SECONDS = 240.0
RESTORE_SECONDS = 5.0
RESTORES = 5
LABCHECK_SECONDS = 3.0


def lab(*words: str) -> tuple[int, float]:
    """Run a verb of the bench's lab; its status and its seconds."""
    start = time.monotonic()
    verb, *rest = words
    command = [sys.executable, "build.py", "lab", verb, "--name", NAME, *rest]
    return subprocess.run(command, cwd=ROOT).returncode, time.monotonic() - start


def long_faults() -> list[str]:
    """The faults that `lab failover` leaves out unless they are named."""
    command = [sys.executable, "build.py", "lab", "failover", "--list"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [line.split()[0] for line in listed.splitlines() if line.endswith("(long)")]


def main() -> int:
    """Measure, print, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--long", action="store_true", help="also the faults of minutes, once each")
    parser.add_argument("--svg", type=Path, default=None)
    options = parser.parse_args()
    try:
        status, up = lab("up")
        if status:
            return status
        lab("save", "start")
        restores = [lab("restore", "start") for _ in range(RESTORES)]
        seconds = [taken for _, taken in restores]
        print(f"up, cold                     {up:7.1f} s (<= {UP_SECONDS:.0f})")
        print(
            f"restore to a passed checklist {median(seconds):6.1f} s median, "
            f"{max(seconds):.1f} s longest (<= {RESTORE_SECONDS:.0f})"
        )
        _, labcheck = lab("ssh", "lvs1", "--", "labcheck")
        print(f"labcheck on a node, by ssh    {labcheck:6.1f} s (<= {LABCHECK_SECONDS:.0f})")
        drawing = ["--svg", str(options.svg)] if options.svg else []
        faults, _ = lab("failover", "--runs", str(options.runs), *drawing)
        long, _ = lab("failover", *long_faults()) if options.long else (0, 0.0)
    finally:
        lab("down")
    slow = up > UP_SECONDS or median(seconds) > RESTORE_SECONDS or labcheck > LABCHECK_SECONDS
    return int(slow or faults != 0 or long != 0 or any(code for code, _ in restores))


if __name__ == "__main__":
    sys.exit(main())
