"""`lab selftest`: what a real VMware does with the calls of this program."""

from __future__ import annotations

import shlex
import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from lvslab.cli.common import artifacts_folder, as_json, lab_file, session, verb
from lvslab.cli.lab.which import the_lab
from lvslab.core.errors import CheckFailed, InputError


@verb(
    "selftest",
    """
    lab selftest --engine vmware
    lab selftest --engine vmware --dry-run
    lab selftest --engine vmware --node rs1 -o report.txt
    """,
)
@lab_file
@click.option(
    "--engine", type=click.Choice(["vmware"]), required=True, help="The engine that is tried."
)
@click.option("--node", help="The machine that is used. [default: the first of the lab]")
@artifacts_folder("Where the VMware folders are.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("lvslab-selftest.txt"),
    show_default=True,
    help="The file for the report.",
)
@click.option("--dry-run", is_flag=True, help="Only show the calls of vmrun.")
@as_json
def selftest(
    lab_path: Path, engine: str, node: str | None, artifacts: Path, output: Path, dry_run: bool
) -> None:
    """Do each thing once on one machine, and write a report that you can send back.

    The machine is started, asked, cut, paused, saved, restored, and is off at the end. The report
    has no names, no paths and no addresses but those of the lab; read it before you send it.
    """
    from lvslab.core.events import StageDone, StageFailed, StageStarted
    from lvslab.core.files import write_atomic
    from lvslab.lab.vmrun import dry_run as dry
    from lvslab.lab.vmrun.trial_report import report
    from lvslab.lab.vmrun.vmrun_engine import VmrunEngine
    from lvslab.lab.vmrun.vmrun_program import Vmrun
    from lvslab.lab.vmrun.vmrun_trial import Selftest

    this, lab = session(), the_lab(lab_path, None)
    node = node or next(iter(lab.nodes))
    if node not in lab.nodes:
        raise InputError(f"there is no node {node}", hint="the nodes are: " + ", ".join(lab.nodes))
    if dry_run:
        for words in dry.calls_of_selftest(lab, artifacts, node):
            this.emit("call", words=words)
            this.out(shlex.join(words))
        return
    machine, vmrun, outcomes = dry.machine_of_folder(lab, artifacts, node), Vmrun.found(), []
    with tempfile.TemporaryDirectory() as notes, this.reporting("lab-selftest") as listener:
        host = VmrunEngine(lab, artifacts, Path(notes), vmrun)
        if host.state(node) != "off":
            raise InputError(
                "the machine is on, and the test starts and stops it",
                where=node,
                hint="power it off first: lab down, or in VMware's window",
            )
        listener(StageStarted(node))
        for outcome in Selftest(host, lab, machine).perform():
            outcomes.append(outcome)
            event = StageDone(outcome.step, outcome.seconds)
            failed = StageFailed(outcome.step, outcome.seconds, outcome.says)
            listener(event if outcome.ok else failed)
    text = report(vmrun, lab, node, outcomes)
    write_atomic(output, text)
    for outcome in outcomes:
        this.emit("step", **asdict(outcome))
    this.out(text)
    this.out(f"the report is in {output}")
    if bad := [outcome for outcome in outcomes if not outcome.ok]:
        raise CheckFailed(
            f"{len(bad)} of {len(outcomes)} steps failed: {bad[0].step}: {bad[0].says}",
            hint=f"read {output}, and send it to the project",
        )
