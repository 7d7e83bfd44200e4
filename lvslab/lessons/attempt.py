"""What a student has done of a lesson in a running lab; kept in the lab's state."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lvslab.core.errors import InputError
from lvslab.core.places import PROGRAM
from lvslab.lab.cluster import Cluster
from lvslab.lab.state import runtime_root

_KEY = "lesson"


@dataclass
class Attempt:
    """A lesson that was started. `findings` are those of the last check, `checked` when it was."""

    lesson: str
    started: str
    hints: int = 0
    answers: dict[str, str] = field(default_factory=dict)
    shown: bool = False
    checks: int = 0
    checked: str = ""
    findings: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def new(cls, lesson: str) -> Attempt:
        """The attempt at a lesson that starts now."""
        return cls(lesson, now())

    def keep(self, cluster: Cluster) -> None:
        """Write it down in the lab's state."""
        cluster.state.save(_KEY, asdict(self))


def client_file(cluster: Cluster) -> Path:
    """What the client's labcheck must know of the lesson, written when it starts."""
    return cluster.state.folder / "client-lesson.json"


def now() -> str:
    """This moment, ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def attempt_in(cluster: Cluster) -> Attempt:
    """The lesson that a lab is in. Raises InputError if it is in none."""
    found = cluster.state.load(_KEY)
    if found is None:
        raise InputError(
            f"the lab {cluster.lab.name} is in no lesson", hint=f"{PROGRAM} lesson start NAME"
        )
    return Attempt(**found)


def forget(cluster: Cluster) -> None:
    """The lab is in no lesson any more."""
    (cluster.state.folder / f"{_KEY}.json").unlink(missing_ok=True)


def lab_in_a_lesson() -> str:
    """The name of the one lab that is in a lesson. Raises InputError if there is none, or two."""
    found = sorted(path.parent.name for path in runtime_root().glob(f"*/{_KEY}.json"))
    if len(found) != 1:
        what = "no lab is in a lesson" if not found else f"in a lesson are: {', '.join(found)}"
        hint = f"{PROGRAM} lesson start NAME" if not found else "say which: --name NAME"
        raise InputError(what, hint=hint)
    return found[0]
