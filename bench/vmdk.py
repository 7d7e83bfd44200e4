#!/usr/bin/env python3
"""Side by side: our streamOptimized writer, qemu-img and (if it can be had) VMware's open-vmdk.

    python3 bench/vmdk.py DISK [--runs N] [--levels 6,7,8,9] [--open-vmdk PROGRAM] [--json FILE]

DISK is a raw disk or any image that qemu-img reads (an OVA's VMDK too). Each program reads
the same raw file in turn, N times round; the median counts. Every result is compared with
the disk. Writing is to the same folder for all.
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
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lvslab.core.procs import program  # noqa: E402
from lvslab.export import vmdk  # noqa: E402
from lvslab.export.vmdk.writer import DEFAULT_LEVEL  # noqa: E402

Contender = Callable[[Path, Path], object]


@dataclass(frozen=True)
class Result:
    """Elapsed and processor seconds of each run, and the size of what was written, in bytes."""

    runs: list[float]
    cpu: list[float]
    size: int

    @property
    def seconds(self) -> float:
        """The median."""
        return statistics.median(self.runs)


def qemu_img(*words: object) -> str:
    """Run qemu-img; its output."""
    argv = [program("qemu-img"), *map(str, words)]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def by_qemu(raw: Path, out: Path) -> None:
    """The yardstick."""
    qemu_img("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, out)


def ours(level: int) -> Contender:
    """Our writer at one level of libdeflate, on all cores."""
    return lambda raw, out: vmdk.write_stream_optimized(raw, out, level=level)


def open_vmdk(path: str, level: int) -> Contender:
    """VMware's vmdk-convert at one level of zlib, on all cores."""
    argv = [path, "-c", str(level), "-n", str(os.cpu_count() or 1), "-t", "2147483647"]

    def convert(raw: Path, out: Path) -> None:
        subprocess.run([*argv, str(raw), str(out)], check=True, capture_output=True)

    return convert


def measure(raw: Path, contenders: dict[str, Contender], runs: int) -> dict[str, Result]:
    """What each contender needed, in turn, and whether its disk is the right one."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    sizes: dict[str, int] = {}
    with tempfile.TemporaryDirectory(dir=raw.parent) as folder:
        for _ in range(runs):
            for name, convert in contenders.items():
                out = Path(folder) / f"{name.replace(' ', '-')}.vmdk"
                out.unlink(missing_ok=True)
                before = os.times()
                convert(raw, out)
                after = os.times()
                seconds[name].append(round(after.elapsed - before.elapsed, 3))
                cpu[name].append(round(sum(after[:4]) - sum(before[:4]), 3))
                if name not in sizes:
                    sizes[name] = out.stat().st_size
                    qemu_img("compare", "-f", "raw", "-F", "vmdk", raw, out)
    return {name: Result(seconds[name], cpu[name], sizes[name]) for name in contenders}


def table(results: dict[str, Result]) -> str:
    """The results beside qemu-img's."""
    base = results["qemu-img"]
    lines = [f"{'':20}{'seconds':>9}{'faster':>9}{'CPU s':>9}{'MB':>9}{'size':>9}"]
    for name, result in results.items():
        faster, size = base.seconds / result.seconds, result.size / base.size
        lines.append(
            f"{name:20}{result.seconds:>9.2f}{faster:>8.2f}x{statistics.median(result.cpu):>9.2f}"
            f"{result.size / 1e6:>9.1f}{size:>9.2%}"
        )
    return "\n".join(lines)


def main() -> int:
    """Measure, print the table, write the JSON; 1 if ours is not twice as fast and as small."""
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
        contenders["open-vmdk level 6"] = open_vmdk(chosen.open_vmdk, 6)
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
    best = results[f"lvslab level {chosen.levels.split(',')[0]}"]
    yardstick = results["qemu-img"]
    fast = 2 * best.seconds <= yardstick.seconds
    small = best.size <= yardstick.size
    return 0 if fast and small else 1


if __name__ == "__main__":
    sys.exit(main())
