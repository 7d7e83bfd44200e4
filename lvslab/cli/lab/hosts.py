"""What only a lab on libvirt hosts has: `lab move` and `lab adopt`."""

from __future__ import annotations

from pathlib import Path

import click

from lvslab.cli.common import session, verb
from lvslab.cli.lab.which import on_hosts, running, which_lab, with_labs
from lvslab.core.errors import InputError
from lvslab.core.places import PROGRAM


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


@verb(
    "adopt",
    """
    lab adopt --hosts hosts.yaml
    lab adopt --host qemu+ssh://root@a/system --host qemu+ssh://root@b/system --name second
    """,
)
@click.option(
    "--name", default=None, metavar="NAME", help="The lab, if the hosts have more than one."
)
@on_hosts
@with_labs
def adopt(name: str | None, hosts: tuple[str, ...]) -> None:
    """Take over a lab that another workstation has started on these hosts.

    All that is needed is on the hosts. From then on the client is here, and the workstation before
    hears nothing of the lab's networks any more.
    """
    from lvslab.lab import rootless
    from lvslab.lab.libvirt.takeover import adopt as take_over

    if not hosts:
        raise InputError("no host is named", hint="give --host URI or --hosts FILE")
    rootless.demand_root("a lab on other hosts has VXLAN devices here")
    lab = take_over(hosts, name).lab
    session().out(f"the lab {lab.name} is here now: {PROGRAM} lab status shows it")
