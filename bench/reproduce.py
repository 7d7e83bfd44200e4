#!/usr/bin/env python3
"""How long it takes to build twice and to compare: `build.py reproduce` with a new cache.

    bench/reproduce.py                 in a copy of this checkout
    bench/reproduce.py --mirror URL    what follows goes to `reproduce`

Standard library only.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RATIO = 2.2
COMPARE_SECONDS = 30.0


def reproduce(words: list[str]) -> dict[str, Any]:
    """Build twice and compare; the event with the figures."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        checkout = Path(folder) / "checkout"
        ignored = shutil.ignore_patterns(".git", "artifacts", "__pycache__")
        shutil.copytree(ROOT, checkout, ignore=ignored)
        done = subprocess.run(
            [sys.executable, "build.py", "reproduce", "--json", *words],
            cwd=checkout,
            env=os.environ | {"LVSLAB_CACHE": f"{folder}/cache"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            check=True,
        )
    events = map(json.loads, done.stdout.splitlines())
    found: dict[str, Any] = next(event for event in events if event["event"] == "compared")
    return found


def line(what: str, value: float, limit: float, unit: str) -> bool:
    """Print one figure beside its limit; whether it holds."""
    print(f"{what:44} {value:10.2f} {unit:4} limit {limit:10.2f} {unit}")
    return value <= limit


def main() -> int:
    """The command line; status 1 if a limit does not hold."""
    found = reproduce(sys.argv[1:])
    for name in ("first", "second"):
        print(f"{name + ' build':44} {found[f'{name}_seconds']:10.2f} s")
    held = [
        line("both builds, times the first", found["ratio"], RATIO, ""),
        line("the comparison", found["compare_seconds"], COMPARE_SECONDS, "s"),
    ]
    print(f"{found['files']} files, {found['size'] / 1e9:.1f} GB, all the same")
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
