"""The page of `lab watch` over a stream that a test makes, and a browser that shows it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

from lvslab.core.waiting import until
from lvslab.lab.checklist import CheckResult
from lvslab.model.lab import Lab
from lvslab.model.role import Kind
from lvslab.watch import web
from lvslab.watch.hub import Hub
from lvslab.watch.sights import (
    Advertised,
    Announced,
    Asked,
    ChangeSeen,
    ChecklistSeen,
    FaultsSeen,
    LabCame,
    PowerSeen,
    Sight,
    TableSeen,
)

TOKEN = "abcd-efgh-jkmn"
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage",
)  # fmt: skip


@dataclass
class Page:
    """A served page. `pressed` are the buttons that were pressed."""

    port: int
    hub: Hub
    loop: asyncio.AbstractEventLoop
    pressed: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def tell(self, *sights: Sight) -> None:
        """Let the page see something."""
        self.loop.call_soon_threadsafe(self.hub.take, sights)

    def ask(
        self, path: str, method: str = "GET", body: str = "", **headers: str
    ) -> tuple[http.client.HTTPResponse, bytes]:
        """One request; `Host` and `Origin` are the page's unless given; empty: it is not sent.

        It is sent in one piece: a server that refuses what it has read so far closes the
        connection, and what comes after that would reset it before the answer is read.
        """
        own = {"Host": f"127.0.0.1:{self.port}", "Origin": f"http://127.0.0.1:{self.port}"}
        named = {name.replace("_", "-"): value for name, value in headers.items() if value}
        left_out = {name for name, value in headers.items() if not value}
        kept = {name: value for name, value in own.items() if name not in left_out}
        sent = {**kept, **named, "Content-Length": str(len(body))}
        lines = [f"{method} {path} HTTP/1.1", *(f"{header}: {sent[header]}" for header in sent)]
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as wire:
            wire.sendall("\r\n".join([*lines, "", body]).encode())
            answer = http.client.HTTPResponse(wire, method=method)
            answer.begin()
            return answer, answer.read()


@contextlib.contextmanager
def events(port: int) -> Iterator[Iterator[tuple[str, dict[str, Any]]]]:
    """What a page is sent: the kind and the values of each message."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        connection.request("GET", "/events")
        answer = connection.getresponse()

        def read() -> Iterator[tuple[str, dict[str, Any]]]:
            while kind := answer.readline():
                values = answer.readline()
                answer.readline()
                yield (
                    kind.decode().removeprefix("event: ").strip(),
                    json.loads(values.removeprefix(b"data: ")),
                )

        yield read()


@contextlib.contextmanager
def served(refuse: Exception | None = None) -> Iterator[Page]:
    """A page on a free port that shows what `tell` says; with `refuse` its buttons fail so."""
    wire = socket.create_server(("127.0.0.1", 0))
    hub, loop = Hub(), asyncio.new_event_loop()
    page = Page(wire.getsockname()[1], hub, loop)

    def press(key: str) -> str:
        if refuse:
            raise refuse
        page.pressed.append(key)
        return f"done: {key}"

    server = web.server(hub, press, TOKEN)
    thread = threading.Thread(target=lambda: loop.run_until_complete(server.serve([wire])))
    thread.start()
    try:
        assert until(lambda: server.started, 20)
        yield page
    finally:
        server.should_exit = True
        thread.join()
        loop.close()
        wire.close()


@dataclass
class Story:
    """A lab that only a story tells of: each address is with its first owner that is not `off`."""

    lab: Lab
    off: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=dict)

    def owner(self, instance: str) -> str:
        return next((node for node in self.lab.owners(instance) if node not in self.off), "")

    def came(self, at: float) -> list[Sight]:
        findings = tuple(
            CheckResult(node, item, "it is as it must be", True, "it is")
            for node in self.lab.nodes
            for item in range(1, 8)
        )
        return [LabCame(at, self.lab, time.time() - at), ChecklistSeen(at, findings)]

    def beat(self, at: float) -> list[Sight]:
        """What is seen at a moment: adverts of all owners, and who has power."""
        on = frozenset(self.lab.nodes.keys() - self.off)
        owners = {name: self.owner(name) for name in self.lab.vrrp_instances}
        adverts = [Advertised(at, name, owner) for name, owner in owners.items() if owner]
        return [PowerSeen(at, on), *adverts]

    def requests(self, at: float) -> list[Sight]:
        """One request to each virtual server; it is lost if nobody has the address."""
        found: list[Sight] = []
        for name, this in self.lab.virtual_servers.items():
            servers = [node for node in self.lab.real_servers(name) if node not in self.off]
            well = bool(self.owner(this.instance) and servers)
            turn = self.counts[name] = self.counts.get(name, 0) + 1
            found.append(Asked(at, name, well, servers[turn % len(servers)] if well else ""))
        return found

    def tables(self, at: float, rate: float) -> list[Sight]:
        """The counters of the directors after `at` seconds with `rate` connections a second."""
        return [
            TableSeen(
                at,
                director,
                {
                    (name, server): int(at * rate)
                    for name, this in self.lab.virtual_servers.items()
                    if self.owner(this.instance) == director
                    for server in self.lab.real_servers(name)
                    if server not in self.off
                },
            )
            for director in self.lab.nodes_of(Kind.DIRECTOR)
            if director not in self.off
        ]

    def arp(self, at: float) -> list[Sight]:
        owners = {name: self.owner(name) for name in self.lab.vrrp_instances}
        return [Announced(at, name, owner) for name, owner in owners.items() if owner]

    def quiet(self, at: float) -> list[Sight]:
        return [ChangeSeen(at, False), FaultsSeen(at, ())]


class Telling:
    """Tells a story to a page from a thread, at the pace of a real lab."""

    def __init__(self, page: Page, story: Story) -> None:
        self._page, self._story = page, story
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Telling:
        self._page.tell(*self._story.came(time.monotonic()))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._ended.wait(0.1):
            now = time.monotonic()
            story, page = self._story, self._page
            if number % 2 == 0:
                page.tell(*story.beat(now))
            if number % 3 == 0:
                page.tell(*story.requests(now))
            if number % 10 == 0:
                page.tell(*story.arp(now), *story.tables(now, 6.5))
            number += 1


CHROMIUM = pytest.mark.skipif(
    not (Path("/usr/bin/chromium").exists() and shutil.which("chromedriver")),
    reason="there is no Chromium that a driver can drive",
)


@contextlib.contextmanager
def chromium(folder: Path, width: int = 1500, height: int = 1000) -> Iterator[Chrome]:
    """A Chromium without a window, and its log of errors; its profile is in a new `folder`."""
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*_FLAGS, f"--user-data-dir={folder}", f"--window-size={width},{height}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options, Service(shutil.which("chromedriver")))
    try:
        yield driver
    finally:
        driver.quit()


def pill(browser: Chrome, node: str, instance: str) -> tuple[str, str, str]:
    """An address's place at a director: colour of the frame, what fills it, and its words."""
    found = browser.execute_script(
        "const g = document.querySelector(`.address[data-node='${arguments[0]}']"
        "[data-instance='${arguments[1]}']`);"
        "if (!g) return ['', '', ''];"
        "const s = getComputedStyle(g.querySelector('rect'));"
        "return [s.stroke, s.fill, g.getAttribute('aria-label')]",
        node,
        instance,
    )
    return found[0], found[1], found[2]


BLACK, ORANGE, WHITE = "rgb(26, 26, 26)", "rgb(199, 92, 0)", "rgb(255, 255, 255)"


def note_black(browser: Chrome, node: str, instance: str) -> Callable[[], float | None]:
    """When the place of an address becomes black, in seconds of the wall clock; None: not yet.

    The page notes it itself: a driver that asks for it again and again would be late.
    """
    browser.execute_script(
        "const g = document.querySelector(`.address[data-node='${arguments[0]}']"
        "[data-instance='${arguments[1]}']`);"
        "window.black = null;"
        "const look = () => {"
        "  if (getComputedStyle(g.querySelector('rect')).fill === arguments[2]) {"
        "    window.black ??= Date.now() / 1000; } };"
        "look();"
        "new MutationObserver(look).observe(g, {attributes: true})",
        node,
        instance,
        BLACK,
    )

    def black() -> float | None:
        found: float | None = browser.execute_script("return window.black")
        return found

    return black


def complaints(browser: Chrome) -> list[str]:
    """What the browser's console says: errors of scripts, and what the policy refused."""
    found: list[dict[str, str]] = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in found]
