"""What a finished folder holds is known by sums, and each kind of change to it is seen."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lvslab.core import contents
from lvslab.core.contents import Contents
from lvslab.core.digests import (
    PERIOD_DAYS,
    Digests,
    is_due,
    load_sealed,
    save_sealed,
    sparse_sum,
    state,
)
from lvslab.core.files import sha256_file

BLOCK = 1 << 16


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file, one with holes, a program, a link and an empty folder."""
    made = tmp_path / "made"
    (made / "sub/empty").mkdir(parents=True)
    (made / "plain").write_bytes(b"content" * 1000)
    (made / "sub/program").write_text("#!/bin/sh\n")
    (made / "sub/program").chmod(0o755)
    (made / "link").symlink_to("plain")
    with (made / "disk.raw").open("wb") as file:
        file.truncate(8 << 20)
        file.seek(3 << 20)
        file.write(b"data")
    return made


def swap(path: Path, offset: int = 5) -> None:
    """Change one byte; the time of modification stays."""
    before = path.stat()
    data = path.read_bytes()
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(bytes([data[offset] ^ 1]))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def another_kind(folder: Path) -> None:
    (folder / "plain").unlink()
    (folder / "plain").mkdir()


def another_link(folder: Path) -> None:
    (folder / "link").unlink()
    (folder / "link").symlink_to("sub")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut short": (lambda f: os.truncate(f / "plain", 100), "plain has 100 bytes, not 7000"),
    "a byte": (lambda f: swap(f / "plain"), "plain has other content"),
    "a byte of a disk": (lambda f: swap(f / "disk.raw", 3 << 20), "disk.raw has other content"),
    "a byte in a hole": (lambda f: swap(f / "disk.raw"), "disk.raw has other content"),
    "gone": (lambda f: (f / "plain").unlink(), "plain is gone"),
    "added": (lambda f: (f / "sub/more").touch(), "sub/more was added"),
    "mode": (lambda f: (f / "sub/program").chmod(0o644), "sub/program has mode 0644, not 0755"),
    "folder gone": (lambda f: (f / "sub/empty").rmdir(), "sub/empty is gone"),
    "kind": (another_kind, "plain is of another kind"),
    "link": (another_link, "link points elsewhere"),
}  # fmt: skip


def test_an_untouched_folder_has_no_faults(folder: Path, tmp_path: Path) -> None:
    made = Contents.of(folder)
    made.save(tmp_path / "record")
    again = Contents.load(tmp_path / "record")
    assert again == made
    assert made.entries["disk.raw"].kind == "sparse"
    assert made.faults(folder, whole=False) == made.faults(folder, whole=True) == []


@pytest.mark.parametrize("kind", DAMAGE)
def test_every_kind_of_change_is_seen(folder: Path, kind: str) -> None:
    made = Contents.of(folder)
    change, said = DAMAGE[kind]
    change(folder)
    assert made.faults(folder, whole=False) == made.faults(folder, whole=True) == [said]


def test_what_a_disk_does_is_seen_when_all_is_read(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bits that rot leave size, inode and both times: the cheap look cannot see it."""
    made = Contents.of(folder)
    before = state((folder / "plain").stat())
    swap(folder / "plain")
    now = (folder / "plain").stat()
    monkeypatch.setattr(
        "lvslab.core.contents.state", lambda s: before if s.st_ino == now.st_ino else state(s)
    )
    assert made.faults(folder, whole=False) == []
    assert made.faults(folder, whole=True) == ["plain has other content"]


def test_what_cannot_be_read_is_a_fault(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Contents.of(folder)

    def broken(path: Path) -> str:
        raise OSError(5, "Input/output error")

    monkeypatch.setitem(contents._SUMS, "file", broken)
    assert "plain cannot be read (Input/output error)" in made.faults(folder, whole=True)


def test_a_copy_is_the_same_and_is_known_afterwards(folder: Path, tmp_path: Path) -> None:
    made = Contents.of(folder)
    copy = tmp_path / "copy"
    # Holes may go on the way.
    os.spawnlp(os.P_WAIT, "cp", "cp", "-a", "--sparse=never", str(folder), str(copy))
    faults, seen = made.held_against(copy, whole=False)
    assert faults == []
    assert seen.held_against(copy, whole=False)[1] is seen
    assert (seen != made, seen.checked) == (True, made.checked)
    assert seen.entries["disk.raw"].state == state((copy / "disk.raw").stat())


def test_a_whole_look_is_due_after_its_period(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    assert [is_due(now - days * 86400) for days in (0, PERIOD_DAYS - 0.1, PERIOD_DAYS + 0.1)] == [
        False,
        False,
        True,
    ]
    assert is_due(now + 3600)  # the clock was set back: nobody knows when


@pytest.mark.parametrize("data", [b"", b"x" * 10, b"\0" * BLOCK + b"y", b"y" * (BLOCK * 2 + 1)])
def test_the_sum_of_a_disk_does_not_know_of_holes(tmp_path: Path, data: bytes) -> None:
    full, holes = tmp_path / "full", tmp_path / "holes"
    full.write_bytes(bytes(BLOCK * 3) + data + bytes(BLOCK * 5))
    with holes.open("wb") as file:
        file.seek(BLOCK * 3)
        file.write(data)
        file.truncate(BLOCK * 8 + len(data))
    assert sparse_sum(full) == sparse_sum(holes)
    if data:
        swap(holes, BLOCK * 3 + len(data) - 1)
        assert sparse_sum(full) != sparse_sum(holes)


def test_data_in_the_middle_of_a_block_is_read_once(tmp_path: Path) -> None:
    path = tmp_path / "holes"
    with path.open("wb") as file:
        file.seek(BLOCK + BLOCK // 2)
        file.write(b"late in its block")
        file.truncate(BLOCK * 4)
    before = sparse_sum(path)
    swap(path, BLOCK + BLOCK // 2)
    assert sparse_sum(path) != before


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-10],
        lambda data: b"",
        lambda data: data.replace(b"one", b"two"),
        lambda data: b"{}",
        lambda data: data + b"more\n",
    ],
)
def test_a_sealed_file_that_was_changed_is_none(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "notes/x"
    save_sealed(path, {"a": "one"})
    assert load_sealed(path) == {"a": "one"}
    path.write_bytes(damage(path.read_bytes()))
    assert load_sealed(path) is None
    assert load_sealed(tmp_path / "absent") is None


def test_a_changed_memory_of_sums_is_not_believed(tmp_path: Path) -> None:
    path, store = tmp_path / "file", tmp_path / "digests.json"
    path.write_text("one")
    digests = Digests(store)
    right = digests.sha256(path)
    digests.save()
    store.write_text(store.read_text().replace(right, "0" * 64))
    assert Digests(store).sha256(path) == right


def test_all_is_read_once_in_a_whole_run_and_when_it_is_due(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, store = tmp_path / "file", tmp_path / "digests.json"
    path.write_text("one")
    read: list[Path] = []

    def noted(path: Path) -> str:
        read.append(path)
        return sha256_file(path)

    monkeypatch.setattr("lvslab.core.digests.sha256_file", noted)
    digests = Digests(store)
    digests.sha256(path)
    digests.save()
    Digests(store).sha256(path)
    assert len(read) == 1
    whole = Digests(store, whole=True)
    whole.sha256(path)
    whole.sha256(path)
    assert len(read) == 2
    later = time.time() + PERIOD_DAYS * 86400 + 60
    monkeypatch.setattr(time, "time", lambda: later)
    Digests(store).sha256(path)
    assert len(read) == 3
