"""Texts of other programs: in the encoding that they name, in lines that end as files' do."""

from __future__ import annotations

import re

_MAX_DIGITS = 30
_LINES = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_PROBE = 'encoding = "\\x41+AGE-"\r\n'
"""What each encoding of a file whose lines are found as bytes reads as ASCII does."""


def lines(text: str) -> list[str]:
    """The lines with their ends: CR LF, LF or CR, and no other character ends one."""
    return _LINES.findall(text)


def decode(data: bytes, named: str = "") -> str:
    """The text of a file of VMware's, in the encoding that the file itself names, if it fits.

    Names are IANA's or those of Windows (windows-1252). Without one, or with one that is
    unknown or does not fit: UTF-8, or else windows-1252, as on most hosts. A byte-order mark is
    left out.
    """
    for name in (named.lower().replace("windows-", "cp"), "utf-8", "cp1252"):
        try:
            if _PROBE.encode().decode(name) == _PROBE:
                return data.decode(name).removeprefix("\ufeff")
        except (LookupError, ValueError):
            continue
    return data.decode("latin-1").removeprefix("\ufeff")


def number(text: str) -> int | None:
    """The whole number that a text of decimal digits is; None if it is none, or very long."""
    right = text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS
    return int(text) if right else None
