#!/usr/bin/env python3
"""Side by side: our streamOptimized writer, qemu-img and (if it is installed) VMware's open-vmdk.

    python3 bench/vmdk.py DISK [--runs N] [--levels 6,7,8,9] [--open-vmdk PROGRAM] [--json FILE]

DISK is a raw disk or any image that qemu-img reads (an OVA's VMDK too). Each program reads
the same raw file in turn, N times round; the median counts. Every result is compared with
the disk. Writing is to the same folder for all. A program that fails is shown with its
status. Ends with status 1 if a promise is broken: twice as fast as qemu-img and not larger,
at least level with open-vmdk (where it is there) in time and, within a hundredth, in size.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lvslab.core.procs import program  # noqa: E402
from lvslab.formats import vmdk  # noqa: E402
from lvslab.formats.vmdk.writer import DEFAULT_LEVEL  # noqa: E402

Contender = Callable[[Path, Path], int]
"""Converts a raw disk to a VMDK and gives its exit status."""

FASTER_THAN_QEMU = 2.0
SAME_SIZE = 1.01
OPEN_VMDK = "open-vmdk level 6"


@dataclass(frozen=True)
class Result:
    """Elapsed and processor seconds of each run, the size written in bytes, the exit status.

    A status other than 0 ends the runs: 1 too if what was written is not the disk.
    """

    runs: list[float]
    cpu: list[float]
    size: int
    status: int = 0

    @property
    def seconds(self) -> float:
        """The median."""
        return statistics.median(self.runs)


def qemu_img(*words: object) -> str:
    """Run qemu-img; its output."""
    argv = [program("qemu-img"), *map(str, words)]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def status_of(*words: object) -> int:
    """Run a program, its output unseen; its exit status."""
    return subprocess.run(list(map(str, words)), capture_output=True).returncode


def by_qemu(raw: Path, out: Path) -> int:
    """The yardstick."""
    kind = "subformat=streamOptimized"
    return status_of(
        program("qemu-img"), "convert", "-f", "raw", "-O", "vmdk", "-o", kind, raw, out
    )


def ours(level: int) -> Contender:
    """Our writer at one level of libdeflate, on all cores."""

    def convert(raw: Path, out: Path) -> int:
        vmdk.write_stream_optimized(raw, out, level=level)
        return 0

    return convert


def open_vmdk(path: str, level: int) -> Contender:
    """VMware's vmdk-convert at one level of zlib, on all cores."""
    argv = [path, "-c", str(level), "-n", str(os.cpu_count() or 1), "-t", "2147483647"]
    return lambda raw, out: status_of(*argv, raw, out)


def measure(raw: Path, contenders: dict[str, Contender], runs: int) -> dict[str, Result]:
    """What each contender needed, in turn, and whether its disk is the right one."""
    results = {name: Result([], [], 0) for name in contenders}
    with tempfile.TemporaryDirectory(dir=raw.parent) as folder:
        for _ in range(runs):
            for name, convert in contenders.items():
                if not results[name].status:
                    out = Path(folder) / f"{name.replace(' ', '-')}.vmdk"
                    results[name] = once(raw, out, convert, results[name])
    return results


def once(raw: Path, out: Path, convert: Contender, result: Result) -> Result:
    """A result with one more run; the first run's disk is compared with the raw one."""
    out.unlink(missing_ok=True)
    before, start = os.times(), time.perf_counter()
    status = convert(raw, out)
    after, end = os.times(), time.perf_counter()  # the clock of os.times() ticks too slowly
    if not status and not result.runs:
        compare = ("compare", "-f", "raw", "-F", "vmdk", raw, out)
        status = status_of(program("qemu-img"), *compare)
    if status:
        return replace(result, status=status)
    return Result(
        [*result.runs, round(end - start, 6)],
        [*result.cpu, round(sum(after[:4]) - sum(before[:4]), 3)],
        out.stat().st_size,
    )


def table(results: dict[str, Result]) -> str:
    """The results beside qemu-img's."""
    base = results["qemu-img"]
    lines = [f"{'':20}{'seconds':>9}{'faster':>9}{'CPU s':>9}{'MB':>9}{'size':>9}{'status':>8}"]
    for name, result in results.items():
        if result.status or base.status:
            lines.append(f"{name:20}{'':45}{result.status:>8}")
            continue
        faster, size = base.seconds / result.seconds, result.size / base.size
        lines.append(
            f"{name:20}{result.seconds:>9.2f}{faster:>8.2f}x{statistics.median(result.cpu):>9.2f}"
            f"{result.size / 1e6:>9.1f}{size:>9.2%}{result.status:>8}"
        )
    return "\n".join(lines)


def broken(best: Result, results: dict[str, Result]) -> list[str]:
    """Each promise that `best` breaks, as a sentence."""
    failed = [f"{name} ended with status {r.status}" for name, r in results.items() if r.status]
    if failed:
        return failed
    qemu, found = results["qemu-img"], []
    if FASTER_THAN_QEMU * best.seconds > qemu.seconds:
        found.append(f"not {FASTER_THAN_QEMU:g} times as fast as qemu-img")
    if best.size > qemu.size:
        found.append("larger than qemu-img's")
    if other := results.get(OPEN_VMDK):
        if best.seconds > other.seconds:
            found.append("slower than open-vmdk")
        if best.size > SAME_SIZE * other.size:
            found.append("larger than open-vmdk's")
    return found


def main() -> int:
    """Measure, print the table, write the JSON; 1 if a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("disk", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--levels", default=str(DEFAULT_LEVEL))
    parser.add_argument("--open-vmdk", default=shutil.which("vmdk-convert"))
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()

    contenders: dict[str, Contender] = {"qemu-img": by_qemu}
    for level in map(int, chosen.levels.split(",")):
        contenders[f"lvslab level {level}"] = ours(level)
    if chosen.open_vmdk:
        contenders[OPEN_VMDK] = open_vmdk(chosen.open_vmdk, 6)
    else:
        print("open-vmdk's vmdk-convert is not on PATH: not compared with it")
    with tempfile.TemporaryDirectory(dir=chosen.disk.resolve().parent) as folder:
        raw = Path(folder) / "raw"
        qemu_img("convert", "-O", "raw", chosen.disk, raw)
        results = measure(raw, contenders, chosen.runs)
        used = raw.stat().st_blocks * 512
        capacity = raw.stat().st_size
    print(f"disk of {capacity >> 20} MiB, {used >> 20} MiB in use, {os.cpu_count()} cores")
    print(f"load {os.getloadavg()[0]:.1f} at the end; on a busy machine compare the CPU seconds")
    print(table(results))
    if chosen.json:
        report = {
            "capacity": capacity,
            "used": used,
            "cores": os.cpu_count(),
            "machine": platform.machine(),
            "load": os.getloadavg(),
            "qemu-img": qemu_img("--version").splitlines()[0],
            "deflate": metadata.version("deflate"),
            "results": {name: asdict(result) for name, result in results.items()},
        }
        chosen.json.write_text(json.dumps(report, indent=1) + "\n")
    faults = broken(results[f"lvslab level {chosen.levels.split(',')[0]}"], results)
    print("\n".join(f"broken: {fault}" for fault in faults) or "all promises are kept")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
