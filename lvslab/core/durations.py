"""What stages took in earlier builds on this host: kept by name, for forecasts only.

By name and not by id: a changed input makes a new id, and the same work takes about the same time.
Only the newest time of a stage is kept. A host is faster or slower for days, and in the logs of
some builds the newest was nearer to the next one than a median was.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from contextlib import suppress

from lvslab.core.stages import Stages

NOTE = "durations"
"""The name of the note in the cache (`Stages.note`)."""

NAMES = 300
"""So many stages are kept; those that were made last stay."""

Durations = Mapping[str, tuple[int, float]]
"""By the name of a stage: when the build began that made it (seconds since 1970), and what the
stage took (seconds)."""


def load(stages: Stages) -> Durations:
    """What the cache has; what is missing, damaged or of another form is left out."""
    kept = stages.noted(NOTE)
    found = {}
    for name, row in kept.items() if isinstance(kept, dict) else ():
        with suppress(TypeError, ValueError):
            build, seconds = row
            if math.isfinite(seconds):
                found[name] = (int(build), float(seconds))
    return found


def add(stages: Stages, build: int, took: Mapping[str, float]) -> None:
    """Keep what the stages of a build took. A cache that cannot be written stays as it is."""
    known = load(stages)
    kept = {name: row for name, row in known.items() if name not in took}
    kept |= {name: (build, round(seconds, 3)) for name, seconds in took.items()}
    with suppress(OSError):
        stages.note(NOTE, dict(list(kept.items())[-NAMES:]))


def builds(durations: Durations, names: Iterable[str]) -> int:
    """How many builds the times of these stages are from."""
    return len({durations[name][0] for name in names if name in durations})
