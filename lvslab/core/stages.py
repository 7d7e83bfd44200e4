"""Stages by hash: a stage's folder is named by what went into it.

A stage is made in a temporary folder and renamed when it is complete. So a folder with its final
name is complete, a killed build continues at the first stage that is missing, and an unchanged
stage is not run again. Next to the folder is a record of the sums of its files. A stage that is
used again is compared with it, and made again if something differs.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from tempfile import gettempdir
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from lvslab.core.code import libraries, reached, source_digest
from lvslab.core.contents import Contents
from lvslab.core.digests import load_sealed, save_sealed
from lvslab.core.errors import LabError, StageError
from lvslab.core.events import (
    Listener,
    Note,
    StageDone,
    StageFailed,
    StageProgress,
    StageStarted,
    silent,
)
from lvslab.core.files import SCRATCH, remove, sync
from lvslab.core.places import PROGRAM
from lvslab.core.procs import stop_if_asked

Make = Callable[[Path, Callable[..., None]], None]
_SHOWN = 3  # damaged files that are named


R = TypeVar("R")
P = ParamSpec("P")


def digest(value: object) -> str:
    """The sha256 of a JSON-able value, independent of the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def leftovers(folder: Path, beginning: str = "") -> list[Path]:
    """What processes that are gone left in a folder: names that begin so and end in `-PID`."""
    found = []
    for path in folder.glob(f"{beginning}*"):
        number = path.name.rpartition("-")[2]
        if not (number.isdigit() and Path("/proc", number).exists()):
            found.append(path)
    return found


def record_of(folder: Path) -> Path:
    """Where the sums of a finished stage's files are kept."""
    return folder.with_name(f"{folder.name}.sums")


def finished(cache: Path) -> Iterator[Path]:
    """The folders of all finished stages in a cache."""
    for path in sorted((cache / "stages").glob("*/*")):
        if path.is_dir():
            yield path


_SHORT = 80  # characters


def short(value: object) -> object:
    """A value as it is in build.json: itself if it is one short word or number, else its sum.

    The sum is `digest`'s: that of the value as JSON.
    """
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, str) and len(value) <= _SHORT and "\n" not in value:
        return value
    return f"sha256:{digest(value)}"


@dataclass
class StageRecord:
    """What build.json says of one stage: id, times, whether it was cached, inputs (`short`).

    `start` counts from the beginning of the build, both times are in seconds.
    """

    name: str
    id: str
    start: float
    seconds: float
    cached: bool
    inputs: Mapping[str, Any]


class NotYetMade(LabError):
    """In a dry run: the stage of this name would run, and what follows depends on it."""


@dataclass
class Stages:
    """Runs stages into `cache`; `listener` gets events; `records` gathers what build.json needs.

    In a `dry` run nothing is made: the first stage that is missing raises NotYetMade. With
    `whole` every file of a stage that is used again is read, not only files that look changed
    or are due.
    """

    cache: Path
    listener: Listener = silent
    dry: bool = False
    whole: bool = False
    records: list[StageRecord] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _locks: dict[object, threading.Lock] = field(default_factory=dict)
    _results: dict[object, Any] = field(default_factory=dict)

    def run(
        self, name: str, inputs: Mapping[str, Any], make: Make, *, code: Sequence[str] = ()
    ) -> Path:
        """The folder of stage `name` for `inputs`, made by `make(folder, progress)` if absent.

        `inputs` and the code decide the result; `code` names the modules that do the work: the
        source text of all that they use counts, and the versions of libraries (see
        `core.code`). `progress(done, total, unit, note)` feeds the live bar.
        Raises what `make` raises; an OSError becomes a StageError that says how to fix it.
        """
        modules = reached(code)
        inputs = {**inputs, **libraries(modules)}
        identity = digest({"name": name, "inputs": inputs, "code": source_digest(modules)})
        final = self.cache / "stages" / name.replace(" ", "-") / identity
        with self._guard:
            lock = self._locks.setdefault(identity, threading.Lock())
        with lock:  # two stages may need the same one at the same time
            if any(record.id == identity for record in self.records):
                return final
            start = time.monotonic()
            cached = final.is_dir() and self._sound(name, final)
            if not cached and self.dry:
                raise NotYetMade(name)
            if not cached:
                self.listener(StageStarted(name))
                self._make(name, final, make, start)
            elif not self.dry:
                with suppress(OSError):
                    os.utime(final)  # the newest of a name is the one last used
            seconds = time.monotonic() - start
            self.listener(StageDone(name, seconds, cached))
            with self._guard:
                brief = {key: short(value) for key, value in inputs.items()}
                self.records.append(
                    StageRecord(name, identity, start - self.begun, seconds, cached, brief)
                )
        return final

    def _sound(self, name: str, final: Path) -> bool:
        """Whether a finished stage is what was made; if not, the user is warned."""
        faults = self._faults(final)
        if faults:
            more = f" and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
            self.listener(
                Note(
                    f"the cache is damaged: {name}: {', '.join(faults[:_SHOWN])}{more}; "
                    f"this stage {'would be' if self.dry else 'is'} made again",
                    "warning",
                )
            )
        return not faults

    def _faults(self, final: Path) -> list[str]:
        """How a finished stage differs from the record of its sums, a line for each file."""
        record = Contents.load(record_of(final))
        if record is None:
            return ["the record of its sums is missing or damaged"]
        whole = self.whole or record.due
        try:
            faults, seen = record.held_against(final, whole)
        except OSError as error:
            return [f"{error.filename} cannot be read ({error.strerror})"]
        if seen is not record and not self.dry:
            with suppress(OSError):  # a cache that cannot be written: read again the next time
                seen.save(record_of(final))
        return faults

    def sum_of(self, path: Path) -> str | None:
        """The sha256 of a file of a finished stage, from its record; None if there is none."""
        top = self.cache / "stages"
        if not path.is_relative_to(top):
            return None
        folder = top.joinpath(*path.relative_to(top).parts[:2])
        record = self.remembered(("sums", folder), lambda: Contents.load(record_of(folder)))
        entry = record.entries.get(path.relative_to(folder).as_posix()) if record else None
        return entry.sum if entry and entry.kind == "file" else None

    def renamed(self, path: Path) -> None:
        """A file of a finished stage that was just read got another name, which is no change.

        Its content need not be read again for that: a link changes the times of the inode alone.
        """
        top = self.cache / "stages"
        if not path.is_relative_to(top):
            return
        folder = top.joinpath(*path.relative_to(top).parts[:2])
        record, name = Contents.load(record_of(folder)), path.relative_to(folder).as_posix()
        if record is not None and name in record.entries:
            with suppress(OSError):  # a cache that cannot be written: read again the next time
                record.linked(name, path.stat()).save(record_of(folder))

    def check_others(self) -> int:
        """Read the stages that this run has not used; how many are sound.

        A damaged one is reported, and loses its record: so it is made again when it is used.
        """
        used, sound = {record.id for record in self.records}, 0
        for folder in finished(self.cache):
            if folder.name in used:
                continue
            faults = self._faults(folder)
            sound += not faults
            if faults:
                text = f"the cache is damaged: {folder.parent.name}: {', '.join(faults[:_SHOWN])}"
                self.listener(Note(f"{text}; it is made again when it is used", "warning"))
                with suppress(OSError):
                    record_of(folder).unlink(missing_ok=True)
        return sound

    def _make(self, name: str, final: Path, make: Make, start: float) -> None:
        def progress(done: int, total: int, unit: str = "", note: str = "") -> None:
            stop_if_asked()
            self.listener(StageProgress(name, done, total, unit, note))

        beginning = f"{final.parent.name}-{final.name[:16]}"
        temporary = self.cache / "tmp" / f"{beginning}-{os.getpid()}"
        try:
            for leftover in leftovers(temporary.parent, beginning):
                remove(leftover)
            remove(temporary)
            remove(final)  # damaged, if it is there
            temporary.mkdir(parents=True)
            make(temporary, progress)
            temporary.chmod(0o755)
            final.parent.mkdir(parents=True, exist_ok=True)
            sync(temporary)  # or a power cut could leave the name with files that are empty
            _settle(temporary, final)
        except LabError as error:
            error.where = error.where or name
            if os.strerror(errno.ENOSPC) in error.message:
                error.hint = self._hint()
            self.listener(StageFailed(name, time.monotonic() - start, error.message))
            raise
        except OSError as error:
            self.listener(StageFailed(name, time.monotonic() - start, str(error)))
            raise StageError(
                f"{error.strerror or error} ({error.filename or self.cache})",
                where=name,
                hint=self._hint(),
            ) from error
        finally:
            # What stopped the stage is the news; what cannot be removed now, `sweep` finds.
            with suppress(OSError, LabError):
                remove(temporary)

    def _hint(self) -> str:
        if not os.access(self.cache, os.W_OK):
            return (
                f"the cache ({self.cache}) cannot be written: set LVSLAB_CACHE to a folder that "
                "you may write to"
            )
        free, temporary = (shutil.disk_usage(p).free >> 20 for p in (self.cache, gettempdir()))
        return (
            f"{free} MiB are free where the cache is ({self.cache}), {temporary} MiB where "
            f"temporary files are ({gettempdir()}); free some disk space ({PROGRAM} clean shows "
            "what earlier builds left), or set LVSLAB_CACHE or TMPDIR to a folder with more; "
            "finished stages are kept"
        )

    def remembered(self, key: object, compute: Callable[[], R]) -> R:
        """The result of `compute`, computed once for each key, also by threads at the same time."""
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        with lock:
            if key not in self._results:
                self._results[key] = compute()
            result: R = self._results[key]
        return result

    def sweep(self) -> None:
        """Remove what killed runs left half-made, in the cache and among temporary files.

        What belongs to a process that lives is at work: `lab up` and `diff` make stages, too.
        """
        for leftover in (
            *leftovers(self.cache / "tmp"),
            *leftovers(Path(gettempdir()), SCRATCH),
        ):
            with suppress(OSError):  # another cache's build may sweep the same; or it is read-only
                if leftover.lstat().st_uid == os.geteuid():
                    remove(leftover)

    def note(self, name: str, value: object) -> None:
        """Keep a JSON-able measurement beside the stages, for instance a cached probe."""
        save_sealed(self.cache / "notes" / f"{name}.json", value)

    def noted(self, name: str) -> Any:
        """What `note` kept under `name`, or None."""
        return load_sealed(self.cache / "notes" / f"{name}.json")


def _settle(temporary: Path, final: Path) -> None:
    """Give a folder its final name, the record of its sums first."""
    Contents.of(temporary).save(record_of(final))
    try:
        os.replace(temporary, final)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        # Another process made it meanwhile, and may use it already: its result counts.
        Contents.of(final).save(record_of(final))


class HasStages(Protocol):
    """Whatever runs its stages through `stages`."""

    stages: Stages


S = TypeVar("S", bound=HasStages)


def once(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """A method whose inputs (rendering, hashing) are computed once for each of its arguments."""

    @wraps(method)
    def remembering(this: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        key = (method.__qualname__, args, tuple(kwargs.items()))
        return this.stages.remembered(key, lambda: method(this, *args, **kwargs))

    return remembering
