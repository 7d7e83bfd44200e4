"""What only a lab on libvirt hosts has: `lab move`."""

from __future__ import annotations

from pathlib import Path

import click

from lvslab.cli.common import session, verb
from lvslab.cli.lab.which import running, which_lab


@verb(
    "move",
    """
    lab move lvs1 b.example
    lab move lvs1 b.example --drop-checkpoints
    """,
)
@which_lab
@click.argument("node")
@click.argument("host")
@click.option(
    "--drop-checkpoints",
    is_flag=True,
    help="Delete all checkpoints of the lab: a node that is on cannot take its own along.",
)
def move(lab_path: Path, name: str | None, node: str, host: str, drop_checkpoints: bool) -> None:
    """Bring a node to another of the lab's libvirt hosts, while it runs.

    Its connections, addresses and faults go along. A node that is off is copied, with its
    checkpoints. Memory and disk go from host to host by TCP, not encrypted.
    """
    cluster = running(lab_path, name)
    with cluster.changing():
        moved = cluster.move(node, host, drop_checkpoints)
    session().out(f"{node} is on {host} {'now' if moved else 'already'}")
