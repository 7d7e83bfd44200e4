"""Whether a build can be reproduced: built again under other conditions, and compared."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from lvslab.core.events import Listener, StageDone, StageStarted
from lvslab.core.files import remove
from lvslab.core.places import DATA
from lvslab.make import Options, images
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec
from lvslab.reproduce import again
from lvslab.reproduce.compare import Build, Comparison, Difference, compare
from lvslab.reproduce.conditions import Condition, Conditions, choose

__all__ = [
    "Build", "Comparison", "Condition", "Conditions", "Difference", "First", "Reproduced", "choose",
    "compare", "reproduce", "work_folder",
]  # fmt: skip


First = Build | tuple[Lab, Mapping[str, RoleSpec]]
"""A published build, or what to build first."""


@dataclass(frozen=True)
class Reproduced:
    """The end of it: what was different on purpose, what differs, and how long it took.

    `seconds` are those of the first build (0 if it was published), the second and the
    comparison. `whole`: the first build made everything itself, nothing came from a cache.
    """

    conditions: tuple[Condition, ...]
    comparison: Comparison
    seconds: tuple[float, float, float]
    whole: bool = False

    @property
    def ratio(self) -> float | None:
        """How many times one build both builds took; None if the first was not a whole build."""
        first, second, _ = self.seconds
        return (first + second) / first if self.whole else None


@contextmanager
def work_folder(parent: Path, keep: bool) -> Iterator[Path]:
    """A new folder below `parent` that others may enter; it stays if `keep`."""
    work = Path(tempfile.mkdtemp(prefix="lvslab-reproduce-", dir=parent))
    try:
        work.chmod(0o755)
        yield work
    finally:
        if not keep:
            remove(work)


def reproduce(
    first: First,
    options: Options,
    work: Path,
    listener: Listener,
) -> Reproduced:
    """Build `first` (unless it is a published build) with `options`, build it again in `work`
    under other conditions, and compare. Raises LabError as a build does."""
    start = time.monotonic()
    whole = False
    if not isinstance(first, Build):
        built = images(*first, replace(options, out=work / "first"), listener)
        first = Build.load(built.report, options.cache)
        whole = not any(stage["cached"] for stage in first.report["stages"])
    between = time.monotonic()
    conditions = choose(work / "second", options.jobs)
    (work / "second").mkdir()
    second = again.rebuild(first, DATA, work / "second", options, conditions, listener)
    if first.partial:
        second = second.only(first.report["roles"])
    built_again = time.monotonic()
    listener(StageStarted("comparing"))
    comparison = compare(first, second)
    end = time.monotonic()
    listener(StageDone("comparing", end - built_again))
    seconds = (between - start, built_again - between, end - built_again)
    return Reproduced(conditions.shown, comparison, seconds, whole)
