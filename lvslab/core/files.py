"""Files that are whole or absent: atomic writes, sums and locks."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from lvslab.core.errors import LabError, StageError

_LIBC = ctypes.CDLL(None, use_errno=True)
SCRATCH = "lvslab-scratch-"
"""How the names of scratch folders begin."""

# Folders first: one that only its owner may list cannot be removed by anybody else.
_REMOVE = 'find "$1" -type d -uid 0 -exec chmod 755 {} +; rm -rf --one-file-system -- "$1"'


def sha256_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """The sha256 of a text in UTF-8, in hexadecimal digits."""
    return hashlib.sha256(text.encode()).hexdigest()


def remove(path: Path) -> None:
    """Remove a file or a whole folder; what is not there is no error.

    What mmdebstrap has made for an ordinary user belongs to ids of that user's, and goes as
    well. Raises StageError, and removes nothing, if a file system is mounted below `path`: it
    would be emptied; OSError for anything else.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    if mounted := mounts_below(path):
        raise StageError(
            f"file systems are mounted in a folder that is to be removed: {', '.join(mounted)}",
            where=str(path),
            hint=f"umount {' '.join(reversed(mounted))}",
        )
    try:
        shutil.rmtree(path)
    except PermissionError:
        if os.geteuid() == 0:
            raise
        _remove_as_mmdebstrap(path)
        if path.exists():
            shutil.rmtree(path)


def remove_in_use(folder: Path) -> None:
    """Remove a folder that others may be filling: what they write from then on stays.

    It gets another name in one step first, which nobody else knows. Raises as `remove` does.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with scratch(folder.parent) as work, contextlib.suppress(FileNotFoundError):
        folder.rename(work / folder.name)


def mounts_below(path: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> list[str]:
    """The mount points at and below a folder, each before those in it (proc(5), mountinfo)."""
    top = os.path.realpath(path)
    points = [
        re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), line.split()[4])
        for line in mountinfo.read_text().splitlines()
    ]
    return sorted(point for point in points if point == top or point.startswith(f"{top}/"))


def _remove_as_mmdebstrap(path: Path) -> None:
    """Empty a folder as root of the ids that mmdebstrap gives to an ordinary user's trees.

    Not with unshare(1): where AppArmor guards user namespaces, mmdebstrap may have one.
    """
    program = shutil.which("mmdebstrap")
    if program:
        subprocess.run(
            [program, "--unshare-helper", "sh", "-c", _REMOVE, "sh", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # that the folder itself belongs to another is known
            start_new_session=True,  # a second Ctrl-C must not end it half way
            check=False,
        )


@contextlib.contextmanager
def scratch(parent: Path | None = None) -> Iterator[Path]:
    """A new folder in `parent` (that of temporary files if None), removed at the end.

    If the work fails its own error is raised, even if the folder cannot be removed: the name
    ends in the process's number, so that `Stages.sweep` finds it.
    """
    made = tempfile.mkdtemp(prefix=SCRATCH, suffix=f"-{os.getpid()}", dir=parent)
    try:
        yield Path(made)
    except BaseException:
        with contextlib.suppress(OSError, LabError):
            remove(Path(made))
        raise
    remove(Path(made))


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


def temporary_of(path: Path, thread: int | None) -> Path:
    """Where a thread of this process writes what `atomic` puts at `path` afterwards.

    Each thread has its own: two may write the same file at the same time.
    """
    return path.with_name(f".{path.name}.{os.getpid()}-{thread}.part")


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes `path`'s place only if no error occurs.

    The temporary file is synced first, so a crash shows the old file or the new one,
    never half of either.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_of(path, threading.get_ident())
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
    if not linked(source, target):
        shutil.copyfile(source, target)
        target.chmod(0o644)


def linked(source: Path, target: Path) -> bool:
    """Make `target` another name of a file that all may read; whether that was possible."""
    if source.stat().st_mode & 0o004:
        with contextlib.suppress(OSError):
            os.link(source, target)
            return True
    return False


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


def by_age(folder: Path) -> list[Path]:
    """The folders in `folder`, the one that was changed last at the end."""
    there = (path for path in folder.glob("*") if path.is_dir())
    return sorted(there, key=lambda path: path.stat().st_mtime)
