"""The grade of a lesson: what labcheck says on each machine, put together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

from lvslab.core.errors import StageError
from lvslab.core.waiting import until
from lvslab.lab import checklist
from lvslab.lab.cluster import Cluster
from lvslab.lessons import attempt
from lvslab.lessons.lesson_folder import Lesson
from lvslab.model.lesson import CLIENT

PRIORITIES = ("link", "address", "service")
_PAUSE = 0.5


@dataclass(frozen=True)
class Judged:
    """A check on a machine. `because` says what hides it, if something that it needs fails."""

    machine: str
    title: str
    ok: bool
    says: str
    priority: str
    item: int = 0
    command: str = ""
    hint: str = ""
    note: str = ""
    because: str = ""

    @property
    def looked(self) -> bool:
        """Whether it was looked at."""
        return not self.because


def judge(cluster: Cluster, lesson: Lesson) -> list[Judged]:
    """What all machines say at this moment, in the order in which it is shown."""
    machines = [*lesson.lab.nodes, CLIENT]
    with ThreadPoolExecutor(len(machines)) as pool:
        found = list(pool.map(lambda machine: _of(cluster, lesson, machine), machines))
    return together(dict(zip(machines, found, strict=True)))


def wait(cluster: Cluster, lesson: Lesson, seconds: float) -> list[Judged]:
    """What they say as soon as all is well, or after so many seconds."""
    return until(lambda: judge(cluster, lesson), seconds, good=passed, pause=_PAUSE)


def passed(found: list[Judged]) -> bool:
    """Whether everything holds. What was not looked at counts as it is: it may hold."""
    return all(judged.ok and judged.looked for judged in found)


def together(found: Mapping[str, list[dict[str, Any]]]) -> list[Judged]:
    """The findings of all machines: the client's stand on those of every node."""
    nodes = [Judged(name, **f) for name, these in found.items() if name != CLIENT for f in these]
    bad = sorted((j for j in nodes if not j.ok), key=_place)
    client = [_under(Judged(CLIENT, **finding), bad) for finding in found.get(CLIENT, [])]
    return sorted([*nodes, *client], key=_place)


def _under(judged: Judged, bad: list[Judged]) -> Judged:
    below = [other for other in bad if _place(other) < _place(judged)]
    if judged.because or not below:
        return judged
    return replace(judged, because=f"{below[0].machine}: {below[0].says}")


def _place(judged: Judged) -> int:
    return PRIORITIES.index(judged.priority)


def _of(cluster: Cluster, lesson: Lesson, machine: str) -> list[dict[str, Any]]:
    words = ["--lesson"]
    if machine == CLIENT:
        words += ["--lesson-file", str(attempt.client_file(cluster))]
    try:
        found: list[dict[str, Any]] = json.loads(checklist.labcheck(cluster, machine, words))
    except StageError as error:
        return [_silent(error.message, error.hint)]
    except ValueError:
        return [_silent("labcheck gave no findings", "labcheck --lesson on the node")]
    return found


def _silent(says: str, hint: str) -> dict[str, Any]:
    return {
        "title": "the machine answers",
        "ok": False,
        "says": says,
        "priority": PRIORITIES[0],
        "hint": hint,
    }
