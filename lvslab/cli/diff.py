"""`diff`: what an image has that Debian's packages have not."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lvslab.cli.common import ROLE, as_json, known, lab_file, session, verb
from lvslab.core.places import WORK

if TYPE_CHECKING:
    from lvslab.build.policy import Ruling


@verb(
    "diff",
    """
    diff director
    diff real-server --shipped
    diff director --json
    """,
)
@click.argument("role", type=ROLE)
@click.option("--shipped", is_flag=True, help="Show only what ships, not what is dropped.")
@lab_file
@as_json
def diff(role: str, shipped: bool, lab_path: Path) -> None:
    """Show what the bake of ROLE changed in the base tree, and which changes ship.

    Bakes the role if this has not been done yet. Each path is shown with its rule and the
    reason. Files that ship are shown with a unified diff of their contents.
    """
    import tarfile

    from lvslab import make
    from lvslab.build import changes, policy
    from lvslab.core.files import only_one, usual_umask
    from lvslab.model import load
    from lvslab.render import role_files

    this = session()
    lab, roles = load.load_all(lab_path)
    spec = roles[known(role, roles)]
    options = make.Options(cache=this.cache, out=WORK / "artifacts", jobs=os.cpu_count() or 1)
    this.ensure("build")
    with (
        only_one(this.cache / "lock", "build"),  # a build sweeps what is half made
        this.reporting("diff") as listener,
        usual_umask(),
    ):
        pipeline = make.Pipeline(lab, roles, options, listener)
        base, baked = pipeline.base_tree(role), pipeline.changes(role)
    found = changes.load(baked / "changes.jsonl")
    verdicts = policy.judge(found, spec, role_files(lab, spec))
    with tarfile.open(base) as tar:
        for verdict in verdicts:
            if verdict.rule in policy.SHIPS or not shipped:
                wanted = verdict.rule in ("keep", "rewrite", "undeclared")
                lines = policy.difference(verdict.change, tar, baked / "blobs") if wanted else []
                _show(verdict, lines)
    ship = sum(verdict.rule in policy.SHIPS for verdict in verdicts)
    stray = sum(verdict.rule == "undeclared" for verdict in verdicts)
    this.out(
        f"{len(verdicts)} paths: {ship} ship, {stray} are not declared, "
        "the others are dropped or taken from base"
    )


def _show(verdict: Ruling, lines: list[str]) -> None:
    this = session()
    change = verdict.change
    this.emit(
        "difference",
        path=change.path, what=change.what, rule=verdict.rule, why=verdict.why, difference=lines,
    )  # fmt: skip
    this.out(f"{verdict.rule:10} {change.what:8} {change.path}  ({verdict.why or 'no rule'})")
    for line in lines:
        this.out(f"    {line}")
