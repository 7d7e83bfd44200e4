"""The page's ways in: who may look, who may break things, and what a late page is sent."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import time
from collections.abc import Iterator

import pytest

from lvslab.core.errors import StageError
from lvslab.core.places import PACKAGE
from lvslab.core.waiting import until
from lvslab.model.lab import Lab
from lvslab.render.picture import svg
from lvslab.watch import buttons, hub, secret, web
from lvslab.watch.sights import Advertised, LabCame, LabWent, Tick
from tests.watching import TOKEN, Page, Story, events, served

FILES = ("/", "/watch.css", "/watch.js", "/drawing.js", "/strips.js", "/icon.svg", "/lab.svg")


@pytest.fixture(scope="module")
def page(lab: Lab) -> Iterator[Page]:
    with served() as this:
        this.tell(*Story(lab).came(time.monotonic()))
        yield this


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "_WRONG_SECONDS", 0.01)


# --- who may look


@pytest.mark.parametrize("path", FILES)
def test_every_answer_has_the_policy_and_asks_for_nothing_from_elsewhere(
    page: Page, path: str
) -> None:
    answer, body = page.ask(path)
    assert answer.status == 200
    policy = dict(
        part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";")
    )
    assert policy.pop("default-src") == "'none'"
    assert set(policy.values()) <= {"'self'", "'none'"}, "no inline script or style, nobody else"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "server" not in answer.headers
    assert foreign(body.decode()) == []


def foreign(text: str) -> list[str]:
    """The addresses in a text that a browser would fetch, or scripts and styles inside a page."""
    outside = re.findall(
        r"""(?:src|href|url\(|from|fetch\(|import)[ ="'(]*((?:https?:)?//[^"')\s]+)""", text
    )
    inside = re.findall(r"<style|<script(?![^>]*\bsrc=)|\bstyle=|\bon[a-z]+=", text)
    return outside + inside


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://example.org/a.js"></script>',
        '<link href="//example.org/a.css">',
        "@import url(http://example.org/x.css)",
        'import { a } from "https://example.org/a.js";',
        "<script>alert(1)</script>",
        "<style>p {}</style>",
        '<p style="color: red">',
        '<p onclick="x()">',
    ],
)
def test_what_comes_from_elsewhere_or_is_inline_is_found(text: str) -> None:
    assert foreign(text)


def test_the_drawing_is_the_lab_s_own(page: Page, lab: Lab) -> None:
    assert page.ask("/lab.svg")[1].decode() == svg(lab)


def test_without_a_lab_there_is_no_drawing() -> None:
    with served() as empty:
        assert empty.ask("/lab.svg")[0].status == 404


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8112", "127.0.0.1.evil.example", ""]
)
@pytest.mark.parametrize("path", ["/", "/events", "/lab.svg", "/press"])
def test_a_name_of_a_stranger_that_leads_here_is_refused(page: Page, host: str, path: str) -> None:
    """DNS rebinding: the browser believes that this page is the stranger's."""
    method = "POST" if path == "/press" else "GET"
    named = {"Host": host, "Origin": f"http://{host}", "X_Lab_Token": TOKEN}
    answer, _ = page.ask(path, method, "heal", **named)
    assert answer.status == 400
    assert page.pressed == []


def test_localhost_is_this_host(page: Page) -> None:
    host = f"localhost:{page.port}"
    assert page.ask("/", Host=host)[0].status == 200


# --- who may break things


def test_with_the_token_a_button_is_pressed(page: Page) -> None:
    assert page.ask("/unlock", "POST", X_Lab_Token=TOKEN)[0].status == 204
    answer, body = page.ask("/press", "POST", "lvs1: kill", X_Lab_Token=TOKEN)
    assert (answer.status, json.loads(body)) == (200, {"done": "done: lvs1: kill"})
    assert page.pressed == ["lvs1: kill"]
    page.pressed.clear()
    lines = [value for key, value in page.hub.scene.shown.items() if key.startswith("line/")]
    assert max(lines)[2] == "button: done: lvs1: kill"


@pytest.mark.parametrize("path", ["/unlock", "/press"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X_Lab_Token": ""},
        {"X_Lab_Token": "abcd-efgh-jkmp"},
        {"X_Lab_Token": TOKEN[:-1]},
        {"X_Lab_Token": TOKEN, "Origin": "http://evil.example"},
        {"X_Lab_Token": TOKEN, "Origin": "null"},
        {"X_Lab_Token": TOKEN, "Origin": ""},
        {"X_Lab_Token": TOKEN, "Origin": "http://127.0.0.1:1"},
        {"X_Lab_Token": TOKEN, "Origin": "http://localhost:80"},
    ],
    ids=str,
)
def test_without_it_or_from_another_origin_nothing_is_pressed(
    page: Page, path: str, headers: dict[str, str]
) -> None:
    answer, body = page.ask(path, "POST", "lvs1: kill", **headers)
    assert answer.status == 403
    assert set(json.loads(body)) == {"error"}
    assert page.pressed == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
def test_only_post_presses(page: Page, method: str) -> None:
    assert page.ask("/press", method, "heal", X_Lab_Token=TOKEN)[0].status == 405


def test_a_token_in_the_address_is_none(page: Page) -> None:
    assert page.ask(f"/press?token={TOKEN}", "POST", "heal")[0].status == 403


@pytest.mark.slow
def test_a_wrong_token_costs_time_and_others_wait_behind_it(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "_WRONG_SECONDS", 0.4)
    start = time.monotonic()
    assert page.ask("/unlock", "POST", X_Lab_Token="x")[0].status == 403
    assert time.monotonic() - start > 0.35


def test_an_order_that_is_too_long_is_not_read(page: Page) -> None:
    answer, _ = page.ask("/press", "POST", "x" * 5000, X_Lab_Token=TOKEN)
    assert answer.status == 413


def test_what_the_lab_refuses_is_said() -> None:
    error = StageError("another change is at work", where="lab", hint="wait")
    with served(refuse=error) as this:
        answer, body = this.ask("/press", "POST", "heal", X_Lab_Token=TOKEN)
    assert answer.status == 409
    assert json.loads(body)["error"] == "lab: another change is at work\n  to fix it: wait"


def test_the_token_is_in_nothing_that_is_served(page: Page) -> None:
    for path in FILES:
        assert TOKEN not in page.ask(path)[1].decode()
    with events(page.port) as sent:
        assert TOKEN not in json.dumps(next(sent))


def test_tokens_differ_and_are_easy_to_type() -> None:
    made = {secret.new() for _ in range(50)}
    assert len(made) == 50
    assert all(re.fullmatch(r"[a-z2-9]{4}(-[a-z2-9]{4}){2}", token) for token in made)
    token = made.pop()
    assert secret.matches(token, f" {token.upper()}\n")
    assert not secret.matches(token, "")
    assert not secret.matches(token, "ä" * 14)


# --- what pages are sent


@pytest.mark.slow
def test_a_late_page_shows_the_same(page: Page, lab: Lab) -> None:
    page.tell(LabCame(time.monotonic(), lab, 0.0))
    with events(page.port) as early:
        kind, state = next(early)
        assert kind == "state"
        for number in range(6):
            page.tell(Advertised(time.monotonic(), "VI_1", "lvs1" if number % 2 else "lvs2"))
            kind, change = next(early)
            assert kind == "change"
            assert len(change) < len(state)
            state |= change
        page.tell(LabWent(time.monotonic()))  # from now on nothing changes
        while state["lab"]["up"]:
            state |= next(early)[1]
    with events(page.port) as late:
        assert next(late) == ("state", state)


def test_another_lab_is_sent_whole(page: Page, lab: Lab) -> None:
    with events(page.port) as sent:
        _, before = next(sent)
        page.tell(LabCame(time.monotonic(), lab.model_copy(update={"name": "other"}), 0.0))
        kind = ""
        while kind != "state":
            kind, now = next(sent)
    assert now["lab"]["name"] == "other"
    assert now["lab"]["epoch"] == before["lab"]["epoch"] + 1


def test_a_page_that_does_not_read_gets_the_whole_state_later(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "_WAITING", 3)

    async def slow() -> list[bytes]:
        this = hub.Hub()
        this.take([LabCame(1.0, lab, 0.0)])
        messages = this.messages()
        got = [await anext(messages)]
        for number in range(5):
            this.take([Tick(2.0 + number)])
            this.publish()
        this.close()
        return got + [text async for text in messages]

    got = asyncio.run(slow())
    assert [text.split(b"\n")[0] for text in got] == [
        b"event: state", b"event: state", b"event: change",
    ]  # fmt: skip
    assert b'"clock":6.0' in got[-1]


@pytest.mark.slow
def test_pages_end_with_the_server() -> None:
    with served() as this:
        connection = http.client.HTTPConnection("127.0.0.1", this.port, timeout=20)
        connection.request("GET", "/events")
        answer = connection.getresponse()
        assert answer.readline() == b"event: state\n"
    start = time.monotonic()
    answer.read()
    assert time.monotonic() - start < 5
    connection.close()


def test_a_page_that_is_closed_is_forgotten(page: Page) -> None:
    before = len(page.hub._pages)
    with events(page.port) as sent:
        next(sent)
        assert until(lambda: len(page.hub._pages) == before + 1, 5)
    assert until(lambda: len(page.hub._pages) == before, 5)


# --- buttons


def test_buttons_are_of_the_lab(lab: Lab) -> None:
    offered = buttons.offered(lab)
    assert {"lvs1: kill", "rs2: pause", "lvs2: cut eth3", "lvs1: silence eth1", "heal"} <= set(
        offered
    )
    assert {"lvs1: stop keepalived", "rs1: stop apache2", "split lvs1 lvs2"} <= set(offered)
    assert "lvs1: cut eth0" not in offered, "the way out is not the lab's"
    assert {button.node for button in offered.values()} == {"", *lab.nodes}


def test_every_file_of_the_page_is_served() -> None:
    there = {path.name for path in (PACKAGE / "watch/page").iterdir()}
    assert there == {name for name, _ in web._FILES.values()}
