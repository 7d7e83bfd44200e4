"""The state for all pages: takes sights, and sends what they change to every page once encoded."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from typing import Any

from lvslab.watch.scene import Scene, after, changes
from lvslab.watch.sights import Sight, Tick

TICK_SECONDS = 0.2
_URGENT = ("holders/", "node/", "lab")
_WAITING = 100  # messages that a page may be behind; then it gets the whole state again


def message(kind: str, values: Any) -> bytes:
    """A server-sent event (HTML standard, section 9.2): `state` is everything, `change` a part."""
    return f"event: {kind}\ndata: {json.dumps(values, separators=(',', ':'))}\n\n".encode()


class Hub:
    """Belongs to one event loop; all methods are called there."""

    def __init__(self) -> None:
        self.scene = Scene()
        self._sent = self.scene.shown
        self._pages: set[asyncio.Queue[bytes | None]] = set()
        self._closed = False

    def take(self, sights: Iterable[Sight]) -> None:
        """Let the scene go on; what nobody should wait for is sent at once."""
        before = self.scene.shown
        for sight in sights:
            self.scene = after(self.scene, sight)
        if any(key.startswith(_URGENT) for key in changes(before, self.scene.shown)):
            self.publish()

    def publish(self) -> None:
        """Send every page what has changed since the last time, or all of it for another lab."""
        now, before = self.scene.shown, self._sent
        self._sent = now
        if now["lab"]["epoch"] != before["lab"]["epoch"]:
            self._send(message("state", now))
        elif changed := changes(before, now):
            self._send(message("change", changed))

    def _send(self, text: bytes) -> None:
        for page in self._pages:
            if page.qsize() >= _WAITING:
                while not page.empty():
                    page.get_nowait()
                page.put_nowait(message("state", self.scene.shown))
            else:
                page.put_nowait(text)

    async def run(self) -> None:
        """Let time pass, for ever."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self.take([Tick(time.monotonic())])
            self.publish()

    async def messages(self) -> AsyncIterator[bytes]:
        """What one page is sent: the whole state, then every change, until `close`."""
        if self._closed:
            return
        page: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._pages.add(page)
        try:
            yield message("state", self.scene.shown)
            while (text := await page.get()) is not None:
                yield text
        finally:
            self._pages.discard(page)

    def close(self) -> None:
        """No page gets anything more."""
        self._closed = True
        for page in self._pages:
            page.put_nowait(None)
