"""`reproduce`: build twice under different conditions and compare."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lvslab.cli.common import ROLE, as_json, lab_file, only, session, verb
from lvslab.core.errors import CheckFailed
from lvslab.core.places import WORK

if TYPE_CHECKING:
    from lvslab.build.accel import Accelerator
    from lvslab.reproduce import Difference, Reproduced


@verb(
    "reproduce",
    """
    reproduce
    reproduce --role director --keep
    reproduce --from artifacts/build.json
    """,
)
@click.option(
    "--from",
    "report",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Build what this build.json says, with its lab and lock, and compare with its sums.",
)
@click.option(
    "--role", "names", multiple=True, type=ROLE,
    help="Only this role.",
)  # fmt: skip
@click.option(
    "--jobs", type=click.IntRange(1), default=os.cpu_count() or 1,
    show_default="the number of cores", help="How many stages run at the same time.",
)  # fmt: skip
@click.option("--offline", is_flag=True, help="Use only the cache, no network.")
@click.option("--mirror", metavar="URL", help="The Debian mirror.")
@click.option(
    "--acceleration", type=click.Choice(["kvm", "tcg"]),
    help="Use this acceleration in the bake; do not probe.",
)  # fmt: skip
@click.option(
    "--work", type=click.Path(path_type=Path, file_okay=False, exists=True),
    default=Path("/var/tmp"), show_default=True,
    help="Where the second build is made (6 GB).",
)  # fmt: skip
@click.option("--keep", is_flag=True, help="Keep both builds, to look at them.")
@lab_file
@as_json
def reproduce(
    report: Path | None,
    names: tuple[str, ...],
    jobs: int,
    offline: bool,
    mirror: str | None,
    acceleration: Accelerator | None,
    work: Path,
    keep: bool,
    lab_path: Path,
) -> None:
    """Build twice under different conditions, and compare every stage and every artifact.

    With --from: rebuild a published build and compare with its sums. Ends with status 1 if
    anything differs, and says in which stage and file, and how.
    """
    from lvslab import make
    from lvslab import reproduce as engine
    from lvslab.model import load

    this = session()
    options = make.Options(
        cache=this.cache,
        out=WORK / "artifacts",
        jobs=jobs,
        offline=offline,
        mirror=mirror,
        acceleration=acceleration,
    )
    if report:
        build = engine.Build.load(report, this.cache)
        first: engine.First = build.only(names) if names else build
    else:
        lab, roles = load.load_all(lab_path)
        first = lab, only(names, roles)
    with (
        this.reporting("reproduce") as listener,
        engine.work_folder(work.absolute(), keep) as folder,
    ):
        this.ensure("build")
        found = engine.reproduce(first, options, folder, listener)
        if keep:
            this.out(f"both builds are in {folder}")
    _show(found)


def _show(found: Reproduced) -> None:
    this = session()
    this.out("what was different, on purpose:")
    for condition in found.conditions:
        this.emit("condition", **vars(condition))
        same = f"the same ({condition.why_not})"
        what = same if condition.why_not else f"{condition.first} / {condition.second}"
        this.out(f"    {condition.name:28} {what}")
    comparison, seconds = found.comparison, found.seconds
    for note in comparison.notes:
        this.emit("note", text=note)
        this.out(f"not the same inputs: {note}")
    for difference in comparison.differences:
        this.emit("difference", **difference.to_dict())
        _show_difference(difference)
    this.emit(
        "compared",
        files=comparison.files, size=comparison.size, differences=len(comparison.differences),
        first_seconds=seconds[0], second_seconds=seconds[1], compare_seconds=seconds[2],
        ratio=found.ratio,
    )  # fmt: skip
    first_said = f"the first build took {seconds[0]:.0f} s, " if seconds[0] else ""
    both = f", both {found.ratio:.2f} times the first" if found.ratio else ""
    this.out(f"{first_said}the second build took {seconds[1]:.0f} s{both}")
    if comparison.differences:
        first = comparison.differences[0]
        raise CheckFailed(
            f"{len(comparison.differences)} of {comparison.files} files differ; "
            f"the first is {first.file} of the stage {first.stage}",
            hint="the others may follow from the first; --keep keeps both builds",
        )
    this.out(
        f"{comparison.files} files are the same, byte for byte "
        f"({comparison.size / 1e6:,.0f} MB compared in {seconds[2]:.1f} s)"
    )


def _show_difference(difference: Difference) -> None:
    this = session()
    this.out(f"{difference.stage}: {difference.file} differs")
    for line in difference.lines:
        this.out(f"    {line}")
