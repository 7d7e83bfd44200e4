"""Faults made and healed: kill, pause, start, cut, split, stop-service, heal."""

from __future__ import annotations

from pathlib import Path

import click

from lvslab.cli.common import session, verb
from lvslab.cli.lab.which import running, which_lab
from lvslab.core.errors import InputError


@verb("kill", "lab kill lvs1")
@which_lab
@click.argument("node")
def kill(lab_path: Path, name: str | None, node: str) -> None:
    """Cut the power of a node, without a shutdown. `lab start` boots it again."""
    cluster = running(lab_path, name)
    with cluster.changing():
        cluster.kill(node)
    session().out(f"{node} is off")


@verb("pause", "lab pause lvs1")
@which_lab
@click.argument("node")
def pause(lab_path: Path, name: str | None, node: str) -> None:
    """Pause a node, as if the host were too busy. `lab start` lets it continue."""
    cluster = running(lab_path, name)
    with cluster.changing():
        cluster.pause(node)
    session().out(f"{node} is paused")


@verb("start", "lab start lvs1")
@which_lab
@click.argument("node")
def start(lab_path: Path, name: str | None, node: str) -> None:
    """Boot a node that is off, or let one that is paused continue."""
    from lvslab.lab import bringup, faults

    this = session()
    cluster = running(lab_path, name)
    with cluster.changing(), this.reporting("lab-start") as listener:
        if faults.start(cluster, node):
            bringup.wait_for_boot(cluster, node, bringup.Limits(), listener)
    this.out(f"{node} runs")


@verb(
    "cut",
    """
    lab cut lvs1 eth1
    lab cut lvs2 eth3 --silent
    """,
)
@which_lab
@click.argument("node")
@click.argument("interface")
@click.option("--silent", is_flag=True, help="Drop all frames, but keep the link up.")
def cut(lab_path: Path, name: str | None, node: str, interface: str, silent: bool) -> None:
    """Pull a node's network cable."""
    from lvslab.lab import faults

    cluster = running(lab_path, name)
    with cluster.changing():
        faults.cut(cluster, node, interface, silent)
    session().out(f"{node} {interface} is cut" + (", its link stays up" if silent else ""))


@verb("split", "lab split lvs1 lvs2")
@which_lab
@click.argument("one")
@click.argument("other")
def split(lab_path: Path, name: str | None, one: str, other: str) -> None:
    """Make two directors deaf to each other's adverts: both become master."""
    from lvslab.lab import faults
    from lvslab.model.role import Kind

    cluster = running(lab_path, name)
    directors = cluster.lab.nodes_of(Kind.DIRECTOR)
    for node in (one, other):
        if node not in directors:
            raise InputError(
                f"{node} is not a director", hint="the directors are: " + ", ".join(directors)
            )
    with cluster.changing():
        faults.deafen(cluster, (one, other))
    session().out(f"{one} and {other} do not hear each other's adverts")


@verb("stop-service", "lab stop-service lvs1 keepalived")
@which_lab
@click.argument("node")
@click.argument("service")
def stop_service(lab_path: Path, name: str | None, node: str, service: str) -> None:
    """Stop a service of a node cleanly (systemctl stop)."""
    from lvslab.lab import faults

    cluster = running(lab_path, name)
    with cluster.changing():
        faults.stop_service(cluster, node, service)
    session().out(f"{service} is stopped on {node}")


@verb(
    "heal",
    """
    lab heal
    lab heal lvs1
    lab heal lvs1 eth1
    """,
)
@which_lab
@click.argument("node", required=False)
@click.argument("interface", required=False)
def heal(lab_path: Path, name: str | None, node: str | None, interface: str | None) -> None:
    """Heal all faults, or those of one node or interface.

    A node that was off has booted when the command ends.
    """
    from lvslab.lab import bringup, faults

    this = session()
    cluster = running(lab_path, name)
    with cluster.changing(), this.reporting("lab-heal") as listener:
        healed = faults.heal(cluster, node, interface)
        booting = [fault.node for fault in healed if fault.kind == "off"]
        limits = bringup.Limits()
        cluster.each(booting, lambda n: bringup.wait_for_boot(cluster, n, limits, listener))
    for fault in healed:
        this.out(f"healed: {fault}")
    if not healed:
        this.out("nothing was broken")
