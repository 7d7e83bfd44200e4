"""The Python packages: a virtual environment in the cache, made from a lock file with hashes.

Standard library only: `build.py` uses this before any package is installed, at each start, so
little is imported. The folder is named by the lock and the Python that it was made for.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

STAMP = "complete"
"""The file that is written last: a virtual environment cannot be renamed when it is whole."""


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
    return (place / STAMP).is_file() and python(place).exists()


def ensure(cache: Path, lock: Path, say: Callable[[str], None]) -> Path:
    """The environment's folder, made if it is not there.

    A second run at the same time waits for the first. Raises MissingError when the host
    has no `ensurepip` and we are not root, or when the packages cannot be fetched.
    """
    place = folder(cache, lock)
    if not ready(place):
        from lvslab.core import venv_maker  # late: most starts need nothing of what it needs

        venv_maker.make(place, lock, cache / "log" / "venv.log", say)
    return place
