"""Where Debian's archives are fetched from: an option, the host's own sources, or a default.

An archive has a name (`debian`, `debian-security`) and one or more base addresses. Lock
and images know the names only, so no mirror of the building host leaks into either.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lvslab.core.errors import InputError

ARCHIVES = ("debian", "debian-security")
PUBLIC = "http://ftp.debian.org"
SNAPSHOT = "http://snapshot.debian.org/archive"


@dataclass(frozen=True)
class Mirrors:
    """Base addresses of each archive in the order they are tried."""

    bases: dict[str, tuple[str, ...]]

    def urls(self, archive: str, path: str) -> list[str]:
        """Every address that a file of an archive may be had from."""
        return [f"{base}/{path}" for base in self.bases[archive]]

    def with_snapshot(self, epoch: int) -> Mirrors:
        """The same with the snapshot archive of the time `epoch` (since 1970) as the last resort.

        It answers with what it last took before the time that is asked for, and an index is
        taken hours after its date: so a day later first, and then the date itself, for what
        was removed within that day.
        """
        stamps = [time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at)) for at in (epoch + 86400, epoch)]
        return Mirrors(
            {
                archive: (*bases, *(f"{SNAPSHOT}/{archive}/{stamp}" for stamp in stamps))
                for archive, bases in self.bases.items()
            }
        )


def find(option: str | None, apt_etc: Path = Path("/etc/apt")) -> Mirrors:
    """The mirrors to use: `option`, else `$LVSLAB_MIRROR`, else the host's Debian sources, else
    a public default.

    `option` is the address above the archives (`http://host` for `http://host/debian`), or
    that of `debian` itself; several, with blanks between them, are tried in that order.
    Raises InputError if one is no http, https or file address.
    """
    chosen = (option or os.environ.get("LVSLAB_MIRROR") or "").split()
    if chosen:
        above = [_above(address) for address in chosen]
        return Mirrors({name: tuple(f"{base}/{name}" for base in above) for name in ARCHIVES})
    own = list(_host_uris(apt_etc))
    return Mirrors(
        {
            name: tuple(
                dict.fromkeys([u for u in own if u.endswith(f"/{name}")] + [f"{PUBLIC}/{name}"])
            )
            for name in ARCHIVES
        }
    )


def _above(address: str) -> str:
    """The address above the archives."""
    if not (re.match(r"^(https?|file)://\S+$", address) and _is_url(address)):
        raise InputError(
            f"{address} is not the address of a mirror",
            where="--mirror",
            hint="give http://HOST[/PATH], the address above /debian and /debian-security",
        )
    return re.sub(r"/debian/?$", "", address.rstrip("/"))


def _is_url(address: str) -> bool:
    """Whether host and port can be told (RFC 3986, 3.2)."""
    try:
        return urlsplit(address).port != 0
    except ValueError:
        return False


def _host_uris(apt_etc: Path) -> Iterator[str]:
    """The addresses in sources.list, *.list (one-line style) and *.sources (deb822 style)."""
    lists = [apt_etc / "sources.list", *sorted(apt_etc.glob("sources.list.d/*.list"))]
    for path in filter(Path.is_file, lists):
        for match in re.finditer(r"^deb\s+(?:\[[^]]*\]\s+)?(\S+)", path.read_text(), re.M):
            yield match[1].rstrip("/")
    for path in sorted(apt_etc.glob("sources.list.d/*.sources")):
        for match in re.finditer(r"^URIs:\s*(.+)$", path.read_text(), re.M):
            yield from (uri.rstrip("/") for uri in match[1].split())
