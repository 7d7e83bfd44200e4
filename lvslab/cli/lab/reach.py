"""`lab ssh`, `lab console`, `lab client` and `lab capture`: into the lab."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import termios
import tty
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from lvslab.cli.common import verb
from lvslab.cli.lab.which import running, which_lab
from lvslab.core.errors import InputError, StageError

if TYPE_CHECKING:
    from lvslab.lab.cluster import Cluster

_LEAVE = b"\x1d"  # Ctrl-]
_PASS_ON = {"ignore_unknown_options": True}


def _become(cluster: Cluster, words: list[str]) -> NoReturn:
    """Replace this process by a program inside the lab's namespace."""
    from lvslab.core.procs import program

    sys.stdout.flush()
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and the program would, too
    with cluster.namespace.inside():
        os.execv(program(words[0]), words)


@verb(
    "ssh",
    """
    lab ssh lvs1
    lab ssh rs1 -- ip rule
    """,
    context_settings=_PASS_ON,
)
@which_lab
@click.argument("node")
@click.argument("words", metavar="[-- COMMAND]...", nargs=-1, type=click.UNPROCESSED)
def ssh(lab_path: Path, name: str | None, node: str, words: tuple[str, ...]) -> None:
    """Open a shell on a node, as root, with the lab's own key."""
    cluster = running(lab_path, name)
    _become(cluster, cluster.ssh_command(node, words))


@verb(
    "client",
    """
    lab client -- curl -i http://192.168.50.1/
    lab client -- sh
    """,
    context_settings=_PASS_ON,
)
@which_lab
@click.argument("words", metavar="-- COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
def client(lab_path: Path, name: str | None, words: tuple[str, ...]) -> None:
    """Run a program as the client: inside the lab's namespace, with its address."""
    _become(running(lab_path, name), list(words))


@verb(
    "capture",
    """
    lab capture VMnet1
    lab capture VMnet12 -o vmnet12.pcap
    """,
)
@which_lab
@click.argument("network")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write packets to this file instead of showing them.",
)
def capture(lab_path: Path, name: str | None, network: str, output: Path | None) -> None:
    """Show every frame on a network, until Ctrl-C (tcpdump)."""
    from lvslab.lab.engine import Unsupported
    from lvslab.lab.network import bridge_names

    cluster = running(lab_path, name)
    bridges = bridge_names(cluster.lab)
    if network not in bridges:
        raise InputError(
            f"there is no network {network}", hint="the lab has: " + ", ".join(bridges)
        )
    if network not in cluster.namespace.heard(bridges):
        raise Unsupported(
            "a capture",
            "this host does not hear the frames of VMware's networks",
            where=network,
            hint="run tcpdump on a node, in VMware's window",
        )
    words = ["tcpdump", "-n", "-U", "-i", bridges[network]]
    # -Z root: or it becomes another user, who may not write the file
    words += ["-Z", "root", "-w", str(output)] if output else ["-l", "-e"]
    _become(cluster, words)


@verb(
    "console",
    """
    lab console lvs1
    """,
)
@which_lab
@click.argument("node")
def console(lab_path: Path, name: str | None, node: str) -> None:
    """Open the console of a node (its serial port); Ctrl-] closes it.

    Without a terminal, print the output of the console so far.
    """
    cluster = running(lab_path, name)
    files = cluster.files(node)
    said = cluster.engine.console(node)
    if not sys.stdin.isatty():
        click.echo(said.decode(errors="replace"), nl=False)
        return
    click.echo(f"the console of {node}; Ctrl-] closes it{cluster.console_tail(node, 20)}")
    with socket.socket(socket.AF_UNIX) as wire:
        try:
            wire.connect(str(files.console))
        except OSError:
            raise StageError("the node is off", where=node, hint=f"lab start {node}") from None
        _talk(wire)


def _talk(wire: socket.socket) -> None:
    """Join the terminal and the console until Ctrl-] or the node's end."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    try:
        tty.setraw(keyboard)
        while True:
            ready = select.select([keyboard, wire], [], [])[0]
            if keyboard in ready:
                typed = os.read(keyboard, 1024)
                if _LEAVE in typed or not typed:
                    return
                wire.sendall(typed)
            if wire in ready:
                said = wire.recv(4096)
                if not said:
                    return
                os.write(sys.stdout.fileno(), said)
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        click.echo()
