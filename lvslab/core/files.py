"""Files that are whole or absent: atomic writes, sums and locks."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from lvslab.core.errors import StageError

_LIBC = ctypes.CDLL(None, use_errno=True)


def sha256_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove(path: Path) -> None:
    """Remove a file or a whole folder; what is not there is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync(folder: Path) -> None:
    """Bring all that was written to the file system of `folder` to its disk (syncfs(2)).

    One call for a whole folder; fsync(2) of each of its files would take as many commits.
    Raises OSError if the disk could not take it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        if _LIBC.syncfs(handle) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(handle)


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes `path`'s place only if no error occurs.

    The temporary file is synced first, so a crash shows the old file or the new one,
    never half of either.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Each thread its own: two may write the same file side by side.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Write `content` under `path`, whole or not at all."""
    with atomic(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def link(source: Path, target: Path) -> None:
    """Make `target` the same file as `source`, or a copy that all may read if it cannot be."""
    if source.stat().st_mode & 0o004:
        with contextlib.suppress(OSError):
            os.link(source, target)
            return
    shutil.copyfile(source, target)
    target.chmod(0o644)


@contextlib.contextmanager
def usual_umask() -> Iterator[None]:
    """What is made meanwhile may be read by everybody, whatever the user's umask is.

    Programs in user namespaces are other users to the kernel. The umask is the whole
    process's, so only one thread may use this.
    """
    before = os.umask(0o022)
    try:
        yield
    finally:
        os.umask(before)


@contextlib.contextmanager
def only_one(path: Path, doing: str) -> Iterator[None]:
    """Hold the lock file `path`, or raise StageError that says who holds it.

    The kernel frees the lock when the holder ends, so a killed run never blocks the next.
    A symbolic link is not followed: whoever may write to the folder could have put it there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o644), "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = file.read().strip() or "unknown"
            raise StageError(
                f"another {doing} is at work (process {holder})",
                where=str(path),
                hint="wait for it to end, or end that process, then try again",
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
