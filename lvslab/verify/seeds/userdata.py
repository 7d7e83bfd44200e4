"""User-data as cloud-init reads it: parts of several kinds, plain or packed.

Source: cloud-init's documentation, "User data formats", and its sources: user_data.py (gzip,
MIME archives, cloud-config archives), handlers (the beginnings that tell the kind).
"""

from __future__ import annotations

import email
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message

from lvslab.verify.rules import Refused, Unreadable, reading
from lvslab.verify.seeds import cloud

CONFIG, ARCHIVE, TEMPLATE = "cloud-config", "cloud-config-archive", "jinja template"
_BEGINNINGS = {
    "#cloud-config-archive": ARCHIVE,
    "#cloud-config-jsonp": "JSON patch",
    "#cloud-config": CONFIG,
    "#cloud-boothook": "boothook",
    "#include-once": "include",
    "#include": "include",
    "#part-handler": "part handler",
    "#!": "script",
    "## template: jinja": TEMPLATE,
}
_TYPES = {
    "text/cloud-config": CONFIG,
    "text/cloud-config-archive": ARCHIVE,
    "text/cloud-config-jsonp": "JSON patch",
    "text/cloud-boothook": "boothook",
    "text/x-include-url": "include",
    "text/x-include-once-url": "include",
    "text/part-handler": "part handler",
    "text/x-shellscript": "script",
    "text/x-shellscript-per-boot": "script",
    "text/x-shellscript-per-instance": "script",
    "text/x-shellscript-per-once": "script",
    "text/jinja2": TEMPLATE,
}
_GUESSED = ("text/plain", "text/x-not-multipart", "application/octet-stream")
_GZIP = b"\x1f\x8b"
_MAX_UNPACKED = 16 << 20
_DEEPEST = 8


@dataclass(frozen=True)
class MimePart:
    """A part: its kind as a word, and its text."""

    kind: str
    text: str


def parts(data: bytes) -> list[MimePart]:
    """The parts of user-data in order; raises Refused for what cloud-init does nothing with.

    Raises Unreadable for what is not text.
    """
    return list(_parts(data, "text/plain", 0))


def _parts(data: bytes, declared: str, depth: int) -> Iterator[MimePart]:
    if depth > _DEEPEST:
        raise Refused(f"user-data is packed {_DEEPEST} times")
    if data.startswith(_GZIP):
        yield from _parts(_unpacked(data), declared, depth + 1)
    elif b"mime-version:" in data[:4096].lower():
        with reading("user-data"):
            message = email.message_from_bytes(data)
        for part in message.walk():
            if not part.is_multipart():  # cloud-init looks for no message in a message's part
                payload = _payload(part)
                text = _unpacked(payload) if payload.startswith(_GZIP) else payload
                yield from _single(text, part.get_content_type(), depth + 1)
    else:
        yield from _single(data, declared, depth)


def _single(data: bytes, declared: str, depth: int) -> Iterator[MimePart]:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise Unreadable("user-data is not UTF-8 text") from None
    if not text.strip():
        return
    kind = _TYPES.get(declared) or (_guessed(text) if declared in _GUESSED else declared)
    if kind == ARCHIVE:
        entries = cloud.load(text)
        for entry in entries if isinstance(entries, list) else ():
            content, declared = entry, "text/plain"
            if isinstance(entry, dict):
                content, declared = entry.get("content"), str(entry.get("type") or declared)
            yield from _parts(str(content or "").encode(), declared, depth + 1)
    else:
        yield MimePart(kind, text)


def _guessed(text: str) -> str:
    start = text.lstrip()
    for beginning, kind in _BEGINNINGS.items():
        if start.lower().startswith(beginning):
            return kind
    first = start.partition("\n")[0].strip()
    raise Refused(f"user-data begins with {first!r}, which cloud-init ignores")


def _payload(part: Message) -> bytes:
    with reading("user-data"):
        found = part.get_payload(decode=True)
    return found if isinstance(found, bytes) else b""


def _unpacked(data: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        found = unpacker.decompress(data, _MAX_UNPACKED)
    except zlib.error as error:
        raise Unreadable(f"user-data cannot be unpacked ({error})") from None
    if unpacker.unconsumed_tail:
        raise Refused("user-data is longer than 16 MiB")
    if not unpacker.eof:
        raise Unreadable("user-data cannot be unpacked (it is cut off)")
    return found
