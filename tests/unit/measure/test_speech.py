"""What a client makes of a service's answer: the name of the real server, or what is wrong."""

from __future__ import annotations

import struct

import pytest

from lvslab.measure.speech import SPEECHES

QUESTION = b"\2id\6server\0" + struct.pack("!HH", 16, 3)
POINTER = b"\xc0\x0c"  # to the name of the question (RFC 1035, section 4.1.4)


def message(answer: bytes, number: int = 0x1A85, code: int = 0) -> bytes:
    """A message over TCP: its length, header, the question again, and an answer."""
    whole = struct.pack("!HHHHHH", number, 0x8400 | code, 1, 1, 0, 0) + QUESTION + answer
    return struct.pack("!H", len(whole)) + whole


def text(name: bytes, owner: bytes = POINTER) -> bytes:
    """A TXT record of class CH with one string."""
    return owner + struct.pack("!HHIHB", 16, 3, 0, len(name) + 1, len(name)) + name


@pytest.mark.parametrize(
    ("received", "answer"),
    [
        (message(text(b"rs1")), ("rs1", "")),
        (message(text(b"rs2", owner=b"\2id\6server\0")), ("rs2", "")),
        (message(text(b"rs1", owner=b"\2id" + POINTER)), ("rs1", "")),
        (message(b"", code=5), ("", "DNS error 5")),
        (message(text(b"rs1"), number=7), ("", "not DNS")),
        (message(b""), ("", "no name")),
        (message(text(b"")), ("", "no name")),
        (b"\0\3abc", ("", "not DNS")),
    ],
)
def test_a_dns_answer_is_the_servers_name_or_what_is_wrong(
    received: bytes, answer: tuple[str, str]
) -> None:
    dns = SPEECHES["dns"]
    assert dns.is_whole(received) and not dns.is_whole(received[:-1])
    assert dns.answer(received) == answer


def test_a_dns_question_is_one_whole_message_for_id_server() -> None:
    asked = SPEECHES["dns"].question("192.168.50.1", "")
    assert SPEECHES["dns"].is_whole(asked) and asked.endswith(QUESTION)
    assert not SPEECHES["dns"].is_whole(b"\0")


@pytest.mark.parametrize(
    ("received", "answer"),
    [
        (b"HTTP/1.1 200 OK\r\nX-Real-Server: rs1\r\n\r\n", ("rs1", "")),
        (b"HTTP/1.1 503 Busy\r\n\r\n", ("", "HTTP/1.1 503 Busy")),
        (b"HTTP/1.1 200 OK\r\n\r\n", ("", "no X-Real-Server")),
        (b"", ("", "closed")),
    ],
)
def test_a_page_is_the_servers_name_or_what_is_wrong(
    received: bytes, answer: tuple[str, str]
) -> None:
    assert SPEECHES["http"].answer(received) == answer
