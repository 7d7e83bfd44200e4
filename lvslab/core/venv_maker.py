"""Making the virtual environment of `venv`: one process at a time, by pip, with hashes.

Standard library only.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from lvslab.core import programs, venv
from lvslab.core.errors import MissingError
from lvslab.core.files import remove
from lvslab.core.procs import last_lines

# What a user's environment must not decide about an environment that is not theirs.
_NOT_OURS = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PYTHONHOME", "PYTHONPATH")


def make(place: Path, lock: Path, log: Path, say: Callable[[str], None]) -> None:
    """Make the environment at `place`, unless another process does so first.

    Raises as `venv.ensure` does.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if venv.ready(place):
            return
        if importlib.util.find_spec("ensurepip") is None:
            programs.ensure_packages(["python3-venv"], "to prepare itself", say, log)
        say("preparing the Python packages, once")
        remove(place)
        log.unlink(missing_ok=True)
        _install(place, lock, log)


def _install(place: Path, lock: Path, log: Path) -> None:
    pip = [
        str(venv.python(place)),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--no-input",
        "install",
    ]
    # The packages that exist only as source are built by the setuptools of the lock, not by
    # whatever version an isolated build would fetch without a hash.
    builder = place / "builder.lock"
    locked = ["--require-hashes", "--no-deps", "--no-build-isolation", "--progress-bar", "off"]
    _run([sys.executable, "-m", "venv", str(place)], log)
    builder.write_text(_only("setuptools", lock.read_text()))
    _run([*pip, *locked, "-r", str(builder)], log)
    _run([*pip, *locked, "-r", str(lock)], log)
    (place / venv.STAMP).touch()


def _only(name: str, lock: str) -> str:
    """The entry of one package in the text of a lock (its line and the indented ones after)."""
    kept, keeping = [], False
    for line in lock.splitlines():
        if line and not line[0].isspace():
            keeping = line.startswith(f"{name}==")
        if keeping:
            kept.append(line)
    return "\n".join(kept) + "\n"


def _run(words: list[str], log: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if key not in _NOT_OURS}
    with log.open("ab") as out:
        ended = subprocess.run(
            words,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if ended.returncode != 0:
        raise MissingError(
            "the Python packages cannot be installed:" + last_lines(log.read_text(), 4),
            hint="check the network, the free disk space and pip's settings, then try again",
            log=log,
        )
