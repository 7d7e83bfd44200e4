#!/usr/bin/env python3
"""What a changed lab.yaml costs, when the images are built: seeds, VMware folders, zip and sums.

    bench/topology.py            builds, then measures four things, each RUNS times
    bench/topology.py --runs 5

Nothing changed; another address in each run (no bake: the same two OVAs); `verify` of both OVAs;
a lab of 2 directors and 200 real servers rendered, with a seed for each node. Of the runs the
shortest counts. Processor seconds are those of all processes: other work beside them lengthens
the time more than them. Ends with status 1 if a limit does not hold. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lvslab.core import venv  # noqa: E402
from lvslab.core.places import default_cache  # noqa: E402

LIMITS = {"nothing changed": 0.6, "another address": 3.0, "verify": 1.0, "200 servers": 10.0}
"""Seconds."""
SERVERS = 200
SEEDS = """
import sys
from pathlib import Path
from lvslab.formats import seed_iso
from lvslab.model.load import load_all, load_reference
from lvslab.render import everything, lab_texts, node_seed
path, out = map(Path, sys.argv[1:])
lab, roles = load_all(path)
reference = load_reference(lab)
assert len(everything(lab, roles.values())) > len(lab.nodes)
changed = {name: lab_texts(reference, lab, spec) for name, spec in roles.items()}
for node, this in lab.nodes.items():
    seed_iso.write_iso(node_seed(lab, node, changed[this.role]), out / f"{node}.iso", epoch=0)
"""


def measured(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of the clock and of the processors, those of the processes that it starts."""

    def used() -> float:
        now = resource.getrusage(resource.RUSAGE_CHILDREN)
        return now.ru_utime + now.ru_stime

    start, before = time.monotonic(), used()
    work()
    return time.monotonic() - start, used() - before


def build_py(*words: str | Path) -> None:
    """Run a verb; raises CalledProcessError with what it said."""
    argv = [sys.executable, ROOT / "build.py", *words]
    done = subprocess.run(argv, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, words))}:\n{done.stdout}{done.stderr}")


def another_address(number: int) -> str:
    """The lab of this checkout with another address of rs1."""
    text = (ROOT / "lab.yaml").read_text()
    old = "{eth1: 192.168.100.10, eth2: 192.168.200.10}"
    assert old in text
    return text.replace(old, f"{{eth1: 192.168.100.{number}, eth2: 192.168.200.{number}}}")


def many_servers(count: int) -> str:
    """The lab of this checkout with so many real servers."""
    text = (ROOT / "lab.yaml").read_text()
    for network in ("192.168.100.0", "192.168.200.0"):
        text = text.replace(f"{network}/24", f"{network}/22")
    begin = text.index("  rs2:")
    end = text.index("\n\n", begin) + 1
    block = text[begin:end]
    more = [
        block.replace("rs2:", f"rs{number}:")
        .replace("192.168.100.20", f"192.168.101.{number}")
        .replace("192.168.200.20", f"192.168.201.{number}")
        for number in range(3, count + 1)
    ]
    return text[:end] + "".join(more) + text[end:]


def sums_of_ovas(out: Path) -> dict[str, str]:
    """The sums of the OVAs in build.json."""
    made = json.loads((out / "build.json").read_text())["artifacts"]
    return {name: one["sha256"] for name, one in made.items() if name.endswith(".ova")}


def run(runs: int, folder: Path) -> bool:
    """Measure all four; whether their limits hold."""
    out, lab = folder / "out", folder / "lab.yaml"
    build_py("images", "--out", out)
    published = sums_of_ovas(out)
    python = venv.python(venv.ensure(default_cache(), ROOT / "requirements.lock", print))
    # An address that no earlier run of this bench has left in the cache.
    addresses = iter(range(21 + os.getpid() % 200, 250))

    def changed() -> None:
        lab.write_text(another_address(next(addresses)))
        build_py("images", "--lab", lab, "--out", out)
        assert sums_of_ovas(out) == published

    def seeds() -> None:
        lab.write_text(many_servers(SERVERS))
        (folder / "seeds").mkdir(exist_ok=True)
        subprocess.run([python, "-c", SEEDS, lab, folder / "seeds"], cwd=ROOT, check=True)
        assert len(list((folder / "seeds").iterdir())) == SERVERS + 2

    changed()  # the programs that read changed texts are unpacked once for each image
    build_py("images", "--out", out)
    works: dict[str, Callable[[], object]] = {
        "nothing changed": lambda: build_py("images", "--out", out),
        "verify": lambda: build_py("verify", *sorted((out / "ova").glob("*.ova"))),
        "another address": changed,
        "200 servers": seeds,
    }
    held = True
    for name, work in works.items():
        seconds, processors = min(measured(work) for _ in range(runs))
        held &= seconds <= LIMITS[name]
        print(f"{name:20} {seconds:7.2f} s {processors:7.2f} s of the processors, "
              f"limit {LIMITS[name]:5.1f} s")  # fmt: skip
    return held


def main() -> int:
    """The command line; status 1 if a limit does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3, help="runs of each, 3 if not given")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return 0 if run(chosen.runs, Path(folder)) else 1


if __name__ == "__main__":
    sys.exit(main())
