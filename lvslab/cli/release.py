"""`release`: all that a release consists of, in one folder."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from lvslab import __version__
from lvslab.cli.common import artifacts_folder, demand_checkout, session, verb
from lvslab.core.errors import CheckFailed, InputError
from lvslab.core.files import only_one, remove, sha256_file, write_atomic
from lvslab.core.places import DATA, WORK
from lvslab.formats import sign, sums

_NOTES = "CHANGES.md"


@verb(
    "release",
    """
    release
    release --artifacts /srv/lab --out /srv/release --sign ~/.ssh/id_ed25519
    """,
)
@artifacts_folder("What `images` has made.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=WORK / "dist",
    show_default="dist",
    help="The folder for the release.",
)
@click.option("--sign", "key", metavar="KEY", help="Sign the sums: see `images --sign`.")
def release(artifacts: Path, out: Path, key: str | None) -> None:
    """Gather a release: wheel, sdist, images, their bills and seeds, the zip, changes, sums.

    The images are those of `images`, which are compared with their sums first.
    """
    this = session()
    demand_checkout("what a release is made of is not a part of the package")
    notes = changes(__version__, (DATA / "CHANGELOG.md").read_text())
    listed = sums.read(artifacts)
    for name, digest in listed.items():
        if not (artifacts / name).is_file() or sha256_file(artifacts / name) != digest:
            raise CheckFailed(
                "this file is not the one that was built",
                where=str(artifacts / name),
                hint="run `images` again",
            )
    out.mkdir(parents=True, exist_ok=True)
    with only_one(out / ".lock", "release"):
        _forget_earlier(out)
        write_atomic(out / _NOTES, notes)
        own = [wheel(DATA, out), sdist(DATA, out), out / _NOTES]
        made = {path.name: sha256_file(path) for path in own}
        made |= _handed_out(artifacts, listed, out)
        write_atomic(out / sums.NAME, sums.text(made))
        sign.sign(out, key)
    this.out(f"{out}: the release {__version__}, its changes in {_NOTES}, its sums in {sums.NAME}")
    this.emit("release", version=__version__, folder=str(out), sums=made)


def changes(version: str, changelog: str) -> str:
    """The section of a version in a changelog. Raises InputError if there is none."""
    head = f"## [{version}]"
    _, found, rest = changelog.partition(f"\n{head}")
    if not found:
        raise InputError(
            f"there is no section for {version}",
            where="CHANGELOG.md",
            hint=f"give the section [Unreleased] the name [{version}] and a date, "
            "and begin a new one above it",
        )
    section, _, _ = rest.partition("\n## ")
    return f"{head}{section.rstrip()}\n"


def _forget_earlier(out: Path) -> None:
    """Remove what an earlier release left in the folder, and nothing else."""
    if (out / sums.NAME).is_file():
        for name in sums.read(out):
            remove(out / name)


def wheel(root: Path, folder: Path) -> Path:
    """Build the wheel of the project at `root` into `folder`."""
    from hatchling.builders.wheel import WheelBuilder

    return _built(WheelBuilder(str(root)), folder)


def sdist(root: Path, folder: Path) -> Path:
    """Build the sdist of the project at `root` into `folder`."""
    from hatchling.builders.sdist import SdistBuilder

    return _built(SdistBuilder(str(root)), folder)


def _built(builder: Any, folder: Path) -> Path:
    (made,) = builder.build(directory=str(folder))
    return Path(made)


def _handed_out(artifacts: Path, listed: Mapping[str, str], out: Path) -> dict[str, str]:
    """Copy the artifacts that are single files (the zip has the folders); their names and sums."""
    single = {name: digest for name, digest in listed.items() if not name.startswith("vmware/")}
    return {Path(shutil.copy2(artifacts / name, out)).name: single[name] for name in sorted(single)}
