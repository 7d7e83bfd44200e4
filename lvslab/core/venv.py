"""The Python packages: a virtual environment in the cache, made from a lock file with hashes.

Standard library only: `build.py` uses this before any package is installed. The folder is
named by the lock and the Python that it was made for. A virtual environment cannot be
renamed, so it is whole when its stamp, written last, is there.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from lvslab.core import programs
from lvslab.core.errors import MissingError
from lvslab.core.files import remove
from lvslab.core.procs import last_lines

_STAMP = "complete"
# What a user's environment must not decide about an environment that is not theirs.
_NOT_OURS = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PYTHONHOME", "PYTHONPATH")


def folder(cache: Path, lock: Path) -> Path:
    """Where the environment for this lock and the running Python belongs."""
    total = hashlib.sha256(lock.read_bytes())
    total.update(f"{sys.implementation.cache_tag} {sys.base_prefix}".encode())
    return cache / "venv" / total.hexdigest()[:32]


def python(place: Path) -> Path:
    """The environment's Python."""
    return place / "bin" / "python"


def ready(place: Path) -> bool:
    """Whether the environment is whole and the Python that it was made of still exists."""
    return (place / _STAMP).is_file() and python(place).exists()


def ensure(cache: Path, lock: Path, say: Callable[[str], None]) -> Path:
    """The environment's folder, made if it is not there.

    A second run at the same time waits for the first. Raises MissingError when the host
    has no `ensurepip` and we are not root, or when the packages cannot be fetched.
    """
    place = folder(cache, lock)
    if ready(place):
        return place
    log = cache / "log" / "venv.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not ready(place):
            if importlib.util.find_spec("ensurepip") is None:
                programs.ensure_packages(["python3-venv"], "to prepare itself", say, log)
            say("preparing the Python packages, once")
            remove(place)
            log.unlink(missing_ok=True)
            _make(place, lock, log)
    return place


def _make(place: Path, lock: Path, log: Path) -> None:
    pip = [str(python(place)), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
    # The packages that exist only as source are built by the setuptools of the lock, not by
    # whatever version an isolated build would fetch without a hash.
    builder = place / "builder.lock"
    locked = ["--require-hashes", "--no-deps", "--no-build-isolation", "--progress-bar", "off"]
    _run([sys.executable, "-m", "venv", str(place)], log)
    builder.write_text(_only("setuptools", lock.read_text()))
    _run([*pip, *locked, "-r", str(builder)], log)
    _run([*pip, *locked, "-r", str(lock)], log)
    (place / _STAMP).touch()


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
