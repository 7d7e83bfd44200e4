"""`images`: everything, from Debian's packages to the OVAs and the seeds."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lvslab.cli.clean import stale_bytes
from lvslab.cli.common import ROLE, Session, as_json, lab_file, only, out_folder, session, verb
from lvslab.core.events import Event, Forecast, Listener, Note
from lvslab.core.places import PROGRAM

if TYPE_CHECKING:
    from lvslab.build.accel import Accelerator
    from lvslab.make import Built, Profile

_MUCH = 5 * 10**9  # bytes of earlier builds in the cache that are worth a line


@verb(
    "images",
    """
    images
    images --role director --jobs 1
    images --offline --json
    images --sign ~/.ssh/id_ed25519
    images --dry-run
    images --per-node
    images --check-cache
    images --profile
    images --lab my-lab.yaml --out /srv/lab
    """,
)
@click.option("--role", "names", multiple=True, type=ROLE, help="Only this role.")
@click.option(
    "--jobs",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    show_default="the number of cores",
    help="How many stages run at the same time.",
)
@click.option("--offline", is_flag=True, help="Use only the cache, no network.")
@click.option(
    "--mirror",
    metavar="URL",
    help="The Debian mirror. [default: LVSLAB_MIRROR, this host's sources, a public one]",
)
@click.option(
    "--acceleration",
    type=click.Choice(["kvm", "tcg"]),
    help="Use this acceleration in the bake; do not probe.",
)
@click.option(
    "--packer",
    type=click.Path(path_type=Path, exists=True, dir_okay=False, resolve_path=True),
    help="Bake with this Packer (1.6 or later) instead of the pinned one.",
)
@click.option(
    "--sign", "key", metavar="KEY", help="Sign SHA256SUMS: an SSH key's file, or a gpg key's id."
)
@click.option(
    "--per-node",
    is_flag=True,
    help="Also make an OVA of each node: its seed is a disk, for importers that drop CD-ROMs.",
)
@click.option(
    "--check-cache",
    is_flag=True,
    help="Read all files of the cache and the artifacts; make damaged ones again.",
)
@click.option(
    "--profile",
    is_flag=True,
    help="Show where the time went: a table, and a chart beside build.json.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show which stages would run, and about how long that takes; make nothing.",
)
@lab_file
@out_folder("artifacts")
@as_json
def images(
    names: tuple[str, ...],
    jobs: int,
    offline: bool,
    mirror: str | None,
    acceleration: Accelerator | None,
    packer: Path | None,
    key: str | None,
    per_node: bool,
    check_cache: bool,
    profile: bool,
    dry_run: bool,
    lab_path: Path,
    out: Path,
) -> None:
    """Make the images: OVAs, seeds and VMware folders.

    What has not changed since the last build is not made again.
    """
    from lvslab import make
    from lvslab.make.examined import examine
    from lvslab.model import load

    this = session()
    lab, roles = load.load_all(lab_path)
    roles = only(names, roles)
    options = make.Options(
        cache=this.cache,
        out=out.absolute(),
        jobs=jobs,
        offline=offline,
        mirror=mirror,
        acceleration=acceleration,
        packer=packer,
        per_node=per_node,
        check_cache=check_cache,
        profile=profile,
    )
    if dry_run:
        planned = list(make.plan(lab, roles, options, _warnings(this)))
        _show_plan(planned, make.forecast(lab, roles, options, planned), this)
        return
    with (
        this.reporting("images", out.absolute() / "log") as shown,
        make.watched(lab, roles, options, shown) as listener,
    ):
        this.ensure("build")
        built = make.images(
            lab, roles, options, listener, key,
            lambda made: examine(
                lab, options.out, {a.path: a.sha256 for a in made}, this.cache, listener
            ),
        )  # fmt: skip
    _show(built, this)
    if built.chart:
        _show_profile(built.profile, built.chart, this)


def _warnings(this: Session) -> Listener:
    """A listener that shows what a dry run warns of."""

    def listener(event: Event) -> None:
        if isinstance(event, Note):
            this.tell(f"{event.level}: {event.text}")

    return listener


def _show_plan(stages: Iterable[tuple[str, bool]], forecast: Forecast, this: Session) -> None:
    for stage, cached in stages:
        this.emit("plan", stage=stage, cached=cached)
        after = "" if cached else ", and what is made from it"
        this.out(f"{'unchanged' if cached else 'would run'}  {stage}{after}")
    if forecast.stages:
        this.emit_event(forecast)
        this.out(forecast.text)


def _show(built: Built, this: Session) -> None:
    """The artifacts with size and sha256, on stdout."""
    width = max((len(_short(artifact.path)) for artifact in built.artifacts), default=0)
    for artifact in built.artifacts:
        this.emit("artifact", path=str(artifact.path), size=artifact.size, sha256=artifact.sha256)
        megabytes = f"{artifact.size / 1e6:,.1f} MB"
        this.out(f"{_short(artifact.path):{width}}  {megabytes:>12}  {artifact.sha256}")
    this.out(f"what went in: {_short(built.report)}")
    this.out(f"log:          {_short(this.log)}" if this.log else "")
    old = stale_bytes(this.cache)
    if old > _MUCH:
        this.out(f"earlier builds use {old / 1e9:.0f} GB of the cache: {PROGRAM} clean --stale")


def _show_profile(profile: Profile, chart: Path, this: Session) -> None:
    """Where the time went: the stages in the order in which they began, on stdout."""
    width = max((len(row.name) for row in profile.rows), default=0)
    this.out(f"\n  {'stage':{width}}  {'start':>9}  {'seconds':>9}          share of the time")
    for row in profile.rows:
        mark, share = "*" if row.name in profile.critical else " ", profile.share(row)
        made = "cached" if row.cached else "made"
        this.emit(
            "profile", stage=row.name, start=row.start, seconds=row.seconds, cached=row.cached,
            share=share, critical=row.name in profile.critical,
        )  # fmt: skip
        this.out(
            f"{mark} {row.name:{width}}  {row.start:7.1f} s  {row.seconds:7.1f} s"
            f"  {made:6}  {share:5.0%}"
        )
    this.out(f"  {'all':{width}}  {'':9}  {profile.seconds:7.1f} s")
    this.out("*: the end of the build waited for it; stages run side by side")
    this.out(f"the same as a picture: {_short(chart)}")


def _short(path: Path) -> str:
    """The path as seen from here, if it is below."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)
