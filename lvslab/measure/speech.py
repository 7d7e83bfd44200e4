"""What the lab's client says to a service, and how it reads who answered."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass

from lvslab.model.family import in_url
from lvslab.model.lab import Lab


@dataclass(frozen=True)
class Speech:
    """A way to ask a service for the name of the real server that answers.

    `question` makes the bytes to send from an address and a path; `is_whole` says whether what
    came in is enough; `answer` reads it: the server's name, or an error (one of them is empty).
    """

    question: Callable[[str, str], bytes]
    is_whole: Callable[[bytes], bool]
    answer: Callable[[bytes], tuple[str, str]]
    datagram: bool = False
    """Whether it goes over UDP: one question, one answer, no connection."""


# --- HTTP: the header that the role's page sends (RFC 9112, section 2.1)

_HEADER = b"x-real-server:"


def _get(host: str, path: str) -> bytes:
    return f"GET /{path} HTTP/1.1\r\nHost: {in_url(host)}\r\nConnection: close\r\n\r\n".encode()


def _has_head(received: bytes) -> bool:
    return b"\r\n\r\n" in received


def _of_page(received: bytes) -> tuple[str, str]:
    head = received.split(b"\r\n\r\n")[0].split(b"\r\n")
    status = head[0].decode(errors="replace")
    if b" 200 " not in head[0] + b" ":
        return "", status or "closed"
    for line in head[1:]:
        if line.lower().startswith(_HEADER):
            return line[len(_HEADER) :].decode(errors="replace").strip(), ""
    return "", "no X-Real-Server"


# --- DNS over TCP: id.server, TXT, class CH (RFC 4892, section 3; RFC 1035, 4.1 and 4.2.2)

_ID, _HEADER_BYTES = 0x1A85, 12
_NAME = b"\x02id\x06server\x00" + struct.pack("!HH", 16, 3)
_QUERY = struct.pack("!HHHHHH", _ID, 0, 1, 0, 0, 0) + _NAME


def _query(_host: str, _path: str) -> bytes:
    return struct.pack("!H", len(_QUERY)) + _QUERY


def _has_message(received: bytes) -> bool:
    return len(received) >= 2 and len(received) >= 2 + int.from_bytes(received[:2], "big")


def _of_message(received: bytes) -> tuple[str, str]:
    message = received[2:]
    if len(message) < _HEADER_BYTES or message[:2] != _QUERY[:2]:
        return "", "not DNS"
    if code := message[3] & 15:
        return "", f"DNS error {code}"
    try:
        at = _after_name(message, _HEADER_BYTES + len(_NAME)) + 10  # type, class, TTL, length
        name = message[at + 1 : at + 1 + message[at]].decode(errors="replace")
    except IndexError:
        name = ""
    return (name, "") if name else ("", "no name")


def _after_name(message: bytes, at: int) -> int:
    """Where a name ends: after a zero byte, or after a pointer to the rest of it."""
    while message[at]:
        if message[at] >= 0xC0:
            return at + 2
        at += 1 + message[at]
    return at + 1


def _of_datagram(message: bytes) -> tuple[str, str]:
    return _of_message(bytes(2) + message)


SPEECHES: dict[str, Speech] = {
    "http": Speech(_get, _has_head, _of_page),
    "dns": Speech(_query, _has_message, _of_message),
    "dns-udp": Speech(lambda _host, _path: _QUERY, bool, _of_datagram, datagram=True),
}
"""By how a virtual server is asked (`Lab.probe_of`); one that is only connected to has none."""


def speeches(lab: Lab) -> dict[str, Speech]:
    """The virtual servers that can be asked for more than a connection, and how."""
    probes = {name: lab.probe_of(name) for name in lab.virtual_servers}
    return {name: SPEECHES[probe] for name, probe in probes.items() if probe in SPEECHES}


def streams(lab: Lab) -> dict[str, Speech]:
    """Those of `speeches` that go over a connection."""
    return {name: speech for name, speech in speeches(lab).items() if not speech.datagram}
