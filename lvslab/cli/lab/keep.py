"""`lab save` and `lab restore`: the running cluster as a checkpoint."""

from __future__ import annotations

import time
from pathlib import Path

import click

from lvslab.cli.common import session, verb
from lvslab.cli.lab.which import running, which_lab
from lvslab.core.errors import CheckFailed, InputError


@verb("save", "lab save before-the-exam")
@which_lab
@click.argument("checkpoint")
def save(lab_path: Path, name: str | None, checkpoint: str) -> None:
    """Save a checkpoint: memory and disks of all nodes at this moment."""
    from lvslab.lab import checkpoint as checkpoints
    from lvslab.measure import failover

    if checkpoint == failover.CHECKPOINT:
        raise InputError(
            f"`lab failover` uses the name {checkpoint} itself", hint="choose another name"
        )
    start = time.monotonic()
    cluster = running(lab_path, name)
    with cluster.changing():
        checkpoints.save(cluster, checkpoint)
    session().out(f"saved as {checkpoint} in {time.monotonic() - start:.1f} s")


@verb("restore", "lab restore before-the-exam")
@which_lab
@click.argument("checkpoint")
def restore(lab_path: Path, name: str | None, checkpoint: str) -> None:
    """Go back to a checkpoint and heal all faults; done when the checklist passes."""
    from lvslab.lab import checklist
    from lvslab.lab import checkpoint as checkpoints

    start = time.monotonic()
    cluster = running(lab_path, name)
    with cluster.changing():
        checkpoints.restore(cluster, checkpoint)
    findings = checklist.wait(cluster, 30)
    if bad := [finding for finding in findings if not finding.ok]:
        raise CheckFailed(
            f"restored, but {len(bad)} checks fail: {bad[0].node}: {bad[0].says}",
            hint="lab check shows them all",
        )
    session().out(f"{checkpoint} restored, the checklist passes: {time.monotonic() - start:.1f} s")
