"""`render`: every text that the project generates, to read or to compare."""

from __future__ import annotations

from pathlib import Path

import click

from lvslab.cli.common import lab_file, session, verb
from lvslab.core.files import write_atomic
from lvslab.core.places import WORK


@verb(
    "render",
    """
    render
    render /tmp/texts && diff -r /tmp/texts artifacts/render
    render --lab my-lab.yaml /tmp/mine
    """,
)
@click.argument(
    "folder",
    metavar="[DIR]",
    type=click.Path(path_type=Path, file_okay=False),
    default=WORK / "artifacts/render",
)
@lab_file
def render(folder: Path, lab_path: Path) -> None:
    """Write all rendered texts to DIR (artifacts/render): keepalived.conf, seeds, units, …

    Files of an earlier rendering are not removed.
    """
    from lvslab.model import load
    from lvslab.render import everything

    lab, roles = load.load_all(lab_path)
    texts = everything(lab, roles.values())
    for name, text in texts.items():
        write_atomic(folder / name, text)
    session().out(f"{len(texts)} texts in {folder}")
