"""Which finished stages of the cache labs run on: a node's disk is an overlay over one."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from lvslab.lab.state import default_root, runtime_root


def in_use(cache: Path) -> dict[Path, str]:
    """The folders of finished stages that somebody needs, and who that is.

    A lab that is known here counts although it does not run, for its nodes may be started again.
    Of labs with another LVSLAB_STATE, and of programs that read a stage, the open files count as
    far as they are ours to see (proc(5)).
    """
    stages = cache / "stages"
    found: dict[Path, str] = {}
    for who, path in (*_bases(), *_open_files()):
        with contextlib.suppress(ValueError):  # elsewhere
            name, identity, _ = path.relative_to(stages.resolve()).parts[:3]
            found.setdefault(stages / name / identity, who)
    return {folder: who for folder, who in found.items() if folder.is_dir()}


def _bases() -> Iterator[tuple[str, Path]]:
    """The lab, and the raw disk below a node's own, of every node that this user's labs have."""
    for root in {runtime_root(), default_root()}:
        for kept in sorted(root.glob("*/*/base.json")):
            with contextlib.suppress(OSError, ValueError, TypeError):
                yield f"the lab {kept.parts[-3]}", Path(json.loads(kept.read_text())).resolve()


def _open_files() -> Iterator[tuple[str, Path]]:
    """Each process, and a file that it has open."""
    for pid in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208
        with contextlib.suppress(OSError):
            for entry in os.scandir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    yield f"process {pid}", Path(os.readlink(entry.path))  # noqa: PTH115
