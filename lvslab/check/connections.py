"""Established TCP connections to a virtual server: do they outlive their director?

The real servers must echo what they are sent (the web server would end an idle
connection by itself, so it cannot tell).
"""

from __future__ import annotations

import socket
import time
from types import TracebackType

from lvslab.model.lab import Lab
from lvslab.run.namespace import Namespace

_CONNECT_SECONDS = 20.0

ECHO_SERVER = """\
import asyncio, sys
async def serve(reader, writer):
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()
    writer.close()
async def main():
    server = await asyncio.start_server(serve, port=int(sys.argv[1]), backlog=512)
    await server.serve_forever()
asyncio.run(main())
"""
"""A program for a real server's python3; its argument is the port."""


class Connections:
    """`count` connections to a virtual server, opened from inside the namespace."""

    def __init__(self, lab: Lab, namespace: Namespace, virtual_server: str, count: int) -> None:
        this = lab.virtual_servers[virtual_server]
        target = (str(lab.vrrp_instances[this.instance].address), this.port)
        self._sockets: list[socket.socket] = []
        with namespace.inside():
            for _ in range(count):
                self._sockets.append(socket.create_connection(target, _CONNECT_SECONDS))

    def __enter__(self) -> Connections:
        """The connections stay open for the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, _: TracebackType | None
    ) -> None:
        """Close them all."""
        for wire in self._sockets:
            wire.close()

    def alive(self, seconds: float = 15) -> int:
        """How many echo a fresh word within `seconds` in all."""
        word = f"{time.monotonic_ns():020d}".encode()
        deadline = time.monotonic() + seconds
        for wire in self._sockets:
            wire.settimeout(1)
            try:
                wire.sendall(word)
            except OSError:
                continue
        return sum(_echoes(wire, word, deadline) for wire in self._sockets)


def _echoes(wire: socket.socket, word: bytes, deadline: float) -> bool:
    received = b""
    while not received.endswith(word):
        wire.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            chunk = wire.recv(4096)
        except OSError:
            return False
        if not chunk:
            return False
        received += chunk
    return True
