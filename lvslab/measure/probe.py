"""A client that asks every virtual server again and again and notes what it saw.

Requests start on a fixed beat of the monotonic clock whether earlier ones have ended or
not, so a slow answer hides no lost one. Each is a fresh TCP connection through the
director to a real server; about every tenth also asks what the service can tell, an HTTP page
or another answer that names the real server (`speech`). (A page on each beat would keep two
emulated processors busy with it alone, and a measurement that loads the cluster measures itself.)
"""

from __future__ import annotations

import errno
import selectors
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from itertools import count
from math import gcd

from lvslab.lab.namespace import Namespace
from lvslab.measure.speech import speeches
from lvslab.model.lab import Lab
from lvslab.model.role import Kind

BEAT_SECONDS = 0.02
LIMIT_SECONDS = 0.9
"""A request older than this is lost: TCP's first repetition of a SYN comes after 1 s (RFC 6298)."""

_PAGE_EVERY = 10

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER: leave nothing behind at the server


def page_every(lab: Lab, least: int = _PAGE_EVERY) -> int:
    """Every which request asks for a page, `least` or few more: no multiple of what a round robin
    repeats after, or all pages would come from one real server."""
    servers = len(lab.nodes_of(Kind.SERVER))
    return next(number for number in count(least) if gcd(number, servers) == 1)


@dataclass
class Request:
    """One request: when it started and ended (monotonic), who answered or why nobody did.

    Without `page` it asked for a connection only, and nobody says a name.
    """

    started: float
    page: bool
    ended: float = 0
    server: str = ""
    error: str = ""

    @property
    def answered(self) -> bool:
        """Whether it ended well."""
        return bool(self.ended) and not self.error


@dataclass
class _Open:
    service: str
    request: Request
    received: bytes = b""
    sent: bool = False


@dataclass
class Prober:
    """Probes `virtual server -> (address, port)` until `stop`; `requests` grows."""

    lab: Lab
    namespace: Namespace
    beat: float = BEAT_SECONDS
    path: str = ""
    pages: int = _PAGE_EVERY
    """Every which request asks for a page: see `page_every`."""
    requests: dict[str, list[Request]] = field(default_factory=dict)

    def __enter__(self) -> Prober:
        """Start probing from a thread inside the namespace."""
        self._targets = {name: self.lab.endpoint(name) for name in self.lab.virtual_servers}
        self._speeches = speeches(self.lab)
        self.requests = {name: [] for name in self._targets}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def take(self) -> dict[str, list[Request]]:
        """The requests that have ended since the last time, by service; they are forgotten now."""
        taken = {}
        for service, requests in self.requests.items():
            known = requests[:]
            taken[service] = [request for request in known if request.ended]
            # what is started meanwhile is behind the known ones
            ended = set(map(id, taken[service]))
            requests[: len(known)] = [request for request in known if id(request) not in ended]
        return taken

    def __exit__(self, *_: object) -> None:
        """Start no more requests and wait for the last ones."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        with self.namespace.inside(), selectors.DefaultSelector() as selector:
            beat, index, pages = time.monotonic(), 0, page_every(self.lab, self.pages)
            while not self._ended.is_set() or selector.get_map():
                now = time.monotonic()
                if now >= beat and not self._ended.is_set():
                    for service in self._targets:
                        self._start(selector, service, now, index % pages == 0)
                    index += 1
                    beat += self.beat
                for key, _ in selector.select(min(max(beat - time.monotonic(), 0), self.beat)):
                    self._advance(selector, key)
                self._give_up(selector)

    def _start(
        self, selector: selectors.BaseSelector, service: str, now: float, page: bool
    ) -> None:
        speech = self._speeches.get(service)
        datagram = speech is not None and speech.datagram
        page = datagram or (page and speech is not None)  # over UDP there is nothing but a question
        request = Request(now, page)
        self.requests[service].append(request)
        kind = socket.SOCK_DGRAM if datagram else socket.SOCK_STREAM
        wire = socket.socket(self.lab.family_of(service).socket, kind)
        wire.setblocking(False)
        if not page:
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        code = wire.connect_ex(self._targets[service])
        if code not in (0, errno.EINPROGRESS):
            self._end(request, error=errno.errorcode.get(code, str(code)))
            wire.close()
            return
        selector.register(wire, selectors.EVENT_WRITE, _Open(service, request))

    def _advance(self, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        wire, this = key.fileobj, key.data
        assert isinstance(wire, socket.socket) and isinstance(this, _Open)
        try:
            if code := wire.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(code, errno.errorcode.get(code, ""))
            if not this.request.page:
                self._end(this.request)
                self._close(selector, wire)
                return
            speech = self._speeches[this.service]
            if not this.sent:
                wire.send(speech.question(self._targets[this.service][0], self.path))
                this.sent = True
                selector.modify(wire, selectors.EVENT_READ, this)
                return
            chunk = wire.recv(4096)
        except OSError as error:
            self._end(this.request, error=errno.errorcode.get(error.errno or 0, str(error)))
            self._close(selector, wire)
            return
        this.received += chunk
        if speech.is_whole(this.received) or not chunk:
            self._end(this.request, *speech.answer(this.received))
            self._close(selector, wire)

    def _give_up(self, selector: selectors.BaseSelector) -> None:
        now = time.monotonic()
        for key in list(selector.get_map().values()):
            if now - key.data.request.started > LIMIT_SECONDS:
                self._end(key.data.request, error="no answer")
                self._close(selector, key.fileobj)

    @staticmethod
    def _end(request: Request, server: str = "", error: str = "") -> None:
        request.server, request.error, request.ended = server, error, time.monotonic()

    @staticmethod
    def _close(selector: selectors.BaseSelector, wire: object) -> None:
        assert isinstance(wire, socket.socket)
        selector.unregister(wire)
        wire.close()


@dataclass(frozen=True)
class View:
    """What a client saw of one virtual server in a time: see `view`. Times are seconds."""

    total: int
    lost: int
    gap: float
    gap_start: float
    gap_end: float
    servers: dict[str, int]
    slowest: float


def view(requests: list[Request], start: float, end: float) -> View:
    """The client's view between two moments.

    The gap is the longest time in which no answer came, so a service that stops and then
    answers everything at once has one, too. It is at least one beat and the time of an answer.
    """
    seen = [r for r in requests if start <= r.started <= end]
    good = [r for r in seen if r.answered]
    marks = [start, *sorted(r.ended for r in good if r.ended < end), end]
    gap_start, gap_end = max(
        zip(marks, marks[1:], strict=False),
        key=lambda pair: pair[1] - pair[0],
        default=(start, end),
    )
    servers: dict[str, int] = {}
    for request in filter(lambda request: request.server, good):
        servers[request.server] = servers.get(request.server, 0) + 1
    slowest = max((r.ended - r.started for r in good), default=0.0)
    lost = len(seen) - len(good)
    return View(len(seen), lost, gap_end - gap_start, gap_start, gap_end, servers, slowest)
