"""Established TCP connections to a virtual server: do they outlive their director?

The real servers must echo what they are sent (the web server would end an idle
connection by itself, so it cannot tell).
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import threading
import time
from collections.abc import Callable
from itertools import cycle, islice
from types import TracebackType

from lvslab.core.errors import StageError
from lvslab.lab.namespace import Namespace
from lvslab.measure.speech import Speech, streams
from lvslab.model.family import family_named
from lvslab.model.lab import Lab

_CONNECT_SECONDS = 20.0
_MOMENTS = 50  # within a second
_BYTE_SECONDS = 1.0

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
        target = lab.endpoint(virtual_server)
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


def _received(wire: socket.socket, enough: Callable[[bytes], bool], deadline: float) -> bytes:
    """What came in until it is `enough`, the other end closed, or the deadline has passed."""
    received = b""
    while not enough(received):
        wire.settimeout(max(deadline - time.monotonic(), 0.001))
        try:
            chunk = wire.recv(4096)
        except OSError:
            break
        if not chunk:
            break
        received += chunk
    return received


def _echoes(wire: socket.socket, word: bytes, deadline: float) -> bool:
    def echoed(received: bytes) -> bool:
        return received.endswith(word)

    return echoed(_received(wire, echoed, deadline))


_KEPT_BACK = 4
"""So many bytes of a question are enough to keep every service waiting for them."""


def _connecting(address: str, port: int) -> socket.socket:
    """A socket that is being connected, and does not block."""
    wire = socket.socket(family_named(address).socket)
    wire.setblocking(False)
    wire.connect_ex((address, port))
    return wire


class HalfRequests:
    """`count` questions over all virtual servers that can be asked, without their last bytes.

    A service waits for these as long as its own time-out lasts. Raises StageError if a
    connection cannot be opened.
    """

    def __init__(self, lab: Lab, namespace: Namespace, count: int) -> None:
        self._open: list[tuple[socket.socket, Speech, bytes]] = []
        try:
            with namespace.inside():
                for name, speech in islice(cycle(streams(lab).items()), count):
                    address, port = lab.endpoint(name)
                    question = speech.question(address, "")
                    self._open.append((_connecting(address, port), speech, question))
            self._ask()
        except OSError as error:
            self.close()
            raise StageError(str(error)) from None

    def _ask(self) -> None:
        """Send each question but its last bytes, once its connection is there."""
        deadline = time.monotonic() + _CONNECT_SECONDS
        for number, (wire, _, question) in enumerate(self._open, 1):
            _, there, _ = select.select([], [wire], [], max(deadline - time.monotonic(), 0))
            code = wire.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if there else errno.ETIMEDOUT
            if code:
                said = os.strerror(code)
                raise OSError(f"connection {number} of {len(self._open)} was not opened: {said}")
            wire.setblocking(True)
            wire.sendall(question[:-_KEPT_BACK])

    @property
    def ports(self) -> set[int]:
        """The client's port of each."""
        return {wire.getsockname()[1] for wire, _, _ in self._open}

    def close(self) -> None:
        """Close them all."""
        for wire, _, _ in self._open:
            wire.close()

    def finish(self, seconds: float = 20) -> int:
        """Send the last bytes of each; how many get an answer within `seconds` in all."""
        deadline = time.monotonic() + seconds
        for wire, _, question in self._open:
            wire.settimeout(1)
            with contextlib.suppress(OSError):
                wire.sendall(question[-_KEPT_BACK:])
        return sum(_answered(wire, speech, deadline) for wire, speech, _ in self._open)


def _answered(wire: socket.socket, speech: Speech, deadline: float) -> bool:
    server, _ = speech.answer(_received(wire, speech.is_whole, deadline))
    return bool(server)


def web_servers(lab: Lab) -> list[tuple[str, int]]:
    """Where the virtual servers are that serve pages."""
    return [lab.endpoint(n) for n in lab.virtual_servers if lab.service(n).probe == "http"]


class SlowRequests:
    """`count` HTTP requests over all web servers, each sent at one byte a second.

    A thread inside the namespace sends until `end`. The clients know nothing of each other: they
    come, and send, spread over the second and not all in one moment.
    """

    def __init__(self, lab: Lab, namespace: Namespace, count: int) -> None:
        self._missing = count
        self._ended = threading.Event()
        words = (lab, namespace, count)
        self._thread = threading.Thread(target=self._run, args=words, daemon=True)
        self._thread.start()

    def end(self) -> int:
        """Stop and close them all; how many never had a connection or lost it."""
        self._ended.set()
        self._thread.join()
        return self._missing

    def _run(self, lab: Lab, namespace: Namespace, count: int) -> None:
        with namespace.inside(), contextlib.ExitStack() as stack:
            wires: list[socket.socket] = []
            pause = _BYTE_SECONDS / _MOMENTS
            for number, target in enumerate(islice(cycle(web_servers(lab)), count)):
                if number % (count // _MOMENTS + 1) == 0 and self._ended.wait(pause):
                    return
                wires.append(stack.enter_context(_connecting(*target)))
            first = b"GET / HTTP/1.1\r\nX-Slow: "
            started = [False] * count
            alive, moment = [False] * count, 0
            while not self._ended.wait(pause):
                for number in range(moment, count, _MOMENTS):
                    alive[number] = False
                    with contextlib.suppress(OSError):
                        wires[number].send(b"a" if started[number] else first)
                        started[number] = alive[number] = True
                moment = (moment + 1) % _MOMENTS
                self._missing = count - sum(alive)
