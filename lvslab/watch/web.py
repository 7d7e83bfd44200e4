"""The page and its ways in: served on loopback, to this host's browsers only.

Two ways in from a stranger's page are closed: a name of theirs that leads to 127.0.0.1 (DNS
rebinding) by the Host header, and orders from another origin by the Origin header (RFC 6454,
section 7), besides the token, which no stranger has.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lvslab.core.errors import LabError
from lvslab.render.picture import svg
from lvslab.watch import secret
from lvslab.watch.collector import Collector
from lvslab.watch.hub import Hub
from lvslab.watch.sights import Pressed, Sight

HEADER = "X-Lab-Token"
HOSTS = ("127.0.0.1", "localhost")

_PAGE = Path(__file__).parent / "page"
_FILES = {
    "/": ("index.html", "text/html"),
    "/watch.css": ("watch.css", "text/css"),
    "/watch.js": ("watch.js", "text/javascript"),
    "/drawing.js": ("drawing.js", "text/javascript"),
    "/strips.js": ("strips.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_WRONG_SECONDS = 1.0  # a wrong token is answered so late, and one at a time
_LONGEST_ORDER = 1000  # bytes
_LAST_WORDS_SECONDS = 2  # for the pages that are open when the server ends

Press = Callable[[str], str]
"""Does what a button does, by its key, and returns it in words. Raises LabError."""


class _Headers:
    """Every answer has the headers that keep the page to itself."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, with_headers)


class _Orders:
    """Takes orders from pages: only of this origin, and with the token."""

    def __init__(self, hub: Hub, press: Press, token: str) -> None:
        self._hub, self._press, self._token = hub, press, token
        self._wrong = asyncio.Lock()

    async def unlock(self, request: Request) -> Response:
        """Whether the token is right: a page asks before it shows its buttons as usable."""
        return await self._refusal(request) or Response(status_code=204)

    async def press(self, request: Request) -> Response:
        """Press the button whose key is the body."""
        if refusal := await self._refusal(request):
            return refusal
        if int(request.headers.get("content-length", _LONGEST_ORDER + 1)) > _LONGEST_ORDER:
            return _no(413, "an order is the key of a button")
        key = (await request.body()).decode(errors="replace")
        try:
            words = await run_in_threadpool(self._press, key)
        except LabError as error:
            return _no(409, str(error))
        self._hub.take([Pressed(time.monotonic(), words)])
        return JSONResponse({"done": words})

    async def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if request.headers.get("origin") != f"http://{host}":
            return _no(403, "orders come from this page only")
        if secret.matches(self._token, request.headers.get(HEADER, "")):
            return None
        async with self._wrong:
            await asyncio.sleep(_WRONG_SECONDS)
        return _no(403, "this is not the token that the terminal shows")


def _no(status: int, words: str) -> Response:
    return JSONResponse({"error": words}, status_code=status)


def application(hub: Hub, press: Press, token: str) -> Starlette:
    """The page of a hub; it lets the hub's time pass while it is served."""
    orders = _Orders(hub, press, token)

    async def drawing(_request: Request) -> Response:
        if hub.scene.lab is None:
            return _no(404, "there is no lab yet")
        return Response(svg(hub.scene.lab), media_type="image/svg+xml")

    async def events(_request: Request) -> Response:
        return StreamingResponse(hub.messages(), media_type="text/event-stream")

    @contextlib.asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        ticking = asyncio.create_task(hub.run())
        yield
        ticking.cancel()

    return Starlette(
        routes=[
            *(Route(path, _file(*what), methods=["GET"]) for path, what in _FILES.items()),
            Route("/lab.svg", drawing, methods=["GET"]),
            Route("/events", events, methods=["GET"]),
            Route("/unlock", orders.unlock, methods=["POST"]),
            Route("/press", orders.press, methods=["POST"]),
        ],
        middleware=[
            Middleware(_Headers),
            Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False),
        ],
        lifespan=lifespan,
    )


def _file(name: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
    content = (_PAGE / name).read_bytes()

    async def answer(_request: Request) -> Response:
        return Response(content, media_type=kind)

    return answer


class _Server(uvicorn.Server):
    """A server whose open pages are ended first when it ends: else it would wait for them."""

    hub: Hub

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the pages, then the server."""
        self.hub.close()
        await super().shutdown(sockets)


def server(hub: Hub, press: Press, token: str) -> uvicorn.Server:
    """A server of the page, not yet started."""
    this = _Server(
        uvicorn.Config(
            application(hub, press, token),
            loop="asyncio",
            http="h11",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_LAST_WORDS_SECONDS,
        )
    )
    this.hub = hub
    return this


def serve(name: str, wire: socket.socket, press: Press, token: str) -> None:
    """Serve the page of the lab `name` on a bound socket until SIGINT or SIGTERM.

    Such a signal is raised again at the end, for whoever has a handler.
    """

    async def run() -> None:
        hub, loop = Hub(), asyncio.get_running_loop()

        def tell(sights: Iterable[Sight]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has just ended
                loop.call_soon_threadsafe(hub.take, list(sights))

        with Collector(name, tell):
            await server(hub, press, token).serve([wire])

    asyncio.run(run())
