"""`verify`: artifacts against their sums and against the rules that importers enforce."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lvslab.cli.common import as_json, defect, session, verb
from lvslab.core.errors import CheckFailed, InputError, LabError
from lvslab.core.places import LAB, PROGRAM, WORK

OUTCOMES = ("pass", "warn", "fail", "skip", "defect")
MARKS = {"pass": "✓", "warn": "!", "fail": "✗", "skip": "-", "defect": "?"}
ALWAYS = OUTCOMES[:4]
PAGE = "docs/verify.md"

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lvslab.model.lab import Lab
    from lvslab.verify import Finding, Rule


@verb(
    "verify",
    """
    verify
    verify artifacts/ova/director.ova
    verify --signers allowed_signers artifacts
    verify --json ~/Downloads/somebody-elses.ova
    verify --list
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
    help="The accepted signers of SHA256SUMS: OpenSSH's allowed_signers, or a keyring of gpg.",
)
@click.option("--list", "listing", is_flag=True, help="Only list the rules, and who refuses.")
@as_json
def verify(
    paths: tuple[Path, ...], lab_path: Path | None, signers: Path | None, listing: bool
) -> None:
    """Check OVAs, VMDKs, seeds and .vmx files, ours or others', or all of them in a folder.

    Without FILE: everything in artifacts/. What is only this lab's style is a warning (!) in
    others' files, and a failure in those of a build or with --lab.
    """
    from lvslab.verify import RULES, verify_all

    if listing:
        for rule in RULES.values():
            _show_rule(rule)
        return
    artifacts = WORK / "artifacts"
    if not paths and not artifacts.is_dir():
        raise InputError("there are no artifacts", hint=f"run `{PROGRAM} images`, or name a file")
    chosen = lab_path or (None if paths else WORK / LAB)
    findings = verify_all(paths or (artifacts,), _lab(chosen) if chosen else None, signers)
    for finding in findings:
        _show(finding)
    counts = Counter(finding.outcome.value for finding in findings)
    summary = ", ".join(
        f"{counts[outcome]} {outcome}"
        for outcome in OUTCOMES
        if counts[outcome] or outcome in ALWAYS
    )
    if counts["defect"]:
        raise _defect(findings, summary)
    if counts["fail"]:
        raise CheckFailed(f"{counts['fail']} of {len(findings)} rules are broken ({summary})")
    session().out(summary)


def _lab(path: Path) -> Lab:
    from lvslab.model.load import load_lab  # late: others' files are looked at without a lab

    return load_lab(path)


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
        this.out(f"    more:     {PAGE}#{finding.rule.id}")


def _show_rule(rule: Rule) -> None:
    this = session()
    this.emit("rule", **rule.to_dict())
    this.out(f"{rule.id} ({rule.level.value}): {rule.what}")
    this.out(f"    if not:   {rule.refused_by}")


def _defect(findings: Sequence[Finding], summary: str) -> LabError:
    """The rules that failed themselves as one error; their tracebacks are in its log."""
    failed = [finding for finding in findings if finding.error]
    first = failed[0]
    more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
    return defect(
        f"the rule {first.rule.id} could not look at {first.artifact}: "
        f"{first.sentence}{more} ({summary})",
        [finding.error for finding in failed if finding.error],
        session(),
    )
