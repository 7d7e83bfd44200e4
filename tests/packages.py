"""The sdist of this checkout, unpacked."""

from __future__ import annotations

import tarfile
from pathlib import Path


def unpacked(archive: Path, folder: Path) -> Path:
    """The project in an sdist."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (project,) = folder.iterdir()
    return project
