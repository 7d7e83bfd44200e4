"""`lab watch`: a live picture of the running lab, as a page in a browser."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from lvslab.cli.common import as_json, session, verb
from lvslab.cli.lab.which import running, which_lab
from lvslab.core.errors import InputError

_PORT = 8112  # 112 is VRRP's protocol number
_HANDED_OVER = "LVSLAB_WATCH_SOCKET"


@contextlib.contextmanager
def bound(port: int) -> Iterator[socket.socket]:
    """A socket on the host's loopback. Raises InputError if the port is taken.

    The command of an ordinary user starts again in a network of its own, where no browser is. So
    the socket is made before, and goes along.
    """
    if handed := os.environ.pop(_HANDED_OVER, ""):
        wire = socket.socket(fileno=int(handed))
    else:
        wire = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    with wire:
        if not handed:
            _bind(wire, port)
        if os.geteuid() != 0:
            wire.set_inheritable(True)
            os.environ[_HANDED_OVER] = str(wire.fileno())
        yield wire


def _bind(wire: socket.socket, port: int) -> None:
    try:
        wire.bind(("127.0.0.1", port))
        wire.listen()  # else a second one could have the port, too (SO_REUSEADDR)
    except OSError as error:
        raise InputError(
            f"port {port} cannot be used: {error.strerror}",
            where="--port",
            hint="perhaps another `lab watch` is open; choose another port, or 0 for any free one",
        ) from None


def _with_socket(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option `--port`, as the parameter `wire`: a socket made before all else."""

    @functools.wraps(command)
    def inside(*args: Any, port: int, **kwargs: Any) -> Any:
        with bound(port) as wire:
            return command(*args, wire=wire, **kwargs)

    option = click.option(
        "--port",
        type=click.IntRange(0, 65535),
        default=_PORT,
        show_default=True,
        help="The port of the page on this host's loopback; 0: any that is free.",
    )
    return option(inside)


@verb(
    "watch",
    """
    lab watch
    lab watch --port 8200
    """,
)
@_with_socket
@which_lab
@as_json
def watch(lab_path: Path, name: str | None, wire: socket.socket) -> None:
    """Show the running lab as a live picture in a browser on this host, until Ctrl-C.

    Who has which address, what is broken, adverts, connections, what a client gets. The buttons
    that break things ask for the token that is printed here, and only here.
    """
    from lvslab.lab.engine import Unsupported
    from lvslab.lab.network import bridge_names
    from lvslab.watch import buttons, secret, web

    this, cluster = session(), running(lab_path, name)
    known = cluster.lab.name
    if not cluster.namespace.heard(bridge_names(cluster.lab)):
        raise Unsupported(
            "a live picture",
            "this host does not hear the frames of VMware's networks",
            where=known,
            hint="lab status --watch",
        )
    token, url = secret.new(), f"http://127.0.0.1:{wire.getsockname()[1]}/"
    this.out(f"the lab {known}: {url} (Ctrl-C ends it)")
    this.out(f"the token for its buttons: {token}")
    this.emit("watch", lab=known, url=url, token=token)
    with contextlib.suppress(KeyboardInterrupt):  # it is how one ends it
        web.serve(known, wire, lambda key: buttons.press(known, key), token)
    this.out("the page has ended")
