#!/usr/bin/env python3
"""What is handed out, from artifacts/: the size of the zip, and how long `verify` takes.

`verify` runs RUNS times, and the shortest counts.

    bench/handout.py [ARTIFACTS] [RUNS]

Ends with status 1 if a promise is broken. Standard library only.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ZIP_SHARE = 1.1
VERIFY_SECONDS = 10.0


def main() -> int:
    """Measure, print, compare."""
    artifacts = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "artifacts"
    ovas = [artifacts / "ova" / f"{role}.ova" for role in ("director", "real-server")]
    whole = sum(ova.stat().st_size for ova in ovas)
    zips = list(artifacts.glob("*.zip"))
    if len(zips) != 1:
        print(f"there is not one zip in {artifacts}", file=sys.stderr)
        return 1
    share = zips[0].stat().st_size / whole
    print(f"two OVAs  {whole / 1e6:9.1f} MB")
    print(f"zip       {zips[0].stat().st_size / 1e6:9.1f} MB, {share:.3f} of them (<= {ZIP_SHARE})")
    disks = sorted((artifacts / "vmware/base").glob("*.vmdk"))
    print(f"unpacked  {sum(disk.stat().st_size for disk in disks) / 1e6:9.1f} MB of base disks")
    subprocess.run([sys.executable, "build.py", "--version"], cwd=ROOT, check=True)  # prepared
    runs = [verify(ovas) for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 3)]
    seconds, statuses = min(run[0] for run in runs), {run[1] for run in runs}
    each = ", ".join(f"{run[0]:.1f}" for run in runs)
    print(f"verify of both OVAs  {seconds:.1f} s (<= {VERIFY_SECONDS:.0f}) of {each}")
    faults = []
    if share > ZIP_SHARE:
        faults.append("the zip is too large")
    if seconds > VERIFY_SECONDS:
        faults.append("verify takes too long")
    if statuses != {0}:
        faults.append("verify refuses an OVA")
    print("\n".join(f"broken: {fault}" for fault in faults) or "all promises are kept")
    return int(bool(faults))


def verify(ovas: list[Path]) -> tuple[float, int]:
    """Seconds and exit status of `build.py verify` of these files."""
    start = time.monotonic()
    done = subprocess.run([sys.executable, "build.py", "verify", *ovas], cwd=ROOT)
    return time.monotonic() - start, done.returncode


if __name__ == "__main__":
    sys.exit(main())
