#!/usr/bin/env python3
"""How long a class takes on a simulated vCenter: from nothing, again, status, and removed.

    bench/deploy.py [--students N]

Builds the simulator if it is not in the cache, and makes artifacts with a tiny disk: what is
measured are the calls, not the time that a real cluster takes for disks.
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

from lvslab.deploy.credentials import SECRET, USER  # noqa: E402
from lvslab.model.load import load_lab  # noqa: E402
from tests import small_artifacts, vcenter  # noqa: E402
from tests.authority import Authority  # noqa: E402

LIMIT = 20.0
"""Seconds for `deploy` of 30 students."""
SITE = """\
server: {server}
ca: authority.pem
reach: cluster
tags: 1000-3000
datacenter: DC0
cluster: DC0_C0
datastore: LocalDS_0
switch: DVS1
"""


def measure(folder: Path, students: int) -> float:
    """Print a line for each call; returns the seconds of the first `up`."""
    small_artifacts.write(load_lab(ROOT / "lab.yaml"), folder / "artifacts")
    students_file = class_list(folder, students)
    authority = Authority(folder)
    os.environ |= {USER: vcenter.USER, SECRET: vcenter.SECRET}
    words = ["deploy", "vsphere", "--site", str(folder / "vsphere.yaml")]
    words += ["--class", str(students_file), "--artifacts", str(folder / "artifacts")]
    with vcenter.running(authority) as simulator:
        (folder / "vsphere.yaml").write_text(SITE.format(server=simulator.address))
        rows: list[tuple[str, list[str]]] = [("up", [])] + [
            (name, [name]) for name in ("up", "status", "remove")
        ]
        found = [(name, timed([*words, *more])) for name, more in rows]
    for name, seconds in found:
        print(f"{name:8} {seconds:6.2f} s")
    return found[0][1]


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--students", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(Path(folder), options.students)
    if options.students == 30 and seconds > LIMIT:
        print(f"limit: {LIMIT:g} s", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
