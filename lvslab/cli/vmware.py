"""`vmware`: networks of this host, and machines that were imported from an OVA."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lvslab.cli.common import ROLE, as_json, epilog, known, lab_file, session, verb
from lvslab.core.errors import CheckFailed
from lvslab.core.places import WORK

if TYPE_CHECKING:
    from lvslab.vmware.patch import Host


@click.group(
    epilog=epilog("vmware networks --check\nvmware patch ~/vmware/lvs1/lvs1.vmx"),
)
def vmware() -> None:
    """Set up a host with VMware: the lab's networks, and imported machines on them."""


@verb(
    "networks",
    """
    vmware networks --check
    vmware networks
    vmware networks --folder ~/lvslab-0.1.0
    """,
    group=vmware,
)
@click.option("--check", is_flag=True, help="Change nothing, only report what is missing.")
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Use another file than /etc/vmware/networking.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The machines that will be opened here.  [default: artifacts/vmware, if it is there]",
)
@lab_file
@as_json
def networks(check: bool, file: Path | None, folder: Path | None, lab_path: Path) -> None:
    """Make the lab's VMnets on this Linux host; other networks stay as they are.

    The .vmx files then name these networks as Workstation on Linux does.
    """
    from lvslab.model import load
    from lvslab.vmware import vmnets as engine

    said = engine.run(
        load.load_lab(lab_path),
        folder or WORK / "artifacts" / "vmware",
        check=check,
        file=file or engine.FILE,
    )
    session().emit("networks", said=said)
    session().out(said)


@verb(
    "patch",
    """
    vmware patch ~/vmware/lvs1/lvs1.vmx
    vmware patch --role director --check machine.vmx
    """,
    group=vmware,
)
@click.argument(
    "files",
    metavar="FILE.vmx...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
)
@click.option(
    "--role",
    type=ROLE,
    help="The role of the machine. [default: by its number of cards]",
)
@click.option(
    "--host",
    type=click.Choice(["windows", "linux", "fusion"]),
    help="The host that opens it. [default: this host; in WSL: windows]",
)
@click.option("--check", is_flag=True, help="Change nothing, only show what would change.")
@lab_file
@as_json
def patch(
    files: tuple[Path, ...], role: str | None, host: Host | None, check: bool, lab_path: Path
) -> None:
    """Connect imported machines to the lab's networks, which an OVA cannot name."""
    from lvslab.model import load
    from lvslab.vmware import patch as engine

    lab, this, to_do = load.load_lab(lab_path), session(), 0
    if role:
        known(role, lab.roles)
    for file in files:
        done = engine.patch(file, lab, host or engine.this_host(), role, dry=check)
        to_do += bool(done.changes)
        changes = [vars(change) for change in done.changes]
        this.emit("patch", file=str(file), role=done.role, changes=changes, backup=done.backup)
        right = "" if done.changes else ", connected as the lab wants it"
        this.out(f"{file}: a {done.role}{right}")
        for change in done.changes:
            this.out(f"  {change.key}: {change.old or 'not set'} -> {change.new or 'removed'}")
        if done.backup:
            this.out(f"  backup: {done.backup}")
    if check and to_do:
        raise CheckFailed(f"{to_do} of {len(files)} machines are not connected as the lab wants it")
