"""`verify`: artifacts against their sums and against the rules that importers enforce."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lvslab.cli.base import PROGRAM, ROOT, as_json, session, verb
from lvslab.core.errors import CheckFailed, InputError

OUTCOMES = ("pass", "warn", "fail", "skip")
MARKS = {"pass": "✓", "warn": "!", "fail": "✗", "skip": "-"}

if TYPE_CHECKING:
    from lvslab.check.verify import Finding


@verb(
    "verify",
    """
    verify
    verify artifacts/ova/director.ova
    verify --signers allowed_signers artifacts
    verify --json ~/Downloads/somebody-elses.ova
    """,
)
@click.argument("paths", metavar="[FILE]...", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--lab",
    "lab_path",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Compare the seeds with this lab; lab.yaml if no FILE is given.",
)
@click.option(
    "--signers",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Who may have signed SHA256SUMS: allowed_signers of OpenSSH, or a keyring of gpg.",
)
@as_json
def verify(paths: tuple[Path, ...], lab_path: Path | None, signers: Path | None) -> None:
    """Check OVAs, VMDKs, seeds and .vmx files, ours or others'; a folder means all in it.

    Without FILE: everything in artifacts/. What is only this lab's style is a warning (!) in
    others' files, and a failure in those of a build or with --lab.
    """
    from lvslab.check.verify import verify as engine
    from lvslab.model import load

    artifacts = ROOT / "artifacts"
    if not paths and not artifacts.is_dir():
        raise InputError("there are no artifacts", hint=f"run `{PROGRAM} images`, or name a file")
    chosen = lab_path or (None if paths else ROOT / "lab.yaml")
    lab = load.load_lab(chosen) if chosen else None
    findings = [finding for path in paths or (artifacts,) for finding in engine(path, lab, signers)]
    for finding in findings:
        _show(finding)
    counts = Counter(finding.outcome.value for finding in findings)
    summary = ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES)
    if counts["fail"]:
        raise CheckFailed(f"{counts['fail']} of {len(findings)} rules are broken ({summary})")
    session().out(summary)


def _show(finding: Finding) -> None:
    """A broken rule with who would refuse it; the others only with -v or --json."""
    this = session()
    this.emit("finding", **finding.to_dict())
    outcome = finding.outcome.value
    broken = outcome in ("fail", "warn")
    if broken or this.verbose:
        this.out(f"{MARKS[outcome]} {finding.artifact}: {finding.rule.id}: {finding.sentence}")
    if broken:
        this.out(f"    the rule: {finding.rule.what}")
        this.out(f"    if not:   {finding.rule.refused_by}")
