"""What a finished folder holds: every file with its sum, and whether that is still so."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

from lvslab.core.digests import State, is_due, load_sealed, save_sealed, sparse_sum, state
from lvslab.core.files import sha256_file

EntryKind = Literal["file", "sparse", "link", "folder", "other"]
_SUMS: dict[EntryKind, Callable[[Path], str]] = {
    "file": sha256_file,
    "sparse": sparse_sum,
    "link": lambda path: os.fsencode(path.readlink()).hex(),
    "folder": lambda _path: "",
    "other": lambda _path: "",
}
"""What stands for the content of each kind."""


@dataclass(frozen=True)
class ContentEntry:
    """One name in a folder: its kind, permissions, sum, and state when it was last read."""

    kind: EntryKind
    mode: int
    sum: str
    state: State

    def looks_the_same(self, now: os.stat_result) -> bool:
        """Whether what `now` is of needs no closer look: no link, and nothing of it changed."""
        return (
            self.state == state(now)
            and self.kind != "link"
            and stat.S_IMODE(now.st_mode) == self.mode
            and _kind(now, self.kind) == self.kind
        )

    def fault(self, path: Path, now: os.stat_result, whole: bool) -> str:
        """How what is at `path` differs from this; empty if it does not.

        It is read if its state is another one, or if `whole`.
        """
        if _kind(now, self.kind) != self.kind:
            return "is of another kind"
        if stat.S_IMODE(now.st_mode) != self.mode:
            return f"has mode {stat.S_IMODE(now.st_mode):04o}, not {self.mode:04o}"
        if self.kind not in ("file", "sparse"):
            return "" if _SUMS[self.kind](path) == self.sum else "points elsewhere"
        if now.st_size != self.state[0]:
            return f"has {now.st_size} bytes, not {self.state[0]}"
        if whole or state(now) != self.state:
            try:
                return "" if _SUMS[self.kind](path) == self.sum else "has other content"
            except OSError as error:
                return f"cannot be read ({error.strerror})"
        return ""


@dataclass(frozen=True)
class Contents:
    """The entries of a folder by name, and when all were read (seconds since 1970)."""

    entries: dict[str, ContentEntry]
    checked: float

    @classmethod
    def of(cls, folder: Path) -> Self:
        """What `folder` holds now, all of it read. Raises OSError."""
        entries = {}
        for name, now in walk(folder):
            kind = _kind(now, None)
            content = _SUMS[kind](folder / name)
            entries[name] = ContentEntry(kind, stat.S_IMODE(now.st_mode), content, state(now))
        return cls(entries, time.time())

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """What `save` wrote; None if it is not there or damaged."""
        kept = load_sealed(path)
        if kept is None:
            return None
        return cls(
            {name: ContentEntry(*entry) for name, entry in kept["entries"].items()}, kept["checked"]
        )

    def save(self, path: Path) -> None:
        """Write it to a file. Raises OSError."""
        entries = {name: list(vars(entry).values()) for name, entry in self.entries.items()}
        save_sealed(path, {"checked": self.checked, "entries": entries})

    def linked(self, name: str, now: os.stat_result) -> Self:
        """This record, if what `now` is of differs from a file in the time of its inode alone."""
        entry, found = self.entries[name], state(now)
        if entry.state[:3] != found[:3]:
            return self
        return replace(self, entries=self.entries | {name: replace(entry, state=found)})

    @property
    def due(self) -> bool:
        """Whether everything is to be read again, whatever it looks like."""
        return is_due(self.checked)

    def faults(self, folder: Path, whole: bool) -> list[str]:
        """What of `folder` differs, a line for each file; it is read if its state is another one.

        With `whole` everything is read. Raises OSError.
        """
        return self.held_against(folder, whole)[0]

    def held_against(self, folder: Path, whole: bool) -> tuple[list[str], Self]:
        """What `faults` finds; and if it is nothing, this record with the states of now."""
        there = dict(walk(folder))
        found = [f"{name} is gone" for name in self.entries.keys() - there.keys()]
        moved = {}
        for name, now in there.items():
            entry = self.entries.get(name)
            if entry is None:
                found.append(f"{name} was added")
            elif not whole and entry.looks_the_same(now):
                continue
            elif fault := entry.fault(folder / name, now, whole):
                found.append(f"{name} {fault}")
            elif entry.state != (state_now := state(now)):
                moved[name] = replace(entry, state=state_now)
        if found or not (moved or whole):
            return sorted(found), self
        checked = time.time() if whole else self.checked
        return [], replace(self, entries=self.entries | moved, checked=checked)


def walk(folder: Path) -> Iterator[tuple[str, os.stat_result]]:
    """Everything below a folder by its name there. Raises OSError."""
    open_ = [""]
    while open_:
        prefix = open_.pop()
        with os.scandir(folder / prefix) as found:
            for entry in found:
                name = prefix + entry.name
                yield name, entry.stat(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    open_.append(f"{name}/")


def _kind(now: os.stat_result, wanted: EntryKind | None) -> EntryKind:
    """The kind of what `now` is of. A file may lose its holes, or get some: `wanted` decides."""
    if stat.S_ISLNK(now.st_mode):
        return "link"
    if stat.S_ISDIR(now.st_mode):
        return "folder"
    if not stat.S_ISREG(now.st_mode):
        return "other"
    if wanted in ("file", "sparse"):
        return wanted
    return "sparse" if now.st_blocks * 512 < now.st_size else "file"
