#!/usr/bin/env python3
"""Every example: built, drawn, booted, checked, and what faults cost its clients.

    bench/examples.py [NAME ...] [--runs N] [--faults FAULT ...]

Each lab is built into a folder of its own below $TMPDIR (the stages are kept in the cache), and is
up under the name ex-NAME until its faults are measured. Prints one line for each step and the
table of its faults; status 1 if a step failed. Takes some ten minutes for each lab without
hardware acceleration. Standard library only.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
FAULTS = ("crash", "stop", "server-crash")


def names() -> list[str]:
    """The examples: the folders of examples/ that have a lab."""
    return sorted(path.parent.name for path in EXAMPLES.glob("*/lab.yaml"))


class Example:
    """One example, under way."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.lab = EXAMPLES / name / "lab.yaml"
        self.failed: list[str] = []

    def step(self, what: str, *words: str) -> str:
        """Run a verb of build.py; its output. What fails is said and remembered."""
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "build.py", *words, "--lab", self.lab],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - start
        print(f"{self.name}: {what}: {seconds:.0f} s, status {done.returncode}", flush=True)
        if done.returncode:
            self.failed.append(what)
            print(done.stdout + done.stderr, flush=True)
        return done.stdout

    def run(self, faults: list[str], runs: int) -> None:
        """Every step, in its order; after one that failed only the end of the lab."""
        name = ["--name", f"ex-{self.name}"]
        self.step("validate", "validate")
        self.step("images", "images", "--out", str(self.folder))
        self.step("diagram", "diagram", "--out", str(self.folder / "picture"))
        if self.failed:
            return
        try:
            self.step("up", "lab", "up", "--cold", *name, "--artifacts", str(self.folder))
            if not self.failed:
                known = self.step("faults", "lab", "failover", "--list").split()
                usual = [fault for fault in FAULTS if fault in known]  # not all with one director
                measured = ["failover", *(faults or usual), "--runs", str(runs)]
                print(self.step("failover", "lab", *measured, *name), flush=True)
        finally:
            subprocess.run(
                [sys.executable, "build.py", "lab", "down", *name], cwd=ROOT, check=False
            )


def main() -> int:
    """Build, run, measure; say which failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*names(), []], metavar="NAME")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--faults", nargs="+", default=[])
    options = parser.parse_args()
    failed = []
    for name in options.names or names():
        with tempfile.TemporaryDirectory() as folder:
            example = Example(name, Path(folder))
            example.run(options.faults, options.runs)
            failed += [f"{name}: {what}" for what in example.failed]
    print("failed: " + ", ".join(failed) if failed else "every example passed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
