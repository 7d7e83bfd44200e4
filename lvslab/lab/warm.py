"""Warm starts: the lab as it was when its checklist first passed, kept in the cache.

A cold start boots every node; a warm one goes on from the checkpoint that the last cold one made.
What is kept is named by all that it depends on: images, seeds, lab, devices, QEMU's version, and
what the guests are given by the lab. The folder is put in place whole.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

from lvslab.core.errors import StageError
from lvslab.core.events import Listener, Note
from lvslab.core.files import by_age, remove, sha256_file
from lvslab.core.procs import run
from lvslab.core.stages import digest
from lvslab.lab import checkpoint
from lvslab.lab.cluster import Cluster

FOLDER = "checkpoints"
"""Where they are, below the cache."""

CHECKPOINT = "up"
"""The name of the checkpoint that a lab has from the moment that it is up."""

_FORM = 2  # another one when nodes in a checkpoint know what no longer is, such as a MAC address
_KEPT = 3  # each takes about a GB
_ROOM = 2 << 30  # bytes that stay free


def place(cluster: Cluster, cache: Path) -> Path:
    """Where this lab is kept, with its images and seeds as they are now on its nodes."""
    version = run(["qemu-system-x86_64", "--version"], what="asking QEMU").splitlines()[0]
    depends = {
        "form": _FORM,
        "qemu": version,
        "lab": cluster.lab.model_dump(mode="json", exclude={"name"}),  # no guest hears it
        "settings": vars(cluster.settings),
        "disks": {node: str(cluster.base(node)) for node in cluster.lab.nodes},
        "seeds": {node: sha256_file(cluster.seed(node)) for node in cluster.lab.nodes},
        "guests": {
            name: hashlib.sha256(content).hexdigest()
            for name, content in cluster.credentials().items()
            if name != "ssh.authorized_keys.root"  # the key is kept, too
        },
    }
    return cache / FOLDER / digest(depends)


def keep(cluster: Cluster, folder: Path, listener: Listener) -> None:
    """Make the checkpoint CHECKPOINT and keep a copy of it in `folder`.

    A copy that cannot be made (a full disk) is a warning: the lab is up nevertheless.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(folder.parent).free < _ROOM:
        listener(Note(f"too little room in {folder.parent} to keep this lab", "warning"))
        return
    work = folder.parents[1] / "tmp" / f"checkpoint-{os.getpid()}"  # swept if this is killed
    try:
        work.mkdir(mode=0o700, parents=True)
        checkpoint.save(cluster, CHECKPOINT, saved=lambda node: _copy_out(cluster, node, work))
        for key in _keys(cluster.state.key):
            shutil.copy2(key, work)
        work.rename(folder)
    except (OSError, StageError) as error:
        listener(Note(f"this lab is not kept: {error}", "warning"))
    finally:
        remove(work)
    for old in by_age(folder.parent)[:-_KEPT]:
        remove(old)


def restore(cluster: Cluster, folder: Path) -> str:
    """Start every node of a fresh lab in the checkpoint in `folder`; when that was made.

    Raises StageError if QEMU does not take it.
    """
    nodes = list(cluster.lab.nodes)
    made = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
    for key in _keys(folder / cluster.state.key.name):
        shutil.copy2(key, cluster.state.folder)
    cluster.each(nodes, lambda node: _copy_in(cluster, node, folder))
    when = made.isoformat(timespec="seconds")
    cluster.state.save("checkpoints", {CHECKPOINT: when})
    checkpoint.restore(cluster, CHECKPOINT)
    cluster.each(nodes, lambda node: _set_clock(cluster, node))
    os.utime(folder)  # the newest is the one last used
    return when


def _keys(key: Path) -> tuple[Path, Path]:
    return key, key.with_suffix(".pub")


def _files(cluster: Cluster, node: str) -> list[Path]:
    """What of a node's files is a part of its checkpoint."""
    files = cluster.files(node)
    return [path for path in (files.disk, files.firmware_vars) if path.exists()]


def _copy_out(cluster: Cluster, node: str, to: Path) -> None:
    for path in _files(cluster, node):
        _copy(path, to / f"{node}-{path.name}")


def _copy_in(cluster: Cluster, node: str, kept: Path) -> None:
    for path in _files(cluster, node):
        _copy(kept / f"{node}-{path.name}", path)


def _copy(source: Path, to: Path) -> None:
    """A copy that shares its blocks with the source where the file system can."""
    run(["cp", "--reflink=auto", "--sparse=always", source, to], what=f"copying {source.name}")


def _set_clock(cluster: Cluster, node: str) -> None:
    """A guest goes on with the time at which it was saved."""
    cluster.run(node, ["date", "--utc", "--set", f"@{time.time():.3f}"])
