"""What a build is going to make, and how long that takes: told to those who watch it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from threading import Lock, Thread

from lvslab.core import durations
from lvslab.core.errors import LabError
from lvslab.core.events import Event, Expected, Forecast, Listener, StageDone, StageStarted
from lvslab.core.forecast import Left
from lvslab.core.stages import Stages
from lvslab.make.pipeline import Pipeline
from lvslab.make.publishing import plan
from lvslab.make.trees import Options
from lvslab.model.lab import Lab
from lvslab.model.role import RoleSpec

_LAST = "verify"
"""What comes after all stages: see `examined`."""


def forecast(
    lab: Lab,
    roles: Mapping[str, RoleSpec],
    options: Options,
    planned: Iterable[tuple[str, bool]],
) -> Forecast:
    """What a build makes of which `plan` says `planned`, with the times of earlier builds.

    What is made from something that is missing counts as missing, too.
    """
    needs = Pipeline(lab, roles, options).needs()
    missing = {name for name, cached in planned if not cached}
    for name, needed in needs.items():  # what is needed comes before what needs it
        if not missing.isdisjoint(needed):
            missing.add(name)
    wanted = {name: needed for name, needed in needs.items() if name in missing}
    if wanted:
        wanted[_LAST] = tuple(wanted)
    known = durations.load(Stages(options.cache))
    stages = {
        name: Expected(needed, known[name][1] if name in known else None)
        for name, needed in wanted.items()
    }
    found = Forecast("", None, durations.builds(known, stages), options.jobs, stages)
    left = Left(found)
    return replace(found, seconds=left.seconds(0), text=left.text(0))


@contextmanager
def watched(
    lab: Lab, roles: Mapping[str, RoleSpec], options: Options, listener: Listener
) -> Iterator[Listener]:
    """A listener for one build: it passes all on to `listener`, which also gets a Forecast.

    The forecast comes soon after the first stage that is made has begun: a build that makes
    nothing does not wait for it. What the stages took is kept for later builds.
    """
    build, took, guard = int(time.time()), dict[str, float](), Lock()
    foreseeing = Thread(target=_foresee, args=(lab, roles, options, listener))

    def hear(event: Event) -> None:
        listener(event)
        with guard:
            if isinstance(event, StageStarted) and foreseeing.ident is None:
                foreseeing.start()
            elif isinstance(event, StageDone) and not event.cached:
                took[event.stage] = event.seconds

    try:
        yield hear
    finally:
        if foreseeing.ident is not None:
            foreseeing.join()
        if took:
            durations.add(Stages(options.cache), build, took)


def _foresee(lab: Lab, roles: Mapping[str, RoleSpec], options: Options, listener: Listener) -> None:
    """Tell a forecast. A build does not end because there is none: its stages are being made now,
    and what is there may be gone a moment later."""
    with suppress(LabError, OSError):
        quiet = replace(options, check_cache=False)
        foreseen = forecast(lab, roles, quiet, plan(lab, roles, quiet))
        if foreseen.stages:
            listener(foreseen)
