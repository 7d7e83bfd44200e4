"""Where Debian's archives are fetched from: an option, the host's own sources, or a default.

An archive has a name (`debian`, `debian-security`) and one or more base addresses. Lock
and images know the names only, so no mirror of the building host leaks into either.
Source of the formats: sources.list(5), "One-line-style format" and "deb822-style format";
apt-transport-mirror(1), "Mirrorlist format".
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from lvslab.core.archives import PUBLIC
from lvslab.core.errors import InputError

ARCHIVES = tuple(PUBLIC)
SNAPSHOT = "http://snapshot.debian.org/archive"


@dataclass(frozen=True)
class Mirrors:
    """Base addresses of each archive in the order they are tried.

    `lacking` are the archives that the host's own sources do not have: for them there is the
    public default alone.
    """

    bases: dict[str, tuple[str, ...]]
    lacking: tuple[str, ...] = ()

    def urls(self, archive: str, path: str) -> list[str]:
        """Every address that a file of an archive may be fetched from."""
        return [f"{base}/{path}" for base in self.bases[archive]]

    def with_snapshot(self, epoch: int) -> Mirrors:
        """The same with the snapshot archive of the time `epoch` (since 1970) as the last resort.

        It answers with what it last took before the time that is asked for, and an index is
        taken hours after its date: so a day later first, and then the date itself, for what
        was removed within that day.
        """
        stamps = [time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at)) for at in (epoch + 86400, epoch)]
        bases = {
            archive: (*bases, *(f"{SNAPSHOT}/{archive}/{stamp}" for stamp in stamps))
            for archive, bases in self.bases.items()
        }
        return replace(self, bases=bases)


def find(option: str | None, apt_etc: Path = Path("/etc/apt")) -> Mirrors:
    """The mirrors to use: `option`, else `$LVSLAB_MIRROR`, else the host's Debian sources, and
    after them the public default of each archive.

    `option` is the address above the archives (`http://host` for `http://host/debian`), or
    that of `debian` itself; several, with spaces between them, are tried in that order.
    Raises InputError if one is not an http, https or file address.
    """
    chosen = (option or os.environ.get("LVSLAB_MIRROR") or "").split()
    if chosen:
        above = [_above(address) for address in chosen]
        return Mirrors({name: tuple(f"{base}/{name}" for base in above) for name in ARCHIVES})
    own = _of_host(apt_etc)
    bases = {name: tuple(dict.fromkeys((*own[name], PUBLIC[name]))) for name in ARCHIVES}
    return Mirrors(bases, tuple(name for name in ARCHIVES if not own[name]))


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
    """Whether host and port can be read (RFC 3986, 3.2)."""
    try:
        return urlsplit(address).port != 0
    except ValueError:
        return False


@dataclass(frozen=True)
class _Source:
    """An entry of the host's apt: who signs it (`keys`), what it has, and where it is."""

    uris: Sequence[str]
    suites: Sequence[str]
    components: Sequence[str]
    keys: str

    def may_be_debian(self) -> bool:
        """Whether suites and components can be Debian's; a Docker's `/debian` has no `main`."""
        return "main" in self.components and not any("/" in suite for suite in self.suites)

    def only_security(self) -> bool:
        """Whether it has security updates and nothing else."""
        return all(suite.endswith("-security") for suite in self.suites)

    def foreign(self) -> bool:
        """Whether a keyring of somebody else signs it: a company's mirror, or another archive."""
        return self.keys.startswith("/") and "debian-archive" not in self.keys


def _of_host(apt_etc: Path) -> dict[str, list[str]]:
    """The base addresses of each archive in the host's sources, those of Debian's key first."""
    found: dict[str, list[str]] = {name: [] for name in ARCHIVES}
    for source in sorted(filter(_Source.may_be_debian, _sources(apt_etc)), key=_Source.foreign):
        for uri in (uri.rstrip("/") for uri in _listed(source.uris)):
            name = uri.rpartition("/")[2]
            # The host of the security archive alone may have it at its top.
            if source.only_security() and uri.count("/") == 2:
                name = "debian-security"
            if name in found and re.match(r"^(https?|file):", uri):
                found[name].append(uri)
    return found


def _sources(apt_etc: Path) -> Iterator[_Source]:
    """What sources.list, *.list (one-line style) and *.sources (deb822 style) have enabled."""
    lists = [apt_etc / "sources.list", *sorted(apt_etc.glob("sources.list.d/*.list"))]
    for path in filter(Path.is_file, lists):
        for options, words in re.findall(
            r"^deb\s+(?:\[(.*?)\])?(.*)$", path.read_text(errors="replace"), re.M
        ):
            entry = words.partition("#")[0].split()
            keys = re.search(r"signed-by=(\S+)", options, re.I)
            yield _Source(entry[:1], entry[1:2], entry[2:], keys[1] if keys else "")
    for path in sorted(apt_etc.glob("sources.list.d/*.sources")):
        text = re.sub(r"^#.*\n?", "", path.read_text(errors="replace"), flags=re.M)
        for stanza in re.split(r"\n\s*\n", text):
            pairs = re.findall(r"^([\w-]+):((?:.*)(?:\n[ \t].*)*)", stanza, re.M)
            fields = {name.lower(): value.split() for name, value in pairs}
            if "deb" in fields.get("types", ()) and fields.get("enabled") != ["no"]:
                yield _Source(
                    fields.get("uris", []),
                    fields.get("suites", []),
                    fields.get("components", []),
                    " ".join(fields.get("signed-by", [])),
                )


def _listed(uris: Sequence[str]) -> Iterator[str]:
    """Addresses, with those in a file in the place of `mirror+file:` (Debian's cloud images)."""
    for uri in uris:
        path = Path(uri.removeprefix("mirror+file:").replace("//", "/", 1))
        if uri.startswith("mirror+file:") and path.is_file():
            lines = path.read_text(errors="replace").splitlines()
            yield from (line.split()[0] for line in lines if line.strip() and line[0] != "#")
        else:
            yield uri
