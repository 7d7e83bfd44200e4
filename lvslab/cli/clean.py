"""`clean`: how large the cache is, and what of it can be removed."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

import click

from lvslab.cli.common import session, verb
from lvslab.core.digests import load_sealed, save_sealed
from lvslab.core.errors import InputError
from lvslab.core.files import by_age, only_one, remove

# What lvslab puts into its cache; nothing else there is ever touched.
PARTS = {
    "stages": "finished stages of builds",
    "pool": "Debian packages",
    "venv": "Python packages",
    "bytecode": "compiled Python",
    "checkpoints": "labs as they were when they were up",
    "tmp": "left over from runs that were killed",
    "digests.json": "sums of large files",
    "notes": "what was probed and measured on this host",
    "log": "logs",
}


@verb(
    "clean",
    """
    clean
    clean --stale
    clean --all
    """,
)
@click.option("--stale", is_flag=True, help="Remove all stages except the newest, and leftovers.")
@click.option("--all", "everything", is_flag=True, help="Remove the whole cache.")
def clean(stale: bool, everything: bool) -> None:
    """Show the size of the cache, or empty it. Artifacts and packages.lock stay.

    The disks that a lab uses stay as well.
    """
    from lvslab.lab.usage import in_use

    this = session()
    if stale and everything:
        raise InputError("--stale and --all were given", hint="choose one of them")
    before = {part: size(this.cache / part) for part in PARTS}
    if not stale and not everything:
        for part, what in PARTS.items():
            this.out(f"{part:12} {_megabytes(before[part])}  {what}")
        this.out(f"{'all':12} {_megabytes(sum(before.values()))}  {this.cache}")
        return
    with only_one(this.cache / "lock", "build"):
        used = in_use(this.cache)
        for path in stale_parts(this.cache) if stale else all_parts(this.cache, used):
            if path in used or path.with_suffix("") in used:  # a stage, or the record of its sums
                continue
            remove(path)
    for folder, who in sorted(used.items()):
        this.out(f"kept: {folder.parent.name}, which {who} uses")
    after = sum(size(this.cache / part) for part in PARTS)
    this.out(f"{_megabytes(sum(before.values()) - after).strip()} freed in {this.cache}")


def size(folder: Path) -> int:
    """The bytes on disk of a file or below a folder; a file with several names counts once."""
    if folder.is_file():
        return folder.stat().st_blocks * 512
    seen: set[tuple[int, int]] = set()
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            this = os.lstat(Path(where) / name)
            if (this.st_dev, this.st_ino) not in seen:
                seen.add((this.st_dev, this.st_ino))
                total += this.st_blocks * 512
    return total


def all_parts(cache: Path, used: Collection[Path]) -> Iterator[Path]:
    """Everything in the cache that is ours; stages one by one if some of them are in use."""
    for part in PARTS:
        if part == "stages" and used:
            yield from sorted((cache / part).glob("*/*"))
        else:
            yield cache / part


def stale_parts(cache: Path) -> Iterator[Path]:
    """All stages but the newest of each name, half-made things, and the other environments.

    With a stage goes the record of its sums.

    What a process that lives is making is not stale.
    """
    from lvslab.core.stages import leftovers, record_of

    yield from leftovers(cache / "tmp")
    yield from by_age(cache / "checkpoints")[:-1]
    for stage in (cache / "stages").glob("*"):
        *stale, newest = by_age(stage) or [stage]
        yield from stale
        yield from set(stage.glob("*.sums")) - {record_of(newest)}
    yield from by_age(cache / "venv")[:-2]


def stale_bytes(cache: Path) -> int:
    """The bytes of `stale_parts`, after a look at the cache that every build can afford.

    A finished stage or an environment may have ten thousand files, and one that is stale stays as
    it is: it is walked once, and its size is kept beside the other notes.
    """
    memory = cache / "notes" / "sizes.json"
    known = load_sealed(memory) or {}
    stale = list(stale_parts(cache))
    sizes = {
        str(path): known.get(str(path)) or size(path)
        for path in stale
        if path.is_dir() and not path.is_relative_to(cache / "tmp")
    }
    if sizes != known:
        with suppress(OSError):  # a cache that cannot be written: walked again the next time
            save_sealed(memory, sizes)
    others = (path for path in stale if str(path) not in sizes)
    return sum(sizes.values()) + sum(map(size, others))


def _megabytes(count: int) -> str:
    return f"{count / 1e6:10,.1f} MB"
