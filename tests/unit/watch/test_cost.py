"""What open pages cost the host, as processor time of the server for each message to a page.

A busy host lets fewer messages through, and does not change what one costs.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lvslab.watch import hub
from tests.conftest import ROOT
from tests.measured import paused

pytestmark = pytest.mark.slow  # it takes a quarter of a minute

PAGES = 50
SECONDS = 6.0
SERVER = """\
import sys
from pathlib import Path
from lvslab.model.load import load_lab
from lvslab.watch.hub import Hub, message
from tests.watching import Story, Telling, served
def careless(hub, text):
    for page in hub._pages:
        for _ in range(20):
            whole = message("state", hub.scene.shown)
        page.put_nowait(whole)
if "careless" in sys.argv:
    Hub._send = careless
with served() as page, Telling(page, Story(load_lab(Path("lab.yaml")))):
    print(page.port, flush=True)
    sys.stdin.read()
"""


@contextmanager
def server(*words: str) -> Iterator[tuple[int, int]]:
    """Process id and port of a server that sees adverts, requests, tables and ARP."""
    command = [sys.executable, "-c", SERVER, *words]
    with (
        paused(),  # to measure what the server reaches would cost as much again
        subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stdin and process.stdout
        yield process.pid, int(process.stdout.readline())
        process.stdin.close()


def used(pid: int) -> float:
    """The processor seconds of a process so far (proc_pid_stat(5), utime and stime)."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def watched(pid: int, pages: list[socket.socket]) -> tuple[float, int]:
    """The processor time a second that a process uses while pages are read, and their messages."""
    start, before, messages = time.monotonic(), used(pid), 0
    while (left := start + SECONDS - time.monotonic()) > 0:
        for page in select.select(pages, [], [], min(left, 0.5))[0]:
            messages += page.recv(1 << 16).count(b"event: ")
    return (used(pid) - before) / (time.monotonic() - start), messages


def opened(port: int, count: int) -> list[socket.socket]:
    pages = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    for page in pages:
        page.sendall(f"GET /events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
    return pages


def cost(*words: str) -> float:
    """The part of a processor that PAGES pages of a server cost at full pace."""
    with server(*words) as (pid, port):
        alone, _ = watched(pid, [])
        pages = opened(port, PAGES)
        watched(pid, pages)  # each gets the whole state first
        together, messages = watched(pid, pages)
        for page in pages:
            page.close()
    assert messages > PAGES * SECONDS / 2, "every page gets something"
    each = max(together - alone, 0.1 / SECONDS) / (messages / SECONDS)
    print(f"{words}: alone {alone:.1%}, with {PAGES} pages {together:.1%}")
    return PAGES / hub.TICK_SECONDS * each


def test_fifty_pages_cost_less_than_a_tenth_of_a_processor() -> None:
    assert cost() < 0.10


def test_a_careless_server_costs_more() -> None:
    """The control: the whole state is encoded for each page, and that twenty times."""
    assert cost("careless") > 0.10
