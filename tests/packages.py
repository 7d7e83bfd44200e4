"""The wheel and the sdist of this checkout, built once for each test run that asks."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Any

from hatchling.builders.sdist import SdistBuilder
from hatchling.builders.wheel import WheelBuilder


def wheel(root: Path, folder: Path) -> Path:
    """Build the wheel of the project at `root` into `folder`."""
    return _built(WheelBuilder(str(root)), folder)


def sdist(root: Path, folder: Path) -> Path:
    """Build the sdist of the project at `root` into `folder`."""
    return _built(SdistBuilder(str(root)), folder)


def unpacked(archive: Path, folder: Path) -> Path:
    """The project in an sdist."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    (project,) = folder.iterdir()
    return project


def _built(builder: Any, folder: Path) -> Path:
    (made,) = builder.build(directory=str(folder))
    return Path(made)
