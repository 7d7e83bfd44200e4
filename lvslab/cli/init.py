"""`init`: a folder with a lab of one's own."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from lvslab.cli.common import Named, session, verb
from lvslab.core.errors import InputError
from lvslab.core.files import write_atomic
from lvslab.core.places import DATA, EXAMPLES, IN_CHECKOUT, LAB, PROGRAM


def examples() -> dict[str, Path]:
    """The labs among the examples, by the names of their folders."""
    return {path.parent.name: path for path in sorted(EXAMPLES.glob(f"*/{LAB}"))}


@verb(
    "init",
    """
    init my-lab
    init my-lab --example dns
    """,
)
@click.option(
    "--example",
    type=Named("name", examples),
    metavar="NAME",
    help="Begin with an example instead of the default lab.",
)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def init(folder: Path, example: str | None) -> None:
    """Make a folder with a lab.yaml to change. Nothing that is there is replaced."""
    known = examples()
    if example is not None and example not in known:
        raise InputError(
            f"there is no example {example}", hint=f"the examples are: {', '.join(known)}"
        )
    lab = folder / LAB
    if lab.exists() or lab.is_symlink():
        raise InputError(
            "there is a lab already", where=str(lab), hint="choose another folder, or move it away"
        )
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(lab, (known[example] if example else DATA / LAB).read_text())
    this, place = session(), shlex.quote(str(folder))
    this.out(f"{lab}: change it as you like, then")
    if IN_CHECKOUT:
        this.out(f"  {PROGRAM} validate --lab {place}/{LAB}")
        this.out(f"  {PROGRAM} images --lab {place}/{LAB} --out {place}/artifacts")
    else:
        this.out(f"  cd {place}")
        this.out(f"  {PROGRAM} validate")
        this.out(f"  {PROGRAM} images")
    this.emit("lab", path=str(lab))
