"""`lab up`: nodes booted at the same time, then the checklist until it holds."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lvslab.core.errors import CheckFailed, StageError
from lvslab.core.events import (
    Listener,
    Note,
    StageDone,
    StageFailed,
    StageProgress,
    StageStarted,
    silent,
)
from lvslab.core.files import remove
from lvslab.lab import checklist, faults, warm
from lvslab.lab.cluster import Cluster
from lvslab.lab.engines import ENGINES
from lvslab.lab.sources import Settings

_PAUSE = 1.0
_WARM = "checkpoint"
_STEPS = ("firmware", "kernel", "system", "cloud-init")
_STARTED, _DONE = "/run/cloud-init/status.json", "/run/cloud-init/result.json"
_LOOK_SECONDS = 5.0  # the agent answers earlier if something is new


@dataclass(frozen=True)
class Limits:
    """How long a node may boot, and how long the cluster may take to settle after that."""

    boot_seconds: float = 600
    settle_seconds: float = 120


def up(
    cluster: Cluster,
    artifacts: Path,
    cache: Path,
    settings: Settings,
    listener: Listener = silent,
    limits: Limits | None = None,
    cold: bool = False,
) -> list[str]:
    """Start what does not run and wait until the checklist passes; the nodes started.

    A lab of which nothing is here yet goes on from where its last cold start had come to, if that
    was kept (see `warm`) and is not to be `cold`. Raises CheckFailed that names the check and the
    node, with the node's last lines.
    """
    limits = limits or Limits()
    with cluster.changing():
        fresh = not cluster.state.folder.exists()
        cluster.demand(artifacts, settings)
        missing = cluster.ready(artifacts, cache, settings, listener)
        kept = warm.place(cluster, cache) if fresh and ENGINES[settings.engine].warm else None
        if not (kept and not cold and _warm(cluster, kept, listener)):
            boot(cluster, missing, limits, listener)
        wait_for_checklist(cluster, limits, listener)
        if kept and not kept.exists():
            warm.keep(cluster, kept, listener)
    return missing


def boot(cluster: Cluster, nodes: Sequence[str], limits: Limits, listener: Listener) -> None:
    """Start `nodes`, and follow the boots of all. Raises StageError as `wait_for_boot`."""
    cluster.each(nodes, cluster.launch)
    _cables(cluster, nodes)
    # all: one that runs may have been started a moment ago, by an `up` that was killed
    everything = list(cluster.lab.nodes)
    cluster.each(everything, lambda node: wait_for_boot(cluster, node, limits, listener))


def _cables(cluster: Cluster, nodes: Sequence[str]) -> None:
    for node in nodes:
        faults.reapply(cluster, node)


def _warm(cluster: Cluster, kept: Path, listener: Listener) -> bool:
    """Whether the lab goes on from what was kept; what QEMU does not take is thrown away."""
    if not kept.is_dir():
        return False
    start = time.monotonic()
    listener(StageStarted(_WARM))
    try:
        when = warm.restore(cluster, kept)
        _cables(cluster, list(cluster.lab.nodes))
    except StageError as error:
        listener(StageFailed(_WARM, time.monotonic() - start, error.message))
        for node in cluster.lab.nodes:
            cluster.kill(node)
        cluster.renew(list(cluster.lab.nodes))
        remove(kept)
        return False
    listener(StageDone(_WARM, time.monotonic() - start))
    listener(Note(f"the nodes go on from a checkpoint of {when}; lab up --cold boots them"))
    return True


def wait_for_boot(cluster: Cluster, node: str, limits: Limits, listener: Listener) -> None:
    """Follow a node's boot to the end of cloud-init. Raises StageError with its last lines."""
    start = time.monotonic()
    listener(StageStarted(node))
    known: list[str] | None = None
    silence = ""
    while _DONE not in (known or ()):
        step = _step(cluster, node, known)
        seconds = time.monotonic() - start
        listener(StageProgress(node, _STEPS.index(step), len(_STEPS), note=step))
        state = cluster.node_state(node)
        if seconds > limits.boot_seconds or state in ("off", "disk full", "unreachable"):
            listener(StageFailed(node, seconds, f"did not get past: {step}"))
            raise StageError(
                f"the node did not boot (it is {state} and reached: {step}){silence}; its console"
                " ends with:" + cluster.console_tail(node),
                where=node,
                log=cluster.files(node).console_log,
            )
        try:
            known = _look(cluster, node, known)
        except StageError as error:
            known, silence = None, f"; it was asked, and: {error.message}"
            time.sleep(_PAUSE)
    listener(StageDone(node, time.monotonic() - start))


def _look(cluster: Cluster, node: str, known: list[str] | None) -> list[str]:
    """Which files of cloud-init exist, once that is new. StageError if the agent does not answer.

    As long as it has not answered, what is asked waits in the port: it must cost it no time.
    """
    wait = 0.0 if known is None else _LOOK_SECONDS
    return cluster.existing(node, [_STARTED, _DONE], known or [], wait=wait)


def _step(cluster: Cluster, node: str, known: list[str] | None) -> str:
    """How far a node's boot has come: firmware, kernel, system or cloud-init."""
    if known is not None:
        return "cloud-init" if _STARTED in known else "system"
    said = cluster.console(node)
    return "kernel" if b"Linux version" in said or b"systemd" in said else "firmware"


def wait_for_checklist(cluster: Cluster, limits: Limits, listener: Listener) -> None:
    """Wait until the checklist passes. Raises CheckFailed with what does not."""
    start = time.monotonic()
    listener(StageStarted("checklist"))
    findings = checklist.wait(cluster, limits.settle_seconds)
    seconds = time.monotonic() - start
    if checklist.well(findings):
        listener(StageDone("checklist", seconds))
        return
    bad = [finding for finding in findings if not finding.ok]
    lines = [f"{finding.node}: {finding.item} {finding.title}: {finding.says}" for finding in bad]
    listener(StageFailed("checklist", seconds, lines[0]))
    node = next((finding.node for finding in bad if finding.node != checklist.CLIENT), None)
    tail = f"\n  the console of {node} ends with:" + cluster.console_tail(node) if node else ""
    raise CheckFailed(
        "the nodes run, but the checklist does not pass:\n  " + "\n  ".join(lines) + tail,
        where=cluster.lab.name,
        hint=bad[0].hint or "lab check shows more",
    )
