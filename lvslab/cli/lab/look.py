"""`lab status` and `lab check`."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lvslab.cli.common import as_json, session, until_passed, verb
from lvslab.cli.lab.which import running, which_lab
from lvslab.core.errors import CheckFailed

if TYPE_CHECKING:
    from lvslab.lab.checklist import CheckResult
    from lvslab.lab.status import Status

_WATCH_SECONDS = 2.0


@verb(
    "status",
    """
    lab status
    lab status --watch
    lab status --json
    """,
)
@which_lab
@click.option("--watch", is_flag=True, help="Show it again and again, until Ctrl-C.")
@as_json
def status(lab_path: Path, name: str | None, watch: bool) -> None:
    """Nodes, owners, IPVS tables, adverts on the wire, and what is broken."""
    from lvslab.lab.status import look

    this = session()
    cluster = running(lab_path, name)
    while True:
        found = look(cluster)
        this.emit("status", **found.as_dict())
        if watch and not this.json:
            click.clear()
        _show_status(found)
        if not watch:
            return
        time.sleep(_WATCH_SECONDS)


def _show_status(found: Status) -> None:
    out = session().out
    width = max(len(node.host) for node in found.nodes)
    for node in found.nodes:
        addresses = ", ".join(f"{i} {a}" for i, all_ in node.addresses.items() for a in all_)
        state = node.state if node.answers or node.state != "running" else "running, no answer"
        host = f"{node.host:<{width}} " if width else ""
        out(f"{node.name:<6} {node.role:<12} {state:<{11 if width else 9}} {host}{addresses}")
    out()
    for instance in found.instances:
        held = ", ".join(instance.held_by) or "nobody"
        words = f"held by {held}"
        if instance.advertised_by is not None:
            heard = ", ".join(instance.advertised_by) or "nobody"
            words += f", {instance.adverts} adverts heard from {heard}"
        if not instance.ok:
            words = click.style(f"{words} (belongs to {instance.expected})", fg="yellow")
        out(f"{instance.name:<6} {instance.address:<18} {instance.network:<8} {words}")
    for node in found.nodes:
        if node.ipvs:
            out(f"\nIPVS on {node.name} (method, weight, active, inactive)")
            for line in node.ipvs:
                out(f"  {line}")
    out()
    for fault in found.broken:
        out(click.style(f"broken: {fault}", fg="red"))
    if found.checkpoints:
        out("checkpoints: " + ", ".join(f"{n} ({at})" for n, at in found.checkpoints.items()))


@verb(
    "check",
    """
    lab check
    lab check --wait 0
    lab check --json
    """,
)
@which_lab
@until_passed
@as_json
def check(lab_path: Path, name: str | None, seconds: float) -> None:
    """The article's checklist, on every node and on the client; status 1 if an item fails."""
    from lvslab.lab import checklist

    findings = checklist.wait(running(lab_path, name), seconds)
    for finding in sorted(findings, key=lambda finding: (finding.item, finding.node)):
        _show_finding(finding)
    bad = [finding for finding in findings if not finding.ok]
    if bad:
        raise CheckFailed(f"{len(bad)} of {len(findings)} checks fail", hint=bad[0].hint)
    session().out(f"all {len(findings)} checks pass")


def _show_finding(finding: CheckResult) -> None:
    this = session()
    this.emit("finding", **asdict(finding))
    mark = click.style("✓", fg="green") if finding.ok else click.style("✗", fg="red", bold=True)
    this.out(f"{mark} {finding.item} {finding.node:<6} {finding.title}: {finding.says}")
    if not finding.ok and finding.command:
        this.out(f"      shown by: {finding.command}")
        this.out(f"      look at: {finding.hint}")
