#!/usr/bin/env python3
"""Both commands of the README on other Debian releases: do they pass, is the result the same?

    bench/hosts.py                           Debian 13 (trixie) and forky
    bench/hosts.py forky --only images       one release, one command
    bench/hosts.py trixie --folder DIR       keeps the chroot in DIR, and goes on with one there

For each release: a chroot with python3, git and certificates, no more; a copy of this checkout;
`build.py images` with an empty cache, which gets all that it lacks by itself; its sums beside
those in this host's artifacts (`build.py images` first); `build.py test --fast`. The tests with
virtual machines are not run there: their guests are the same on each host. Needs root.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chroot

RELEASES = ("trixie", "forky")
PACKAGES = ("python3", "git", "ca-certificates")
COMMANDS = ("images", "test")
CHECKOUT = "root/lvslab"


@dataclass
class Row:
    """What was seen on one release; `problems` is empty if all is well."""

    host: str
    python: str
    seen: dict[str, str]
    problems: list[str]


def sums(artifacts: Path) -> set[str]:
    """The lines of SHA256SUMS, without the report's and the chart's: they have seconds in them."""
    lines = (artifacts / "SHA256SUMS").read_text().splitlines()
    return {line for line in lines if not line.endswith(("  build.json", "  profile.svg"))}


def difference(there: Path, here: Path) -> str:
    """How the artifacts of two hosts differ; an empty text if all are the same, byte for byte."""
    sources = [source(artifacts) for artifacts in (there, here)]
    if sources[0] != sources[1]:
        return "not comparable: this host's artifacts are of other sources (build.py images first)"
    ours, theirs = sums(here), sums(there)
    names = sorted({line.split("  ", 1)[1] for line in ours ^ theirs})
    return f"{len(names)} artifacts differ: {', '.join(names)}" if names else ""


def source(artifacts: Path) -> Any:
    """The sum of the sources that artifacts were made from, and that of their lab and lock."""
    report = json.loads((artifacts / "build.json").read_text())
    return report["source"]["sha256"], report["lab"], report["lock"]["sha256"]


def tested(log: str) -> str:
    """What pytest says at its end, without the decoration."""
    last = [line for line in log.splitlines() if " in " in line and "=" in line]
    return last[-1].strip("= ") if last else "no result"


def timed(work: Callable[[], None], row: Row, name: str) -> None:
    """Do one command, and note its seconds; what fails is noted, too."""
    start = time.monotonic()
    try:
        work()
    except chroot.Failed as error:
        row.problems.append(str(error))
    row.seen[name] = f"{time.monotonic() - start:.0f} s"


def look(release: str, folder: Path, against: Path, commands: list[str], share: list[str]) -> Row:
    """Make a release's chroot if it is not there, and run the commands in it."""
    root = folder / release
    if not root.is_dir():
        chroot.make(release, root, PACKAGES)

    def build(*words: str) -> Callable[[], None]:
        log = folder / f"{release}-{words[0]}.log"
        argv = ["python3", f"/{CHECKOUT}/build.py", *words]
        return lambda: chroot.run(root, argv, log=log, share=share)

    chroot.copy_checkout(root / CHECKOUT)
    name = dict(
        line.split("=", 1) for line in (root / "usr/lib/os-release").read_text().splitlines()
    )["PRETTY_NAME"].strip('"')
    chroot.run(root, ["python3", "--version"], log=folder / f"{release}-python.log")
    python = (folder / f"{release}-python.log").read_text().split()[-1]
    row = Row(name, python, {}, [])
    artifacts = root / CHECKOUT / "artifacts"
    if "images" in commands:
        timed(build("images"), row, "images")
        if not row.problems:
            found = difference(artifacts, against)
            row.seen["sums"] = "not equal" if found else "equal"
            row.problems += [found] if found else []
    if "test" in commands:
        timed(build("test", "--fast"), row, "test --fast")
        row.seen["tests"] = tested((folder / f"{release}-test.log").read_text(errors="replace"))
    return row


def main() -> int:
    """The command line; status 1 if a command failed or a sum differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("releases", nargs="*", default=RELEASES, metavar="RELEASE")
    parser.add_argument("--only", choices=COMMANDS, help="only one of the two commands")
    parser.add_argument("--folder", type=Path, help="keep the chroots here, and use those there")
    parser.add_argument(
        "--against",
        type=Path,
        default=chroot.ROOT / "artifacts",
        help="this host's artifacts",
    )
    parser.add_argument(
        "--share", action="append", default=[], help="a path that pip's settings name"
    )
    chosen = parser.parse_args()
    held = True
    if chosen.only != "test" and not (chosen.against / "SHA256SUMS").is_file():
        print(
            f"error: {chosen.against} has no SHA256SUMS: python3 build.py images", file=sys.stderr
        )
        return 2
    try:
        with chroot.place(chosen.folder) as folder:
            for release in chosen.releases:
                commands = [chosen.only] if chosen.only else list(COMMANDS)
                row = look(release, folder, chosen.against, commands, chosen.share)
                seen = "  ".join(f"{name}: {value}" for name, value in row.seen.items())
                print(f"{row.host:32} Python {row.python:8} {seen}", flush=True)
                for problem in row.problems:
                    print(f"  {problem}", flush=True)
                held = held and not row.problems
    except chroot.Failed as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
