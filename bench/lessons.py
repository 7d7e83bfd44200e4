#!/usr/bin/env python3
"""Every lesson in the real lab: started, broken as it declares, solved, graded.

    bench/lessons.py [LESSON ...]

Each lab that a lesson starts from is built into a folder of its own below $TMPDIR, and is up under
the name le-LAB until its lessons have been tried. Prints one line for each lesson; status 1 if one
is not as it says, or takes longer than ten seconds to start. Standard library only.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 10.0


def verb(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a verb of build.py."""
    argv = [sys.executable, "build.py", *words]
    return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)


def lessons() -> dict[str, str]:
    """All lessons, each with its lab: `default`, or an example."""
    lines = map(json.loads, verb("lesson", "list", "--json").stdout.splitlines())
    return {line["name"]: line["lab"] for line in lines if line["event"] == "lesson"}


def tried(lesson: str, lab: str) -> list[str]:
    """What is wrong with a lesson in a lab that is up; its times are printed."""
    done = verb("lesson", "rehearse", lesson, "--name", lab, "--json")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    found = [event for event in events if event["event"] == "rehearsal"]
    if not found:
        return [f"{lesson}: {done.stderr.strip()}"]
    [times] = found
    shown = ", ".join(f"{key} {times[key]:.1f} s" for key in ("started", "broken", "solved"))
    print(f"{lesson}: {shown}, status {done.returncode}", flush=True)
    slow = times["started"] > START_SECONDS
    late = [f"started in {times['started']:.1f} s"] if slow else []
    return [f"{lesson}: {problem}" for problem in [*times["problems"], *late]]


def in_lab(lab: str, names: list[str], folder: Path) -> list[str]:
    """What is wrong with the lessons of one lab."""
    where = [] if lab == "default" else ["--lab", f"examples/{lab}/lab.yaml"]
    name = f"le-{lab}"
    made = verb("images", *where, "--out", str(folder))
    if made.returncode:
        return [f"{lab}: images: {made.stderr}"]
    try:
        up = verb("lab", "up", *where, "--name", name, "--artifacts", str(folder))
        if up.returncode:
            return [f"{lab}: lab up: {up.stderr}"]
        return [problem for lesson in names for problem in tried(lesson, name)]
    finally:
        verb("lab", "down", *where, "--name", name)


def main() -> int:
    """Try the lessons, lab by lab; say what is wrong."""
    known = lessons()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*known, []], metavar="LESSON")
    chosen = parser.parse_args().names or list(known)
    problems = []
    for lab in dict.fromkeys(known[name] for name in chosen):
        with tempfile.TemporaryDirectory() as folder:
            names = [name for name in chosen if known[name] == lab]
            problems += in_lab(lab, names, Path(folder))
    print("\n".join(problems) or f"{len(chosen)} lessons are as they say")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
