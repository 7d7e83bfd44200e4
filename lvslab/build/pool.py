"""The pool: every package file by its sha256, fetched in parallel, verified at every use."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from lvslab.build.lockfile import Package
from lvslab.build.mirror import Mirrors
from lvslab.core.errors import LabError, StageError
from lvslab.core.events import Listener, Note, silent
from lvslab.core.files import atomic, link, sha256_file, temporary_of
from lvslab.core.places import PROGRAM
from lvslab.core.procs import stop_if_asked

_TIMEOUT = 20  # seconds without a byte
_STREAMS = 8
# The resolver has no answer yet (getaddrinfo(3), EAI_AGAIN): so it is asked again, after seconds.
_RESOLVER_PAUSES = (1.0, 3.0)
# No answer: to ask again at once is a waste of time.
_UNREACHABLE = (socket.gaierror, ConnectionRefusedError, TimeoutError)


class Download(Protocol):
    """What can be fetched: a file of an archive with its sum and size in bytes."""

    @property
    def sha256(self) -> str: ...  # noqa: D102
    @property
    def size(self) -> int: ...  # noqa: D102
    @property
    def archive(self) -> str: ...  # noqa: D102
    @property
    def path(self) -> str: ...  # noqa: D102


@dataclass(frozen=True)
class Pool:
    """Verified files under `folder`; `offline` forbids the network; `listener` hears of damage.

    `ahead` gives what the whole run needs, not one call alone. So an archive that cannot be
    reached is found before the first download, not after minutes of work.
    """

    folder: Path
    mirrors: Mirrors
    offline: bool = False
    ahead: Callable[[], Iterable[Download]] = tuple
    listener: Listener = silent
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _looked: list[LabError | None] = field(default_factory=list)

    def path(self, item: Download) -> Path:
        """Where the file of an item is kept."""
        return self.folder / item.sha256[:2] / f"{item.sha256}.deb"

    def get(
        self, items: Sequence[Download], progress: Callable[..., None] = lambda *_: None
    ) -> list[Path]:
        """The verified files of `items`, in their order; what is missing is fetched.

        Every file's sha256 is computed, also of those kept from earlier runs: the sum is
        what the whole build trusts. A kept file that fails is fetched again. Raises
        StageError that names the package when no mirror has the bytes of the lock.
        """
        if not self.offline and not all(self.path(item).is_file() for item in items):
            self._look_ahead()
        total, done, guard = sum(item.size for item in items), 0, threading.Lock()

        def one(item: Download) -> Path:
            nonlocal done
            target = self.path(item)
            if not self._sound(item):
                self._fetch(item, target)
            with guard:
                done += item.size
                progress(done, total, "bytes", Path(item.path).name)
            return target

        with ThreadPoolExecutor(_STREAMS) as executor:
            futures = [executor.submit(one, item) for item in items]
            try:
                return [future.result() for future in futures]
            except BaseException:
                executor.shutdown(wait=False, cancel_futures=True)
                raise

    def check(self, items: Sequence[Download]) -> int:
        """Read the kept files of `items`; how many are sound. Damaged ones are removed.

        They are fetched again when they are needed.
        """
        kept = [item for item in items if self.path(item).exists()]
        with ThreadPoolExecutor(os.cpu_count()) as executor:
            sound = list(executor.map(self._sound, kept))
        for item, right in zip(kept, sound, strict=True):
            if not right:
                with contextlib.suppress(OSError):  # a cache that cannot be written
                    self.path(item).unlink()
        return sum(sound)

    def _sound(self, item: Download) -> bool:
        """Whether a file is kept with the right sum; a wrong one is reported."""
        target = self.path(item)
        try:
            if sha256_file(target) == item.sha256:
                return True
            fault = "has other content"
        except FileNotFoundError:
            return False
        except OSError as error:
            fault = f"cannot be read ({error.strerror})"
        text = f"the cache is damaged: {Path(item.path).name} {fault}; it is fetched when needed"
        self.listener(Note(f"{text} ({target})", "warning"))
        return False

    def _look_ahead(self) -> None:
        """Once, before the first download: fetch the smallest missing file of each archive."""
        with self._turn:
            if not self._looked:
                self._looked.append(self._trouble())
        if trouble := self._looked[0]:
            raise trouble

    def _trouble(self) -> LabError | None:
        """Why the archives that are needed cannot be reached; None if they can."""
        missing = (item for item in self.ahead() if not self.path(item).is_file())
        smallest: dict[str, Download] = {}
        for item in sorted(missing, key=lambda item: (item.size, item.path)):
            smallest.setdefault(item.archive, item)
        with ThreadPoolExecutor(max(1, len(smallest))) as executor:
            asked = [executor.submit(self._fetch, i, self.path(i)) for i in smallest.values()]
        errors = [error for future in asked if (error := future.exception())]
        for error in errors:
            if not isinstance(error, LabError):
                raise error
        found = [error for error in errors if isinstance(error, LabError)]
        if len(found) < 2:
            return found[0] if found else None
        return StageError("\n".join(f"{e.where}: {e.message}" for e in found), hint=found[0].hint)

    def _fetch(self, item: Download, target: Path) -> None:
        if self.offline:
            state = "is damaged" if target.exists() else "is not"
            raise StageError(
                f"{Path(item.path).name} {state} in the cache and --offline forbids fetching it",
                where=str(self.folder),
                hint="run once without --offline",
            )
        reasons = []
        for url in self.mirrors.urls(item.archive, item.path):
            for _ in range(2):
                try:
                    work = partial(_resolved, partial(_download, url, item, target))
                    _until_stopped(work, target)
                    return
                except (OSError, ValueError, http.client.HTTPException, LabError) as error:
                    reasons.append(f"{url}: {_reason(error)}")
                    if isinstance(error, urllib.error.HTTPError):
                        error.close()  # it holds the connection
                        break
                    if isinstance(getattr(error, "reason", None), _UNREACHABLE):
                        break
        raise self._nowhere(item, list(dict.fromkeys(reasons)))

    def _nowhere(self, item: Download, reasons: Sequence[str]) -> StageError:
        """The error of an item that no address has, each with its reason."""
        said = [f"no address has {Path(item.path).name} with the bytes that the lock names"]
        hint = (
            "what was fetched so far is kept: try again, give another --mirror, or use "
            f"today's packages: {PROGRAM} lock --update"
        )
        if item.archive in self.mirrors.lacking:
            said.append(
                f"    the package sources of this host (/etc/apt) have no archive {item.archive}, "
                "so only public addresses were asked"
            )
            hint = (
                f"add {item.archive} to the package sources of this host, or give a --mirror that "
                "has it; what was fetched so far is kept"
            )
        said += [f"    {reason}" for reason in reasons]
        return StageError("\n".join(said), where=item.archive, hint=hint)


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the mirror answers {error.code} {error.reason}"
    if isinstance(error, LabError):
        return error.message
    return str(getattr(error, "reason", error))


def _until_stopped(work: Callable[[], None], target: Path) -> None:
    """Do some work that writes `target`, but leave it behind when the run is interrupted.

    A mirror that does not answer keeps a thread in the kernel, where no interrupt reaches it.
    What that thread has begun to write is removed, and nothing of any other: several stages
    fetch at the same time.
    """
    done: Future[None] = Future()

    def do() -> None:
        try:
            work()
            done.set_result(None)
        except BaseException as error:
            done.set_exception(error)

    stop_if_asked()
    thread = threading.Thread(target=do, daemon=True)
    thread.start()
    try:
        while not wait([done], timeout=0.2).done:
            stop_if_asked()
    except BaseException:
        temporary_of(target, thread.ident).unlink(missing_ok=True)
        raise
    done.result()


def _resolved(work: Callable[[], None]) -> None:
    """Do some work, again when the resolver says that it failed for the moment."""
    for pause in _RESOLVER_PAUSES:
        try:
            return work()
        except urllib.error.URLError as error:
            reason = error.reason
            if not isinstance(reason, socket.gaierror) or reason.errno != socket.EAI_AGAIN:
                raise
            time.sleep(pause)
    return work()


def _download(url: str, item: Download, target: Path) -> None:
    """Fetch one file; it appears in the pool only if size and sum are those of the lock."""
    request = urllib.request.Request(url, headers={"User-Agent": "lvslab"})
    with (
        urllib.request.urlopen(request, timeout=_TIMEOUT) as answer,
        atomic(target) as temporary,
    ):
        with temporary.open("wb") as file:
            got = 0
            while chunk := answer.read(1 << 18):
                got += file.write(chunk)
        if got != item.size:
            raise StageError(f"the mirror ended after {got} of {item.size} bytes")
        if (actual := sha256_file(temporary)) != item.sha256:
            raise StageError(f"wrong sha256 {actual}, the lock says {item.sha256}")


def repository(
    pool: Pool,
    packages: Iterable[Package],
    stanzas: Sequence[str],
    folder: Path,
    suite: str,
) -> None:
    """Make a flat repository of links to pool files, with the control fields `stanzas`.

    apt wants a Release file with a Codename, or mmdebstrap cannot use it.
    """
    index = []
    for package, stanza in zip(packages, stanzas, strict=True):
        name = Path(package.path).name
        link(pool.path(package), folder / name)
        index.append(
            f"{stanza.strip()}\nFilename: ./{name}\nSize: {package.size}\n"
            f"SHA256: {package.sha256}\n"
        )
    (folder / "Packages").write_text("\n".join(index))
    (folder / "Release").write_text(f"Origin: lvslab\nSuite: {suite}\nCodename: {suite}\n")
