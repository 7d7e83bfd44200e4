"""The host's programs that take part in a build, as they name themselves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from time import time
from typing import Any

from lvslab.core.digests import is_due, state
from lvslab.core.procs import program, run
from lvslab.core.stages import Stages

PROGRAMS = ("mmdebstrap", "apt-get", "dpkg", "tar", "qemu-system-x86_64")
"""Those of which build.json speaks; none may shape a byte."""
_NOTE = "programs"


def versions(stages: Stages) -> dict[str, str]:
    """The first line of what each program says of its version, by its name.

    To start them takes longer than the rest of a build that makes nothing. So what they said is
    kept beside the stages: a program is asked again when its file is another one, and when its
    answer is as old as a file may be until it is read again (`core.digests`).
    """
    paths = {name: Path(program(name)) for name in PROGRAMS}
    kept: dict[str, Any] = stages.noted(_NOTE) or {}
    states = {name: [str(path), *state(path.stat())] for name, path in paths.items()}
    changed = [
        name
        for name in PROGRAMS
        if name not in kept or kept[name]["state"] != states[name] or is_due(kept[name]["asked"])
    ]
    if changed:
        with ThreadPoolExecutor(len(changed)) as executor:
            said = dict(zip(changed, executor.map(_asked, changed), strict=True))
        kept |= {n: {"said": said[n], "state": states[n], "asked": time()} for n in changed}
        with suppress(OSError):  # a cache that cannot be written: asked again the next time
            stages.note(_NOTE, kept)
    return {name: kept[name]["said"] for name in PROGRAMS}


def _asked(name: str) -> str:
    return run([name, "--version"], what=f"asking {name}").partition("\n")[0]
