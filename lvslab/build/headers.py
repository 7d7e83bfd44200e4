"""One form for the headers of a tree's tar, whichever tar and mmdebstrap wrote them.

Members, contents and order are the same from all of them, but GNU tar up to 1.34 writes
device numbers of zero for members that are not devices, and later ones write nothing. The magic
of /dev, whose headers mmdebstrap writes itself, is GNU tar's until 1.4 and POSIX's later.
Source: tar(5), "POSIX ustar Archives" and "GNU tar Archives"; what the programs wrote.
"""

from __future__ import annotations

from pathlib import Path

_BLOCK = 512
_SIZE, _SUM, _TYPE = slice(124, 136), slice(148, 156), slice(156, 157)
_MAGIC, _DEVICE = slice(257, 265), slice(329, 345)
_DEV = b"./dev/"
_GNU = b"ustar  \0"
_PLAIN = (b"0", b"1", b"2", b"5")
"""Files, hard and symbolic links, folders: members for which device numbers mean nothing."""


def settle(tar: Path) -> None:
    """Give all headers of `tar` the form that Debian 12's tar and mmdebstrap write, in place."""
    position = 0
    with tar.open("r+b") as file:
        while any(header := file.read(_BLOCK)):
            settled = _settled(header)
            if settled != header:
                file.seek(position)
                file.write(settled)
            size = int(header[_SIZE].strip(b" \0") or b"0", 8)
            position += _BLOCK + -(-size // _BLOCK) * _BLOCK
            file.seek(position)


def _settled(header: bytes) -> bytes:
    found = bytearray(header)
    if header.startswith(_DEV):
        found[_MAGIC] = _GNU
    elif header[_TYPE] in _PLAIN:
        found[_DEVICE] = b"0000000\0" * 2
    if found == header:
        return header
    found[_SUM] = b" " * 8  # the sum is computed with spaces in its own place
    found[_SUM] = b"%06o\0 " % sum(found)
    return bytes(found)
