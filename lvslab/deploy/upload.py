"""A file sent to a server by HTTPS, in pieces, with the trust of the connection before it."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Iterator, Mapping
from typing import IO
from urllib.parse import urlsplit

from lvslab.core.errors import StageError

_PIECE = 1 << 20
_SECONDS = 600


def send(
    url: str,
    method: str,
    content: IO[bytes],
    size: int,
    trusted: ssl.SSLContext,
    headers: Mapping[str, str],
    tell: Callable[[int], None],
) -> None:
    """Send `size` bytes; `tell` hears how many have gone. Raises StageError if it is refused."""
    target = urlsplit(url)
    path = f"{target.path}?{target.query}" if target.query else target.path
    connection = http.client.HTTPSConnection(target.netloc, timeout=_SECONDS, context=trusted)

    def pieces() -> Iterator[bytes]:
        gone = 0
        while piece := content.read(_PIECE):
            yield piece
            gone += len(piece)
            tell(gone)

    try:
        connection.request(method, path, pieces(), {**headers, "Content-Length": str(size)})
        answer = connection.getresponse()
        answer.read()
    except OSError as error:
        raise StageError(f"{target.netloc} does not take the file: {error}") from None
    finally:
        connection.close()
    if answer.status >= 300:
        raise StageError(f"{target.netloc} does not take the file: {answer.status} {answer.reason}")
