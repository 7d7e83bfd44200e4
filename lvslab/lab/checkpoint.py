"""Checkpoints: memory and disks of all nodes at one moment, and back to it in seconds."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime

from lvslab.core.errors import InputError
from lvslab.lab import faults
from lvslab.lab.cluster import Cluster

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,30}")
# In QEMU 7.2 a memory fault in the middle of an arithmetic instruction can leave its operand in the
# processor's flags (fixed later, with a test: tests/tcg/i386/test-flags.c there). With the
# direction flag among them a kernel panics soon. It was seen in the first second after a restore,
# 3 times in some 110 in which the nodes were asked at once, never in 180 in which they were left
# alone for a second; what was saved is well.
_TRIES = 3
_SETTLE_SECONDS = 1.0
_ANSWER_SECONDS = 15.0


def names(cluster: Cluster) -> dict[str, str]:
    """The checkpoints of a lab: name to the time it was saved (ISO 8601, UTC)."""
    found: dict[str, str] = cluster.state.load("checkpoints") or {}
    return found


def save(cluster: Cluster, name: str, saved: Callable[[str], None] = lambda node: None) -> None:
    """Save the running cluster as `name`; an older checkpoint of that name is replaced.

    All nodes are paused before the first is written, so no node has heard what another
    has not yet said. Until the last is written there is no checkpoint of that name. `saved` is
    called with each node that is saved and still paused. Raises InputError for a bad name, or
    while a fault is in place.
    """
    if not _NAME.fullmatch(name):
        raise InputError(
            f"{name!r} cannot be a name", hint="a letter, then letters, digits, - or _"
        )
    if broken := faults.broken(cluster):
        raise InputError(
            "a broken cluster is not saved: " + "; ".join(str(fault) for fault in broken),
            hint="heal it first: lab heal",
        )
    nodes = list(cluster.lab.nodes)
    others = {known: at for known, at in names(cluster).items() if known != name}
    cluster.state.save("checkpoints", others)
    cluster.each(nodes, cluster.pause)
    try:
        cluster.each(nodes, lambda node: cluster.engine.save(node, name))
        cluster.each(nodes, saved)
    finally:
        cluster.each(nodes, cluster.resume)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    cluster.state.save("checkpoints", {**others, name: now})


def restore(cluster: Cluster, name: str) -> None:
    """Bring the cluster back to the checkpoint `name`: faults healed, nodes as they were.

    Every node is started again in the checkpoint, then all continue together; once more if a node
    that is emulated on this host does not answer a second later. Raises InputError if there is no
    such checkpoint.
    """
    if name not in names(cluster):
        raise InputError(
            f"there is no checkpoint {name}",
            hint="the checkpoints are: " + (", ".join(names(cluster)) or "none (lab save NAME)"),
        )
    nodes = list(cluster.lab.nodes)
    for _ in range(_TRIES):
        cluster.each(nodes, lambda node: _stand_still_in(cluster, node, name))
        faults.forget(cluster)
        cluster.each(nodes, cluster.resume)
        here = list(cluster.engine.processes())
        time.sleep(_SETTLE_SECONDS if here else 0)
        if all(cluster.each(here, lambda node: cluster.answers(node, _ANSWER_SECONDS)).values()):
            break


def _stand_still_in(cluster: Cluster, node: str, name: str) -> None:
    """A fresh QEMU that loads the checkpoint.

    A QEMU that continues after `loadvm` never lets its guest's time stamp counter run back
    (cpu_get_ticks in softmmu/cpu-timers.c): the guest would see minutes pass at once, its
    timers would all expire and systemd's watchdogs would kill its own services.
    """
    cluster.kill(node)
    cluster.launch(node, load=name)
