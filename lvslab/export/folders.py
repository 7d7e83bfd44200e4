"""Folders that VMware opens: one base disk for each role, and a folder for each node.

    base/<role>.vmdk         the role's disk, read-only, monolithicSparse
    <node>/<node>.vmx        the machine
    <node>/<node>.vmdk       a child of the base: what the machine writes goes here
    <node>/<node>.iso        the seed

A child names its parent by `../base/<role>.vmdk`, so the whole folder can be copied or
moved anywhere, to any drive; a node's folder alone cannot. Full copies could, but no zip
of two copies of one disk is as small as one: four of them cannot be handed out in 1.1
times the size of the two OVAs, and they take twice the room on every student's laptop.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from lvslab.core.files import sha256_file, write_atomic
from lvslab.formats import sums, vmdk
from lvslab.model.lab import Lab

BASE = "base"


def base_name(role: str) -> str:
    """Where a role's base disk is below the folder."""
    return f"{BASE}/{role}.vmdk"


def write_nodes(
    lab: Lab,
    folder: Path,
    bases: Mapping[str, tuple[Path, str]],
    seeds: Mapping[str, Path],
    texts: Mapping[str, str],
) -> None:
    """Fill `folder`: all of the above except the base disks themselves, which stay where they are.

    `bases` are the base disks by role, each with its sha256, `seeds` the seeds by node; `texts`
    are further files (the .vmx among them) by their path below `folder`. SHA256SUMS covers the
    base disks too. Raises VmdkError, OSError.
    """
    for name, text in texts.items():
        write_atomic(folder / name, text)
        if text.startswith("#!"):
            (folder / name).chmod(0o755)
    for node, this in lab.nodes.items():
        (folder / node).mkdir(exist_ok=True)
        base, _ = bases[this.role]
        vmdk.write_child(folder / node / f"{node}.vmdk", base, f"../{base_name(this.role)}")
        shutil.copyfile(seeds[node], folder / node / f"{node}.iso")
    digests = {
        path.relative_to(folder).as_posix(): sha256_file(path) for path in sums.artifacts(folder)
    }
    digests |= {base_name(role): digest for role, (_, digest) in bases.items()}
    write_atomic(folder / sums.NAME, sums.text(digests))
