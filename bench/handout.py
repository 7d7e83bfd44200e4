#!/usr/bin/env python3
"""What is handed out, from artifacts/: the size of the zip, and how long `verify` takes.

    bench/handout.py [ARTIFACTS]

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
    start = time.monotonic()
    subprocess.run([sys.executable, "build.py", "verify", *ovas], cwd=ROOT, check=True)
    seconds = time.monotonic() - start
    print(f"verify of both OVAs  {seconds:.1f} s (<= {VERIFY_SECONDS:.0f})")
    return int(share > ZIP_SHARE or seconds > VERIFY_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
