"""The sdist of this checkout, unpacked."""

from __future__ import annotations

import tarfile
from pathlib import Path


def unpacked(archive: Path, folder: Path) -> Path:
    """The project in an sdist."""
    with tarfile.open(archive) as tar:
        tar.extraction_filter = getattr(tarfile, "data_filter", None)  # not in Python 3.11.2
        tar.extractall(folder)
    (project,) = folder.iterdir()
    return project
