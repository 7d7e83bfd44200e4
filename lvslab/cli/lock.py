"""`lock`: the packages of each role, with version and sha256."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lvslab.cli.common import as_json, lab_file, session, verb
from lvslab.core.errors import InputError
from lvslab.core.places import WORK

if TYPE_CHECKING:
    from lvslab.build.lockfile import Lock, LockChange


@verb(
    "lock",
    """
    lock
    lock --update --dry-run
    lock --update
    """,
)
@click.option("--update", is_flag=True, help="Ask the archive for the newest versions.")
@click.option("--dry-run", is_flag=True, help="Show what an update changes; write nothing.")
@click.option("--mirror", metavar="URL", help="The Debian mirror to ask.")
@click.option(
    "--ignore-valid-until",
    is_flag=True,
    help="Accept an index after its Valid-Until, from a mirror that is behind.",
)
@lab_file
@as_json
def lock(
    update: bool, dry_run: bool, mirror: str | None, ignore_valid_until: bool, lab_path: Path
) -> None:
    """Show the locked packages, or update them: those of all roles that there are.

    The signatures of the archive are checked when packages are locked, and the sha256 of each
    package every time that it is used.
    """
    from lvslab.build import lockfile as engine
    from lvslab.build import mirror as mirrors
    from lvslab.model import load

    path = WORK / engine.FILE
    if not update:
        _show(engine.load(path))
        return
    this = session()
    lab, roles = load.load_lab(lab_path), load.every_role()
    this.ensure("build")
    old = _old(path)
    with this.reporting("lock") as listener, tempfile.TemporaryDirectory() as work:
        new = engine.resolve(
            lab,
            roles,
            mirrors.find(mirror),
            Path(work),
            ignore_valid_until=ignore_valid_until,
            listener=listener,
        )
    changes = engine.compare(old, new)
    for change in changes:
        _show_change(change)
    if old and old.asked != new.asked:
        this.out("the roles or the tools ask for other packages than before")
    elif old and not changes:
        this.out("nothing has changed")
        return
    if dry_run:
        this.out(f"{len(changes)} changes, not written")
    else:
        engine.save(new, path)
        this.out(f"{len(changes)} changes, written to {path.name}")


def _old(path: Path) -> Lock | None:
    """The lock that is there, None if there is none or it cannot be read: an update fixes that."""
    from lvslab.build import lockfile as engine

    try:
        return engine.load(path)
    except InputError as error:
        session().tell(f"{error.where}: {error.message}; every package counts as new")
        return None


def _show(locked: Lock) -> None:
    this = session()
    for group, packages in locked.groups.items():
        for package in packages:
            this.emit(
                "package",
                group=group,
                name=package.name,
                version=package.version,
                architecture=package.architecture,
                sha256=package.sha256,
                size=package.size,
            )
            this.out(f"{group:12} {package.name:36} {package.version:32} {package.sha256}")


def _show_change(change: LockChange) -> None:
    this = session()
    this.emit(
        "change",
        group=change.group,
        name=change.name,
        old=change.old,
        new=change.new,
        security=change.security,
    )
    why = "  security" if change.security else ""
    this.out(f"{change.group:12} {change.name:36} {change.old or '-'} → {change.new or '-'}{why}")
