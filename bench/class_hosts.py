#!/usr/bin/env python3
"""How long the wires and definitions of a class take over libvirt hosts, and its end.

    bench/class_hosts.py [--students N] [--hosts N] [--artifacts DIR]

The hosts are namespaces on this machine, each with its own libvirtd (tests/hosts.py); root only.
No node is started: `class up --no-start` makes networks, overlays, seeds and domains. Without
--artifacts the images are tiny; with it, the time includes their way to the hosts. Each host counts
this machine's free memory as its own: 30 students need 20 GB for two hosts, 13 GB for three.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from verbs import class_list, timed  # noqa: E402

from lvslab.model.load import load_lab  # noqa: E402
from tests import small_artifacts  # noqa: E402
from tests.hosts import hosts  # noqa: E402

LIMIT = 30.0
"""Seconds for wires and definitions of 30 students."""
MEMORY = "memory_mib: 256"  # the least
CROWD = "100"  # nothing is started, so nothing is crowded


def measure(folder: Path, students: int, number: int, artifacts: Path | None) -> float:
    """Print a line for each call; returns the seconds of the first `up`."""
    if artifacts is None:
        artifacts = small_artifacts.write(load_lab(ROOT / "lab.yaml"), folder / "artifacts")
    students_file = class_list(folder, students)
    text = (ROOT / "lab.yaml").read_text().replace("name: lvslab", "name: bench")
    (folder / "lab.yaml").write_text(text.replace("    role:", f"    {MEMORY}\n    role:"))
    os.environ |= {"LVSLAB_STATE": str(folder / "s"), "LVSLAB_CACHE": str(folder / "cache")}
    common = [str(students_file), "--lab", str(folder / "lab.yaml")]
    up = ["class", "up", *common, "--artifacts", str(artifacts), "--no-start"]
    up += ["--vcpus-per-core", CROWD]
    with hosts(folder, *"abcdef"[:number]) as rig:
        named = [word for uri in rig.uris for word in ("--host", uri)]
        rows = {
            "dry run": [*up, *named, "--dry-run"],
            "up": [*up, *named],
            "again": up,
            "down": ["class", "down", *common],
        }
        found = {name: timed(words) for name, words in rows.items()}
    for name, seconds in found.items():
        print(f"{name:8} {seconds:6.2f} s")
    return found["up"]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--students", type=int, default=30)
    parser.add_argument("--hosts", type=int, choices=range(1, 7), default=2)
    parser.add_argument("--artifacts", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(Path(folder), options.students, options.hosts, options.artifacts)
    if options.students == 30 and seconds > LIMIT:
        print(f"limit: {LIMIT:g} s", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
